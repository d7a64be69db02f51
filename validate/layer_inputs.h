/* Inputs that each layer has besides the residual stream (Gemma 3n and 4,
 * "per-layer embeddings"): of width P, made once from the token and its
 * embedding x, for all L layers.
 *
 *     token  = table[id] * sqrt(P)                                 [L][P]
 *     inputs = (norm(projection . x / sqrt(hidden)) + token) / sqrt(2)
 *
 * Behind the MLP each layer adds norm(out . (gelu(gate . x) * its input)).
 * (transformers modeling_gemma4.py, project_per_layer_inputs.) */
#ifndef QN_VALIDATE_LAYER_INPUTS_H
#define QN_VALIDATE_LAYER_INPUTS_H

#include "validate/session.h"

/* Of all tokens of a run, into s->inputs; s->x holds their embeddings. */
qn_status qn_layer_inputs_make(qn_session *s, const uint32_t *ids, size_t tokens, qn_error *err);

/* What a layer adds to the residual stream for them, or with several to all but
 * the first. */
qn_status qn_layer_inputs_add(qn_session *s, size_t layer, const qn_block *b, qn_error *err);

#endif
