/* IQ3_XXS and IQ3_S: four magnitudes at once as a point of a grid, signs apart,
 * 4-bit scales per 32 weights (ggml-quants.c: quantize_row_iq3_xxs_impl,
 * quantize_row_iq3_s_impl). */
#include <float.h>
#include <string.h>

#include "kernels/grids.h"
#include "kernels/half.h"
#include "kernels/scalar/lattice.h"
#include "kernels/scalar/scalar.h"

enum {
    VECTOR = 4,
    VECTORS = QN_SUPER / VECTOR,
    GROUP = 32,
    GROUPS = QN_SUPER / GROUP,
    PER_GROUP = GROUP / VECTOR,
    SCALE_TOP = 15
};

/* ---- decoding ---------------------------------------------------------------------- */

/* A group's four sevens of signs and its scale, little endian. */
static uint32_t word_of(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void decode_iq3_xxs(const void *blocks, float *out, size_t n)
{
    const qn_block_iq3_xxs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const uint32_t word = word_of(b->scales_signs + v / PER_GROUP * 4);
            const unsigned signs = qn_even_signs(word >> (v % PER_GROUP / 2 * 7) & 127);
            const float scale = qn_half_value(b->d) * (0.5f + (float)(word >> 28)) * 0.5f;
            for (int j = 0; j < VECTOR; j++) {
                const unsigned c = qn_grid_iq3_xxs[b->q[v]] >> (3 * j) & 7;
                const float magnitude = scale * qn_iq3_xxs_level[c];
                out[i + v * VECTOR + j] =
                    signs >> (v % 2 * VECTOR + j) & 1 ? -magnitude : magnitude;
            }
        }
}

static void decode_iq3_s(const void *blocks, float *out, size_t n)
{
    const qn_block_iq3_s *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const int g = v / PER_GROUP, code = b->scales[g / 2] >> (g % 2 * 4) & 15;
            const float scale = qn_half_value(b->d) * (float)(1 + 2 * code);
            const unsigned high = b->high[v / 8] >> (v % 8) & 1;
            for (int j = 0; j < VECTOR; j++) {
                const unsigned c = qn_grid_iq3_s[b->q[v] | high << 8] >> (3 * j) & 7;
                const float magnitude = scale * (float)(2 * c + 1);
                out[i + v * VECTOR + j] =
                    b->signs[v / 2] >> (v % 2 * VECTOR + j) & 1 ? -magnitude : magnitude;
            }
        }
}

/* ---- encoding ----------------------------------------------------------------------- */

const qn_lattice_search qn_search_iq3_xxs = {.id = QN_LATTICE_IQ3_XXS,
                                             .n = GROUP,
                                             .tries = 15,
                                             .step = 0.2f,
                                             .least = 1e-8f,
                                             .spread = 2.0f,
                                             .plain = QN_PLAIN_SQUARES,
                                             .again = QN_AGAIN_OFF_GRID,
                                             .even_signs = true};
const qn_lattice_search qn_search_iq3_s = {.id = QN_LATTICE_IQ3_S,
                                           .n = GROUP,
                                           .tries = 9,
                                           .step = 0.2f,
                                           .least = FLT_TRUE_MIN, /* all zero */
                                           .spread = 2.0f,
                                           .plain = QN_PLAIN_SQUARES,
                                           .again = QN_AGAIN_IF_ANY};

void qn_finish_iq3_xxs(const qn_lattice_groups *g, qn_block_iq3_xxs *b)
{
    const qn_lattice *l = qn_lattice_get(QN_LATTICE_IQ3_XXS);
    uint8_t scale[GROUPS];
    const float d = qn_lattice_round_scales(g->scale, GROUPS, SCALE_TOP, scale);
    memset(b, 0, sizeof *b);
    if (d == 0.0f) return;
    b->d = qn_half_of(d * 1.0125f); /* ggml's, by experience */
    for (int v = 0; v < VECTORS; v++) b->q[v] = (uint8_t)qn_lattice_point(l, g, v);
    for (int i = 0; i < GROUPS; i++) {
        uint32_t word = (uint32_t)scale[i] << 28;
        for (int v = 0; v < 4; v++) word |= (uint32_t)g->signs[i * 4 + v] << (7 * v);
        for (int k = 0; k < 4; k++) b->scales_signs[i * 4 + k] = (uint8_t)(word >> (8 * k));
    }
}

/* ggml does not move on in the indices and signs behind an empty group, so those
 * of the groups that follow lie too low, and decode to something else: that is
 * what its files hold.  Ninth index bits and scales are where they belong. */
void qn_finish_iq3_s(const qn_lattice_groups *g, qn_block_iq3_s *b)
{
    const qn_lattice *l = qn_lattice_get(QN_LATTICE_IQ3_S);
    uint8_t scale[GROUPS];
    const float d = qn_lattice_round_scales(g->scale, GROUPS, SCALE_TOP, scale);
    memset(b, 0, sizeof *b);
    b->d = qn_half_of(d * 1.033f); /* ggml's, by experience */
    int full = 0;
    for (int i = 0; i < GROUPS; i++) {
        b->scales[i / 2] |= (uint8_t)(scale[i] << (i % 2 * 4));
        if (g->empty[i]) continue;
        for (int v = 0; v < PER_GROUP; v++) {
            const unsigned point = qn_lattice_point(l, g, i * PER_GROUP + v);
            b->q[full * PER_GROUP + v] = (uint8_t)point;
            b->high[i] |= (uint8_t)(point >> 8 << v);
        }
        memcpy(b->signs + full * 4, g->signs + i * 4, 4);
        full++;
    }
}

static void encode_iq3_xxs(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq3_xxs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_lattice_groups g;
        qn_lattice_search_super(&qn_search_iq3_xxs, x + i, weights ? weights + i : NULL, &g);
        qn_finish_iq3_xxs(&g, b);
    }
}

static void encode_iq3_s(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq3_s *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_lattice_groups g;
        qn_lattice_search_super(&qn_search_iq3_s, x + i, weights ? weights + i : NULL, &g);
        qn_finish_iq3_s(&g, b);
    }
}

void qn_use_scalar_iq3(qn_kernels *k)
{
    k->decode[QN_IQ3_XXS] = decode_iq3_xxs;
    k->decode[QN_IQ3_S] = decode_iq3_s;
    k->encode[QN_IQ3_XXS] = encode_iq3_xxs;
    k->encode[QN_IQ3_S] = encode_iq3_s;
}
