#include "validate/norm.h"

#include <math.h>

#define LANES 8

static double sum_of_squares(const float *x, size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++) lane[l] += (double)x[i + l] * (double)x[i + l];
    for (size_t l = 0; i < n; i++, l++) lane[l] += (double)x[i] * (double)x[i];
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static void scale_row(const float *x, float scale, const float *weight, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = x[i] * scale;
    for (size_t i = 0; i < n && weight; i++) out[i] *= weight[i];
}

void qn_rms_norm(const float *x, const float *weight, double eps, float *out, size_t n)
{
    scale_row(x, (float)(1.0 / sqrt(sum_of_squares(x, n) / (double)n + eps)), weight, out, n);
}

void qn_rms_norm_as_ggml(const float *x, const float *weight, double eps, float *out, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)(x[i] * x[i]);
    const float mean = (float)(sum / (double)n);
    scale_row(x, 1.0F / sqrtf(mean + (float)eps), weight, out, n);
}
