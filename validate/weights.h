/* The weights of a model bound to their roles: what a qn_decoder is.
 *
 * Matrices stay as they are stored and are reached through their row sources;
 * vectors (norms, biases) are decoded once. */
#ifndef QN_VALIDATE_WEIGHTS_H
#define QN_VALIDATE_WEIGHTS_H

#include "validate/decoder.h"
#include "validate/norm.h"

/* A matrix: rows first..first+n of a tensor, which may hold others behind it
 * (fused ones, experts `step` rows apart). */
typedef struct {
    const char *name;    /* the tensor's; the model's */
    bool same_input;     /* as the matrix that is applied before it */
    const qn_rows *rows; /* NULL: the model has none */
    uint64_t first, n, step;
    const float *bias; /* [n], or NULL; of experts [expert][bias_step] */
    uint64_t bias_step;
} qn_linear;

typedef struct {
    qn_linear gate, up, down;
    bool sparse;      /* gates count only where they are */
    float deviations; /* so many standard deviations above their mean, and by how much */
} qn_mlp;

/* Alternating updates (altup.h). */
typedef struct {
    const float *norm;          /* [hidden] */
    const float *router;        /* [QN_N_STREAMS][hidden] */
    const float *predict;       /* [QN_N_STREAMS][QN_N_STREAMS][QN_N_STREAMS] */
    const float *correct;       /* [QN_N_STREAMS][QN_N_STREAMS] */
    const float *correct_scale; /* [hidden] */
    /* The same as stored, for those who watch inputs. */
    qn_linear router_matrix, predict_matrix, correct_matrix;
} qn_altup;

typedef struct {
    qn_layer_sizes sizes;
    bool owns_kv;                                     /* else it reads an earlier layer's */
    const float *attention_norm, *mlp_norm;           /* [hidden], or NULL */
    const float *post_attention_norm, *post_mlp_norm; /* [hidden], or NULL */
    const float *sinks;                               /* [n_heads], or NULL */
    const float *query_norm, *key_norm;               /* or NULL */
    size_t query_norm_size, key_norm_size;            /* a head's elements, or all heads' */
    qn_linear query, key, value, output;              /* no value: it is the key as projected */
    qn_mlp mlp;                                       /* no gate: there are experts only */
    qn_linear router;                                 /* no rows: there are no experts */
    qn_mlp experts;
    /* Where experts stand beside a dense MLP: the norms around both, the router's
     * input is the residual stream, normed and times router_scale / sqrt(hidden). */
    const float *experts_norm, *post_dense_norm, *post_experts_norm; /* [hidden], or NULL */
    const float *router_scale;                                       /* [hidden], or NULL */
    const float *expert_scale; /* [expert]: their weights are multiplied by it; or NULL */
    qn_mlp shared;             /* no gate: none that all tokens pass */
    qn_linear shared_gate;
    qn_linear input_gate, input_out; /* for the layer's own input; no rows: it has none */
    const float *input_post_norm;
    qn_altup altup; /* no norm: one stream */
    qn_linear laurel_left, laurel_right;
    const float *laurel_norm;
    float output_scale; /* of the residual stream behind the layer */
} qn_layer;

/* How the heads of one kind of layer turn. */
typedef struct {
    size_t dims;      /* rotated elements of a head */
    float *frequency; /* [dims / 2] */
    float factor;
} qn_rope;

struct qn_decoder {
    const qn_model *model;
    const qn_hparams *hparams;
    const qn_kernels *k;
    int threads;
    bool gives_back; /* pages, when they were used */
    qn_activations activations;
    qn_norm_fn norm;          /* the one that goes with them */
    const qn_rows *embedding; /* [n_vocab][hidden] */
    qn_linear head;           /* the embedding itself when tied */
    const float *final_norm;
    const qn_rows *input_table;        /* [n_input_vocab][n_layers * layer_input], or NULL */
    qn_linear input_projection;        /* [n_layers * layer_input][hidden] */
    const float *input_norm;           /* [layer_input] */
    qn_linear streams_in, streams_out; /* [QN_N_STREAMS - 1] experts [hidden][hidden] */
    qn_layer *layers;
    qn_rope long_rope; /* instead of the former in contexts beyond long_from; 0 dims: none */
    uint64_t long_from;
    qn_rope rope[2]; /* of layers that do not slide, and that do */
    qn_arena *arena; /* layers and vectors */
};

/* Rows of the head that are multiplied before their pages are given back. */
#define QN_HEAD_ROWS 4096

/* weight_pages.c: where the decoder gives back, else they do nothing. */
void qn_give_back(const qn_decoder *d, const qn_linear *l);
void qn_give_back_layer(const qn_decoder *d, size_t layer);

#endif
