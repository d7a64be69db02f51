/* The searches for scale and minimum behind the quantizers, bit for bit those
 * of ggml's reference (ggml-quants.c, named at each).
 *
 * Everything is float32, each operation rounded, sums ascending from index 0:
 * the order is part of the format, since another order picks other codes. */
#ifndef QN_KERNELS_SCALAR_SEARCH_H
#define QN_KERNELS_SCALAR_SEARCH_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/half.h"

/* v rounded to the nearest integer, ties to even, for |v| < 2^22: the sum with
 * 1.5 * 2^23 has no fraction bits left.  Beyond that the low 23 bits of the sum
 * count, as in ggml's nearest_int, not the value. */
static inline int qn_nearest(float v)
{
    return (int)(qn_float_bits(v + 12582912.0f) & 0x7fffff) - 0x400000;
}

/* trunc(v), and INT32_MIN where that is no int32 (infinities of blocks so small
 * that 1 / d overflows): what x86's conversion gives, on every machine. */
static inline int32_t qn_truncate(float v)
{
    return v > -0x1p31f && v < 0x1p31f ? (int32_t)v : INT32_MIN;
}

static inline int qn_clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

/* To the nearest integer, halves away from zero (roundf without libm);
 * INT32_MIN where qn_truncate says so. */
static inline int32_t qn_round_away(float v)
{
    const int32_t whole = qn_truncate(v);
    if (whole == INT32_MIN) return whole;
    const float rest = v - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

static inline float qn_sum(const float *x, size_t n)
{
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

static inline float qn_sum_of_squares(const float *x, size_t n)
{
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

/* ggml's weight of an error: the column's importance times the root of a
 * typical square plus the value's own. */
static inline void qn_weigh(const float *x, const float *importance, float spread, size_t n,
                            float *w)
{
    for (size_t i = 0; i < n; i++) w[i] = importance[i] * sqrtf(spread + x[i] * x[i]);
}

/* The element of largest magnitude, the first of equals; 0 when all are 0. */
float qn_signed_max(const float *x, size_t n);

/* Symmetric codes (make_qx_quants, rmse_type 1): the scale s, and codes q in
 * 0..2*levels-1 standing for s * (q - levels), that minimise
 *     sum of w * (x - s * (q - levels))^2
 * over 19 candidates around -levels / signed max.  w NULL: x * x. */
float qn_search_symmetric(size_t n, int levels, const float *x, const float *w, uint8_t *q);

/* How qn_search_affine looks: candidates (first + step * k + top) / range for
 * k = 0..steps. */
typedef struct {
    int top; /* codes are 0..top */
    float first, step;
    int steps;
    bool absolute; /* sum w * |error| instead of w * error^2 */
} qn_affine_search;

/* Three-bit codes for 16 values (make_q3_quants): as above with levels = 4 and
 * w = x * x, but by coordinate descent from a single candidate. */
float qn_search_three_bits(const float *x, uint8_t *q);

/* Affine codes (make_qkx2_quants, make_qkx3_quants): s and minimum m >= 0 with
 * x ~ s * q - m, by least squares for each candidate's codes. */
float qn_search_affine(size_t n, const float *x, const float *w, const qn_affine_search *how,
                       uint8_t *q, float *m);

/* Codes 0..top for values x >= 0 (make_qp_quants): the scales and minima
 * themselves, weighted by their groups. */
float qn_search_positive(size_t n, int top, const float *x, const float *w, uint8_t *q);

#endif
