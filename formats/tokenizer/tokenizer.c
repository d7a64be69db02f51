#include <string.h>

#include "formats/tokenizer/bytes.h"
#include "formats/tokenizer/run.h"

/* ---- tables ----------------------------------------------------------------------- */

/* What piece id decodes to. */
static qn_status raw_of(qn_tokenizer *t, size_t id, qn_error *err)
{
    const qn_vocab *v = t->v;
    const qn_str piece = v->pieces[id];
    const int byte = v->types[id] == QN_PIECE_BYTE ? qn_vocab_byte_of(piece) : -1;
    char *raw = qn_arena_strndup(t->arena, piece.s, piece.n);
    if (!raw) return qn_fail_memory(err, "a tokenizer");
    size_t n = piece.n;
    if (v->types[id] == QN_PIECE_UNUSED) {
        n = 0;
    } else if (byte >= 0) {
        raw[0] = (char)byte;
        n = 1;
    } else if (v->marks_spaces) {
        n = qn_mark_to_space(raw, piece.s, piece.n);
    } else if (v->kind == QN_VOCAB_BYTE_BPE && v->types[id] == QN_PIECE_NORMAL) {
        if (!qn_bytes_of_piece(piece, raw, &n)) memcpy(raw, piece.s, n = piece.n);
    }
    t->raw[id] = qn_str_of(raw, n);
    return QN_OK;
}

bool qn_is_reachable(const qn_tokenizer *t, uint32_t id)
{
    const qn_str piece = t->v->pieces[id];
    return t->raw[id].n > 0 && !(t->v->marks_spaces && memchr(piece.s, ' ', piece.n));
}

/* Normal pieces first: where a user-defined one has the same text, it is
 * found as an added token. */
static qn_status name_pieces(qn_tokenizer *t, qn_piece_type type, qn_error *err)
{
    for (uint32_t id = 0; id < t->v->n; id++) {
        if (t->v->types[id] != type || !qn_is_reachable(t, id)) continue;
        if (qn_names_add(t->names, t->raw[id], id, NULL)) return qn_fail_memory(err, "a tokenizer");
    }
    return QN_OK;
}

static void find_bytes(qn_tokenizer *t)
{
    for (size_t i = 0; i < 256; i++) {
        const char byte = (char)i;
        t->bytes[i] = t->v->kind == QN_VOCAB_BYTE_BPE ? qn_names_find(t->names, qn_str_of(&byte, 1))
                                                      : QN_NO_ID;
    }
    if (t->v->kind == QN_VOCAB_BYTE_BPE) return;
    for (uint32_t id = 0; id < t->v->n; id++)
        if (t->v->types[id] == QN_PIECE_BYTE && t->raw[id].n == 1)
            t->bytes[(unsigned char)t->raw[id].s[0]] = id;
}

/* Higher scores are lower ranks; equal scores equal ranks. */
static uint32_t rank_of_score(float score)
{
    const float value = score + 0.0F; /* -0 is 0 */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t ascending = bits >> 31 ? ~bits : bits | 0x80000000U;
    return ~ascending;
}

static qn_status rank_scores(qn_tokenizer *t, qn_error *err)
{
    t->ranks = qn_alloc(t->v->n, sizeof *t->ranks);
    if (!t->ranks) return qn_fail_memory(err, "a tokenizer");
    for (size_t i = 0; i < t->v->n; i++) t->ranks[i] = rank_of_score(t->v->scores[i]);
    return QN_OK;
}

static qn_status prepare_kind(qn_tokenizer *t, qn_error *err)
{
    const qn_vocab *v = t->v;
    qn_status status = QN_OK;
    switch (v->kind) {
    case QN_VOCAB_UNIGRAM: return qn_unigram_build(t, err);
    case QN_VOCAB_SPM: status = rank_scores(t, err); break;
    case QN_VOCAB_CHAR_BPE:
    case QN_VOCAB_BYTE_BPE: status = qn_pairs_build(&t->pairs, v->merges, v->merge_count, err);
    }
    if (status) return status;
    return v->kind == QN_VOCAB_BYTE_BPE ? qn_split_new(&t->split, v->pre, err)
                                        : qn_crossings_build(t, err);
}

/* Scored pieces and added tokens are compared with the text byte by byte, at every
 * place: a long one would make that quadratic.  The longest in use has 93 bytes. */
static qn_status check_lengths(const qn_tokenizer *t, qn_error *err)
{
    enum { LONGEST = 1024 };
    const qn_vocab *v = t->v;
    const bool scored = v->kind == QN_VOCAB_SPM || v->kind == QN_VOCAB_UNIGRAM;
    for (uint32_t id = 0; id < v->n; id++)
        if (scored && v->pieces[id].n > LONGEST && qn_is_reachable(t, id))
            return qn_fail(err, QN_ERR_UNSUPPORTED, "piece %u has %zu bytes; at most %d are run",
                           id, v->pieces[id].n, LONGEST);
    for (size_t i = 0; i < v->added_count; i++)
        if (v->added[i].text.n > LONGEST)
            return qn_fail(err, QN_ERR_UNSUPPORTED,
                           "added token %u has %zu bytes; at most %d are run", v->added[i].id,
                           v->added[i].text.n, LONGEST);
    return QN_OK;
}

