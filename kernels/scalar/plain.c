/* Encodings of one element a block. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/scalar/scalar.h"

static void decode_f32(const void *blocks, float *out, size_t n)
{
    memcpy(out, blocks, n * sizeof *out);
}

static void encode_f32(const float *x, const float *weights, void *blocks, size_t n)
{
    (void)weights;
    memcpy(blocks, x, n * sizeof *x);
}

static void decode_f64(const void *blocks, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double v;
        memcpy(&v, (const char *)blocks + i * sizeof v, sizeof v);
        out[i] = (float)v;
    }
}

static void decode_f16(const void *blocks, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        qn_half h;
        memcpy(&h, (const char *)blocks + i * sizeof h, sizeof h);
        out[i] = qn_half_value(h);
    }
}

static void encode_f16(const float *x, const float *weights, void *blocks, size_t n)
{
    (void)weights;
    for (size_t i = 0; i < n; i++) {
        const qn_half h = qn_half_of(x[i]);
        memcpy((char *)blocks + i * sizeof h, &h, sizeof h);
    }
}

static void decode_bf16(const void *blocks, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        qn_bfloat16 b;
        memcpy(&b, (const char *)blocks + i * sizeof b, sizeof b);
        out[i] = qn_bfloat16_value(b);
    }
}

static void encode_bf16(const float *x, const float *weights, void *blocks, size_t n)
{
    (void)weights;
    for (size_t i = 0; i < n; i++) {
        const qn_bfloat16 b = qn_bfloat16_of(x[i]);
        memcpy((char *)blocks + i * sizeof b, &b, sizeof b);
    }
}

/* Eight-bit floats after the OCP OFP8 specification: E5M2 has IEEE's
 * infinities and NaNs (it is float16's upper half), E4M3 ("fn") has no
 * infinity and one NaN of each sign, E8M0 is 2^(e - 127), 255 a NaN. */

static void decode_e5m2(const void *blocks, float *out, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = qn_half_value((qn_half)(p[i] << 8));
}

static void decode_e4m3(const void *blocks, float *out, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = qn_e4m3_value(p[i]);
}

static void decode_e8m0(const void *blocks, float *out, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = p[i] == 255 ? NAN : p[i] ? qn_float_of_bits((uint32_t)p[i] << 23) : 0x1p-127f;
}

/* E2M1, the first element of a byte in its low nibble (OCP MX). */
static void decode_f4(const void *blocks, float *out, size_t n)
{
    static const float value[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                    -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = value[p[i / 2] >> (i % 2 * 4) & 15];
}

void qn_use_scalar_plain(qn_kernels *k)
{
    k->decode[QN_F32] = decode_f32;
    k->decode[QN_F64] = decode_f64;
    k->decode[QN_F16] = decode_f16;
    k->decode[QN_BF16] = decode_bf16;
    k->decode[QN_F8_E5M2] = decode_e5m2;
    k->decode[QN_F8_E4M3] = decode_e4m3;
    k->decode[QN_F8_E8M0] = decode_e8m0;
    k->decode[QN_F4] = decode_f4;
    k->encode[QN_F32] = encode_f32;
    k->encode[QN_F16] = encode_f16;
    k->encode[QN_BF16] = encode_bf16;
}
