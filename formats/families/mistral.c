/* Mistral 7B, Nemo, Small, Codestral: a Llama whose layers may all slide
 * (conversion/llama.py, transformers modeling_mistral.py).  Files without a
 * window are read as Llama's, which they are. */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"MistralForCausalLM", NULL};
static const char *const model_types[] = {"mistral", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLES_LLAMA,
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const qn_parameter parameters[] = {
    QN_VOCAB_SIZE_ELSE(QN_REQUIRED),
    QN_ROPE_DIMENSIONS,
    QN_WINDOW_ELSE(0, QN_WRITE_SET),
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 131072),
    QN_COUNT_ELSE("num_key_value_heads", n_kv_heads, 8),
    QN_FLAG("tie_word_embeddings", tied, 0),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
};

const qn_family qn_family_mistral = {
    .name = "mistral",
    .architecture = "llama",
    .key = "attention.sliding_window",
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
