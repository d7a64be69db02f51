#include "quant/type_rules.h"

#include <string.h>

#include "formats/base/alloc.h"
#include "kernels/kernels.h"

static qn_status parse_type(const char *text, const char *name, qn_dtype *out, qn_error *err)
{
    if (!qn_dtype_by_name(name, out))
        return qn_fail(err, QN_ERR_ARGUMENT, "'%s': no type is called '%s'", text, name);
    if (!qn_kernels_best()->encode[*out] || qn_dtype_facts(*out)->ggml_id < 0)
        return qn_fail(err, QN_ERR_ARGUMENT, "'%s': %s cannot be written", text,
                       qn_dtype_facts(*out)->name);
    return QN_OK;
}

static void free_rule(qn_type_rule *rule)
{
    qn_regex_free(rule->as_written);
    qn_regex_free(rule->lowered);
    qn_free(rule->pattern);
}

/* ASCII letters, whatever the locale. */
static char *lower(const char *s)
{
    char *copy = qn_strdup(s);
    for (char *p = copy; p && *p; p++)
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p - 'A' + 'a');
    return copy;
}

static qn_status compile(qn_type_rule *rule, qn_error *err)
{
    char *lowered = lower(rule->pattern);
    qn_status status = lowered ? QN_OK : qn_fail_memory(err, rule->pattern);
    if (!status) status = qn_regex_new(&rule->as_written, rule->pattern, QN_REGEX_ECMASCRIPT, err);
    if (!status) status = qn_regex_new(&rule->lowered, lowered, QN_REGEX_ECMASCRIPT, err);
    qn_free(lowered);
    return status;
}

static qn_status make_room(qn_type_rules *r, qn_error *err)
{
    if (r->n < r->capacity) return QN_OK;
    const size_t capacity = qn_grow(r->capacity, r->n + 8);
    qn_type_rule *grown = qn_resize(r->at, capacity, sizeof *grown);
    if (!grown) return qn_fail_memory(err, "the types of tensors");
    r->at = grown;
    r->capacity = capacity;
    return QN_OK;
}

qn_status qn_type_rules_add(qn_type_rules *r, const char *text, qn_error *err)
{
    qn_type_rule rule = {0};
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || !equals[1])
        return qn_fail(err, QN_ERR_ARGUMENT, "'%s' is not NAME=TYPE", text);
    qn_status status = parse_type(text, equals + 1, &rule.dtype, err);
    if (status || (status = make_room(r, err))) return status;
    rule.pattern = qn_strndup(text, (size_t)(equals - text));
    status = rule.pattern ? compile(&rule, err) : qn_fail_memory(err, text);
    if (status)
        free_rule(&rule);
    else
        r->at[r->n++] = rule;
    return status;
}

qn_status qn_type_rules_add_file(qn_type_rules *r, const char *path, qn_error *err)
{
    enum { LIMIT = 64 << 20 };
    static const char blanks[] = " \t\n\v\f\r";
    char *text, *rest = NULL;
    size_t n;
    qn_status status = qn_read_file(path, LIMIT, &text, &n, err);
    if (status) return status;
    if (memchr(text, 0, n)) status = qn_fail(err, QN_ERR_DATA, "%s: holds a zero byte", path);
    for (char *word = strtok_r(text, blanks, &rest); !status && word;
         word = strtok_r(NULL, blanks, &rest)) {
        qn_error inner = {0};
        if ((status = qn_type_rules_add(r, word, &inner)))
            qn_fail(err, status, "%s: %s", path, inner.message);
    }
    qn_free(text);
    return status;
}

void qn_type_rules_free(qn_type_rules *r)
{
    for (size_t i = 0; i < r->n; i++) free_rule(&r->at[i]);
    qn_free(r->at);
    *r = (qn_type_rules){0};
}

qn_status qn_type_rules_find(const qn_type_rules *r, const char *name, bool generic,
                             const qn_type_rule **out, qn_error *err)
{
    size_t start, end;
    bool found = false;
    *out = NULL;
    for (size_t i = 0; i < r->n && !found; i++) {
        qn_regex *regex = generic ? r->at[i].as_written : r->at[i].lowered;
        const qn_status status = qn_regex_find(regex, qn_str_z(name), 0, &start, &end, &found, err);
        if (status) return status;
        if (found) *out = &r->at[i];
    }
    return QN_OK;
}
