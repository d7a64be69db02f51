#include <immintrin.h>
#include <string.h>

#include "kernels/scalar/exp.h"
#include "kernels/x86/mask16.h"
#include "kernels/x86/x86.h"

enum { WIDTH = 16 };

/* 8-4-2-1, as the contract says. */
static inline float fold(__m512 v)
{
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* qn_exp_scalar, lane by lane. */
static inline __m512 exponential(__m512 x)
{
    const __m512 round = _mm512_set1_ps(QN_EXP_ROUND);
    const __mmask16 counts = _mm512_cmp_ps_mask(x, _mm512_set1_ps(QN_EXP_LEAST), _CMP_GE_OQ);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512 v = _mm512_min_ps(x, _mm512_set1_ps(QN_EXP_MOST));
    const __m512 shifted = _mm512_fmadd_ps(v, _mm512_set1_ps(QN_EXP_LOG2E), round);
    const __m512 n = _mm512_sub_ps(shifted, round);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-QN_EXP_LN2_HI), v);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-QN_EXP_LN2_LO), r);
    __m512 p = _mm512_set1_ps(QN_EXP_P5);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(QN_EXP_P4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(QN_EXP_P3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(QN_EXP_P2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(QN_EXP_P1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(QN_EXP_P0));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    const __m512i power = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    const __m512 e = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), power));
    return _mm512_mask_mov_ps(_mm512_maskz_mov_ps(counts, e), nan, x);
}

static float exp_sum(float *x, float shift, size_t n)
{
    __m512 sum = _mm512_setzero_ps();
    const __m512 s = _mm512_set1_ps(shift);
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        const __m512 e = exponential(_mm512_sub_ps(_mm512_loadu_ps(x + i), s));
        _mm512_storeu_ps(x + i, e);
        sum = _mm512_add_ps(sum, e);
    }
    if (i < n) {
        const __mmask16 lanes = mask16(n - i);
        const __m512 e = exponential(_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, x + i), s));
        _mm512_mask_storeu_ps(x + i, lanes, e);
        sum = _mm512_mask_add_ps(sum, lanes, sum, e);
    }
    return fold(sum);
}

static inline __m512 sigmoid(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
    const __m512 e = exponential(_mm512_or_ps(x, _mm512_set1_ps(-0.0f)));
    const __m512 top = _mm512_mask_mov_ps(e, _mm512_cmp_ps_mask(x, zero, _CMP_GE_OQ), one);
    return _mm512_div_ps(top, _mm512_add_ps(one, e));
}

static inline __m512 gelu_argument(__m512 x)
{
    const __m512 c3 = _mm512_set1_ps(QN_GELU_C3), c1 = _mm512_set1_ps(QN_GELU_C1);
    return _mm512_mul_ps(x, _mm512_fmadd_ps(_mm512_mul_ps(x, x), c3, c1));
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += WIDTH) {
        const __mmask16 lanes = mask16(n - i);
        const __m512 x = _mm512_maskz_loadu_ps(lanes, gate + i);
        const __m512 u = _mm512_maskz_loadu_ps(lanes, up + i);
        const __m512 y = _mm512_mul_ps(_mm512_mul_ps(x, sigmoid(x)), u);
        _mm512_mask_storeu_ps(gate + i, lanes, y);
    }
}

static void gelu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += WIDTH) {
        const __mmask16 lanes = mask16(n - i);
        const __m512 x = _mm512_maskz_loadu_ps(lanes, gate + i);
        const __m512 u = _mm512_maskz_loadu_ps(lanes, up + i);
        const __m512 y = _mm512_mul_ps(_mm512_mul_ps(x, sigmoid(gelu_argument(x))), u);
        _mm512_mask_storeu_ps(gate + i, lanes, y);
    }
}

/* Of y's sign, which tanh has, too. */
static inline __m512 capped(__m512 x, __m512 cap)
{
    const __m512 one = _mm512_set1_ps(1.0f), sign = _mm512_set1_ps(-0.0f);
    const __m512 y = _mm512_div_ps(x, cap), a = _mm512_andnot_ps(sign, y);
    const __m512 square = _mm512_mul_ps(y, y);
    __m512 p = _mm512_fmadd_ps(square, _mm512_set1_ps(QN_TANH_P4), _mm512_set1_ps(QN_TANH_P3));
    p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(QN_TANH_P2));
    p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(QN_TANH_P1));
    p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(QN_TANH_P0));
    const __m512 near = _mm512_fmadd_ps(_mm512_mul_ps(p, square), y, y);
    const __m512 e = exponential(_mm512_mul_ps(_mm512_set1_ps(-2.0f), a));
    const __m512 share = _mm512_div_ps(_mm512_sub_ps(one, e), _mm512_add_ps(one, e));
    const __m512 far = _mm512_or_ps(_mm512_andnot_ps(sign, share), _mm512_and_ps(sign, y));
    const __mmask16 is_near = _mm512_cmp_ps_mask(a, _mm512_set1_ps(QN_TANH_NEAR), _CMP_LT_OQ);
    return _mm512_mul_ps(_mm512_mask_mov_ps(far, is_near, near), cap);
}

