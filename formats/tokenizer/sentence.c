/* SentencePiece's normalizer (sentencepiece/src/normalizer.cc): the text, one
 * prefix after the other replaced by the model's charsmap, its spaces as pieces
 * have them. */
#include "formats/tokenizer/run.h"

/* Bytes that mean themselves before another byte below 128. */
static bool is_plain(const qn_tokenizer *t, unsigned char byte)
{
    return byte > ' ' && byte < 128 && (!t->charsmap || qn_charsmap_keeps(t->charsmap, byte)) &&
           !qn_added_begins(t->kept, byte);
}

void qn_sentence_prepare(qn_tokenizer *t)
{
    for (unsigned byte = 0; byte < 256; byte++) t->plain[byte] = is_plain(t, (unsigned char)byte);
}

static size_t plain_run(const qn_tokenizer *t, qn_str text)
{
    size_t n = 0;
    while (n + 1 < text.n && t->plain[(unsigned char)text.s[n]] &&
           (unsigned char)text.s[n + 1] < 128)
        n++;
    return n;
}

/* What text begins with, normalized; returns how much of it that was. */
static size_t take(const qn_tokenizer *t, qn_str text, qn_str *as)
{
    unsigned code_point;
    const size_t plain = plain_run(t, text);
    if (plain) {
        *as = qn_str_of(text.s, plain);
        return plain;
    }
    size_t n = qn_added_longest(t->kept, text);
    if (n) {
        *as = qn_str_of(text.s, n);
        return n;
    }
    n = t->charsmap ? qn_charsmap_match(t->charsmap, text, as) : 0;
    if (n) return n;
    n = qn_utf8_decode(text.s, text.n, &code_point);
    *as = qn_str_of(text.s, n ? n : 1);
    if (n && t->v->white_spaces && qn_is_space(code_point)) *as = qn_str_of(" ", 1);
    /* A byte that is no UTF-8 stays one where there are byte pieces for it. */
    if (!n && t->bytes[(unsigned char)text.s[0]] == QN_NO_ID) *as = qn_str_of("\xef\xbf\xbd", 3);
    return n ? n : 1;
}

static void add_taken(const qn_tokenizer *t, qn_text *out, qn_str text)
{
    bool after_space = t->v->trims_spaces;
    while (text.n && !out->failed) {
        qn_str as;
        const size_t n = take(t, text, &as);
        text = qn_str_of(text.s + n, text.n - n);
        while (after_space && as.n && as.s[0] == ' ') as = qn_str_of(as.s + 1, as.n - 1);
        if (!as.n) continue;
        qn_text_add(out, as.s, as.n);
        after_space = t->v->trims_spaces && as.s[as.n - 1] == ' ';
    }
}

static bool is_spaces(const qn_tokenizer *t, qn_str text)
{
    qn_str as;
    while (text.n) {
        const size_t n = take(t, text, &as);
        if (!qn_str_is(as, " ")) return false;
        text = qn_str_of(text.s + n, text.n - n);
    }
    return true;
}

void qn_sentence_normalize(const qn_tokenizer *t, qn_str text, qn_text *out)
{
    const qn_vocab *v = t->v;
    const bool space = v->prefix == QN_PREFIX_ALWAYS;
    if (text.n == 0 || (v->trims_spaces && is_spaces(t, text))) return;
    if (space && !v->suffix_space) qn_text_add(out, " ", 1);
    const size_t from = out->n;
    if (v->trims_spaces || v->white_spaces || t->charsmap || t->kept)
        add_taken(t, out, text);
    else
        qn_text_add(out, text.s, text.n);
    if (out->failed) return;
    if (v->marks_spaces && out->n > from)
        out->n = from + qn_mark_to_space(out->s + from, out->s + from, out->n - from);
    /* The one before the text, too, where nothing is left of it. */
    while (v->trims_spaces && out->n && out->s[out->n - 1] == ' ') out->n--;
    if (space && v->suffix_space) qn_text_add(out, " ", 1);
}
