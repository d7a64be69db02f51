/* Q2_K, Q3_K, IQ4_NL and IQ4_XS with one group in each lane; rounding of scales
 * and packing are the scalar code's (scalar/groups.h).  Built twice:
 * encode_groups_avx2.c and _avx512.c include this. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/levels.h"
#include "kernels/scalar/groups.h"
#include "kernels/x86/search_lanes.h"
#include "kernels/x86/x86.h"

enum { MOST = 32, SUPER_GROUPS = QN_SUPER / 16 };

/* LANES groups of `size` weights, transposed, and what belongs to each weight. */
typedef struct {
    size_t size;
    float x[MOST * LANES], w[MOST * LANES], wx[MOST * LANES], q[MOST * LANES];
} lanes;

/* Groups from x on; importance NULL: weights come later. */
static inline void load_lanes(const float *x, const float *importance, size_t size, lanes *l)
{
    l->size = size;
    transpose_groups(x, size, l->x);
    if (importance) transpose_groups(importance, size, l->w);
}

/* qn_weigh; sums of the weights into sum. */
static inline vec weigh_lanes(lanes *l, vec spread)
{
    vec sum = vec_all_of(0.0f);
    for (size_t j = 0; j < l->size * LANES; j += LANES) {
        const vec x = vec_load(l->x + j);
        const vec w = vec_mul(vec_load(l->w + j), vec_sqrt(vec_add(spread, vec_mul(x, x))));
        vec_store(l->w + j, w);
        vec_store(l->wx + j, vec_mul(w, x));
        sum = vec_add(sum, w);
    }
    return sum;
}

static inline void unload_lanes(const lanes *l, uint8_t *q)
{
    uint8_t bytes[MOST][LANES];
    for (size_t j = 0; j < l->size; j++) vec_store_bytes(bytes[j], vec_load(l->q + j * LANES));
    for (size_t i = 0; i < LANES; i++)
        for (size_t j = 0; j < l->size; j++) q[i * l->size + j] = bytes[j][i];
}

/* ---- Q2_K ----------------------------------------------------------------------------- */

/* False: numbers too far apart for lanes, see search_affine_lanes. */
static inline bool search_q2(lanes *l, const qn_affine_search *how, float *scale, float *min,
                             uint8_t *q)
{
    affine_best best;
    if (!search_affine_lanes(l->size, l->x, l->w, how, l->q, &best)) return false;
    for (size_t j = 0; j < l->size * LANES; j += LANES) {
        const vec v = vec_mul(best.inverse, vec_sub(vec_load(l->x + j), best.from));
        vec_store(l->q + j, vec_select(best.flat, vec_all_of(0.0f), vec_code(v, 0, how->top)));
    }
    vec_store(scale, best.scale);
    vec_store(min, vec_negate(best.low));
    unload_lanes(l, q);
    return true;
}

static inline void search_q2_super(const float *x, const float *weights, qn_groups *g)
{
    static const qn_affine_search plain = {3, -0.5f, 0.1f, 15, true};
    static const qn_affine_search weighted = {3, -0.9f, 0.05f, 36, false};
    const float spread = weights ? qn_sum_of_squares(x, QN_SUPER) / QN_SUPER : 0.0f;
    for (int i = 0; i < SUPER_GROUPS; i += LANES) {
        const float *from = x + i * 16;
        lanes l;
        load_lanes(from, weights ? weights + i * 16 : NULL, 16, &l);
        if (weights) {
            vec_store(g->weight + i, weigh_lanes(&l, vec_all_of(spread)));
        } else {
            for (size_t j = 0; j < l.size * LANES; j += LANES)
                vec_store(l.w + j, vec_abs(vec_load(l.x + j)));
        }
        const qn_affine_search *how = weights ? &weighted : &plain;
        if (search_q2(&l, how, g->scale + i, g->min + i, g->q + i * 16)) continue;
        for (int k = i; k < i + LANES; k++) {
            float w[16];
            if (weights)
                qn_weigh(x + k * 16, weights + k * 16, spread, 16, w);
            else
                for (int j = 0; j < 16; j++) w[j] = fabsf(x[k * 16 + j]);
            g->scale[k] = qn_search_affine(16, x + k * 16, w, how, g->q + k * 16, &g->min[k]);
        }
    }
}

