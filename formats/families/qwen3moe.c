/* Qwen 3 with experts in every layer (conversion/qwen.py, transformers
 * modeling_qwen3_moe.py).  Runtimes take the weights of a token's experts as
 * made to add up to 1, unless the file says otherwise. */
#include "formats/families/family.h"

#define FIELD(name) offsetof(qn_hparams, name)

static const char *const classes[] = {"Qwen3MoeForCausalLM", NULL};
static const char *const model_types[] = {"qwen3_moe", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    {"model.embed_tokens.weight", "token_embd.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.input_layernorm.weight", "blk.%.attn_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.q_proj.weight", "blk.%.attn_q.weight", {QN_QUERIES, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.q_proj.bias", "blk.%.attn_q.bias", {QN_QUERIES}, QN_AS_IS, QN_IF_ATTENTION_BIAS},
    {"model.layers.%.self_attn.k_proj.weight", "blk.%.attn_k.weight", {QN_KEYS, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.k_proj.bias", "blk.%.attn_k.bias", {QN_KEYS}, QN_AS_IS, QN_IF_ATTENTION_BIAS},
    {"model.layers.%.self_attn.v_proj.weight", "blk.%.attn_v.weight", {QN_VALUES, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.v_proj.bias", "blk.%.attn_v.bias", {QN_VALUES}, QN_AS_IS, QN_IF_ATTENTION_BIAS},
    {"model.layers.%.self_attn.o_proj.weight", "blk.%.attn_output.weight", {QN_HIDDEN, QN_ATTENTION}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.o_proj.bias", "blk.%.attn_output.bias", {QN_HIDDEN}, QN_AS_IS, QN_IF_ATTENTION_BIAS},
    {"model.layers.%.self_attn.q_norm.weight", "blk.%.attn_q_norm.weight", {QN_HEAD}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.self_attn.k_norm.weight", "blk.%.attn_k_norm.weight", {QN_HEAD}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.ffn_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.gate.weight", "blk.%.ffn_gate_inp.weight", {QN_EXPERTS, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.experts.#.down_proj.weight", "blk.%.ffn_down_exps.weight", {QN_EXPERTS, QN_HIDDEN, QN_EXPERT_WIDTH}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.experts.#.gate_proj.weight", "blk.%.ffn_gate_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.experts.#.up_proj.weight", "blk.%.ffn_up_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.experts.down_proj", "blk.%.ffn_down_exps.weight", {QN_EXPERTS, QN_HIDDEN, QN_EXPERT_WIDTH}, QN_AS_IS, QN_NEEDED},
    {"model.layers.%.mlp.experts.gate_up_proj", "blk.%.ffn_gate_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_FIRST_HALF, QN_NEEDED},
    {"model.layers.%.mlp.experts.gate_up_proj", "blk.%.ffn_up_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_SECOND_HALF, QN_NEEDED},
    {"model.norm.weight", "output_norm.weight", {QN_HIDDEN}, QN_AS_IS, QN_NEEDED},
    {"lm_head.weight", "output.weight", {QN_VOCAB, QN_HIDDEN}, QN_AS_IS, QN_IF_UNTIED},
};
/* clang-format on */

static const char *const ignored[] = {".rotary_emb.inv_freq", NULL};

static const qn_parameter parameters[] = {
    {.config = {"moe_intermediate_size"},
     .field = FIELD(expert_feed_forward),
     .config_else = 768,
     .gguf = {"expert_feed_forward_length"},
     .write = QN_WRITE_ALWAYS},
    {.config = {"norm_topk_prob"},
     .kind = QN_FIELD_FLAG,
     .field = FIELD(expert_norm),
     .gguf = {"expert_weights_norm"},
     .gguf_else = 1,
     .write = QN_WRITE_UNUSUAL},
    QN_ALWAYS(QN_FIELD_FLAG, window_by_flag, 1),
    {.config = {"use_sliding_window"},
     .kind = QN_FIELD_FLAG,
     .field = FIELD(use_window),
     .gguf_else = 1},
    {.config = {"sliding_window"},
     .may_be_zero = true,
     .field = FIELD(window),
     .config_else = 4096,
     .gguf = {"attention.sliding_window"},
     .write = QN_WRITE_SLIDING},
    {.config = {"num_experts_per_tok"}, .field = FIELD(n_experts_used), .config_else = 8},
    {.config = {"max_position_embeddings"}, .field = FIELD(n_ctx_train), .config_else = 32768},
    {.config = {"vocab_size"}, .field = FIELD(n_vocab), .config_else = 151936},
    {.config = {"tie_word_embeddings"}, .kind = QN_FIELD_FLAG, .field = FIELD(tied)},
    {.config = {"attention_bias"}, .kind = QN_FIELD_FLAG, .field = FIELD(attention_bias)},
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
    {.key = "decoder_sparse_step", .number = 1},
    {.key = "mlp_only_layers", .number = 0},
};

const qn_family qn_family_qwen3moe = {
    .name = "qwen3-moe",
    .architecture = "qwen3moe",
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
