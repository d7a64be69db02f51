/* The products of gemm.h for no more tokens than a tile has: generation, and the
 * short rests of batches.  Each stored row is read once, from its first column to
 * its last, and goes through registers or a piece of panel in the first-level
 * cache; what bounds them is reading the weights.  The same chains, so the same
 * bits. */
#ifndef QN_VALIDATE_GEMM_FEW_H
#define QN_VALIDATE_GEMM_FEW_H

#include "formats/rows.h"

/* One product: gemm.h says what they are. */
typedef struct {
    const float *x;
    size_t ldx, m;
    const qn_rows *w;
    uint64_t r0, r1;
    float *out;
    size_t ldo;
} qn_product;

typedef struct qn_gemm_few qn_gemm_few; /* scratch; grows as needed */

qn_status qn_gemm_few_new(qn_gemm_few **out, const qn_kernels *k, int threads, qn_error *err);
void qn_gemm_few_free(qn_gemm_few *g); /* NULL is fine */
/* What one takes at most for matrices of so many columns. */
uint64_t qn_gemm_few_bytes(int threads, uint64_t columns);

/* Of 1..QN_TILE_MAX tokens by one row or more. */
qn_status qn_gemm_few_run(qn_gemm_few *g, const qn_product *p, qn_error *err);

#endif