static void encode_q2_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q2_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_groups g;
        search_q2_super(x + i, weights ? weights + i : NULL, &g);
        qn_finish_q2_k(x + i, &g, weights != NULL, b);
    }
}

/* ---- Q3_K -------------------------------------------------------------------------------- */

enum { Q3_LEVELS = 4 };

/* One pass of qn_search_three_bits' coordinate descent; false when no lane
 * changed.  A lane that did not change will not in the next pass either. */
static inline bool improve_q3(lanes *l, vec *sum_xl, vec *sum_ll)
{
    const vec zero = vec_all_of(0.0f);
    bool changed = false;
    for (size_t j = 0; j < l->size * LANES; j += LANES) {
        const vec x = vec_load(l->x + j), q = vec_load(l->q + j), w = vec_load(l->w + j);
        const vec wx = vec_load(l->wx + j);
        const vec xl = vec_sub(*sum_xl, vec_mul(wx, q));
        const vec ll = vec_sub(*sum_ll, vec_mul(vec_mul(w, q), q));
        const vec fresh = vec_code(vec_div(vec_mul(x, ll), xl), -Q3_LEVELS, Q3_LEVELS - 1);
        const vec other_xl = vec_add(xl, vec_mul(wx, fresh));
        const vec other_ll = vec_add(ll, vec_mul(vec_mul(w, fresh), fresh));
        const vec old = vec_mul(vec_mul(*sum_xl, *sum_xl), other_ll);
        const vec score = vec_mul(vec_mul(other_xl, other_xl), *sum_ll);
        vec_mask better = vec_and(vec_less(zero, xl), vec_less(zero, other_ll));
        better = vec_and(better, vec_less(old, score));
        better = vec_and(better, vec_or(vec_less(q, fresh), vec_less(fresh, q)));
        if (!vec_bits(better)) continue;
        changed = true;
        vec_store(l->q + j, vec_select(better, fresh, q));
        *sum_xl = vec_select(better, other_xl, *sum_xl);
        *sum_ll = vec_select(better, other_ll, *sum_ll);
    }
    return changed;
}

static inline void search_q3_plain(lanes *l, float *scale, uint8_t *q)
{
    const vec zero = vec_all_of(0.0f), levels = vec_all_of(Q3_LEVELS);
    vec most = zero, magnitude = zero, sum_xl = zero, sum_ll = zero;
    for (size_t j = 0; j < l->size * LANES; j += LANES) {
        const vec x = vec_load(l->x + j), a = vec_abs(x), w = vec_mul(x, x);
        const vec_mask larger = vec_less(magnitude, a);
        magnitude = vec_select(larger, a, magnitude);
        most = vec_select(larger, x, most);
        vec_store(l->w + j, w);
        vec_store(l->wx + j, vec_mul(w, x));
    }
    const vec_mask none = vec_less(magnitude, vec_all_of(1e-15f));
    const vec inverse = vec_div(vec_all_of(-(float)Q3_LEVELS), most);
    for (size_t j = 0; j < l->size * LANES; j += LANES) {
        const vec code = vec_code(vec_mul(inverse, vec_load(l->x + j)), -Q3_LEVELS, Q3_LEVELS - 1);
        vec_store(l->q + j, code);
        sum_xl = vec_add(sum_xl, vec_mul(vec_load(l->wx + j), code));
        sum_ll = vec_add(sum_ll, vec_mul(vec_mul(vec_load(l->w + j), code), code));
    }
    for (int pass = 0; pass < 5; pass++)
        if (!improve_q3(l, &sum_xl, &sum_ll)) break;
    for (size_t j = 0; j < l->size * LANES; j += LANES)
        vec_store(l->q + j, vec_select(none, zero, vec_add(vec_load(l->q + j), levels)));
    const vec d = vec_select(vec_less(zero, sum_ll), vec_div(sum_xl, sum_ll), zero);
    vec_store(scale, vec_select(none, zero, d));
    unload_lanes(l, q);
}

