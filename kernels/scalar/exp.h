/* The constants of the exponential, for scalar and SIMD alike: see qn_exp_scalar. */
#ifndef QN_KERNELS_SCALAR_EXP_H
#define QN_KERNELS_SCALAR_EXP_H

#define QN_EXP_LEAST (-87.3f)
#define QN_EXP_MOST 88.0f
#define QN_EXP_LOG2E 1.44269504f
#define QN_EXP_ROUND 12582912.0f   /* 1.5 * 2^23: adding it rounds to an integer */
#define QN_EXP_LN2_HI 0.693359375f /* few bits: n * hi is exact */
#define QN_EXP_LN2_LO (-2.12194440e-4f)
#define QN_EXP_P5 1.9875691500e-4f
#define QN_EXP_P4 1.3981999507e-3f
#define QN_EXP_P3 8.3334519073e-3f
#define QN_EXP_P2 4.1665795894e-2f
#define QN_EXP_P1 1.6666665459e-1f
#define QN_EXP_P0 5.0000001201e-1f

#endif
