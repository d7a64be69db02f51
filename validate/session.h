/* What a session is made of, for the files that do its layers' work. */
#ifndef QN_VALIDATE_SESSION_H
#define QN_VALIDATE_SESSION_H

#include "validate/attention.h"
#include "validate/weights.h"

typedef struct qn_moe_scratch qn_moe_scratch; /* moe.c */

#define QN_INPUT_ROWS 32 /* tokens whose layers' inputs are looked up at a time */

struct qn_session {
    const qn_decoder *d;
    qn_gemm *gemm;
    qn_attention *attention;
    size_t sequences, n_ctx;
    bool whole;     /* runs are of n_ctx tokens, nothing is kept for another one */
    size_t asked;   /* the first token of a run whose logits are asked for */
    size_t *wanted; /* [n_layers]: the run's first token of what a layer gives that is read
                       by anything that counts */
    size_t from;    /* the last run's first position of which x has a row */
    size_t cached;  /* positions of each sequence */
    size_t last_n;  /* tokens of each sequence in the last run */

    const qn_rope *rope[2]; /* the decoder's, by kind of layer, for contexts of n_ctx */
    size_t tokens;          /* there is room for: sequences * n */
    float *x;          /* [sequences][n - from][hidden]: the residual stream, at the end normed */
    float *turns[2];   /* [n][dims], by kind of layer as in qn_decoder.rope */
    qn_span *spans;    /* [sequences] */
    float *inputs;     /* [tokens][n_layers][layer_input]: the layers' own */
    float *input_rows; /* [up to QN_INPUT_ROWS][n_layers][layer_input]: the table's */

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

/* Rows t0..t1 of the residual stream when it has n tokens a sequence, those from
 * position `from` of the run on: x, which stands at row t0, gets what attention
 * (first) and then the MLP add to it.  From its layer on, none before position
 * `wanted` is read. */
typedef struct {
    size_t n, from, wanted, t0, t1;
    float *x;
} qn_block;

/* The position in the run of the block's row i, and its token of the run's
 * [sequences][from + n]. */
static inline size_t qn_block_position(const qn_block *b, size_t i)
{
    return b->from + (b->t0 + i) % b->n;
}

static inline size_t qn_block_token(const qn_block *b, size_t i)
{
    return (b->t0 + i) / b->n * (b->from + b->n) + qn_block_position(b, i);
}

/* Fills s->wanted for logits from the run's token `first` on, from the last layer back:
 * what the next one's queries are made of, and what the keys are made of that these
 * and later layers' queries read, and later runs', for which everything is kept. */
void qn_session_choose_wanted(qn_session *s, size_t first);

/* Drops the rows that nobody wants: of the residual stream and the streams beside
 * it, and of what s has of the block when a layer's queries are due. */
void qn_block_narrow(qn_session *s, qn_block *b);

/* Narrows the block when its keys and values are stored. */
qn_status qn_layer_attend(qn_session *s, size_t layer, qn_block *b, qn_error *err);
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
