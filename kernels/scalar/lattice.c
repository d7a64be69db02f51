#include "kernels/scalar/lattice.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "kernels/grids.h"

enum {
    NUMBERS_8 = 6561,
    NUMBERS_4 = 4096,
    MAX_POINTS = 2048,
    MAX_DIMS = 8,
    MAX_SQUARES = 32,
    CHUNK = 64,
    OVERREAD = 16 /* readers take up to sixteen neighbours at once */
};

/* ---- tables ------------------------------------------------------------------------- */

/* How many neighbours a set's numbers have in all: what building finds. */
enum {
    NEAR_IQ2_XXS = 113157,
    NEAR_IQ2_XS = 181721,
    NEAR_IQ2_S = 44716,
    NEAR_IQ1 = 327721,
    NEAR_IQ3_XXS = 18985,
    NEAR_IQ3_S = 24733,
};

static int16_t point_8[4][NUMBERS_8], point_4[2][NUMBERS_4];
static uint32_t first_8[4][NUMBERS_8 + 1], first_4[2][NUMBERS_4 + 1];
static uint16_t near_iq2_xxs[NEAR_IQ2_XXS + OVERREAD], near_iq2_xs[NEAR_IQ2_XS + OVERREAD],
    near_iq2_s[NEAR_IQ2_S + OVERREAD], near_iq1[NEAR_IQ1 + OVERREAD],
    near_iq3_xxs[NEAR_IQ3_XXS + OVERREAD], near_iq3_s[NEAR_IQ3_S + OVERREAD];

/* shells: how many different distances count as near. */
static const struct {
    int dims, levels, bits, n_points;
    const uint16_t *grid;
    int16_t *point;
    uint32_t *first;
    uint16_t *near;
    uint32_t n_near;
    int shells;
} sets[QN_LATTICES] = {
    [QN_LATTICE_IQ2_XXS] = {8, 3, 2, 256, qn_grid_iq2_xxs, point_8[0], first_8[0], near_iq2_xxs,
                            NEAR_IQ2_XXS, 2},
    [QN_LATTICE_IQ2_XS] = {8, 3, 2, 512, qn_grid_iq2_xs, point_8[1], first_8[1], near_iq2_xs,
                           NEAR_IQ2_XS, 2},
    [QN_LATTICE_IQ2_S] = {8, 3, 2, 1024, qn_grid_iq2_s, point_8[2], first_8[2], near_iq2_s,
                          NEAR_IQ2_S, 1},
    [QN_LATTICE_IQ1] = {8, 3, 2, 2048, qn_grid_iq1, point_8[3], first_8[3], near_iq1, NEAR_IQ1, 3},
    [QN_LATTICE_IQ3_XXS] = {4, 8, 3, 256, qn_grid_iq3_xxs, point_4[0], first_4[0], near_iq3_xxs,
                            NEAR_IQ3_XXS, 2},
    [QN_LATTICE_IQ3_S] = {4, 8, 3, 512, qn_grid_iq3_s, point_4[1], first_4[1], near_iq3_s,
                          NEAR_IQ3_S, 3},
};

static qn_lattice lattices[QN_LATTICES];
static atomic_bool built[QN_LATTICES];
static pthread_mutex_t building = PTHREAD_MUTEX_INITIALIZER;

/* ---- building ----------------------------------------------------------------------- */

/* Distances grow coordinate by coordinate: partial[i] is what coordinates i and
 * up contribute for every point, so that numbers which differ in the low digits
 * only share the rest. */
typedef struct {
    int shells, levels, n_points;
    const uint16_t *grid;
    const int16_t *point;
    uint32_t *first, n_near;
    uint16_t *near;
    uint8_t square[MAX_SQUARES][MAX_POINTS]; /* [i * levels + c]: from c to each point */
    uint8_t partial[MAX_DIMS + 1][MAX_POINTS];
} builder;

