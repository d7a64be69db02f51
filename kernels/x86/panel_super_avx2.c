/* Rows of super-blocks to lanes. */
#include "kernels/levels.h"
#include "kernels/x86/panel.h"
#include "kernels/x86/x86.h"

/* ---- numbers of a row ------------------------------------------------------------------ */

/* The float16 numbers in the lower halves of words, and in the upper ones. */
INLINE void two_halves(const __m256i words[LANE_GROUPS], __m256 low[LANE_GROUPS],
                       __m256 high[LANE_GROUPS])
{
    EACH_GROUP
    {
        const __m256i apart = _mm256_packus_epi32(
            _mm256_and_si256(words[g], _mm256_set1_epi32(0xffff)), _mm256_srli_epi32(words[g], 16));
        const __m256i both = _mm256_permute4x64_epi64(apart, 0xd8);
        low[g] = _mm256_cvtph_ps(_mm256_castsi256_si128(both));
        high[g] = _mm256_cvtph_ps(_mm256_extracti128_si256(both, 1));
    }
}

/* The four bytes at `at` of each row. */
INLINE void load_word(const uint8_t *const *rows, size_t at, __m256i out[LANE_GROUPS])
{
    EACH_GROUP
    {
        int w[LANES];
#pragma GCC unroll 8
        for (size_t r = 0; r < LANES; r++) __builtin_memcpy(&w[r], rows[g * LANES + r] + at, 4);
        out[g] = _mm256_setr_epi32(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]);
    }
}

/* Byte j (no constant) of each row's sixteen, from 0 up. */
INLINE __m256 byte_of(const slab *bytes, size_t j, size_t g)
{
    const __m128i down = _mm_cvtsi32_si128((int)(j % 4 * 8));
    return _mm256_cvtepi32_ps(
        _mm256_and_si256(_mm256_srl_epi32(bytes->words[j / 4][g], down), _mm256_set1_epi32(255)));
}

/* The same with its sign, times 2^24. */
INLINE __m256 signed_byte_of(const slab *bytes, size_t j, size_t g)
{
    const __m128i up = _mm_cvtsi32_si128((int)(24 - j % 4 * 8));
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_sll_epi32(bytes->words[j / 4][g], up),
                                               _mm256_set1_epi32((int)0xff000000)));
}

/* Of each byte the two bits from `from` on. */
INLINE __m256i two_of(__m256i v, size_t from)
{
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128((int)from)), _mm256_set1_epi8(3));
}

INLINE void scaled_by(__m256 d[LANE_GROUPS], float factor)
{
    EACH_GROUP d[g] = _mm256_mul_ps(d[g], _mm256_set1_ps(factor));
}

/* ---- Q4_K and Q5_K ------------------------------------------------------------------------ */

/* Eight scales, then eight minima of each row. */
typedef struct {
    slab bytes;
    __m256 d[LANE_GROUPS], dmin[LANE_GROUPS];
} k_scales;

/* Both types begin with d, dmin and k_scales.h's twelve bytes. */
INLINE void load_k(const uint8_t *const *rows, size_t at, k_scales *out)
{
    const __m256i six = _mm256_set1_epi8(63), two = _mm256_set1_epi8(0x30);
    slab head;
    load_slab(rows, at, &head);
    two_halves(head.words[0], out->d, out->dmin);
    EACH_GROUP
    {
        const __m256i scale = head.words[1][g], min = head.words[2][g], more = head.words[3][g];
        out->bytes.words[0][g] = _mm256_and_si256(scale, six);
        out->bytes.words[1][g] =
            _mm256_or_si256(low_four(more), _mm256_and_si256(_mm256_srli_epi16(scale, 2), two));
        out->bytes.words[2][g] = _mm256_and_si256(min, six);
        out->bytes.words[3][g] =
            _mm256_or_si256(high_four(more), _mm256_and_si256(_mm256_srli_epi16(min, 2), two));
    }
}

