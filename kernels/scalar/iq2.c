/* IQ2_XXS, IQ2_XS, IQ2_S: eight magnitudes at once as a point of a grid, signs
 * apart, 4-bit scales per 32 or 16 weights (ggml-quants.c:
 * quantize_row_iq2_xxs_impl, _iq2_xs_impl, _iq2_s_impl). */
#include <string.h>

#include "kernels/grids.h"
#include "kernels/half.h"
#include "kernels/scalar/lattice.h"
#include "kernels/scalar/scalar.h"

enum { VECTOR = 8, VECTORS = QN_SUPER / VECTOR, SCALE_TOP = 15 };

/* ---- decoding ---------------------------------------------------------------------- */

static void decode_vector(unsigned codeword, unsigned signs, float scale, float *out)
{
    for (int i = 0; i < VECTOR; i++) {
        const float magnitude = scale * qn_iq2_level[codeword >> (2 * i) & 3];
        out[i] = signs >> i & 1 ? -magnitude : magnitude;
    }
}

/* Twice the distance of neighbouring scales is the unit, hence the half; the
 * quarter is an eighth for the levels, doubled. */
static float scale_of(float d, unsigned code)
{
    return d * (0.5f + (float)code) * 0.25f;
}

/* The 32 bits behind the four indices of a group: 4 x 7 signs and the scale. */
static uint32_t upper_word(const qn_block_iq2_xxs *b, int group)
{
    return b->q[group * 4 + 2] | (uint32_t)b->q[group * 4 + 3] << 16;
}

static void decode_iq2_xxs(const void *blocks, float *out, size_t n)
{
    const qn_block_iq2_xxs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const uint32_t word = upper_word(b, v / 4);
            const unsigned index = b->q[v / 4 * 4 + v % 4 / 2] >> (v % 2 * 8) & 255;
            decode_vector(qn_grid_iq2_xxs[index], qn_even_signs(word >> (v % 4 * 7) & 127),
                          scale_of(qn_half_value(b->d), word >> 28), out + i + v * VECTOR);
        }
}

static void decode_iq2_xs(const void *blocks, float *out, size_t n)
{
    const qn_block_iq2_xs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const unsigned code = b->scales[v / 4] >> (v % 4 / 2 * 4) & 15;
            decode_vector(qn_grid_iq2_xs[b->q[v] & 511], qn_even_signs(b->q[v] >> 9),
                          scale_of(qn_half_value(b->d), code), out + i + v * VECTOR);
        }
}

static void decode_iq2_s(const void *blocks, float *out, size_t n)
{
    const qn_block_iq2_s *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const unsigned code = b->scales[v / 4] >> (v % 4 / 2 * 4) & 15;
            const unsigned high = b->high[v / 4] >> (v % 4 * 2) & 3;
            decode_vector(qn_grid_iq2_s[b->q[v] | high << 8], b->signs[v],
                          scale_of(qn_half_value(b->d), code), out + i + v * VECTOR);
        }
}

/* ---- encoding ----------------------------------------------------------------------- */

const qn_lattice_search qn_search_iq2_xxs = {.id = QN_LATTICE_IQ2_XXS,
                                             .n = 32,
                                             .tries = 6,
                                             .step = 0.1f,
                                             .least = 1e-15f,
                                             .spread = 1.0f,
                                             .plain = QN_PLAIN_ONES,
                                             .again = QN_AGAIN_ALWAYS,
                                             .even_signs = true,
                                             .positive_start = true};
const qn_lattice_search qn_search_iq2_xs = {.id = QN_LATTICE_IQ2_XS,
                                            .n = 16,
                                            .tries = 9,
                                            .step = 0.1f,
                                            .least = 1e-15f,
                                            .spread = 1.0f,
                                            .plain = QN_PLAIN_ONES,
                                            .again = QN_AGAIN_OFF_GRID,
                                            .even_signs = true};
const qn_lattice_search qn_search_iq2_s = {.id = QN_LATTICE_IQ2_S,
                                           .n = 16,
                                           .tries = 9,
                                           .step = 0.1f,
                                           .least = 1e-8f,
                                           .spread = 2.0f,
                                           .plain = QN_PLAIN_SPREAD,
                                           .again = QN_AGAIN_OFF_GRID};

