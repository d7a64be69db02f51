#include "validate/rope.h"

#include <math.h>

#include "validate/reals.h"

#define PI 3.14159265358979323846

/* The pair, as a real number, that turns so many times over the original
 * context (transformers, find_correction_dim). */
static double pair_that_turns(const qn_hparams *h, double turns)
{
    return (double)h->rope_dims * qn_log((double)h->rope_original_ctx / (turns * 2.0 * PI)) /
           (2.0 * qn_log(h->rope_theta));
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* transformers, get_mscale. */
static double growth(const qn_hparams *h, double mscale)
{
    return h->rope_factor > 1.0 ? 0.1 * mscale * qn_log(h->rope_factor) + 1.0 : 1.0;
}

/* Returns what cosines and sines are multiplied by. */
static float scale_yarn(const qn_hparams *h, float *frequency)
{
    const double fast = h->yarn_beta_fast > 0.0 ? h->yarn_beta_fast : 32.0;
    const double slow = h->yarn_beta_slow > 0.0 ? h->yarn_beta_slow : 1.0;
    const double last = (double)h->rope_dims - 1.0;
    const double begin = pair_that_turns(h, fast), end = pair_that_turns(h, slow);
    const double low = clamp(h->yarn_untruncated ? begin : floor(begin), 0.0, last);
    double high = clamp(h->yarn_untruncated ? end : ceil(end), 0.0, last);
    if (low == high) high += 0.001; /* as transformers: no division by zero */
    for (size_t j = 0; j < h->rope_dims / 2; j++) {
        const float ramp = (float)clamp(((double)j - low) / (high - low), 0.0, 1.0);
        const float stretched = frequency[j] / (float)h->rope_factor;
        frequency[j] = stretched * ramp + frequency[j] * (1.0F - ramp);
    }
    if (h->yarn_attn_factor > 0.0) return (float)h->yarn_attn_factor;
    if (h->yarn_mscale > 0.0 && h->yarn_mscale_all > 0.0)
        return (float)(growth(h, h->yarn_mscale) / growth(h, h->yarn_mscale_all));
    return (float)growth(h, 1.0);
}

void qn_rope_frequencies(const qn_hparams *h, const float *divisors, float *frequency,
                         float *factor)
{
    *factor = 1.0F;
    for (size_t j = 0; j < h->rope_dims / 2; j++) {
        const float power = (float)(2 * j) / (float)h->rope_dims;
        const float wide = (float)qn_power(h->rope_theta, (double)power);
        if (h->rope_scaling == QN_ROPE_LONGROPE) {
            frequency[j] = 1.0F / (divisors[j] * wide);
            continue;
        }
        frequency[j] = 1.0F / wide;
        if (divisors) frequency[j] /= divisors[j];
    }
    if (h->rope_scaling == QN_ROPE_LINEAR)
        for (size_t j = 0; j < h->rope_dims / 2; j++) frequency[j] /= (float)h->rope_factor;
    if (h->rope_scaling == QN_ROPE_LONGROPE) *factor = (float)h->longrope_factor;
    if (h->rope_scaling == QN_ROPE_YARN) *factor = scale_yarn(h, frequency);
}

void qn_rope_turns(const float *frequency, size_t dims, float factor, uint64_t first, size_t n,
                   float *turns)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < dims / 2; j++) {
            double sine, cosine;
            qn_sine_cosine((double)(first + i) * (double)frequency[j], &sine, &cosine);
            turns[i * dims + 2 * j] = (float)cosine * factor;
            turns[i * dims + 2 * j + 1] = (float)sine * factor;
        }
    }
}

void qn_rope_rotate(const float *turn, size_t dims, float *x, size_t n_heads, size_t head_dim,
                    bool halves)
{
    const size_t step = halves ? 1 : 2, apart = halves ? dims / 2 : 1;
    for (size_t h = 0; h < n_heads; h++) {
        float *first = x + h * head_dim;
        for (size_t j = 0; j + 1 < dims; j += 2, first += step) {
            const float cosine = turn[j], sine = turn[j + 1], a = first[0], b = first[apart];
            first[0] = a * cosine - b * sine;
            first[apart] = a * sine + b * cosine;
        }
    }
}
