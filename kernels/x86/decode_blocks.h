/* Decoders of sixteen weights at a time: everything but the lattice types.
 * Built twice: decode_blocks_avx2.c and _avx512.c include this. */
#include <string.h>

#include "kernels/half.h"
#include "kernels/k_scales.h"
#include "kernels/levels.h"
#include "kernels/scalar/fp4.h"
#include "kernels/x86/sixteen.h"
#include "kernels/x86/reg.h"
#include "kernels/x86/x86.h"

/* ---- one number a weight ---------------------------------------------------------------- */

static void decode_f16(const void *blocks, float *out, size_t n)
{
    const qn_half *h = blocks;
    size_t i = 0;
    for (; i + REG_LANES <= n; i += REG_LANES) reg_store(out + i, reg_of_halves(h + i));
    for (; i < n; i++) out[i] = qn_half_value(h[i]);
}

static void decode_bf16(const void *blocks, float *out, size_t n)
{
    const qn_bfloat16 *b = blocks;
    size_t i = 0;
    for (; i + REG_LANES <= n; i += REG_LANES) reg_store(out + i, reg_of_bfloat16s(b + i));
    for (; i < n; i++) out[i] = qn_bfloat16_value(b[i]);
}

/* E5M2 is the upper byte of a float16. */
static void decode_e5m2(const void *blocks, float *out, size_t n)
{
    const uint8_t *b = blocks;
    size_t i = 0;
    for (; i + SIXTEEN <= n; i += SIXTEEN)
        store_halves(out + i, _mm256_slli_epi16(_mm256_cvtepu8_epi16(load16(b + i)), 8), 1.0f);
    for (; i < n; i++) out[i] = qn_half_value((qn_half)(b[i] << 8));
}

/* E4M3 is float16 with another bias and three bits of mantissa, and its largest
 * number would be its NaN. */
static void decode_e4m3(const void *blocks, float *out, size_t n)
{
    const uint8_t *b = blocks;
    const __m256i most = _mm256_set1_epi16(0x7f), nan = _mm256_set1_epi16(0x7e00);
    size_t i = 0;
    for (; i + SIXTEEN <= n; i += SIXTEEN) {
        const __m256i words = _mm256_cvtepu8_epi16(load16(b + i));
        const __m256i size = _mm256_and_si256(words, most);
        const __m256i sign = _mm256_slli_epi16(_mm256_xor_si256(words, size), 8);
        const __m256i half =
            _mm256_blendv_epi8(_mm256_slli_epi16(size, 7), nan, _mm256_cmpeq_epi16(size, most));
        store_halves(out + i, _mm256_or_si256(sign, half), 0x1p8f);
    }
    for (; i < n; i++) out[i] = qn_e4m3_value(b[i]);
}

/* E2M1, the first element of a byte in its low nibble. */
static void decode_f4(const void *blocks, float *out, size_t n)
{
    static const float value[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += SIXTEEN) {
        uint8_t eight[8] = {0};
        float last[SIXTEEN];
        const size_t left = n - i;
        memcpy(eight, b + i / 2, left < SIXTEEN ? (left + 1) / 2 : sizeof eight);
        const __m128i bytes = _mm_loadl_epi64((const __m128i *)eight);
        const __m128i q = _mm_unpacklo_epi8(low_nibbles(bytes), high_nibbles(bytes));
        const unsigned signs = (unsigned)_mm_movemask_epi8(_mm_slli_epi16(q, 4));
        const sixteen_ints size = ints_of_i8(_mm_and_si128(q, _mm_set1_epi8(7)));
        store_looked_up(left < SIXTEEN ? last : out + i, value, size, 1.0f, signs);
        if (left < SIXTEEN) memcpy(out + i, last, left * sizeof *out);
    }
}

/* ---- blocks of 32 ------------------------------------------------------------------------- */

static inline void store_nibbles(float *out, __m128i q, int offset, float d)
{
    const __m128i by = _mm_set1_epi8((char)offset);
    store_scaled(out, ints_of_i8(_mm_sub_epi8(low_nibbles(q), by)), d);
    store_scaled(out + SIXTEEN, ints_of_i8(_mm_sub_epi8(high_nibbles(q), by)), d);
}

static void decode_q8_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q8_0 *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++) {
        const float d = qn_half_value(b->d);
        store_scaled(out + i, ints_of_i8(load16(b->q)), d);
        store_scaled(out + i + SIXTEEN, ints_of_i8(load16(b->q + SIXTEEN)), d);
    }
}

