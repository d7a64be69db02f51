/* Integers with a scale for each group of a row: what int4 and int8 checkpoints
 * hold.  Round to nearest, in float32 throughout, without libm: the same
 * integers on every machine.  docs/formats/packed-write.md has the formulas
 * beside the quantizers that they equal.
 *
 * A group's range is lo = min(x), hi = max(x) (with 0 in it but for
 * QN_GRID_BIAS), times a factor f; n = 2^bits - 1, h = 2^(bits-1):
 *
 *   SYMMETRIC    scale = max(-lo, hi) / (n / 2)       zero = h
 *   ZERO_POINT   scale = (hi - lo) / n                zero = h + rint(-h - lo / scale)
 *   ZERO_FROM_1  as ZERO_POINT; where zero would be 0, zero = 1, scale = hi / (n - 1)
 *                code = rint(x / scale' + (zero - h)) + h,    value = scale' (code - zero)
 *   BIAS         MLX's: one end of the range, and 0 if it can be, are exact
 *                code = rint((x - bias) / scale),             value = scale' code + bias'
 *
 * with codes clamped to 0..n; ' is what is left of a number in scale_dtype.  A
 * scale' of 0 becomes that type's epsilon.  f is 1, or of 1, 63/64 .. 1/4 the
 * first with the least sum of (value - x)^2 (QN_CLIP_MSE). */
#ifndef QN_QUANT_GROUPWISE_H
#define QN_QUANT_GROUPWISE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/dtype.h"

typedef enum {
    QN_GRID_SYMMETRIC,
    QN_GRID_ZERO_POINT,
    QN_GRID_ZERO_FROM_1, /* GPTQ's first format cannot store a zero point of 0 */
    QN_GRID_BIAS
} qn_grid;

typedef enum { QN_CLIP_MINMAX, QN_CLIP_MSE } qn_clip;

typedef struct {
    qn_grid grid;
    qn_clip clip;
    unsigned bits;        /* 4 or 8 */
    uint64_t group;       /* columns that share a scale: a divisor of the row */
    qn_dtype scale_dtype; /* QN_F32, QN_F16 or QN_BF16 */
} qn_groupwise;

/* The numbers of one row, columns / group of each but for the codes. */
typedef struct {
    uint8_t *codes; /* columns of them, one a byte */
    float *scales;  /* exact in scale_dtype */
    uint8_t *zeros; /* but for QN_GRID_BIAS */
    float *biases;  /* exact in scale_dtype; only QN_GRID_BIAS */
} qn_groupwise_row;

/* x: `columns` finite values.  False when a scale or bias is beyond
 * scale_dtype; *bad_group is the first such group then. */
bool qn_groupwise_encode(const qn_groupwise *how, const float *x, uint64_t columns,
                         const qn_groupwise_row *out, uint64_t *bad_group);

/* The values that a reader gets, columns of them. */
void qn_groupwise_decode(const qn_groupwise *how, const qn_groupwise_row *row, uint64_t columns,
                         float *values);

#endif