static inline void search_q3_weighted(lanes *l, float *scale, uint8_t *q)
{
    const vec zero = vec_all_of(0.0f), levels = vec_all_of(Q3_LEVELS);
    symmetric_best best;
    search_symmetric_lanes(l->size, Q3_LEVELS, l->x, l->w, l->wx, &best);
    for (size_t j = 0; j < l->size * LANES; j += LANES) {
        const vec code =
            vec_code(vec_mul(best.inverse, vec_load(l->x + j)), -Q3_LEVELS, Q3_LEVELS - 1);
        vec_store(l->q + j, vec_select(best.zero, zero, vec_add(code, levels)));
    }
    vec_store(scale, best.scale);
    unload_lanes(l, q);
}

static void encode_q3_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q3_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_groups g;
        const float spread = weights ? 2.0f * qn_sum_of_squares(x + i, QN_SUPER) / QN_SUPER : 0.0f;
        for (size_t k = 0; k < SUPER_GROUPS; k += LANES) {
            lanes l;
            load_lanes(x + i + k * 16, weights ? weights + i + k * 16 : NULL, 16, &l);
            if (weights) {
                vec_store(g.weight + k, weigh_lanes(&l, vec_all_of(spread)));
                search_q3_weighted(&l, g.scale + k, g.q + k * 16);
            } else {
                search_q3_plain(&l, g.scale + k, g.q + k * 16);
            }
        }
        qn_finish_q3_k(x + i, &g, weights != NULL, b);
    }
}

/* ---- IQ4 ------------------------------------------------------------------------------------ */

/* The nearest of the 16 levels.  Cells of 16 from -128.25 on hold at most two
 * of the bounds each, and none of these lies within a quarter of a cell's edge,
 * so a cell found by rounding is never wrong by one. */
static inline vec nearest_level(vec v)
{
    static const float none = 1000.0f;
    static const float first[16] = {-115.5f, none,  -93.5f, -74.0f, -57.0f, -42.0f, -28.5f, -16.0f,
                                    7.0f,    19.0f, 45.5f,  61.0f,  79.0f,  none,   101.0f, none};
    static const float second[16] = {none, none,  none, none, none, none, none, -4.5f,
                                     none, 31.5f, none, none, none, none, none, none};
    /* the code at a cell's start, as a float, and the levels in order */
    static const float start[16] = {0, 1, 1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 14, 15};
    static const float level[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};
    const vec inside = vec_min(vec_max(v, vec_all_of(-128.0f)), vec_all_of(127.0f));
    const vec cell = vec_mul(vec_add(inside, vec_all_of(128.25f)), vec_all_of(0.0625f));
    const vec one = vec_all_of(1.0f), zero = vec_all_of(0.0f);
    vec code = vec_lookup16(start, cell);
    code = vec_add(code, vec_select(vec_less(inside, vec_lookup16(first, cell)), zero, one));
    code = vec_add(code, vec_select(vec_less(inside, vec_lookup16(second, cell)), zero, one));
    return vec_lookup16(level, code);
}

static inline void try_levels(const lanes *l, vec inverse, vec *xl, vec *ll)
{
    *xl = *ll = vec_all_of(0.0f);
    for (size_t j = 0; j < l->size * LANES; j += LANES) {
        const vec x = vec_load(l->x + j), level = nearest_level(vec_mul(inverse, x));
        const vec wl = vec_mul(vec_load(l->w + j), level);
        *xl = vec_add(*xl, vec_mul(wl, x));
        *ll = vec_add(*ll, vec_mul(wl, level));
    }
}

