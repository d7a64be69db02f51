/* Q2_K, Q3_K and Q6_K between search and packing: 256 weights in 16 groups of
 * 16.  The search takes nearly all the time and its groups are independent, so a
 * SIMD version gives each a lane; what becomes of the sixteen scales is here,
 * once.  Codes are made anew for the steps as stored; where a step is 0 those
 * of the search stay. */
#ifndef QN_KERNELS_SCALAR_K_GROUPS_H
#define QN_KERNELS_SCALAR_K_GROUPS_H

#include <stdbool.h>

#include "kernels/blocks.h"
#include "kernels/scalar/search.h"

#define QN_K_GROUPS 16
#define QN_Q3_K_LEVELS 4
#define QN_Q3_K_SCALE_LEVELS 32
#define QN_Q6_K_LEVELS 32

/* How Q2_K looks, without and with importance. */
extern const qn_affine_search qn_q2_k_plain, qn_q2_k_weighted;

/* The block's scales and minima for the groups' real ones (weight: sums of the
 * groups' weights with importance, or NULL), and what is stored: a step of group
 * g is worth step[g], its codes start at -low[g]. */
void qn_q2_k_round_scales(const float scale[QN_K_GROUPS], const float min[QN_K_GROUPS],
                          const float *weight, qn_block_q2_k *b, float step[QN_K_GROUPS],
                          float low[QN_K_GROUPS]);
void qn_q3_k_round_scales(const float scale[QN_K_GROUPS], qn_block_q3_k *b,
                          float step[QN_K_GROUPS]);

/* The same when qn_search_symmetric has found d and codes for the scales, as with
 * importance. */
void qn_q3_k_store_scales(float d, const uint8_t code[QN_K_GROUPS], qn_block_q3_k *b,
                          float step[QN_K_GROUPS]);

/* False: nothing there, and the block is zeros. */
bool qn_q6_k_round_scales(const float scale[QN_K_GROUPS], qn_block_q6_k *b,
                          float step[QN_K_GROUPS]);

/* Codes 0..3, 0..7 and 0..63 into the block. */
void qn_q2_k_pack(const uint8_t q[QN_SUPER], qn_block_q2_k *b);
void qn_q3_k_pack(const uint8_t q[QN_SUPER], qn_block_q3_k *b);
void qn_q6_k_pack(const uint8_t q[QN_SUPER], qn_block_q6_k *b);

#endif
