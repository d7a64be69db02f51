/* Q3_K: super-blocks of 256 in 16 groups of 16 with 6-bit scales
 * (ggml-quants.c: quantize_row_q3_K_ref / _impl). */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/k_scales.h"
#include "kernels/scalar/k_groups.h"
#include "kernels/scalar/scalar.h"
#include "kernels/two_bits.h"

enum {
    GROUP = 16,
    GROUPS = QN_K_GROUPS,
    LEVELS = QN_Q3_K_LEVELS,
    SCALE_LEVELS = QN_Q3_K_SCALE_LEVELS
};

static void decode_q3_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q3_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        uint8_t q[QN_SUPER], scale[GROUPS];
        const float d = qn_half_value(b->d);
        qn_unpack_two_bits(b->q, q);
        qn_unpack_q3_scales(b->scales, scale);
        for (int j = 0; j < QN_SUPER; j++) {
            const int g = j / GROUP, third = b->high[j % 32] >> (j / 32) & 1;
            const float s = d * (float)(scale[g] - SCALE_LEVELS);
            out[i + j] = s * (float)((q[j] | third << 2) - LEVELS);
        }
    }
}

/* Six bits for each scale as a multiple of the one of largest magnitude / -32. */
static float round_to_six_bits(const float scale[GROUPS], uint8_t code[GROUPS])
{
    const float most = qn_signed_max(scale, GROUPS);
    memset(code, 0, GROUPS);
    if (most == 0.0f) return 0.0f;
    const float inverse = -(float)SCALE_LEVELS / most;
    for (int i = 0; i < GROUPS; i++) {
        const int8_t nearest = (int8_t)qn_nearest(inverse * scale[i]);
        code[i] = (uint8_t)(qn_clamp(nearest, -SCALE_LEVELS, SCALE_LEVELS - 1) + SCALE_LEVELS);
    }
    return 1.0f / inverse;
}

void qn_q3_k_store_scales(float d, const uint8_t code[GROUPS], qn_block_q3_k *b, float step[GROUPS])
{
    b->d = qn_half_of(d);
    qn_pack_q3_scales(code, b->scales);
    for (int i = 0; i < GROUPS; i++)
        step[i] = qn_half_value(b->d) * (float)(code[i] - SCALE_LEVELS);
}

void qn_q3_k_round_scales(const float scale[GROUPS], qn_block_q3_k *b, float step[GROUPS])
{
    uint8_t code[GROUPS];
    const float d = round_to_six_bits(scale, code);
    qn_q3_k_store_scales(d, code, b, step);
}

/* The third bits, q apart from the output, so that compilers take 32 at a time. */
static void pack_third_bits(const uint8_t *restrict q, uint8_t *restrict high)
{
    memset(high, 0, 32);
    for (int i = 0; i < QN_SUPER / 32; i++)
        for (int j = 0; j < 32; j++) high[j] |= (uint8_t)((q[i * 32 + j] >> 2) << i);
}

void qn_q3_k_pack(const uint8_t q[QN_SUPER], qn_block_q3_k *b)
{
    qn_pack_two_bits(q, b->q);
    pack_third_bits(q, b->high);
}

static void encode_super(const float *x, const float *importance, qn_block_q3_k *b)
{
    uint8_t q[QN_SUPER];
    float scale[GROUPS], weight[GROUPS], step[GROUPS];
    const float spread = 2.0f * qn_sum_of_squares(x, QN_SUPER) / QN_SUPER;
    for (int i = 0; i < GROUPS; i++) {
        float w[GROUP];
        const int at = i * GROUP;
        if (importance) {
            qn_weigh(x + at, importance + at, spread, GROUP, w);
            weight[i] = qn_sum(w, GROUP);
            scale[i] = qn_search_symmetric(GROUP, LEVELS, x + at, w, q + at);
        } else {
            scale[i] = qn_search_three_bits(x + at, q + at);
        }
    }
    if (importance) {
        uint8_t code[GROUPS];
        const float d = qn_search_symmetric(GROUPS, SCALE_LEVELS, scale, weight, code);
        qn_q3_k_store_scales(d, code, b, step);
    } else {
        qn_q3_k_round_scales(scale, b, step);
    }
    for (int j = 0; j < QN_SUPER; j++) {
        const float s = step[j / GROUP];
        if (s == 0.0f) continue; /* the search's codes stay */
        q[j] = (uint8_t)(qn_clamp(qn_nearest(x[j] / s), -LEVELS, LEVELS - 1) + LEVELS);
    }
    qn_q3_k_pack(q, b);
}

static void encode_q3_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q3_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        encode_super(x + i, weights ? weights + i : NULL, b);
}

void qn_use_scalar_q3_k(qn_kernels *k)
{
    k->decode[QN_Q3_K] = decode_q3_k;
    k->encode[QN_Q3_K] = encode_q3_k;
}
