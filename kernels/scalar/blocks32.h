/* What the SIMD encoders of 32-weight blocks share with the scalar ones. */
#ifndef QN_KERNELS_SCALAR_BLOCKS32_H
#define QN_KERNELS_SCALAR_BLOCKS32_H

#include "kernels/scalar/search.h"

/* How Q4_1 and Q5_1 look for a scale and a minimum, with importance. */
extern const qn_affine_search qn_search15, qn_search31;

/* ggml's sigma^2 for these types: the mean square of the whole row. */
float qn_mean_square(const float *x, size_t n);

/* One block with importance: codes, the scale (returned) and the least value. */
float qn_code_affine32(const float *x, const float *importance, float spread,
                       const qn_affine_search *how, uint8_t *q, float *low);

#endif
