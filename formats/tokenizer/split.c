#include "formats/tokenizer/split.h"

#include "formats/base/alloc.h"
#include "formats/base/regex.h"

struct qn_split {
    qn_regex *steps[QN_PRE_STEPS];
    size_t count;
};

/* PCRE2's \s has U+180E (Mongolian vowel separator), which Unicode took out of
 * the white space in version 6.3 and the tokenizers library does not have. */
#define SPACES "\\p{Z}\\t-\\r\\x{85}"

/* pattern with \s and \S spelled out. */
static void spell_spaces(const char *pattern, qn_text *out)
{
    bool in_class = false;
    for (const char *p = pattern; *p; p++) {
        if (p[0] == '\\' && p[1] == 's') {
            qn_text_adds(out, in_class ? SPACES : "[" SPACES "]");
            p++;
        } else if (p[0] == '\\' && p[1] == 'S' && !in_class) {
            qn_text_adds(out, "[^" SPACES "]");
            p++;
        } else if (p[0] == '\\' && p[1]) {
            qn_text_add(out, p++, 2);
        } else {
            in_class = in_class ? p[0] != ']' : p[0] == '[';
            qn_text_add(out, p, 1);
        }
    }
}

static qn_status compile(qn_regex **step, const char *pattern, qn_error *err)
{
    qn_text spelled = {0};
    spell_spaces(pattern, &spelled);
    const qn_status status = spelled.failed ? qn_fail_memory(err, "a split pattern")
                                            : qn_regex_new(step, spelled.s, QN_REGEX_TRUSTED, err);
    qn_text_free(&spelled);
    return status;
}

qn_status qn_split_new(qn_split **out, const qn_pre *pre, qn_error *err)
{
    qn_status status = QN_OK;
    qn_split *s = qn_alloc(1, sizeof *s);
    if (!s) return qn_fail_memory(err, "a split pattern");
    for (; !status && s->count < QN_PRE_STEPS && pre->patterns[s->count]; s->count++)
        status = compile(&s->steps[s->count], pre->patterns[s->count], err);
    if (status)
        qn_split_free(s);
    else
        *out = s;
    return status;
}

void qn_split_free(qn_split *s)
{
    if (!s) return;
    for (size_t i = 0; i < QN_PRE_STEPS; i++) qn_regex_free(s->steps[i]);
    qn_free(s);
}

/* Each step cuts the words of the one before; at most QN_PRE_STEPS deep. */
static qn_status cut(qn_split *s, size_t depth, qn_str text, qn_word_fn word, void *ctx,
                     qn_error *err)
{
    if (text.n == 0) return QN_OK;
    if (depth == s->count) return word(ctx, text, err);
    size_t done = 0;
    while (done < text.n) {
        size_t start = text.n, end = text.n;
        bool found;
        qn_status status = qn_regex_find(s->steps[depth], text, done, &start, &end, &found, err);
        if (status) return status;
        if (!found || end == start) start = end = text.n;
        status = cut(s, depth + 1, qn_str_of(text.s + done, start - done), word, ctx, err);
        if (!status)
            status = cut(s, depth + 1, qn_str_of(text.s + start, end - start), word, ctx, err);
        if (status) return status;
        done = end;
    }
    return QN_OK;
}

qn_status qn_split_each(qn_split *s, qn_str text, qn_word_fn word, void *ctx, qn_error *err)
{
    return cut(s, 0, text, word, ctx, err);
}
