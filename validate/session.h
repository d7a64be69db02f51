/* What a session is made of, for the files that do its layers' work. */
#ifndef QN_VALIDATE_SESSION_H
#define QN_VALIDATE_SESSION_H

#include "validate/attention.h"
#include "validate/weights.h"

typedef struct qn_moe_scratch qn_moe_scratch; /* moe.c */

struct qn_session {
    const qn_decoder *d;
    qn_gemm *gemm;
    qn_attention *attention;
    size_t sequences, n_ctx;
    bool whole;    /* runs are of n_ctx tokens, nothing is kept for another one */
    size_t cached; /* positions of each sequence */
    size_t last_n; /* tokens of each sequence in the last run */

    const qn_rope *rope[2]; /* the decoder's, by kind of layer, for contexts of n_ctx */
    size_t tokens;          /* there is room for: sequences * n */
    float *x;               /* [tokens][hidden]: the residual stream, at the end normed */
    float *turns[2];        /* [n][dims], by kind of layer as in qn_decoder.rope */
    qn_span *spans;         /* [sequences] */
    float *inputs;          /* [tokens][n_layers][layer_input]: the layers' own */
    float *input_row;       /* [n_layers][layer_input] */

    float *streams[QN_N_STREAMS - 1]; /* [tokens][hidden]: the others of alternating updates */
    float *shown;                     /* [tokens][streams * hidden]: for those who watch */

    size_t block;        /* tokens there is room for in all of these */
    float *h;            /* [block][hidden]: normed input, then what is added to x */
    float *query;        /* [block][n_heads][head_dim], of the widest layer, as all below */
    float *key;          /* [block][n_kv_heads][head_dim] */
    float *value;        /* [block][n_kv_heads][value_dim] */
    float *mixed;        /* [block][n_heads][value_dim] */
    float *gate;         /* [block][feed_forward or layer_input] */
    float *up;           /* [block][feed_forward] */
    float *predicted;    /* [block][hidden]: the first stream before the layer */
    float *modalities;   /* [block][QN_N_STREAMS]: m of each token (altup.h) */
    float *laurel;       /* [block][hidden] */
    float *mixture;      /* [block][hidden]: what experts make of h */
    qn_moe_scratch *moe; /* NULL: no experts ran yet */

    qn_input_fn watch; /* NULL: nobody */
    void *watch_ctx;

    float *rounded; /* [rounded_floats]: a product's inputs, where they are rounded */
    size_t rounded_floats;
    const float *rounded_from; /* of which they are, to which type */
    qn_dtype rounded_to;
};

/* Tokens t0..t1 of a run of n tokens a sequence: x, which stands at token t0,
 * gets what attention (first) and then the MLP add to it. */
typedef struct {
    size_t n, t0, t1;
    float *x;
} qn_block;

qn_status qn_layer_attend(qn_session *s, size_t layer, const qn_block *b, qn_error *err);
qn_status qn_layer_feed_forward(qn_session *s, size_t layer, const qn_block *b, qn_error *err);

/* ---- what they are made of ---- */

/* rows of hidden elements; out may be x. */
void qn_norm_rows(const qn_session *s, const float *x, const float *weight, size_t rows,
                  float *out);
void qn_scale_rows(const qn_session *s, float scale, size_t rows, float *x);
void qn_add_rows(const qn_session *s, const float *what, size_t rows, float *x);

/* *x, rows of l's columns, becomes what products with l see of it: itself, or a
 * rounded copy that the next call overwrites (input_rounding.h). */
qn_status qn_round_inputs(qn_session *s, const qn_linear *l, size_t rows, const float **x,
                          qn_error *err);

/* rows of x through a matrix and its bias. */
qn_status qn_apply(qn_session *s, const qn_linear *l, const float *x, size_t rows, float *out,
                   qn_error *err);

/* The same with an expert's. */
qn_status qn_apply_expert(qn_session *s, const qn_linear *l, uint64_t expert, const float *x,
                          size_t rows, float *out, qn_error *err);

/* Shows whoever watches what l (or its expert) is about to be multiplied with. */
qn_status qn_show_input(const qn_session *s, const qn_linear *l, uint64_t expert, const float *x,
                        size_t rows, qn_error *err);

/* down . (activation(gate . x) * (up . x)) of an expert, or (0) of a plain MLP;
 * out may be x.  Uses s->gate and s->up. */
qn_status qn_mlp_run(qn_session *s, const qn_mlp *mlp, uint64_t expert, const float *x, size_t rows,
                     float *out, qn_error *err);

/* gate[rows][width] becomes activation(gate) * up; up is scratch afterwards. */
void qn_activate(const qn_session *s, float *gate, float *up, size_t rows, size_t width);
void qn_gelu_mul(const qn_decoder *d, float *gate, const float *up, size_t n);

#endif
