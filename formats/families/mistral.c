/* Mistral 7B, Nemo, Small, Codestral: a Llama whose layers may all slide
 * (conversion/llama.py, transformers modeling_mistral.py).  Files without a
 * window are read as Llama's, which they are. */
#include "formats/families/family.h"

#define FIELD(name) offsetof(qn_hparams, name)

static const char *const classes[] = {"MistralForCausalLM", NULL};
static const char *const model_types[] = {"mistral", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    {NULL, "rope_freqs.weight", {QN_ROPE_PAIRS}, QN_ROPE_DIVISORS, QN_OPTIONAL},
    {"model.embed_tokens.weight", "token_embd.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.input_layernorm.weight", "blk.%.attn_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.q_proj.weight", "blk.%.attn_q.weight", {QN_QUERIES, QN_HIDDEN}, QN_PERMUTE_Q, QN_NEEDED},
    {"model.layers.%.self_attn.k_proj.weight", "blk.%.attn_k.weight", {QN_KEYS, QN_HIDDEN}, QN_PERMUTE_K, QN_NEEDED},
    {"model.layers.%.self_attn.v_proj.weight", "blk.%.attn_v.weight", {QN_VALUES, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.o_proj.weight", "blk.%.attn_output.weight", {QN_HIDDEN, QN_ATTENTION}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.ffn_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.gate_proj.weight", "blk.%.ffn_gate.weight", {QN_FEED_FORWARD, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.up_proj.weight", "blk.%.ffn_up.weight", {QN_FEED_FORWARD, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.down_proj.weight", "blk.%.ffn_down.weight", {QN_HIDDEN, QN_FEED_FORWARD}, QN_AS_IS, QN_NEEDED},
    {"model.norm.weight", "output_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"lm_head.weight", "output.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_IF_UNTIED},
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