INLINE void take_k(sink *s, size_t column, const slab q[2], const k_scales *k, size_t group)
{
    __m256 scale[LANE_GROUPS], min[LANE_GROUPS];
    EACH_GROUP scale[g] = _mm256_mul_ps(k->d[g], byte_of(&k->bytes, group, g));
    EACH_GROUP min[g] = negated(_mm256_mul_ps(k->dmin[g], byte_of(&k->bytes, group + 8, g)));
    for (size_t h = 0; h < 2; h++) take_affine(s, column + h * SLAB, &q[h], scale, min);
}

INLINE void run_q4_k(const uint8_t *const *rows, size_t n, sink *s)
{
    size_t at = 0;
    for (size_t p = 0; p < n; p += QN_SUPER, at += sizeof(qn_block_q4_k)) {
        k_scales k;
        load_k(rows, at, &k);
        for (size_t group = 0; group < 8; group += 2) {
            slab q, low[2], high[2];
            ask_ahead(s, sizeof(qn_block_q4_k) / 4 * QN_PANEL);
            for (size_t h = 0; h < 2; h++) {
                load_slab(rows, at + offsetof(qn_block_q4_k, q) + (group + h) * SLAB, &q);
                EACH_WORD(&low[h], &q, low_four(v));
                EACH_WORD(&high[h], &q, high_four(v));
            }
            take_k(s, p + group * 32, low, &k, group);
            take_k(s, p + group * 32 + 32, high, &k, group + 1);
        }
    }
}
ENTRIES(q4_k)

/* 16 where bit `bit` of a byte is set. */
INLINE __m256i fifth_bit(__m256i v, size_t bit)
{
    const __m256i one = _mm256_set1_epi8((char)(1 << bit));
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, one), one), _mm256_set1_epi8(16));
}

INLINE void run_q5_k(const uint8_t *const *rows, size_t n, sink *s)
{
    size_t at = 0;
    for (size_t p = 0; p < n; p += QN_SUPER, at += sizeof(qn_block_q5_k)) {
        k_scales k;
        slab fifth[2];
        load_k(rows, at, &k);
        for (size_t h = 0; h < 2; h++)
            load_slab(rows, at + offsetof(qn_block_q5_k, high) + h * SLAB, &fifth[h]);
        for (size_t group = 0; group < 8; group += 2) {
            slab q, low[2], high[2];
            ask_ahead(s, sizeof(qn_block_q5_k) / 4 * QN_PANEL);
            for (size_t h = 0; h < 2; h++) {
                const slab *f = &fifth[h];
                load_slab(rows, at + offsetof(qn_block_q5_k, q) + (group + h) * SLAB, &q);
                EACH_WORD(&low[h], &q,
                          _mm256_or_si256(low_four(v), fifth_bit(f->words[i][g], group)));
                EACH_WORD(&high[h], &q,
                          _mm256_or_si256(high_four(v), fifth_bit(f->words[i][g], group + 1)));
            }
            take_k(s, p + group * 32, low, &k, group);
            take_k(s, p + group * 32 + 32, high, &k, group + 1);
        }
    }
}
ENTRIES(q5_k)

/* ---- Q6_K ------------------------------------------------------------------------------------ */

/* The upper of `low`'s nibbles, or the lower; two bits of `high`, from bit `from` on. */
INLINE void join_q6(const slab *low, bool upper, const slab *high, size_t from, slab *out)
{
    EACH_WORD(out, low,
              less(_mm256_or_si256(upper ? high_four(v) : low_four(v),
                                   _mm256_slli_epi16(two_of(high->words[i][g], from), 4)),
                   32));
}

