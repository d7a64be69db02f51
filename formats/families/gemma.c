/* Gemma 1 and CodeGemma: norms stored as their distance from 1, embeddings that
 * are scaled by sqrt(hidden), GELU (conversion/gemma.py, transformers
 * modeling_gemma.py). */
#include "formats/families/roles.h"

static const char *const classes[] = {"GemmaForCausalLM", NULL};
static const char *const model_types[] = {"gemma", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    QN_ROLES_PRE_NORMS(QN_PLUS_ONE),
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_TIED_OUTPUT(QN_PLUS_ONE),
};
/* clang-format on */

static const char *const ignored[] = {"lm_head.weight", ".rotary_emb.inv_freq", NULL};

/* conversion/gemma.py, GemmaModel.set_gguf_parameters: no rope. */
static const char *const common_keys[] = {"context_length",
                                          "embedding_length",
                                          "block_count",
                                          "feed_forward_length",
                                          "attention.head_count",
                                          "attention.head_count_kv",
                                          "attention.layer_norm_rms_epsilon",
                                          "attention.key_length",
                                          "attention.value_length",
                                          NULL};

static const qn_parameter parameters[] = {
    QN_COUNT_ELSE("vocab_size", n_vocab, QN_REQUIRED),
    QN_FLAG("tie_word_embeddings", tied, 1),
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
    QN_ALWAYS(QN_FIELD_FLAG, embedding_by_size, 1),
    QN_ALWAYS(QN_FIELD_ACTIVATION, activation, QN_GELU_TANH),
    QN_COUNT_ELSE("head_dim", head_dim, 256),
};

/* Early checkpoints say "gelu" and mean its tanh form, which transformers takes, too. */
static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "gelu_pytorch_tanh|gelu"},
    {.key = "hidden_activation", .text = "gelu_pytorch_tanh"},
    {.key = "attention_bias", .number = 0},
    {.key = "use_bidirectional_attention", .number = 0},
};

const qn_family qn_family_gemma = {
    .name = "gemma",
    .architecture = "gemma",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = ignored,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
    .common_keys = common_keys,
};
