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
    double rope_factor; /* linear, llama3, yarn */
    double rope_low_freq,
        rope_high_freq;         /* llama3; 0 when a GGUF file's divisors fit no such rule */
    uint64_t rope_original_ctx; /* llama3, yarn */
    /* yarn; 0: not given, which means 32, 1 and 0.1 ln(factor) + 1 */
    double yarn_beta_fast, yarn_beta_slow, yarn_attn_factor;

    bool tied; /* the head is the token embedding */
    bool attention_bias, mlp_bias;
} qn_hparams;

/* What nobody said is filled from the rest (KV heads, head size, rotated
 * elements), then everything is checked: sizes from 1 to 2^31 - 1, heads that
 * divide, positive finite reals.  where: the file's name, for messages. */
qn_status qn_hparams_complete(qn_hparams *h, const char *where, qn_error *err);

/* From GGUF keys, completed.  embedding_rows: the vocabulary's size when no key
 * says it.  tied, the biases and llama3 scaling show in the tensors only:
 * model_gguf.c sets those. */
qn_status qn_hparams_from_metadata(const qn_family *family, const qn_metadata *m, const char *where,
                                   uint64_t embedding_rows, qn_hparams *out, qn_error *err);

/* Appends the family's keys and, in its place among them, general.file_type. */
qn_status qn_hparams_to_metadata(const qn_family *family, const qn_hparams *h, uint32_t file_type,
                                 qn_metadata *m, qn_error *err);

const char *qn_rope_scaling_name(qn_rope_scaling s); /* as GGUF and config.json spell it */
qn_status qn_rope_scaling_by_name(qn_str name, const char *where, qn_rope_scaling *out,
                                  qn_error *err);

#endif