/* The least distance above `after`. */
static int next_distance(const uint8_t *distance, int n, int after)
{
    uint8_t least[CHUNK];
    memset(least, 255, sizeof least);
    /* bytes only, so that compilers take 16 at once: those up to `after` wrap
     * around to the top */
    const uint8_t past = (uint8_t)(after + 1);
    for (int i = 0; i < n; i += CHUNK)
        for (int k = 0; k < CHUNK; k++) {
            const uint8_t d = (uint8_t)(distance[i + k] - past);
            least[k] = d < least[k] ? d : least[k];
        }
    for (int k = 1; k < CHUNK; k++)
        if (least[k] < least[0]) least[0] = least[k];
    return (uint8_t)(least[0] + past);
}

/* Is one of eight bytes this one?  Most often not: the usual test for a zero
 * byte in a word, after an exclusive or. */
static bool any_equal(const uint8_t *bytes, int which)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    word ^= ones * (unsigned)which;
    return (word - ones) & ~word & ones << 7;
}

/* The points of the nearest shells by distance, then by their place in the set. */
static void add_neighbours(builder *b)
{
    int shell = -1;
    for (int i = 0; i < b->shells; i++) {
        shell = next_distance(b->partial[0], b->n_points, shell);
        for (int p = 0; p < b->n_points; p += 8) {
            if (!any_equal(b->partial[0] + p, shell)) continue;
            for (int k = p; k < p + 8; k++)
                if (b->partial[0][k] == shell) b->near[b->n_near++] = b->grid[k];
        }
    }
}

static void add_bytes(const uint8_t *restrict x, const uint8_t *restrict y, int n,
                      uint8_t *restrict sum)
{
    for (int i = 0; i < n; i += CHUNK)
        for (int k = 0; k < CHUNK; k++) sum[i + k] = (uint8_t)(x[i + k] + y[i + k]);
}

/* All numbers with these digits from i up. */
static void walk(builder *b, int i, unsigned digits)
{
    if (i == 0) {
        b->first[digits] = b->n_near;
        if (b->point[digits] < 0) add_neighbours(b);
        return;
    }
    i--;
    for (int c = 0; c < b->levels; c++) {
        add_bytes(b->partial[i + 1], b->square[i * b->levels + c], b->n_points, b->partial[i]);
        walk(b, i, digits * (unsigned)b->levels + (unsigned)c);
    }
}

static void build(qn_lattice_id id)
{
    static builder b;
    const unsigned numbers = sets[id].dims == 8 ? NUMBERS_8 : NUMBERS_4;
    qn_lattice *l = &lattices[id];
    *l = (qn_lattice){sets[id].dims, sets[id].levels, sets[id].bits,  sets[id].n_points,
                      sets[id].grid, sets[id].point,  sets[id].first, sets[id].near};
    memset(sets[id].point, -1, numbers * sizeof *sets[id].point);
    for (int p = 0; p < l->n_points; p++) {
        uint8_t c[MAX_DIMS] = {0};
        for (int i = 0; i < l->dims; i++) {
            c[i] = (uint8_t)(l->grid[p] >> (i * l->bits) & ((1 << l->bits) - 1));
            for (int k = 0; k < l->levels; k++)
                b.square[i * l->levels + k][p] = (uint8_t)((c[i] - k) * (c[i] - k));
        }
        sets[id].point[qn_lattice_number(l, c)] = (int16_t)p;
    }
    b.shells = sets[id].shells;
    b.levels = l->levels;
    b.n_points = l->n_points;
    b.grid = l->grid;
    b.point = l->point;
    b.first = sets[id].first;
    b.near = sets[id].near;
    b.n_near = 0;
    memset(b.partial[l->dims], 0, sizeof b.partial[0]);
    walk(&b, l->dims, 0);
    sets[id].first[numbers] = b.n_near;
    assert(b.n_near == sets[id].n_near);
}

const qn_lattice *qn_lattice_get(qn_lattice_id id)
{
    if (!atomic_load_explicit(&built[id], memory_order_acquire)) {
        pthread_mutex_lock(&building);
        if (!built[id]) build(id);
        atomic_store_explicit(&built[id], true, memory_order_release);
        pthread_mutex_unlock(&building);
    }
    return &lattices[id];
}
