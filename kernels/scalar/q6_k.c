/* Q6_K: super-blocks of 256 in 16 groups of 16 with int8 scales
 * (ggml-quants.c: quantize_row_q6_K_ref / _impl). */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/scalar/k_groups.h"
#include "kernels/scalar/scalar.h"

enum { GROUP = 16, GROUPS = QN_K_GROUPS, LEVELS = QN_Q6_K_LEVELS };

static void decode_q6_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q6_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        const float d = qn_half_value(b->d);
        for (int j = 0; j < QN_SUPER; j++) {
            const int half = j / 128, r = j % 128;
            const int low = b->low[half * 64 + r % 64] >> (r / 64 * 4) & 15;
            const int high = b->high[half * 32 + r % 32] >> (r / 32 * 2) & 3;
            const int scale = b->scales[j / GROUP];
            out[i + j] = d * (float)scale * (float)((low | high << 4) - LEVELS);
        }
    }
}

/* 128 weights, q apart from the outputs, so that compilers take 16 at a time. */
static void pack_half(const uint8_t *restrict q, uint8_t *restrict low, uint8_t *restrict high)
{
    for (int l = 0; l < 64; l++) low[l] = (uint8_t)((q[l] & 15) | (q[l + 64] & 15) << 4);
    for (int l = 0; l < 32; l++)
        high[l] = (uint8_t)(q[l] >> 4 | (q[l + 32] >> 4) << 2 | (q[l + 64] >> 4) << 4 |
                            (q[l + 96] >> 4) << 6);
}

void qn_q6_k_pack(const uint8_t q[QN_SUPER], qn_block_q6_k *b)
{
    for (int half = 0; half < 2; half++)
        pack_half(q + half * 128, b->low + half * 64, b->high + half * 32);
}

bool qn_q6_k_round_scales(const float scale[GROUPS], qn_block_q6_k *b, float d[GROUPS])
{
    const float most = qn_signed_max(scale, GROUPS);
    if (fabsf(most) < 1e-15f) {
        memset(b, 0, sizeof *b);
        return false;
    }
    const float inverse = -128.0f / most;
    b->d = qn_half_of(1.0f / inverse);
    for (int g = 0; g < GROUPS; g++) {
        const int nearest = qn_nearest(inverse * scale[g]);
        b->scales[g] = (int8_t)(nearest < 127 ? nearest : 127);
        d[g] = qn_half_value(b->d) * (float)b->scales[g];
    }
    return true;
}

static void encode_super(const float *x, const float *weights, qn_block_q6_k *b)
{
    uint8_t q[QN_SUPER];
    float scale[GROUPS], d[GROUPS];
    for (int g = 0; g < GROUPS; g++)
        scale[g] = qn_search_symmetric(GROUP, LEVELS, x + g * GROUP,
                                       weights ? weights + g * GROUP : NULL, q + g * GROUP);
    if (!qn_q6_k_round_scales(scale, b, d)) return;
    for (int j = 0; j < QN_SUPER; j++) {
        const float step = d[j / GROUP];
        if (step == 0.0f) continue; /* the search's codes stay */
        q[j] = (uint8_t)(qn_clamp(qn_nearest(x[j] / step), -LEVELS, LEVELS - 1) + LEVELS);
    }
    qn_q6_k_pack(q, b);
}

static void encode_q6_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q6_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        encode_super(x + i, weights ? weights + i : NULL, b);
}

void qn_use_scalar_q6_k(qn_kernels *k)
{
    k->decode[QN_Q6_K] = decode_q6_k;
    k->encode[QN_Q6_K] = encode_q6_k;
}
