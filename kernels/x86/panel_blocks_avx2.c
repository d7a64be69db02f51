/* Rows of blocks of 32 to lanes. */
#include "kernels/half.h"
#include "kernels/levels.h"
#include "kernels/scalar/fp4.h"
#include "kernels/x86/panel.h"
#include "kernels/x86/x86.h"

/* The float16 number at `at` of each row. */
INLINE void load_halves(const uint8_t *const *rows, size_t at, __m256 out[LANE_GROUPS])
{
    EACH_GROUP
    {
        uint16_t h[LANES];
#pragma GCC unroll 8
        for (size_t r = 0; r < LANES; r++)
            h[r] = *(const qn_half *)(const void *)(rows[g * LANES + r] + at);
        out[g] =
            _mm256_cvtph_ps(_mm_setr_epi16((short)h[0], (short)h[1], (short)h[2], (short)h[3],
                                           (short)h[4], (short)h[5], (short)h[6], (short)h[7]));
    }
}

/* The same times TOP. */
INLINE void load_scales(const uint8_t *const *rows, size_t at, __m256 out[LANE_GROUPS])
{
    load_halves(rows, at, out);
    EACH_GROUP out[g] = _mm256_mul_ps(out[g], _mm256_set1_ps(TOP));
}

/* Bits 4i .. 4i+3 of each lane as the fifth bits of four codes. */
INLINE __m256i fifth_bits(__m256i bits, size_t i)
{
    const __m256i byte = _mm256_add_epi8(_mm256_set1_epi8((char)(i / 2)),
                                         _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0,
                                                           0x04040404, 0x08080808, 0x0c0c0c0c));
    const __m256i place = _mm256_set1_epi32(i % 2 ? (int)0x80402010 : 0x08040201);
    const __m256i here = _mm256_and_si256(_mm256_shuffle_epi8(bits, byte), place);
    return _mm256_and_si256(_mm256_cmpeq_epi8(here, place), _mm256_set1_epi8(16));
}

/* Nibbles at `at` with the fifth bits at `high`. */
INLINE void load_fives(const uint8_t *const *rows, size_t high, size_t at, slab out[2])
{
    slab q;
    load_slab(rows, at, &q);
    EACH_GROUP
    {
        int word[LANES];
#pragma GCC unroll 8
        for (size_t r = 0; r < LANES; r++)
            __builtin_memcpy(&word[r], rows[g * LANES + r] + high, 4);
        const __m256i bits = _mm256_setr_epi32(word[0], word[1], word[2], word[3], word[4], word[5],
                                               word[6], word[7]);
#pragma GCC unroll 4
        for (size_t i = 0; i < SLAB / 4; i++) {
            const __m256i v = q.words[i][g];
            out[0].words[i][g] = _mm256_or_si256(low_four(v), fifth_bits(bits, i));
            out[1].words[i][g] = _mm256_or_si256(high_four(v), fifth_bits(bits, i + 4));
        }
    }
}

INLINE void run_q8_0(const uint8_t *const *rows, size_t n, sink *s)
{
    size_t at = 0;
    for (size_t p = 0; p < n; p += 32, at += sizeof(qn_block_q8_0)) {
        slab q;
        __m256 d[LANE_GROUPS];
        load_scales(rows, at + offsetof(qn_block_q8_0, d), d);
        for (size_t h = 0; h < 2; h++) {
            ask_ahead(s, sizeof(qn_block_q8_0) / 2 * QN_PANEL);
            load_slab(rows, at + offsetof(qn_block_q8_0, q) + h * SLAB, &q);
            take_scaled(s, p + h * SLAB, &q, d);
        }
    }
}
ENTRIES(q8_0)

INLINE void run_q4_0(const uint8_t *const *rows, size_t n, sink *s)
{
    size_t at = 0;
    for (size_t p = 0; p < n; p += 32, at += sizeof(qn_block_q4_0)) {
        slab q, low, high;
        __m256 d[LANE_GROUPS];
        ask_ahead(s, sizeof(qn_block_q4_0) * QN_PANEL);
        load_scales(rows, at + offsetof(qn_block_q4_0, d), d);
        load_slab(rows, at + offsetof(qn_block_q4_0, q), &q);
        EACH_WORD(&low, &q, less(low_four(v), 8));
        EACH_WORD(&high, &q, less(high_four(v), 8));
        take_scaled(s, p, &low, d);
        take_scaled(s, p + SLAB, &high, d);
    }
}
ENTRIES(q4_0)

