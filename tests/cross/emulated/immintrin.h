/* Stands before the compiler's own immintrin.h, so that a file written for
 * AVX-512 is built for AVX2: the AVX-512 part is SIMDe's (libsimde-dev), and
 * here is what its version 0.7.4 lacks of what kernels/x86 uses.  A register is
 * two of AVX2; masked-off lanes of memory are left untouched, as the processor
 * leaves them.  Wants -mavx2 -mfma -mf16c. */
#ifndef QN_TESTS_CROSS_EMULATED_IMMINTRIN_H
#define QN_TESTS_CROSS_EMULATED_IMMINTRIN_H

#include_next <immintrin.h>

#if defined(__AVX512F__) || !defined(__FMA__) || !defined(__F16C__)
#error "to be built for AVX2, FMA and F16C, and for no more"
#endif

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

/* Otherwise a fused multiply-add would be two roundings. */
#if !SIMDE_NATURAL_VECTOR_SIZE_LE(256)
#error "SIMDe does not use the halves"
#endif

/* Our kernels ask by this which level they are built for. */
#define __AVX512F__ 1

#define EMULATED static inline __attribute__((always_inline))

/* ---- by halves, with an instruction of AVX2 ------------------------------------------ */

EMULATED __m512 emulated_of_halves(__m256 low, __m256 high)
{
    simde__m512_private r;
    r.m256[0] = low;
    r.m256[1] = high;
    return simde__m512_from_private(r);
}

EMULATED __m512i emulated_of_int_halves(__m256i low, __m256i high)
{
    simde__m512i_private r;
    r.m256i[0] = low;
    r.m256i[1] = high;
    return simde__m512i_from_private(r);
}

EMULATED __m512d emulated_of_double_halves(__m256d low, __m256d high)
{
    simde__m512d_private r;
    r.m256d[0] = low;
    r.m256d[1] = high;
    return simde__m512d_from_private(r);
}

#define HALF(v, i) (simde__m512_to_private(v).m256[i])
#define INT_HALF(v, i) (simde__m512i_to_private(v).m256i[i])
#define DOUBLE_HALF(v, i) (simde__m512d_to_private(v).m256d[i])

EMULATED __m512 emulated_cvtepi32_ps(__m512i v)
{
    return emulated_of_halves(_mm256_cvtepi32_ps(INT_HALF(v, 0)),
                              _mm256_cvtepi32_ps(INT_HALF(v, 1)));
}

EMULATED __m512i emulated_cvttps_epi32(__m512 v)
{
    return emulated_of_int_halves(_mm256_cvttps_epi32(HALF(v, 0)), _mm256_cvttps_epi32(HALF(v, 1)));
}

EMULATED __m512 emulated_cvtph_ps(__m256i v)
{
    return emulated_of_halves(_mm256_cvtph_ps(_mm256_castsi256_si128(v)),
                              _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)));
}

EMULATED __m512d emulated_cvtps_pd(__m256 v)
{
    return emulated_of_double_halves(_mm256_cvtps_pd(_mm256_castps256_ps128(v)),
                                     _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
}

EMULATED __m256 emulated_cvtpd_ps(__m512d v)
{
    return _mm256_set_m128(_mm256_cvtpd_ps(DOUBLE_HALF(v, 1)), _mm256_cvtpd_ps(DOUBLE_HALF(v, 0)));
}

EMULATED __m512i emulated_cvtepi8_epi32(__m128i v)
{
    return emulated_of_int_halves(_mm256_cvtepi8_epi32(v),
                                  _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)));
}

EMULATED __m512i emulated_cvtepu16_epi32(__m256i v)
{
    return emulated_of_int_halves(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)),
                                  _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1)));
}

EMULATED __m512i emulated_srai_epi32(__m512i v, unsigned n)
{
    return emulated_of_int_halves(_mm256_srai_epi32(INT_HALF(v, 0), (int)n),
                                  _mm256_srai_epi32(INT_HALF(v, 1), (int)n));
}

EMULATED __m512 emulated_permutevar_ps(__m512 v, __m512i i)
{
    return emulated_of_halves(_mm256_permutevar_ps(HALF(v, 0), INT_HALF(i, 0)),
                              _mm256_permutevar_ps(HALF(v, 1), INT_HALF(i, 1)));
}

EMULATED __m256 emulated_extractf32x8_ps(__m512 v, int i)
{
    return HALF(v, i);
}

/* SIMDe's leaves the sign of a negative zero. */
EMULATED __m512 emulated_abs_ps(__m512 v)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return emulated_of_halves(_mm256_andnot_ps(sign, HALF(v, 0)),
                              _mm256_andnot_ps(sign, HALF(v, 1)));
}

