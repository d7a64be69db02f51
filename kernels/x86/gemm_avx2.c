/* The micro-kernel for AVX2: three rows of activations by 32 columns in twelve
 * accumulators, which leaves registers for three broadcasts and a load, and
 * reads the panel from end to end as the prefetchers like it; and the packing. */
#include <immintrin.h>

#include "kernels/x86/x86.h"

enum {
    WIDTH = 8,
    VECTORS = QN_PANEL / WIDTH,
    ROWS = 3,
    LINE = 16,
    AHEAD = 8 /* panel rows fetched early */
};

/* m is a constant at every call, so the loops unroll and sums stay in
 * registers. */
static inline __attribute__((always_inline)) void rows_by_panel(const size_t m, const float *a,
                                                                size_t lda, const float *panel,
                                                                size_t k, float *c, size_t ldc,
                                                                bool accumulate)
{
    __m256 sum[ROWS][VECTORS];
#pragma GCC unroll 3
    for (size_t i = 0; i < m; i++)
#pragma GCC unroll 4
        for (size_t j = 0; j < VECTORS; j++)
            sum[i][j] = accumulate ? _mm256_loadu_ps(c + i * ldc + j * WIDTH) : _mm256_setzero_ps();
#pragma GCC unroll 3
    for (size_t i = 0; i < m; i++)
#pragma GCC unroll 3
        for (size_t j = 0; j <= QN_PANEL; j += LINE)
            _mm_prefetch((const char *)(c + i * ldc + QN_PANEL + j), _MM_HINT_T0);
    for (size_t p = 0; p < k; p++, panel += QN_PANEL) {
        __m256 x[ROWS];
        _mm_prefetch((const char *)(panel + AHEAD * QN_PANEL), _MM_HINT_T0);
        _mm_prefetch((const char *)(panel + AHEAD * QN_PANEL + QN_PANEL / 2), _MM_HINT_T0);
#pragma GCC unroll 3
        for (size_t i = 0; i < m; i++) x[i] = _mm256_broadcast_ss(a + i * lda + p);
#pragma GCC unroll 4
        for (size_t j = 0; j < VECTORS; j++) {
            const __m256 w = _mm256_loadu_ps(panel + j * WIDTH);
#pragma GCC unroll 3
            for (size_t i = 0; i < m; i++) sum[i][j] = _mm256_fmadd_ps(x[i], w, sum[i][j]);
        }
    }
#pragma GCC unroll 3
    for (size_t i = 0; i < m; i++)
#pragma GCC unroll 4
        for (size_t j = 0; j < VECTORS; j++) _mm256_storeu_ps(c + i * ldc + j * WIDTH, sum[i][j]);
}

/* Three rows at a time; of four left two, since one alone would wait for its
 * four sums. */
static void gemm_tile(const float *a, size_t lda, size_t m, const float *panel, size_t k, float *c,
                      size_t ldc, bool accumulate)
{
    for (; m > 4 || m == 3; m -= ROWS, a += ROWS * lda, c += ROWS * ldc)
        rows_by_panel(3, a, lda, panel, k, c, ldc, accumulate);
    for (; m > 1; m -= 2, a += 2 * lda, c += 2 * ldc)
        rows_by_panel(2, a, lda, panel, k, c, ldc, accumulate);
    if (m) rows_by_panel(1, a, lda, panel, k, c, ldc, accumulate);
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

/* All rows of a few columns, so that what is read and what is written are whole
 * lines of a cache. */
static void pack(const float *x, size_t stride, size_t rows, size_t k, float *panel)
{
    for (size_t p = 0; p < k; p += LINE) {
        const size_t end = k - p < LINE ? k : p + LINE;
        for (size_t r = 0; r < QN_PANEL; r += 8) {
            const size_t here = rows > r ? rows - r : 0;
            const float *from = x + r * stride;
            size_t q = p;
            for (size_t i = 0; i < 8 && i < here; i++)
                _mm_prefetch((const char *)(from + i * stride + p + 2 * LINE), _MM_HINT_T0);
            for (; here >= 8 && q + 8 <= end; q += 8)
                transpose8(from + q, stride, panel + q * QN_PANEL + r);
            pack_rows(from, stride, here, q, end, panel + r);
        }
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
    k->tile_unit = ROWS;
    k->pack = pack;
    k->fma_peak = fma_peak;
    k->vector_floats = WIDTH;
}
