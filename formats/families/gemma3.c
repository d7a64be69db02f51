/* Gemma 3, text alone or inside the multimodal class: Gemma 2's norms, norms of
 * queries and keys, five layers of six sliding with a rope of their own
 * (conversion/gemma.py, transformers modeling_gemma3.py). */
#include "formats/families/family.h"

#define FIELD(name) offsetof(qn_hparams, name)

static const char *const classes[] = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", NULL};
static const char *const model_types[] = {"gemma3_text", "gemma3", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    {"model.embed_tokens.weight", "token_embd.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.input_layernorm.weight", "blk.%.attn_norm.weight", {QN_HIDDEN}, QN_PLUS_ONE, QN_NEEDED},
    {"model.layers.%.self_attn.q_proj.weight", "blk.%.attn_q.weight", {QN_QUERIES, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.k_proj.weight", "blk.%.attn_k.weight", {QN_KEYS, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.v_proj.weight", "blk.%.attn_v.weight", {QN_VALUES, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.o_proj.weight", "blk.%.attn_output.weight", {QN_HIDDEN, QN_ATTENTION}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.q_norm.weight", "blk.%.attn_q_norm.weight", {QN_HEAD}, QN_PLUS_ONE, QN_NEEDED},
    {"model.layers.%.self_attn.k_norm.weight", "blk.%.attn_k_norm.weight", {QN_HEAD}, QN_PLUS_ONE, QN_NEEDED},
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", {QN_HIDDEN}, QN_PLUS_ONE, QN_NEEDED},
    {"model.layers.%.pre_feedforward_layernorm.weight", "blk.%.ffn_norm.weight", {QN_HIDDEN}, QN_PLUS_ONE, QN_NEEDED},
    {"model.layers.%.post_feedforward_layernorm.weight", "blk.%.post_ffw_norm.weight", {QN_HIDDEN}, QN_PLUS_ONE, QN_NEEDED},
    {"model.layers.%.mlp.gate_proj.weight", "blk.%.ffn_gate.weight", {QN_FEED_FORWARD, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.up_proj.weight", "blk.%.ffn_up.weight", {QN_FEED_FORWARD, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.down_proj.weight", "blk.%.ffn_down.weight", {QN_HIDDEN, QN_FEED_FORWARD}, QN_AS_IS, QN_NEEDED},
    {"model.norm.weight", "output_norm.weight", {QN_HIDDEN}, QN_PLUS_ONE, QN_NEEDED},
    {"lm_head.weight", "output.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_ONLY_UNTIED},
};
/* clang-format on */

static const char *const ignored[] = {"lm_head.weight", ".rotary_emb.inv_freq", NULL};
static const qn_prefix prefixes[] = {
    {"model.language_model.", "model."},
    {"language_model.model.", "model."},
    {"language_model.lm_head.", "lm_head."},
};
static const char *const towers[] = {"model.vision_tower.", "model.multi_modal_projector.",
                                     "vision_tower.", "multi_modal_projector.", NULL};

static const qn_parameter parameters[] = {
    {.config = {"final_logit_softcapping"},
     .kind = QN_FIELD_REAL,
     .field = FIELD(final_cap),
     .gguf = {"final_logit_softcapping"},
     .write = QN_WRITE_SET},
    {.config = {"sliding_window"},
     .field = FIELD(window),
     .config_else = 4096,
     .gguf = {"attention.sliding_window"},
     .write = QN_WRITE_SLIDING},
    {.config = {"sliding_window_pattern", "_sliding_window_pattern"},
     .field = FIELD(window_period),
     .config_else = 6},
    {.config = {"layer_types"},
     .kind = QN_FIELD_SLIDES,
     .field = FIELD(window_period),
     .list = FIELD(slides),
     .gguf = {"attention.sliding_window_pattern"},
     .gguf_else = 6,
     .write = QN_WRITE_UNUSUAL_SLIDES},
    {.config = {"query_pre_attn_scalar"},
     .kind = QN_FIELD_REAL,
     .whole = true,
     .field = FIELD(query_scalar),
     .config_else = 256},
    {.kind = QN_FIELD_REAL,
     .field = FIELD(attention_scale),
     .gguf = {"attention.scale"},
     .write = QN_WRITE_UNUSUAL_SCALE},
    QN_ALWAYS(QN_FIELD_COUNT, scale_by_hidden_at, 62), /* 27B, for runtimes */
    /* Older files and configurations do not say it. */
    {.config = {"rope_theta"},
     .in_rope = QN_IN_SLIDING_ROPE,
     .kind = QN_FIELD_REAL,
     .field = FIELD(rope_theta_swa),
     .config_else = 10000,
     .gguf = {"rope.freq_base_swa"},
     .gguf_else = 10000},
    {.config = {"rope_local_base_freq"}, .kind = QN_FIELD_REAL, .field = FIELD(rope_theta_swa)},
    {.config = {"rope_theta"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = FIELD(rope_theta),
     .config_else = 1e6},
    {.config = {"max_position_embeddings"}, .field = FIELD(n_ctx_train), .config_else = 131072},
    {.config = {"num_attention_heads"}, .field = FIELD(n_heads), .config_else = 8},
    {.config = {"num_key_value_heads"}, .field = FIELD(n_kv_heads), .config_else = 4},
    {.config = {"head_dim"}, .field = FIELD(head_dim), .config_else = 256},
    {.config = {"vocab_size"}, .field = FIELD(n_vocab), .config_else = 262208},
    {.config = {"tie_word_embeddings"},
     .kind = QN_FIELD_FLAG,
     .field = FIELD(tied),
     .config_else = 1},
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
    QN_ALWAYS(QN_FIELD_FLAG, embedding_by_size, 1),
    QN_ALWAYS(QN_FIELD_ACTIVATION, activation, QN_GELU_TANH),
};

static const qn_condition conditions[] = {
    {.key = "hidden_activation", .text = "gelu_pytorch_tanh"},
    {.key = "attn_logit_softcapping", .number = 0},
    {.key = "attention_bias", .number = 0},
    {.key = "use_bidirectional_attention", .number = 0},
};

const qn_family qn_family_gemma3 = {
    .name = "gemma3",
    .architecture = "gemma3",
    .classes = classes,
    .model_types = model_types,
    .prefixes = prefixes,
    .n_prefixes = sizeof prefixes / sizeof *prefixes,
    .towers = towers,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = ignored,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
