/* Gemma 3n, text alone or inside the multimodal class: Gemma 4's attention with
 * one head size, the layers' own inputs, alternating updates, augmented
 * residuals, sparse gates (conversion/gemma.py, transformers
 * modeling_gemma3n.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Gemma3nForCausalLM", "Gemma3nForConditionalGeneration",
                                      NULL};
static const char *const model_types[] = {"gemma3n_text", "gemma3n", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    {"model.embed_tokens_per_layer.weight", "per_layer_token_embd.weight", {QN_INPUT_VOCAB, QN_ALL_INPUTS}, QN_PAD_VOCAB, QN_NEEDED},
    {"model.per_layer_model_projection.weight", "per_layer_model_proj.weight", {QN_ALL_INPUTS, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.per_layer_projection_norm.weight", "per_layer_proj_norm.weight", {QN_LAYER_INPUT}, QN_AS_IS, QN_NEEDED},
    {"model.altup_projections.#.weight", "altup_proj.weight", {QN_OTHER_STREAMS, QN_HIDDEN, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.altup_unembed_projections.#.weight", "altup_unembd_proj.weight", {QN_OTHER_STREAMS, QN_HIDDEN, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.altup.modality_router.weight", "blk.%.altup_router.weight", {QN_STREAMS, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.altup.router_norm.weight", "blk.%.altup_router_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.altup.prediction_coefs.weight", "blk.%.altup_predict_coef.weight", {QN_STREAMS_SQUARED, QN_STREAMS}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.altup.correction_coefs.weight", "blk.%.altup_correct_coef.weight", {QN_STREAMS, QN_STREAMS}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.altup.correct_output_scale", "blk.%.altup_correct_scale.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.laurel.linear_left.weight", "blk.%.laurel_l.weight", {QN_LAUREL, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.laurel.linear_right.weight", "blk.%.laurel_r.weight", {QN_HIDDEN, QN_LAUREL}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.laurel.post_laurel_norm.weight", "blk.%.laurel_post_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    QN_ROLES_FOUR_NORMS(QN_AS_IS),
    QN_ROLES_ATTENTION_WITH(QN_AS_IS, QN_AS_IS, QN_IF_OWN_KEYS, QN_IF_OWN_KEYS),
    QN_ROLES_HEAD_NORMS(QN_AS_IS, QN_IF_OWN_KEYS),
    QN_ROLES_MLP(QN_NEEDED),
    {"model.layers.%.per_layer_input_gate.weight", "blk.%.inp_gate.weight", {QN_LAYER_INPUT, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.per_layer_projection.weight", "blk.%.proj.weight", {QN_HIDDEN, QN_LAYER_INPUT}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.post_per_layer_input_norm.weight", "blk.%.post_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    QN_ROLES_TIED_OUTPUT(QN_AS_IS),
};
/* clang-format on */

static const char *const ignored[] = {"lm_head.weight", NULL};
static const qn_prefix prefixes[] = {QN_PREFIXES_INNER};
static const char *const towers[] = {"model.vision_tower.", "model.audio_tower.",
                                     "model.embed_vision.", "model.embed_audio.", NULL};

static const qn_parameter parameters[] = {
    QN_GEMMA_FINAL_CAP(0, QN_WRITE_SET),
    {.config = {"sliding_window"},
     .field = QN_HPARAM(window),
     .config_else = 512,
     .gguf = {"attention.sliding_window"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"altup_active_idx"},
     .may_be_zero = true,
     .field = QN_HPARAM(active_stream),
     .gguf = {"altup.active_idx"},
     .write = QN_WRITE_ALWAYS},
    {.config = {"altup_num_inputs"},
     .field = QN_HPARAM(n_streams),
     .config_else = 4,
     .gguf = {"altup.num_inputs"},
     .gguf_else = 4,
     .write = QN_WRITE_ALWAYS},
    {.config = {"hidden_size_per_layer_input"},
     .field = QN_HPARAM(layer_input),
     .config_else = 256,
     .gguf = {"embedding_length_per_layer_input"},
     .gguf_else = 256,
     .write = QN_WRITE_ALWAYS},
    {.config = {"num_kv_shared_layers"},
     .may_be_zero = true,
     .field = QN_HPARAM(n_shared_kv),
     .config_else = 15,
     .gguf = {"attention.shared_kv_layers"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"activation_sparsity_pattern"},
     .kind = QN_FIELD_SPARSITY,
     .list = QN_HPARAM(sparsity),
     .config_else = QN_REQUIRED,
     .gguf = {"activation_sparsity_scale"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    QN_LAYER_TYPES(5, 5, QN_WRITE_ALWAYS),
    QN_COUNT_ELSE("laurel_rank", laurel_rank, 64),
    QN_COUNT_ELSE("vocab_size_per_layer_input", n_input_vocab, 262144),
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 32768),
    QN_THETA_ELSE(1e6),
    QN_SLIDING_THETA_ELSE(10000),
    QN_COUNT_ELSE("head_dim", head_dim, 256),
    QN_COUNT_ELSE("vocab_size", n_vocab, 262400),
    QN_GEMMA_ALWAYS,
    QN_ALWAYS(QN_FIELD_REAL, attention_scale, 1),
    QN_ALWAYS(QN_FIELD_FLAG, value_norm, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_activation", .text = "gelu_pytorch_tanh"},
    {.key = "attention_bias", .number = 0},
    {.key = "altup_active_idx", .number = 0},
    {.key = "altup_correct_scale", .number = 1},
};

const qn_family qn_family_gemma3n = {
    .name = "gemma3n",
    .architecture = "gemma3n",
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
