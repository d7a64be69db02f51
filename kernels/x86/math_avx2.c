/* Sixteen lanes are two registers here: low holds lanes 0-7, high 8-15. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/scalar/exp.h"
#include "kernels/x86/x86.h"

enum { WIDTH = 8, LANES = 16 };

static inline float fold(__m256 low, __m256 high)
{
    const __m256 a = _mm256_add_ps(low, high);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* The first n (0..8) lanes set: for the end of a row.  Whole registers are not
 * masked, since a masked store costs several plain ones. */
static inline __m256i first_lanes(size_t n)
{
    static const int32_t ones[2 * WIDTH] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(ones + WIDTH - n));
}

/* qn_exp_scalar, lane by lane. */
static inline __m256 exponential(__m256 x)
{
    const __m256 round = _mm256_set1_ps(QN_EXP_ROUND);
    const __m256 counts = _mm256_cmp_ps(x, _mm256_set1_ps(QN_EXP_LEAST), _CMP_GE_OQ);
    const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    const __m256 v = _mm256_min_ps(x, _mm256_set1_ps(QN_EXP_MOST));
    const __m256 shifted = _mm256_fmadd_ps(v, _mm256_set1_ps(QN_EXP_LOG2E), round);
    const __m256 n = _mm256_sub_ps(shifted, round);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-QN_EXP_LN2_HI), v);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-QN_EXP_LN2_LO), r);
    __m256 p = _mm256_set1_ps(QN_EXP_P5);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(QN_EXP_P4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(QN_EXP_P3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(QN_EXP_P2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(QN_EXP_P1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(QN_EXP_P0));
    p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
    const __m256i power = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    const __m256 e = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
    return _mm256_blendv_ps(_mm256_and_ps(counts, e), x, nan);
}

/* x = e^(x - shift) for eight elements, or for the first n < 8; their sum with `sum`. */
static inline __m256 exp_eight(float *x, __m256 shift, __m256 sum)
{
    const __m256 e = exponential(_mm256_sub_ps(_mm256_loadu_ps(x), shift));
    _mm256_storeu_ps(x, e);
    return _mm256_add_ps(sum, e);
}

static inline __m256 exp_rest(float *x, __m256 shift, __m256 sum, size_t n)
{
    if (n == 0) return sum;
    const __m256i lanes = first_lanes(n);
    const __m256 e = exponential(_mm256_sub_ps(_mm256_maskload_ps(x, lanes), shift));
    _mm256_maskstore_ps(x, lanes, e);
    return _mm256_blendv_ps(sum, _mm256_add_ps(sum, e), _mm256_castsi256_ps(lanes));
}

static float exp_sum(float *x, float shift, size_t n)
{
    __m256 low = _mm256_setzero_ps(), high = low;
    const __m256 s = _mm256_set1_ps(shift);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        low = exp_eight(x + i, s, low);
        high = exp_eight(x + i + WIDTH, s, high);
    }
    if (n - i < WIDTH) return fold(exp_rest(x + i, s, low, n - i), high);
    low = exp_eight(x + i, s, low);
    i += WIDTH;
    return fold(low, exp_rest(x + i, s, high, n - i));
}

static inline __m256 sigmoid(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f), zero = _mm256_setzero_ps();
    const __m256 e = exponential(_mm256_or_ps(x, _mm256_set1_ps(-0.0f)));
    const __m256 top = _mm256_blendv_ps(e, one, _mm256_cmp_ps(x, zero, _CMP_GE_OQ));
    return _mm256_div_ps(top, _mm256_add_ps(one, e));
}

static inline __m256 silu_times(__m256 x, __m256 up)
{
    return _mm256_mul_ps(_mm256_mul_ps(x, sigmoid(x)), up);
}

static inline __m256 gelu_times(__m256 x, __m256 up)
{
    const __m256 c3 = _mm256_set1_ps(QN_GELU_C3), c1 = _mm256_set1_ps(QN_GELU_C1);
    const __m256 z = _mm256_mul_ps(x, _mm256_fmadd_ps(_mm256_mul_ps(x, x), c3, c1));
    return _mm256_mul_ps(_mm256_mul_ps(x, sigmoid(z)), up);
}

