/* Gemma 1 and CodeGemma: norms stored as their distance from 1, embeddings that
 * are scaled by sqrt(hidden), GELU (conversion/gemma.py, transformers
 * modeling_gemma.py). */
#include "formats/families/family.h"

#define FIELD(name) offsetof(qn_hparams, name)

static const char *const classes[] = {"GemmaForCausalLM", NULL};
static const char *const model_types[] = {"gemma", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    {"model.embed_tokens.weight", "token_embd.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.input_layernorm.weight", "blk.%.attn_norm.weight", {QN_HIDDEN}, QN_PLUS_ONE, QN_NEEDED},
    {"model.layers.%.self_attn.q_proj.weight", "blk.%.attn_q.weight", {QN_QUERIES, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.k_proj.weight", "blk.%.attn_k.weight", {QN_KEYS, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.v_proj.weight", "blk.%.attn_v.weight", {QN_VALUES, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.o_proj.weight", "blk.%.attn_output.weight", {QN_HIDDEN, QN_ATTENTION}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.ffn_norm.weight", {QN_HIDDEN}, QN_PLUS_ONE, QN_NEEDED},
    {"model.layers.%.mlp.gate_proj.weight", "blk.%.ffn_gate.weight", {QN_FEED_FORWARD, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.up_proj.weight", "blk.%.ffn_up.weight", {QN_FEED_FORWARD, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.down_proj.weight", "blk.%.ffn_down.weight", {QN_HIDDEN, QN_FEED_FORWARD}, QN_AS_IS, QN_NEEDED},
    {"model.norm.weight", "output_norm.weight", {QN_HIDDEN}, QN_PLUS_ONE, QN_NEEDED},
    {"lm_head.weight", "output.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_ONLY_UNTIED},
};
/* clang-format on */

static const char *const ignored[] = {"lm_head.weight", ".rotary_emb.inv_freq", NULL};

/* conversion/gemma.py, GemmaModel.set_gguf_parameters: no rope. */
static const char *const common_keys[] = {"context_length",
                                          "embedding_length",
                                          "block_count",
                                          "feed_forward_length",
                                          "attention.head_count",
                                          "attention.head_count_kv",
                                          "attention.layer_norm_rms_epsilon",
                                          "attention.key_length",
                                          "attention.value_length",
                                          NULL};

static const qn_parameter parameters[] = {
    {.config = {"vocab_size"}, .field = FIELD(n_vocab), .config_else = QN_REQUIRED},
    {.config = {"tie_word_embeddings"},
     .kind = QN_FIELD_FLAG,
     .field = FIELD(tied),
     .config_else = 1},
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
    QN_ALWAYS(QN_FIELD_FLAG, embedding_by_size, 1),
    QN_ALWAYS(QN_FIELD_ACTIVATION, activation, QN_GELU_TANH),
    {.config = {"head_dim"}, .field = FIELD(head_dim), .config_else = 256},
};

/* Early checkpoints say "gelu" and mean its tanh form, which transformers takes, too. */
static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "gelu_pytorch_tanh|gelu"},
    {.key = "hidden_activation", .text = "gelu_pytorch_tanh"},
    {.key = "attention_bias", .number = 0},
    {.key = "use_bidirectional_attention", .number = 0},
};

const qn_family qn_family_gemma = {
    .name = "gemma",
    .architecture = "gemma",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = ignored,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
    .common_keys = common_keys,
};