INLINE void run_q6_k(const uint8_t *const *rows, size_t n, sink *s)
{
    size_t at = 0;
    for (size_t p = 0; p < n; p += QN_SUPER, at += sizeof(qn_block_q6_k)) {
        slab scales, low[4], high[2], q;
        __m256i last[LANE_GROUPS];
        __m256 d[LANE_GROUPS], scale[LANE_GROUPS], none[LANE_GROUPS];
        load_word(rows, at + sizeof(qn_block_q6_k) - 4, last);
        two_halves(last, none, d);
        scaled_by(d, TOP * TOP);
        load_slab(rows, at + offsetof(qn_block_q6_k, scales), &scales);
        for (size_t half = 0; half < 2; half++) {
            for (size_t i = 0; i < 4; i++)
                load_slab(rows, at + offsetof(qn_block_q6_k, low) + half * 64 + i * SLAB, &low[i]);
            for (size_t i = 0; i < 2; i++)
                load_slab(rows, at + offsetof(qn_block_q6_k, high) + half * 32 + i * SLAB,
                          &high[i]);
            for (size_t i = 0; i < 8; i++) {
                ask_ahead(s, sizeof(qn_block_q6_k) * QN_PANEL / SLAB);
                join_q6(&low[i % 4], i >= 4, &high[i % 2], i / 2 * 2, &q);
                EACH_GROUP scale[g] = _mm256_mul_ps(d[g], signed_byte_of(&scales, half * 8 + i, g));
                take_scaled(s, p + (half * 8 + i) * SLAB, &q, scale);
            }
        }
    }
}
ENTRIES(q6_k)

/* ---- Q2_K and Q3_K ----------------------------------------------------------------------------- */

INLINE void run_q2_k(const uint8_t *const *rows, size_t n, sink *s)
{
    size_t at = 0;
    for (size_t p = 0; p < n; p += QN_SUPER, at += sizeof(qn_block_q2_k)) {
        slab both, scales, mins, two[2], q;
        __m256i last[LANE_GROUPS];
        __m256 d[LANE_GROUPS], dmin[LANE_GROUPS], scale[LANE_GROUPS], min[LANE_GROUPS];
        load_word(rows, at + offsetof(qn_block_q2_k, d), last);
        two_halves(last, d, dmin);
        load_slab(rows, at + offsetof(qn_block_q2_k, scales), &both);
        EACH_WORD(&scales, &both, low_four(v));
        EACH_WORD(&mins, &both, high_four(v));
        for (size_t j = 0; j < 16; j++) {
            if (j % 8 == 0)
                for (size_t i = 0; i < 2; i++)
                    load_slab(rows, at + offsetof(qn_block_q2_k, q) + j * 4 + i * SLAB, &two[i]);
            ask_ahead(s, sizeof(qn_block_q2_k) * QN_PANEL / SLAB);
            EACH_WORD(&q, &two[j % 2], two_of(v, j % 8 / 2 * 2));
            EACH_GROUP scale[g] = _mm256_mul_ps(d[g], byte_of(&scales, j, g));
            EACH_GROUP min[g] = negated(_mm256_mul_ps(dmin[g], byte_of(&mins, j, g)));
            take_affine(s, p + j * SLAB, &q, scale, min);
        }
    }
}
ENTRIES(q2_k)

/* k_scales.h's sixteen, less 32. */
INLINE void load_q3_scales(const uint8_t *const *rows, size_t at, slab *out)
{
    __m256i low[2][LANE_GROUPS], high[LANE_GROUPS];
    load_word(rows, at, low[0]);
    load_word(rows, at + 4, low[1]);
    load_word(rows, at + 8, high);
    for (size_t i = 0; i < 4; i++) EACH_GROUP
        {
            const __m256i four = i < 2 ? low_four(low[i][g]) : high_four(low[i - 2][g]);
            const __m256i two = _mm256_slli_epi16(two_of(high[g], 2 * i), 4);
            out->words[i][g] = less(_mm256_or_si256(four, two), 32);
        }
}

