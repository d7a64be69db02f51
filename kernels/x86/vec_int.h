/* Whole numbers in the lanes of vec.h, and looking up small tables. */
#ifndef QN_KERNELS_X86_VEC_INT_H
#define QN_KERNELS_X86_VEC_INT_H

#include "kernels/x86/vec.h"

#if defined(__AVX512F__)

typedef __m512i vec_int;

static inline vec_int int_select(vec_mask m, vec_int yes, vec_int no)
{
    return _mm512_mask_blend_epi32(m, no, yes);
}

static inline vec_mask int_equal(vec_int a, vec_int b)
{
    return _mm512_cmpeq_epi32_mask(a, b);
}

static inline vec_mask int_less(vec_int a, vec_int b)
{
    return _mm512_cmplt_epi32_mask(a, b);
}

static inline vec_int int_load(const uint32_t *p)
{
    return _mm512_loadu_si512(p);
}

static inline void int_store(uint32_t *p, vec_int v)
{
    _mm512_storeu_si512(p, v);
}

/* LANES 16-bit numbers. */
static inline vec_int int_load_words(const uint16_t *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
}

static inline vec_int int_and(vec_int a, vec_int b)
{
    return _mm512_and_si512(a, b);
}

static inline vec_int int_or(vec_int a, vec_int b)
{
    return _mm512_or_si512(a, b);
}

static inline vec_int int_xor(vec_int a, vec_int b)
{
    return _mm512_xor_si512(a, b);
}

static inline vec_int int_of_bits(vec v)
{
    return _mm512_castps_si512(v);
}

static inline vec vec_of_bits(vec_int v)
{
    return _mm512_castsi512_ps(v);
}

/* table[n % 4]; n % 8, where the second half of a register repeats the first. */
static inline vec vec_lookup_4(vec table, vec_int n)
{
    return _mm512_permutevar_ps(table, n);
}

static inline vec vec_lookup_8(vec table, vec_int n)
{
    return _mm512_permutexvar_ps(n, table);
}

/* Tables for these: four or eight floats again and again. */
static inline vec vec_repeat_4(const float *p)
{
    return _mm512_broadcast_f32x4(_mm_loadu_ps(p));
}

static inline vec vec_repeat_8(__m256 v)
{
    return _mm512_broadcast_f32x8(v);
}

/* The lanes below n. */
static inline vec_mask vec_first(unsigned n)
{
    return (vec_mask)((UINT64_C(1) << (n < LANES ? n : LANES)) - 1);
}

static inline float vec_smallest(vec v)
{
    const __m256 half = _mm256_min_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 a = _mm_min_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    const __m128 b = _mm_min_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_min_ss(b, _mm_movehdup_ps(b)));
}

#else

typedef __m256i vec_int;

static inline vec_int int_select(vec_mask m, vec_int yes, vec_int no)
{
    return _mm256_blendv_epi8(no, yes, _mm256_castps_si256(m));
}

static inline vec_mask int_equal(vec_int a, vec_int b)
{
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b));
}

static inline vec_mask int_less(vec_int a, vec_int b)
{
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a));
}

static inline vec_int int_load(const uint32_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

static inline void int_store(uint32_t *p, vec_int v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}

static inline vec_int int_load_words(const uint16_t *p)
{
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
}

static inline vec_int int_and(vec_int a, vec_int b)
{
    return _mm256_and_si256(a, b);
}

static inline vec_int int_or(vec_int a, vec_int b)
{
    return _mm256_or_si256(a, b);
}

static inline vec_int int_xor(vec_int a, vec_int b)
{
    return _mm256_xor_si256(a, b);
}

static inline vec_int int_of_bits(vec v)
{
    return _mm256_castps_si256(v);
}

static inline vec vec_of_bits(vec_int v)
{
    return _mm256_castsi256_ps(v);
}

static inline vec vec_lookup_4(vec table, vec_int n)
{
    return _mm256_permutevar_ps(table, n);
}

static inline vec vec_lookup_8(vec table, vec_int n)
{
    return _mm256_permutevar8x32_ps(table, n);
}

static inline vec vec_repeat_4(const float *p)
{
    return _mm256_broadcast_ps((const __m128 *)p);
}

static inline vec vec_repeat_8(__m256 v)
{
    return v;
}

static inline vec_mask vec_first(unsigned n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane));
}

static inline float vec_smallest(vec v)
{
    const __m128 a = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 b = _mm_min_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_min_ss(b, _mm_movehdup_ps(b)));
}

#endif

static inline vec_int int_all_of(int n)
{
    return VEC_OP(set1_epi32)(n);
}

static inline vec_int int_add(vec_int a, vec_int b)
{
    return VEC_OP(add_epi32)(a, b);
}

static inline vec float_of_int(vec_int v)
{
    return VEC_OP(cvtepi32_ps)(v);
}

static inline vec_int int_sub(vec_int a, vec_int b)
{
    return VEC_OP(sub_epi32)(a, b);
}

static inline vec_int int_left(vec_int a, unsigned n)
{
    return VEC_OP(slli_epi32)(a, n);
}

static inline vec_int int_right(vec_int a, unsigned n)
{
    return VEC_OP(srli_epi32)(a, n);
}

/* qn_nearest and qn_clamp, lane by lane, for any v. */
static inline vec_int int_code(vec v, int low, int high)
{
    const vec_int bits = int_of_bits(vec_add(v, vec_all_of(12582912.0f)));
    const vec_int nearest = int_sub(int_and(bits, int_all_of(0x7fffff)), int_all_of(0x400000));
    return VEC_OP(min_epi32)(VEC_OP(max_epi32)(nearest, int_all_of(low)), int_all_of(high));
}

#endif
