#include "formats/tokenizer/split.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "formats/base/alloc.h"

typedef struct {
    pcre2_code *code;
    pcre2_match_data *match;
    bool jit;
} step;

struct qn_split {
    step steps[QN_PRE_STEPS];
    size_t count;
    pcre2_match_context *limits;
};

static void *give(PCRE2_SIZE n, void *unused)
{
    (void)unused;
    return qn_alloc(1, n);
}

static void take(void *p, void *unused)
{
    (void)unused;
    qn_free(p);
}

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

static qn_status compile(step *s, const char *pattern, pcre2_general_context *memory, qn_error *err)
{
    int code = PCRE2_ERROR_HEAP_FAILED;
    PCRE2_SIZE offset;
    pcre2_compile_context *context = pcre2_compile_context_create(memory);
    qn_text spelled = {0};
    spell_spaces(pattern, &spelled);
    if (context && !spelled.failed)
        s->code = pcre2_compile((PCRE2_SPTR)spelled.s, spelled.n, PCRE2_UTF | PCRE2_UCP, &code,
                                &offset, context);
    pcre2_compile_context_free(context);
    qn_text_free(&spelled);
    if (!s->code && code == PCRE2_ERROR_HEAP_FAILED) return qn_fail_memory(err, "a split pattern");
    if (!s->code) {
        char reason[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
        return qn_fail(err, QN_ERR_UNSUPPORTED, "split pattern '%.200s': %s", pattern, reason);
    }
    s->jit = pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE) == 0;
    s->match = pcre2_match_data_create_from_pattern(s->code, memory);
    return s->match ? QN_OK : qn_fail_memory(err, "a split pattern");
}

qn_status qn_split_new(qn_split **out, const qn_pre *pre, qn_error *err)
{
    qn_status status = QN_OK;
    qn_split *s = qn_alloc(1, sizeof *s);
    pcre2_general_context *memory = pcre2_general_context_create(give, take, NULL);
    if (s && memory) s->limits = pcre2_match_context_create(memory);
    if (!s || !memory || !s->limits) {
        status = qn_fail_memory(err, "a split pattern");
        goto out;
    }
    /* A line of ten million letters is one match: the limits are for patterns
     * of strangers, ours are linear. */
    pcre2_set_match_limit(s->limits, UINT32_MAX);
    pcre2_set_depth_limit(s->limits, UINT32_MAX);
    for (; !status && s->count < QN_PRE_STEPS && pre->patterns[s->count]; s->count++)
        status = compile(&s->steps[s->count], pre->patterns[s->count], memory, err);
out:
    pcre2_general_context_free(memory);
    if (status)
        qn_split_free(s);
    else
        *out = s;
    return status;
}

void qn_split_free(qn_split *s)
{
    if (!s) return;
    for (size_t i = 0; i < QN_PRE_STEPS; i++) {
        pcre2_match_data_free(s->steps[i].match);
        pcre2_code_free(s->steps[i].code);
    }
    pcre2_match_context_free(s->limits);
    qn_free(s);
}

/* The next match of at least one byte at or behind from; false: none. */
static qn_status find(const qn_split *s, const step *at, qn_str text, size_t from, size_t *start,
                      size_t *end, bool *found, qn_error *err)
{
    const PCRE2_SPTR subject = (PCRE2_SPTR)text.s;
    const int count =
        at->jit ? pcre2_jit_match(at->code, subject, text.n, from, 0, at->match, s->limits)
                : pcre2_match(at->code, subject, text.n, from, PCRE2_NO_UTF_CHECK, at->match,
                              s->limits);
    *found = count > 0;
    if (count > 0) {
        const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(at->match);
        *start = offsets[0];
        *end = offsets[1];
        *found = *end > *start;
        return QN_OK;
    }
    if (count == PCRE2_ERROR_NOMATCH) return QN_OK;
    if (count == PCRE2_ERROR_NOMEMORY) return qn_fail_memory(err, "splitting a text");
    return qn_fail(err, QN_ERR_UNSUPPORTED, "splitting a text of %zu bytes failed (PCRE2 %d)",
                   text.n, count);
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
        qn_status status = find(s, &s->steps[depth], text, done, &start, &end, &found, err);
        if (status) return status;
        if (!found) start = end = text.n;
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
