/* SmolLM 3: a Llama in which some layers have no rope, every fourth unless
 * config.json says otherwise (conversion/smollm.py, transformers
 * modeling_smollm3.py). */
#include "formats/families/roles.h"

#define FIELD(name) offsetof(qn_hparams, name)

static const char *const classes[] = {"SmolLM3ForCausalLM", NULL};
static const char *const model_types[] = {"smollm3", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    {NULL, "rope_freqs.weight", {QN_ROPE_PAIRS}, QN_ROPE_DIVISORS, QN_OPTIONAL},
    QN_ROLE_EMBEDDING,
    QN_ROLES_PRE_NORMS,
    QN_ROLES_ATTENTION(QN_PERMUTE_Q, QN_PERMUTE_K),
    QN_ROLES_ATTENTION_BIASES(QN_PERMUTE_Q, QN_PERMUTE_K),
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_MLP_BIASES,
    QN_ROLES_OUTPUT,
};
/* clang-format on */

/* Buffers that older transformers saved; the converter drops them, too. */
static const char *const ignored[] = {".rotary_emb.inv_freq", ".attention.masked_bias",
                                      ".attention.bias", NULL};

static const qn_parameter parameters[] = {
    {.config = {"vocab_size"},
     .field = FIELD(n_vocab),
     .config_else = 128256,
     .gguf = {"vocab_size"},
     .write = QN_WRITE_ALWAYS},
    {.field = FIELD(rope_dims), .gguf = {"rope.dimension_count"}, .write = QN_WRITE_ALWAYS},
    {.config = {"no_rope_layer_interval"}, .field = FIELD(no_rope_period), .config_else = 4},
    {.config = {"no_rope_layers"},
     .kind = QN_FIELD_COUNTS,
     .may_be_zero = true,
     .field = FIELD(no_rope_period),
     .list = FIELD(turns),
     .gguf = {"rope.layers"},
     .gguf_else = 4,
     .write = QN_WRITE_UNUSUAL_TURNS},
    {.config = {"max_position_embeddings"}, .field = FIELD(n_ctx_train), .config_else = 32768},
    {.config = {"rope_theta"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = FIELD(rope_theta),
     .config_else = 2000000},
    {.config = {"tie_word_embeddings"},
     .kind = QN_FIELD_FLAG,
     .field = FIELD(tied),
     .config_else = 1},
    {.config = {"attention_bias"}, .kind = QN_FIELD_FLAG, .field = FIELD(attention_bias)},
    {.config = {"mlp_bias"}, .kind = QN_FIELD_FLAG, .field = FIELD(mlp_bias)},
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
    .ignored = ignored,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .common_keys = qn_keys_without_head_size,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
