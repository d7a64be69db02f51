#include <string.h>

#include "formats/base/json.h"
#include "formats/base/sizes.h"

static void skip_blanks(qn_json_walk *w)
{
    while (w->at < w->n && w->text[w->at] && strchr(" \t\r\n", w->text[w->at])) w->at++;
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
    json_t *value = json_loadb(
        w->text + w->at, n, JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY, &e);
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

qn_status qn_json_walk_enter(qn_json_walk *w, qn_error *err)
{
    skip_blanks(w);
    if (!at(w, '{')) return expected(w, "'{'", err);
    w->at++;
    w->first = true;
    return QN_OK;
}

qn_status qn_json_walk_key(qn_json_walk *w, qn_text *key, bool *more, qn_error *err)
{
    json_t *name;
    const bool first = w->first;
    w->first = false;
    skip_blanks(w);
    if (at(w, '}')) {
        w->at++;
        *more = false;
        return QN_OK;
    }
    if (!first) {
        if (!at(w, ',')) return expected(w, "',' or '}'", err);
        w->at++;
        skip_blanks(w);
    }
    if (!at(w, '"')) return expected(w, "a key", err);
    const qn_status status = parse_here(w, SIZE_MAX, &name, err);
    if (status) return status;
    key->n = 0;
    qn_text_add(key, json_string_value(name), json_string_length(name));
    json_decref(name);
    if (key->failed) return qn_fail_memory(err, w->where);
    skip_blanks(w);
    if (!at(w, ':')) return expected(w, "':'", err);
    w->at++;
    skip_blanks(w);
    *more = true;
    return QN_OK;
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