/* Of y's sign, which tanh has, too. */
static inline __m256 capped(__m256 x, __m256 cap)
{
    const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    const __m256 y = _mm256_div_ps(x, cap), a = _mm256_andnot_ps(sign, y);
    const __m256 square = _mm256_mul_ps(y, y);
    __m256 p = _mm256_fmadd_ps(square, _mm256_set1_ps(QN_TANH_P4), _mm256_set1_ps(QN_TANH_P3));
    p = _mm256_fmadd_ps(p, square, _mm256_set1_ps(QN_TANH_P2));
    p = _mm256_fmadd_ps(p, square, _mm256_set1_ps(QN_TANH_P1));
    p = _mm256_fmadd_ps(p, square, _mm256_set1_ps(QN_TANH_P0));
    const __m256 near = _mm256_fmadd_ps(_mm256_mul_ps(p, square), y, y);
    const __m256 e = exponential(_mm256_mul_ps(_mm256_set1_ps(-2.0f), a));
    const __m256 share = _mm256_div_ps(_mm256_sub_ps(one, e), _mm256_add_ps(one, e));
    const __m256 far = _mm256_or_ps(_mm256_andnot_ps(sign, share), _mm256_and_ps(sign, y));
    const __m256 is_near = _mm256_cmp_ps(a, _mm256_set1_ps(QN_TANH_NEAR), _CMP_LT_OQ);
    return _mm256_mul_ps(_mm256_blendv_ps(far, near, is_near), cap);
}

static inline void multiply(float *gate, const float *up, size_t n, __m256 (*times)(__m256, __m256))
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        _mm256_storeu_ps(gate + i, times(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
    if (i == n) return;
    const __m256i lanes = first_lanes(n - i);
    const __m256 x = _mm256_maskload_ps(gate + i, lanes), u = _mm256_maskload_ps(up + i, lanes);
    _mm256_maskstore_ps(gate + i, lanes, times(x, u));
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    multiply(gate, up, n, silu_times);
}

static void gelu_mul(float *gate, const float *up, size_t n)
{
    multiply(gate, up, n, gelu_times);
}

static void soft_cap(float *x, float cap, size_t n)
{
    const __m256 c = _mm256_set1_ps(cap);
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) _mm256_storeu_ps(x + i, capped(_mm256_loadu_ps(x + i), c));
    if (i == n) return;
    const __m256i lanes = first_lanes(n - i);
    _mm256_maskstore_ps(x + i, lanes, capped(_mm256_maskload_ps(x + i, lanes), c));
}

static float dot(const float *x, const float *w, size_t n)
{
    __m256 low = _mm256_setzero_ps(), high = low;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        low = _mm256_fmadd_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(w + i), low);
        high =
            _mm256_fmadd_ps(_mm256_loadu_ps(x + i + WIDTH), _mm256_loadu_ps(w + i + WIDTH), high);
    }
    if (i < n) {
        const size_t left = n - i, beyond = left > WIDTH ? left - WIDTH : 0;
        const __m256i here = first_lanes(left - beyond), next = first_lanes(beyond);
        const __m256 a =
            _mm256_fmadd_ps(_mm256_maskload_ps(x + i, here), _mm256_maskload_ps(w + i, here), low);
        low = _mm256_blendv_ps(low, a, _mm256_castsi256_ps(here));
        if (beyond) {
            const __m256 b = _mm256_fmadd_ps(_mm256_maskload_ps(x + i + WIDTH, next),
                                             _mm256_maskload_ps(w + i + WIDTH, next), high);
            high = _mm256_blendv_ps(high, b, _mm256_castsi256_ps(next));
        }
    }
    return fold(low, high);
}

