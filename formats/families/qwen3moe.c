/* Qwen 3 with experts in every layer, or all but some (conversion/qwen.py, transformers
 * modeling_qwen3_moe.py).  Runtimes take the weights of a token's experts as
 * made to add up to 1, unless the file says otherwise. */
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
    {.config = {"moe_intermediate_size"},
     .field = QN_HPARAM(expert_feed_forward),
     .config_else = 768,
     .gguf = {"expert_feed_forward_length"},
     .write = QN_WRITE_ALWAYS},
    {.config = {"norm_topk_prob"},
     .kind = QN_FIELD_FLAG,
     .field = QN_HPARAM(expert_norm),
     .gguf = {"expert_weights_norm"},
     .gguf_else = 1,
     .write = QN_WRITE_UNUSUAL},
    QN_ALWAYS(QN_FIELD_FLAG, window_by_flag, 1),
    {.config = {"use_sliding_window"},
     .kind = QN_FIELD_FLAG,
     .field = QN_HPARAM(use_window),
     .gguf_else = 1},
    {.config = {"sliding_window"},
     .may_be_zero = true,
     .field = QN_HPARAM(window),
     .config_else = 4096,
     .gguf = {"attention.sliding_window"},
     .write = QN_WRITE_SLIDING},
    {.config = {"mlp_only_layers"}, .kind = QN_FIELD_LAYERS, .list = QN_HPARAM(dense)},
    {.config = {"decoder_sparse_step"},
     .field = QN_HPARAM(routed_period),
     .config_else = 1,
     .gguf_else = 1},
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
