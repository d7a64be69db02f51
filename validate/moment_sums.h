/* Second moments (formats/second_moments.h) summed while a model runs:
 *
 *     S[i][j] = sum over rows x of x[i] * x[j]
 *
 * The rows that a matrix is multiplied with count in the order of their tokens.
 * 256 of them at a time, whatever calls they came in, are one fused chain in
 * float32 (kernels.h, gemm_tile), and these sums are added in double.  So S has
 * the same bits for any batch, number of threads and instruction set, and with
 * u = 2^-24
 *
 *     |S - exact| <= 256 u / (1 - 256 u) sum |x[i] x[j]| <= 1.53e-5 sqrt(S[i][i] S[j][j])
 *
 * (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, 3.1; then Cauchy
 * and Schwarz); rounding to float32 when it is stored adds u |S|, the sums in double
 * nothing to speak of. */
#ifndef QN_VALIDATE_MOMENT_SUMS_H
#define QN_VALIDATE_MOMENT_SUMS_H

#include "validate/linear_inputs.h"

/* Rows of a chain. */
#define QN_MOMENT_ROWS QN_MOMENTS_CHAIN

/* Who has what was there before, and takes what has become of it.  sums is
 * [qn_moments_length] of one matrix; rest, [n_rest][columns], are rows that are not
 * in them yet: fewer than a chain, to be gone on with where another run stopped. */
typedef struct {
    void *ctx;
    /* Adds to sums, zeros so far, and fills rest, which has room for a chain; NULL:
     * nothing was there. */
    qn_status (*start)(void *ctx, size_t input, uint64_t matrix, double *sums, float *rest,
                       size_t *n_rest, qn_error *err);
    /* sums NULL: there was nothing, and no row came. */
    qn_status (*done)(void *ctx, size_t input, uint64_t matrix, const double *sums,
                      const float *rest, size_t n_rest, qn_error *err);
} qn_moment_ends;

typedef struct qn_moment_sums qn_moment_sums;

typedef struct {
    const qn_kernels *k;
    int threads;
    uint64_t block;  /* as in second_moments.h; 0: full */
    bool by_layers;  /* all rows pass a layer before the next: what is behind is done at once */
    bool unfinished; /* others will go on: done gets the rest apart, else there is none */
    qn_moment_ends ends;
} qn_moment_options;

/* inputs outlives them. */
qn_status qn_moment_sums_new(qn_moment_sums **out, const qn_linear_inputs *inputs,
                             const qn_moment_options *options, qn_error *err);
void qn_moment_sums_free(qn_moment_sums *m); /* NULL is fine */

/* Bytes that they take at most: of all inputs, or of the layer that takes most;
 * UINT64_MAX: more than can be said. */
uint64_t qn_moment_sums_bytes(const qn_linear_inputs *inputs, const qn_moment_options *options);

/* A qn_input_fn.  Rows of a tensor that is not the first of an input are passed over. */
qn_status qn_moment_sums_see(void *moment_sums, const qn_linear_input *in, qn_error *err);

/* done gets all as it stands, the rest apart; the sums go on.  Not with by_layers. */
qn_status qn_moment_sums_store(qn_moment_sums *m, qn_error *err);

/* What was not done yet is. */
qn_status qn_moment_sums_finish(qn_moment_sums *m, qn_error *err);

#endif
