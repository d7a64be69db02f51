/* The micro-kernel for AVX2: the panel's 32 columns in two halves, rows in
 * sixes, so that twelve accumulators leave four registers; and the packing. */
#include <immintrin.h>

#include "kernels/x86/x86.h"

enum { WIDTH = 8, HALF = QN_PANEL / 2, ROWS = 6 };

static inline __attribute__((always_inline)) void half_tile(const size_t m, const float *a,
                                                            size_t lda, const float *panel,
                                                            size_t k, float *c, size_t ldc,
                                                            bool accumulate)
{
    __m256 left[ROWS], right[ROWS];
#pragma GCC unroll 6
    for (size_t i = 0; i < m; i++) {
        left[i] = accumulate ? _mm256_loadu_ps(c + i * ldc) : _mm256_setzero_ps();
        right[i] = accumulate ? _mm256_loadu_ps(c + i * ldc + WIDTH) : _mm256_setzero_ps();
    }
    for (size_t p = 0; p < k; p++) {
        const __m256 w0 = _mm256_loadu_ps(panel + p * QN_PANEL);
        const __m256 w1 = _mm256_loadu_ps(panel + p * QN_PANEL + WIDTH);
#pragma GCC unroll 6
        for (size_t i = 0; i < m; i++) {
            const __m256 x = _mm256_broadcast_ss(a + i * lda + p);
            left[i] = _mm256_fmadd_ps(x, w0, left[i]);
            right[i] = _mm256_fmadd_ps(x, w1, right[i]);
        }
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < m; i++) {
        _mm256_storeu_ps(c + i * ldc, left[i]);
        _mm256_storeu_ps(c + i * ldc + WIDTH, right[i]);
    }
}

static void six_rows(const float *a, size_t lda, size_t m, const float *panel, size_t k, float *c,
                     size_t ldc, bool accumulate)
{
    switch (m) {
    case 6: half_tile(6, a, lda, panel, k, c, ldc, accumulate); break;
    case 5: half_tile(5, a, lda, panel, k, c, ldc, accumulate); break;
    case 4: half_tile(4, a, lda, panel, k, c, ldc, accumulate); break;
    case 3: half_tile(3, a, lda, panel, k, c, ldc, accumulate); break;
    case 2: half_tile(2, a, lda, panel, k, c, ldc, accumulate); break;
    default: half_tile(1, a, lda, panel, k, c, ldc, accumulate); break;
    }
}

static void gemm_tile(const float *a, size_t lda, size_t m, const float *panel, size_t k, float *c,
                      size_t ldc, bool accumulate)
{
    for (size_t i = 0; i < m; i += ROWS) {
        const size_t rows = m - i < ROWS ? m - i : ROWS;
        for (size_t j = 0; j < QN_PANEL; j += HALF)
            six_rows(a + i * lda, lda, rows, panel + j, k, c + i * ldc + j, ldc, accumulate);
    }
}

/* ---- packing ---------------------------------------------------------------------- */

/* Eight rows of eight floats, transposed into eight rows of the panel. */
static inline void transpose8(const float *x, size_t stride, float *panel)
{
    __m256 r[8], s[8];
    for (size_t i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(x + i * stride);
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(panel + i * QN_PANEL, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(panel + (i + 4) * QN_PANEL, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

static void pack_rows(const float *x, size_t stride, size_t rows, size_t first, size_t last,
                      float *panel)
{
    for (size_t p = first; p < last; p++)
        for (size_t r = 0; r < 8; r++)
            panel[p * QN_PANEL + r] = r < rows ? x[r * stride + p] : 0.0f;
}

static void pack(const float *x, size_t stride, size_t rows, size_t k, float *panel)
{
    for (size_t r = 0; r < QN_PANEL; r += 8) {
        const size_t here = rows > r ? rows - r : 0;
        const size_t whole = here >= 8 ? k - k % 8 : 0;
        for (size_t p = 0; p < whole; p += 8)
            transpose8(x + r * stride + p, stride, panel + p * QN_PANEL + r);
        pack_rows(x + r * stride, stride, here, whole, k, panel + r);
    }
}

static float fma_peak(uint64_t rounds)
{
    __m256 sum[QN_PEAK_SUMS];
    const __m256 factor = _mm256_set1_ps(0.999999f), term = _mm256_set1_ps(1e-9f);
#pragma GCC unroll 12
    for (int i = 0; i < QN_PEAK_SUMS; i++) sum[i] = _mm256_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < QN_PEAK_SUMS; i++) sum[i] = _mm256_fmadd_ps(sum[i], factor, term);
    }
    float total = 0.0f;
    for (int i = 0; i < QN_PEAK_SUMS; i++) total += _mm256_cvtss_f32(sum[i]);
    return total;
}

void qn_use_gemm_avx2(qn_kernels *k)
{
    k->gemm_tile = gemm_tile;
    k->pack = pack;
    k->fma_peak = fma_peak;
    k->vector_floats = WIDTH;
}
