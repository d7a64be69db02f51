/* Rows of super-blocks to lanes. */
#include "kernels/levels.h"
#include "kernels/x86/panel_codes.h"
#include "kernels/x86/x86.h"

/* ---- numbers of a row ------------------------------------------------------------------ */

/* What moves byte j of each word to byte `to` and clears the others. */
INLINE __m256i only_byte(int j, int to)
{
    const int clear = (int)(0x80808080U & ~(0xffU << 8 * to));
    const int first = clear | j << 8 * to, step = 4 << 8 * to;
    return _mm256_setr_epi32(first, first + step, first + 2 * step, first + 3 * step, first,
                             first + step, first + 2 * step, first + 3 * step);
}

INLINE void scales_of(const __m256i *bytes, size_t n, int byte, __m256 d, __m256 *out)
{
    for (size_t i = 0; i < n / 4; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            const __m256i one = _mm256_shuffle_epi8(bytes[i], only_byte(j, byte));
            out[(4 * i + (size_t)j) * LANE_GROUPS] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(one));
        }
    }
}

/* Unsigned, and signed ones, which makes 2^24 times as much of them. */
INLINE void unsigned_scales(const __m256i *bytes, size_t n, __m256 d, __m256 *out)
{
    scales_of(bytes, n, 0, d, out);
}

INLINE void signed_scales(const __m256i *bytes, size_t n, __m256 d, __m256 *out)
{
    scales_of(bytes, n, 3, d, out);
}

INLINE __m256 negated(__m256 v)
{
    return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f));
}

/* ---- Q4_K and Q5_K ------------------------------------------------------------------------ */

/* Both types begin with d, dmin and k_scales.h's twelve bytes: eight scales, eight
 * minima. */
INLINE void open_k(const uint8_t *const *rows, size_t at, lanes *out)
{
    const __m256i six = _mm256_set1_epi8(63), two = _mm256_set1_epi8(0x30);
    __m256i head[4];
    __m256 d, dmin;
    load_words(rows, at, head, 1);
    two_halves(head[0], &d, &dmin);
    const __m256i scales[2] = {
        _mm256_and_si256(head[1], six),
        _mm256_or_si256(low_four(head[3]), _mm256_and_si256(_mm256_srli_epi16(head[1], 2), two))};
    const __m256i mins[2] = {
        _mm256_and_si256(head[2], six),
        _mm256_or_si256(high_four(head[3]), _mm256_and_si256(_mm256_srli_epi16(head[2], 2), two))};
    unsigned_scales(scales, 8, times_top(d), out->scale);
    unsigned_scales(mins, 8, negated(dmin), out->min);
}

INLINE void open_q4_k(const uint8_t *const *rows, size_t at, lanes *out)
{
    open_k(rows, at, out);
    for (size_t slab = 0; slab < 8; slab++) {
        const size_t word = slab / 2 * 16 + slab % 2 * 4;
        __m256i q[4];
        load_words(rows, at + offsetof(qn_block_q4_k, q) + slab * SLAB, q, 1);
        EACH_WORD(out, word, q, low_four(v));
        EACH_WORD(out, word + 8, q, high_four(v));
    }
}
CODES(q4_k, QN_SUPER, AFFINE, 32)

INLINE void open_q5_k(const uint8_t *const *rows, size_t at, lanes *out)
{
    open_k(rows, at, out);
    for (size_t h = 0; h < 2; h++) {
        __m256i fifth[4];
        load_words(rows, at + offsetof(qn_block_q5_k, high) + h * SLAB, fifth, 1);
#pragma GCC unroll 4
        for (int pair = 0; pair < 4; pair++) {
            const size_t word = (size_t)pair * 16 + h * 4;
            const int bit = pair % 2 * 2;
            __m256i q[4], four[4];
            load_words(rows, at + offsetof(qn_block_q5_k, q) + (2 * (size_t)pair + h) * SLAB, q, 1);
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++)
                four[i] = pair < 2 ? low_four(fifth[i]) : high_four(fifth[i]);
            EACH_WORD(out, word, q, _mm256_or_si256(low_four(v), bits_of(four[i], bit, 1, 16, 0)));
            EACH_WORD(out, word + 8, q,
                      _mm256_or_si256(high_four(v), bits_of(four[i], bit + 1, 1, 16, 0)));
        }
    }
}
CODES(q5_k, QN_SUPER, AFFINE, 32)

/* ---- Q6_K ------------------------------------------------------------------------------------ */

INLINE void open_q6_k(const uint8_t *const *rows, size_t at, lanes *out)
{
    const __m256 d = upper_half(load_word(rows, at + sizeof(qn_block_q6_k) - 4));
    __m256i scales[4];
    load_words(rows, at + offsetof(qn_block_q6_k, scales), scales, 1);
    signed_scales(scales, 16, times_top(times_top(d)), out->scale);
    for (size_t slab = 0; slab < 4; slab++) {
        const size_t half = slab / 2, part = slab % 2;
        __m256i high[4];
        load_words(rows, at + offsetof(qn_block_q6_k, high) + slab * SLAB, high, 1);
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            const size_t run = (size_t)j * 2 + part, word = half * 32 + run * 4;
            __m256i low[4];
            load_words(rows, at + offsetof(qn_block_q6_k, low) + half * 64 + run * SLAB, low, 1);
            EACH_WORD(out, word, low,
                      _mm256_or_si256(low_four(v), bits_of(low_four(high[i]), 2 * j, 3, 16, 32)));
            EACH_WORD(out, word + 16, low,
                      _mm256_or_si256(high_four(v), bits_of(high_four(high[i]), 2 * j, 3, 16, 32)));
        }
    }
}
CODES(q6_k, QN_SUPER, SCALED, 16)

