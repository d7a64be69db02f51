/* The constants of the exponential and of what is made with it, for scalar and
 * SIMD alike: see qn_exp_scalar. */
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

/* gelu's argument, doubled: 2 sqrt(2/pi) and that times 0.044715 */
#define QN_GELU_C1 1.59576912f
#define QN_GELU_C3 0.0713548163f

/* tanh(y) = y + y^3 P(y^2) for |y| below QN_TANH_NEAR (Cephes, tanhf) */
#define QN_TANH_NEAR 0.625f
#define QN_TANH_P4 (-5.70498872745e-3f)
#define QN_TANH_P3 2.06390887954e-2f
#define QN_TANH_P2 (-5.37397155531e-2f)
#define QN_TANH_P1 1.33314422036e-1f
#define QN_TANH_P0 (-3.33332819422e-1f)

#endif
