/* A hash map from byte strings to indices: tensor names, vocabularies.
 * Hostile keys cannot make it slow (XXH3 with a seed drawn per map). */
#ifndef QN_FORMATS_BASE_NAMES_H
#define QN_FORMATS_BASE_NAMES_H

#include <stdint.h>

#include "formats/base/text.h"

typedef struct qn_names qn_names;

/* NULL: no memory.  expected: a hint, 0 is fine. */
qn_names *qn_names_new(size_t expected);
void qn_names_free(qn_names *m);

/* Keys are views: the caller keeps the bytes alive.  Adds key -> value; when
 * the key is there already nothing changes and *present is true.  present may
 * be NULL.  Only QN_ERR_MEMORY can happen. */
qn_status qn_names_add(qn_names *m, qn_str key, uint32_t value, bool *present);

/* The value, or UINT32_MAX when the key is not there. */
uint32_t qn_names_find(const qn_names *m, qn_str key);

size_t qn_names_count(const qn_names *m);

#endif
