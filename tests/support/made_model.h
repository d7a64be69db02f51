/* Models made by hand: names, shapes, metadata, and values where they matter. */
#ifndef QN_TESTS_SUPPORT_MADE_MODEL_H
#define QN_TESTS_SUPPORT_MADE_MODEL_H

#include "formats/model.h"

/* As if read from a GGUF file of this architecture. */
qn_model *made_model_new(const char *architecture);
void made_model_free(qn_model *m);

/* Sets ARCHITECTURE.KEY. */
void made_model_number(qn_model *m, const char *key, uint32_t value);

/* data: the rows as they are stored, which the caller keeps; NULL for a shape
 * without values. */
void made_model_add(qn_model *m, const char *name, qn_dtype dtype, unsigned rank,
                    const uint64_t *dims, const void *data);

#endif
