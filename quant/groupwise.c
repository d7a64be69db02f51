#include "quant/groupwise.h"

#include <math.h>

#include "kernels/half.h"

/* Loops go by so many values at a time, for the compiler to make vectors of;
 * sums have a lane for each, so their bits do not depend on the vectors. */
enum { LANES = 16 };

/* Adding it rounds to the nearest integer, ties to even, and leaves the integer
 * in the low bits: 1.5 * 2^23, good for values up to 2^22. */
static const float ROUNDING = 12582912.0f;

/* Factors of the search are i / STEPS for i = STEPS down to LEAST. */
enum { STEPS = 64, LEAST = 16 };

/* What values of a group become codes with:
 * rint((x - shift) / scale + offset), between lowest and lowest + levels. */
typedef struct {
    float scale, shift, offset, lowest;
    float stored_scale, stored_bias;
    uint8_t zero;
} grid;

typedef struct {
    float lo, hi;
} range;

static float levels_of(const qn_groupwise *how)
{
    return how->bits == 8 ? 255.0f : 15.0f;
}

static float half_of(const qn_groupwise *how)
{
    return how->bits == 8 ? 128.0f : 8.0f;
}

static float larger(float a, float b)
{
    return a > b ? a : b;
}

static float smaller(float a, float b)
{
    return a < b ? a : b;
}

/* To the nearest integer, ties to even, whatever the size of v. */
static float nearest(float v)
{
    const float two_23 = 8388608.0f;
    const float size = fabsf(v);
    if (!(size < two_23)) return v;
    const float rounded = (size + two_23) - two_23;
    return v < 0 ? -rounded : rounded;
}

static float as_stored(qn_dtype t, float v)
{
    if (t == QN_F16) return qn_half_value(qn_half_of(v));
    if (t == QN_BF16) return qn_bfloat16_value(qn_bfloat16_of(v));
    return v;
}

/* The difference of 1 and the next number: what compressed-tensors puts where a
 * scale is 0. */
static float epsilon_of(qn_dtype t)
{
    return t == QN_F16 ? 0x1p-10f : t == QN_BF16 ? 0x1p-7f : 0x1p-23f;
}

/* ---- the range -------------------------------------------------------------------- */

static range range_of(const float *x, uint64_t n)
{
    float lo[LANES], hi[LANES];
    uint64_t i = 0;
    for (unsigned j = 0; j < LANES; j++) lo[j] = hi[j] = x[0];
    for (; i + LANES <= n; i += LANES)
        for (unsigned j = 0; j < LANES; j++) {
            lo[j] = smaller(x[i + j], lo[j]);
            hi[j] = larger(x[i + j], hi[j]);
        }
    range r = {lo[0], hi[0]};
    for (unsigned j = 1; j < LANES; j++) {
        r.lo = smaller(lo[j], r.lo);
        r.hi = larger(hi[j], r.hi);
    }
    for (; i < n; i++) {
        r.lo = smaller(x[i], r.lo);
        r.hi = larger(x[i], r.hi);
    }
    return r;
}

/* ---- from a range to a grid --------------------------------------------------------- */

static void store_scale(const qn_groupwise *how, float scale, grid *g)
{
    g->stored_scale = as_stored(how->scale_dtype, scale);
    if (g->stored_scale == 0) g->stored_scale = epsilon_of(how->scale_dtype);
    g->scale = g->stored_scale;
}

static grid symmetric(const qn_groupwise *how, range r)
{
    const float half = half_of(how);
    grid g = {.lowest = -half, .zero = (uint8_t)half};
    store_scale(how, larger(-r.lo, r.hi) / (levels_of(how) / 2), &g);
    return g;
}

/* The zero point belongs to the scale before it is rounded, as in
 * compressed-tensors' calculate_qparams. */
static grid with_zero_point(const qn_groupwise *how, range r)
{
    const float levels = levels_of(how), half = half_of(how);
    grid g = {.lowest = -half};
    float scale = (r.hi - r.lo) / levels;
    float zero = scale == 0 ? -half : -half - r.lo / scale;
    zero = nearest(smaller(larger(zero, -half), half - 1));
    if (how->grid == QN_GRID_ZERO_FROM_1 && zero == -half && isfinite(scale)) {
        zero = 1 - half;
        scale = r.hi / (levels - 1);
    }
    store_scale(how, scale, &g);
    g.offset = zero;
    g.zero = (uint8_t)(zero + half);
    return g;
}

/* mx.quantize, affine (mlx/backend/cpu/quantized.cpp): the end of the range
 * that is farther from 0 is the bias, and the scale is such that 0 is a
 * multiple of it.  Codes are of the numbers before they are rounded. */
