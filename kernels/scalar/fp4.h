/* The codes and scales of MXFP4 and NVFP4, for the scalar code and others. */
#ifndef QN_KERNELS_SCALAR_FP4_H
#define QN_KERNELS_SCALAR_FP4_H

#include <stdint.h>

/* The number of the level nearest to x / d (levels.h), the first of equals, which
 * for zeros is the positive one. */
uint8_t qn_fp4_code(float x, float d);

/* What a block with this largest magnitude has for e; and 2^(e - 128), half of
 * E8M0's value since the levels are doubled. */
uint8_t qn_mxfp4_exponent(float most);
float qn_mxfp4_scale(uint8_t e);

/* The nearest unsigned E4M3 of v >= 0, halves up, where ggml makes the largest
 * (448) of all that round to 256 and more; and half of its value. */
uint8_t qn_nvfp4_scale_of(float v);
float qn_nvfp4_scale(uint8_t bits);

#endif
