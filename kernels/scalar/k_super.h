/* What Q4_K and Q5_K share, scalar and SIMD: a super-block of 256 weights in 8
 * groups of 32 on its way to bytes (ggml-quants.c: quantize_row_q4_K_ref,
 * quantize_row_q4_K_impl and the same of q5_K). */
#ifndef QN_KERNELS_SCALAR_K_SUPER_H
#define QN_KERNELS_SCALAR_K_SUPER_H

#include "kernels/blocks.h"
#include "kernels/scalar/search.h"

typedef struct {
    uint8_t q[QN_SUPER];
    uint8_t scale[8], min[8];
    qn_half d, dmin;
} qn_k_super;

/* How a type looks for scales without and with importance. */
typedef struct {
    qn_affine_search plain, weighted;
    bool limited; /* scale codes over 63 become 63 */
} qn_k_search;

extern const qn_k_search qn_q4_k_search, qn_q5_k_search;

/* ggml's sigma^2 of a super-block: twice the mean square. */
float qn_k_spread(const float x[QN_SUPER]);

/* Six-bit scales and minima of the groups' real ones, as the block will give
 * them back; sum_w: the groups' weights, or NULL without importance.  With
 * importance, columns of importance 0 can make a scale negative: its code wraps
 * around to more than six bits, which ggml limits in Q5_K and not in Q4_K. */
void qn_k_round_scales(const float scale[8], const float min[8], const float *sum_w, bool limited,
                       qn_k_super *s);

/* All of it for one super-block; weights NULL: none. */
void qn_k_code_super(const float *x, const float *weights, const qn_k_search *how, qn_k_super *s);

void qn_q4_k_pack(const qn_k_super *s, void *block);
void qn_q5_k_pack(const qn_k_super *s, void *block);

#endif
