/* One and two bits without a search: the ternary types TQ1_0 and TQ2_0, for
 * models trained to -1, 0, +1, and Q1_0 and Q2_0
 * (ggml-quants.c: quantize_row_tq1_0_ref, _tq2_0_ref, _q1_0_ref, _q2_0_ref).
 * None heeds importance. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/scalar/scalar.h"
#include "kernels/scalar/search.h"
#include "kernels/two_bits.h"

enum { SIGNS = 128, PAIRS = 64 }; /* weights in a block of Q1_0 and of Q2_0 */

/* What the digit of base 3 is multiplied by to come first in its byte. */
static const uint8_t power_of_three[5] = {1, 3, 9, 27, 81};

/* ---- TQ1_0: five base-3 digits in a byte --------------------------------------------- */

/* A byte is the fraction number / 243 in 256ths, rounded up: multiplying it by
 * 3^n drops the first n digits, and the next one is then the carry out of
 * another multiplication by 3. */
static void tq1_0_place(int j, int *byte, int *digit)
{
    if (j < 160) {
        *byte = j % 32;
        *digit = j / 32;
    } else if (j < 240) {
        *byte = 32 + (j - 160) % 16;
        *digit = (j - 160) / 16;
    } else { /* four digits only; these bytes are the block's `high` */
        *byte = 48 + (j - 240) % 4;
        *digit = (j - 240) / 4;
    }
}

static void decode_tq1_0(const void *blocks, float *out, size_t n)
{
    const qn_block_tq1_0 *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        const float d = qn_half_value(b->d);
        for (int j = 0; j < QN_SUPER; j++) {
            int byte, digit;
            tq1_0_place(j, &byte, &digit);
            const uint8_t stored = byte < 48 ? b->q[byte] : b->high[byte - 48];
            const uint8_t rest = (uint8_t)(stored * power_of_three[digit]);
            out[i + j] = (float)((rest * 3 >> 8) - 1) * d;
        }
    }
}

/* Digits 0, 1, 2 for -1, 0, 1; the scale is the largest magnitude. */
static float round_to_digits(const float *x, int n, uint8_t *digit)
{
    const float d = fabsf(qn_signed_max(x, (size_t)n)), inverse = d != 0.0f ? 1.0f / d : 0.0f;
    for (int j = 0; j < n; j++) digit[j] = (uint8_t)((unsigned)qn_round_away(x[j] * inverse) + 1u);
    return d;
}

static void encode_tq1_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_tq1_0 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        uint8_t digits[QN_SUPER], number[52] = {0};
        b->d = qn_half_of(round_to_digits(x + i, QN_SUPER, digits));
        for (int j = 0; j < QN_SUPER; j++) {
            int byte, digit;
            tq1_0_place(j, &byte, &digit);
            number[byte] = (uint8_t)(number[byte] + digits[j] * power_of_three[4 - digit]);
        }
        for (int j = 0; j < 52; j++) number[j] = (uint8_t)((number[j] * 256 + 242) / 243);
        memcpy(b->q, number, sizeof b->q);
        memcpy(b->high, number + sizeof b->q, sizeof b->high);
    }
}

/* ---- TQ2_0 ---------------------------------------------------------------------------- */

static void decode_tq2_0(const void *blocks, float *out, size_t n)
{
    const qn_block_tq2_0 *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        uint8_t q[QN_SUPER];
        const float d = qn_half_value(b->d);
        qn_unpack_two_bits(b->q, q);
        for (int j = 0; j < QN_SUPER; j++) out[i + j] = (float)(q[j] - 1) * d;
    }
}

static void encode_tq2_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_tq2_0 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        uint8_t digits[QN_SUPER];
        b->d = qn_half_of(round_to_digits(x + i, QN_SUPER, digits));
        qn_pack_two_bits(digits, b->q);
    }
}

/* ---- Q2_0 ----------------------------------------------------------------------------- */

static void decode_q2_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q2_0 *b = blocks;
    for (size_t i = 0; i < n; i += PAIRS, b++) {
        const float d = qn_half_value(b->d);
        for (int j = 0; j < PAIRS; j++)
            out[i + j] = (float)((b->q[j / 4] >> (j % 4 * 2) & 3) - 1) * d;
    }
}

/* With the largest magnitude as the scale, 2 * d is never used, as in ggml. */
static void encode_q2_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q2_0 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += PAIRS, b++) {
        const float d = fabsf(qn_signed_max(x + i, PAIRS)), inverse = d > 0.0f ? 1.0f / d : 0.0f;
        b->d = qn_half_of(d);
        memset(b->q, 0, sizeof b->q);
        for (int j = 0; j < PAIRS; j++) {
            const int code = qn_clamp(qn_round_away(x[i + j] * inverse) + 1, 0, 3);
            b->q[j / 4] |= (uint8_t)(code << (j % 4 * 2));
        }
    }
}

/* ---- Q1_0 ----------------------------------------------------------------------------- */

static void decode_q1_0(const void *blocks, float *out, size_t n)
{
    const qn_block_q1_0 *b = blocks;
    for (size_t i = 0; i < n; i += SIGNS, b++) {
        const float d = qn_half_value(b->d);
        for (int j = 0; j < SIGNS; j++) out[i + j] = b->q[j / 8] >> (j % 8) & 1 ? d : -d;
    }
}

static void encode_q1_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q1_0 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += SIGNS, b++) {
        float sum = 0.0f;
        for (int j = 0; j < SIGNS; j++) sum += fabsf(x[i + j]);
        b->d = qn_half_of(sum / SIGNS);
        memset(b->q, 0, sizeof b->q);
        for (int j = 0; j < SIGNS; j++) b->q[j / 8] |= (uint8_t)((x[i + j] >= 0.0f) << (j % 8));
    }
}

void qn_use_scalar_ternary(qn_kernels *k)
{
    k->decode[QN_TQ1_0] = decode_tq1_0;
    k->decode[QN_TQ2_0] = decode_tq2_0;
    k->decode[QN_Q2_0] = decode_q2_0;
    k->decode[QN_Q1_0] = decode_q1_0;
    k->encode[QN_TQ1_0] = encode_tq1_0;
    k->encode[QN_TQ2_0] = encode_tq2_0;
    k->encode[QN_Q2_0] = encode_q2_0;
    k->encode[QN_Q1_0] = encode_q1_0;
}
