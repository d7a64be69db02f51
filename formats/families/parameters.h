/* Rows of parameter tables: short ways to write them, and those that families repeat. */
#ifndef QN_FORMATS_FAMILIES_PARAMETERS_H
#define QN_FORMATS_FAMILIES_PARAMETERS_H

#include "formats/families/family.h"

/* clang-format off */

/* What the family always is: no key says it. */
#define QN_ALWAYS(of_kind, member, value) \
    {.kind = (of_kind), .field = QN_HPARAM(member), .config_else = (value), .gguf_else = (value)}

/* Keys of config.json alone, and what their absence means. */
#define QN_COUNT_ELSE(key, member, value) \
    {.config = {key}, .field = QN_HPARAM(member), .config_else = (value)}
#define QN_REAL_ELSE(key, member, value) \
    {.config = {key}, .kind = QN_FIELD_REAL, .field = QN_HPARAM(member), .config_else = (value)}
#define QN_FLAG(key, member, value) \
    {.config = {key}, .kind = QN_FIELD_FLAG, .field = QN_HPARAM(member), .config_else = (value)}
#define QN_THETA_ELSE(value) \
    {.config = {"rope_theta"}, .in_rope = QN_IN_ROPE, .kind = QN_FIELD_REAL, \
     .field = QN_HPARAM(rope_theta), .config_else = (value)}

/* What conversion/llama.py writes besides. */
#define QN_VOCAB_SIZE_ELSE(value) \
    {.config = {"vocab_size"}, .field = QN_HPARAM(n_vocab), .config_else = (value), \
     .gguf = {"vocab_size"}, .write = QN_WRITE_ALWAYS}
#define QN_ROPE_DIMENSIONS \
    {.field = QN_HPARAM(rope_dims), .gguf = {"rope.dimension_count"}, .write = QN_WRITE_ALWAYS}

/* ---- sliding layers ---- */

/* null or 0: no window.  written: a qn_write_when. */
#define QN_WINDOW_ELSE(value, written) \
    {.config = {"sliding_window"}, .may_be_zero = true, .field = QN_HPARAM(window), \
     .config_else = (value), .gguf = {"attention.sliding_window"}, .write = (written)}

/* Which layers slide; the periods where config.json and where GGUF do not say it. */
#define QN_LAYER_TYPES(period, gguf_period, written) \
    {.config = {"layer_types"}, .kind = QN_FIELD_SLIDES, .field = QN_HPARAM(window_period), \
     .list = QN_HPARAM(slides), .config_else = (period), \
     .gguf = {"attention.sliding_window_pattern"}, .gguf_else = (gguf_period), .write = (written)}

/* Their rope, where it is plain and of a theta of its own. */
#define QN_SLIDING_THETA_ELSE(value) \
    {.config = {"rope_theta"}, .in_rope = QN_IN_SLIDING_ROPE, .kind = QN_FIELD_REAL, \
     .field = QN_HPARAM(rope_theta_swa), .config_else = (value), \
     .gguf = {"rope.freq_base_swa"}, .gguf_else = (value)}

/* Qwen's window, which counts only with a flag beside it. */
#define QN_QWEN_WINDOW \
    QN_ALWAYS(QN_FIELD_FLAG, window_by_flag, 1), \
    {.config = {"use_sliding_window"}, .kind = QN_FIELD_FLAG, .field = QN_HPARAM(use_window), \
     .gguf_else = 1}, \
    QN_WINDOW_ELSE(4096, QN_WRITE_SLIDING)

/* And the layers that have it. */
#define QN_QWEN_SLIDING_LAYERS \
    {.config = {"max_window_layers"}, .may_be_zero = true, .field = QN_HPARAM(window_from), \
     .config_else = 28}, \
    QN_LAYER_TYPES(0, 0, QN_WRITE_UNUSUAL_SLIDES)

/* ---- layers without rope: each fourth, or as a list says ---- */

#define QN_NO_ROPE_LAYERS \
    QN_COUNT_ELSE("no_rope_layer_interval", no_rope_period, 4), \
    {.config = {"no_rope_layers"}, .kind = QN_FIELD_COUNTS, .may_be_zero = true, \
     .field = QN_HPARAM(no_rope_period), .list = QN_HPARAM(turns), \
     .gguf = {"rope.layers"}, .gguf_else = 4, .write = QN_WRITE_UNUSUAL_TURNS}

/* ---- experts ---- */

#define QN_EXPERT_WIDTH_ELSE(key, value, gguf_value) \
    {.config = {key}, .field = QN_HPARAM(expert_feed_forward), .config_else = (value), \
     .gguf = {"expert_feed_forward_length"}, .gguf_else = (gguf_value), .write = QN_WRITE_ALWAYS}

/* Whether the weights of a token's experts are made to add up to 1; gguf_value: what
 * runtimes take. */
#define QN_QWEN_EXPERT_NORM(gguf_value) \
    {.config = {"norm_topk_prob"}, .kind = QN_FIELD_FLAG, .field = QN_HPARAM(expert_norm), \
     .gguf = {"expert_weights_norm"}, .gguf_else = (gguf_value), .write = QN_WRITE_UNUSUAL}

/* Which layers have experts. */
#define QN_QWEN_ROUTED_LAYERS \
    {.config = {"mlp_only_layers"}, .kind = QN_FIELD_LAYERS, .list = QN_HPARAM(dense)}, \
    {.config = {"decoder_sparse_step"}, .field = QN_HPARAM(routed_period), .config_else = 1, \
     .gguf_else = 1}

/* ---- Gemma ---- */

/* What all of them are: a head that is the embedding, scaled embeddings, GELU. */
#define QN_GEMMA_ALWAYS \
    QN_FLAG("tie_word_embeddings", tied, 1), \
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1), \
    QN_ALWAYS(QN_FIELD_FLAG, embedding_by_size, 1), \
    QN_ALWAYS(QN_FIELD_ACTIVATION, activation, QN_GELU_TANH)

#define QN_GEMMA_FINAL_CAP(gguf_value, written) \
    {.config = {"final_logit_softcapping"}, .kind = QN_FIELD_REAL, \
     .field = QN_HPARAM(final_cap), .gguf = {"final_logit_softcapping"}, \
     .gguf_else = (gguf_value), .write = (written)}

/* The scale of attention; layers: of the 27B model, where runtimes take another. */
#define QN_GEMMA_QUERY_SCALAR(layers) \
    {.config = {"query_pre_attn_scalar"}, .kind = QN_FIELD_REAL, .whole = true, \
     .field = QN_HPARAM(query_scalar), .config_else = 256}, \
    {.kind = QN_FIELD_REAL, .field = QN_HPARAM(attention_scale), .gguf = {"attention.scale"}, \
     .write = QN_WRITE_UNUSUAL_SCALE}, \
    QN_ALWAYS(QN_FIELD_COUNT, scale_by_hidden_at, layers)

/* clang-format on */

#endif
