/* The parts of Q6_K that its SIMD versions share with the scalar one. */
#ifndef QN_KERNELS_SCALAR_Q6_K_H
#define QN_KERNELS_SCALAR_Q6_K_H

#include <stdbool.h>

#include "kernels/blocks.h"

#define QN_Q6_K_LEVELS 32

/* The block's d and int8 scales for the groups' real ones, and in d[g] what a
 * step of group g is worth as stored.  False: nothing there, and the block is
 * zeros. */
bool qn_q6_k_round_scales(const float scale[16], qn_block_q6_k *b, float d[16]);

/* Codes 0..63 into the block. */
void qn_q6_k_pack(const uint8_t q[QN_SUPER], qn_block_q6_k *b);

#endif