static void soft_cap(float *x, float cap, size_t n)
{
    const __m512 c = _mm512_set1_ps(cap);
    for (size_t i = 0; i < n; i += WIDTH) {
        const __mmask16 lanes = mask16(n - i);
        _mm512_mask_storeu_ps(x + i, lanes, capped(_mm512_maskz_loadu_ps(lanes, x + i), c));
    }
}

static float dot(const float *x, const float *w, size_t n)
{
    __m512 sum = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        sum = _mm512_fmadd_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(w + i), sum);
    if (i < n) {
        const __mmask16 lanes = mask16(n - i);
        sum = _mm512_mask3_fmadd_ps(_mm512_maskz_loadu_ps(lanes, x + i),
                                    _mm512_maskz_loadu_ps(lanes, w + i), sum, lanes);
    }
    return fold(sum);
}

static void axpy(float a, const float *x, float *y, size_t n)
{
    const __m512 f = _mm512_set1_ps(a);
    for (size_t i = 0; i < n; i += WIDTH) {
        const __mmask16 lanes = mask16(n - i);
        const __m512 sum = _mm512_fmadd_ps(f, _mm512_maskz_loadu_ps(lanes, x + i),
                                           _mm512_maskz_loadu_ps(lanes, y + i));
        _mm512_mask_storeu_ps(y + i, lanes, sum);
    }
}

static float largest(const float *x, size_t n)
{
    __m512 most = _mm512_set1_ps(x[0]);
    for (size_t i = 0; i < n; i += WIDTH) {
        const __mmask16 lanes = mask16(n - i);
        most = _mm512_mask_max_ps(most, lanes, _mm512_maskz_loadu_ps(lanes, x + i), most);
    }
    return _mm512_reduce_max_ps(most);
}

/* rows of 4 * 8 columns, or of the fewer that the masks leave. */
static inline __attribute__((always_inline)) void add_squares_of(const float *x, size_t stride,
                                                                 size_t rows,
                                                                 const __mmask8 lanes[4],
                                                                 double *sums)
{
    enum { DOUBLES = 8 };
    __m512d sum[4];
#pragma GCC unroll 4
    for (size_t c = 0; c < 4; c++) sum[c] = _mm512_maskz_loadu_pd(lanes[c], sums + c * DOUBLES);
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (size_t c = 0; c < 4; c++) {
            const float *at = x + i * stride + c * DOUBLES;
            const __m512d v = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(lanes[c], at));
            sum[c] = _mm512_fmadd_pd(v, v, sum[c]);
        }
#pragma GCC unroll 4
    for (size_t c = 0; c < 4; c++) _mm512_mask_storeu_pd(sums + c * DOUBLES, lanes[c], sum[c]);
}

static void add_squares(const float *x, size_t stride, size_t rows, double *sums, size_t n)
{
    enum { COLUMNS = 32 };
    static const __mmask8 all[4] = {0xff, 0xff, 0xff, 0xff};
    size_t j = 0;
    for (; j + COLUMNS <= n; j += COLUMNS) add_squares_of(x + j, stride, rows, all, sums + j);
    if (j == n) return;
    const uint32_t left = (UINT32_C(1) << (n - j)) - 1;
    const __mmask8 lanes[4] = {(__mmask8)left, (__mmask8)(left >> 8), (__mmask8)(left >> 16),
                               (__mmask8)(left >> 24)};
    add_squares_of(x + j, stride, rows, lanes, sums + j);
}

static bool all_finite(const float *x, size_t n)
{
    const __m512i exponent = _mm512_set1_epi32(0x7f800000);
    for (size_t i = 0; i < n; i += WIDTH) {
        const __mmask16 lanes = mask16(n - i);
        const __m512i bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes, x + i));
        if (_mm512_cmpeq_epi32_mask(_mm512_and_si512(bits, exponent), exponent)) return false;
    }
    return true;
}

void qn_use_math_avx512(qn_kernels *k)
{
    k->exp_sum = exp_sum;
    k->silu_mul = silu_mul;
    k->gelu_mul = gelu_mul;
    k->soft_cap = soft_cap;
    k->dot = dot;
    k->axpy = axpy;
    k->max = largest;
    k->add_squares = add_squares;
    k->finite = all_finite;
}
