#include "formats/base/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "formats/base/alloc.h"

struct qn_regex {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    bool jit;
    uint32_t match_options;
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

static uint32_t options_of(qn_regex_kind kind)
{
    if (kind == QN_REGEX_TRUSTED) return PCRE2_UTF | PCRE2_UCP;
    return PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF |
           PCRE2_DOLLAR_ENDONLY;
}

static qn_status compile(qn_regex *r, const char *pattern, uint32_t options,
                         pcre2_compile_context *context, qn_error *err)
{
    int code = 0;
    PCRE2_SIZE offset;
    r->code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &code, &offset, context);
    if (r->code) return QN_OK;
    if (code == PCRE2_ERROR_HEAP_FAILED) return qn_fail_memory(err, "a pattern");
    char reason[128] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
    return qn_fail(err, QN_ERR_ARGUMENT, "pattern '%.200s': %s", pattern, reason);
}

qn_status qn_regex_new(qn_regex **out, const char *pattern, qn_regex_kind kind, qn_error *err)
{
    qn_status status = QN_ERR_MEMORY;
    qn_regex *r = qn_alloc(1, sizeof *r);
    pcre2_general_context *memory = pcre2_general_context_create(give, take, NULL);
    pcre2_compile_context *context = memory ? pcre2_compile_context_create(memory) : NULL;
    if (!r || !context) {
        qn_fail_memory(err, "a pattern");
        goto out;
    }
    if ((status = compile(r, pattern, options_of(kind), context, err))) goto out;
    r->match = pcre2_match_data_create_from_pattern(r->code, memory);
    r->limits = pcre2_match_context_create(memory);
    if (!r->match || !r->limits) {
        status = qn_fail_memory(err, "a pattern");
        goto out;
    }
    if (kind == QN_REGEX_TRUSTED) {
        /* A line of ten million letters is one match: the limits are for
         * patterns of strangers, ours are linear. */
        pcre2_set_match_limit(r->limits, UINT32_MAX);
        pcre2_set_depth_limit(r->limits, UINT32_MAX);
        r->jit = pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0;
        r->match_options = PCRE2_NO_UTF_CHECK;
    }
    *out = r;
    r = NULL;
out:
    qn_regex_free(r);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(memory);
    return status;
}

void qn_regex_free(qn_regex *r)
{
    if (!r) return;
    pcre2_match_context_free(r->limits);
    pcre2_match_data_free(r->match);
    pcre2_code_free(r->code);
    qn_free(r);
}

qn_status qn_regex_find(qn_regex *r, qn_str text, size_t from, size_t *start, size_t *end,
                        bool *found, qn_error *err)
{
    const PCRE2_SPTR subject = (PCRE2_SPTR)text.s;
    const int count =
        r->jit ? pcre2_jit_match(r->code, subject, text.n, from, 0, r->match, r->limits)
               : pcre2_match(r->code, subject, text.n, from, r->match_options, r->match, r->limits);
    *found = count > 0;
    if (count > 0) {
        const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(r->match);
        *start = offsets[0];
        *end = offsets[1];
        return QN_OK;
    }
    if (count == PCRE2_ERROR_NOMATCH) return QN_OK;
    if (count == PCRE2_ERROR_NOMEMORY) return qn_fail_memory(err, "searching a text");
    return qn_fail(err, QN_ERR_UNSUPPORTED, "searching a text of %zu bytes failed (PCRE2 %d)",
                   text.n, count);
}
