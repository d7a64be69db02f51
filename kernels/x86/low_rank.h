/* Low-rank sums in double for both levels of x86: up to ROWS rows by two registers
 * of columns in accumulators, enough of them to hide the latency of an addition.
 * Products are exact, so fused steps give the bits of separate ones. */
#include <immintrin.h>

#include "kernels/x86/x86.h"

#if defined(__AVX512F__)

enum { LANES = 8, ROWS = 8 };
typedef __m512d doubles;
#define OP(name) _mm512_##name

static inline doubles widened(const float *x)
{
    return _mm512_cvtps_pd(_mm256_loadu_ps(x));
}

static inline void store_narrowed(float *x, doubles v)
{
    _mm256_storeu_ps(x, _mm512_cvtpd_ps(v));
}

#else

enum { LANES = 4, ROWS = 4 };
typedef __m256d doubles;
#define OP(name) _mm256_##name

static inline doubles widened(const float *x)
{
    return _mm256_cvtps_pd(_mm_loadu_ps(x));
}

static inline void store_narrowed(float *x, doubles v)
{
    _mm_storeu_ps(x, _mm256_cvtpd_ps(v));
}

#endif

/* d[j] += scale * sum, of a register. */
static inline void add_scaled(double *d, doubles scale, doubles sum)
{
    OP(storeu_pd)(d, OP(add_pd)(OP(loadu_pd)(d), OP(mul_pd)(scale, sum)));
}

/* m is a constant at every call, so the loops unroll and sums stay in registers. */
static inline __attribute__((always_inline)) void tile(const size_t m, double scale,
                                                       const double *a, size_t lda, const float *b,
                                                       size_t ldb, size_t k, double *d, size_t ldd)
{
    doubles left[ROWS], right[ROWS];
#pragma GCC unroll 8
    for (size_t i = 0; i < m; i++) left[i] = right[i] = OP(setzero_pd)();
    for (size_t p = 0; p < k; p++) {
        const doubles b0 = widened(b + p * ldb), b1 = widened(b + p * ldb + LANES);
#pragma GCC unroll 8
        for (size_t i = 0; i < m; i++) {
            const doubles x = OP(set1_pd)(a[i * lda + p]);
            left[i] = OP(fmadd_pd)(x, b0, left[i]);
            right[i] = OP(fmadd_pd)(x, b1, right[i]);
        }
    }
    const doubles factor = OP(set1_pd)(scale);
#pragma GCC unroll 8
    for (size_t i = 0; i < m; i++) {
        add_scaled(d + i * ldd, factor, left[i]);
        add_scaled(d + i * ldd + LANES, factor, right[i]);
    }
}

static void some_rows(size_t m, double scale, const double *a, size_t lda, const float *b,
                      size_t ldb, size_t k, double *d, size_t ldd)
{
    switch (m) {
    case 8: tile(ROWS, scale, a, lda, b, ldb, k, d, ldd); break;
    case 7: tile(ROWS < 7 ? ROWS : 7, scale, a, lda, b, ldb, k, d, ldd); break;
    case 6: tile(ROWS < 6 ? ROWS : 6, scale, a, lda, b, ldb, k, d, ldd); break;
    case 5: tile(ROWS < 5 ? ROWS : 5, scale, a, lda, b, ldb, k, d, ldd); break;
    case 4: tile(4, scale, a, lda, b, ldb, k, d, ldd); break;
    case 3: tile(3, scale, a, lda, b, ldb, k, d, ldd); break;
    case 2: tile(2, scale, a, lda, b, ldb, k, d, ldd); break;
    default: tile(1, scale, a, lda, b, ldb, k, d, ldd); break;
    }
}

static void add_low_rank(double scale, const double *a, size_t lda, size_t m, const float *b,
                         size_t ldb, size_t k, double *d, size_t ldd, size_t n)
{
    for (size_t j = 0; j < n; j += 2 * LANES)
        for (size_t i = 0; i < m; i += ROWS)
            some_rows(m - i < ROWS ? m - i : ROWS, scale, a + i * lda, lda, b + j, ldb, k,
                      d + i * ldd + j, ldd);
}

static void add_doubles(const double *d, float *x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store_narrowed(x + i, OP(add_pd)(widened(x + i), OP(loadu_pd)(d + i)));
    for (; i < n; i++) x[i] = (float)((double)x[i] + d[i]);
}

void QN_USE(qn_kernels *k)
{
    k->add_low_rank = add_low_rank;
    k->add_doubles = add_doubles;
}