static grid with_bias(const qn_groupwise *how, range r)
{
    const float least = 1e-7f;
    const bool from_below = fabsf(r.lo) > fabsf(r.hi);
    float scale = larger((r.hi - r.lo) / levels_of(how), least), bias = 0;
    if (!from_below) scale = -scale;
    const float edge = from_below ? r.lo : r.hi;
    const float steps = nearest(edge / scale);
    if (steps != 0) {
        scale = edge / steps;
        bias = edge;
    }
    return (grid){.scale = scale,
                  .shift = bias,
                  .stored_scale = as_stored(how->scale_dtype, scale),
                  .stored_bias = as_stored(how->scale_dtype, bias)};
}

static grid grid_of(const qn_groupwise *how, range r, float factor)
{
    r.lo *= factor;
    r.hi *= factor;
    if (how->grid == QN_GRID_BIAS) return with_bias(how, r);
    r.lo = smaller(r.lo, 0);
    r.hi = larger(r.hi, 0);
    return how->grid == QN_GRID_SYMMETRIC ? symmetric(how, r) : with_zero_point(how, r);
}

/* ---- from a grid to codes ------------------------------------------------------------- */

/* The code's distance from the lowest, as a float that ROUNDING was added to. */
static inline float rounded(const grid *g, float highest, float x)
{
    const float v = (x - g->shift) / g->scale + g->offset;
    return smaller(larger(v, g->lowest), highest) + ROUNDING;
}

static void codes_of(const grid *g, float levels, const float *x, uint64_t n, uint8_t *codes)
{
    const float highest = g->lowest + levels;
    const grid mine = *g;
    const uint32_t base = qn_float_bits(ROUNDING + g->lowest);
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (unsigned j = 0; j < LANES; j++)
            codes[i + j] = (uint8_t)(qn_float_bits(rounded(&mine, highest, x[i + j])) - base);
    for (; i < n; i++) codes[i] = (uint8_t)(qn_float_bits(rounded(&mine, highest, x[i])) - base);
}

/* (value - x)^2 of what a reader will see of x. */
static inline float squared(const grid *g, float highest, float zero, float x)
{
    const float code = rounded(g, highest, x) - ROUNDING;
    const float d = g->stored_scale * (code - zero) + g->stored_bias - x;
    return d * d;
}

static float squared_error(const grid *g, float levels, const float *x, uint64_t n)
{
    const float highest = g->lowest + levels, zero = g->offset;
    const grid mine = *g;
    float sums[LANES] = {0};
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (unsigned j = 0; j < LANES; j++) sums[j] += squared(&mine, highest, zero, x[i + j]);
    for (; i < n; i++) sums[i % LANES] += squared(&mine, highest, zero, x[i]);
    for (unsigned step = LANES / 2; step; step /= 2)
        for (unsigned j = 0; j < step; j++) sums[j] += sums[j + step];
    return sums[0];
}

static grid best_grid(const qn_groupwise *how, range r, const float *x, uint64_t n)
{
    const float levels = levels_of(how);
    grid best = grid_of(how, r, 1);
    if (how->clip == QN_CLIP_MINMAX) return best;
    float least = squared_error(&best, levels, x, n);
    for (int i = STEPS - 1; i >= LEAST; i--) {
        const grid g = grid_of(how, r, (float)i / STEPS);
        const float error = squared_error(&g, levels, x, n);
        if (!(error < least)) continue;
        least = error;
        best = g;
    }
    return best;
}

/* ---- rows ------------------------------------------------------------------------------- */

bool qn_groupwise_encode(const qn_groupwise *how, const float *x, uint64_t columns,
                         const qn_groupwise_row *out, uint64_t *bad_group)
{
    const uint64_t n = how->group;
    for (uint64_t i = 0; i < columns / n; i++) {
        const float *values = x + i * n;
        const grid g = best_grid(how, range_of(values, n), values, n);
        if (!isfinite(g.stored_scale) || !isfinite(g.stored_bias)) {
            *bad_group = i;
            return false;
        }
        codes_of(&g, levels_of(how), values, n, out->codes + i * n);
        out->scales[i] = g.stored_scale;
        if (how->grid == QN_GRID_BIAS)
            out->biases[i] = g.stored_bias;
        else
            out->zeros[i] = g.zero;
    }
    return true;
}

void qn_groupwise_decode(const qn_groupwise *how, const qn_groupwise_row *row, uint64_t columns,
                         float *values)
{
    const bool biased = how->grid == QN_GRID_BIAS;
    for (uint64_t i = 0; i < columns / how->group; i++) {
        const uint8_t *codes = row->codes + i * how->group;
        const float scale = row->scales[i], zero = biased ? 0 : (float)row->zeros[i];
        const float bias = biased ? row->biases[i] : 0;
        float *to = values + i * how->group;
        for (uint64_t j = 0; j < how->group; j++) to[j] = scale * ((float)codes[j] - zero) + bias;
    }
}
