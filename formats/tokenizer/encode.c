#include "formats/tokenizer/normalize.h"
#include "formats/tokenizer/run.h"

typedef struct {
    qn_tokenizer *t;
    qn_ids_out out;
    bool parse_special;
} encoder;

/* How many bytes at text's start are valid UTF-8. */
static size_t valid_prefix(qn_str text)
{
    size_t i = 0;
    while (i < text.n) {
        unsigned code_point;
        if ((unsigned char)text.s[i] < 0x80) {
            i++;
            continue;
        }
        const size_t n = qn_utf8_decode(text.s + i, text.n - i, &code_point);
        if (!n) break;
        i += n;
    }
    return i;
}

static size_t invalid_prefix(qn_str text)
{
    size_t i = 0;
    unsigned code_point;
    while (i < text.n && !qn_utf8_decode(text.s + i, text.n - i, &code_point)) i++;
    return i;
}

/* ---- words ------------------------------------------------------------------------- */

static qn_status take_word(void *ctx, qn_str word, qn_error *err)
{
    encoder *e = ctx;
    return qn_encode_word(e->t, word, &e->out, err);
}

/* Patterns see valid text only; bytes that are none are words of their own. */
static qn_status encode_split(encoder *e, qn_str text, qn_error *err)
{
    while (text.n) {
        const size_t valid = valid_prefix(text);
        qn_status status = qn_split_each(e->t->split, qn_str_of(text.s, valid), take_word, e, err);
        if (status) return status;
        text = qn_str_of(text.s + valid, text.n - valid);
        const size_t invalid = invalid_prefix(text);
        if (invalid) status = qn_encode_word(e->t, qn_str_of(text.s, invalid), &e->out, err);
        if (status) return status;
        text = qn_str_of(text.s + invalid, text.n - invalid);
    }
    return QN_OK;
}

static qn_status encode_words(encoder *e, qn_str text, qn_error *err)
{
    if (e->t->v->kind == QN_VOCAB_BYTE_BPE) return encode_split(e, text, err);
    while (text.n) {
        const size_t n = e->t->v->marks_spaces ? qn_marked_word(e->t, text) : text.n;
        const qn_status status = qn_encode_word(e->t, qn_str_of(text.s, n), &e->out, err);
        if (status) return status;
        text = qn_str_of(text.s + n, text.n - n);
    }
    return QN_OK;
}

/* ---- normalizing ---------------------------------------------------------------------- */

static void add_in_form(qn_form form, qn_text *out, qn_str text)
{
    while (text.n && !out->failed) {
        const size_t valid = valid_prefix(text);
        qn_normalize(form, qn_str_of(text.s, valid), out);
        text = qn_str_of(text.s + valid, text.n - valid);
        const size_t invalid = invalid_prefix(text);
        qn_text_add(out, text.s, invalid);
        text = qn_str_of(text.s + invalid, text.n - invalid);
    }
}

static qn_status fail_text(qn_text *text, qn_error *err)
{
    qn_text_free(text);
    return qn_fail_memory(err, "encoding a text");
}

/* The text as patterns and pieces have it: text itself, or a view of
 * t->normalized. */
static qn_status normalize(qn_tokenizer *t, qn_str text, qn_str *out, qn_error *err)
{
    qn_text *to = &t->normalized;
    *out = text;
    const bool sentence = t->v->kind != QN_VOCAB_BYTE_BPE;
    if (!sentence && t->v->form == QN_FORM_NONE) return QN_OK;
    to->n = 0;
    if (sentence)
        qn_sentence_normalize(t, text, to);
    else
        add_in_form(t->v->form, to, text);
    if (to->failed) return fail_text(to, err);
    *out = qn_str_of(to->s, to->n);
    return QN_OK;
}

/* ---- the whole ---------------------------------------------------------------------------- */

typedef qn_status (*text_fn)(encoder *e, qn_str text, bool first, qn_error *err);

/* Gives added tokens their ids and what stands between them to plain. */
static qn_status partition(encoder *e, const qn_added_set *set, qn_str text, bool first,
                           text_fn plain, qn_error *err)
{
    size_t scan = 0, done = 0, from = 0, at;
    uint32_t id;
    while (set && qn_added_next(set, text, e->parse_special, &scan, &done, &at, &id)) {
        qn_status status = QN_OK;
        if (at > from)
            status = plain(e, qn_str_of(text.s + from, at - from), first && from == 0, err);
        if (!status) status = qn_ids_push(&e->out, id, err);
        if (status) return status;
        from = done;
    }
    if (from >= text.n) return QN_OK;
    return plain(e, qn_str_of(text.s + from, text.n - from), first && from == 0, err);
}

/* SentencePiece's BPE takes the model's user-defined pieces whole; unigram
 * models score them. */
static qn_status encode_pieces(encoder *e, qn_str text, bool first, qn_error *err)
{
    (void)first;
    return encode_words(e, text, err);
}

static qn_status encode_of_model(encoder *e, qn_str text, qn_error *err)
{
    const bool cut = e->t->v->kind != QN_VOCAB_UNIGRAM;
    return partition(e, cut ? e->t->added[QN_FOUND_OF_MODEL] : NULL, text, false, encode_pieces,
                     err);
}

/* Metaspace puts its space here, between all added tokens. */
static qn_status encode_normalized(encoder *e, qn_str text, bool first, qn_error *err)
{
    const qn_prefix prefix = e->t->v->prefix;
    const bool wanted = prefix == QN_PREFIX_UNLESS_SPACE || (prefix == QN_PREFIX_FIRST && first);
    if (!wanted || text.s[0] == ' ') return encode_of_model(e, text, err);
    qn_text *to = &e->t->prefixed;
    to->n = 0;
    qn_text_add(to, " ", 1);
    qn_text_add(to, text.s, text.n);
    if (to->failed) return fail_text(to, err);
    return encode_of_model(e, qn_str_of(to->s, to->n), err);
}

static qn_status encode_raw(encoder *e, qn_str text, bool first, qn_error *err)
{
    qn_str normalized;
    if (text.n >= UINT32_MAX / 2)
        return qn_fail(err, QN_ERR_ARGUMENT, "a text of %zu bytes between tokens; at most %u",
                       text.n, UINT32_MAX / 2);
    const qn_status status = normalize(e->t, text, &normalized, err);
    if (status) return status;
    return partition(e, e->t->added[QN_FOUND_NORMALIZED], normalized, first, encode_normalized,
                     err);
}

qn_status qn_tokenizer_encode(qn_tokenizer *t, qn_str text, qn_encode_options options,
                              uint32_t **ids, size_t *n, size_t *capacity, qn_error *err)
{
    encoder e = {t, {ids, n, capacity}, options.parse_special};
    const size_t before = *n;
    qn_status status = QN_OK;
    if (options.add_special && qn_vocab_adds_bos(t->v))
        status = qn_ids_push(&e.out, qn_vocab_bos(t->v), err);
    if (!status && text.n)
        status = partition(&e, t->added[QN_FOUND_RAW], text, true, encode_raw, err);
    if (!status && options.add_special && qn_vocab_adds_eos(t->v))
        status = qn_ids_push(&e.out, qn_vocab_eos(t->v), err);
    if (status) *n = before;
    return status;
}
