#include "formats/base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"

static qn_status fail_parse(const json_error_t *e, const char *where, qn_error *err)
{
    if (json_error_code(e) == json_error_out_of_memory) return qn_fail_memory(err, where);
    return qn_fail(err, QN_ERR_DATA, "%s: line %d: %s", where, e->line, e->text);
}

/* ---- integers that no machine holds ------------------------------------------------ */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* digits of an integer literal of n bytes that exceeds 63 bits, rewritten in
 * place as the same number in scientific notation: 123...n digits becomes
 * 1.23...e(n-1), of the same length, the last digits given up. */
static void make_real(char *digits, size_t n)
{
    char exponent[24];
    const int e = snprintf(exponent, sizeof exponent, "e%zu", n - 1);
    memmove(digits + 2, digits + 1, n - 2);
    digits[1] = '.';
    memcpy(digits + n - (size_t)e, exponent, (size_t)e);
}

static bool exceeds_int64(const char *digits, size_t n)
{
    static const char most[] = "9223372036854775807";
    const size_t limit = sizeof most - 1;
    if (digits[0] == '0') return false; /* not JSON: left to the parser */
    return n > limit || (n == limit && memcmp(digits, most, n) > 0);
}

/* Python writes 10^30 as thirty-one digits (tokenizer_config.json's
 * model_max_length): such an integer becomes a real number. */
static void make_reals_of_huge_integers(char *text, size_t n)
{
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        if (in_string && text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            in_string = !in_string;
        } else if (!in_string && is_digit(text[i])) {
            const size_t start = i;
            while (i < n && is_digit(text[i])) i++;
            const bool real = i < n && (text[i] == '.' || text[i] == 'e' || text[i] == 'E');
            if (!real && exceeds_int64(text + start, i - start)) make_real(text + start, i - start);
            while (i < n && (is_digit(text[i]) || strchr(".eE+-", text[i]))) i++;
            i--;
        }
    }
}

static json_t *parse_again(const char *text, size_t n, size_t flags, json_error_t *e, bool *memory)
{
    char *copy = qn_strndup(text, n);
    *memory = copy != NULL;
    if (!copy) return NULL;
    make_reals_of_huge_integers(copy, n);
    json_t *root = json_loadb(copy, n, flags, e);
    qn_free(copy);
    return root;
}

/* Where the value ends is not known yet, and the text may go on for megabytes that are
 * not to be copied for each number in them: twice as much each time. */
json_t *qn_json_load_piece(const char *text, size_t n, json_error_t *e)
{
    enum { FIRST = 256 };
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY;
    json_t *value = json_loadb(text, n, flags, e);
    if (value || json_error_code(e) != json_error_numeric_overflow) return value;
    for (size_t part = FIRST;; part *= 2) {
        const size_t shown = part < n ? part : n;
        bool memory;
        value = parse_again(text, shown, flags, e, &memory);
        if (!memory || shown == n || (value && (size_t)e->position < shown)) return value;
        json_decref(value); /* a number that was cut */
    }
}

/* ---- whole documents ------------------------------------------------------------------ */

qn_status qn_json_parse(const char *text, size_t n, const char *where, bool allow_nul, json_t **out,
                        qn_error *err)
{
    const size_t flags = JSON_REJECT_DUPLICATES | (allow_nul ? JSON_ALLOW_NUL : 0);
    json_error_t e;
    json_t *root = json_loadb(text, n, flags, &e);
    if (!root && json_error_code(&e) == json_error_numeric_overflow) {
        bool memory;
        root = parse_again(text, n, flags, &e, &memory);
        if (!memory) return qn_fail_memory(err, where);
    }
    if (!root) return fail_parse(&e, where, err);
    *out = root;
    return QN_OK;
}

qn_status qn_json_load(const char *path, size_t limit, json_t **out, qn_error *err)
{
    char *text;
    size_t n;
    qn_status status = qn_read_file(path, limit, &text, &n, err);
    if (status) return status;
    status = qn_json_parse(text, n, path, false, out, err);
    qn_free(text);
    return status;
}

/* ---- look-ups --------------------------------------------------------------------------- */

static const char *kind_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    default: return "null";
    }
}

static qn_status wrong_kind(const json_t *v, const char *key, const char *where, const char *wanted,
                            qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is %s, not %s", where, key, kind_name(v), wanted);
}

/* *value is NULL, with QN_OK, when the key may be absent and is. */
static qn_status look_up(const json_t *o, const char *key, const char *where, bool *found,
                         json_t **value, qn_error *err)
{
    json_t *v = json_object_get(o, key);
    if (json_is_null(v)) v = NULL;
    if (!v && !found) return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is missing", where, key);
    *value = v;
    return QN_OK;
}

qn_status qn_json_u64(const json_t *o, const char *key, const char *where, uint64_t *out,
                      bool *found, qn_error *err)
{
    json_t *v = NULL;
    const qn_status status = look_up(o, key, where, found, &v, err);
    if (status) return status;
    if (v) {
        if (!json_is_integer(v)) return wrong_kind(v, key, where, "an integer", err);
        if (json_integer_value(v) < 0)
            return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is %lld, negative", where, key,
                           (long long)json_integer_value(v));
        *out = (uint64_t)json_integer_value(v);
    }
    if (found) *found = v != NULL;
    return QN_OK;
}

qn_status qn_json_f64(const json_t *o, const char *key, const char *where, double *out, bool *found,
                      qn_error *err)
{
    json_t *v = NULL;
    const qn_status status = look_up(o, key, where, found, &v, err);
    if (status) return status;
    if (v) {
        if (!json_is_number(v)) return wrong_kind(v, key, where, "a number", err);
        *out = json_number_value(v);
    }
    if (found) *found = v != NULL;
    return QN_OK;
}

qn_status qn_json_bool(const json_t *o, const char *key, const char *where, bool *out, bool *found,
                       qn_error *err)
{
    json_t *v = NULL;
    const qn_status status = look_up(o, key, where, found, &v, err);
    if (status) return status;
    if (v) {
        if (!json_is_boolean(v)) return wrong_kind(v, key, where, "a boolean", err);
        *out = json_is_true(v);
    }
    if (found) *found = v != NULL;
    return QN_OK;
}

qn_status qn_json_str(const json_t *o, const char *key, const char *where, qn_str *out, bool *found,
                      qn_error *err)
{
    json_t *v = NULL;
    const qn_status status = look_up(o, key, where, found, &v, err);
    if (status) return status;
    if (v) {
        if (!json_is_string(v)) return wrong_kind(v, key, where, "a string", err);
        *out = qn_str_of(json_string_value(v), json_string_length(v));
    }
    if (found) *found = v != NULL;
    return QN_OK;
}

/* ---- writing --------------------------------------------------------------------- */

void qn_json_add_string(qn_text *t, qn_str s)
{
    static const char letters[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    qn_text_adds(t, "\"");
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char c = (unsigned char)s.s[i];
        if (c == '"' || c == '\\')
            qn_text_addf(t, "\\%c", c);
        else if (c >= 0x20)
            qn_text_add(t, s.s + i, 1);
        else if (letters[c])
            qn_text_addf(t, "\\%c", letters[c]);
        else
            qn_text_addf(t, "\\u%04x", c);
    }
    qn_text_adds(t, "\"");
}

double qn_json_shortest(double v)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtof(text, NULL) == (float)v) break;
    }
    return strtod(text, NULL);
}
