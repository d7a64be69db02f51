/* Q2_K: super-blocks of 256 in 16 groups of 16, each with a 4-bit scale and
 * minimum (ggml-quants.c: quantize_row_q2_K_ref / _impl). */
#include <math.h>

#include "kernels/half.h"
#include "kernels/scalar/k_groups.h"
#include "kernels/scalar/scalar.h"
#include "kernels/two_bits.h"

enum { GROUP = 16, GROUPS = QN_K_GROUPS, TOP = 3, SCALE_TOP = 15 };

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

const qn_affine_search qn_q2_k_plain = {TOP, -0.5f, 0.1f, 15, true};
const qn_affine_search qn_q2_k_weighted = {TOP, -0.9f, 0.05f, 36, false};

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

void qn_q2_k_round_scales(const float scale[GROUPS], const float min[GROUPS], const float *weight,
                          qn_block_q2_k *b, float step[GROUPS], float low[GROUPS])
{
    uint8_t s[GROUPS], m[GROUPS];
    if (weight) {
        b->d = qn_half_of(qn_search_positive(GROUPS, SCALE_TOP, scale, weight, s));
        b->dmin = qn_half_of(qn_search_positive(GROUPS, SCALE_TOP, min, weight, m));
    } else {
        b->d = round_to_four_bits(scale, s);
        b->dmin = round_to_four_bits(min, m);
    }
    const float d = qn_half_value(b->d), dmin = qn_half_value(b->dmin);
    for (int i = 0; i < GROUPS; i++) {
        b->scales[i] = (uint8_t)(s[i] | m[i] << 4);
        step[i] = d * (float)(b->scales[i] & 15);
        low[i] = dmin * (float)(b->scales[i] >> 4);
    }
}

void qn_q2_k_pack(const uint8_t q[QN_SUPER], qn_block_q2_k *b)
{
    qn_pack_two_bits(q, b->q);
}

static void encode_super(const float *x, const float *importance, qn_block_q2_k *b)
{
    uint8_t q[QN_SUPER];
    float scale[GROUPS], min[GROUPS], weight[GROUPS], step[GROUPS], low[GROUPS];
    const float spread = qn_sum_of_squares(x, QN_SUPER) / QN_SUPER;
    for (int i = 0; i < GROUPS; i++) {
        float w[GROUP];
        const int at = i * GROUP;
        if (importance)
            qn_weigh(x + at, importance + at, spread, GROUP, w);
        else
            for (int j = 0; j < GROUP; j++) w[j] = fabsf(x[at + j]);
        weight[i] = qn_sum(w, GROUP);
        scale[i] = qn_search_affine(
            GROUP, x + at, w, importance ? &qn_q2_k_weighted : &qn_q2_k_plain, q + at, &min[i]);
    }
    qn_q2_k_round_scales(scale, min, importance ? weight : NULL, b, step, low);
    for (int j = 0; j < QN_SUPER; j++) {
        const int i = j / GROUP;
        if (step[i] == 0.0f) continue; /* the search's codes stay */
        q[j] = (uint8_t)qn_clamp(qn_nearest((x[j] + low[i]) / step[i]), 0, TOP);
    }
    qn_q2_k_pack(q, b);
}

static void encode_q2_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q2_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        encode_super(x + i, weights ? weights + i : NULL, b);
}

void qn_use_scalar_q2_k(qn_kernels *k)
{
    k->decode[QN_Q2_K] = decode_q2_k;
    k->encode[QN_Q2_K] = encode_q2_k;
}
