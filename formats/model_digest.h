/* A name for a model by what it holds, cheap at any size. */
#ifndef QN_FORMATS_MODEL_DIGEST_H
#define QN_FORMATS_MODEL_DIGEST_H

#include "formats/model.h"

/* SHA-256, in hex, over each tensor's name, type, shape and up to eight of its rows as
 * float32, evenly spread, the first and the last among them, and over the metadata but
 * for the tokenizer's and general keys (names, authors): another quantization, an adapter,
 * a fine-tune or another rotary base is another model, a file renamed or split is not.
 * A checkpoint and the GGUF file converted from it differ in their tensors' types at most.
 * Fails for memory, or a row that cannot be decoded. */
qn_status qn_model_digest(const qn_model *m, const qn_kernels *k, char out[65], qn_error *err);

#endif
