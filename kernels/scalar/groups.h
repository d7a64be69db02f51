/* The two halves of encoding a super-block: what a search finds for each group
 * of weights, and what is made of it.
 *
 * The search takes nearly all the time and its groups are independent of each
 * other, so a SIMD version gives each group a lane, fills the same struct and
 * calls the same second half. */
#ifndef QN_KERNELS_SCALAR_GROUPS_H
#define QN_KERNELS_SCALAR_GROUPS_H

#include <stdbool.h>

#include "kernels/blocks.h"

enum { QN_GROUPS_MAX = 16 };

typedef struct {
    float scale[QN_GROUPS_MAX];
    float min[QN_GROUPS_MAX];    /* Q2_K */
    float weight[QN_GROUPS_MAX]; /* sums of the weights: with importance */
    uint8_t q[QN_SUPER];
} qn_groups;

/* Rounds the scales (weighted: by qn_search_positive or _symmetric over
 * g->weight), codes x anew with the rounded ones and packs.  g->q changes. */
void qn_finish_q2_k(const float *x, qn_groups *g, bool weighted, qn_block_q2_k *b);
void qn_finish_q3_k(const float *x, qn_groups *g, bool weighted, qn_block_q3_k *b);

/* Of g only scale counts. */
void qn_finish_iq4_xs(const float *x, const qn_groups *g, qn_block_iq4_xs *b);
void qn_finish_iq4_nl(const float *x, float scale, qn_block_iq4_nl *b);

#endif