static void decode_q4_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q4_0 *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++)
        store_nibbles(out + i, load16(b->q), 8, qn_half_value(b->d));
}

static void decode_q4_1(const void *blocks, float *out, size_t n)
{
    const qn_block_q4_1 *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++) {
        const float d = qn_half_value(b->d), m = qn_half_value(b->m);
        const __m128i q = load16(b->q);
        store_affine(out + i, ints_of_i8(low_nibbles(q)), d, m);
        store_affine(out + i + SIXTEEN, ints_of_i8(high_nibbles(q)), d, m);
    }
}

/* 16 bytes, 16 where the bit of that place is set in the two bytes at p. */
static inline __m128i fifth_bits(const uint8_t *p)
{
    const __m128i place = _mm_set_epi64x((int64_t)0x8040201008040201, (int64_t)0x8040201008040201);
    const __m128i spread = _mm_set_epi64x(0x0101010101010101, 0);
    const __m128i both = _mm_set1_epi16((short)(p[0] | p[1] << 8));
    const __m128i bits = _mm_and_si128(_mm_shuffle_epi8(both, spread), place);
    return _mm_and_si128(_mm_cmpeq_epi8(bits, place), _mm_set1_epi8(16));
}

static void decode_q5_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q5_0 *b = blocks;
    const __m128i middle = _mm_set1_epi8(16);
    for (size_t i = 0; i < n; i += 32, b++) {
        const float d = qn_half_value(b->d);
        const __m128i q = load16(b->q);
        const __m128i low = _mm_or_si128(low_nibbles(q), fifth_bits(b->high));
        const __m128i high = _mm_or_si128(high_nibbles(q), fifth_bits(b->high + 2));
        store_scaled(out + i, ints_of_i8(_mm_sub_epi8(low, middle)), d);
        store_scaled(out + i + SIXTEEN, ints_of_i8(_mm_sub_epi8(high, middle)), d);
    }
}

static void decode_q5_1(const void *blocks, float *out, size_t n)
{
    const qn_block_q5_1 *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++) {
        const float d = qn_half_value(b->d), m = qn_half_value(b->m);
        const __m128i q = load16(b->q);
        const __m128i low = _mm_or_si128(low_nibbles(q), fifth_bits(b->high));
        const __m128i high = _mm_or_si128(high_nibbles(q), fifth_bits(b->high + 2));
        store_affine(out + i, ints_of_i8(low), d, m);
        store_affine(out + i + SIXTEEN, ints_of_i8(high), d, m);
    }
}

/* ---- super-blocks --------------------------------------------------------------------------- */

static void decode_q2_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q2_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        const float d = qn_half_value(b->d), dmin = qn_half_value(b->dmin);
        for (int g = 0; g < QN_SUPER / SIXTEEN; g++) {
            const __m128i bytes = load16(b->q + g / 8 * 32 + g % 2 * SIXTEEN);
            const float scale = d * (float)(b->scales[g] & 15);
            const float min = dmin * (float)(b->scales[g] >> 4);
            store_affine(out + i + g * SIXTEEN, ints_of_i8(two_bits(bytes, g % 8 / 2 * 2)), scale,
                         -min);
        }
    }
}

static void decode_q3_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q3_k *b = blocks;
    const __m128i four = _mm_set1_epi8(4);
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        uint8_t scale[16];
        const float d = qn_half_value(b->d);
        qn_unpack_q3_scales(b->scales, scale);
        for (int g = 0; g < QN_SUPER / SIXTEEN; g++) {
            const __m128i low =
                two_bits(load16(b->q + g / 8 * 32 + g % 2 * SIXTEEN), g % 8 / 2 * 2);
            const __m128i third = where_bit(load16(b->high + g % 2 * SIXTEEN), g / 2, 4);
            store_scaled(out + i + g * SIXTEEN,
                         ints_of_i8(_mm_sub_epi8(_mm_or_si128(low, third), four)),
                         d * (float)(scale[g] - 32));
        }
    }
}

/* high: the fifth bits of Q5_K, or NULL. */
static inline void decode_super(qn_half d_bits, qn_half dmin_bits, const uint8_t packed[12],
                                const uint8_t *nibbles, const uint8_t *high, float *out)
{
    uint8_t scale[8], min[8];
    const float d = qn_half_value(d_bits), dmin = qn_half_value(dmin_bits);
    qn_unpack_k_scales(packed, scale, min);
    for (int g = 0; g < 8; g++) {
        const float s = d * (float)scale[g], m = -(dmin * (float)min[g]);
        for (int j = 0; j < 32; j += SIXTEEN) {
            const __m128i pair = load16(nibbles + g / 2 * 32 + j);
            __m128i q = g % 2 ? high_nibbles(pair) : low_nibbles(pair);
            if (high) q = _mm_or_si128(q, where_bit(load16(high + j), g, 16));
            store_affine(out + g * 32 + j, ints_of_i8(q), s, m);
        }
    }
}

