/* Rows of role tables that most families have under the same names: what a
 * family's table begins with. */
#ifndef QN_FORMATS_FAMILIES_ROLES_H
#define QN_FORMATS_FAMILIES_ROLES_H

#include "formats/families/family.h"

/* One row a line. */
/* clang-format off */
#define QN_ROLE_EMBEDDING \
    {"model.embed_tokens.weight", "token_embd.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_NEEDED}

#define QN_ROLE_ROPE_DIVISORS \
    {NULL, "rope_freqs.weight", {QN_ROPE_PAIRS}, QN_ROPE_DIVISORS, QN_OPTIONAL}

#define QN_ROLES_OUTPUT \
    {"model.norm.weight", "output_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED}, \
    {"lm_head.weight", "output.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_IF_UNTIED}

/* Of models whose head is the embedding unless config.json says otherwise; t: the transform of norms. */
#define QN_ROLES_TIED_OUTPUT(t) \
    {"model.norm.weight", "output_norm.weight", {QN_HIDDEN}, t, QN_NEEDED}, \
    {"lm_head.weight", "output.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_ONLY_UNTIED}

/* Before each of the two branches, as Llama names them. */
#define QN_ROLES_PRE_NORMS(t) \
    {"model.layers.%.input_layernorm.weight", "blk.%.attn_norm.weight", {QN_HIDDEN}, t, QN_NEEDED}, \
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.ffn_norm.weight", {QN_HIDDEN}, t, QN_NEEDED}

/* Before and behind each of them, as Gemma names them from 2 on. */
#define QN_ROLES_FOUR_NORMS(t) \
    {"model.layers.%.input_layernorm.weight", "blk.%.attn_norm.weight", {QN_HIDDEN}, t, QN_NEEDED}, \
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", {QN_HIDDEN}, t, QN_NEEDED}, \
    {"model.layers.%.pre_feedforward_layernorm.weight", "blk.%.ffn_norm.weight", {QN_HIDDEN}, t, QN_NEEDED}, \
    {"model.layers.%.post_feedforward_layernorm.weight", "blk.%.post_ffw_norm.weight", {QN_HIDDEN}, t, QN_NEEDED}

/* q, k: the transforms of queries and keys; keys, values: when these must be there. */
#define QN_ROLES_ATTENTION_WITH(q, k, keys, values) \
    {"model.layers.%.self_attn.q_proj.weight", "blk.%.attn_q.weight", {QN_QUERIES, QN_HIDDEN}, q, QN_NEEDED}, \
    {"model.layers.%.self_attn.k_proj.weight", "blk.%.attn_k.weight", {QN_KEYS, QN_HIDDEN}, k, keys}, \
    {"model.layers.%.self_attn.v_proj.weight", "blk.%.attn_v.weight", {QN_VALUES, QN_HIDDEN}, QN_AS_IS, values}, \
    {"model.layers.%.self_attn.o_proj.weight", "blk.%.attn_output.weight", {QN_HIDDEN, QN_ATTENTION}, QN_AS_IS, QN_NEEDED}

#define QN_ROLES_ATTENTION(q, k) QN_ROLES_ATTENTION_WITH(q, k, QN_NEEDED, QN_NEEDED)

/* What the tables of Llama and its nearest kin begin with. */
#define QN_ROLES_LLAMA \
    QN_ROLE_ROPE_DIVISORS, \
    QN_ROLE_EMBEDDING, \
    QN_ROLES_PRE_NORMS(QN_AS_IS), \
    QN_ROLES_ATTENTION(QN_PERMUTE_Q, QN_PERMUTE_K)

#define QN_ROLES_INPUT_BIASES(q, k, need) \
    {"model.layers.%.self_attn.q_proj.bias", "blk.%.attn_q.bias", {QN_QUERIES}, q, need}, \
    {"model.layers.%.self_attn.k_proj.bias", "blk.%.attn_k.bias", {QN_KEYS}, k, need}, \
    {"model.layers.%.self_attn.v_proj.bias", "blk.%.attn_v.bias", {QN_VALUES}, QN_AS_IS, need}

#define QN_ROLES_ATTENTION_BIASES(q, k) \
    QN_ROLES_INPUT_BIASES(q, k, QN_IF_ATTENTION_BIAS), \
    {"model.layers.%.self_attn.o_proj.bias", "blk.%.attn_output.bias", {QN_HIDDEN}, QN_AS_IS, QN_IF_ATTENTION_BIAS}

/* Of each head by itself, before rope; t: their transform, keys: when that of keys must be there. */
#define QN_ROLES_HEAD_NORMS(t, keys) \
    {"model.layers.%.self_attn.q_norm.weight", "blk.%.attn_q_norm.weight", {QN_HEAD}, t, QN_NEEDED}, \
    {"model.layers.%.self_attn.k_norm.weight", "blk.%.attn_k_norm.weight", {QN_HEAD}, t, keys}

#define QN_ROLES_MLP(need) \
    {"model.layers.%.mlp.gate_proj.weight", "blk.%.ffn_gate.weight", {QN_FEED_FORWARD, QN_HIDDEN}, QN_AS_IS, need}, \
    {"model.layers.%.mlp.up_proj.weight", "blk.%.ffn_up.weight", {QN_FEED_FORWARD, QN_HIDDEN}, QN_AS_IS, need}, \
    {"model.layers.%.mlp.down_proj.weight", "blk.%.ffn_down.weight", {QN_HIDDEN, QN_FEED_FORWARD}, QN_AS_IS, need}

#define QN_ROLES_MLP_BIASES \
    {"model.layers.%.mlp.gate_proj.bias", "blk.%.ffn_gate.bias", {QN_FEED_FORWARD}, QN_AS_IS, QN_IF_MLP_BIAS}, \
    {"model.layers.%.mlp.up_proj.bias", "blk.%.ffn_up.bias", {QN_FEED_FORWARD}, QN_AS_IS, QN_IF_MLP_BIAS}, \
    {"model.layers.%.mlp.down_proj.bias", "blk.%.ffn_down.bias", {QN_HIDDEN}, QN_AS_IS, QN_IF_MLP_BIAS}

/* A router and its experts, one by one or stacked as transformers 5 saves them. */
#define QN_ROLES_QWEN_EXPERTS \
    {"model.layers.%.mlp.gate.weight", "blk.%.ffn_gate_inp.weight", {QN_EXPERTS, QN_HIDDEN}, QN_AS_IS, QN_IF_ROUTED}, \
    {"model.layers.%.mlp.experts.#.down_proj.weight", "blk.%.ffn_down_exps.weight", {QN_EXPERTS, QN_HIDDEN, QN_EXPERT_WIDTH}, QN_AS_IS, QN_IF_ROUTED}, \
    {"model.layers.%.mlp.experts.#.gate_proj.weight", "blk.%.ffn_gate_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_AS_IS, QN_IF_ROUTED}, \
    {"model.layers.%.mlp.experts.#.up_proj.weight", "blk.%.ffn_up_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_AS_IS, QN_IF_ROUTED}, \
    {"model.layers.%.mlp.experts.down_proj", "blk.%.ffn_down_exps.weight", {QN_EXPERTS, QN_HIDDEN, QN_EXPERT_WIDTH}, QN_AS_IS, QN_IF_ROUTED}, \
    {"model.layers.%.mlp.experts.gate_up_proj", "blk.%.ffn_gate_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_FIRST_HALF, QN_IF_ROUTED}, \
    {"model.layers.%.mlp.experts.gate_up_proj", "blk.%.ffn_up_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_SECOND_HALF, QN_IF_ROUTED}

/* What multimodal classes put before the text model's names, and their towers. */
#define QN_PREFIXES_INNER {"model.language_model.", "model."}
#define QN_PREFIXES_OUTER {"language_model.model.", "model."}, {"language_model.lm_head.", "lm_head."}
#define QN_TOWERS_VISION \
    "model.vision_tower.", "model.multi_modal_projector.", "vision_tower.", "multi_modal_projector."
/* clang-format on */

#endif
