/* A name for a model by what it holds, cheap at any size. */
#ifndef QN_FORMATS_MODEL_DIGEST_H
#define QN_FORMATS_MODEL_DIGEST_H

#include "formats/model.h"

/* SHA-256, in hex, over each tensor's name, type, shape and first row as float32:
 * another quantization, an adapter or a fine-tune is another model.  Fails for
 * memory, or a row that cannot be decoded. */
qn_status qn_model_digest(const qn_model *m, const qn_kernels *k, char out[65], qn_error *err);

#endif
