/* The weights of a model bound to their roles: what a qn_decoder is.
 *
 * Matrices stay as they are stored and are reached through their row sources;
 * vectors (norms, biases) are decoded once. */
#ifndef QN_VALIDATE_WEIGHTS_H
#define QN_VALIDATE_WEIGHTS_H

#include "validate/decoder.h"

typedef struct {
    const qn_rows *rows; /* [output][input] */
    const float *bias;   /* [output], or NULL */
} qn_linear;

typedef struct {
    const float *attention_norm, *mlp_norm; /* [hidden] */
    qn_linear query, key, value, output;
    qn_linear gate, up, down;
} qn_layer;

struct qn_decoder {
    const qn_model *model;
    const qn_hparams *hparams;
    const qn_kernels *k;
    int threads;
    const qn_rows *embedding; /* [n_vocab][hidden] */
    const qn_rows *head;      /* the embedding itself when tied */
    const float *final_norm;
    qn_layer *layers;
    float *rope_frequency; /* [rope_dims / 2] */
    float rope_factor;
    qn_arena *arena; /* layers and vectors */
};

#endif
