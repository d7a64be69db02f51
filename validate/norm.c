#include "validate/norm.h"

#include <math.h>

void qn_rms_norm_as_ggml(const float *x, const float *weight, double eps, float *out, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)(x[i] * x[i]);
    const float mean = (float)(sum / (double)n), scale = 1.0F / sqrtf(mean + (float)eps);
    for (size_t i = 0; i < n; i++) out[i] = x[i] * scale * (weight ? weight[i] : 1.0F);
}
