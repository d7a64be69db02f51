/* Qwen 3: norms of each head's queries and keys, before rope (conversion/qwen.py,
 * transformers modeling_qwen3.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Qwen3ForCausalLM", NULL};
static const char *const model_types[] = {"qwen3", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    QN_ROLES_PRE_NORMS(QN_AS_IS),
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_ATTENTION_BIASES(QN_AS_IS, QN_AS_IS),
    QN_ROLES_HEAD_NORMS(QN_AS_IS, QN_NEEDED),
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const qn_parameter parameters[] = {
    QN_QWEN_WINDOW,
    QN_QWEN_SLIDING_LAYERS,
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 32768),
    QN_COUNT_ELSE("head_dim", head_dim, 128),
    QN_COUNT_ELSE("vocab_size", n_vocab, 151936),
    QN_FLAG("tie_word_embeddings", tied, 0),
    QN_FLAG("attention_bias", attention_bias, 0),
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
};

const qn_family qn_family_qwen3 = {
    .name = "qwen3",
    .architecture = "qwen3",
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
