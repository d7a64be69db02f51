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

#endif
