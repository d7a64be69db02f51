/* Sixteen weights on their way from codes to float32: one AVX-512 register or
 * two of AVX2, under one name, so that a decoder is written once.  Products and
 * sums are separate roundings in the scalar code's order, so the bits are its. */
#ifndef QN_KERNELS_X86_SIXTEEN_H
#define QN_KERNELS_X86_SIXTEEN_H

#include <immintrin.h>
#include <stdint.h>

enum { SIXTEEN = 16 };

#if defined(__AVX512F__)

typedef __m512i sixteen_ints;

/* out = q * d */
static inline void store_scaled(float *out, sixteen_ints q, float d)
{
    _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_cvtepi32_ps(q), _mm512_set1_ps(d)));
}

/* out = q * d + m, which for m negated is q * d - m: the same rounding. */
static inline void store_affine(float *out, sixteen_ints q, float d, float m)
{
    const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(q), _mm512_set1_ps(d));
    _mm512_storeu_ps(out, _mm512_add_ps(product, _mm512_set1_ps(m)));
}

/* out = table[i] * d, its sign changed where bit j of `signs` is set; i < 8. */
static inline void store_looked_up(float *out, const float table[8], sixteen_ints i, float d,
                                   unsigned signs)
{
    const __m512 levels = _mm512_permutexvar_ps(i, _mm512_castps256_ps512(_mm256_loadu_ps(table)));
    const __m512 product = _mm512_mul_ps(levels, _mm512_set1_ps(d));
    const __m512i bits = _mm512_castps_si512(product);
    const __m512i sign = _mm512_set1_epi32(INT32_MIN);
    _mm512_storeu_ps(
        out, _mm512_castsi512_ps(_mm512_mask_xor_epi32(bits, (__mmask16)signs, bits, sign)));
}

/* out = half * scale, for sixteen float16 numbers. */
static inline void store_halves(float *out, __m256i half, float scale)
{
    _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(scale)));
}

static inline sixteen_ints ints_of_i8(__m128i v)
{
    return _mm512_cvtepi8_epi32(v);
}

/* Fields of `width` bits, upwards from bit 0: of `low` eight, then of `high`. */
static inline sixteen_ints unpack_fields(uint32_t low, uint32_t high, int width)
{
    const __m512i shift = _mm512_setr_epi32(0, width, 2 * width, 3 * width, 4 * width, 5 * width,
                                            6 * width, 7 * width, 0, width, 2 * width, 3 * width,
                                            4 * width, 5 * width, 6 * width, 7 * width);
    const __m512i both = _mm512_mask_set1_epi32(_mm512_set1_epi32((int)low), 0xff00, (int)high);
    return _mm512_and_si512(_mm512_srlv_epi32(both, shift), _mm512_set1_epi32((1 << width) - 1));
}

/* `low` to the first eight, `high` to the others. */
static inline sixteen_ints ints_add(sixteen_ints v, int low, int high)
{
    const __m512i both = _mm512_mask_set1_epi32(_mm512_set1_epi32(low), 0xff00, high);
    return _mm512_add_epi32(v, both);
}

#else

typedef struct {
    __m256i low, high;
} sixteen_ints;

static inline void store_scaled(float *out, sixteen_ints q, float d)
{
    const __m256 scale = _mm256_set1_ps(d);
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(q.low), scale));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(q.high), scale));
}

static inline void store_affine(float *out, sixteen_ints q, float d, float m)
{
    const __m256 scale = _mm256_set1_ps(d), more = _mm256_set1_ps(m);
    const __m256 low = _mm256_mul_ps(_mm256_cvtepi32_ps(q.low), scale);
    const __m256 high = _mm256_mul_ps(_mm256_cvtepi32_ps(q.high), scale);
    _mm256_storeu_ps(out, _mm256_add_ps(low, more));
    _mm256_storeu_ps(out + 8, _mm256_add_ps(high, more));
}

/* Bits 0..7 as eight sign bits. */
static inline __m256 eight_signs(unsigned signs)
{
    const __m256i left = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    const __m256i up = _mm256_sllv_epi32(_mm256_set1_epi32((int)signs), left);
    return _mm256_and_ps(_mm256_castsi256_ps(up), _mm256_set1_ps(-0.0f));
}

static inline void store_looked_up(float *out, const float table[8], sixteen_ints i, float d,
                                   unsigned signs)
{
    const __m256 levels = _mm256_loadu_ps(table), scale = _mm256_set1_ps(d);
    const __m256 low = _mm256_mul_ps(_mm256_permutevar8x32_ps(levels, i.low), scale);
    const __m256 high = _mm256_mul_ps(_mm256_permutevar8x32_ps(levels, i.high), scale);
    _mm256_storeu_ps(out, _mm256_xor_ps(low, eight_signs(signs)));
    _mm256_storeu_ps(out + 8, _mm256_xor_ps(high, eight_signs(signs >> 8)));
}

static inline void store_halves(float *out, __m256i half, float scale)
{
    const __m256 by = _mm256_set1_ps(scale);
    const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(half));
    const __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1));
    _mm256_storeu_ps(out, _mm256_mul_ps(low, by));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(high, by));
}

static inline sixteen_ints ints_of_i8(__m128i v)
{
    return (sixteen_ints){_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
}

static inline sixteen_ints unpack_fields(uint32_t low, uint32_t high, int width)
{
    const __m256i shift = _mm256_setr_epi32(0, width, 2 * width, 3 * width, 4 * width, 5 * width,
                                            6 * width, 7 * width);
    const __m256i field = _mm256_set1_epi32((1 << width) - 1);
    return (sixteen_ints){
        _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)low), shift), field),
        _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)high), shift), field)};
}

static inline sixteen_ints ints_add(sixteen_ints v, int low, int high)
{
    return (sixteen_ints){_mm256_add_epi32(v.low, _mm256_set1_epi32(low)),
                          _mm256_add_epi32(v.high, _mm256_set1_epi32(high))};
}

#endif

/* ---- sixteen bytes ------------------------------------------------------------------- */

static inline __m128i load16(const void *p)
{
    return _mm_loadu_si128(p);
}

static inline __m128i low_nibbles(__m128i v)
{
    return _mm_and_si128(v, _mm_set1_epi8(15));
}

static inline __m128i high_nibbles(__m128i v)
{
    return _mm_and_si128(_mm_srli_epi16(v, 4), _mm_set1_epi8(15));
}

/* `value` where the byte has the bit `bit` (0..7), else 0. */
static inline __m128i where_bit(__m128i v, int bit, int value)
{
    const __m128i one = _mm_set1_epi8((char)(1 << bit));
    const __m128i set = _mm_cmpeq_epi8(_mm_and_si128(v, one), one);
    return _mm_and_si128(set, _mm_set1_epi8((char)value));
}

/* Two bits of each byte, from bit `from` (0, 2, 4, 6) up. */
static inline __m128i two_bits(__m128i v, int from)
{
    return _mm_and_si128(_mm_srl_epi16(v, _mm_cvtsi32_si128(from)), _mm_set1_epi8(3));
}

#endif
