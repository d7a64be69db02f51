/* How model.c and its two ways of filling a model share the work. */
#ifndef QN_FORMATS_MODEL_BUILD_H
#define QN_FORMATS_MODEL_BUILD_H

#include "formats/families/family.h"
#include "formats/model.h"

/* m has path, reader and arena.  On failure the caller closes m. */
qn_status qn_model_fill_checkpoint(qn_model *m, const qn_model_options *options, qn_error *err);
qn_status qn_model_fill_gguf(qn_model *m, const qn_model_options *options, qn_error *err);

/* Room for n tensors and their names. */
qn_status qn_model_reserve(qn_model *m, size_t n, qn_error *err);

/* Appends; t->name and the others live as long as m.  t->rows NULL means that
 * making them ran out of memory. */
qn_status qn_model_add(qn_model *m, const qn_model_tensor *t, qn_error *err);

/* t's shape, its name as source_name, and these. */
qn_model_tensor qn_model_tensor_of(const qn_tensor *t, const char *name, const qn_rows *rows);

/* t has the shape that m's hyperparameters ask of the role in that layer.
 * source: "config.json" or "the metadata", whose word that is. */
qn_status qn_model_check_shape(const qn_model *m, const qn_role *role, uint64_t layer,
                               const qn_tensor *t, const char *source, qn_error *err);

/* The role's transform of these rows (of a tensor of that rank), or undone; what
 * it makes of a vector is made at once, in memory.
 * *out is NULL, with QN_OK, when memory ran out: qn_model_add reports it. */
qn_status qn_model_transform(qn_model *m, const qn_role *role, unsigned rank, const qn_rows *below,
                             bool undo, const qn_rows **out, qn_error *err);

/* Experts that a checkpoint has one by one are gathered, and a layer's become
 * tensors of the model when all of them are there, as the converter does it.
 * Lives in m's arena. */
typedef struct qn_stacks qn_stacks;
qn_status qn_stacks_new(qn_model *m, qn_stacks **out, qn_error *err);

/* t plays a stacked role in that place, and has its shape. */
qn_status qn_stacks_add(qn_stacks *s, qn_model *m, const qn_role *role, qn_place place,
                        const qn_tensor *t, qn_error *err);

/* The first expert of a layer without a tensor for the role; n_experts when all
 * have one. */
uint64_t qn_stacks_missing(const qn_stacks *s, const qn_model *m, const qn_role *role,
                           uint64_t layer);

/* A line kept in the arena; "out of memory" when there is none for it. */
const char *qn_model_note(qn_model *m, const char *line);

#endif