static qn_status fill(qn_tokenizer *t, qn_error *err)
{
    const qn_vocab *v = t->v;
    qn_status status = QN_OK;
    for (size_t id = 0; !status && id < v->n; id++) status = raw_of(t, id, err);
    if (!status) status = check_lengths(t, err);
    if (!status) status = name_pieces(t, QN_PIECE_NORMAL, err);
    if (!status) status = name_pieces(t, QN_PIECE_USER, err);
    if (status) return status;
    find_bytes(t);
    for (size_t i = 0; i < v->added_count; i++) t->skipped[v->added[i].id] |= v->added[i].special;
    for (int i = 0; !status && i < QN_FOUND_COUNT; i++)
        status = qn_added_set_new(&t->added[i], v, (qn_found)i, i == QN_FOUND_RAW, err);
    if (!status) status = qn_added_set_new(&t->kept, v, QN_FOUND_OF_MODEL, true, err);
    if (!status && v->charsmap.n)
        status = qn_charsmap_new(&t->charsmap, v->charsmap, "the vocabulary", err);
    if (!status) status = prepare_kind(t, err);
    if (!status) qn_sentence_prepare(t);
    return status;
}

qn_status qn_tokenizer_new(qn_tokenizer **out, const qn_vocab *v, qn_error *err)
{
    qn_tokenizer *t = qn_alloc(1, sizeof *t);
    if (!t) return qn_fail_memory(err, "a tokenizer");
    t->v = v;
    t->arena = qn_arena_new();
    t->raw = qn_alloc(v->n, sizeof *t->raw);
    t->skipped = qn_alloc(v->n, sizeof *t->skipped);
    t->names = qn_names_new(v->n);
    t->cache = qn_alloc(QN_CACHE_SLOTS, sizeof *t->cache);
    const bool room = t->arena && t->raw && t->skipped && t->names && t->cache;
    const qn_status status = room ? fill(t, err) : qn_fail_memory(err, "a tokenizer");
    if (status) {
        qn_tokenizer_free(t);
        return status;
    }
    *out = t;
    return QN_OK;
}

void qn_tokenizer_free(qn_tokenizer *t)
{
    if (!t) return;
    qn_text_free(&t->prefixed);
    qn_text_free(&t->normalized);
    qn_free(t->heap);
    qn_free(t->symbols);
    qn_free(t->cache);
    qn_free(t->crossings);
    qn_split_free(t->split);
    qn_charsmap_free(t->charsmap);
    qn_added_set_free(t->kept);
    for (int i = 0; i < QN_FOUND_COUNT; i++) qn_added_set_free(t->added[i]);
    qn_free(t->places);
    qn_free(t->scores);
    qn_trie_free(&t->trie);
    qn_free(t->ranks);
    qn_free(t->pairs.slots);
    qn_names_free(t->names);
    qn_free(t->skipped);
    qn_free(t->raw);
    qn_arena_free(t->arena);
    qn_free(t);
}

/* ---- back to text ------------------------------------------------------------------ */

static void add_piece(qn_str raw, qn_strip strip, qn_text *out)
{
    size_t from = 0;
    while (from < raw.n && raw.s[from] == ' ' &&
           (strip == QN_STRIP_FIRST_PIECE || (strip != QN_STRIP_NONE && from == 0)))
        from++;
    qn_text_add(out, raw.s + from, raw.n - from);
}

/* In place, one rule after the other, which only take away (transformers,
 * clean_up_tokenization). */
static void clean_up(qn_text *text, size_t from)
{
    static const struct {
        const char *from, *to;
    } rules[] = {{" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
                 {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const size_t n = strlen(rules[i].from), m = strlen(rules[i].to);
        size_t written = from, at = from;
        while (at < text->n) {
            const bool found = text->n - at >= n && !memcmp(text->s + at, rules[i].from, n);
            if (found)
                memmove(text->s + written, rules[i].to, m);
            else
                text->s[written] = text->s[at];
            written += found ? m : 1;
            at += found ? n : 1;
        }
        text->n = written;
    }
    if (text->s) text->s[text->n] = '\0';
}

qn_status qn_tokenizer_decode(const qn_tokenizer *t, const uint32_t *ids, size_t n,
                              bool skip_special, qn_text *out, qn_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= t->v->n)
            return qn_fail(err, QN_ERR_ARGUMENT, "token id %u; the vocabulary has %zu", ids[i],
                           t->v->n);
    qn_strip strip = t->v->strip;
    const size_t before = out->n;
    for (size_t i = 0; i < n; i++) {
        if (skip_special && t->skipped[ids[i]]) continue;
        add_piece(t->raw[ids[i]], strip, out);
        /* A strip of one space is of the text, however the pieces lie in it. */
        if (strip == QN_STRIP_EACH ? out->n > before
                                   : strip == QN_STRIP_FIRST_PIECE || t->raw[ids[i]].n)
            strip = QN_STRIP_NONE;
    }
    if (out->failed) return qn_fail_memory(err, "decoding");
    if (t->v->cleans_up) clean_up(out, before);
    return QN_OK;
}
