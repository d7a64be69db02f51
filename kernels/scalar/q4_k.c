/* Q4_K and Q5_K in scalar code.  The two differ in the number of levels, in how
 * finely candidates are tried, and in where the fifth bit goes. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/k_scales.h"
#include "kernels/scalar/k_super.h"
#include "kernels/scalar/scalar.h"

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

float qn_k_spread(const float x[QN_SUPER])
{
    return 2.0f * qn_sum_of_squares(x, QN_SUPER) / QN_SUPER;
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

void qn_k_round_scales(const float scale[GROUPS], const float min[GROUPS], const float *sum_w,
                       bool limited, qn_k_super *s)
{
    if (!sum_w) {
        s->d = round_to_six_bits(scale, s->scale);
        s->dmin = round_to_six_bits(min, s->min);
        return;
    }
    s->d = qn_half_of(qn_search_positive(GROUPS, 63, scale, sum_w, s->scale));
    s->dmin = qn_half_of(qn_search_positive(GROUPS, 63, min, sum_w, s->min));
    for (int g = 0; limited && g < GROUPS; g++) {
        if (s->scale[g] > 63) s->scale[g] = 63;
        if (s->min[g] > 63) s->min[g] = 63;
    }
    /* a code over 63 spills into its neighbours' bits */
    uint8_t packed[12];
    qn_pack_k_scales(s->scale, s->min, packed);
    qn_unpack_k_scales(packed, s->scale, s->min);
}

static void weigh_plain(const float *x, float w[GROUP])
{
    const float typical = sqrtf(qn_sum_of_squares(x, GROUP) / GROUP);
    for (int j = 0; j < GROUP; j++) w[j] = typical + fabsf(x[j]);
}

/* Codes anew for the scales as stored; a group without a scale keeps those of
 * the search. */
static void recode(const float *x, int top, qn_k_super *s)
{
    const float d = qn_half_value(s->d), dmin = qn_half_value(s->dmin);
    for (int g = 0; g < GROUPS; g++) {
        const float scale = d * (float)s->scale[g], min = dmin * (float)s->min[g];
        if (scale == 0.0f) continue;
        for (int j = g * GROUP; j < (g + 1) * GROUP; j++)
            s->q[j] = (uint8_t)qn_clamp(qn_nearest((x[j] + min) / scale), 0, top);
    }
}

void qn_k_code_super(const float *x, const float *weights, const qn_k_search *how, qn_k_super *s)
{
    float scale[GROUPS], min[GROUPS], sum_w[GROUPS];
    const float spread = weights ? qn_k_spread(x) : 0.0f;
    for (int g = 0; g < GROUPS; g++) {
        float w[GROUP];
        const int i = g * GROUP;
        if (weights)
            qn_weigh(x + i, weights + i, spread, GROUP, w);
        else
            weigh_plain(x + i, w);
        sum_w[g] = qn_sum(w, GROUP);
        scale[g] = qn_search_affine(GROUP, x + i, w, weights ? &how->weighted : &how->plain,
                                    s->q + i, &min[g]);
    }
    qn_k_round_scales(scale, min, weights ? sum_w : NULL, how->limited, s);
    recode(x, how->plain.top, s);
}

static void pack_nibbles(const uint8_t *restrict q, uint8_t *restrict out)
{
    for (int pair = 0; pair < GROUPS / 2; pair++, q += 2 * GROUP, out += GROUP)
        for (int j = 0; j < GROUP; j++) out[j] = (uint8_t)((q[j] & 15) | (q[j + GROUP] & 15) << 4);
}

/* Bit g of byte j is that of group g. */
static void pack_fifth_bits(const uint8_t *restrict q, uint8_t *restrict out)
{
    memset(out, 0, GROUP);
    for (int g = 0; g < GROUPS; g++)
        for (int j = 0; j < GROUP; j++) out[j] |= (uint8_t)((q[g * GROUP + j] >> 4) << g);
}

/* ---- the two types -------------------------------------------------------------------- */

const qn_k_search qn_q4_k_search = {
    {15, -1.0f, 0.1f, 20, false}, {15, -0.9f, 0.05f, 36, false}, false};
const qn_k_search qn_q5_k_search = {
    {31, -0.5f, 0.1f, 15, false}, {31, -0.9f, 0.05f, 36, false}, true};

void qn_q4_k_pack(const qn_k_super *s, void *block)
{
    qn_block_q4_k *b = block;
    b->d = s->d;
    b->dmin = s->dmin;
    qn_pack_k_scales(s->scale, s->min, b->scales);
    pack_nibbles(s->q, b->q);
}

void qn_q5_k_pack(const qn_k_super *s, void *block)
{
    qn_block_q5_k *b = block;
    b->d = s->d;
    b->dmin = s->dmin;
    qn_pack_k_scales(s->scale, s->min, b->scales);
    pack_nibbles(s->q, b->q);
    pack_fifth_bits(s->q, b->high);
}

static void encode_q4_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q4_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_k_super s;
        qn_k_code_super(x + i, weights ? weights + i : NULL, &qn_q4_k_search, &s);
        qn_q4_k_pack(&s, b);
    }
}

static void encode_q5_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q5_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_k_super s;
        qn_k_code_super(x + i, weights ? weights + i : NULL, &qn_q5_k_search, &s);
        qn_q5_k_pack(&s, b);
    }
}

void qn_use_scalar_k_quants(qn_kernels *k)
{
    k->decode[QN_Q4_K] = decode_q4_k;
    k->decode[QN_Q5_K] = decode_q5_k;
    k->encode[QN_Q4_K] = encode_q4_k;
    k->encode[QN_Q5_K] = encode_q5_k;
}
