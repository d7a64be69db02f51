/* Rows of blocks of 32 to lanes. */
#include "kernels/levels.h"
#include "kernels/x86/panel_codes.h"
#include "kernels/x86/x86.h"

enum { BLOCK = 32 };

INLINE void open_q8_0(const uint8_t *const *rows, size_t at, lanes *out)
{
    *out->scale = times_top(load_halves(rows, at + offsetof(qn_block_q8_0, d)));
#pragma GCC unroll 2
    for (size_t h = 0; h < 2; h++) {
        __m256i q[4];
        load_words(rows, at + offsetof(qn_block_q8_0, q) + h * SLAB, q, 1);
        EACH_WORD(out, 4 * h, q, v);
    }
}
CODES(q8_0, BLOCK, SCALED, BLOCK)

INLINE void open_q4_0(const uint8_t *const *rows, size_t at, lanes *out)
{
    __m256i q[4];
    *out->scale = times_top(load_halves(rows, at + offsetof(qn_block_q4_0, d)));
    load_words(rows, at + offsetof(qn_block_q4_0, q), q, 1);
    EACH_WORD(out, 0, q, less(low_four(v), 8));
    EACH_WORD(out, 4, q, less(high_four(v), 8));
}
CODES(q4_0, BLOCK, SCALED, BLOCK)

INLINE void open_q4_1(const uint8_t *const *rows, size_t at, lanes *out)
{
    __m256i q[4];
    *out->scale = times_top(load_halves(rows, at + offsetof(qn_block_q4_1, d)));
    *out->min = load_halves(rows, at + offsetof(qn_block_q4_1, m));
    load_words(rows, at + offsetof(qn_block_q4_1, q), q, 1);
    EACH_WORD(out, 0, q, low_four(v));
    EACH_WORD(out, 4, q, high_four(v));
}
CODES(q4_1, BLOCK, AFFINE, BLOCK)

INLINE void open_q5_0(const uint8_t *const *rows, size_t at, lanes *out)
{
    const __m256i bits = load_word(rows, at + offsetof(qn_block_q5_0, high));
    const __m256i upper = _mm256_set1_epi8((char)0xf0); /* less 16 where no fifth bit is set */
    __m256i q[4];
    *out->scale = times_top(load_halves(rows, at + offsetof(qn_block_q5_0, d)));
    load_words(rows, at + offsetof(qn_block_q5_0, q), q, 1);
    EACH_WORD(out, 0, q,
              _mm256_or_si256(low_four(v), _mm256_andnot_si256(are_set(bits, i), upper)));
    EACH_WORD(out, 4, q,
              _mm256_or_si256(high_four(v), _mm256_andnot_si256(are_set(bits, i + 4), upper)));
}
CODES(q5_0, BLOCK, SCALED, BLOCK)

INLINE void open_q5_1(const uint8_t *const *rows, size_t at, lanes *out)
{
    const __m256i bits = load_word(rows, at + offsetof(qn_block_q5_1, high));
    const __m256i fifth = _mm256_set1_epi8(16);
    __m256i q[4];
    *out->scale = times_top(load_halves(rows, at + offsetof(qn_block_q5_1, d)));
    *out->min = load_halves(rows, at + offsetof(qn_block_q5_1, m));
    load_words(rows, at + offsetof(qn_block_q5_1, q), q, 1);
    EACH_WORD(out, 0, q, _mm256_or_si256(low_four(v), _mm256_and_si256(are_set(bits, i), fifth)));
    EACH_WORD(out, 4, q,
              _mm256_or_si256(high_four(v), _mm256_and_si256(are_set(bits, i + 4), fifth)));
}
CODES(q5_1, BLOCK, AFFINE, BLOCK)

/* Nibbles that number levels, those of the block's first half in the lower ones. */
INLINE void open_levels(const uint8_t *const *rows, size_t at, const int8_t level[16], lanes *out)
{
    __m256i q[4];
    load_words(rows, at, q, 1);
    EACH_WORD(out, 0, q, levels_of(low_four(v), level));
    EACH_WORD(out, 4, q, levels_of(high_four(v), level));
}

INLINE void open_iq4_nl(const uint8_t *const *rows, size_t at, lanes *out)
{
    *out->scale = times_top(load_halves(rows, at + offsetof(qn_block_iq4_nl, d)));
    open_levels(rows, at + offsetof(qn_block_iq4_nl, q), qn_iq4_level, out);
}
CODES(iq4_nl, BLOCK, SCALED, BLOCK)

/* qn_mxfp4_scale of each: a float's exponent, or one of two that are subnormal. */
INLINE __m256 fp4_scales(__m256i e)
{
    const __m256i one = _mm256_set1_epi32(1);
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(1 << 21), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(small, normal, _mm256_cmpgt_epi32(e, one)));
}

INLINE void open_mxfp4(const uint8_t *const *rows, size_t at, lanes *out)
{
    *out->scale = fp4_scales(_mm256_and_si256(load_word(rows, at), _mm256_set1_epi32(255)));
    open_levels(rows, at + offsetof(qn_block_mxfp4, q), qn_fp4_level, out);
}
CODES(mxfp4, BLOCK, SMALL, BLOCK)

/* qn_nvfp4_scale of each: as a float's bits 2^119 times too small; all ones are 0. */
INLINE __m256 nvfp4_scales(__m256i bits)
{
    const __m256i magnitude = _mm256_slli_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(127)), 20);
    const __m256i none = _mm256_cmpeq_epi32(bits, _mm256_set1_epi32(127));
    return _mm256_mul_ps(_mm256_castsi256_ps(_mm256_andnot_si256(none, magnitude)),
                         _mm256_set1_ps(0x1p119f));
}

INLINE void open_nvfp4(const uint8_t *const *rows, size_t at, lanes *out)
{
    const __m256i scales = load_word(rows, at), byte = _mm256_set1_epi32(255);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const __m256i one = _mm256_and_si256(_mm256_srli_epi32(scales, 8 * i), byte);
        out->scale[i * LANE_GROUPS] = times_top(nvfp4_scales(one));
    }
    for (size_t h = 0; h < 2; h++) {
        __m256i q[4], low[4], high[4];
        load_words(rows, at + offsetof(qn_block_nvfp4, q) + h * SLAB, q, 1);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            low[i] = levels_of(low_four(q[i]), qn_fp4_level);
            high[i] = levels_of(high_four(q[i]), qn_fp4_level);
        }
        const __m256i first[4] = {low[0], low[1], high[0], high[1]};
        const __m256i second[4] = {low[2], low[3], high[2], high[3]};
        EACH_WORD(out, 8 * h, first, v);
        EACH_WORD(out, 8 * h + 4, second, v);
    }
}
CODES(nvfp4, 64, SCALED, 16)

void qn_use_panel_blocks_avx2(qn_kernels *k)
{
    USE(QN_Q8_0, q8_0);
    USE(QN_Q4_0, q4_0);
    USE(QN_Q4_1, q4_1);
    USE(QN_Q5_0, q5_0);
    USE(QN_Q5_1, q5_1);
    USE(QN_IQ4_NL, iq4_nl);
    USE(QN_MXFP4, mxfp4);
    USE(QN_NVFP4, nvfp4);
}