INLINE void run_q3_k(const uint8_t *const *rows, size_t n, sink *s)
{
    size_t at = 0;
    for (size_t p = 0; p < n; p += QN_SUPER, at += sizeof(qn_block_q3_k)) {
        slab scales, third[2], two[2], q;
        __m256i last[LANE_GROUPS];
        __m256 d[LANE_GROUPS], scale[LANE_GROUPS], none[LANE_GROUPS];
        load_word(rows, at + sizeof(qn_block_q3_k) - 4, last);
        two_halves(last, none, d);
        scaled_by(d, TOP * TOP);
        load_q3_scales(rows, at + offsetof(qn_block_q3_k, scales), &scales);
        for (size_t i = 0; i < 2; i++)
            load_slab(rows, at + offsetof(qn_block_q3_k, high) + i * SLAB, &third[i]);
        for (size_t j = 0; j < 16; j++) {
            const slab *t = &third[j % 2];
            if (j % 8 == 0)
                for (size_t i = 0; i < 2; i++)
                    load_slab(rows, at + offsetof(qn_block_q3_k, q) + j * 4 + i * SLAB, &two[i]);
            ask_ahead(s, sizeof(qn_block_q3_k) * QN_PANEL / SLAB);
            EACH_WORD(&q, &two[j % 2],
                      less(_mm256_or_si256(two_of(v, j % 8 / 2 * 2),
                                           _mm256_srli_epi16(fifth_bit(t->words[i][g], j / 2), 2)),
                           4));
            EACH_GROUP scale[g] = _mm256_mul_ps(d[g], signed_byte_of(&scales, j, g));
            take_scaled(s, p + j * SLAB, &q, scale);
        }
    }
}
ENTRIES(q3_k)

/* ---- IQ4_XS ------------------------------------------------------------------------------------- */

INLINE void run_iq4_xs(const uint8_t *const *rows, size_t n, sink *s)
{
    const __m256i levels = sixteen_levels(qn_iq4_level), middle = _mm256_set1_epi32(32);
    const __m256i two_bits = _mm256_set1_epi32(0x30), four_bits = _mm256_set1_epi32(15);
    size_t at = 0;
    for (size_t p = 0; p < n; p += QN_SUPER, at += sizeof(qn_block_iq4_xs)) {
        __m256i first[LANE_GROUPS], low[LANE_GROUPS];
        __m256 d[LANE_GROUPS], scale[LANE_GROUPS], none[LANE_GROUPS];
        load_word(rows, at, first);
        load_word(rows, at + offsetof(qn_block_iq4_xs, scales_low), low);
        two_halves(first, d, none);
        scaled_by(d, TOP);
        for (size_t group = 0; group < 8; group++) {
            const __m128i to_low = _mm_cvtsi32_si128((int)(4 * group));
            const __m128i to_high = _mm_cvtsi32_si128((int)(12 + 2 * group));
            slab q, lower, upper;
            EACH_GROUP
            {
                const __m256i four = _mm256_and_si256(_mm256_srl_epi32(low[g], to_low), four_bits);
                const __m256i two = _mm256_and_si256(_mm256_srl_epi32(first[g], to_high), two_bits);
                const __m256i both = _mm256_sub_epi32(_mm256_or_si256(four, two), middle);
                scale[g] = _mm256_mul_ps(d[g], _mm256_cvtepi32_ps(both));
            }
            ask_ahead(s, sizeof(qn_block_iq4_xs) / 8 * QN_PANEL);
            load_slab(rows, at + offsetof(qn_block_iq4_xs, q) + group * SLAB, &q);
            EACH_WORD(&lower, &q, _mm256_shuffle_epi8(levels, low_four(v)));
            EACH_WORD(&upper, &q, _mm256_shuffle_epi8(levels, high_four(v)));
            take_scaled(s, p + group * 32, &lower, scale);
            take_scaled(s, p + group * 32 + SLAB, &upper, scale);
        }
    }
}
ENTRIES(iq4_xs)

void qn_use_panel_super_avx2(qn_kernels *k)
{
    USE(QN_Q4_K, q4_k);
    USE(QN_Q5_K, q5_k);
    USE(QN_Q6_K, q6_k);
    USE(QN_Q2_K, q2_k);
    USE(QN_Q3_K, q3_k);
    USE(QN_IQ4_XS, iq4_xs);
}
