/* What a decoder must know of a model besides its weights: filled from
 * config.json (hf_config.h) or from GGUF metadata, by the family's table, read
 * by validate/decoder.
 *
 * Real numbers are rounded to float32, which is all that GGUF keeps and all
 * that transformers computes with, so both ways of filling agree. */
#ifndef QN_FORMATS_HPARAMS_H
#define QN_FORMATS_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/metadata.h"

typedef struct qn_family qn_family; /* formats/families/family.h */

typedef enum {
    QN_ROPE_NONE = 0, /* plain: base^(-2j/d) */
    QN_ROPE_LINEAR,   /* inv_freq / factor */
    QN_ROPE_LLAMA3,   /* divisors in rope_freqs.weight */
    QN_ROPE_YARN,
    QN_ROPE_LONGROPE,     /* divisors by length: short up to the original context, long beyond */
    QN_ROPE_PROPORTIONAL, /* only the first pairs turn: divisors 1 and 1e30 in rope_freqs.weight */
    QN_ROPE_DYNAMIC       /* NTK by length: only up to the trained length is it plain */
} qn_rope_scaling;

typedef enum { QN_SILU = 0, QN_GELU_TANH } qn_activation;

/* Twice what llama.cpp takes. */
#define QN_MAX_LAYERS 1024

/* A number for each of the first n layers; n is 0 where nobody listed them. */
typedef struct {
    uint32_t n;
    uint32_t of[QN_MAX_LAYERS];
} qn_layer_counts;

/* The layer's number, otherwise where the list has none. */
uint64_t qn_layer_count(const qn_layer_counts *list, uint64_t layer, uint64_t otherwise);

#define QN_MAX_EXPERTS 4096

/* Residual streams of a model with alternating updates. */
#define QN_N_STREAMS 4

typedef struct {
    uint32_t n;
    float of[QN_MAX_LAYERS];
} qn_layer_reals;

typedef struct {
    uint64_t n_vocab, n_ctx_train, n_layers;
    uint64_t hidden;       /* embedding length */
    uint64_t feed_forward; /* width of the MLP where feed_forward_of lists nothing */
    uint64_t n_heads, n_kv_heads;
    uint64_t head_dim;  /* of queries and keys */
    uint64_t value_dim; /* of values; equal to head_dim for this project's families so far */
    qn_layer_counts feed_forward_of, n_kv_heads_of;
    double rms_eps;

    /* Sliding layers: a token sees the last `window` positions, its own among
     * them.  slides.of is 1 or 0; complete() fills it where no list says it:
     * every layer but each window_period-th slides, 0: all do. */
    uint64_t window; /* 0: no layer slides */
    uint64_t window_period;
    uint64_t window_from;            /* not 0: the layers from this one on slide instead */
    bool window_by_flag, use_window; /* config.json's window counts only with the flag */
    bool last_is_full;               /* and the last layer never slides, whatever a list says */
    /* Windows stand side by side instead: a token sees its own from the window's first position
     * on.  config.json calls such attention chunked; without a list and a period the layers with
     * rope are the ones that have it. */
    bool window_is_chunk;
    qn_layer_counts slides;
    /* What is different in sliding layers; 0: nothing, these sizes are the
     * others', and they rotate as the others. */
    uint64_t head_dim_swa, value_dim_swa, rope_dims_swa;
    double rope_theta_swa; /* plain rope of this theta */
    bool plain_rope_swa;   /* plain rope even where no theta is said for them */
    /* The last so many layers have no keys and values of their own: they read
     * those of the last layer of their kind before them. */
    uint64_t n_shared_kv;
    bool wide_shared_mlp;     /* those layers' MLPs are twice as wide */
    uint64_t n_kv_heads_full; /* of full layers, where value_is_key; 0: as the others */
    /* Every layer's own input (validate/layer_inputs.h): its width, 0: none, and
     * the rows of its table, 0: n_vocab. */
    uint64_t layer_input, n_input_vocab;
    /* config.json's per_layer_config as read; complete() gives it to the two
     * kinds of layers. */
    qn_layer_counts head_dim_of;

    /* Mixture of experts: each token passes the n_experts_used experts that a
     * router likes best. */
    uint64_t n_experts;           /* 0: none */
    bool has_experts;             /* that it is not */
    uint64_t n_experts_used;      /* of each token */
    uint64_t expert_feed_forward; /* width of one */
    uint64_t shared_feed_forward; /* width of the one that all tokens pass; 0: none */
    bool expert_norm;             /* the used experts' weights are made to add up to 1 */
    /* Their weights are the sigmoids of the router's logits, and multiply what experts read
     * (modeling_llama4.py). */
    bool expert_sigmoid;
    /* routed.of is 1 for layers with experts, 0 for those with a plain MLP; complete() fills it
     * where no list says it: each routed_period-th that dense.of does not name, 0: all. */
    qn_layer_counts routed, dense;
    uint64_t routed_period;

    /* Gemma 3n (validate/altup.h): residual streams, 0 or QN_N_STREAMS; the rank
     * of the learned augmented residual, 0: none; and of each layer how many
     * standard deviations above the mean a gate must be to count, -infinity: all
     * count. */
    uint64_t n_streams, laurel_rank;
    uint64_t active_stream; /* always 0 */
    qn_layer_reals sparsity;

    qn_activation activation;
    /* Gates count up to the limit, the others between -limit and limit, and the
     * product is gate sigmoid(alpha gate) (up + 1) (modeling_gpt_oss.py); 0: a
     * plain product. */
    double swiglu_alpha, swiglu_limit;
    bool mlp_norm_behind_attention; /* it is called post_attention_norm in GGUF */
    double embedding_scale;      /* the residual stream begins with embedding * this; 0: as it is */
    bool embedding_by_size;      /* that is sqrt(hidden) */
    double residual_scale;       /* what each branch adds is multiplied by it; 0: 1 */
    double logit_divisor;        /* logits are divided by it; 0: 1 */
    double attention_scale;      /* of query . key; 0: 1 / sqrt(head size) */
    double query_scalar;         /* config.json's way to say it: its -1/2nd power; 0: not said */
    uint64_t scale_by_hidden_at; /* with this many layers 1 / sqrt(hidden / heads) is the usual */
    double attention_cap, final_cap; /* cap tanh(x / cap) of scores, of logits; 0: none */
    /* Queries of the token at position p are multiplied by 1 + temperature_scale
     * ln(1 + floor(p / temperature_length)); a scale of 0: by nothing, a length of 0:
     * rope's original context.  Or only in layers without rope, and by p + 1. */
    double temperature_scale;
    uint64_t temperature_length;
    bool temperature_without_rope;
    bool temperature_by_flag, use_temperature; /* the scale counts only with the flag */
    /* Behind rope, in layers that have it, heads of queries and keys are normed without
     * weights; runtimes take that for granted except with so many experts. */
    bool norm_behind_rope;
    uint64_t no_norm_at_experts;
    /* turns.of is 1 for layers with rope, 0 for those without; complete() fills it
     * where no list says it: every no_rope_period-th has none, 0: all have rope. */
    qn_layer_counts turns;
    uint64_t no_rope_period;
    bool rope_halves; /* rope turns elements j and j + rope_dims / 2, else 2j and 2j + 1 */

    uint64_t rope_dims; /* rotated elements of a head */
    double rope_theta;
    qn_rope_scaling rope_scaling;
    double rope_factor;  /* linear, llama3, yarn; proportional, where 0 is 1 */
    double rope_partial; /* proportional: this part of the pairs turns */
    double rope_low_freq,
        rope_high_freq;         /* llama3; 0 when a GGUF file's divisors fit no such rule */
    uint64_t rope_original_ctx; /* llama3, yarn, longrope */
    qn_layer_reals long_factors, short_factors; /* longrope, one for each pair */
    double longrope_factor;                     /* of cosines and sines; 0: by the rule */
    /* yarn; 0: not given, which means 32, 1 and 0.1 ln(factor) + 1 */
    double yarn_beta_fast, yarn_beta_slow, yarn_attn_factor;
    /* Where both are given and that factor is not, it is (0.1 mscale ln(factor) + 1) /
     * (0.1 mscale_all ln(factor) + 1); complete() makes the factor of them unless GGUF
     * has keys for them in this family. */
    double yarn_mscale, yarn_mscale_all;
    bool yarn_mscale_keys;
    bool yarn_untruncated; /* the ramp begins and ends between pairs, not at whole ones */

    bool value_is_key; /* layers without a value matrix take the key's projection */
    bool value_norm;   /* each head's values are normed, without weights */

    bool tied; /* the head is the token embedding */
    bool attention_bias, mlp_bias;
} qn_hparams;

