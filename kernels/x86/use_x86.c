#include "kernels/x86/x86.h"

void qn_use_avx2(qn_kernels *k)
{
    qn_use_decode_blocks_avx2(k);
    qn_use_decode_lattice_avx2(k);
    qn_use_math_avx2(k);
    qn_use_gemm_avx2(k);
    qn_use_panel_plain_avx2(k);
    qn_use_panel_blocks_avx2(k);
    qn_use_panel_super_avx2(k);
    qn_use_panel_ternary_avx2(k);
    qn_use_encode_k32_avx2(k);
    qn_use_encode_k16_avx2(k);
    qn_use_encode_iq4_avx2(k);
    qn_use_encode_fp4_avx2(k);
    qn_use_encode_ternary_avx2(k);
    qn_use_encode_blocks32_avx2(k);
    qn_use_encode_lattice_avx2(k);
    qn_use_encode_iq1_avx2(k);
    qn_use_low_rank_avx2(k);
}

void qn_use_avx512(qn_kernels *k)
{
    qn_use_decode_blocks_avx512(k);
    qn_use_decode_lattice_avx512(k);
    qn_use_math_avx512(k);
    qn_use_gemm_avx512(k);
    qn_use_encode_k32_avx512(k);
    qn_use_encode_k16_avx512(k);
    qn_use_encode_iq4_avx512(k);
    qn_use_encode_fp4_avx512(k);
    qn_use_encode_ternary_avx512(k);
    qn_use_encode_blocks32_avx512(k);
    qn_use_encode_lattice_avx512(k);
    qn_use_encode_iq1_avx512(k);
    qn_use_low_rank_avx512(k);
}
