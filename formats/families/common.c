/* The hyperparameters that every decoder-only family has.
 *
 * Rows stand in the order in which the reference converter writes their GGUF
 * keys.  Defaults for config.json are transformers' (configuration_llama.py),
 * for GGUF llama.cpp's (llama-model.cpp, load_hparams); 0 is filled from the
 * others by qn_hparams_complete. */
#include "formats/families/family.h"

#include <string.h>

const qn_parameter qn_common_parameters[] = {
    {.config = {"rope_theta"},
     .in_rope = QN_IN_SLIDING_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(rope_theta_swa)},
    {.config = {"num_hidden_layers", "n_layers", "n_layer", "num_layers"},
     .field = QN_HPARAM(n_layers),
     .config_else = QN_REQUIRED,
     .gguf = {"block_count"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"max_position_embeddings", "n_ctx", "n_positions"},
     .field = QN_HPARAM(n_ctx_train),
     .config_else = 2048,
     .gguf = {"context_length"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"hidden_size", "n_embd", "dim"},
     .field = QN_HPARAM(hidden),
     .config_else = QN_REQUIRED,
     .gguf = {"embedding_length"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"intermediate_size", "n_inner", "hidden_dim"},
     .kind = QN_FIELD_COUNTS,
     .field = QN_HPARAM(feed_forward),
     .list = QN_HPARAM(feed_forward_of),
     .config_else = QN_REQUIRED,
     .gguf = {"feed_forward_length"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"num_attention_heads", "n_heads", "n_head"},
     .field = QN_HPARAM(n_heads),
     .config_else = QN_REQUIRED,
     .gguf = {"attention.head_count"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"num_key_value_heads", "n_kv_heads"},
     .kind = QN_FIELD_COUNTS,
     .field = QN_HPARAM(n_kv_heads),
     .list = QN_HPARAM(n_kv_heads_of),
     .gguf = {"attention.head_count_kv"},
     .write = QN_WRITE_ALWAYS},
    {.config = {"rope_type", "type"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_SCALING,
     .field = QN_HPARAM(rope_scaling),
     .gguf = {"rope.scaling.type"},
     .write = QN_WRITE_SCALED},
    {.config = {"factor"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(rope_factor),
     .gguf = {"rope.scaling.factor", "rope.scale_linear"},
     .write = QN_WRITE_SCALED},
    {.config = {"original_max_position_embeddings"},
     .in_rope = QN_IN_ROPE,
     .field = QN_HPARAM(rope_original_ctx),
     .gguf = {"rope.scaling.original_context_length"},
     .write = QN_WRITE_YARN},
    {.config = {"attention_factor", "attn_factor"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(yarn_attn_factor),
     .gguf = {"rope.scaling.yarn_attn_factor"},
     .write = QN_WRITE_YARN_SET},
    {.config = {"beta_fast"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(yarn_beta_fast),
     .gguf = {"rope.scaling.yarn_beta_fast"},
     .write = QN_WRITE_YARN_SET},
    {.config = {"beta_slow"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(yarn_beta_slow),
     .gguf = {"rope.scaling.yarn_beta_slow"},
     .write = QN_WRITE_YARN_SET},
    {.config = {"mscale"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(yarn_mscale)},
    {.config = {"mscale_all_dim"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(yarn_mscale_all)},
    {.config = {"truncate"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_NOT_FLAG,
     .field = QN_HPARAM(yarn_untruncated),
     .gguf = {"rope.scaling.yarn_untruncated"},
     .write = QN_WRITE_YARN_SET},
    {.config = {"low_freq_factor"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(rope_low_freq)},
    {.config = {"high_freq_factor"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(rope_high_freq)},
    {.config = {"rope_theta", "rotary_emb_base"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(rope_theta),
     .config_else = 10000,
     .gguf = {"rope.freq_base"},
     .gguf_else = 10000,
     .write = QN_WRITE_ALWAYS},
    {.config = {"rope_local_base_freq"},
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(rope_theta_swa),
     .gguf = {"rope.freq_base_swa"},
     .write = QN_WRITE_SET},
    {.config = {"rms_norm_eps", "norm_eps"},
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(rms_eps),
     .config_else = 1e-6,
     .gguf = {"attention.layer_norm_rms_epsilon"},
     .gguf_else = QN_REQUIRED,
     .write = QN_WRITE_ALWAYS},
    {.config = {"num_local_experts", "num_experts", "n_routed_experts"},
     .may_be_zero = true,
     .field = QN_HPARAM(n_experts),
     .gguf = {"expert_count"},
     .write = QN_WRITE_SET},
    {.config = {"num_experts_per_tok", "num_experts_per_token", "top_k_experts"},
     .may_be_zero = true,
     .field = QN_HPARAM(n_experts_used),
     .gguf = {"expert_used_count"},
     .write = QN_WRITE_SET},
    {.config = {"head_dim"},
     .field = QN_HPARAM(head_dim),
     .gguf = {"attention.key_length"},
     .write = QN_WRITE_ALWAYS},
    {.field = QN_HPARAM(value_dim), .gguf = {"attention.value_length"}, .write = QN_WRITE_ALWAYS},
};

const size_t qn_n_common_parameters = sizeof qn_common_parameters / sizeof *qn_common_parameters;

/* What the next two lists have in common; their order is that of the written keys. */
#define KEYS_UP_TO_ROPE                                                         \
    "block_count", "context_length", "embedding_length", "feed_forward_length", \
        "attention.head_count", "attention.head_count_kv", "rope.scaling.type", \
        "rope.scaling.factor", "rope.scaling.original_context_length",          \
        "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_beta_fast",         \
        "rope.scaling.yarn_beta_slow", "rope.scaling.yarn_untruncated", "rope.freq_base"
#define KEYS_BEHIND_ROPE "attention.layer_norm_rms_epsilon", "expert_count", "expert_used_count"

const char *const qn_keys_without_head_size[] = {KEYS_UP_TO_ROPE, "rope.freq_base_swa",
                                                 KEYS_BEHIND_ROPE, NULL};
const char *const qn_keys_of_one_rope[] = {KEYS_UP_TO_ROPE, KEYS_BEHIND_ROPE,
                                           "attention.key_length", "attention.value_length", NULL};

/* conversion/gemma.py, GemmaModel.set_gguf_parameters. */
const char *const qn_keys_without_rope[] = {
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "attention.key_length",
    "attention.value_length",
    NULL,
};

const char *const qn_ignored_usually[] = {".rotary_emb.inv_freq", NULL};
const char *const qn_ignored_buffers[] = {".rotary_emb.inv_freq", ".attention.masked_bias",
                                          ".attention.bias", NULL};
const char *const qn_ignored_head[] = {"lm_head.weight", ".rotary_emb.inv_freq", NULL};

size_t qn_family_n_parameters(const qn_family *f)
{
    return qn_n_common_parameters + f->n_parameters;
}

const qn_parameter *qn_family_parameter(const qn_family *f, size_t i)
{
    return i < qn_n_common_parameters ? &qn_common_parameters[i]
                                      : &f->parameters[i - qn_n_common_parameters];
}

uint64_t qn_parameter_count(const qn_parameter *p, const qn_hparams *h)
{
    uint64_t v;
    memcpy(&v, (const char *)h + p->field, sizeof v);
    return v;
}

double qn_parameter_real(const qn_parameter *p, const qn_hparams *h)
{
    double v;
    memcpy(&v, (const char *)h + p->field, sizeof v);
    return v;
}

bool qn_parameter_flag(const qn_parameter *p, const qn_hparams *h)
{
    bool v;
    memcpy(&v, (const char *)h + p->field, sizeof v);
    return v;
}

qn_layer_counts *qn_parameter_list(const qn_parameter *p, qn_hparams *h)
{
    return (qn_layer_counts *)(void *)((char *)h + p->list);
}

void qn_parameter_set(const qn_parameter *p, double value, qn_hparams *h)
{
    const uint64_t count = (uint64_t)value;
    const double real = (double)(float)value;
    const bool flag = value != 0;
    const qn_rope_scaling scaling = (qn_rope_scaling)count;
    const qn_activation activation = (qn_activation)count;
    void *field = (char *)h + p->field;
    switch (p->kind) {
    case QN_FIELD_COUNT:
    case QN_FIELD_COUNTS:
    case QN_FIELD_SLIDES: memcpy(field, &count, sizeof count); break;
    case QN_FIELD_SPARSITY: break; /* a list, or nothing */
    case QN_FIELD_REAL: memcpy(field, &real, sizeof real); break;
    case QN_FIELD_REALS:
    case QN_FIELD_LAYERS: break; /* a list has no default */
    case QN_FIELD_FLAG:
    case QN_FIELD_NOT_FLAG: memcpy(field, &flag, sizeof flag); break;
    case QN_FIELD_SCALING: memcpy(field, &scaling, sizeof scaling); break;
    case QN_FIELD_ACTIVATION: memcpy(field, &activation, sizeof activation); break;
    }
}