/* ---- lane by lane --------------------------------------------------------------------- */

EMULATED __m128i emulated_cvtepi32_epi8(__m512i v)
{
    const simde__m512i_private p = simde__m512i_to_private(v);
    int8_t bytes[16];
    for (int i = 0; i < 16; i++) bytes[i] = (int8_t)p.i32[i];
    return _mm_loadu_si128((const __m128i *)bytes);
}

EMULATED __mmask16 emulated_cmplt_epi32_mask(__m512i a, __m512i b)
{
    const simde__m512i_private p = simde__m512i_to_private(a), q = simde__m512i_to_private(b);
    __mmask16 mask = 0;
    for (int i = 0; i < 16; i++) mask |= (__mmask16)((p.i32[i] < q.i32[i]) << i);
    return mask;
}

EMULATED __m256 emulated_maskz_loadu_8_ps(__mmask8 mask, const float *from)
{
    float to[8];
    for (int i = 0; i < 8; i++) to[i] = mask >> i & 1 ? from[i] : 0;
    return _mm256_loadu_ps(to);
}

EMULATED __m512 emulated_maskz_loadu_ps(__mmask16 mask, const float *from)
{
    simde__m512_private to;
    for (int i = 0; i < 16; i++) to.f32[i] = mask >> i & 1 ? from[i] : 0;
    return simde__m512_from_private(to);
}

EMULATED __m512d emulated_maskz_loadu_pd(__mmask8 mask, const double *from)
{
    simde__m512d_private to;
    for (int i = 0; i < 8; i++) to.f64[i] = mask >> i & 1 ? from[i] : 0;
    return simde__m512d_from_private(to);
}

EMULATED void emulated_mask_storeu_ps(float *to, __mmask16 mask, __m512 v)
{
    const simde__m512_private from = simde__m512_to_private(v);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) to[i] = from.f32[i];
}

EMULATED void emulated_mask_storeu_pd(double *to, __mmask8 mask, __m512d v)
{
    const simde__m512d_private from = simde__m512d_to_private(v);
    for (int i = 0; i < 8; i++)
        if (mask >> i & 1) to[i] = from.f64[i];
}

/* ---- made of others -------------------------------------------------------------------- */

EMULATED __m512 emulated_mask3_fmadd_ps(__m512 a, __m512 b, __m512 c, __mmask16 mask)
{
    return simde_mm512_mask_mov_ps(c, mask, simde_mm512_fmadd_ps(a, b, c));
}

/* Of no order that we rely on. */
EMULATED float emulated_reduce_add_ps(__m512 v)
{
    const simde__m512_private p = simde__m512_to_private(v);
    float sum = 0;
    for (int i = 0; i < 16; i++) sum += p.f32[i];
    return sum;
}

EMULATED float emulated_reduce_max_ps(__m512 v)
{
    const simde__m512_private p = simde__m512_to_private(v);
    float most = p.f32[0];
    for (int i = 1; i < 16; i++) most = p.f32[i] > most ? p.f32[i] : most;
    return most;
}

#undef HALF
#undef INT_HALF
#undef DOUBLE_HALF
#undef EMULATED

#define _mm256_maskz_loadu_ps emulated_maskz_loadu_8_ps
#undef _mm512_abs_ps
#define _mm512_abs_ps emulated_abs_ps
#define _mm512_cmplt_epi32_mask emulated_cmplt_epi32_mask
#define _mm512_cvtepi32_epi8 emulated_cvtepi32_epi8
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32
#define _mm512_cvtepu16_epi32 emulated_cvtepu16_epi32
#define _mm512_cvtpd_ps emulated_cvtpd_ps
#define _mm512_cvtph_ps emulated_cvtph_ps
#define _mm512_cvtps_pd emulated_cvtps_pd
#define _mm512_cvttps_epi32 emulated_cvttps_epi32
#define _mm512_extractf32x8_ps emulated_extractf32x8_ps
#define _mm512_mask3_fmadd_ps emulated_mask3_fmadd_ps
#define _mm512_mask_storeu_pd emulated_mask_storeu_pd
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps
#define _mm512_maskz_loadu_pd emulated_maskz_loadu_pd
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps
#define _mm512_permutevar_ps emulated_permutevar_ps
#define _mm512_reduce_add_ps emulated_reduce_add_ps
#define _mm512_reduce_max_ps emulated_reduce_max_ps
#define _mm512_srai_epi32 emulated_srai_epi32

#endif
