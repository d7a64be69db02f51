/* Gemma 4, dense or with experts, text alone or inside the multimodal and the
 * unified class: heads of two sizes, keys that are values, layers that share
 * them, embeddings for each layer, a scale behind each layer
 * (conversion/gemma.py, transformers modeling_gemma4.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Gemma4ForCausalLM", "Gemma4ForConditionalGeneration",
                                      "Gemma4UnifiedForConditionalGeneration",
                                      "Gemma4UnifiedForCausalLM", NULL};
static const char *const model_types[] = {"gemma4_text", "gemma4", "gemma4_unified", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_ROPE_DIVISORS,
    QN_ROLE_EMBEDDING,
    {"model.embed_tokens_per_layer.weight", "per_layer_token_embd.weight", {QN_INPUT_VOCAB, QN_ALL_INPUTS}, QN_AS_IS, QN_IF_LAYER_INPUTS},
    {"model.per_layer_model_projection.weight", "per_layer_model_proj.weight", {QN_ALL_INPUTS, QN_HIDDEN}, QN_AS_IS, QN_IF_LAYER_INPUTS},
    {"model.per_layer_projection_norm.weight", "per_layer_proj_norm.weight", {QN_LAYER_INPUT}, QN_AS_IS, QN_IF_LAYER_INPUTS},
    QN_ROLES_FOUR_NORMS(QN_AS_IS),
    QN_ROLES_ATTENTION_WITH(QN_AS_IS, QN_AS_IS, QN_IF_OWN_KEYS, QN_IF_OWN_VALUES),
    QN_ROLES_HEAD_NORMS(QN_AS_IS, QN_IF_OWN_KEYS),
    QN_ROLES_MLP(QN_NEEDED),
    {"model.layers.%.router.proj.weight", "blk.%.ffn_gate_inp.weight", {QN_EXPERTS, QN_HIDDEN}, QN_AS_IS, QN_IF_EXPERTS},
    {"model.layers.%.router.scale", "blk.%.ffn_gate_inp.scale", {QN_HIDDEN}, QN_AS_IS, QN_IF_EXPERTS},
    {"model.layers.%.router.per_expert_scale", "blk.%.ffn_down_exps.scale", {QN_EXPERTS}, QN_AS_IS, QN_IF_EXPERTS},
    {"model.layers.%.experts.gate_up_proj", "blk.%.ffn_gate_up_exps.weight", {QN_EXPERTS, QN_EXPERT_GATE_UP, QN_HIDDEN}, QN_AS_IS, QN_IF_EXPERTS},
    {"model.layers.%.experts.down_proj", "blk.%.ffn_down_exps.weight", {QN_EXPERTS, QN_HIDDEN, QN_EXPERT_WIDTH}, QN_AS_IS, QN_IF_EXPERTS},
    {"model.layers.%.pre_feedforward_layernorm_2.weight", "blk.%.pre_ffw_norm_2.weight", {QN_HIDDEN}, QN_AS_IS, QN_IF_EXPERTS},
    {"model.layers.%.post_feedforward_layernorm_1.weight", "blk.%.post_ffw_norm_1.weight", {QN_HIDDEN}, QN_AS_IS, QN_IF_EXPERTS},
    {"model.layers.%.post_feedforward_layernorm_2.weight", "blk.%.post_ffw_norm_2.weight", {QN_HIDDEN}, QN_AS_IS, QN_IF_EXPERTS},
    {"model.layers.%.per_layer_input_gate.weight", "blk.%.inp_gate.weight", {QN_LAYER_INPUT, QN_HIDDEN}, QN_AS_IS, QN_IF_LAYER_INPUTS},
    {"model.layers.%.per_layer_projection.weight", "blk.%.proj.weight", {QN_HIDDEN, QN_LAYER_INPUT}, QN_AS_IS, QN_IF_LAYER_INPUTS},
    {"model.layers.%.post_per_layer_input_norm.weight", "blk.%.post_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_IF_LAYER_INPUTS},
    {"model.layers.%.layer_scalar", "blk.%.layer_output_scale.weight", {QN_ONE}, QN_AS_IS, QN_NEEDED},
    QN_ROLES_TIED_OUTPUT(QN_AS_IS),
};
/* clang-format on */

