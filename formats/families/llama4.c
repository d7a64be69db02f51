/* Llama 4's text model, alone or inside the multimodal class: experts in every
 * layer or each second one beside an expert that all tokens pass, chunked
 * attention in the layers with rope, norms behind rope, queries that grow with
 * the position in the others (conversion/llama.py, Llama4Model; transformers
 * modeling_llama4.py; what runtimes take for granted: src/models/llama4.cpp). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Llama4ForCausalLM", "Llama4ForConditionalGeneration", NULL};
static const char *const model_types[] = {"llama4_text", "llama4", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_ROPE_DIVISORS,
    QN_ROLE_EMBEDDING,
    QN_ROLES_PRE_NORMS(QN_AS_IS),
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_ATTENTION_BIASES(QN_AS_IS, QN_AS_IS),
    {"model.layers.%.feed_forward.gate_proj.weight", "blk.%.ffn_gate.weight", {QN_FEED_FORWARD, QN_HIDDEN}, QN_AS_IS, QN_IF_DENSE},
    {"model.layers.%.feed_forward.up_proj.weight", "blk.%.ffn_up.weight", {QN_FEED_FORWARD, QN_HIDDEN}, QN_AS_IS, QN_IF_DENSE},
    {"model.layers.%.feed_forward.down_proj.weight", "blk.%.ffn_down.weight", {QN_HIDDEN, QN_FEED_FORWARD}, QN_AS_IS, QN_IF_DENSE},
    {"model.layers.%.feed_forward.router.weight", "blk.%.ffn_gate_inp.weight", {QN_EXPERTS, QN_HIDDEN}, QN_AS_IS, QN_IF_ROUTED},
    {"model.layers.%.feed_forward.experts.gate_up_proj", "blk.%.ffn_gate_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_TRANSPOSED_FIRST, QN_IF_ROUTED},
    {"model.layers.%.feed_forward.experts.gate_up_proj", "blk.%.ffn_up_exps.weight", {QN_EXPERTS, QN_EXPERT_WIDTH, QN_HIDDEN}, QN_TRANSPOSED_SECOND, QN_IF_ROUTED},
    {"model.layers.%.feed_forward.experts.down_proj", "blk.%.ffn_down_exps.weight", {QN_EXPERTS, QN_HIDDEN, QN_EXPERT_WIDTH}, QN_TRANSPOSED, QN_IF_ROUTED},
    {"model.layers.%.feed_forward.shared_expert.gate_proj.weight", "blk.%.ffn_gate_shexp.weight", {QN_SHARED_WIDTH, QN_HIDDEN}, QN_AS_IS, QN_IF_ROUTED},
    {"model.layers.%.feed_forward.shared_expert.up_proj.weight", "blk.%.ffn_up_shexp.weight", {QN_SHARED_WIDTH, QN_HIDDEN}, QN_AS_IS, QN_IF_ROUTED},
    {"model.layers.%.feed_forward.shared_expert.down_proj.weight", "blk.%.ffn_down_shexp.weight", {QN_HIDDEN, QN_SHARED_WIDTH}, QN_AS_IS, QN_IF_ROUTED},
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const qn_prefix prefixes[] = {QN_PREFIXES_OUTER};
static const char *const towers[] = {"vision_model.", "multi_modal_projector.", NULL};

static const qn_parameter parameters[] = {
    QN_ALWAYS(QN_FIELD_FLAG, window_is_chunk, 1),
    {.config = {"intermediate_size_mlp"},
     .field = QN_HPARAM(feed_forward),
     .config_else = 16384,
     .gguf = {"feed_forward_length"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"num_local_experts"},
     .may_be_zero = true,
     .field = QN_HPARAM(n_experts),
     .config_else = 16,
     .gguf = {"expert_count"},
     .write = QN_WRITE_ALWAYS},
    {.config = {"num_experts_per_tok"},
     .may_be_zero = true,
     .field = QN_HPARAM(n_experts_used),
     .config_else = 1,
     .gguf = {"expert_used_count"},
     .write = QN_WRITE_ALWAYS},
    QN_VOCAB_SIZE_ELSE(202048),
    QN_ROPE_DIMENSIONS,
    {.config = {"interleave_moe_layer_step"},
     .may_be_zero = true,
     .field = QN_HPARAM(routed_period),
     .config_else = 1,
     .gguf = {"interleave_moe_layer_step"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"moe_layers"}, .kind = QN_FIELD_LAYERS, .list = QN_HPARAM(routed)},
    QN_EXPERT_WIDTH_ELSE("intermediate_size", QN_REQUIRED, QN_REQUIRED),
    {.config = {"intermediate_size"},
     .field = QN_HPARAM(shared_feed_forward),
     .gguf = {"expert_feed_forward_length"}},
    {.config = {"attention_chunk_size"},
     .null_is_zero = true,
     .field = QN_HPARAM(window),
     .config_else = 8192,
     .gguf = {"attention.sliding_window"},
     .gguf_else = 8192,
     .write = QN_WRITE_UNUSUAL},
    QN_LAYER_TYPES(0, 4, QN_WRITE_UNUSUAL_SLIDES),
    QN_NO_ROPE_LAYERS,
    QN_ALWAYS(QN_FIELD_COUNT, no_norm_at_experts, 128),
    {.config = {"use_qk_norm"},
     .kind = QN_FIELD_FLAG,
     .field = QN_HPARAM(norm_behind_rope),
     .config_else = 1,
     .gguf = {"attention.norm_behind_rope"},
     .gguf_else = 1,
     .write = QN_WRITE_UNUSUAL_NORM},
    QN_ALWAYS(QN_FIELD_FLAG, temperature_without_rope, 1),
    QN_ALWAYS(QN_FIELD_FLAG, temperature_by_flag, 1),
    {.config = {"attn_temperature_tuning"},
     .kind = QN_FIELD_FLAG,
     .field = QN_HPARAM(use_temperature),
     .config_else = 1,
     .gguf_else = 1},
    {.config = {"attn_scale"},
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(temperature_scale),
     .config_else = 0.1F,
     .gguf = {"attention.temperature_scale"},
     .gguf_else = 0.1F,
     .write = QN_WRITE_UNUSUAL},
    {.config = {"floor_scale"},
     .field = QN_HPARAM(temperature_length),
     .config_else = 8192,
     .gguf = {"attention.temperature_length"},
     .gguf_else = 8192,
     .write = QN_WRITE_UNUSUAL},
    QN_THETA_ELSE(500000),
    QN_COUNT_ELSE("head_dim", head_dim, 128),
    QN_COUNT_ELSE("num_key_value_heads", n_kv_heads, 8),
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 131072),
    QN_REAL_ELSE("rms_norm_eps", rms_eps, 1e-5),
    QN_FLAG("tie_word_embeddings", tied, 0),
    QN_FLAG("attention_bias", attention_bias, 0),
    QN_ALWAYS(QN_FIELD_FLAG, expert_sigmoid, 1),
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
};

const qn_family qn_family_llama4 = {
    .name = "llama4",
    .architecture = "llama4",
    .classes = classes,
    .model_types = model_types,
    .pre = "llama4", /* and gpt-4o: conversion/base.py, get_vocab_base_pre */
    .prefixes = prefixes,
    .n_prefixes = sizeof prefixes / sizeof *prefixes,
    .towers = towers,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_usually,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .common_keys = qn_keys_of_one_rope,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