/* What one layer's attention and MLP are made of. */
typedef struct {
    bool slides;
    bool turns;      /* has rope */
    bool routed;     /* has experts */
    uint64_t window; /* positions that a token sees; 0: all up to its own */
    uint64_t n_kv_heads, head_dim, value_dim, rope_dims, feed_forward;
} qn_layer_sizes;

qn_layer_sizes qn_hparams_layer(const qn_hparams *h, uint64_t layer);

/* The layer whose keys and values it reads: itself, or for one of the last
 * n_shared_kv the last of its kind (sliding or full) before them; n_layers
 * when there is none (complete() refuses that). */
uint64_t qn_hparams_kv_layer(const qn_hparams *h, uint64_t layer);

/* The attention scale that runtimes take when a GGUF file says none. */
double qn_hparams_usual_scale(const qn_hparams *h);

/* What nobody said is filled from the rest (KV heads, head size, rotated
 * elements, which layers slide), then everything is checked: sizes from 1 to 2^31 - 1,
 * heads that divide, positive finite reals.  where: the file's name, for messages. */
qn_status qn_hparams_complete(qn_hparams *h, const char *where, qn_error *err);

/* From GGUF keys, completed.  embedding_rows: the vocabulary's size when no key
 * says it.  tied, the biases and llama3 scaling show in the tensors only:
 * model_gguf.c sets those. */
qn_status qn_hparams_from_metadata(const qn_family *family, const qn_metadata *m, const char *where,
                                   uint64_t embedding_rows, qn_hparams *out, qn_error *err);

/* Appends the family's keys and, in its place among them, general.file_type. */
qn_status qn_hparams_to_metadata(const qn_family *family, const qn_hparams *h, uint32_t file_type,
                                 qn_metadata *m, qn_error *err);

/* The few that the converter writes while it makes tensors, and so in front of
 * the general ones. */
qn_status qn_hparams_first_metadata(const qn_family *family, const qn_hparams *h, qn_metadata *m,
                                    qn_error *err);

const char *qn_rope_scaling_name(qn_rope_scaling s); /* as GGUF and config.json spell it */
qn_status qn_rope_scaling_by_name(qn_str name, const char *where, qn_rope_scaling *out,
                                  qn_error *err);

/* config.json's for a layer with a window. */
const char *qn_sliding_word(const qn_hparams *h);

const char *qn_activation_name(qn_activation a); /* as config.json spells it */
qn_status qn_activation_by_name(qn_str name, const char *where, qn_activation *out, qn_error *err);

#endif
