/* Eight weights at a time.  Products and sums are separate roundings in the
 * scalar code's order, so the bits are its. */
#include <immintrin.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/k_scales.h"
#include "kernels/x86/x86.h"

enum { WIDTH = 8 };

static void decode_f16(const void *blocks, float *out, size_t n)
{
    const char *p = blocks;
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 2 * i))));
    for (; i < n; i++) {
        qn_half h;
        memcpy(&h, p + 2 * i, sizeof h);
        out[i] = qn_half_value(h);
    }
}

static void decode_bf16(const void *blocks, float *out, size_t n)
{
    const char *p = blocks;
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 2 * i)));
        _mm256_storeu_ps(out + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
    for (; i < n; i++) {
        qn_bfloat16 b;
        memcpy(&b, p + 2 * i, sizeof b);
        out[i] = qn_bfloat16_value(b);
    }
}

/* Sixteen int8 as floats, in two registers. */
typedef struct {
    __m256 low, high;
} sixteen;

static inline sixteen float_of_i8(__m128i v)
{
    return (sixteen){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)),
                     _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)))};
}

static inline void store_product(float *out, sixteen q, __m256 d)
{
    _mm256_storeu_ps(out, _mm256_mul_ps(q.low, d));
    _mm256_storeu_ps(out + WIDTH, _mm256_mul_ps(q.high, d));
}

/* d * q + m, or d * q - m where m is given negated: the same rounding. */
static inline void store_affine(float *out, sixteen q, __m256 d, __m256 m)
{
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_mul_ps(q.low, d), m));
    _mm256_storeu_ps(out + WIDTH, _mm256_add_ps(_mm256_mul_ps(q.high, d), m));
}

static inline __m128i low_nibbles(__m128i v)
{
    return _mm_and_si128(v, _mm_set1_epi8(15));
}

static inline __m128i high_nibbles(__m128i v)
{
    return _mm_and_si128(_mm_srli_epi16(v, 4), _mm_set1_epi8(15));
}

static inline __m128i load16(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

static void decode_q8_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q8_0 *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++) {
        const __m256 d = _mm256_set1_ps(qn_half_value(b->d));
        store_product(out + i, float_of_i8(load16(b->q)), d);
        store_product(out + i + 16, float_of_i8(load16(b->q + 16)), d);
    }
}

static void decode_q4_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q4_0 *b = blocks;
    const __m128i eight = _mm_set1_epi8(8);
    for (size_t i = 0; i < n; i += 32, b++) {
        const __m256 d = _mm256_set1_ps(qn_half_value(b->d));
        const __m128i q = load16(b->q);
        store_product(out + i, float_of_i8(_mm_sub_epi8(low_nibbles(q), eight)), d);
        store_product(out + i + 16, float_of_i8(_mm_sub_epi8(high_nibbles(q), eight)), d);
    }
}

static void decode_q4_1(const void *blocks, float *out, size_t n)
{
    const qn_block_q4_1 *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++) {
        const __m256 d = _mm256_set1_ps(qn_half_value(b->d));
        const __m256 m = _mm256_set1_ps(qn_half_value(b->m));
        const __m128i q = load16(b->q);
        store_affine(out + i, float_of_i8(low_nibbles(q)), d, m);
        store_affine(out + i + 16, float_of_i8(high_nibbles(q)), d, m);
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
        const __m256 s = _mm256_set1_ps(d * (float)scale[g]);
        const __m256 m = _mm256_set1_ps(-(dmin * (float)min[g]));
        for (int j = 0; j < 32; j += 16) {
            const __m128i pair = load16(nibbles + g / 2 * 32 + j);
            __m128i q = g % 2 ? high_nibbles(pair) : low_nibbles(pair);
            if (high) {
                const __m128i bit = _mm_set1_epi8((char)(1 << g));
                const __m128i set = _mm_cmpeq_epi8(_mm_and_si128(load16(high + j), bit), bit);
                q = _mm_or_si128(q, _mm_and_si128(set, _mm_set1_epi8(16)));
            }
            store_affine(out + g * 32 + j, float_of_i8(q), s, m);
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
    const __m128i three = _mm_set1_epi8(3), offset = _mm_set1_epi8(32);
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        const float d = qn_half_value(b->d);
        for (int j = 0; j < QN_SUPER; j += 16) {
            const int half = j / 128, r = j % 128;
            const __m128i low = load16(b->low + half * 64 + r % 64);
            const __m128i high = load16(b->high + half * 32 + r % 32);
            const __m128i upper =
                _mm_and_si128(_mm_srl_epi16(high, _mm_cvtsi32_si128(r / 32 * 2)), three);
            const __m128i q = _mm_or_si128(r < 64 ? low_nibbles(low) : high_nibbles(low),
                                           _mm_slli_epi16(upper, 4));
            store_product(out + i + j, float_of_i8(_mm_sub_epi8(q, offset)),
                          _mm256_set1_ps(d * (float)b->scales[j / 16]));
        }
    }
}

void qn_use_decode_avx2(qn_kernels *k)
{
    k->decode[QN_F16] = decode_f16;
    k->decode[QN_BF16] = decode_bf16;
    k->decode[QN_Q8_0] = decode_q8_0;
    k->decode[QN_Q4_0] = decode_q4_0;
    k->decode[QN_Q4_1] = decode_q4_1;
    k->decode[QN_Q4_K] = decode_q4_k;
    k->decode[QN_Q5_K] = decode_q5_k;
    k->decode[QN_Q6_K] = decode_q6_k;
}
