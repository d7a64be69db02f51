/* Qwen 3 with experts in every layer, or all but some (conversion/qwen.py, transformers
 * modeling_qwen3_moe.py).  Runtimes take the weights of a token's experts as
 * made to add up to 1, unless the file says otherwise. */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Qwen3MoeForCausalLM", NULL};
static const char *const model_types[] = {"qwen3_moe", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    QN_ROLES_PRE_NORMS(QN_AS_IS),
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_ATTENTION_BIASES(QN_AS_IS, QN_AS_IS),
    QN_ROLES_HEAD_NORMS(QN_AS_IS, QN_NEEDED),
    QN_ROLES_QWEN_EXPERTS,
    QN_ROLES_MLP(QN_IF_DENSE),
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const qn_parameter parameters[] = {
    QN_EXPERT_WIDTH_ELSE("moe_intermediate_size", 768, 0),
    QN_QWEN_EXPERT_NORM(1),
    QN_QWEN_WINDOW,
    QN_QWEN_ROUTED_LAYERS,
    QN_COUNT_ELSE("num_experts_per_tok", n_experts_used, 8),
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 32768),
    QN_COUNT_ELSE("vocab_size", n_vocab, 151936),
    QN_FLAG("tie_word_embeddings", tied, 0),
    QN_FLAG("attention_bias", attention_bias, 0),
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},

};

const qn_family qn_family_qwen3moe = {
    .name = "qwen3-moe",
    .architecture = "qwen3moe",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_usually,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