void qn_finish_iq2_xxs(const qn_lattice_groups *g, qn_block_iq2_xxs *b)
{
    const qn_lattice *l = qn_lattice_get(QN_LATTICE_IQ2_XXS);
    uint8_t scale[VECTORS / 4];
    const float d = qn_lattice_round_scales(g->scale, VECTORS / 4, SCALE_TOP, scale);
    memset(b, 0, sizeof *b);
    if (d == 0.0f) return;
    b->d = qn_half_of(d);
    for (int i = 0; i < VECTORS / 4; i++) {
        uint32_t word = (uint32_t)scale[i] << 28;
        uint16_t q[2] = {0};
        for (int v = 0; v < 4; v++) {
            const unsigned point = qn_lattice_point(l, g, i * 4 + v);
            q[v / 2] = (uint16_t)(q[v / 2] | point << (v % 2 * 8));
            word |= (uint32_t)g->signs[i * 4 + v] << (7 * v);
        }
        b->q[i * 4] = q[0];
        b->q[i * 4 + 1] = q[1];
        b->q[i * 4 + 2] = (uint16_t)word;
        b->q[i * 4 + 3] = (uint16_t)(word >> 16);
    }
}

/* Two to a byte. */
static void pack_scales(const uint8_t scale[VECTORS / 2], uint8_t out[VECTORS / 4])
{
    for (int i = 0; i < VECTORS / 4; i++) out[i] = (uint8_t)(scale[2 * i] | scale[2 * i + 1] << 4);
}

void qn_finish_iq2_xs(const qn_lattice_groups *g, qn_block_iq2_xs *b)
{
    const qn_lattice *l = qn_lattice_get(QN_LATTICE_IQ2_XS);
    uint8_t scale[VECTORS / 2];
    const float d = qn_lattice_round_scales(g->scale, VECTORS / 2, SCALE_TOP, scale);
    memset(b, 0, sizeof *b);
    if (d == 0.0f) return;
    b->d = qn_half_of(d);
    for (int v = 0; v < VECTORS; v++)
        b->q[v] = (uint16_t)(qn_lattice_point(l, g, v) | (unsigned)g->signs[v] << 9);
    pack_scales(scale, b->scales);
}

void qn_finish_iq2_s(const qn_lattice_groups *g, qn_block_iq2_s *b)
{
    const qn_lattice *l = qn_lattice_get(QN_LATTICE_IQ2_S);
    uint8_t scale[VECTORS / 2];
    const float d = qn_lattice_round_scales(g->scale, VECTORS / 2, SCALE_TOP, scale);
    memset(b, 0, sizeof *b);
    b->d = qn_half_of(d * 0.9875f); /* ggml's, by experience */
    for (int v = 0; v < VECTORS; v++) {
        const unsigned point = qn_lattice_point(l, g, v);
        b->q[v] = (uint8_t)point;
        b->high[v / 4] |= (uint8_t)(point >> 8 << (v % 4 * 2));
        b->signs[v] = g->signs[v];
    }
    pack_scales(scale, b->scales);
}

static void encode_iq2_xxs(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq2_xxs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_lattice_groups g;
        qn_lattice_search_super(&qn_search_iq2_xxs, x + i, weights ? weights + i : NULL, &g);
        qn_finish_iq2_xxs(&g, b);
    }
}

static void encode_iq2_xs(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq2_xs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_lattice_groups g;
        qn_lattice_search_super(&qn_search_iq2_xs, x + i, weights ? weights + i : NULL, &g);
        qn_finish_iq2_xs(&g, b);
    }
}

static void encode_iq2_s(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq2_s *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_lattice_groups g;
        qn_lattice_search_super(&qn_search_iq2_s, x + i, weights ? weights + i : NULL, &g);
        qn_finish_iq2_s(&g, b);
    }
}

void qn_use_scalar_iq2(qn_kernels *k)
{
    k->decode[QN_IQ2_XXS] = decode_iq2_xxs;
    k->decode[QN_IQ2_XS] = decode_iq2_xs;
    k->decode[QN_IQ2_S] = decode_iq2_s;
    k->encode[QN_IQ2_XXS] = encode_iq2_xxs;
    k->encode[QN_IQ2_XS] = encode_iq2_xs;
    k->encode[QN_IQ2_S] = encode_iq2_s;
}
