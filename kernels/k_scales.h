/* The twelve bytes in which k-quants keep sixteen 6-bit numbers.
 *
 * Q4_K and Q5_K, eight scales and eight minima: 0-3 scales 0-3, 4-7 minima 0-3,
 * their upper two bits those of groups 4-7, and 8-11 the low nibbles of groups
 * 4-7.
 *
 * Q3_K, sixteen scales: 0-7 the low nibbles of scales 0-7, above them those of
 * 8-15, and 8-11 the upper two bits: scale g's in byte 8 + g % 4 at bit
 * 2 * (g / 4). */
#ifndef QN_KERNELS_K_SCALES_H
#define QN_KERNELS_K_SCALES_H

#include <stdint.h>

static inline void qn_pack_k_scales(const uint8_t scale[8], const uint8_t min[8], uint8_t out[12])
{
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(scale[i] | scale[i + 4] >> 4 << 6);
        out[i + 4] = (uint8_t)(min[i] | min[i + 4] >> 4 << 6);
        out[i + 8] = (uint8_t)((scale[i + 4] & 15) | (min[i + 4] & 15) << 4);
    }
}

static inline void qn_unpack_k_scales(const uint8_t in[12], uint8_t scale[8], uint8_t min[8])
{
    for (int i = 0; i < 4; i++) {
        scale[i] = in[i] & 63;
        min[i] = in[i + 4] & 63;
        scale[i + 4] = (uint8_t)((in[i + 8] & 15) | in[i] >> 6 << 4);
        min[i + 4] = (uint8_t)(in[i + 8] >> 4 | in[i + 4] >> 6 << 4);
    }
}

static inline void qn_pack_q3_scales(const uint8_t scale[16], uint8_t out[12])
{
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)((scale[i] & 15) | (scale[i + 8] & 15) << 4);
    for (int i = 0; i < 4; i++)
        out[i + 8] = (uint8_t)(scale[i] >> 4 | scale[i + 4] >> 4 << 2 | scale[i + 8] >> 4 << 4 |
                               scale[i + 12] >> 4 << 6);
}

static inline void qn_unpack_q3_scales(const uint8_t in[12], uint8_t scale[16])
{
    for (int g = 0; g < 16; g++) {
        const int low = in[g % 8] >> (g / 8 * 4) & 15, high = in[8 + g % 4] >> (g / 4 * 2) & 3;
        scale[g] = (uint8_t)(low | high << 4);
    }
}

#endif
