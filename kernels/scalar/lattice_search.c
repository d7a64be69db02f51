#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/scalar/lattice.h"
#include "kernels/scalar/search.h"

enum { MAX_GROUP = 32, MAX_VECTORS = 8, MAX_COSTS = 32 };

/* The two shapes of numbers, so that compilers know them. */
static inline void nearest(const qn_lattice *l, int dims, int levels, int bits, unsigned number,
                           const float *cost, uint8_t *c)
{
    const uint16_t *near = l->near + l->first[number], *end = l->near + l->first[number + 1];
    const unsigned mask = (1u << bits) - 1;
    float least = FLT_MAX;
    unsigned best = *near;
    for (; near < end; near++) {
        float sum = 0.0f;
        for (int i = 0; i < dims; i++) sum += cost[i * levels + (int)(*near >> (i * bits) & mask)];
        if (!(sum < least)) continue;
        least = sum;
        best = *near;
    }
    for (int i = 0; i < dims; i++) c[i] = (uint8_t)(best >> (i * bits) & mask);
}

void qn_lattice_nearest(const qn_lattice *l, unsigned number, const float *cost, uint8_t *c)
{
    if (l->dims == 8)
        nearest(l, 8, 3, 2, number, cost, c);
    else
        nearest(l, 4, 8, 3, number, cost, c);
}

/* A group's weights as magnitudes and signs.  With even_signs a vector with an
 * odd number of negative weights has the least important one's sign changed,
 * which makes its magnitude negative. */
static void split_signs(const qn_lattice_search *how, const float *x, const float *w,
                        float *magnitude, uint8_t *signs)
{
    for (int v = 0; v < how->n / 8; v++, x += 8, w += 8, magnitude += 8) {
        unsigned negative = 0, odd = 0;
        for (int i = 0; i < 8; i++) {
            const bool below = !(x[i] >= 0.0f);
            magnitude[i] = below ? -x[i] : x[i];
            negative |= (unsigned)below << i;
            odd ^= below;
        }
        if (how->even_signs && odd) {
            int least = 0;
            for (int i = 1; i < 8; i++)
                if (w[i] * x[i] * x[i] < w[least] * x[least] * x[least]) least = i;
            magnitude[least] = -magnitude[least];
            negative ^= 1u << least;
        }
        signs[v] = (uint8_t)(how->even_signs ? negative & 127 : negative);
    }
}

/* One vector's coordinates at a scale; root: the weights' square roots, as the
 * errors of neighbours count.  False when they had to move to a point. */
static inline bool code(const qn_lattice *l, int dims, int levels, const float *x,
                        const float *root, float inverse, float scale, uint8_t *c)
{
    float cost[MAX_COSTS];
    unsigned number = 0;
    for (int i = dims - 1; i >= 0; i--) {
        const int nearest = qn_nearest(0.5f * (inverse * x[i] - 1.0f));
        c[i] = (uint8_t)qn_clamp(nearest, 0, levels - 1);
        number = number * (unsigned)levels + c[i];
    }
    if (l->point[number] >= 0) return true;
    for (int i = 0; i < dims; i++)
        for (int k = 0; k < levels; k++) {
            const float error = scale * (float)(2 * k + 1) - x[i];
            cost[i * levels + k] = root[i] * error * error;
        }
    qn_lattice_nearest(l, number, cost, c);
    return false;
}

static bool code_vector(const qn_lattice *l, const float *x, const float *root, float inverse,
                        float scale, uint8_t *c)
{
    return l->dims == 8 ? code(l, 8, 3, x, root, inverse, scale, c)
                        : code(l, 4, 8, x, root, inverse, scale, c);
}

typedef struct {
    float xl, ll; /* sums of w*x*l and w*l*l with l = 2 * c + 1 */
} lattice_sums;

static lattice_sums sums_of(int n, const float *x, const float *w, const uint8_t *c)
{
    lattice_sums sum = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        const float l = (float)(2 * c[i] + 1);
        sum.xl += w[i] * x[i] * l;
        sum.ll += w[i] * l * l;
    }
    return sum;
}

/* The vectors off the grid (or all) once more, now that the scale is known. */
static float search_again(const qn_lattice_search *how, const qn_lattice *l, const float *x,
                          const float *w, const float *root, const bool *on_grid, float scale,
                          uint8_t *c)
{
    const int vectors = how->n / l->dims;
    int off = 0;
    for (int v = 0; v < vectors; v++) off += !on_grid[v];
    if (!(scale > 0.0f) || (off == 0 && how->again != QN_AGAIN_ALWAYS)) return scale;
    for (int v = 0; v < vectors; v++)
        if (!on_grid[v] || how->again != QN_AGAIN_OFF_GRID)
            code_vector(l, x + v * l->dims, root + v * l->dims, 1.0f / scale, scale,
                        c + v * l->dims);
    const lattice_sums sum = sums_of(how->n, x, w, c);
    return sum.ll > 0.0f ? sum.xl / sum.ll : scale;
}

