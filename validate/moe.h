/* Mixture of experts (Shazeer et al., 2017; transformers, modeling_qwen3_moe.py
 * and modeling_mixtral.py):
 *
 *     p   = softmax of router . x, over all experts
 *     out = sum over the n_experts_used largest p[e] of weight[e] expert[e](x)
 *     expert(x) = down . (activation(gate . x) * (up . x))
 *
 * weight is p, made to add up to 1 when hparams.expert_norm, then times the
 * expert's own scale where the layer has one (transformers, modeling_gemma4.py).  An expert that all
 * tokens pass is added, times sigmoid(shared_gate . x) where there is such a
 * gate.
 *
 * Of equal p the lower expert is taken first, and a token's experts are added
 * in rising order: its result does not depend on its neighbours. */
#ifndef QN_VALIDATE_MOE_H
#define QN_VALIDATE_MOE_H

#include "validate/session.h"

/* The scratch of a session's moe; NULL is fine. */
void qn_moe_free(qn_moe_scratch *m);
uint64_t qn_moe_bytes(const qn_hparams *h, size_t rows); /* what that takes */

/* x and out [rows][hidden], not the same.  residual: what a router with a scale
 * of its own reads instead of x.  Uses s->gate and s->up. */
qn_status qn_moe_run(qn_session *s, const qn_layer *l, const float *x, const float *residual,
                     size_t rows, float *out, qn_error *err);

#endif
