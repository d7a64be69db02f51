/* Qwen 2 and 1.5 with experts in every layer, or all but some, and one that all tokens pass
 * (conversion/qwen.py, transformers modeling_qwen2_moe.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Qwen2MoeForCausalLM", NULL};
static const char *const model_types[] = {"qwen2_moe", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    QN_ROLES_PRE_NORMS(QN_AS_IS),
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_INPUT_BIASES(QN_AS_IS, QN_AS_IS, QN_NEEDED),
    QN_ROLES_QWEN_EXPERTS,
    QN_ROLES_MLP(QN_IF_DENSE),
    {"model.layers.%.mlp.shared_expert.gate_proj.weight", "blk.%.ffn_gate_shexp.weight", {QN_SHARED_WIDTH, QN_HIDDEN}, QN_AS_IS, QN_IF_ROUTED},
    {"model.layers.%.mlp.shared_expert.up_proj.weight", "blk.%.ffn_up_shexp.weight", {QN_SHARED_WIDTH, QN_HIDDEN}, QN_AS_IS, QN_IF_ROUTED},
    {"model.layers.%.mlp.shared_expert.down_proj.weight", "blk.%.ffn_down_shexp.weight", {QN_HIDDEN, QN_SHARED_WIDTH}, QN_AS_IS, QN_IF_ROUTED},
    {"model.layers.%.mlp.shared_expert_gate.weight", "blk.%.ffn_gate_inp_shexp.weight", {QN_ONE, QN_HIDDEN}, QN_AS_IS, QN_IF_ROUTED},
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const qn_parameter parameters[] = {
    QN_EXPERT_WIDTH_ELSE("moe_intermediate_size", 1408, 0),
    {.config = {"shared_expert_intermediate_size"},
     .field = QN_HPARAM(shared_feed_forward),
     .config_else = 5632,
     .gguf = {"expert_shared_feed_forward_length"},
     .write = QN_WRITE_ALWAYS},
    QN_QWEN_EXPERT_NORM(0),
    QN_QWEN_ROUTED_LAYERS,
    {.config = {"num_experts"}, .may_be_zero = true, .field = QN_HPARAM(n_experts)},
    QN_COUNT_ELSE("num_experts_per_tok", n_experts_used, 4),
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 32768),
    QN_COUNT_ELSE("vocab_size", n_vocab, 151936),
    QN_FLAG("tie_word_embeddings", tied, 0),
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
    {.key = "use_sliding_window", .number = 0},
    {.key = "qkv_bias", .number = 1},
};

const qn_family qn_family_qwen2moe = {
    .name = "qwen2-moe",
    .architecture = "qwen2moe",
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