INLINE void run_q5_0(const uint8_t *const *rows, size_t n, sink *s)
{
    size_t at = 0;
    for (size_t p = 0; p < n; p += 32, at += sizeof(qn_block_q5_0)) {
        slab q[2];
        __m256 d[LANE_GROUPS];
        ask_ahead(s, sizeof(qn_block_q5_0) * QN_PANEL);
        load_scales(rows, at + offsetof(qn_block_q5_0, d), d);
        load_fives(rows, at + offsetof(qn_block_q5_0, high), at + offsetof(qn_block_q5_0, q), q);
        for (size_t h = 0; h < 2; h++) {
            EACH_WORD(&q[h], &q[h], less(v, 16));
            take_scaled(s, p + h * SLAB, &q[h], d);
        }
    }
}
ENTRIES(q5_0)

INLINE void run_q4_1(const uint8_t *const *rows, size_t n, sink *s)
{
    size_t at = 0;
    for (size_t p = 0; p < n; p += 32, at += sizeof(qn_block_q4_1)) {
        slab q, low, high;
        __m256 d[LANE_GROUPS], m[LANE_GROUPS];
        ask_ahead(s, sizeof(qn_block_q4_1) * QN_PANEL);
        load_halves(rows, at + offsetof(qn_block_q4_1, d), d);
        load_halves(rows, at + offsetof(qn_block_q4_1, m), m);
        load_slab(rows, at + offsetof(qn_block_q4_1, q), &q);
        EACH_WORD(&low, &q, low_four(v));
        EACH_WORD(&high, &q, high_four(v));
        take_affine(s, p, &low, d, m);
        take_affine(s, p + SLAB, &high, d, m);
    }
}
ENTRIES(q4_1)

INLINE void run_q5_1(const uint8_t *const *rows, size_t n, sink *s)
{
    size_t at = 0;
    for (size_t p = 0; p < n; p += 32, at += sizeof(qn_block_q5_1)) {
        slab q[2];
        __m256 d[LANE_GROUPS], m[LANE_GROUPS];
        ask_ahead(s, sizeof(qn_block_q5_1) * QN_PANEL);
        load_halves(rows, at + offsetof(qn_block_q5_1, d), d);
        load_halves(rows, at + offsetof(qn_block_q5_1, m), m);
        load_fives(rows, at + offsetof(qn_block_q5_1, high), at + offsetof(qn_block_q5_1, q), q);
        for (size_t h = 0; h < 2; h++) take_affine(s, p + h * SLAB, &q[h], d, m);
    }
}
ENTRIES(q5_1)

INLINE void run_iq4_nl(const uint8_t *const *rows, size_t n, sink *s)
{
    const __m256i levels = sixteen_levels(qn_iq4_level);
    size_t at = 0;
    for (size_t p = 0; p < n; p += 32, at += sizeof(qn_block_iq4_nl)) {
        slab q, low, high;
        __m256 d[LANE_GROUPS];
        ask_ahead(s, sizeof(qn_block_iq4_nl) * QN_PANEL);
        load_scales(rows, at + offsetof(qn_block_iq4_nl, d), d);
        load_slab(rows, at + offsetof(qn_block_iq4_nl, q), &q);
        EACH_WORD(&low, &q, _mm256_shuffle_epi8(levels, low_four(v)));
        EACH_WORD(&high, &q, _mm256_shuffle_epi8(levels, high_four(v)));
        take_scaled(s, p, &low, d);
        take_scaled(s, p + SLAB, &high, d);
    }
}
ENTRIES(iq4_nl)

INLINE void run_mxfp4(const uint8_t *const *rows, size_t n, sink *s)
{
    const __m256i levels = sixteen_levels(qn_fp4_level);
    size_t at = 0;
    for (size_t p = 0; p < n; p += 32, at += sizeof(qn_block_mxfp4)) {
        slab q, low, high;
        float scale[QN_PANEL];
        __m256 d[LANE_GROUPS];
        ask_ahead(s, sizeof(qn_block_mxfp4) * QN_PANEL);
        for (size_t r = 0; r < QN_PANEL; r++) scale[r] = qn_mxfp4_scale(rows[r][at]);
        EACH_GROUP d[g] = _mm256_loadu_ps(scale + g * LANES);
        load_slab(rows, at + offsetof(qn_block_mxfp4, q), &q);
        EACH_WORD(&low, &q, _mm256_shuffle_epi8(levels, low_four(v)));
        EACH_WORD(&high, &q, _mm256_shuffle_epi8(levels, high_four(v)));
        take_small(s, p, &low, d);
        take_small(s, p + SLAB, &high, d);
    }
}
ENTRIES(mxfp4)

void qn_use_panel_blocks_avx2(qn_kernels *k)
{
    USE(QN_Q8_0, q8_0);
    USE(QN_Q4_0, q4_0);
    USE(QN_Q4_1, q4_1);
    USE(QN_Q5_0, q5_0);
    USE(QN_Q5_1, q5_1);
    USE(QN_IQ4_NL, iq4_nl);
    USE(QN_MXFP4, mxfp4);
}
