/* Qwen 3: norms of each head's queries and keys, before rope (conversion/qwen.py,
 * transformers modeling_qwen3.py). */
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
    {.config = {"max_window_layers"},
     .may_be_zero = true,
     .field = QN_HPARAM(window_from),
     .config_else = 28},
    {.config = {"layer_types"},
     .kind = QN_FIELD_SLIDES,
     .field = QN_HPARAM(window_period),
     .list = QN_HPARAM(slides),
     .gguf = {"attention.sliding_window_pattern"},
     .write = QN_WRITE_UNUSUAL_SLIDES},
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
