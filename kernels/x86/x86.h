/* What x86 has beyond scalar: each level overwrites the entries it is faster
 * at, with the same bits. */
#ifndef QN_KERNELS_X86_X86_H
#define QN_KERNELS_X86_X86_H

#include "kernels/kernels.h"

/* Each asks for every feature that the level's compiler flags name, and whether the
 * operating system saves the registers. */
bool qn_has_avx2(void);
bool qn_has_avx512(void);

void qn_use_avx2(qn_kernels *k);   /* AVX2, FMA, F16C */
void qn_use_avx512(qn_kernels *k); /* and AVX-512 F, DQ, BW, VL */

/* Their parts, a file each. */
void qn_use_decode_blocks_avx2(qn_kernels *k);
void qn_use_decode_lattice_avx2(qn_kernels *k);
void qn_use_math_avx2(qn_kernels *k);
void qn_use_gemm_avx2(qn_kernels *k);
void qn_use_panel_plain_avx2(qn_kernels *k);
void qn_use_panel_blocks_avx2(qn_kernels *k);
void qn_use_panel_super_avx2(qn_kernels *k);
void qn_use_panel_ternary_avx2(qn_kernels *k);
void qn_use_encode_k32_avx2(qn_kernels *k);
void qn_use_encode_k16_avx2(qn_kernels *k);
void qn_use_encode_iq4_avx2(qn_kernels *k);
void qn_use_encode_fp4_avx2(qn_kernels *k);
void qn_use_encode_ternary_avx2(qn_kernels *k);
void qn_use_encode_blocks32_avx2(qn_kernels *k);
void qn_use_encode_lattice_avx2(qn_kernels *k);
void qn_use_encode_iq1_avx2(qn_kernels *k);
void qn_use_low_rank_avx2(qn_kernels *k);
void qn_use_decode_blocks_avx512(qn_kernels *k);
void qn_use_decode_lattice_avx512(qn_kernels *k);
void qn_use_math_avx512(qn_kernels *k);
void qn_use_gemm_avx512(qn_kernels *k);
void qn_use_encode_k32_avx512(qn_kernels *k);
void qn_use_encode_k16_avx512(qn_kernels *k);
void qn_use_encode_iq4_avx512(qn_kernels *k);
void qn_use_encode_fp4_avx512(qn_kernels *k);
void qn_use_encode_ternary_avx512(qn_kernels *k);
void qn_use_encode_blocks32_avx512(qn_kernels *k);
void qn_use_encode_lattice_avx512(qn_kernels *k);
void qn_use_encode_iq1_avx512(qn_kernels *k);
void qn_use_low_rank_avx512(qn_kernels *k);

#endif
