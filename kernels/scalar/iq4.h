/* IQ4_NL and IQ4_XS when the search has found the groups' scales: what is stored
 * of them, and what a weight is multiplied by to be compared with the levels. */
#ifndef QN_KERNELS_SCALAR_IQ4_H
#define QN_KERNELS_SCALAR_IQ4_H

#include "kernels/blocks.h"

/* That of the scale before its rounding to float16. */
float qn_iq4_nl_round_scale(float scale, qn_block_iq4_nl *b);
void qn_iq4_xs_round_scales(const float scale[8], qn_block_iq4_xs *b, float inverse[8]);

#endif
