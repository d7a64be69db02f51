/* Decoders of the lattice types, sixteen weights at a time: codewords of the
 * grids hold their coordinates side by side, so shifting a codeword by another
 * count in each lane takes it apart.  Built twice: decode_lattice_avx2.c and
 * _avx512.c include this. */
#include <string.h>

#include "kernels/grids.h"
#include "kernels/half.h"
#include "kernels/x86/sixteen.h"
#include "kernels/x86/x86.h"

enum { VECTORS = QN_SUPER / SIXTEEN };

/* qn_even_signs of the low seven bits of `low` and of `high`. */
static inline unsigned even_signs(unsigned low, unsigned high)
{
    return qn_even_signs(low & 127) | qn_even_signs(high & 127) << 8;
}

/* ---- IQ2 ------------------------------------------------------------------------------ */

static const float iq2_level[8] = {8.0f, 25.0f, 43.0f};

static inline float iq2_scale(float d, unsigned code)
{
    return d * (0.5f + (float)code) * 0.25f;
}

static void decode_iq2_xxs(const void *blocks, float *out, size_t n)
{
    const qn_block_iq2_xxs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const qn_u16_anywhere *q = b->q + v / 2 * 4;
            const uint32_t word = q[2] | (uint32_t)q[3] << 16;
            const unsigned pair = q[v % 2], signs = word >> (v % 2 * 14);
            store_looked_up(
                out + i + v * SIXTEEN, iq2_level,
                unpack_fields(qn_grid_iq2_xxs[pair & 255], qn_grid_iq2_xxs[pair >> 8], 2),
                iq2_scale(qn_half_value(b->d), word >> 28), even_signs(signs, signs >> 7));
        }
}

static void decode_iq2_xs(const void *blocks, float *out, size_t n)
{
    const qn_block_iq2_xs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const unsigned low = b->q[2 * v], high = b->q[2 * v + 1];
            const unsigned code = b->scales[v / 2] >> (v % 2 * 4) & 15;
            store_looked_up(out + i + v * SIXTEEN, iq2_level,
                            unpack_fields(qn_grid_iq2_xs[low & 511], qn_grid_iq2_xs[high & 511], 2),
                            iq2_scale(qn_half_value(b->d), code), even_signs(low >> 9, high >> 9));
        }
}

static void decode_iq2_s(const void *blocks, float *out, size_t n)
{
    const qn_block_iq2_s *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const unsigned more = b->high[v / 2] >> (v % 2 * 4);
            const unsigned low = b->q[2 * v] | (more & 3) << 8;
            const unsigned high = b->q[2 * v + 1] | (more & 12) << 6;
            const unsigned code = b->scales[v / 2] >> (v % 2 * 4) & 15;
            store_looked_up(out + i + v * SIXTEEN, iq2_level,
                            unpack_fields(qn_grid_iq2_s[low], qn_grid_iq2_s[high], 2),
                            iq2_scale(qn_half_value(b->d), code),
                            b->signs[2 * v] | (unsigned)b->signs[2 * v + 1] << 8);
        }
}

/* ---- IQ3 ------------------------------------------------------------------------------- */

static const float iq3_s_level[8] = {1.0f, 3.0f, 5.0f, 7.0f, 9.0f, 11.0f, 13.0f, 15.0f};

/* Two codewords of four coordinates. */
static inline uint32_t eight_of(const uint16_t *grid, unsigned low, unsigned high)
{
    return grid[low] | (uint32_t)grid[high] << 12;
}

static void decode_iq3_xxs(const void *blocks, float *out, size_t n)
{
    const qn_block_iq3_xxs *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            uint32_t word;
            const uint8_t *q = b->q + v * 4;
            memcpy(&word, b->scales_signs + v / 2 * 4, sizeof word);
            const unsigned signs = word >> (v % 2 * 14);
            store_looked_up(out + i + v * SIXTEEN, qn_iq3_xxs_level,
                            unpack_fields(eight_of(qn_grid_iq3_xxs, q[0], q[1]),
                                          eight_of(qn_grid_iq3_xxs, q[2], q[3]), 3),
                            qn_half_value(b->d) * (0.5f + (float)(word >> 28)) * 0.5f,
                            even_signs(signs, signs >> 7));
        }
}

static void decode_iq3_s(const void *blocks, float *out, size_t n)
{
    const qn_block_iq3_s *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const uint8_t *q = b->q + v * 4;
            const unsigned ninth = (unsigned)b->high[v / 2] << 8 >> (v % 2 * 4);
            const int code = b->scales[v / 4] >> (v / 2 % 2 * 4) & 15;
            store_looked_up(
                out + i + v * SIXTEEN, iq3_s_level,
                unpack_fields(
                    eight_of(qn_grid_iq3_s, q[0] | (ninth & 256), q[1] | (ninth >> 1 & 256)),
                    eight_of(qn_grid_iq3_s, q[2] | (ninth >> 2 & 256), q[3] | (ninth >> 3 & 256)),
                    3),
                qn_half_value(b->d) * (float)(1 + 2 * code),
                b->signs[2 * v] | (unsigned)b->signs[2 * v + 1] << 8);
        }
}

/* ---- IQ1 -------------------------------------------------------------------------------- */

/* Shifted up, and from 4 on shifted down. */
static const float iq1_level[8] = {-0.875f, 0.125f, 1.125f, 0.0f, -1.125f, -0.125f, 0.875f, 0.0f};

static inline void store_iq1(float *out, unsigned low, unsigned high, bool low_down, bool high_down,
                             float scale)
{
    const sixteen_ints i = unpack_fields(qn_grid_iq1[low], qn_grid_iq1[high], 2);
    store_looked_up(out, iq1_level, ints_add(i, low_down * 4, high_down * 4), scale, 0);
}

static void decode_iq1_s(const void *blocks, float *out, size_t n)
{
    const qn_block_iq1_s *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const unsigned high = b->high[v / 2], bits = high >> (v % 2 * 6);
            const float scale = qn_half_value(b->d) * (float)(2 * (high >> 12 & 7) + 1);
            store_iq1(out + i + v * SIXTEEN, b->q[2 * v] | (bits & 7) << 8,
                      b->q[2 * v + 1] | (bits & 56) << 5, high >> 15, high >> 15, scale);
        }
}

static void decode_iq1_m(const void *blocks, float *out, size_t n)
{
    const qn_block_iq1_m *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        uint16_t word[4];
        memcpy(word, b->scales, sizeof word);
        const float d = qn_half_value((qn_half)(word[0] >> 12 | (word[1] >> 12) << 4 |
                                                (word[2] >> 12) << 8 | (word[3] >> 12) << 12));
        for (int v = 0; v < VECTORS; v++) {
            const unsigned bits = b->high[v], code = word[v / 4] >> (v % 4 * 3) & 7;
            store_iq1(out + i + v * SIXTEEN, b->q[2 * v] | (bits & 7) << 8,
                      b->q[2 * v + 1] | (bits & 112) << 4, bits >> 3 & 1, bits >> 7,
                      d * (float)(2 * code + 1));
        }
    }
}

void QN_USE(qn_kernels *k)
{
    k->decode[QN_IQ2_XXS] = decode_iq2_xxs;
    k->decode[QN_IQ2_XS] = decode_iq2_xs;
    k->decode[QN_IQ2_S] = decode_iq2_s;
    k->decode[QN_IQ3_XXS] = decode_iq3_xxs;
    k->decode[QN_IQ3_S] = decode_iq3_s;
    k->decode[QN_IQ1_S] = decode_iq1_s;
    k->decode[QN_IQ1_M] = decode_iq1_m;
}
