/* JSON, over jansson: what the readers and reports need, with the file's name
 * and line in every error.  Duplicate keys, bad UTF-8, trailing text and
 * numbers out of range are refused; an integer beyond 63 bits becomes a real
 * (Python writes model_max_length 1e30 as an integer of 31 digits). */
#ifndef QN_FORMATS_BASE_JSON_H
#define QN_FORMATS_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "formats/base/text.h"

/* `where` names the source in messages ("config.json").  The result is the
 * caller's (json_decref).  Strings may hold NUL where allow_nul. */
qn_status qn_json_parse(const char *text, size_t n, const char *where, bool allow_nul, json_t **out,
                        qn_error *err);
qn_status qn_json_load(const char *path, size_t limit, json_t **out, qn_error *err);

/* The value of any kind that the text begins with, whose length is then
 * e->position; NULL, and e says why. */
json_t *qn_json_load_piece(const char *text, size_t n, json_error_t *e);

/* A document too large to be held as a tree (a header of 200,000 tensors), one
 * member of its outer objects at a time:
 *
 *     qn_json_walk_open(&w, text, n, where, err)
 *     while (!(status = qn_json_walk_key(&w, &key, &more, err)) && more)
 *         qn_json_walk_value(...) or qn_json_walk_enter() and the same loop
 *     qn_json_walk_end(&w, err)
 *
 * Lists likewise, with qn_json_walk_enter_list() and qn_json_walk_item().
 * Repeated keys are for the caller to find; inside a value they are refused.
 * Values are jansson's; only strings without escapes and small whole numbers,
 * which mean what they are, are taken from the text as they stand. */
typedef struct {
    const char *text, *where;
    size_t n, at;
    bool first; /* no member of this object or list was seen yet */
} qn_json_walk;

/* At an object's '{', blanks before it skipped. */
qn_status qn_json_walk_open(qn_json_walk *w, const char *text, size_t n, const char *where,
                            qn_error *err);

/* The next member's key into *key (its former text is dropped; the caller
 * frees it in the end), and w at its value; *more false at the closing '}'. */
qn_status qn_json_walk_key(qn_json_walk *w, qn_text *key, bool *more, qn_error *err);

/* The two halves of qn_json_walk_key: w at the next member's key, which is a
 * string, and from behind it to the value. */
qn_status qn_json_walk_member(qn_json_walk *w, bool *more, qn_error *err);
qn_status qn_json_walk_colon(qn_json_walk *w, qn_error *err);

/* Into the value, which must be a list; w at its next element, *more false
 * at the closing ']'. */
qn_status qn_json_walk_enter_list(qn_json_walk *w, qn_error *err);
qn_status qn_json_walk_item(qn_json_walk *w, bool *more, qn_error *err);

/* The first byte of the value here: '{', '[', '"'; 0 at the end. */
char qn_json_walk_kind(const qn_json_walk *w);

/* The string here: a view into the text, or where it has escapes into *scratch
 * (its former text is dropped). */
qn_status qn_json_walk_string(qn_json_walk *w, qn_text *scratch, qn_str *out, qn_error *err);

/* A whole number of 1 to 18 digits into *out; false, and nothing is done, where
 * anything else stands. */
bool qn_json_walk_whole(qn_json_walk *w, int64_t *out);

/* The value as a tree (json_decref), refused when longer than limit bytes. */
qn_status qn_json_walk_value(qn_json_walk *w, size_t limit, json_t **out, qn_error *err);

/* Into the value, which must be an object: its members come next. */
qn_status qn_json_walk_enter(qn_json_walk *w, qn_error *err);

/* Behind the outer '}' only blanks may follow. */
qn_status qn_json_walk_end(qn_json_walk *w, qn_error *err);

/* Look-ups in an object.  A key that is absent or null leaves *out untouched
 * and *found false (found may be NULL: then absence is an error).  A value of
 * another kind is QN_ERR_DATA and names where, key and the kind it has. */
qn_status qn_json_u64(const json_t *o, const char *key, const char *where, uint64_t *out,
                      bool *found, qn_error *err);
qn_status qn_json_f64(const json_t *o, const char *key, const char *where, double *out, bool *found,
                      qn_error *err); /* integers are numbers, too */
qn_status qn_json_bool(const json_t *o, const char *key, const char *where, bool *out, bool *found,
                       qn_error *err);
qn_status qn_json_str(const json_t *o, const char *key, const char *where, qn_str *out, bool *found,
                      qn_error *err); /* a view into o */

/* s in quotation marks, with the escapes that serde_json chooses. */
void qn_json_add_string(qn_text *t, qn_str s);

/* The shortest decimal that is the same float32, for json_real: 0.95, not
 * 0.949999988079071. */
double qn_json_shortest(double v);

#endif
