/* The way back: a model under its checkpoint's names and layout, to be written
 * as safetensors, and the files that make a directory of it.
 *
 * What is exported is a qn_model as well, so qn_plan_convert and the pipeline
 * write it like any other; transforms are undone by row sources, computed
 * tensors (rope_freqs.weight) are left out, tensors stand in the order of
 * their names. */
#ifndef QN_FORMATS_EXPORT_H
#define QN_FORMATS_EXPORT_H

#include "formats/base/json.h"
#include "formats/convert.h"

/* m outlives *out, which qn_model_close ends.  A generic model keeps its
 * names; another one without a family is QN_ERR_UNSUPPORTED.  Every tensor
 * takes the outtype; metadata is {"format": "pt"}. */
qn_status qn_export_open(qn_model **out, const qn_model *m, qn_error *err);

/* Whether some tensors stay MXFP4: codes and scales, which config.json tells of. */
bool qn_export_has_packed(const qn_model *m);

/* Whether the files beside the weights can be made, which is known before hours of
 * work: what config.json or the tokenizer's files cannot say is
 * QN_ERR_UNSUPPORTED. */
qn_status qn_export_check(const qn_model *m, qn_outtype outtype, qn_error *err);

/* What stands in config.json for a model from GGUF with a family; the caller's to
 * json_decref. */
qn_status qn_export_made_config(const qn_model *m, qn_outtype outtype, json_t **out, qn_error *err);

/* Into the existing directory dir: the tokenizer's files and generation_config.json
 * of a model from GGUF that has a vocabulary. */
qn_status qn_export_vocabulary(const qn_model *m, const char *dir, qn_error *err);

/* Into the existing directory dir: config.json, saying the outtype (F32, F16 or
 * BF16), the tokenizer's files and generation_config.json.  From a checkpoint the
 * latter are copied, from GGUF they are made; *tokenizer says whether there is a
 * tokenizer.  None of them may be there yet.  m is the model itself, not the exported
 * one. */
qn_status qn_export_files(const qn_model *m, const char *dir, qn_outtype outtype, bool *tokenizer,
                          qn_error *err);

#endif
