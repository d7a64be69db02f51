/* gpt-oss: experts with biases in every layer, in MXFP4 or plain, gates that are
 * clamped, a sink for each head's attention, every other layer sliding
 * (conversion/gpt_oss.py, transformers modeling_gpt_oss.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"GptOssForCausalLM", NULL};
static const char *const model_types[] = {"gpt_oss", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    {"model.layers.%.input_layernorm.weight", "blk.%.attn_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_ATTENTION_BIASES(QN_AS_IS, QN_AS_IS),
    {"model.layers.%.self_attn.sinks", "blk.%.attn_sinks.weight", {QN_HEADS}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.router.weight", "blk.%.ffn_gate_inp.weight", {QN_EXPERTS, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.router.bias", "blk.%.ffn_gate_inp.bias", {QN_EXPERTS}, QN_AS_IS, QN_NEEDED},
    /* MXFP4: rows of gates and the others in turn. */
    {"model.layers.%.mlp.experts.gate_up_proj.weight", "blk.%.ffn_gate_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_EVEN_ROWS, QN_NEEDED},
    {"model.layers.%.mlp.experts.gate_up_proj.weight", "blk.%.ffn_up_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_ODD_ROWS, QN_NEEDED},
    {"model.layers.%.mlp.experts.down_proj.weight", "blk.%.ffn_down_exps.weight", {QN_EXPERTS, QN_HIDDEN, QN_EXPERT_WIDTH}, QN_AS_IS, QN_NEEDED},
    /* Plain: the same transposed. */
    {"model.layers.%.mlp.experts.gate_up_proj", "blk.%.ffn_gate_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_TRANSPOSED_EVEN, QN_NEEDED},
    {"model.layers.%.mlp.experts.gate_up_proj", "blk.%.ffn_up_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_TRANSPOSED_ODD, QN_NEEDED},
    {"model.layers.%.mlp.experts.down_proj", "blk.%.ffn_down_exps.weight", {QN_EXPERTS, QN_HIDDEN, QN_EXPERT_WIDTH}, QN_TRANSPOSED, QN_NEEDED},
    {"model.layers.%.mlp.experts.gate_up_proj_bias", "blk.%.ffn_gate_exps.bias", {QN_EXPERTS, QN_EXPERT_WIDTH}, QN_EVEN_COLUMNS, QN_NEEDED},
    {"model.layers.%.mlp.experts.gate_up_proj_bias", "blk.%.ffn_up_exps.bias", {QN_EXPERTS, QN_EXPERT_WIDTH}, QN_ODD_COLUMNS, QN_NEEDED},
    {"model.layers.%.mlp.experts.down_proj_bias", "blk.%.ffn_down_exps.bias", {QN_EXPERTS, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const qn_parameter parameters[] = {
    /* Runtimes know nothing of it, but no released model truncates. */
    {.config = {"truncate"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_NOT_FLAG,
     .field = QN_HPARAM(yarn_untruncated),
     .gguf = {"rope.scaling.yarn_untruncated"},
     .gguf_else = 1,
     .write = QN_WRITE_YARN_UNUSUAL},
    QN_WINDOW_ELSE(128, QN_WRITE_ALWAYS),
    QN_EXPERT_WIDTH_ELSE("intermediate_size", QN_REQUIRED, 0),
    QN_LAYER_TYPES(2, 2, QN_WRITE_UNUSUAL_SLIDES),
    {.config = {"swiglu_alpha"},
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(swiglu_alpha),
     .config_else = 1.702F,
     .gguf = {"swiglu_alpha"},
     .gguf_else = 1.702F,
     .write = QN_WRITE_UNUSUAL},
    {.config = {"swiglu_limit"},
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(swiglu_limit),
     .config_else = 7,
     .gguf = {"swiglu_limit"},
     .gguf_else = 7,
     .write = QN_WRITE_UNUSUAL},
    QN_THETA_ELSE(150000),
    QN_COUNT_ELSE("head_dim", head_dim, 64),
    QN_COUNT_ELSE("num_local_experts", n_experts, 128),
    QN_COUNT_ELSE("num_experts_per_tok", n_experts_used, 4),
    QN_COUNT_ELSE("num_key_value_heads", n_kv_heads, 8),
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 131072),
    QN_REAL_ELSE("rms_norm_eps", rms_eps, 1e-5),
    QN_COUNT_ELSE("vocab_size", n_vocab, 201088),
    QN_FLAG("tie_word_embeddings", tied, 0),
    QN_FLAG("attention_bias", attention_bias, 1),
    QN_ALWAYS(QN_FIELD_FLAG, expert_norm, 1),
    QN_ALWAYS(QN_FIELD_FLAG, mlp_norm_behind_attention, 1),
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
};

const qn_family qn_family_gptoss = {
    .name = "gpt-oss",
    .architecture = "gpt-oss",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_usually,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .common_keys = qn_keys_of_one_rope,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
