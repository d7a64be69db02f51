/* The micro-kernel for AVX-512: up to 14 rows of activations by 32 columns in
 * 28 accumulators, which leaves registers for two columns' loads and a
 * broadcast. */
#include <immintrin.h>

#include "kernels/x86/x86.h"

enum { WIDTH = 16 };

/* m is a constant at every call, so the loops unroll and sums stay in
 * registers.  Three rows share a base pointer: row 3b + i is base[b] + i * lda. */
static inline __attribute__((always_inline)) void tile(const size_t m, const float *a, size_t lda,
                                                       const float *panel, size_t k, float *c,
                                                       size_t ldc, bool accumulate)
{
    __m512 left[QN_TILE_MAX], right[QN_TILE_MAX];
    const float *base[(QN_TILE_MAX + 2) / 3];
#pragma GCC unroll 14
    for (size_t i = 0; i < m; i++) {
        left[i] = accumulate ? _mm512_loadu_ps(c + i * ldc) : _mm512_setzero_ps();
        right[i] = accumulate ? _mm512_loadu_ps(c + i * ldc + WIDTH) : _mm512_setzero_ps();
    }
#pragma GCC unroll 5
    for (size_t b = 0; b < (m + 2) / 3; b++) base[b] = a + 3 * b * lda;
    for (size_t p = 0; p < k; p++) {
        const __m512 w0 = _mm512_loadu_ps(panel + p * QN_PANEL);
        const __m512 w1 = _mm512_loadu_ps(panel + p * QN_PANEL + WIDTH);
#pragma GCC unroll 14
        for (size_t i = 0; i < m; i++) {
            const __m512 x = _mm512_set1_ps(base[i / 3][i % 3 * lda]);
            left[i] = _mm512_fmadd_ps(x, w0, left[i]);
            right[i] = _mm512_fmadd_ps(x, w1, right[i]);
        }
#pragma GCC unroll 5
        for (size_t b = 0; b < (m + 2) / 3; b++) base[b]++;
    }
#pragma GCC unroll 14
    for (size_t i = 0; i < m; i++) {
        _mm512_storeu_ps(c + i * ldc, left[i]);
        _mm512_storeu_ps(c + i * ldc + WIDTH, right[i]);
    }
}

static void gemm_tile(const float *a, size_t lda, size_t m, const float *panel, size_t k, float *c,
                      size_t ldc, bool accumulate)
{
    switch (m) {
    case 14: tile(14, a, lda, panel, k, c, ldc, accumulate); break;
    case 13: tile(13, a, lda, panel, k, c, ldc, accumulate); break;
    case 12: tile(12, a, lda, panel, k, c, ldc, accumulate); break;
    case 11: tile(11, a, lda, panel, k, c, ldc, accumulate); break;
    case 10: tile(10, a, lda, panel, k, c, ldc, accumulate); break;
    case 9: tile(9, a, lda, panel, k, c, ldc, accumulate); break;
    case 8: tile(8, a, lda, panel, k, c, ldc, accumulate); break;
    case 7: tile(7, a, lda, panel, k, c, ldc, accumulate); break;
    case 6: tile(6, a, lda, panel, k, c, ldc, accumulate); break;
    case 5: tile(5, a, lda, panel, k, c, ldc, accumulate); break;
    case 4: tile(4, a, lda, panel, k, c, ldc, accumulate); break;
    case 3: tile(3, a, lda, panel, k, c, ldc, accumulate); break;
    case 2: tile(2, a, lda, panel, k, c, ldc, accumulate); break;
    default: tile(1, a, lda, panel, k, c, ldc, accumulate); break;
    }
}

static float fma_peak(uint64_t rounds)
{
    __m512 sum[QN_PEAK_SUMS];
    const __m512 factor = _mm512_set1_ps(0.999999f), term = _mm512_set1_ps(1e-9f);
#pragma GCC unroll 12
    for (int i = 0; i < QN_PEAK_SUMS; i++) sum[i] = _mm512_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < QN_PEAK_SUMS; i++) sum[i] = _mm512_fmadd_ps(sum[i], factor, term);
    }
    float total = 0.0f;
    for (int i = 0; i < QN_PEAK_SUMS; i++) total += _mm512_reduce_add_ps(sum[i]);
    return total;
}

void qn_use_gemm_avx512(qn_kernels *k)
{
    k->gemm_tile = gemm_tile;
    k->tile_unit = 1;
    k->fma_peak = fma_peak;
    k->vector_floats = WIDTH;
}
