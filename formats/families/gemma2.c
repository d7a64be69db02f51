/* Gemma 2: Gemma with norms behind each branch, every second layer sliding, and
 * soft caps (conversion/gemma.py, transformers modeling_gemma2.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Gemma2ForCausalLM", NULL};
static const char *const model_types[] = {"gemma2", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    QN_ROLES_FOUR_NORMS(QN_PLUS_ONE),
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_TIED_OUTPUT(QN_PLUS_ONE),
};
/* clang-format on */

static const qn_parameter parameters[] = {
    {.config = {"attn_logit_softcapping"},
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(attention_cap),
     .gguf = {"attn_logit_softcapping"},
     .gguf_else = 50,
     .write = QN_WRITE_ALWAYS},
    QN_GEMMA_FINAL_CAP(30, QN_WRITE_ALWAYS),
    {.config = {"sliding_window"},
     .field = QN_HPARAM(window),
     .config_else = 4096,
     .gguf = {"attention.sliding_window"},
     .gguf_else = 4096,
     .write = QN_WRITE_ALWAYS},
    QN_LAYER_TYPES(2, 2, QN_WRITE_UNUSUAL_SLIDES),
    QN_GEMMA_QUERY_SCALAR(46),
    QN_COUNT_ELSE("head_dim", head_dim, 256),
    QN_COUNT_ELSE("vocab_size", n_vocab, QN_REQUIRED),
    QN_GEMMA_ALWAYS,
};

static const qn_condition conditions[] = {
    {.key = "hidden_activation", .text = "gelu_pytorch_tanh"},
    {.key = "attention_bias", .number = 0},
    {.key = "use_bidirectional_attention", .number = 0},
};

const qn_family qn_family_gemma2 = {
    .name = "gemma2",
    .architecture = "gemma2",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_head,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
    .common_keys = qn_keys_without_rope,
};
