/* What stands beside a checkpoint's weights, taken along to a new one. */
#ifndef QN_FORMATS_CARRY_H
#define QN_FORMATS_CARRY_H

#include "formats/base/json.h"
#include "formats/convert.h"

/* config.json's root, the caller's to json_decref: m's own; from GGUF made (so
 * that m needs a family); an empty object beside tensors without one. */
qn_status qn_carry_config(const qn_model *m, json_t **out, qn_error *err);

/* Writes it to dir: nine digits tell every float32 of GGUF apart, seventeen every
 * double. */
qn_status qn_carry_write_config(const qn_model *m, const json_t *root, const char *dir,
                                qn_error *err);

/* Says in a config.json what adapters made of m's vocabulary: its size, a head of
 * its own. */
qn_status qn_carry_vocabulary(const qn_model *m, json_t *root, qn_error *err);

/* The files of a tokenizer, NULL at the end. */
extern const char *const qn_tokenizer_files[];

/* The directory that a file of m's checkpoint is taken from: m's, or for a
 * tokenizer's the adapter's that has one; NULL: it is not taken. */
const char *qn_carry_source(const qn_model *m, const char *name);

/* Copies every plain file beside m's weights but config.json, weights (by their
 * suffixes: .safetensors, .bin, .pt, .pth, .gguf ...), their indices and hidden
 * files.  m comes from a checkpoint.  *tokenizer: whether one of them is a
 * tokenizer's. */
qn_status qn_carry_files(const qn_model *m, const char *to, bool *tokenizer, qn_error *err);

#endif
