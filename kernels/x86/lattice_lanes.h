/* What the encoders of IQ1, IQ2 and IQ3 share: super-blocks that fill the lanes,
 * what errors count, and rows.
 *
 * LANES groups of n weights at a time come transposed: element j of lane's is
 * [j * LANES + lane].  Vectors that are no points of the grid leave the lanes one
 * by one, for which rows hold groups as they are in memory, too. */
#ifndef QN_KERNELS_X86_LATTICE_LANES_H
#define QN_KERNELS_X86_LATTICE_LANES_H

#include <string.h>

#include "kernels/blocks.h"
#include "kernels/scalar/lattice.h"
#include "kernels/scalar/search.h"
#include "kernels/x86/search_lanes.h"

/* Of functions that are made anew for each shape of groups. */
#define INLINE static inline __attribute__((always_inline))

enum { TOGETHER_MAX = LANES / 8 };

/* As many super-blocks as have LANES groups, or one: the first `here` the row's,
 * then zeros. */
typedef struct {
    const float *x, *importance; /* of all; NULL: none */
    size_t here;
    int groups; /* in all */
    float spread[TOGETHER_MAX];
    float padded_x[TOGETHER_MAX * QN_SUPER], padded_importance[TOGETHER_MAX * QN_SUPER];
} super_batch;

/* Of the `left` super-blocks at x, groups of n; spread: times the mean square. */
static inline void take_supers(super_batch *b, int n, const float *x, const float *importance,
                               size_t left, float spread)
{
    const int groups = QN_SUPER / n;
    const size_t together = groups < LANES ? (size_t)(LANES / groups) : 1;
    b->here = left < together ? left : together;
    b->groups = groups * (int)together;
    b->x = x;
    b->importance = importance;
    if (left < together) {
        const size_t bytes = left * QN_SUPER * sizeof *x;
        memset(b->padded_x, 0, sizeof b->padded_x);
        b->x = memcpy(b->padded_x, x, bytes);
        memset(b->padded_importance, 0, sizeof b->padded_importance);
        if (importance) b->importance = memcpy(b->padded_importance, importance, bytes);
    }
    for (size_t k = 0; k < together; k++)
        b->spread[k] = spread * qn_sum_of_squares(b->x + k * QN_SUPER, QN_SUPER) / QN_SUPER;
}

/* The spread of each lane's super-block; the first lane's group is number `at`. */
static inline vec spread_lanes(const super_batch *b, int n, int at)
{
    float spread[LANES];
    for (int lane = 0; lane < LANES; lane++) spread[lane] = b->spread[(at + lane) / (QN_SUPER / n)];
    return vec_load(spread);
}

/* What errors count, to w, which holds the importance when there is one. */
INLINE void weigh_lanes(int n, const float *x, bool importance, qn_lattice_plain plain, vec spread,
                        float *w)
{
    const vec quarter = vec_mul(vec_all_of(0.25f), spread);
    for (int j = 0; j < n * LANES; j += LANES) {
        const vec v = vec_load(x + j), square = vec_mul(v, v);
        vec weight = square;
        if (importance)
            weight = vec_mul(vec_load(w + j), vec_sqrt(vec_add(spread, square)));
        else if (plain == QN_PLAIN_SPREAD)
            weight = vec_add(quarter, square);
        else if (plain == QN_PLAIN_ONES)
            weight = vec_sqrt(vec_add(spread, square));
        vec_store(w + j, weight);
    }
}

/* Transposed back. */
static inline void store_rows(int n, const float *columns, float *rows)
{
    for (int lane = 0; lane < LANES; lane++)
        for (int j = 0; j < n; j++) rows[lane * n + j] = columns[j * LANES + lane];
}

#endif
