/* Phi 3, 3.5, 4 and 4-mini: queries, keys and values in one matrix, gate and up in
 * another; longrope (conversion/phi.py, transformers modeling_phi3.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Phi3ForCausalLM", NULL};
static const char *const model_types[] = {"phi3", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    {NULL, "rope_factors_long.weight", {QN_ROPE_PAIRS}, QN_LONG_FACTORS, QN_OPTIONAL},
    {NULL, "rope_factors_short.weight", {QN_ROPE_PAIRS}, QN_SHORT_FACTORS, QN_OPTIONAL},
    QN_ROLE_EMBEDDING,
    QN_ROLES_PRE_NORMS(QN_AS_IS),
    {"model.layers.%.self_attn.qkv_proj.weight", "blk.%.attn_qkv.weight", {QN_QUERIES_KEYS_VALUES, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.o_proj.weight", "blk.%.attn_output.weight", {QN_HIDDEN, QN_ATTENTION}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.gate_up_proj.weight", "blk.%.ffn_up.weight", {QN_GATE_UP, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.down_proj.weight", "blk.%.ffn_down.weight", {QN_HIDDEN, QN_FEED_FORWARD}, QN_AS_IS, QN_NEEDED},
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const char *const keys[] = {
    "context_length",
    "rope.scaling.original_context_length",
    "embedding_length",
    "feed_forward_length",
    "block_count",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    NULL,
};

static const qn_parameter parameters[] = {
    {.config = {"attention_factor"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(longrope_factor),
     .gguf = {"rope.scaling.attn_factor"},
     .gguf_else = 1,
     .write = QN_WRITE_LONGROPE,
     .first = true},
    {.config = {"original_max_position_embeddings"},
     .in_rope = QN_IN_ROPE,
     .field = QN_HPARAM(rope_original_ctx),
     .config_else = 4096,
     .gguf = {"rope.scaling.original_context_length"},
     .write = QN_WRITE_ALWAYS},
    {.config = {"partial_rotary_factor"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(rope_partial),
     .config_else = 1},
    {.config = {"long_factor"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REALS,
     .list = QN_HPARAM(long_factors)},
    {.config = {"short_factor"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REALS,
     .list = QN_HPARAM(short_factors)},
    QN_ROPE_DIMENSIONS,
    QN_WINDOW_ELSE(0, QN_WRITE_ALWAYS),
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 4096),
    QN_REAL_ELSE("rms_norm_eps", rms_eps, 1e-5),
    QN_COUNT_ELSE("vocab_size", n_vocab, 32064),
    QN_FLAG("tie_word_embeddings", tied, 0),
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
    {.key = "rope_type", .text = "default|longrope|su", .unsaid = true},
    {.key = "type", .text = "default|longrope|su", .unsaid = true},
};

const qn_family qn_family_phi3 = {
    .name = "phi3",
    .architecture = "phi3",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_usually,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .common_keys = keys,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