static void decode_q4_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q4_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        decode_super(b->d, b->dmin, b->scales, b->q, NULL, out + i);
}

static void decode_q5_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q5_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        decode_super(b->d, b->dmin, b->scales, b->q, b->high, out + i);
}

static void decode_q6_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q6_k *b = blocks;
    const __m128i middle = _mm_set1_epi8(32);
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        const float d = qn_half_value(b->d);
        for (int j = 0; j < QN_SUPER; j += SIXTEEN) {
            const int half = j / 128, r = j % 128;
            const __m128i low = load16(b->low + half * 64 + r % 64);
            const __m128i upper = two_bits(load16(b->high + half * 32 + r % 32), r / 32 * 2);
            const __m128i q = _mm_or_si128(r < 64 ? low_nibbles(low) : high_nibbles(low),
                                           _mm_slli_epi16(upper, 4));
            store_scaled(out + i + j, ints_of_i8(_mm_sub_epi8(q, middle)),
                         d * (float)b->scales[j / SIXTEEN]);
        }
    }
}

/* ---- uneven levels ---------------------------------------------------------------------------- */

/* Nibbles as in q4_0, which number levels. */
static inline void store_levels(float *out, __m128i q, __m128i levels, float d)
{
    store_scaled(out, ints_of_i8(_mm_shuffle_epi8(levels, low_nibbles(q))), d);
    store_scaled(out + SIXTEEN, ints_of_i8(_mm_shuffle_epi8(levels, high_nibbles(q))), d);
}

static void decode_iq4_nl(const void *blocks, float *out, size_t n)
{
    const qn_block_iq4_nl *b = blocks;
    const __m128i levels = load16(qn_iq4_level);
    for (size_t i = 0; i < n; i += 32, b++)
        store_levels(out + i, load16(b->q), levels, qn_half_value(b->d));
}

static void decode_iq4_xs(const void *blocks, float *out, size_t n)
{
    const qn_block_iq4_xs *b = blocks;
    const __m128i levels = load16(qn_iq4_level);
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        const float d = qn_half_value(b->d);
        for (int g = 0; g < QN_SUPER / 32; g++) {
            const int low = b->scales_low[g / 2] >> (g % 2 * 4) & 15;
            const int high = b->scales_high >> (2 * g) & 3;
            store_levels(out + i + g * 32, load16(b->q + g * SIXTEEN), levels,
                         d * (float)((low | high << 4) - 32));
        }
    }
}

static void decode_mxfp4(const void *blocks, float *out, size_t n)
{
    const qn_block_mxfp4 *b = blocks;
    const __m128i levels = load16(qn_fp4_level);
    for (size_t i = 0; i < n; i += 32, b++)
        store_levels(out + i, load16(b->q), levels, qn_mxfp4_scale(b->e));
}

static void decode_nvfp4(const void *blocks, float *out, size_t n)
{
    const qn_block_nvfp4 *b = blocks;
    const __m128i levels = load16(qn_fp4_level);
    for (size_t i = 0; i < n; i += 64, b++)
        for (int g = 0; g < 4; g++) {
            const __m128i bytes = _mm_loadl_epi64((const __m128i *)(b->q + g * 8));
            const __m128i q = _mm_unpacklo_epi64(low_nibbles(bytes), high_nibbles(bytes));
            store_scaled(out + i + g * SIXTEEN, ints_of_i8(_mm_shuffle_epi8(levels, q)),
                         qn_nvfp4_scale(b->scale[g]));
        }
}

/* ---- one and two bits --------------------------------------------------------------------------- */

static void decode_tq2_0(const void *blocks, float *out, size_t n)
{
    const qn_block_tq2_0 *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        const float d = qn_half_value(b->d);
        for (int g = 0; g < QN_SUPER / SIXTEEN; g++) {
            const __m128i bytes = load16(b->q + g / 8 * 32 + g % 2 * SIXTEEN);
            const __m128i q = _mm_sub_epi8(two_bits(bytes, g % 8 / 2 * 2), _mm_set1_epi8(1));
            store_scaled(out + i + g * SIXTEEN, ints_of_i8(q), d);
        }
    }
}

