#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/scalar/exp.h"
#include "kernels/scalar/scalar.h"

enum { LANES = 16 };

static void pack(const float *x, size_t stride, size_t rows, size_t k, float *panel)
{
    for (size_t p = 0; p < k; p++)
        for (size_t r = 0; r < QN_PANEL; r++)
            panel[p * QN_PANEL + r] = r < rows ? x[r * stride + p] : 0.0f;
}

static void unpack_f32(const void *const *rows, const void *ahead, size_t n, float *panel)
{
    (void)ahead;
    for (size_t r = 0; r < QN_PANEL; r++) {
        const qn_f32_anywhere *row = rows[r];
        for (size_t p = 0; p < n; p++) panel[p * QN_PANEL + r] = row[p];
    }
}

static void token_f32(const void *const *rows, const void *ahead, const float *x, size_t n,
                      float *sums)
{
    (void)ahead;
    for (size_t r = 0; r < QN_PANEL; r++) {
        const qn_f32_anywhere *row = rows[r];
        for (size_t p = 0; p < n; p++) sums[r] = fmaf(x[p], row[p], sums[r]);
    }
}

static void gemm_tile(const float *a, size_t lda, size_t m, const float *panel, size_t k, float *c,
                      size_t ldc, bool accumulate)
{
    for (size_t i = 0; i < m; i++) {
        float *out = c + i * ldc;
        if (!accumulate) memset(out, 0, QN_PANEL * sizeof *out);
        for (size_t p = 0; p < k; p++)
            for (size_t j = 0; j < QN_PANEL; j++)
                out[j] = fmaf(a[i * lda + p], panel[p * QN_PANEL + j], out[j]);
    }
}

static float fold(float lane[LANES])
{
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

static float dot(const float *x, const float *w, size_t n)
{
    float lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) lane[i % LANES] = fmaf(x[i], w[i], lane[i % LANES]);
    return fold(lane);
}

static double sum_of_squares(const float *x, size_t n)
{
    enum { DOUBLES = 8 };
    double lane[DOUBLES] = {0};
    for (size_t i = 0; i < n; i++) lane[i % DOUBLES] += (double)x[i] * (double)x[i];
    for (size_t half = DOUBLES / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

static void rms_norm(const float *x, const float *weight, double eps, float *out, size_t n)
{
    const float scale = (float)(1.0 / sqrt(sum_of_squares(x, n) / (double)n + eps));
    for (size_t i = 0; i < n; i++) out[i] = x[i] * scale * (weight ? weight[i] : 1.0f);
}

static void axpy(float a, const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = fmaf(a, x[i], y[i]);
}

float qn_exp_scalar(float x)
{
    if (!(x >= QN_EXP_LEAST)) return x != x ? x : 0.0f;
    if (x > QN_EXP_MOST) x = QN_EXP_MOST;
    const float shifted = fmaf(x, QN_EXP_LOG2E, QN_EXP_ROUND);
    const float n = shifted - QN_EXP_ROUND;
    float r = fmaf(n, -QN_EXP_LN2_HI, x);
    r = fmaf(n, -QN_EXP_LN2_LO, r);
    float p = QN_EXP_P5;
    p = fmaf(p, r, QN_EXP_P4);
    p = fmaf(p, r, QN_EXP_P3);
    p = fmaf(p, r, QN_EXP_P2);
    p = fmaf(p, r, QN_EXP_P1);
    p = fmaf(p, r, QN_EXP_P0);
    p = fmaf(p, r * r, r) + 1.0f;
    /* times 2^n: n is in the low bits of shifted */
    return qn_float_of_bits(qn_float_bits(p) + (qn_float_bits(shifted) << 23));
}

static float exp_sum(float *x, float shift, size_t n)
{
    float lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        x[i] = qn_exp_scalar(x[i] - shift);
        lane[i % LANES] += x[i];
    }
    return fold(lane);
}

static float largest(const float *x, size_t n)
{
    float most = x[0];
    for (size_t i = 1; i < n; i++)
        if (x[i] > most) most = x[i];
    return most;
}

/* 1 / (1 + e^-x), by e^-|x| so that nothing overflows. */
static float sigmoid(float x)
{
    const float e = qn_exp_scalar(-fabsf(x));
    return (x >= 0.0f ? 1.0f : e) / (1.0f + e);
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) gate[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

static void gelu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float x = gate[i];
        gate[i] = x * sigmoid(x * fmaf(x * x, QN_GELU_C3, QN_GELU_C1)) * up[i];
    }
}

static float hyperbolic_tangent(float y)
{
    const float a = fabsf(y), square = y * y;
    if (a < QN_TANH_NEAR) {
        float p = fmaf(square, QN_TANH_P4, QN_TANH_P3);
        p = fmaf(p, square, QN_TANH_P2);
        p = fmaf(p, square, QN_TANH_P1);
        p = fmaf(p, square, QN_TANH_P0);
        return fmaf(p * square, y, y);
    }
    const float e = qn_exp_scalar(-2.0f * a);
    return copysignf((1.0f - e) / (1.0f + e), y);
}

static void soft_cap(float *x, float cap, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = hyperbolic_tangent(x[i] / cap) * cap;
}

static void add_squares(const float *x, size_t stride, size_t rows, double *sums, size_t n)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            sums[j] += (double)x[i * stride + j] * (double)x[i * stride + j];
}

static void add_low_rank(double scale, const double *a, size_t lda, size_t m, const float *b,
                         size_t ldb, size_t k, double *d, size_t ldd, size_t n)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j += QN_LOW_RANK_COLUMNS) {
            double sum[QN_LOW_RANK_COLUMNS] = {0};
            for (size_t p = 0; p < k; p++)
                for (size_t c = 0; c < QN_LOW_RANK_COLUMNS; c++)
                    sum[c] += a[i * lda + p] * (double)b[p * ldb + j + c];
            for (size_t c = 0; c < QN_LOW_RANK_COLUMNS; c++) d[i * ldd + j + c] += scale * sum[c];
        }
}

static void add_doubles(const double *d, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)((double)x[i] + d[i]);
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((qn_float_bits(x[i]) & 0x7f800000) == 0x7f800000) return false;
    return true;
}

static float fma_peak(uint64_t rounds)
{
    float sum[QN_PEAK_SUMS], total = 0.0f;
    for (int i = 0; i < QN_PEAK_SUMS; i++) sum[i] = (float)i;
    for (uint64_t r = 0; r < rounds; r++)
        for (int i = 0; i < QN_PEAK_SUMS; i++) sum[i] = fmaf(sum[i], 0.999999f, 1e-9f);
    for (int i = 0; i < QN_PEAK_SUMS; i++) total += sum[i];
    return total;
}

void qn_use_scalar_math(qn_kernels *k)
{
    k->pack = pack;
    k->unpack[QN_F32] = unpack_f32;
    k->token[QN_F32] = token_f32;
    k->gemm_tile = gemm_tile;
    k->tile_unit = 1;
    k->dot = dot;
    k->rms_norm = rms_norm;
    k->axpy = axpy;
    k->exp_sum = exp_sum;
    k->max = largest;
    k->silu_mul = silu_mul;
    k->gelu_mul = gelu_mul;
    k->soft_cap = soft_cap;
    k->add_squares = add_squares;
    k->add_low_rank = add_low_rank;
    k->add_doubles = add_doubles;
    k->finite = all_finite;
    k->fma_peak = fma_peak;
    k->vector_floats = 1;
}
