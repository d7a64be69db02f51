#include <string.h>

#include "formats/base/json.h"
#include "formats/base/sizes.h"

static void skip_blanks(qn_json_walk *w)
{
    for (; w->at < w->n; w->at++) {
        const char c = w->text[w->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') break;
    }
}

static bool at(const qn_json_walk *w, char c)
{
    return w->at < w->n && w->text[w->at] == c;
}

static qn_status expected(const qn_json_walk *w, const char *what, qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: at byte %zu of %zu: %s expected", w->where, w->at, w->n,
                   what);
}

/* The value of any kind that begins here, by jansson, which is shown no more
 * than limit bytes. */
static qn_status parse_here(qn_json_walk *w, size_t limit, json_t **out, qn_error *err)
{
    json_error_t e;
    const size_t n = (size_t)qn_min_u64(w->n - w->at, limit);
    json_t *value = qn_json_load_piece(w->text + w->at, n, &e);
    if (!value) {
        const enum json_error_code code = json_error_code(&e);
        if (code == json_error_out_of_memory) return qn_fail_memory(err, w->where);
        if (n == limit &&
            (code == json_error_premature_end_of_input || (size_t)e.position >= limit))
            return qn_fail(err, QN_ERR_DATA, "%s: at byte %zu: a value longer than %zu bytes",
                           w->where, w->at, limit);
        return qn_fail(err, QN_ERR_DATA, "%s: at byte %zu: %s", w->where,
                       w->at + (size_t)e.position, e.text);
    }
    w->at += (size_t)e.position;
    *out = value;
    return QN_OK;
}

qn_status qn_json_walk_open(qn_json_walk *w, const char *text, size_t n, const char *where,
                            qn_error *err)
{
    *w = (qn_json_walk){.text = text, .where = where, .n = n};
    return qn_json_walk_enter(w, err);
}

static qn_status enter(qn_json_walk *w, char open, const char *what, qn_error *err)
{
    skip_blanks(w);
    if (!at(w, open)) return expected(w, what, err);
    w->at++;
    w->first = true;
    return QN_OK;
}

qn_status qn_json_walk_enter(qn_json_walk *w, qn_error *err)
{
    return enter(w, '{', "'{'", err);
}

qn_status qn_json_walk_enter_list(qn_json_walk *w, qn_error *err)
{
    return enter(w, '[', "'['", err);
}

/* To what stands behind the comma, or past what closes. */
static qn_status next(qn_json_walk *w, char close, const char *what, bool *more, qn_error *err)
{
    const bool first = w->first;
    w->first = false;
    skip_blanks(w);
    *more = !at(w, close);
    if (!*more) {
        w->at++;
        return QN_OK;
    }
    if (first) return QN_OK;
    if (!at(w, ',')) return expected(w, what, err);
    w->at++;
    skip_blanks(w);
    return QN_OK;
}

qn_status qn_json_walk_item(qn_json_walk *w, bool *more, qn_error *err)
{
    return next(w, ']', "',' or ']'", more, err);
}

qn_status qn_json_walk_member(qn_json_walk *w, bool *more, qn_error *err)
{
    const qn_status status = next(w, '}', "',' or '}'", more, err);
    if (status || !*more || at(w, '"')) return status;
    return expected(w, "a key", err);
}

qn_status qn_json_walk_colon(qn_json_walk *w, qn_error *err)
{
    skip_blanks(w);
    if (!at(w, ':')) return expected(w, "':'", err);
    w->at++;
    skip_blanks(w);
    return QN_OK;
}

qn_status qn_json_walk_key(qn_json_walk *w, qn_text *key, bool *more, qn_error *err)
{
    qn_str text;
    qn_status status = qn_json_walk_member(w, more, err);
    if (status || !*more) return status;
    if ((status = qn_json_walk_string(w, key, &text, err))) return status;
    if (text.s != key->s) {
        key->n = 0;
        qn_text_add(key, text.s, text.n);
    }
    return key->failed ? qn_fail_memory(err, w->where) : qn_json_walk_colon(w, err);
}

/* ---- values --------------------------------------------------------------------------- */

char qn_json_walk_kind(const qn_json_walk *w)
{
    return w->at < w->n ? w->text[w->at] : 0;
}

/* The bytes between the quotes, when they stand for themselves. */
static bool plain_string(const qn_json_walk *w, qn_str *out)
{
    const char *const begin = w->text + w->at + 1;
    size_t i = w->at + 1, used;
    unsigned cp;
    for (; i < w->n && w->text[i] != '"'; i += used) {
        const unsigned char c = (unsigned char)w->text[i];
        used = 1;
        if (c == '\\' || c < ' ') return false;
        if (c >= 0x80 && !(used = qn_utf8_decode(w->text + i, w->n - i, &cp))) return false;
    }
    *out = qn_str_of(begin, (size_t)(w->text + i - begin));
    return i < w->n;
}

qn_status qn_json_walk_string(qn_json_walk *w, qn_text *scratch, qn_str *out, qn_error *err)
{
    json_t *value;
    if (!at(w, '"')) return expected(w, "a string", err);
    if (plain_string(w, out)) {
        w->at += out->n + 2;
        return QN_OK;
    }
    const qn_status status = parse_here(w, SIZE_MAX, &value, err);
    if (status) return status;
    scratch->n = 0;
    qn_text_add(scratch, json_string_value(value), json_string_length(value));
    json_decref(value);
    *out = qn_str_of(scratch->s, scratch->n);
    return scratch->failed ? qn_fail_memory(err, w->where) : QN_OK;
}

bool qn_json_walk_whole(qn_json_walk *w, int64_t *out)
{
    enum { MOST_DIGITS = 18 };
    int64_t value = 0;
    size_t i = w->at;
    while (i < w->n && i - w->at < MOST_DIGITS && w->text[i] >= '0' && w->text[i] <= '9')
        value = 10 * value + (w->text[i++] - '0');
    const size_t digits = i - w->at;
    if (!digits || (digits > 1 && w->text[w->at] == '0')) return false;
    if (i == w->n || !strchr(",]} \t\r\n", w->text[i]) || !w->text[i]) return false;
    *out = value;
    w->at = i;
    return true;
}

qn_status qn_json_walk_value(qn_json_walk *w, size_t limit, json_t **out, qn_error *err)
{
    return parse_here(w, limit, out, err);
}

qn_status qn_json_walk_end(qn_json_walk *w, qn_error *err)
{
    skip_blanks(w);
    return w->at == w->n ? QN_OK : expected(w, "nothing more", err);
}