/* The digit of base 3 that a multiplication by `power` brings first, less 1. */
static inline __m128i ternary_digits(__m128i bytes, __m256i power)
{
    const __m256i rest = _mm256_and_si256(_mm256_mullo_epi16(_mm256_cvtepu8_epi16(bytes), power),
                                          _mm256_set1_epi16(255));
    const __m256i digit = _mm256_srli_epi16(_mm256_mullo_epi16(rest, _mm256_set1_epi16(3)), 8);
    const __m128i q =
        _mm_packus_epi16(_mm256_castsi256_si128(digit), _mm256_extracti128_si256(digit, 1));
    return _mm_sub_epi8(q, _mm_set1_epi8(1));
}

static void decode_tq1_0(const void *blocks, float *out, size_t n)
{
    static const short power_of_three[5] = {1, 3, 9, 27, 81};
    const qn_block_tq1_0 *b = blocks;
    const __m256i last = _mm256_setr_epi16(1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27);
    for (size_t i = 0; i < n; i += QN_SUPER, b++, out += QN_SUPER) {
        const float d = qn_half_value(b->d);
        int high;
        for (int j = 0; j < 5; j++) {
            const __m256i power = _mm256_set1_epi16(power_of_three[j]);
            store_scaled(out + j * 32, ints_of_i8(ternary_digits(load16(b->q), power)), d);
            store_scaled(out + j * 32 + SIXTEEN,
                         ints_of_i8(ternary_digits(load16(b->q + SIXTEEN), power)), d);
            store_scaled(out + 160 + j * SIXTEEN,
                         ints_of_i8(ternary_digits(load16(b->q + 32), power)), d);
        }
        memcpy(&high, b->high, sizeof high);
        store_scaled(out + 240, ints_of_i8(ternary_digits(_mm_set1_epi32(high), last)), d);
    }
}

static void decode_q2_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q2_0 *b = blocks;
    for (size_t i = 0; i < n; i += 64, b++) {
        const float d = qn_half_value(b->d);
        for (int g = 0; g < 4; g++) {
            uint16_t bits[2];
            memcpy(bits, b->q + g * 4, sizeof bits);
            store_scaled(out + i + g * SIXTEEN,
                         ints_add(unpack_fields(bits[0], bits[1], 2), -1, -1), d);
        }
    }
}

static void decode_q1_0(const void *blocks, float *out, size_t n)
{
    static const float ones[8] = {1.0f};
    const qn_block_q1_0 *b = blocks;
    const sixteen_ints none = unpack_fields(0, 0, 1);
    for (size_t i = 0; i < n; i += 128, b++) {
        const float d = qn_half_value(b->d);
        for (int g = 0; g < 8; g++)
            store_looked_up(out + i + g * SIXTEEN, ones, none, d,
                            ~(b->q[2 * g] | (unsigned)b->q[2 * g + 1] << 8) & 0xffff);
    }
}

void QN_USE(qn_kernels *k)
{
    k->decode[QN_F16] = decode_f16;
    k->decode[QN_BF16] = decode_bf16;
    k->decode[QN_F8_E5M2] = decode_e5m2;
    k->decode[QN_F8_E4M3] = decode_e4m3;
    k->decode[QN_F4] = decode_f4;
    k->decode[QN_Q8_0] = decode_q8_0;
    k->decode[QN_Q4_0] = decode_q4_0;
    k->decode[QN_Q4_1] = decode_q4_1;
    k->decode[QN_Q5_0] = decode_q5_0;
    k->decode[QN_Q5_1] = decode_q5_1;
    k->decode[QN_Q2_K] = decode_q2_k;
    k->decode[QN_Q3_K] = decode_q3_k;
    k->decode[QN_Q4_K] = decode_q4_k;
    k->decode[QN_Q5_K] = decode_q5_k;
    k->decode[QN_Q6_K] = decode_q6_k;
    k->decode[QN_IQ4_NL] = decode_iq4_nl;
    k->decode[QN_IQ4_XS] = decode_iq4_xs;
    k->decode[QN_MXFP4] = decode_mxfp4;
    k->decode[QN_NVFP4] = decode_nvfp4;
    k->decode[QN_TQ1_0] = decode_tq1_0;
    k->decode[QN_TQ2_0] = decode_tq2_0;
    k->decode[QN_Q2_0] = decode_q2_0;
    k->decode[QN_Q1_0] = decode_q1_0;
}
