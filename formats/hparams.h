/* What a decoder must know of a model besides its weights: filled from
 * config.json or from GGUF metadata (families/), read by validate/decoder. */
#ifndef QN_FORMATS_HPARAMS_H
#define QN_FORMATS_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    QN_ROPE_NONE = 0, /* plain: base^(-2j/d) */
    QN_ROPE_LINEAR,   /* inv_freq / factor */
    QN_ROPE_LLAMA3,   /* divisors in rope_freqs.weight */
    QN_ROPE_YARN,
    QN_ROPE_DYNAMIC /* NTK by length: only up to the trained length is it plain */
} qn_rope_scaling;

typedef struct {
    uint64_t n_vocab, n_ctx_train, n_layers;
    uint64_t hidden;       /* embedding length */
    uint64_t feed_forward; /* width of the MLP */
    uint64_t n_heads, n_kv_heads;
    uint64_t head_dim;  /* of queries and keys */
    uint64_t value_dim; /* of values; equal to head_dim for this project's families so far */
    double rms_eps;

    uint64_t rope_dims; /* rotated elements of a head */
    double rope_theta;
    qn_rope_scaling rope_scaling;
    double rope_factor;
    double rope_low_freq, rope_high_freq; /* llama3 */
    uint64_t rope_original_ctx;           /* llama3, yarn */
    double yarn_beta_fast, yarn_beta_slow, yarn_attn_factor;

    bool tied; /* the head is the token embedding */
    bool attention_bias, mlp_bias;
} qn_hparams;

#endif