static inline vec search_levels(const lanes *l)
{
    const vec zero = vec_all_of(0.0f), lowest = vec_all_of(-127.0f);
    vec most = zero, magnitude = zero, xl, ll;
    for (size_t j = 0; j < l->size * LANES; j += LANES) {
        const vec x = vec_load(l->x + j), a = vec_abs(x);
        const vec_mask larger = vec_less(magnitude, a);
        magnitude = vec_select(larger, a, magnitude);
        most = vec_select(larger, x, most);
    }
    const vec_mask none = vec_less(magnitude, vec_all_of(1e-15f));
    try_levels(l, vec_div(vec_all_of(1.0f), vec_div(vec_negate(most), lowest)), &xl, &ll);
    vec d = vec_select(vec_less(zero, ll), vec_div(xl, ll), zero), best = vec_mul(d, xl);
    for (int k = -7; k <= 7; k++) {
        try_levels(l, vec_div(vec_all_of((float)k - 127.0f), most), &xl, &ll);
        const vec_mask better =
            vec_and(vec_less(zero, ll), vec_less(vec_mul(best, ll), vec_mul(xl, xl)));
        d = vec_select(better, vec_div(xl, ll), d);
        best = vec_select(better, vec_mul(d, xl), best);
    }
    return vec_select(none, zero, d);
}

/* Scales of LANES groups of 32 at x whose spreads come in lanes. */
static inline void search_iq4(const float *x, const float *weights, vec spread, float *scale)
{
    lanes l;
    load_lanes(x, weights, 32, &l);
    if (weights) {
        weigh_lanes(&l, spread);
    } else {
        for (size_t j = 0; j < l.size * LANES; j += LANES)
            vec_store(l.w + j, vec_mul(vec_load(l.x + j), vec_load(l.x + j)));
    }
    vec_store(scale, search_levels(&l));
}

/* `size` weights share a spread. */
static inline vec spreads(const float *x, size_t size)
{
    float spread[LANES];
    for (size_t i = 0; i < LANES; i++)
        spread[i] = i * 32 % size ? spread[i - 1]
                                  : qn_sum_of_squares(x + i * 32, size) * (2.0f / (float)size);
    return vec_load(spread);
}

/* Scales of `groups` (at most LANES) groups of 32, which are padded with zeros
 * when fewer. */
static inline void scales_iq4(const float *x, const float *weights, size_t groups, size_t size,
                              float *scale)
{
    float padded[LANES * 32] = {0}, importance[LANES * 32] = {0};
    if (groups < LANES) {
        memcpy(padded, x, groups * 32 * sizeof *x);
        if (weights) memcpy(importance, weights, groups * 32 * sizeof *x);
        x = padded;
        if (weights) weights = importance;
    }
    search_iq4(x, weights, weights ? spreads(x, size) : vec_all_of(0.0f), scale);
}

static void encode_iq4_nl(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq4_nl *b = blocks;
    for (size_t i = 0; i < n; i += LANES * 32) {
        const size_t groups = (n - i) / 32 < LANES ? (n - i) / 32 : LANES;
        float scale[LANES];
        scales_iq4(x + i, weights ? weights + i : NULL, groups, 32, scale);
        for (size_t g = 0; g < groups; g++, b++) qn_finish_iq4_nl(x + i + g * 32, scale[g], b);
    }
}

static void encode_iq4_xs(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq4_xs *b = blocks;
    for (size_t i = 0; i < n; i += LANES * 32) {
        const size_t groups = (n - i) / 32 < LANES ? (n - i) / 32 : LANES;
        float scale[LANES];
        scales_iq4(x + i, weights ? weights + i : NULL, groups, QN_SUPER, scale);
        for (size_t s = 0; s < groups / 8; s++, b++) {
            qn_groups g;
            memcpy(g.scale, scale + s * 8, 8 * sizeof *scale);
            qn_finish_iq4_xs(x + i + s * QN_SUPER, &g, b);
        }
    }
}

void QN_USE(qn_kernels *k)
{
    k->encode[QN_Q2_K] = encode_q2_k;
    k->encode[QN_Q3_K] = encode_q3_k;
    k->encode[QN_IQ4_NL] = encode_iq4_nl;
    k->encode[QN_IQ4_XS] = encode_iq4_xs;
}
