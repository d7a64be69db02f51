/* Q2_K: super-blocks of 256 in 16 groups of 16, each with a 4-bit scale and
 * minimum (ggml-quants.c: quantize_row_q2_K_ref / _impl). */
#include <math.h>

#include "kernels/half.h"
#include "kernels/scalar/groups.h"
#include "kernels/scalar/scalar.h"
#include "kernels/scalar/search.h"
#include "kernels/two_bits.h"

enum { GROUP = 16, GROUPS = QN_SUPER / GROUP, TOP = 3, SCALE_TOP = 15 };

static void decode_q2_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q2_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        uint8_t q[QN_SUPER];
        const float d = qn_half_value(b->d), dmin = qn_half_value(b->dmin);
        qn_unpack_two_bits(b->q, q);
        for (int j = 0; j < QN_SUPER; j++) {
            const uint8_t scales = b->scales[j / GROUP];
            const float scale = d * (float)(scales & 15), min = dmin * (float)(scales >> 4);
            out[i + j] = scale * (float)q[j] - min;
        }
    }
}

static void search_plain(const float *x, qn_groups *g)
{
    static const qn_affine_search how = {TOP, -0.5f, 0.1f, 15, true};
    for (int i = 0; i < GROUPS; i++, x += GROUP) {
        float w[GROUP];
        for (int j = 0; j < GROUP; j++) w[j] = fabsf(x[j]);
        g->scale[i] = qn_search_affine(GROUP, x, w, &how, g->q + i * GROUP, &g->min[i]);
    }
}

static void search_weighted(const float *x, const float *importance, qn_groups *g)
{
    static const qn_affine_search how = {TOP, -0.9f, 0.05f, 36, false};
    const float spread = qn_sum_of_squares(x, QN_SUPER) / QN_SUPER;
    for (int i = 0; i < GROUPS; i++, x += GROUP, importance += GROUP) {
        float w[GROUP];
        qn_weigh(x, importance, spread, GROUP, w);
        g->weight[i] = qn_sum(w, GROUP);
        g->scale[i] = qn_search_affine(GROUP, x, w, &how, g->q + i * GROUP, &g->min[i]);
    }
}

/* Four bits for v[i] as a multiple of the largest / 15. */
static qn_half round_to_four_bits(const float v[GROUPS], uint8_t code[GROUPS])
{
    float most = 0.0f;
    for (int i = 0; i < GROUPS; i++)
        if (v[i] > most) most = v[i];
    const float inverse = most > 0.0f ? (float)SCALE_TOP / most : 0.0f;
    for (int i = 0; i < GROUPS; i++) code[i] = (uint8_t)qn_nearest(inverse * v[i]);
    return qn_half_of(most / (float)SCALE_TOP);
}

void qn_finish_q2_k(const float *x, qn_groups *g, bool weighted, qn_block_q2_k *b)
{
    uint8_t scale[GROUPS], min[GROUPS];
    if (weighted) {
        b->d = qn_half_of(qn_search_positive(GROUPS, SCALE_TOP, g->scale, g->weight, scale));
        b->dmin = qn_half_of(qn_search_positive(GROUPS, SCALE_TOP, g->min, g->weight, min));
    } else {
        b->d = round_to_four_bits(g->scale, scale);
        b->dmin = round_to_four_bits(g->min, min);
    }
    const float d = qn_half_value(b->d), dmin = qn_half_value(b->dmin);
    for (int i = 0; i < GROUPS; i++) {
        b->scales[i] = (uint8_t)(scale[i] | min[i] << 4);
        const float s = d * (float)(b->scales[i] & 15), m = dmin * (float)(b->scales[i] >> 4);
        if (s == 0.0f) continue; /* the search's codes stay */
        for (int j = i * GROUP; j < (i + 1) * GROUP; j++)
            g->q[j] = (uint8_t)qn_clamp(qn_nearest((x[j] + m) / s), 0, TOP);
    }
    qn_pack_two_bits(g->q, b->q);
}

static void encode_q2_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q2_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_groups g;
        if (weights)
            search_weighted(x + i, weights + i, &g);
        else
            search_plain(x + i, &g);
        qn_finish_q2_k(x + i, &g, weights != NULL, b);
    }
}

void qn_use_scalar_q2_k(qn_kernels *k)
{
    k->decode[QN_Q2_K] = decode_q2_k;
    k->encode[QN_Q2_K] = encode_q2_k;
}