/* ---- Q2_K and Q3_K ----------------------------------------------------------------------------- */

INLINE void open_q2_k(const uint8_t *const *rows, size_t at, lanes *out)
{
    __m256i both[4], scales[4], mins[4];
    __m256 d, dmin;
    two_halves(load_word(rows, at + offsetof(qn_block_q2_k, d)), &d, &dmin);
    load_words(rows, at + offsetof(qn_block_q2_k, scales), both, 1);
    for (size_t i = 0; i < 4; i++) {
        scales[i] = low_four(both[i]);
        mins[i] = high_four(both[i]);
    }
    unsigned_scales(scales, 16, times_top(d), out->scale);
    unsigned_scales(mins, 16, negated(dmin), out->min);
    for (size_t h = 0; h < 4; h++) {
        __m256i q[4];
        load_words(rows, at + offsetof(qn_block_q2_k, q) + h * SLAB, q, 1);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            EACH_WORD(out, h / 2 * 32 + (size_t)j * 8 + h % 2 * 4, q, two_of(v, 2 * j));
    }
}
CODES(q2_k, QN_SUPER, AFFINE, 16)

/* k_scales.h's sixteen, less 32. */
INLINE void load_q3_scales(const uint8_t *const *rows, size_t at, __m256i out[4])
{
    const __m256i low[2] = {load_word(rows, at), load_word(rows, at + 4)};
    const __m256i high = load_word(rows, at + 8);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const __m256i four = i < 2 ? low_four(low[i]) : high_four(low[i - 2]);
        out[i] = less(_mm256_or_si256(four, _mm256_slli_epi16(two_of(high, 2 * i), 4)), 32);
    }
}

INLINE void open_q3_k(const uint8_t *const *rows, size_t at, lanes *out)
{
    const __m256 d = upper_half(load_word(rows, at + sizeof(qn_block_q3_k) - 4));
    __m256i scales[4], third[2][4];
    load_q3_scales(rows, at + offsetof(qn_block_q3_k, scales), scales);
    signed_scales(scales, 16, times_top(times_top(d)), out->scale);
    for (size_t h = 0; h < 2; h++)
        load_words(rows, at + offsetof(qn_block_q3_k, high) + h * SLAB, third[h], 1);
#pragma GCC unroll 4
    for (size_t h = 0; h < 4; h++) {
        __m256i q[4], four[4];
        load_words(rows, at + offsetof(qn_block_q3_k, q) + h * SLAB, q, 1);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++)
            four[i] = h < 2 ? low_four(third[h % 2][i]) : high_four(third[h % 2][i]);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            EACH_WORD(out, h / 2 * 32 + (size_t)j * 8 + h % 2 * 4, q,
                      _mm256_or_si256(two_of(v, 2 * j), bits_of(four[i], j, 1, 4, 4)));
    }
}
CODES(q3_k, QN_SUPER, SCALED, 16)

/* ---- IQ4_XS ------------------------------------------------------------------------------------- */

INLINE void open_iq4_xs(const uint8_t *const *rows, size_t at, lanes *out)
{
    const __m256i middle = _mm256_set1_epi32(32);
    const __m256i two_bits = _mm256_set1_epi32(0x30), four_bits = _mm256_set1_epi32(15);
    const __m256i first = load_word(rows, at);
    const __m256i low = load_word(rows, at + offsetof(qn_block_iq4_xs, scales_low));
    __m256 d, none;
    two_halves(first, &d, &none);
    d = times_top(d);
#pragma GCC unroll 8
    for (int group = 0; group < 8; group++) {
        const __m256i four = _mm256_and_si256(_mm256_srli_epi32(low, 4 * group), four_bits);
        const __m256i two = _mm256_and_si256(_mm256_srli_epi32(first, 12 + 2 * group), two_bits);
        const __m256i both = _mm256_sub_epi32(_mm256_or_si256(four, two), middle);
        __m256i q[4];
        out->scale[group * LANE_GROUPS] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(both));
        load_words(rows, at + offsetof(qn_block_iq4_xs, q) + (size_t)group * SLAB, q, 1);
        EACH_WORD(out, 8 * (size_t)group, q, levels_of(low_four(v), qn_iq4_level));
        EACH_WORD(out, 8 * (size_t)group + 4, q, levels_of(high_four(v), qn_iq4_level));
    }
}
CODES(iq4_xs, QN_SUPER, SCALED, 32)

void qn_use_panel_super_avx2(qn_kernels *k)
{
    USE(QN_Q4_K, q4_k);
    USE(QN_Q5_K, q5_k);
    USE(QN_Q6_K, q6_k);
    USE(QN_Q2_K, q2_k);
    USE(QN_Q3_K, q3_k);
    USE(QN_IQ4_XS, iq4_xs);
}
