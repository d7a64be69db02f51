/* llama-quantize's rules: which type a tensor of a mix gets.
 *
 * The rules look at a tensor's name, shape and place among its kind, at a few
 * numbers of the model (layers, heads, experts) and at the architecture.
 * Source of the facts: llama.cpp src/llama-quant.cpp (the order of the
 * questions, the names, the thresholds); docs/formats/gguf.md tells them.
 *
 * Two differences, both on what llama-quantize cannot load: tensors of a
 * generic model keep the names of their checkpoint, so the names' rules do not
 * apply to them; and integers stay what they are. */
#ifndef QN_QUANT_POLICY_H
#define QN_QUANT_POLICY_H

#include "quant/plan.h"

typedef struct {
    const qn_quantize_options *options;
    bool generic, falcon;
    bool has_importance; /* some rules ask whether a matrix was given, whatever is in it */
    bool tied;           /* no output.weight: the token embedding is the head */
    bool is_70b;         /* eight query heads share a value head: attn_v is small */
    uint64_t experts, layers;
    uint64_t n_attn_v;             /* tensors like attn_v in the model */
    uint64_t i_attn_v, i_ffn_down; /* how many the rules have seen */
} qn_policy;

/* The number N of a name that begins "blk.N", or -1. */
int64_t qn_policy_block(const char *name);

/* Missing metadata is no error: a generic model has none. */
qn_status qn_policy_init(qn_policy *p, const qn_model *m, const qn_quantize_options *options,
                         qn_error *err);

/* Fills e->dtype, e->reason and e->fallback for e->tensor with e->rule, which is
 * of type `kept` where the rules leave it alone.  To be called for every tensor in the
 * order of the output, since some rules count. */
void qn_policy_decide(qn_policy *p, qn_plan_entry *e, qn_dtype kept);

#endif
