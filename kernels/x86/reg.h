/* One name for a register of floats of either instruction set: AVX-512's 16 or
 * AVX2's 8.  Every function is one instruction, or says what it does; min and
 * max return the second operand when equal or NaN, as (a < b ? a : b) does. */
#ifndef QN_KERNELS_X86_REG_H
#define QN_KERNELS_X86_REG_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__AVX512F__)

enum { REG_LANES = 16 };
typedef __m512 reg;
typedef __mmask16 reg_mask;

#define VEC_OP(name) _mm512_##name

static inline reg reg_select(reg_mask m, reg yes, reg no)
{
    return _mm512_mask_blend_ps(m, no, yes);
}

static inline reg_mask reg_less(reg a, reg b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

static inline reg_mask reg_equal(reg a, reg b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

static inline reg_mask reg_and(reg_mask a, reg_mask b)
{
    return a & b;
}

static inline reg_mask reg_or(reg_mask a, reg_mask b)
{
    return a | b;
}

/* All lanes are set. */
static inline bool reg_all(reg_mask m)
{
    return m == 0xffff;
}

static inline reg reg_abs(reg a)
{
    return _mm512_abs_ps(a);
}

/* To the nearest integer, ties to even. */
static inline reg reg_nearest(reg v)
{
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT);
}

/* A bit a lane, the first lane lowest. */
static inline unsigned reg_bits(reg_mask m)
{
    return m;
}

static inline float reg_largest(reg v)
{
    return _mm512_reduce_max_ps(v);
}

/* qn_truncate, then the low byte, as a float -128..127. */
static inline reg reg_truncate_byte(reg v)
{
    const __m512i i = _mm512_cvttps_epi32(v);
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(i, 24), 24));
}

/* trunc(v) for |v| < 2^31, as a float. */
static inline reg reg_truncate(reg v)
{
    return _mm512_cvtepi32_ps(_mm512_cvttps_epi32(v));
}

/* table[trunc(i)] for 0 <= i < 16. */
static inline reg reg_lookup16(const float table[16], reg i)
{
    return _mm512_permutexvar_ps(_mm512_cvttps_epi32(i), _mm512_loadu_ps(table));
}

/* REG_LANES float16 and bfloat16 numbers at p. */
static inline reg reg_of_halves(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

static inline reg reg_of_bfloat16s(const void *p)
{
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* To the nearest integer, then 0..top, for |v| < 2^22.  Clamped as integers, in
 * whose order floats are when not both are negative: that leaves the adders
 * free, which a search needs most. */
static inline reg reg_near_index(reg v, float top)
{
    const __m512i most = _mm512_castps_si512(_mm512_set1_ps(top));
    const __m512i i = _mm512_castps_si512(reg_nearest(v));
    return _mm512_castsi512_ps(_mm512_min_epi32(_mm512_max_epi32(i, _mm512_setzero_si512()), most));
}

/* qn_nearest and qn_clamp, lane by lane, for any v. */
static inline reg reg_code(reg v, int low, int high)
{
    const __m512i bits = _mm512_castps_si512(_mm512_add_ps(v, _mm512_set1_ps(12582912.0f)));
    __m512i i = _mm512_sub_epi32(_mm512_and_si512(bits, _mm512_set1_epi32(0x7fffff)),
                                 _mm512_set1_epi32(0x400000));
    i = _mm512_min_epi32(_mm512_max_epi32(i, _mm512_set1_epi32(low)), _mm512_set1_epi32(high));
    return _mm512_cvtepi32_ps(i);
}

/* Integers -128..255 in float lanes to bytes. */
static inline void reg_store_bytes(uint8_t *out, reg v)
{
    _mm_storeu_si128((__m128i *)out, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v)));
}

#else

enum { REG_LANES = 8 };
typedef __m256 reg;
typedef __m256 reg_mask;

#define VEC_OP(name) _mm256_##name

static inline reg reg_select(reg_mask m, reg yes, reg no)
{
    return _mm256_blendv_ps(no, yes, m);
}

static inline reg_mask reg_less(reg a, reg b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

static inline reg_mask reg_equal(reg a, reg b)
{
    return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}

static inline reg_mask reg_and(reg_mask a, reg_mask b)
{
    return _mm256_and_ps(a, b);
}

static inline reg_mask reg_or(reg_mask a, reg_mask b)
{
    return _mm256_or_ps(a, b);
}

static inline bool reg_all(reg_mask m)
{
    return _mm256_movemask_ps(m) == 0xff;
}

static inline reg reg_abs(reg a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}

static inline reg reg_nearest(reg v)
{
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline unsigned reg_bits(reg_mask m)
{
    return (unsigned)_mm256_movemask_ps(m);
}

static inline float reg_largest(reg v)
{
    const __m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 b = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
}

static inline reg reg_truncate_byte(reg v)
{
    const __m256i i = _mm256_cvttps_epi32(v);
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(i, 24), 24));
}

static inline reg reg_truncate(reg v)
{
    return _mm256_cvtepi32_ps(_mm256_cvttps_epi32(v));
}

static inline reg reg_lookup16(const float table[16], reg i)
{
    const __m256i at = _mm256_cvttps_epi32(i);
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), at);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), at);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)));
}

static inline reg reg_of_halves(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

static inline reg reg_of_bfloat16s(const void *p)
{
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline reg reg_near_index(reg v, float top)
{
    const __m256i most = _mm256_castps_si256(_mm256_set1_ps(top));
    const __m256i i = _mm256_castps_si256(reg_nearest(v));
    return _mm256_castsi256_ps(_mm256_min_epi32(_mm256_max_epi32(i, _mm256_setzero_si256()), most));
}

static inline reg reg_code(reg v, int low, int high)
{
    const __m256i bits = _mm256_castps_si256(_mm256_add_ps(v, _mm256_set1_ps(12582912.0f)));
    __m256i i = _mm256_sub_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7fffff)),
                                 _mm256_set1_epi32(0x400000));
    i = _mm256_min_epi32(_mm256_max_epi32(i, _mm256_set1_epi32(low)), _mm256_set1_epi32(high));
    return _mm256_cvtepi32_ps(i);
}

static inline void reg_store_bytes(uint8_t *out, reg v)
{
    const __m256i i = _mm256_and_si256(_mm256_cvttps_epi32(v), _mm256_set1_epi32(255));
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)out, _mm_packus_epi16(words, words));
}

#endif

static inline reg reg_load(const float *p)
{
    return VEC_OP(loadu_ps)(p);
}

static inline void reg_store(float *p, reg v)
{
    VEC_OP(storeu_ps)(p, v);
}

static inline reg reg_all_of(float x)
{
    return VEC_OP(set1_ps)(x);
}

static inline reg reg_add(reg a, reg b)
{
    return VEC_OP(add_ps)(a, b);
}

static inline reg reg_sub(reg a, reg b)
{
    return VEC_OP(sub_ps)(a, b);
}

static inline reg reg_mul(reg a, reg b)
{
    return VEC_OP(mul_ps)(a, b);
}

static inline reg reg_div(reg a, reg b)
{
    return VEC_OP(div_ps)(a, b);
}

static inline reg reg_min(reg a, reg b)
{
    return VEC_OP(min_ps)(a, b);
}

static inline reg reg_max(reg a, reg b)
{
    return VEC_OP(max_ps)(a, b);
}

static inline reg reg_sqrt(reg a)
{
    return VEC_OP(sqrt_ps)(a);
}

static inline reg reg_negate(reg a)
{
    return reg_sub(reg_all_of(-0.0f), a);
}

#endif
