/* The uneven levels that 4-bit codes stand for, and which is nearest. */
#ifndef QN_KERNELS_LEVELS_H
#define QN_KERNELS_LEVELS_H

#include <stdint.h>

/* IQ4_NL and IQ4_XS (ggml-common.h: kvalues_iq4nl). */
static const int8_t qn_iq4_level[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};

/* Halfway between neighbours; exactly there the upper one is taken.  ggml
 * compares the two rounded distances instead, which comes to the same for
 * every float. */
static const float qn_iq4_bound[15] = {-115.5f, -93.5f, -74.0f, -57.0f, -42.0f,
                                       -28.5f,  -16.0f, -4.5f,  7.0f,   19.0f,
                                       31.5f,   45.5f,  61.0f,  79.0f,  101.0f};

/* MXFP4 and NVFP4: the E2M1 floats, doubled to be whole; bit 3 is the sign, and
 * the negative zero is a plain one (ggml-common.h: kvalues_fp4). */
static const int8_t qn_fp4_level[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

#endif
