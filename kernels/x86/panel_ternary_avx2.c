/* Rows of codes of one or two bits to lanes. */
#include "kernels/x86/panel_codes.h"
#include "kernels/x86/x86.h"

INLINE void open_tq2_0(const uint8_t *const *rows, size_t at, lanes *out)
{
    *out->scale = times_top(upper_half(load_word(rows, at + sizeof(qn_block_tq2_0) - 4)));
    for (size_t h = 0; h < 4; h++) {
        __m256i q[4];
        load_words(rows, at + offsetof(qn_block_tq2_0, q) + h * SLAB, q, 1);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            EACH_WORD(out, h / 2 * 32 + (size_t)j * 8 + h % 2 * 4, q, less(two_of(v, 2 * j), 1));
    }
}
CODES(tq2_0, QN_SUPER, SCALED, QN_SUPER)

/* The four codes of byte j of each lane, less 1. */
INLINE __m256i four_codes(__m256i low, __m256i high, int j)
{
    /* of a nibble the lower two bits, or the upper two where they are */
    static const int8_t level[16] = {-1, 0, 1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0};
    const int first = j | j << 8 | (int)0x80800000, last = 0x8080 | j << 16 | j << 24;
    const __m256i lane = _mm256_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12);
    const __m256i from = _mm256_mullo_epi32(lane, _mm256_set1_epi32(0x0101));
    const __m256i codes =
        _mm256_or_si256(_mm256_shuffle_epi8(low, _mm256_add_epi32(_mm256_set1_epi32(first), from)),
                        _mm256_shuffle_epi8(high, _mm256_add_epi32(_mm256_set1_epi32(last),
                                                                   _mm256_slli_epi32(from, 16))));
    return levels_of(_mm256_and_si256(codes, _mm256_set1_epi16(0x0c03)), level);
}

INLINE void open_q2_0(const uint8_t *const *rows, size_t at, lanes *out)
{
    __m256i q[4];
    *out->scale = times_top(load_halves(rows, at + offsetof(qn_block_q2_0, d)));
    load_words(rows, at + offsetof(qn_block_q2_0, q), q, 1);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const __m256i low = low_four(q[i]), high = high_four(q[i]);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            out->codes[(4 * i + (size_t)j) * LANE_GROUPS] = four_codes(low, high, j);
    }
}
CODES(q2_0, 64, SCALED, 64)

INLINE void open_q1_0(const uint8_t *const *rows, size_t at, lanes *out)
{
    const __m256i one = _mm256_set1_epi8(1), sign = _mm256_set1_epi8(-2);
    __m256i q[4];
    *out->scale = times_top(load_halves(rows, at + offsetof(qn_block_q1_0, d)));
    load_words(rows, at + offsetof(qn_block_q1_0, q), q, 1);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++)
            out->codes[(8 * i + j) * LANE_GROUPS] =
                _mm256_or_si256(_mm256_andnot_si256(are_set(q[i], j), sign), one);
    }
}
CODES(q1_0, 128, SCALED, 128)

void qn_use_panel_ternary_avx2(qn_kernels *k)
{
    USE(QN_TQ2_0, tq2_0);
    USE(QN_Q2_0, q2_0);
    USE(QN_Q1_0, q1_0);
}