/* The scale and the coordinates for magnitudes x, the largest of them `most`;
 * `scale` is what stands when no candidate is better. */
static float search_magnitudes(const qn_lattice_search *how, const float *x, const float *w,
                               float most, float scale, uint8_t *c)
{
    const qn_lattice *l = qn_lattice_get(how->id);
    const float top = (float)(2 * l->levels - 1);
    float root[MAX_GROUP] = {0.0f}, best = 0.0f;
    bool on_grid[MAX_VECTORS];
    for (int i = 0; i < how->n; i++) root[i] = sqrtf(w[i]);
    memset(c, 0, (size_t)how->n);
    memset(on_grid, how->again != QN_AGAIN_IF_ANY, sizeof on_grid);
    for (int k = -how->tries; k <= how->tries; k++) {
        uint8_t tried[MAX_GROUP];
        bool tried_on_grid[MAX_VECTORS];
        const float inverse = (top + (float)k * how->step) / most, unit = 1.0f / inverse;
        for (int v = 0; v < how->n / l->dims; v++)
            tried_on_grid[v] = code_vector(l, x + v * l->dims, root + v * l->dims, inverse, unit,
                                           tried + v * l->dims);
        const lattice_sums sum = sums_of(how->n, x, w, tried);
        if (!(sum.ll > 0.0f && sum.xl * sum.xl > best * sum.ll)) continue;
        scale = sum.xl / sum.ll;
        best = scale * sum.xl;
        memcpy(c, tried, (size_t)how->n);
        memcpy(on_grid, tried_on_grid, sizeof on_grid);
    }
    return search_again(how, l, x, w, root, on_grid, scale, c);
}

static float first_scale(const qn_lattice_search *how, const float *x, const float *w, float *most)
{
    const int levels = qn_lattice_get(how->id)->levels;
    if (!how->positive_start) return *most / (float)(2 * levels - 1);
    uint8_t unused[MAX_GROUP];
    const float scale = qn_search_positive((size_t)how->n, levels + 1, x, w, unused);
    *most = scale * (float)levels;
    return scale;
}

/* Group i of the super-block. */
static void search_group(const qn_lattice_search *how, const float *x, const float *w, int i,
                         qn_lattice_groups *g)
{
    float magnitude[MAX_GROUP] = {0.0f};
    uint8_t *signs = g->signs + i * how->n / 8, *c = g->c + i * how->n;
    split_signs(how, x, w, magnitude, signs);
    float most = magnitude[0];
    for (int j = 1; j < how->n; j++)
        if (magnitude[j] > most) most = magnitude[j];
    g->empty[i] = most < how->least;
    float scale = 0.0f;
    if (!g->empty[i]) scale = first_scale(how, magnitude, w, &most);
    if (!(most > 0.0f)) g->empty[i] = true;
    if (g->empty[i]) {
        g->scale[i] = 0.0f;
        memset(signs, 0, (size_t)how->n / 8);
        memset(c, 0, (size_t)how->n);
        return;
    }
    scale = search_magnitudes(how, magnitude, w, most, scale, c);
    g->scale[i] = fabsf(scale);
    if (!(scale < 0.0f)) return;
    for (int v = 0; v < how->n / 8; v++)
        signs[v] = (uint8_t)(~signs[v] & (how->even_signs ? 127 : 255));
}

static void weigh_plain(const qn_lattice_search *how, const float *x, float spread, float *w)
{
    for (int j = 0; j < how->n; j++) {
        const float square = x[j] * x[j];
        w[j] = how->plain == QN_PLAIN_SQUARES  ? square
               : how->plain == QN_PLAIN_SPREAD ? 0.25f * spread + square
                                               : sqrtf(spread + square);
    }
}

void qn_lattice_search_super(const qn_lattice_search *how, const float *x, const float *importance,
                             qn_lattice_groups *g)
{
    const float spread = how->spread * qn_sum_of_squares(x, QN_SUPER) / QN_SUPER;
    for (int i = 0; i < QN_SUPER / how->n; i++) {
        float w[MAX_GROUP];
        const float *group = x + i * how->n;
        if (importance)
            qn_weigh(group, importance + i * how->n, spread, (size_t)how->n, w);
        else
            weigh_plain(how, group, spread, w);
        search_group(how, group, w, i, g);
    }
}

float qn_lattice_round_scales(const float *scale, int n, int top, uint8_t *code)
{
    float most = 0.0f;
    for (int g = 0; g < n; g++)
        if (scale[g] > most) most = scale[g];
    const float d = most / (float)(2 * top + 1), inverse = most > 0.0f ? 1.0f / d : 0.0f;
    for (int g = 0; g < n; g++)
        code[g] = (uint8_t)qn_clamp(qn_nearest(0.5f * (inverse * scale[g] - 1.0f)), 0, top);
    return d;
}
