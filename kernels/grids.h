/* The sets of points ("grids") that the lattice types index: a vector of 8
 * weights (IQ1, IQ2) or 4 (IQ3) is coded as the number of a point.
 *
 * A codeword holds the point's coordinates, 0..2 in two bits each or 0..7 in
 * three, coordinate i from bit 2 * i or 3 * i up.  Sets ascend, so the position
 * of a codeword is its number in files. */
#ifndef QN_KERNELS_GRIDS_H
#define QN_KERNELS_GRIDS_H

#include <stdint.h>

extern const uint16_t qn_grid_iq2_xxs[256];
extern const uint16_t qn_grid_iq2_xs[512];
extern const uint16_t qn_grid_iq2_s[1024];
extern const uint16_t qn_grid_iq1[2048]; /* IQ1_S and IQ1_M */
extern const uint16_t qn_grid_iq3_xxs[256];
extern const uint16_t qn_grid_iq3_s[512];

/* What a coordinate stands for.  IQ2 in eighths; IQ3_XXS in halves of its
 * scale's unit; IQ3_S has 2 * c + 1; IQ1 c - 1 and a shift (ggml-common.h:
 * iq2xxs_grid, iq3xxs_grid and so on, which list the expanded points). */
static const float qn_iq2_level[4] = {8.0f, 25.0f, 43.0f, 0.0f};
static const float qn_iq3_xxs_level[8] = {4.0f, 12.0f, 20.0f, 28.0f, 36.0f, 44.0f, 52.0f, 62.0f};

/* Eight signs from seven: bit i set makes weight i negative, and bit 7 makes
 * the number of negative ones even. */
static inline unsigned qn_even_signs(unsigned seven)
{
    unsigned parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 1) << 7;
}

#endif
