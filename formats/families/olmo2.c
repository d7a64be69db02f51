/* OLMo 2 and 3: norms behind the branches instead of before them, and norms of all
 * queries and all keys together (conversion/olmo.py, transformers
 * modeling_olmo2.py, modeling_olmo3.py).  OLMo 3 has sliding layers, which rotate
 * plainly whatever the others' scaling; files without a window are OLMo 2's. */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes_2[] = {"Olmo2ForCausalLM", NULL};
static const char *const model_types_2[] = {"olmo2", NULL};
static const char *const classes_3[] = {"Olmo3ForCausalLM", NULL};
static const char *const model_types_3[] = {"olmo3", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_ATTENTION_BIASES(QN_AS_IS, QN_AS_IS),
    {"model.layers.%.self_attn.q_norm.weight", "blk.%.attn_q_norm.weight", {QN_QUERIES}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.k_norm.weight", "blk.%.attn_k_norm.weight", {QN_KEYS}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    QN_ROLES_MLP(QN_NEEDED),
    {"model.layers.%.post_feedforward_layernorm.weight", "blk.%.post_ffw_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    QN_ROLES_OUTPUT,
};
/* clang-format on */

#define OLMO_PARAMETERS                                                                           \
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 2048),                                  \
        QN_REAL_ELSE("rms_norm_eps", rms_eps, 1e-5), QN_COUNT_ELSE("vocab_size", n_vocab, 50304), \
        QN_FLAG("tie_word_embeddings", tied, 0), QN_FLAG("attention_bias", attention_bias, 0),    \
        QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1)

static const qn_parameter parameters_2[] = {OLMO_PARAMETERS};

static const qn_parameter parameters_3[] = {
    QN_WINDOW_ELSE(4096, QN_WRITE_ALWAYS),
    QN_LAYER_TYPES(4, 4, QN_WRITE_SLIDING),
    /* Old configurations say theta once, for the full layers: transformers
     * takes its default for the others. */
    {.config = {"rope_theta"},
     .in_rope = QN_IN_SLIDING_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(rope_theta_swa),
     .config_else = 500000},
    QN_THETA_ELSE(500000),
    QN_ALWAYS(QN_FIELD_FLAG, plain_rope_swa, 1),
    OLMO_PARAMETERS,
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
};

const qn_family qn_family_olmo2 = {
    .name = "olmo2",
    .architecture = "olmo2",
    .classes = classes_2,
    .model_types = model_types_2,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_usually,
    .parameters = parameters_2,
    .n_parameters = sizeof parameters_2 / sizeof *parameters_2,
    .common_keys = qn_keys_without_head_size,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};

const qn_family qn_family_olmo3 = {
    .name = "olmo3",
    .architecture = "olmo2",
    .key = "attention.sliding_window",
    .classes = classes_3,
    .model_types = model_types_3,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_usually,
    .parameters = parameters_3,
    .n_parameters = sizeof parameters_3 / sizeof *parameters_3,
    .common_keys = qn_keys_without_head_size,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
