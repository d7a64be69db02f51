/* TQ1_0, TQ2_0, Q2_0 and Q1_0: rounding to one of two or three values.  Built
 * twice: encode_ternary_avx2.c and encode_ternary_avx512.c include this. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/x86/pack.h"
#include "kernels/x86/vec.h"
#include "kernels/x86/x86.h"

enum { SIGNS = 128, PAIRS = 64 }; /* weights in a block of Q1_0 and of Q2_0 */

/* Digits 0, 1, 2 for -1, 0, 1; the scale, which is the largest magnitude.  Where
 * its inverse is infinite no product is a number that an int32 holds, and all
 * digits are `none`. */
static inline float round_to_digits(const float *x, size_t n, uint8_t none, uint8_t *digit)
{
    const vec one = vec_all_of(1.0f), half = vec_all_of(0.5f), zero = vec_all_of(0.0f);
    vec most = zero;
    for (size_t j = 0; j < n; j += LANES) most = vec_max(most, vec_abs(vec_load(x + j)));
    const float d = vec_largest(most), inverse = d != 0.0f ? 1.0f / d : 0.0f;
    if (isinf(inverse)) {
        memset(digit, none, n);
        return d;
    }
    for (size_t j = 0; j < n; j += LANES) {
        const vec v = vec_mul(vec_load(x + j), vec_all_of(inverse));
        const vec up = vec_select(vec_less(v, half), one, vec_add(one, one));
        vec_store_bytes(digit + j, vec_select(vec_less(vec_negate(half), v), up, zero));
    }
    return d;
}

/* ---- TQ1_0 ------------------------------------------------------------------------------ */

static inline __m128i load16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* 3 * n + digit, byte by byte. */
static inline __m128i next_digit(__m128i n, __m128i digit)
{
    return _mm_add_epi8(_mm_add_epi8(n, n), _mm_add_epi8(n, digit));
}

/* Five digits at a distance of `stride` bytes, the first one highest. */
static inline __m128i five_digits(const uint8_t *digit, size_t stride)
{
    __m128i n = load16(digit);
    for (size_t i = 1; i < 5; i++) n = next_digit(n, load16(digit + i * stride));
    return n;
}

/* The number n / 243 in 256ths, rounded up: n + (13 * n + 242) / 243, where
 * 17261 / 2^22 is 1 / 243 for all that occurs. */
static inline __m128i fraction(__m128i n)
{
    const __m256i wide = _mm256_cvtepu8_epi16(n);
    const __m256i more =
        _mm256_add_epi16(_mm256_mullo_epi16(wide, _mm256_set1_epi16(13)), _mm256_set1_epi16(242));
    const __m256i whole = _mm256_srli_epi16(_mm256_mulhi_epu16(more, _mm256_set1_epi16(17261)), 6);
    const __m256i sum = _mm256_add_epi16(wide, whole);
    return _mm_packus_epi16(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
}

static void encode_tq1_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_tq1_0 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        uint8_t digit[QN_SUPER + 16]; /* read 16 at a time at the end, too */
        b->d = qn_half_of(round_to_digits(x + i, QN_SUPER, 1, digit));
        for (size_t j = 0; j < 32; j += 16)
            _mm_storeu_si128((__m128i *)(b->q + j), fraction(five_digits(digit + j, 32)));
        _mm_storeu_si128((__m128i *)(b->q + 32), fraction(five_digits(digit + 160, 16)));
        __m128i last = _mm_setzero_si128(), zero = last;
        for (size_t k = 0; k < 4; k++) {
            uint32_t four;
            memcpy(&four, digit + 240 + 4 * k, sizeof four);
            last = next_digit(last, _mm_cvtsi32_si128((int)four));
        }
        const int four = _mm_cvtsi128_si32(fraction(next_digit(last, zero)));
        memcpy(b->high, &four, sizeof b->high);
    }
}

/* ---- TQ2_0, Q2_0 -------------------------------------------------------------------------- */

static void encode_tq2_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_tq2_0 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        uint8_t digit[QN_SUPER];
        b->d = qn_half_of(round_to_digits(x + i, QN_SUPER, 1, digit));
        pack_plane(digit, b->q);
    }
}

static void encode_q2_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q2_0 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += PAIRS, b++) {
        uint8_t digit[PAIRS];
        b->d = qn_half_of(round_to_digits(x + i, PAIRS, 0, digit));
        pack_neighbours(digit, b->q);
    }
}

/* ---- Q1_0 ----------------------------------------------------------------------------------- */

/* Sums of magnitudes of up to four blocks, each in order. */
static inline void sums_of_magnitudes(const float *x, size_t here, float sum[4])
{
    const float *p[4];
    __m128 sums = _mm_setzero_ps();
    for (size_t k = 0; k < 4; k++) p[k] = x + (k < here ? k : 0) * SIGNS;
    for (size_t j = 0; j < SIGNS; j++) {
        const __m128 v = _mm_setr_ps(p[0][j], p[1][j], p[2][j], p[3][j]);
        sums = _mm_add_ps(sums, _mm_andnot_ps(_mm_set1_ps(-0.0f), v));
    }
    _mm_storeu_ps(sum, sums);
}

static void encode_q1_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q1_0 *b = blocks;
    const vec zero = vec_all_of(0.0f);
    (void)weights;
    for (size_t i = 0; i < n; i += 4 * SIGNS) {
        float sum[4];
        const size_t here = (n - i) / SIGNS < 4 ? (n - i) / SIGNS : 4;
        sums_of_magnitudes(x + i, here, sum);
        for (size_t k = 0; k < here; k++, b++) {
            b->d = qn_half_of(sum[k] / SIGNS);
            for (size_t j = 0; j < SIGNS; j += LANES) {
                const unsigned plus = ~vec_bits(vec_less(vec_load(x + i + k * SIGNS + j), zero));
                for (size_t byte = 0; byte < LANES / 8; byte++)
                    b->q[j / 8 + byte] = (uint8_t)(plus >> (8 * byte));
            }
        }
    }
}

void QN_USE(qn_kernels *k)
{
    k->encode[QN_TQ1_0] = encode_tq1_0;
    k->encode[QN_TQ2_0] = encode_tq2_0;
    k->encode[QN_Q2_0] = encode_q2_0;
    k->encode[QN_Q1_0] = encode_q1_0;
}
