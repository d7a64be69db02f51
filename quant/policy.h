/* llama-quantize's decisions: which type a tensor gets, and why.
 *
 * A tensor is kept, or its type was named by the user, or the mix's rules
 * (mix_rules.h) look at what it is for, its shape and its place among its kind,
 * at a few numbers of the model (layers, heads, experts) and at the
 * architecture; then rows must be whole blocks.  Source of the facts: llama.cpp
 * src/llama-quant.cpp (the order of the questions, the counters).
 *
 * Two differences, both on what llama-quantize cannot load: tensors of a
 * generic model keep the names of their checkpoint, so the names' rules do not
 * apply to them; and integers stay what they are. */
#ifndef QN_QUANT_POLICY_H
#define QN_QUANT_POLICY_H

#include "quant/mix_rules.h"
#include "quant/plan.h"

typedef struct {
    const qn_quantize_options *options;
    const char *architecture;
    bool generic;
    bool tied;       /* no output.weight: the token embedding is the head */
    unsigned traits; /* of the model: QN_TRAIT_... */
    uint64_t experts, layers;
    uint64_t n_attn_v;            /* tensors like attn_v in the model */
    uint64_t seen[QN_KIND_COUNT]; /* tensors of each kind that the rules have decided on; not
                                     those whose type the user named */
} qn_policy;

/* The number N of a name that begins "blk.N", or -1. */
int64_t qn_policy_block(const char *name);

/* Missing metadata is no error: a generic model has none. */
qn_status qn_policy_init(qn_policy *p, const qn_model *m, const qn_quantize_options *options,
                         qn_error *err);

/* Fills e->dtype, reason, fallback and needs_importance for e->tensor with e->rule,
 * which is of type `kept` where the rules leave it alone.  To be called for every
 * tensor in the order of the output, since some rules count. */
void qn_policy_decide(qn_policy *p, qn_plan_entry *e, qn_dtype kept);

#endif
