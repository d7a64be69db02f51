/* Mixtral: Mistral with experts in every layer (conversion/llama.py, transformers
 * modeling_mixtral.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"MixtralForCausalLM", NULL};
static const char *const model_types[] = {"mixtral", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLES_LLAMA,
    {"model.layers.%.block_sparse_moe.gate.weight", "blk.%.ffn_gate_inp.weight", {QN_EXPERTS, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.block_sparse_moe.experts.#.w1.weight", "blk.%.ffn_gate_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.block_sparse_moe.experts.#.w2.weight", "blk.%.ffn_down_exps.weight", {QN_EXPERTS, QN_HIDDEN, QN_EXPERT_WIDTH}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.block_sparse_moe.experts.#.w3.weight", "blk.%.ffn_up_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const qn_parameter parameters[] = {
    QN_VOCAB_SIZE_ELSE(QN_REQUIRED),
    QN_ROPE_DIMENSIONS,
    QN_WINDOW_ELSE(0, QN_WRITE_SET),
    QN_COUNT_ELSE("num_local_experts", n_experts, 8),
    QN_COUNT_ELSE("num_experts_per_tok", n_experts_used, 2),
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 131072),
    QN_COUNT_ELSE("num_key_value_heads", n_kv_heads, 8),
    QN_FLAG("tie_word_embeddings", tied, 0),
    QN_ALWAYS(QN_FIELD_FLAG, expert_norm, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
};

const qn_family qn_family_mixtral = {
    .name = "mixtral",
    .architecture = "llama",
    .key = "expert_count",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_usually,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .common_keys = qn_keys_without_head_size,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