static double sum_of_squares(const float *x, size_t n)
{
    __m256d low = _mm256_setzero_pd(), high = low;
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        const __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x + i));
        const __m256d b = _mm256_cvtps_pd(_mm_loadu_ps(x + i + WIDTH / 2));
        low = _mm256_fmadd_pd(a, a, low); /* a float's square is exact */
        high = _mm256_fmadd_pd(b, b, high);
    }
    if (i < n) {
        const __m256 v = _mm256_maskload_ps(x + i, first_lanes(n - i));
        const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
        const __m256d b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
        low = _mm256_fmadd_pd(a, a, low);
        high = _mm256_fmadd_pd(b, b, high);
    }
    const __m256d four = _mm256_add_pd(low, high);
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

static void rms_norm(const float *x, const float *weight, double eps, float *out, size_t n)
{
    const float scale = (float)(1.0 / sqrt(sum_of_squares(x, n) / (double)n + eps));
    const __m256 s = _mm256_set1_ps(scale), one = _mm256_set1_ps(1.0f);
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        const __m256 w = weight ? _mm256_loadu_ps(weight + i) : one;
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), s), w));
    }
    for (; i < n; i++) out[i] = x[i] * scale * (weight ? weight[i] : 1.0f);
}

static void axpy(float a, const float *x, float *y, size_t n)
{
    const __m256 f = _mm256_set1_ps(a);
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        const __m256 sum = _mm256_fmadd_ps(f, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i));
        _mm256_storeu_ps(y + i, sum);
    }
    if (i == n) return;
    const __m256i lanes = first_lanes(n - i);
    const __m256 sum =
        _mm256_fmadd_ps(f, _mm256_maskload_ps(x + i, lanes), _mm256_maskload_ps(y + i, lanes));
    _mm256_maskstore_ps(y + i, lanes, sum);
}

static float largest(const float *x, size_t n)
{
    float most = x[0];
    __m256 v = _mm256_set1_ps(most);
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) v = _mm256_max_ps(_mm256_loadu_ps(x + i), v);
    float lane[WIDTH];
    _mm256_storeu_ps(lane, v);
    for (int j = 0; j < WIDTH; j++)
        if (lane[j] > most) most = lane[j];
    for (; i < n; i++)
        if (x[i] > most) most = x[i];
    return most;
}

static void add_squares(const float *x, size_t stride, size_t rows, double *sums, size_t n)
{
    enum { DOUBLES = 4, COLUMNS = 4 * DOUBLES };
    size_t j = 0;
    for (; j + COLUMNS <= n; j += COLUMNS) {
        __m256d sum[COLUMNS / DOUBLES];
        for (size_t c = 0; c < COLUMNS / DOUBLES; c++)
            sum[c] = _mm256_loadu_pd(sums + j + c * DOUBLES);
        for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (size_t c = 0; c < COLUMNS / DOUBLES; c++) {
                const __m256d v = _mm256_cvtps_pd(_mm_loadu_ps(x + i * stride + j + c * DOUBLES));
                sum[c] = _mm256_fmadd_pd(v, v, sum[c]);
            }
        for (size_t c = 0; c < COLUMNS / DOUBLES; c++)
            _mm256_storeu_pd(sums + j + c * DOUBLES, sum[c]);
    }
    for (; j < n; j++)
        for (size_t i = 0; i < rows; i++)
            sums[j] += (double)x[i * stride + j] * (double)x[i * stride + j];
}

static inline bool is_finite(__m256 x)
{
    const __m256i exponent = _mm256_set1_epi32(0x7f800000);
    const __m256i bits = _mm256_and_si256(_mm256_castps_si256(x), exponent);
    const __m256i endless = _mm256_cmpeq_epi32(bits, exponent);
    return _mm256_testz_si256(endless, endless);
}

static bool all_finite(const float *x, size_t n)
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        if (!is_finite(_mm256_loadu_ps(x + i))) return false;
    return is_finite(_mm256_maskload_ps(x + i, first_lanes(n - i)));
}

void qn_use_math_avx2(qn_kernels *k)
{
    k->exp_sum = exp_sum;
    k->silu_mul = silu_mul;
    k->gelu_mul = gelu_mul;
    k->soft_cap = soft_cap;
    k->dot = dot;
    k->rms_norm = rms_norm;
    k->axpy = axpy;
    k->max = largest;
    k->add_squares = add_squares;
    k->finite = all_finite;
}
