/* Granite 3, dense and with experts: a Llama whose embeddings, branches,
 * attention scores and logits are multiplied by numbers (conversion/granite.py,
 * transformers modeling_granite.py, modeling_granitemoe.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"GraniteForCausalLM", NULL};
static const char *const model_types[] = {"granite", NULL};
static const char *const moe_classes[] = {"GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM",
                                          NULL};
static const char *const moe_model_types[] = {"granitemoe", "granitemoeshared", NULL};

/* One row a line. */
/* clang-format off */
#define GRANITE_ROLES \
    QN_ROLES_LLAMA, \
    QN_ROLES_ATTENTION_BIASES(QN_PERMUTE_Q, QN_PERMUTE_K), \
    QN_ROLES_OUTPUT

static const qn_role roles[] = {
    GRANITE_ROLES,
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_MLP_BIASES,
};

static const qn_role moe_roles[] = {
    GRANITE_ROLES,
    {"model.layers.%.block_sparse_moe.router.layer.weight", "blk.%.ffn_gate_inp.weight", {QN_EXPERTS, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.block_sparse_moe.input_linear.weight", "blk.%.ffn_gate_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_FIRST_HALF, QN_NEEDED},
    {"model.layers.%.block_sparse_moe.input_linear.weight", "blk.%.ffn_up_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_SECOND_HALF, QN_NEEDED},
    {"model.layers.%.block_sparse_moe.output_linear.weight", "blk.%.ffn_down_exps.weight", {QN_EXPERTS, QN_HIDDEN, QN_EXPERT_WIDTH}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.shared_mlp.input_linear.weight", "blk.%.ffn_gate_shexp.weight", {QN_SHARED_WIDTH, QN_HIDDEN}, QN_FIRST_HALF, QN_IF_SHARED},
    {"model.layers.%.shared_mlp.input_linear.weight", "blk.%.ffn_up_shexp.weight", {QN_SHARED_WIDTH, QN_HIDDEN}, QN_SECOND_HALF, QN_IF_SHARED},
    {"model.layers.%.shared_mlp.output_linear.weight", "blk.%.ffn_down_shexp.weight", {QN_HIDDEN, QN_SHARED_WIDTH}, QN_AS_IS, QN_IF_SHARED},
};
/* clang-format on */

/* In front, then behind what the family has of its own. */
#define GRANITE_PARAMETERS                         \
    QN_VOCAB_SIZE_ELSE(32000), QN_ROPE_DIMENSIONS, \
        {.config = {"attention_multiplier"},       \
         .kind = QN_FIELD_REAL,                    \
         .field = QN_HPARAM(attention_scale),      \
         .config_else = 1,                         \
         .gguf = {"attention.scale"},              \
         .write = QN_WRITE_ALWAYS},                \
        {.config = {"embedding_multiplier"},       \
         .kind = QN_FIELD_REAL,                    \
         .field = QN_HPARAM(embedding_scale),      \
         .config_else = 1,                         \
         .gguf = {"embedding_scale"},              \
         .write = QN_WRITE_ALWAYS},                \
        {.config = {"residual_multiplier"},        \
         .kind = QN_FIELD_REAL,                    \
         .field = QN_HPARAM(residual_scale),       \
         .config_else = 1,                         \
         .gguf = {"residual_scale"},               \
         .write = QN_WRITE_ALWAYS},                \
        {.config = {"logits_scaling"},             \
         .kind = QN_FIELD_REAL,                    \
         .field = QN_HPARAM(logit_divisor),        \
         .config_else = 1,                         \
         .gguf = {"logit_scale"},                  \
         .write = QN_WRITE_ALWAYS},                \
        QN_FLAG("tie_word_embeddings", tied, 0), QN_FLAG("attention_bias", attention_bias, 0)

static const qn_parameter parameters[] = {
    GRANITE_PARAMETERS,
    QN_FLAG("mlp_bias", mlp_bias, 0),
};

static const qn_parameter moe_parameters[] = {
    GRANITE_PARAMETERS,
    {.config = {"shared_intermediate_size"},
     .may_be_zero = true,
     .field = QN_HPARAM(shared_feed_forward),
     .gguf = {"expert_shared_feed_forward_length"},
     .write = QN_WRITE_SET},
    QN_COUNT_ELSE("num_local_experts", n_experts, 8),
    QN_COUNT_ELSE("num_experts_per_tok", n_experts_used, 2),
    QN_ALWAYS(QN_FIELD_FLAG, expert_norm, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
};

const qn_family qn_family_granite = {
    .name = "granite",
    .architecture = "granite",
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

const qn_family qn_family_granitemoe = {
    .name = "granite-moe",
    .architecture = "granitemoe",
    .classes = moe_classes,
    .shared_class = 1,
    .model_types = moe_model_types,
    .roles = moe_roles,
    .n_roles = sizeof moe_roles / sizeof *moe_roles,
    .ignored = qn_ignored_usually,
    .parameters = moe_parameters,
    .n_parameters = sizeof moe_parameters / sizeof *moe_parameters,
    .common_keys = qn_keys_without_head_size,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
