/* Activations times stored weights, in float32, exact to the order of sums:
 *
 *     out[i][r] = sum over p ascending, fused, of x[i][p] * w[r][p]
 *
 * Weights are unpacked from their stored type panel by panel into cache;
 * never the whole matrix.  Same bits for any blocking, batch, thread count and
 * ISA (kernels.h, qn_tile_fn).  Blocking after Goto and van de Geijn,
 * "Anatomy of High-Performance Matrix Multiplication" (2008). */
#ifndef QN_VALIDATE_GEMM_H
#define QN_VALIDATE_GEMM_H

#include "formats/rows.h"

/* Scratch for one caller; grows as needed and is reused. */
typedef struct qn_gemm qn_gemm;

/* threads 0: OpenMP's default. */
qn_status qn_gemm_new(qn_gemm **out, const qn_kernels *k, int threads, qn_error *err);
void qn_gemm_free(qn_gemm *g);
/* What one takes at most for matrices of so many columns. */
uint64_t qn_gemm_bytes(int threads, uint64_t columns);

/* x: m rows of w->columns floats, ldx apart; out: m rows of (r1 - r0) floats,
 * ldo apart, for weight rows r0..r1.  Fails only for memory, or a weight that
 * cannot be decoded. */
qn_status qn_gemm_run(qn_gemm *g, const float *x, size_t ldx, size_t m, const qn_rows *w,
                      uint64_t r0, uint64_t r1, float *out, size_t ldo, qn_error *err);

#endif
