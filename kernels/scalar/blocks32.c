/* Blocks of 32 weights: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0
 * (ggml-quants.c: quantize_row_*_ref, quantize_row_*_impl). */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/scalar/blocks32.h"
#include "kernels/scalar/scalar.h"

enum { BLOCK = 32, HALF = 16 };

/* ---- packing --------------------------------------------------------------------- */

/* Weight j in the low nibble of byte j, weight j + 16 in the high one. */
static void pack_nibbles(const uint8_t *q, uint8_t *out)
{
    for (int j = 0; j < HALF; j++) out[j] = (uint8_t)((q[j] & 15) | (q[j + HALF] & 15) << 4);
}

static void pack_fifth_bits(const uint8_t *q, uint8_t out[4])
{
    memset(out, 0, 4);
    for (int j = 0; j < BLOCK; j++) out[j / 8] |= (uint8_t)((q[j] >> 4 & 1) << (j % 8));
}

static void unpack_nibbles(const uint8_t *in, uint8_t *q)
{
    for (int j = 0; j < HALF; j++) {
        q[j] = in[j] & 15;
        q[j + HALF] = in[j] >> 4;
    }
}

static void unpack_fifth_bits(const uint8_t in[4], uint8_t *q)
{
    for (int j = 0; j < BLOCK; j++) q[j] |= (uint8_t)((in[j / 8] >> (j % 8) & 1) << 4);
}

/* ---- decoding -------------------------------------------------------------------- */

static void decode_q4_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q4_0 *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        uint8_t q[BLOCK];
        const float d = qn_half_value(b->d);
        unpack_nibbles(b->q, q);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)(q[j] - 8) * d;
    }
}

static void decode_q4_1(const void *blocks, float *out, size_t n)
{
    const qn_block_q4_1 *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        uint8_t q[BLOCK];
        const float d = qn_half_value(b->d), m = qn_half_value(b->m);
        unpack_nibbles(b->q, q);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)q[j] * d + m;
    }
}

static void decode_q5_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q5_0 *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        uint8_t q[BLOCK];
        const float d = qn_half_value(b->d);
        unpack_nibbles(b->q, q);
        unpack_fifth_bits(b->high, q);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)(q[j] - 16) * d;
    }
}

static void decode_q5_1(const void *blocks, float *out, size_t n)
{
    const qn_block_q5_1 *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        uint8_t q[BLOCK];
        const float d = qn_half_value(b->d), m = qn_half_value(b->m);
        unpack_nibbles(b->q, q);
        unpack_fifth_bits(b->high, q);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)q[j] * d + m;
    }
}

static void decode_q8_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q8_0 *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        const float d = qn_half_value(b->d);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)b->q[j] * d;
    }
}

/* ---- plain rounding --------------------------------------------------------------- */

static float inverse_of(float d)
{
    return d != 0.0f ? 1.0f / d : 0.0f;
}

/* Codes min(top, trunc(x / d + levels + 0.5)) with d = signed max / -levels. */
static float round_symmetric(const float *x, int levels, uint8_t *q)
{
    const float d = qn_signed_max(x, BLOCK) / (float)-levels, inverse = inverse_of(d);
    for (int j = 0; j < BLOCK; j++) {
        const int code = (int8_t)qn_truncate(x[j] * inverse + ((float)levels + 0.5f));
        q[j] = (uint8_t)(code < 2 * levels - 1 ? code : 2 * levels - 1);
    }
    return d;
}

/* Codes trunc((x - min) / d + 0.5) with d = (max - min) / top. */
static float round_affine(const float *x, int top, uint8_t *q, float *low)
{
    float least = FLT_MAX, most = -FLT_MAX;
    for (int j = 0; j < BLOCK; j++) {
        if (x[j] < least) least = x[j];
        if (x[j] > most) most = x[j];
    }
    const float d = (most - least) / (float)top, inverse = inverse_of(d);
    for (int j = 0; j < BLOCK; j++) {
        const int code = (int8_t)qn_truncate((x[j] - least) * inverse + 0.5f);
        q[j] = (uint8_t)(code < top ? code : top);
    }
    *low = least;
    return d;
}

