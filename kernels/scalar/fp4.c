/* MXFP4 and NVFP4: 4-bit floats (E2M1) under a scale that is a power of two per
 * 32 (OCP Microscaling Formats, v1.0) or an unsigned E4M3 per 16
 * (ggml-quants.c: quantize_row_mxfp4_ref, quantize_row_nvfp4_ref).  Neither
 * heeds importance. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/levels.h"
#include "kernels/scalar/fp4.h"
#include "kernels/scalar/scalar.h"
#include "kernels/scalar/search.h"

enum { MX = 32, NV = 64, NV_GROUP = 16 };

/* ---- codes ------------------------------------------------------------------------- */

uint8_t qn_fp4_code(float x, float d)
{
    int best = 0;
    float least = fabsf(x);
    for (int i = 1; i < 8; i++) {
        const float error = fabsf((float)qn_fp4_level[i] * d - fabsf(x));
        if (!(error < least)) continue;
        least = error;
        best = i;
    }
    return (uint8_t)(best && x < 0.0f ? best | 8 : best);
}

/* Pairs (j, j + half) in a byte. */
static void pack(const float *x, float d, int half, uint8_t *out)
{
    for (int j = 0; j < half; j++)
        out[j] = (uint8_t)(qn_fp4_code(x[j], d) | qn_fp4_code(x[j + half], d) << 4);
}

static void unpack(const uint8_t *in, float d, int half, float *out)
{
    for (int j = 0; j < half; j++) {
        out[j] = (float)qn_fp4_level[in[j] & 15] * d;
        out[j + half] = (float)qn_fp4_level[in[j] >> 4] * d;
    }
}

/* ---- MXFP4 --------------------------------------------------------------------------- */

/* e < 2 gives subnormals, and 255 is no number in E8M0. */
float qn_mxfp4_scale(uint8_t e)
{
    return qn_float_of_bits(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

/* floorf(log2f(v)) for v > 0 from the bits, log2f correctly rounded: just below
 * 2^n the logarithm rounds up to n when n - log2(v) = m * 2^-24 / ln 2 is at most
 * half of the spacing of floats there, 2^(s - 24), where m counts the floats
 * from v to 2^n and s is the exponent of the floats below n. */
static int floor_log2(float v)
{
    static const uint8_t most_m[8] = {0, 1, 2, 5, 11, 22, 44, 88}; /* 2^s * ln 2 */
    int exponent = -127;
    if (v < 0x1p-126f) { /* subnormal */
        v *= 0x1p23f;
        exponent -= 23;
    }
    const uint32_t bits = qn_float_bits(v);
    exponent += (int)(bits >> 23);
    const int n = exponent + 1, below = n > 0 ? n - 1 : -n;
    if (below == 0) return exponent;
    int s = 0;
    while (below >> (s + 1)) s++;
    return exponent + (0x800000 - (bits & 0x7fffff) <= most_m[s]);
}

/* Of a subnormal block e wraps around, as ggml's does on x86; its codes are 0. */
uint8_t qn_mxfp4_exponent(float most)
{
    return most > 0.0f ? (uint8_t)(floor_log2(most) - 2 + 127) : 0;
}

static void decode_mxfp4(const void *blocks, float *out, size_t n)
{
    const qn_block_mxfp4 *b = blocks;
    for (size_t i = 0; i < n; i += MX, b++) unpack(b->q, qn_mxfp4_scale(b->e), MX / 2, out + i);
}

static void encode_mxfp4(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_mxfp4 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += MX, b++) {
        const float most = fabsf(qn_signed_max(x + i, MX));
        b->e = qn_mxfp4_exponent(most);
        pack(x + i, qn_mxfp4_scale(b->e), MX / 2, b->q);
    }
}

/* ---- NVFP4 --------------------------------------------------------------------------- */

/* 0x7f is no number. */
float qn_nvfp4_scale(uint8_t bits)
{
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    if (bits == 0x7f) return 0.0f;
    if (exponent == 0) return (float)mantissa * 0x1p-10f;
    return qn_float_of_bits((uint32_t)(exponent + 127 - 8) << 23 | (uint32_t)mantissa << 20);
}

uint8_t qn_nvfp4_scale_of(float v)
{
    enum { MOST = 0x7e, TOO_LARGE = 15 << 3 };
    if (!(v > 0.0f)) return 0;
    if (v >= 256.0f) return MOST;
    const int exponent = (int)(qn_float_bits(v) >> 23) - 127 + 7;
    if (exponent <= 0) {
        const int mantissa = (int)(v * 512.0f + 0.5f);
        return (uint8_t)(mantissa < 7 ? mantissa : 7);
    }
    /* the carry out of the mantissa is a step of the exponent */
    const int rounded = exponent << 3 | (int)(qn_float_bits(v) >> 20 & 7);
    const int code = rounded + (int)(qn_float_bits(v) >> 19 & 1);
    return (uint8_t)(code < TOO_LARGE ? code : MOST);
}

static void decode_nvfp4(const void *blocks, float *out, size_t n)
{
    const qn_block_nvfp4 *b = blocks;
    for (size_t i = 0; i < n; i += NV, b++)
        for (int g = 0; g < NV / NV_GROUP; g++)
            unpack(b->q + g * NV_GROUP / 2, qn_nvfp4_scale(b->scale[g]), NV_GROUP / 2,
                   out + i + g * NV_GROUP);
}

static void encode_nvfp4(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_nvfp4 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += NV, b++)
        for (int g = 0; g < NV / NV_GROUP; g++) {
            const float *group = x + i + g * NV_GROUP;
            b->scale[g] = qn_nvfp4_scale_of(fabsf(qn_signed_max(group, NV_GROUP)) / 6.0f);
            pack(group, qn_nvfp4_scale(b->scale[g]), NV_GROUP / 2, b->q + g * NV_GROUP / 2);
        }
}

void qn_use_scalar_fp4(qn_kernels *k)
{
    k->decode[QN_MXFP4] = decode_mxfp4;
    k->decode[QN_NVFP4] = decode_nvfp4;
    k->encode[QN_MXFP4] = encode_mxfp4;
    k->encode[QN_NVFP4] = encode_nvfp4;
}
