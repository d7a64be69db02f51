/* Q4_K and Q5_K: super-blocks of 256 in 8 groups of 32, each with a 6-bit
 * scale and minimum (ggml-quants.c: quantize_row_q4_K_ref / _impl and q5_K).
 *
 * The two differ in the number of levels, in how finely candidates are tried,
 * and in where the fifth bit goes. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/k_scales.h"
#include "kernels/scalar/scalar.h"
#include "kernels/scalar/search.h"

enum { GROUP = 32, GROUPS = QN_SUPER / GROUP };

/* ---- decoding ---------------------------------------------------------------------- */

static void decode_super(qn_half d_bits, qn_half dmin_bits, const uint8_t packed[12],
                         const uint8_t *nibbles, const uint8_t *high, float *out)
{
    uint8_t scale[GROUPS], min[GROUPS];
    const float d = qn_half_value(d_bits), dmin = qn_half_value(dmin_bits);
    qn_unpack_k_scales(packed, scale, min);
    for (int g = 0; g < GROUPS; g++) {
        const float s = d * (float)scale[g], m = dmin * (float)min[g];
        for (int j = 0; j < GROUP; j++) {
            const int low = nibbles[g / 2 * GROUP + j] >> (g % 2 * 4) & 15;
            const int fifth = high ? high[j] >> g & 1 : 0;
            out[g * GROUP + j] = s * (float)(low + 16 * fifth) - m;
        }
    }
}

static void decode_q4_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q4_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        decode_super(b->d, b->dmin, b->scales, b->q, NULL, out + i);
}

static void decode_q5_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q5_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        decode_super(b->d, b->dmin, b->scales, b->q, b->high, out + i);
}

/* ---- encoding ----------------------------------------------------------------------- */

/* A super-block on its way: what both types share. */
typedef struct {
    uint8_t q[QN_SUPER];
    uint8_t scale[GROUPS], min[GROUPS];
    qn_half d, dmin;
} super;

static float sum_of_squares(const float *x, int n)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

static float largest_of(const float v[GROUPS])
{
    float most = 0.0f;
    for (int g = 0; g < GROUPS; g++)
        if (v[g] > most) most = v[g];
    return most;
}

/* Six bits for v[g] as a multiple of most / 63. */
static qn_half round_to_six_bits(const float v[GROUPS], uint8_t code[GROUPS])
{
    const float most = largest_of(v), inverse = most > 0.0f ? 63.0f / most : 0.0f;
    for (int g = 0; g < GROUPS; g++) {
        const uint8_t nearest = (uint8_t)qn_nearest(inverse * v[g]);
        code[g] = nearest < 63 ? nearest : 63;
    }
    return qn_half_of(most / 63.0f);
}

static void search_plain(const float *x, const qn_affine_search *how, super *s)
{
    float scale[GROUPS], min[GROUPS];
    for (int g = 0; g < GROUPS; g++, x += GROUP) {
        float w[GROUP];
        const float typical = sqrtf(sum_of_squares(x, GROUP) / GROUP);
        for (int j = 0; j < GROUP; j++) w[j] = typical + fabsf(x[j]);
        scale[g] = qn_search_affine(GROUP, x, w, how, s->q + g * GROUP, &min[g]);
    }
    s->d = round_to_six_bits(scale, s->scale);
    s->dmin = round_to_six_bits(min, s->min);
}

static void search_weighted(const float *x, const float *importance, const qn_affine_search *how,
                            super *s)
{
    float scale[GROUPS], min[GROUPS], sum_w[GROUPS];
    const float spread = 2.0f * sum_of_squares(x, QN_SUPER) / QN_SUPER;
    for (int g = 0; g < GROUPS; g++, x += GROUP, importance += GROUP) {
        float w[GROUP];
        sum_w[g] = 0.0f;
        for (int j = 0; j < GROUP; j++) {
            w[j] = importance[j] * sqrtf(spread + x[j] * x[j]);
            sum_w[g] += w[j];
        }
        scale[g] = qn_search_affine(GROUP, x, w, how, s->q + g * GROUP, &min[g]);
    }
    s->d = qn_half_of(qn_search_positive(GROUPS, 63, scale, sum_w, s->scale));
    s->dmin = qn_half_of(qn_search_positive(GROUPS, 63, min, sum_w, s->min));
}

/* Codes anew for the scales as stored; a group without a scale keeps those of
 * the search. */
static void recode(const float *x, int top, super *s)
{
    const float d = qn_half_value(s->d), dmin = qn_half_value(s->dmin);
    for (int g = 0; g < GROUPS; g++) {
        const float scale = d * (float)s->scale[g], min = dmin * (float)s->min[g];
        if (scale == 0.0f) continue;
        for (int j = g * GROUP; j < (g + 1) * GROUP; j++)
            s->q[j] = (uint8_t)qn_clamp(qn_nearest((x[j] + min) / scale), 0, top);
    }
}

static void code_super(const float *x, const float *weights, const qn_affine_search *plain,
                       const qn_affine_search *weighted, super *s)
{
    if (weights)
        search_weighted(x, weights, weighted, s);
    else
        search_plain(x, plain, s);
    recode(x, plain->top, s);
}

static void pack_nibbles(const uint8_t *q, uint8_t *out)
{
    for (int pair = 0; pair < GROUPS / 2; pair++, q += 2 * GROUP, out += GROUP)
        for (int j = 0; j < GROUP; j++) out[j] = (uint8_t)((q[j] & 15) | (q[j + GROUP] & 15) << 4);
}

static void encode_q4_k(const float *x, const float *weights, void *blocks, size_t n)
{
    static const qn_affine_search plain = {15, -1.0f, 0.1f, 20, false};
    static const qn_affine_search weighted = {15, -0.9f, 0.05f, 36, false};
    qn_block_q4_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        super s;
        code_super(x + i, weights ? weights + i : NULL, &plain, &weighted, &s);
        b->d = s.d;
        b->dmin = s.dmin;
        qn_pack_k_scales(s.scale, s.min, b->scales);
        pack_nibbles(s.q, b->q);
    }
}

static void encode_q5_k(const float *x, const float *weights, void *blocks, size_t n)
{
    static const qn_affine_search plain = {31, -0.5f, 0.1f, 15, false};
    static const qn_affine_search weighted = {31, -0.9f, 0.05f, 36, false};
    qn_block_q5_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        super s;
        code_super(x + i, weights ? weights + i : NULL, &plain, &weighted, &s);
        b->d = s.d;
        b->dmin = s.dmin;
        qn_pack_k_scales(s.scale, s.min, b->scales);
        pack_nibbles(s.q, b->q);
        memset(b->high, 0, sizeof b->high);
        for (int j = 0; j < QN_SUPER; j++)
            b->high[j % GROUP] |= (uint8_t)((s.q[j] >> 4) << (j / GROUP));
    }
}

void qn_use_scalar_k_quants(qn_kernels *k)
{
    k->decode[QN_Q4_K] = decode_q4_k;
    k->decode[QN_Q5_K] = decode_q5_k;
    k->encode[QN_Q4_K] = encode_q4_k;
    k->encode[QN_Q5_K] = encode_q5_k;
}
