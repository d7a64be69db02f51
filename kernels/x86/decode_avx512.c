/* Sixteen weights at a time.  Products and sums are separate roundings in the
 * scalar code's order, so the bits are its. */
#include <immintrin.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/k_scales.h"
#include "kernels/x86/mask16.h"
#include "kernels/x86/x86.h"

enum { WIDTH = 16 };

static void decode_f16(const void *blocks, float *out, size_t n)
{
    const qn_half *h = blocks;
    for (size_t i = 0; i < n; i += WIDTH) {
        const __mmask16 lanes = mask16(n - i);
        const __m256i bits = _mm256_maskz_loadu_epi16(lanes, h + i);
        _mm512_mask_storeu_ps(out + i, lanes, _mm512_cvtph_ps(bits));
    }
}

static void decode_bf16(const void *blocks, float *out, size_t n)
{
    const qn_bfloat16 *b = blocks;
    for (size_t i = 0; i < n; i += WIDTH) {
        const __mmask16 lanes = mask16(n - i);
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, b + i));
        _mm512_mask_storeu_ps(out + i, lanes, _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)));
    }
}

static inline __m512 float_of_i8(__m128i v)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v));
}

static inline __m128i low_nibbles(__m128i v)
{
    return _mm_and_si128(v, _mm_set1_epi8(15));
}

static inline __m128i high_nibbles(__m128i v)
{
    return _mm_and_si128(_mm_srli_epi16(v, 4), _mm_set1_epi8(15));
}

static void decode_q8_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q8_0 *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++) {
        const __m512 d = _mm512_set1_ps(qn_half_value(b->d));
        for (size_t j = 0; j < 32; j += WIDTH) {
            const __m128i q = _mm_loadu_si128((const __m128i *)(b->q + j));
            _mm512_storeu_ps(out + i + j, _mm512_mul_ps(float_of_i8(q), d));
        }
    }
}

static void decode_q4_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q4_0 *b = blocks;
    const __m128i eight = _mm_set1_epi8(8);
    for (size_t i = 0; i < n; i += 32, b++) {
        const __m512 d = _mm512_set1_ps(qn_half_value(b->d));
        const __m128i q = _mm_loadu_si128((const __m128i *)b->q);
        const __m512 low = float_of_i8(_mm_sub_epi8(low_nibbles(q), eight));
        const __m512 high = float_of_i8(_mm_sub_epi8(high_nibbles(q), eight));
        _mm512_storeu_ps(out + i, _mm512_mul_ps(low, d));
        _mm512_storeu_ps(out + i + WIDTH, _mm512_mul_ps(high, d));
    }
}

static void decode_q4_1(const void *blocks, float *out, size_t n)
{
    const qn_block_q4_1 *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++) {
        const __m512 d = _mm512_set1_ps(qn_half_value(b->d));
        const __m512 m = _mm512_set1_ps(qn_half_value(b->m));
        const __m128i q = _mm_loadu_si128((const __m128i *)b->q);
        const __m512 low = _mm512_mul_ps(float_of_i8(low_nibbles(q)), d);
        const __m512 high = _mm512_mul_ps(float_of_i8(high_nibbles(q)), d);
        _mm512_storeu_ps(out + i, _mm512_add_ps(low, m));
        _mm512_storeu_ps(out + i + WIDTH, _mm512_add_ps(high, m));
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
        const __m512 s = _mm512_set1_ps(d * (float)scale[g]);
        const __m512 m = _mm512_set1_ps(dmin * (float)min[g]);
        for (int j = 0; j < 32; j += WIDTH) {
            const __m128i pair = _mm_loadu_si128((const __m128i *)(nibbles + g / 2 * 32 + j));
            __m128i q = g % 2 ? high_nibbles(pair) : low_nibbles(pair);
            if (high) {
                const __m128i bits = _mm_loadu_si128((const __m128i *)(high + j));
                const __mmask16 set = _mm_test_epi8_mask(bits, _mm_set1_epi8((char)(1 << g)));
                q = _mm_or_si128(q, _mm_maskz_set1_epi8(set, 16));
            }
            const __m512 w = _mm512_sub_ps(_mm512_mul_ps(s, float_of_i8(q)), m);
            _mm512_storeu_ps(out + g * 32 + j, w);
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
        for (int j = 0; j < QN_SUPER; j += WIDTH) {
            const int half = j / 128, r = j % 128;
            const __m128i low = _mm_loadu_si128((const __m128i *)(b->low + half * 64 + r % 64));
            const __m128i high = _mm_loadu_si128((const __m128i *)(b->high + half * 32 + r % 32));
            const __m128i upper =
                _mm_and_si128(_mm_srl_epi16(high, _mm_cvtsi32_si128(r / 32 * 2)), three);
            const __m128i q = _mm_or_si128(r < 64 ? low_nibbles(low) : high_nibbles(low),
                                           _mm_slli_epi16(upper, 4));
            const __m512 s = _mm512_set1_ps(d * (float)b->scales[j / 16]);
            const __m512 w = _mm512_mul_ps(s, float_of_i8(_mm_sub_epi8(q, offset)));
            _mm512_storeu_ps(out + i + j, w);
        }
    }
}

void qn_use_decode_avx512(qn_kernels *k)
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