static const char *const ignored[] = {"lm_head.weight", NULL};
static const qn_prefix prefixes[] = {QN_PREFIXES_INNER};
static const char *const towers[] = {"model.vision_tower.",    "model.audio_tower.",
                                     "model.embed_vision.",    "model.embed_audio.",
                                     "model.vision_embedder.", NULL};

static const qn_parameter parameters[] = {
    QN_GEMMA_FINAL_CAP(30, QN_WRITE_ALWAYS),
    {.config = {"sliding_window"},
     .field = QN_HPARAM(window),
     .config_else = 512,
     .gguf = {"attention.sliding_window"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"num_kv_shared_layers"},
     .may_be_zero = true,
     .field = QN_HPARAM(n_shared_kv),
     .gguf = {"attention.shared_kv_layers"},
     .write = QN_WRITE_ALWAYS},
    {.config = {"hidden_size_per_layer_input"},
     .may_be_zero = true,
     .field = QN_HPARAM(layer_input),
     .gguf = {"embedding_length_per_layer_input"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    QN_LAYER_TYPES(6, QN_REQUIRED, QN_WRITE_ALWAYS),
    QN_COUNT_ELSE("global_head_dim", head_dim, 512),
    {.config = {"head_dim"},
     .field = QN_HPARAM(head_dim_swa),
     .config_else = 256,
     .gguf = {"attention.key_length_swa"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.field = QN_HPARAM(value_dim_swa),
     .gguf = {"attention.value_length_swa"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"moe_intermediate_size", "expert_intermediate_size"},
     .may_be_zero = true,
     .field = QN_HPARAM(expert_feed_forward),
     .gguf = {"expert_feed_forward_length"},
     .write = QN_WRITE_SET},
    QN_ROPE_DIMENSIONS,
    {.field = QN_HPARAM(rope_dims_swa),
     .gguf = {"rope.dimension_count_swa"},
     .write = QN_WRITE_ALWAYS},
    {.config = {"num_key_value_heads"},
     .kind = QN_FIELD_COUNTS,
     .field = QN_HPARAM(n_kv_heads),
     .list = QN_HPARAM(n_kv_heads_of),
     .config_else = 4},
    QN_FLAG("enable_moe_block", has_experts, 0),
    {.config = {"num_experts"}, .may_be_zero = true, .field = QN_HPARAM(n_experts)},
    {.config = {"top_k_experts"}, .may_be_zero = true, .field = QN_HPARAM(n_experts_used)},
    QN_FLAG("attention_k_eq_v", value_is_key, 0),
    {.config = {"num_global_key_value_heads"},
     .may_be_zero = true,
     .field = QN_HPARAM(n_kv_heads_full)},
    QN_FLAG("use_double_wide_mlp", wide_shared_mlp, 0),
    {.config = {"vocab_size_per_layer_input"},
     .may_be_zero = true,
     .field = QN_HPARAM(n_input_vocab),
     .config_else = 262144},
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 131072),
    {.config = {"rope_type"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_SCALING,
     .field = QN_HPARAM(rope_scaling),
     .config_else = QN_ROPE_PROPORTIONAL},
    QN_THETA_ELSE(1e6),
    QN_SLIDING_THETA_ELSE(10000),
    {.config = {"partial_rotary_factor"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(rope_partial),
     .config_else = 0.25},
    QN_COUNT_ELSE("vocab_size", n_vocab, 262144),
    QN_GEMMA_ALWAYS,
    {.kind = QN_FIELD_FLAG, .field = QN_HPARAM(last_is_full), .config_else = 1},
    QN_ALWAYS(QN_FIELD_REAL, attention_scale, 1),
    QN_ALWAYS(QN_FIELD_FLAG, expert_norm, 1),
    QN_ALWAYS(QN_FIELD_FLAG, value_norm, 1),
};

/* Bidirectional attention among an image's tokens ("vision") does not touch text. */
static const qn_condition conditions[] = {
    {.key = "hidden_activation", .text = "gelu_pytorch_tanh"},
    {.key = "attention_bias", .number = 0},
    {.key = "use_bidirectional_attention", .text = "vision", .unsaid = true},
};

const qn_family qn_family_gemma4 = {
    .name = "gemma4",
    .architecture = "gemma4",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .prefixes = prefixes,
    .n_prefixes = sizeof prefixes / sizeof *prefixes,
    .towers = towers,
    .ignored = ignored,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
