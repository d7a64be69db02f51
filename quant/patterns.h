/* A list of the user's regular expressions, asked whether one is found in a
 * name.  ECMAScript's dialect, as in --tensor-type; letters as written. */
#ifndef QN_QUANT_PATTERNS_H
#define QN_QUANT_PATTERNS_H

#include "formats/base/regex.h"

/* {0} is an empty list. */
typedef struct {
    qn_regex **at;
    size_t *hits; /* of each: names that it was found in */
    size_t n;
} qn_patterns;

/* QN_ERR_ARGUMENT, with the reason, when a text is no pattern; nothing to free
 * then. */
qn_status qn_patterns_compile(qn_patterns *out, const char *const *texts, size_t n, qn_error *err);
void qn_patterns_free(qn_patterns *p);

/* Asks every pattern, so that hits counts for all. */
qn_status qn_patterns_find(qn_patterns *p, const char *name, bool *found, qn_error *err);

#endif
