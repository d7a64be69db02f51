/* The scalar kernels: short, obvious, always built, the definition of right.
 * What each does is in kernels/kernels.h. */
#ifndef QN_KERNELS_SCALAR_SCALAR_H
#define QN_KERNELS_SCALAR_SCALAR_H

#include "kernels/kernels.h"

/* Fill the whole table. */
void qn_use_scalar(qn_kernels *k);

/* Its parts, a file each. */
void qn_use_scalar_plain(qn_kernels *k);       /* F32 F16 BF16 F64 F8_*: plain.c */
void qn_use_scalar_blocks(qn_kernels *k);      /* Q4_0 ... Q8_0: blocks32.c */
void qn_use_scalar_k_quants(qn_kernels *k);    /* Q4_K Q5_K: q4_k.c */
void qn_use_scalar_q2_k(qn_kernels *k);        /* q2_k.c */
void qn_use_scalar_q3_k(qn_kernels *k);        /* q3_k.c */
void qn_use_scalar_q6_k(qn_kernels *k);        /* q6_k.c */
void qn_use_scalar_iq4(qn_kernels *k);         /* IQ4_NL IQ4_XS: iq4.c */
void qn_use_scalar_iq3(qn_kernels *k);         /* IQ3_XXS IQ3_S: iq3.c */
void qn_use_scalar_iq2(qn_kernels *k);         /* IQ2_XXS IQ2_XS IQ2_S: iq2.c */
void qn_use_scalar_iq1(qn_kernels *k);         /* IQ1_S IQ1_M: iq1.c */
void qn_use_scalar_ternary(qn_kernels *k);     /* TQ1_0 TQ2_0 Q1_0 Q2_0: ternary.c */
void qn_use_scalar_fp4(qn_kernels *k);         /* MXFP4 NVFP4: fp4.c */
void qn_use_scalar_activations(qn_kernels *k); /* Q8_1 Q8_K: activations.c */
void qn_use_scalar_math(qn_kernels *k);        /* math.c */

/* e^x for x <= 88: x = n ln 2 + r with |r| <= ln(2)/2, ln 2 in two pieces
 * (Cody and Waite), and a polynomial of degree 7 in r (Cephes' expf
 * coefficients, Moshier).  Every step is one rounding, fused where written so;
 * below -87.3 it gives 0.  SIMD versions take the same steps. */
float qn_exp_scalar(float x);

#endif
