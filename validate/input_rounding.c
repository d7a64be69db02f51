#include "validate/input_rounding.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/half.h"

bool qn_activations_by_name(const char *name, qn_activations *out)
{
    static const char *const names[] = {"exact", "q8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (qn_activations)i;
        return true;
    }
    return false;
}

qn_dtype qn_input_type(qn_dtype weights)
{
    switch (weights) {
    case QN_F16: return QN_F16;
    case QN_BF16: return QN_BF16;
    case QN_Q4_1:
    case QN_Q5_1: return QN_Q8_1;
    case QN_Q1_0:
    case QN_Q2_0:
    case QN_Q4_0:
    case QN_Q5_0:
    case QN_Q8_0:
    case QN_IQ4_NL:
    case QN_MXFP4:
    case QN_NVFP4: return QN_Q8_0;
    case QN_Q2_K:
    case QN_Q3_K:
    case QN_Q4_K:
    case QN_Q5_K:
    case QN_Q6_K:
    case QN_IQ1_S:
    case QN_IQ1_M:
    case QN_IQ2_XXS:
    case QN_IQ2_XS:
    case QN_IQ2_S:
    case QN_IQ3_XXS:
    case QN_IQ3_S:
    case QN_IQ4_XS:
    case QN_TQ1_0:
    case QN_TQ2_0: return QN_Q8_K;
    default: return QN_F32;
    }
}

/* ---- 8 bits ------------------------------------------------------------------------------ */

/* Loops of a constant number of steps over lanes side by side: a compiler makes
 * vectors of any length of them. */
enum { LANES = 16 };

/* A NaN is passed over. */
static inline void see_sizes(const float *restrict x, float *restrict lanes)
{
    for (size_t j = 0; j < LANES; j++) {
        const float size = fabsf(x[j]);
        lanes[j] = size > lanes[j] ? size : lanes[j];
    }
}

static float largest_size(const float *x, size_t n)
{
    float lanes[LANES] = {0};
    for (size_t i = 0; i < n; i += LANES) see_sizes(x + i, lanes);
    for (size_t j = 0; j < LANES / 2; j++)
        lanes[j] = lanes[j + LANES / 2] > lanes[j] ? lanes[j + LANES / 2] : lanes[j];
    for (size_t j = 0; j < LANES / 4; j++)
        lanes[j] = lanes[j + LANES / 4] > lanes[j] ? lanes[j + LANES / 4] : lanes[j];
    const float a = lanes[0] > lanes[1] ? lanes[0] : lanes[1];
    const float b = lanes[2] > lanes[3] ? lanes[2] : lanes[3];
    return a > b ? a : b;
}

/* 127 / most; 0 for a block so small that it has none in float32: ggml's scale is 0 there. */
static float steps_of(float most)
{
    static const float least = 127.0F / FLT_MAX;
    return most > least ? 127.0F / most : 0.0F;
}

/* scale * nearest(x * steps), halves to even: |x * steps| is at most 127, and
 * beside 1.5 * 2^23 a float32 has no fraction. */
static inline void round_lanes(float steps, float scale, const float *restrict x,
                               float *restrict out)
{
    static const float whole = 0x1.8p23F;
    for (size_t j = 0; j < LANES; j++) out[j] = scale * ((x[j] * steps + whole) - whole);
}

static void round_by_32(const float *x, float *out, size_t n)
{
    enum { BLOCK = 32 };
    for (size_t i = 0; i < n; i += BLOCK) {
        const float most = largest_size(x + i, BLOCK), steps = steps_of(most);
        const float scale = qn_half_value(qn_half_of(most / 127.0F));
        for (size_t j = i; j < i + BLOCK; j += LANES) round_lanes(steps, scale, x + j, out + j);
    }
}

static void round_by_256(const float *x, float *out, size_t n)
{
    enum { BLOCK = 256 };
    for (size_t i = 0; i < n; i += BLOCK) {
        const float steps = steps_of(largest_size(x + i, BLOCK));
        const float scale = steps > 0.0F ? 1.0F / steps : 0.0F;
        for (size_t j = i; j < i + BLOCK; j += LANES) round_lanes(steps, scale, x + j, out + j);
    }
}

/* ---- 16 bits ----------------------------------------------------------------------------- */

static void round_by_codec(const qn_kernels *k, qn_dtype type, const float *x, float *out, size_t n)
{
    enum { BLOCK = 512 };
    uint16_t codes[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t m = n - i < BLOCK ? n - i : BLOCK;
        k->encode[type](x + i, NULL, codes, m);
        k->decode[type](codes, out + i, m);
    }
}

void qn_round_input(const qn_kernels *k, qn_dtype type, const float *x, float *out, size_t n)
{
    switch (type) {
    case QN_Q8_0:
    case QN_Q8_1: round_by_32(x, out, n); break;
    case QN_Q8_K: round_by_256(x, out, n); break;
    case QN_F16:
    case QN_BF16: round_by_codec(k, type, x, out, n); break;
    default: memcpy(out, x, n * sizeof *x);
    }
}

void qn_gelu_mul_as_ggml(const qn_kernels *k, float *gate, const float *up, size_t n)
{
    enum { BLOCK = 256 };
    static const float end = 10.0F;
    float ones[BLOCK], table[BLOCK];
    for (size_t i = 0; i < BLOCK; i++) ones[i] = 1.0F;
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t m = n - i < BLOCK ? n - i : BLOCK;
        round_by_codec(k, QN_F16, gate + i, table, m);
        k->gelu_mul(table, ones, m);
        round_by_codec(k, QN_F16, table, table, m);
        for (size_t j = 0; j < m; j++) {
            const float x = gate[i + j];
            gate[i + j] = (x <= -end ? 0.0F : x >= end ? x : table[j]) * up[i + j];
        }
    }
}
