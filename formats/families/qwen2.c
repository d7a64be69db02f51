/* Qwen 2 and 2.5: a Llama whose queries, keys and values have biases, and whose
 * rope turns halves (conversion/qwen.py, transformers modeling_qwen2.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Qwen2ForCausalLM", NULL};
static const char *const model_types[] = {"qwen2", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    QN_ROLES_PRE_NORMS(QN_AS_IS),
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_INPUT_BIASES(QN_AS_IS, QN_AS_IS, QN_NEEDED),
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const qn_parameter parameters[] = {
    QN_QWEN_WINDOW,
    QN_QWEN_SLIDING_LAYERS,
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 32768),
    QN_COUNT_ELSE("vocab_size", n_vocab, 151936),
    QN_FLAG("tie_word_embeddings", tied, 0),
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
};

const qn_family qn_family_qwen2 = {
    .name = "qwen2",
    .architecture = "qwen2",
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
