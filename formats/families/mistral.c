/* Mistral 7B, Nemo, Small, Codestral: a Llama whose layers may all slide
 * (conversion/llama.py, transformers modeling_mistral.py).  Files without a
 * window are read as Llama's, which they are. */
#include "formats/families/roles.h"

#define FIELD(name) offsetof(qn_hparams, name)

static const char *const classes[] = {"MistralForCausalLM", NULL};
static const char *const model_types[] = {"mistral", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    {NULL, "rope_freqs.weight", {QN_ROPE_PAIRS}, QN_ROPE_DIVISORS, QN_OPTIONAL},
    QN_ROLE_EMBEDDING,
    QN_ROLES_PRE_NORMS,
    QN_ROLES_ATTENTION(QN_PERMUTE_Q, QN_PERMUTE_K),
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const char *const ignored[] = {".rotary_emb.inv_freq", NULL};

static const qn_parameter parameters[] = {
    {.config = {"vocab_size"},
     .field = FIELD(n_vocab),
     .config_else = QN_REQUIRED,
     .gguf = {"vocab_size"},
     .write = QN_WRITE_ALWAYS},
    {.field = FIELD(rope_dims), .gguf = {"rope.dimension_count"}, .write = QN_WRITE_ALWAYS},
    {.config = {"sliding_window"},
     .may_be_zero = true,
     .field = FIELD(window),
     .gguf = {"attention.sliding_window"},
     .write = QN_WRITE_SET},
    {.config = {"max_position_embeddings"}, .field = FIELD(n_ctx_train), .config_else = 131072},
    {.config = {"num_key_value_heads"}, .field = FIELD(n_kv_heads), .config_else = 8},
    {.config = {"tie_word_embeddings"}, .kind = QN_FIELD_FLAG, .field = FIELD(tied)},
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
    .ignored = ignored,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
