/* Points of a grid near any combination of coordinates, and the searches of the
 * lattice types IQ2 and IQ3 (IQ1's own search is in iq1.c).
 *
 * A group of weights is coded as magnitudes and signs.  Magnitudes are
 * s * (2 * c + 1) with whole coordinates c, 8 or 4 of which together must be a
 * point of the type's grid (kernels/grids.h).  What is near but not allowed is
 * replaced by the neighbour of least weighted error.
 *
 * Sources: ggml-quants.c, iq2xs_init_impl and iq3xs_init_impl for the neighbours,
 * quantize_row_iq2_xs_impl and its sisters for the searches.  Sums run in their
 * order. */
#ifndef QN_KERNELS_SCALAR_LATTICE_H
#define QN_KERNELS_SCALAR_LATTICE_H

#include <stdbool.h>

#include "kernels/blocks.h"

/* All coordinates of a vector make its number, coordinate 0 the lowest digit to
 * the base `levels`. */
typedef struct {
    int dims, levels; /* 8 of 0..2, or 4 of 0..7 */
    int bits;         /* of a coordinate in a codeword */
    int n_points;
    const uint16_t *grid;  /* codewords */
    const int16_t *point;  /* by number: which point it is, or -1 */
    const uint32_t *first; /* by number: its neighbours are near[first[n]] up to */
    const uint16_t *near;  /* near[first[n + 1]], codewords; a point has none */
} qn_lattice;

typedef enum {
    QN_LATTICE_IQ2_XXS,
    QN_LATTICE_IQ2_XS,
    QN_LATTICE_IQ2_S,
    QN_LATTICE_IQ1,
    QN_LATTICE_IQ3_XXS,
    QN_LATTICE_IQ3_S,
    QN_LATTICES
} qn_lattice_id;

/* Built when first asked for, milliseconds at most; from any thread. */
const qn_lattice *qn_lattice_get(qn_lattice_id id);

static inline unsigned qn_lattice_number(const qn_lattice *l, const uint8_t *c)
{
    unsigned n = 0;
    for (int i = l->dims - 1; i >= 0; i--) n = n * (unsigned)l->levels + c[i];
    return n;
}

/* ---- the search ---------------------------------------------------------------------- */

/* Which vectors are coded once more when a group's scale is known. */
typedef enum { QN_AGAIN_OFF_GRID, QN_AGAIN_IF_ANY, QN_AGAIN_ALWAYS } qn_lattice_again;

/* How errors are weighed without importance: as with an importance of 1
 * everywhere, by x * x, or by a quarter of the spread and x * x. */
typedef enum { QN_PLAIN_ONES, QN_PLAIN_SQUARES, QN_PLAIN_SPREAD } qn_lattice_plain;

typedef struct {
    qn_lattice_id id;
    int n;     /* weights in a group */
    int tries; /* candidates (2 * levels - 1 + k * step) / most, k = -tries..tries */
    float step;
    float least;  /* a group with no larger magnitude is empty */
    float spread; /* times the mean square, see qn_weigh */
    qn_lattice_plain plain;
    qn_lattice_again again;
    bool even_signs;     /* seven bits of signs: an even number of negative ones */
    bool positive_start; /* most: by qn_search_positive, not the largest magnitude */
} qn_lattice_search;

extern const qn_lattice_search qn_search_iq2_xxs, qn_search_iq2_xs, qn_search_iq2_s,
    qn_search_iq3_xxs, qn_search_iq3_s;

/* What is found for 256 weights; signs of each 8, weight i's is bit i.  An empty
 * group has scale, coordinates and signs 0. */
typedef struct {
    float scale[16]; /* >= 0 */
    bool empty[16];
    uint8_t c[QN_SUPER];
    uint8_t signs[QN_SUPER / 8];
} qn_lattice_groups;

/* importance NULL: none. */
void qn_lattice_search_super(const qn_lattice_search *how, const float *x, const float *importance,
                             qn_lattice_groups *g);

/* The point with the least sum of cost[i * levels + c[i]], i ascending, among the
 * neighbours of a number that is no point, the first of equals, to c. */
void qn_lattice_nearest(const qn_lattice *l, unsigned number, const float *cost, uint8_t *c);

/* ---- packing -------------------------------------------------------------------------- */

/* The number of vector v (8 or 4 weights) of the super-block among the points. */
static inline unsigned qn_lattice_point(const qn_lattice *l, const qn_lattice_groups *g, int v)
{
    return (unsigned)l->point[qn_lattice_number(l, g->c + v * l->dims)];
}

/* Codes for n scales as (2 * code + 1) * d, 0..top, where d = largest /
 * (2 * top + 1) is returned: 0 when all are. */
float qn_lattice_round_scales(const float *scale, int n, int top, uint8_t *code);

/* Whole blocks are written. */
void qn_finish_iq2_xxs(const qn_lattice_groups *g, qn_block_iq2_xxs *b);
void qn_finish_iq2_xs(const qn_lattice_groups *g, qn_block_iq2_xs *b);
void qn_finish_iq2_s(const qn_lattice_groups *g, qn_block_iq2_s *b);
void qn_finish_iq3_xxs(const qn_lattice_groups *g, qn_block_iq3_xxs *b);
void qn_finish_iq3_s(const qn_lattice_groups *g, qn_block_iq3_s *b);

#endif
