/* Gemma 1 and CodeGemma: norms stored as their distance from 1, embeddings that
 * are scaled by sqrt(hidden), GELU (conversion/gemma.py, transformers
 * modeling_gemma.py). */
#include "formats/families/parameters.h"
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

static const qn_parameter parameters[] = {
    QN_COUNT_ELSE("vocab_size", n_vocab, QN_REQUIRED),
    QN_GEMMA_ALWAYS,
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
    .ignored = qn_ignored_head,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
    .common_keys = qn_keys_without_rope,
};
