/* Llama 1, 2, 3, 3.1 to 3.3 and what shares their class: TinyLlama, SmolLM2,
 * the stories models (conversion/llama.py, transformers modeling_llama.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"LlamaForCausalLM", "LLaMAForCausalLM", NULL};
static const char *const model_types[] = {"llama", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLES_LLAMA,
    QN_ROLES_ATTENTION_BIASES(QN_PERMUTE_Q, QN_PERMUTE_K),
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_MLP_BIASES,
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const qn_parameter parameters[] = {
    QN_VOCAB_SIZE_ELSE(QN_REQUIRED),         QN_ROPE_DIMENSIONS,
    QN_FLAG("tie_word_embeddings", tied, 0), QN_FLAG("attention_bias", attention_bias, 0),
    QN_FLAG("mlp_bias", mlp_bias, 0),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
    {.key = "partial_rotary_factor", .number = 1},
    {.key = "num_local_experts", .number = 0},
    {.key = "draft_vocab_size", .number = 0}, /* an EAGLE-3 draft head calls itself Llama, too */
};

const qn_family qn_family_llama = {
    .name = "llama",
    .architecture = "llama",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_buffers,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
