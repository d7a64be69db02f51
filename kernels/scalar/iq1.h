/* IQ1_S and IQ1_M between search and packing, for the scalar code and others. */
#ifndef QN_KERNELS_SCALAR_IQ1_H
#define QN_KERNELS_SCALAR_IQ1_H

#include "kernels/scalar/lattice.h"

/* What is found for 256 weights.  shift: IQ1_S 1 for levels shifted down; IQ1_M
 * bit 1 for the first eight weights of the group, bit 0 for the second. */
typedef struct {
    float scale[16]; /* >= 0 */
    uint8_t shift[16];
    uint16_t point[QN_SUPER / 8];
    float w[QN_SUPER]; /* what an error of each counts */
} qn_iq1_groups;

/* Whole blocks are written.  IQ1_M fits the scale of all x anew. */
void qn_finish_iq1_s(const qn_iq1_groups *g, qn_block_iq1_s *b);
void qn_finish_iq1_m(const float *x, const qn_iq1_groups *g, qn_block_iq1_m *b);

#endif
