/* IQ4_NL and IQ4_XS: 4-bit codes for 16 uneven levels, the scale a float16 per
 * 32 weights or 6 bits per 32 under a float16 per 256
 * (ggml-quants.c: quantize_row_iq4_nl_impl with ntry = 7). */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/levels.h"
#include "kernels/scalar/iq4.h"
#include "kernels/scalar/scalar.h"
#include "kernels/scalar/search.h"

enum { GROUP = 32, HALF = 16, GROUPS = QN_SUPER / GROUP, SCALE_LEVELS = 32, TRIES = 7 };

#define ALL_ZERO 1e-15f

/* ---- decoding ---------------------------------------------------------------------- */

/* Weight j in the low nibble of byte j, weight j + 16 in the high one. */
static void decode_group(const uint8_t q[HALF], float d, float *out)
{
    for (int j = 0; j < HALF; j++) {
        out[j] = d * (float)qn_iq4_level[q[j] & 15];
        out[j + HALF] = d * (float)qn_iq4_level[q[j] >> 4];
    }
}

static void decode_iq4_nl(const void *blocks, float *out, size_t n)
{
    const qn_block_iq4_nl *b = blocks;
    for (size_t i = 0; i < n; i += GROUP, b++) decode_group(b->q, qn_half_value(b->d), out + i);
}

static void decode_iq4_xs(const void *blocks, float *out, size_t n)
{
    const qn_block_iq4_xs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        const float d = qn_half_value(b->d);
        for (int g = 0; g < GROUPS; g++) {
            const int low = b->scales_low[g / 2] >> (g % 2 * 4) & 15;
            const int high = b->scales_high >> (2 * g) & 3;
            const float scale = d * (float)((low | high << 4) - SCALE_LEVELS);
            decode_group(b->q + g * HALF, scale, out + i + g * GROUP);
        }
    }
}

/* ---- search ------------------------------------------------------------------------- */

/* NaN gets the last code, as in ggml's bisection. */
static int nearest_level(float v)
{
    int code = 0;
    for (int k = 0; k < 15; k++) code += !(v < qn_iq4_bound[k]);
    return code;
}

typedef struct {
    float xl, ll; /* sums of w*l*x and w*l*l */
} level_sums;

static level_sums try_scale(const float *x, const float *w, float inverse)
{
    level_sums sum = {0.0f, 0.0f};
    for (int j = 0; j < GROUP; j++) {
        const float level = (float)qn_iq4_level[nearest_level(inverse * x[j])];
        sum.xl += w[j] * level * x[j];
        sum.ll += w[j] * level * level;
    }
    return sum;
}

/* The scale d that minimises the sum of w * (x - d * level)^2 over 16 candidates
 * around the one that takes the largest weight to the lowest level. */
static float search_scale(const float *x, const float *w)
{
    const float most = qn_signed_max(x, GROUP), lowest = (float)qn_iq4_level[0];
    if (fabsf(most) < ALL_ZERO) return 0.0f;
    level_sums sum = try_scale(x, w, 1.0f / (-most / lowest));
    float d = sum.ll > 0.0f ? sum.xl / sum.ll : 0.0f, best = d * sum.xl;
    for (int k = -TRIES; k <= TRIES; k++) {
        sum = try_scale(x, w, ((float)k + lowest) / most);
        if (!(sum.ll > 0.0f && sum.xl * sum.xl > best * sum.ll)) continue;
        d = sum.xl / sum.ll;
        best = d * sum.xl;
    }
    return d;
}

/* n weights (32 or 256) that share a spread. */
static void search(const float *x, const float *importance, int n, float *scale)
{
    const float spread = qn_sum_of_squares(x, (size_t)n) * (2.0f / (float)n);
    for (int g = 0; g < n / GROUP; g++, x += GROUP) {
        float w[GROUP];
        if (importance)
            qn_weigh(x, importance + g * GROUP, spread, GROUP, w);
        else
            for (int j = 0; j < GROUP; j++) w[j] = x[j] * x[j];
        scale[g] = search_scale(x, w);
    }
}

/* ---- packing ------------------------------------------------------------------------- */

static float inverse_of(float step)
{
    return step != 0.0f ? 1.0f / step : 0.0f;
}

static void pack_group(const float *x, float inverse, uint8_t out[HALF])
{
    for (int j = 0; j < HALF; j++)
        out[j] =
            (uint8_t)(nearest_level(inverse * x[j]) | nearest_level(inverse * x[j + HALF]) << 4);
}

float qn_iq4_nl_round_scale(float scale, qn_block_iq4_nl *b)
{
    b->d = qn_half_of(scale);
    return inverse_of(scale);
}

void qn_iq4_xs_round_scales(const float scale[GROUPS], qn_block_iq4_xs *b, float inverse[GROUPS])
{
    const float d = -qn_signed_max(scale, GROUPS) / (float)SCALE_LEVELS, inverse_d = inverse_of(d);
    b->d = qn_half_of(d);
    b->scales_high = 0;
    memset(b->scales_low, 0, sizeof b->scales_low);
    for (int i = 0; i < GROUPS; i++) {
        const int l = qn_clamp(qn_nearest(inverse_d * scale[i]), -SCALE_LEVELS, SCALE_LEVELS - 1);
        const int code = l + SCALE_LEVELS;
        b->scales_low[i / 2] |= (uint8_t)((code & 15) << (i % 2 * 4));
        b->scales_high = (uint16_t)(b->scales_high | code >> 4 << (2 * i));
        inverse[i] = inverse_of(d * (float)l);
    }
}

static void encode_iq4_nl(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq4_nl *b = blocks;
    for (size_t i = 0; i < n; i += GROUP, b++) {
        float scale;
        search(x + i, weights ? weights + i : NULL, GROUP, &scale);
        pack_group(x + i, qn_iq4_nl_round_scale(scale, b), b->q);
    }
}

static void encode_iq4_xs(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq4_xs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        float scale[GROUPS], inverse[GROUPS];
        search(x + i, weights ? weights + i : NULL, QN_SUPER, scale);
        qn_iq4_xs_round_scales(scale, b, inverse);
        for (int g = 0; g < GROUPS; g++) pack_group(x + i + g * GROUP, inverse[g], b->q + g * HALF);
    }
}

void qn_use_scalar_iq4(qn_kernels *k)
{
    k->decode[QN_IQ4_NL] = decode_iq4_nl;
    k->decode[QN_IQ4_XS] = decode_iq4_xs;
    k->encode[QN_IQ4_NL] = encode_iq4_nl;
    k->encode[QN_IQ4_XS] = encode_iq4_xs;
}
