/* Q3_K: super-blocks of 256 in 16 groups of 16 with 6-bit scales
 * (ggml-quants.c: quantize_row_q3_K_ref / _impl). */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/k_scales.h"
#include "kernels/scalar/groups.h"
#include "kernels/scalar/scalar.h"
#include "kernels/scalar/search.h"
#include "kernels/two_bits.h"

enum { GROUP = 16, GROUPS = QN_SUPER / GROUP, LEVELS = 4, SCALE_LEVELS = 32 };

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

static void search_plain(const float *x, qn_groups *g)
{
    for (int i = 0; i < GROUPS; i++)
        g->scale[i] = qn_search_three_bits(x + i * GROUP, g->q + i * GROUP);
}

static void search_weighted(const float *x, const float *importance, qn_groups *g)
{
    const float spread = 2.0f * qn_sum_of_squares(x, QN_SUPER) / QN_SUPER;
    for (int i = 0; i < GROUPS; i++, x += GROUP, importance += GROUP) {
        float w[GROUP];
        qn_weigh(x, importance, spread, GROUP, w);
        g->weight[i] = qn_sum(w, GROUP);
        g->scale[i] = qn_search_symmetric(GROUP, LEVELS, x, w, g->q + i * GROUP);
    }
}

/* Six bits for each scale as a multiple of the one of largest magnitude / -32. */
static qn_half round_to_six_bits(const float scale[GROUPS], uint8_t code[GROUPS])
{
    const float most = qn_signed_max(scale, GROUPS);
    memset(code, 0, GROUPS);
    if (most == 0.0f) return qn_half_of(0.0f);
    const float inverse = -(float)SCALE_LEVELS / most;
    for (int i = 0; i < GROUPS; i++) {
        const int8_t nearest = (int8_t)qn_nearest(inverse * scale[i]);
        code[i] = (uint8_t)(qn_clamp(nearest, -SCALE_LEVELS, SCALE_LEVELS - 1) + SCALE_LEVELS);
    }
    return qn_half_of(1.0f / inverse);
}

void qn_finish_q3_k(const float *x, qn_groups *g, bool weighted, qn_block_q3_k *b)
{
    uint8_t scale[GROUPS];
    if (weighted)
        b->d = qn_half_of(qn_search_symmetric(GROUPS, SCALE_LEVELS, g->scale, g->weight, scale));
    else
        b->d = round_to_six_bits(g->scale, scale);
    const float d = qn_half_value(b->d);
    for (int i = 0; i < GROUPS; i++) {
        const float s = d * (float)(scale[i] - SCALE_LEVELS);
        if (s == 0.0f) continue; /* the search's codes stay */
        for (int j = i * GROUP; j < (i + 1) * GROUP; j++)
            g->q[j] = (uint8_t)(qn_clamp(qn_nearest(x[j] / s), -LEVELS, LEVELS - 1) + LEVELS);
    }
    qn_pack_q3_scales(scale, b->scales);
    qn_pack_two_bits(g->q, b->q);
    memset(b->high, 0, sizeof b->high);
    for (int j = 0; j < QN_SUPER; j++) b->high[j % 32] |= (uint8_t)((g->q[j] >> 2) << (j / 32));
}

static void encode_q3_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q3_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_groups g;
        if (weights)
            search_weighted(x + i, weights + i, &g);
        else
            search_plain(x + i, &g);
        qn_finish_q3_k(x + i, &g, weights != NULL, b);
    }
}

void qn_use_scalar_q3_k(qn_kernels *k)
{
    k->decode[QN_Q3_K] = decode_q3_k;
    k->encode[QN_Q3_K] = encode_q3_k;
}
