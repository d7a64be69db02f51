/* The plane of 2-bit codes that Q2_K, Q3_K and TQ2_0 share: weight j is in byte
 * 32 * (j / 128) + j % 32, at bit 2 * (j % 128 / 32). */
#ifndef QN_KERNELS_TWO_BITS_H
#define QN_KERNELS_TWO_BITS_H

#include "kernels/blocks.h"

static inline void qn_pack_two_bits(const uint8_t q[QN_SUPER], uint8_t out[QN_SUPER / 4])
{
    for (int half = 0; half < 2; half++, q += 128, out += 32)
        for (int j = 0; j < 32; j++)
            out[j] = (uint8_t)((q[j] & 3) | (q[j + 32] & 3) << 2 | (q[j + 64] & 3) << 4 |
                               (q[j + 96] & 3) << 6);
}

static inline void qn_unpack_two_bits(const uint8_t in[QN_SUPER / 4], uint8_t q[QN_SUPER])
{
    for (int j = 0; j < QN_SUPER; j++) q[j] = in[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
}

#endif
