/* float16 and bfloat16 to float32 and back, by their bits: IEEE rounding to
 * nearest even, subnormals kept, the same everywhere. */
#ifndef QN_KERNELS_HALF_H
#define QN_KERNELS_HALF_H

#include <string.h>

#include "kernels/blocks.h"

static inline uint32_t qn_float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float qn_float_of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* NaNs come out quiet, as F16C makes them. */
static inline float qn_half_value(qn_half h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent == 0) /* steps of 2^-24: exact in float32 */
        return qn_float_of_bits(sign | qn_float_bits((float)mantissa * 0x1p-24f));
    if (exponent == 31)
        return qn_float_of_bits(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
    return qn_float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* 65520 and up become infinity; any NaN becomes the quiet one of its sign. */
static inline qn_half qn_half_of(float f)
{
    uint32_t u = qn_float_bits(f);
    const uint32_t sign = (u >> 16) & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return (qn_half)(sign | 0x7e00);
    if (u >= 0x477ff000) return (qn_half)(sign | 0x7c00);
    if (u < 0x38800000) { /* below 2^-14: the sum with 0.5 has steps of 2^-24 */
        const float sum = qn_float_of_bits(u) + 0.5f;
        return (qn_half)(sign | (qn_float_bits(sum) - 0x3f000000));
    }
    u += 0xfff + ((u >> 13) & 1);
    return (qn_half)(sign | (u - 0x38000000) >> 13);
}

static inline float qn_bfloat16_value(qn_bfloat16 b)
{
    return qn_float_of_bits((uint32_t)b << 16);
}

static inline qn_bfloat16 qn_bfloat16_of(float f)
{
    const uint32_t u = qn_float_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (qn_bfloat16)(u >> 16 | 64);
    return (qn_bfloat16)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* OCP OFP8's E4M3 ("fn"): no infinity, one NaN of each sign. */
static inline float qn_e4m3_value(uint8_t b)
{
    const uint32_t sign = (uint32_t)(b & 0x80) << 24, exponent = (b >> 3) & 15, mantissa = b & 7;
    if ((b & 0x7f) == 0x7f) return qn_float_of_bits(sign | 0x7fc00000);
    if (!exponent) return qn_float_of_bits(sign | qn_float_bits((float)mantissa * 0x1p-9f));
    return qn_float_of_bits(sign | (exponent + 120) << 23 | mantissa << 20);
}

#endif
