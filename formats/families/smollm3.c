/* SmolLM 3: a Llama in which some layers have no rope, every fourth unless
 * config.json says otherwise (conversion/smollm.py, transformers
 * modeling_smollm3.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"SmolLM3ForCausalLM", NULL};
static const char *const model_types[] = {"smollm3", NULL};

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
    QN_VOCAB_SIZE_ELSE(128256),
    QN_ROPE_DIMENSIONS,
    QN_NO_ROPE_LAYERS,
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 32768),
    QN_THETA_ELSE(2000000),
    QN_FLAG("tie_word_embeddings", tied, 1),
    QN_FLAG("attention_bias", attention_bias, 0),
    QN_FLAG("mlp_bias", mlp_bias, 0),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
    {.key = "use_sliding_window", .number = 0},
};

const qn_family qn_family_smollm3 = {
    .name = "smollm3",
    .architecture = "smollm3",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_buffers,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .common_keys = qn_keys_without_head_size,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