/* ---- with importance ---------------------------------------------------------------- */

/* ggml's weights for these types: the spread is taken over the whole row. */
float qn_mean_square(const float *x, size_t n)
{
    return qn_sum_of_squares(x, n) / (float)n;
}

const qn_affine_search qn_search15 = {15, -0.9f, 0.05f, 36, false};
const qn_affine_search qn_search31 = {31, -0.9f, 0.05f, 36, false};

/* ---- encoding ------------------------------------------------------------------------ */

/* One block's codes and scale, by rounding or by search. */
static float code_symmetric(const float *x, const float *importance, float spread, int levels,
                            uint8_t *q)
{
    float w[BLOCK];
    if (!importance) return round_symmetric(x, levels, q);
    qn_weigh(x, importance, spread, BLOCK, w);
    return qn_search_symmetric(BLOCK, levels, x, w, q);
}

float qn_code_affine32(const float *x, const float *importance, float spread,
                       const qn_affine_search *how, uint8_t *q, float *low)
{
    float w[BLOCK], m;
    qn_weigh(x, importance, spread, BLOCK, w);
    const float d = qn_search_affine(BLOCK, x, w, how, q, &m);
    *low = -m;
    return d;
}

static float code_affine(const float *x, const float *importance, float spread,
                         const qn_affine_search *how, uint8_t *q, float *low)
{
    if (importance) return qn_code_affine32(x, importance, spread, how, q, low);
    return round_affine(x, how->top, q, low);
}

static void encode_q4_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q4_0 *b = blocks;
    const float spread = weights ? qn_mean_square(x, n) : 0.0f;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        uint8_t q[BLOCK];
        b->d = qn_half_of(code_symmetric(x + i, weights ? weights + i : NULL, spread, 8, q));
        pack_nibbles(q, b->q);
    }
}

static void encode_q5_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q5_0 *b = blocks;
    const float spread = weights ? qn_mean_square(x, n) : 0.0f;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        uint8_t q[BLOCK];
        b->d = qn_half_of(code_symmetric(x + i, weights ? weights + i : NULL, spread, 16, q));
        pack_nibbles(q, b->q);
        pack_fifth_bits(q, b->high);
    }
}

static void encode_q4_1(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q4_1 *b = blocks;
    const float spread = weights ? qn_mean_square(x, n) : 0.0f;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        uint8_t q[BLOCK];
        float low;
        b->d = qn_half_of(
            code_affine(x + i, weights ? weights + i : NULL, spread, &qn_search15, q, &low));
        b->m = qn_half_of(low);
        pack_nibbles(q, b->q);
    }
}

static void encode_q5_1(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q5_1 *b = blocks;
    const float spread = weights ? qn_mean_square(x, n) : 0.0f;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        uint8_t q[BLOCK];
        float low;
        b->d = qn_half_of(
            code_affine(x + i, weights ? weights + i : NULL, spread, &qn_search31, q, &low));
        b->m = qn_half_of(low);
        pack_nibbles(q, b->q);
        pack_fifth_bits(q, b->high);
    }
}

static void encode_q8_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q8_0 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        const float d = fabsf(qn_signed_max(x + i, BLOCK)) / 127.0f, inverse = inverse_of(d);
        b->d = qn_half_of(d);
        for (int j = 0; j < BLOCK; j++) b->q[j] = (int8_t)qn_round_away(x[i + j] * inverse);
    }
}

void qn_use_scalar_blocks(qn_kernels *k)
{
    k->decode[QN_Q4_0] = decode_q4_0;
    k->decode[QN_Q4_1] = decode_q4_1;
    k->decode[QN_Q5_0] = decode_q5_0;
    k->decode[QN_Q5_1] = decode_q5_1;
    k->decode[QN_Q8_0] = decode_q8_0;
    k->encode[QN_Q4_0] = encode_q4_0;
    k->encode[QN_Q4_1] = encode_q4_1;
    k->encode[QN_Q5_0] = encode_q5_0;
    k->encode[QN_Q5_1] = encode_q5_1;
    k->encode[QN_Q8_0] = encode_q8_0;
}
