/* Q2_K, Q3_K and Q6_K: a group of 16 in each lane; rounding of scales and packing
 * are the scalar code's (scalar/k_groups.h).  Built twice: encode_k16_avx2.c and
 * encode_k16_avx512.c include this. */
#include <math.h>
#include <string.h>

#define VEC_PAIRS
#include "kernels/half.h"
#include "kernels/scalar/k_groups.h"
#include "kernels/x86/search_lanes.h"
#include "kernels/x86/x86.h"

enum { GROUP = 16, GROUPS = QN_K_GROUPS, SUPERS = LANES / GROUPS, CELLS = GROUP * LANES };

/* The groups of SUPERS super-blocks, transposed, and what belongs to each weight
 * and to each group. */
typedef struct {
    float x[CELLS], w[CELLS], wx[CELLS], q[CELLS];
    float scale[LANES], min[LANES], weight[LANES];
} batch;

/* w * x beside w. */
static inline void multiply_weights(batch *b)
{
    for (size_t j = 0; j < CELLS; j += LANES)
        vec_store(b->wx + j, vec_mul(vec_load(b->w + j), vec_load(b->x + j)));
}

/* ggml's weights for importances in b->w; their sums into b->weight. */
static inline void weigh(batch *b, vec spread)
{
    vec sum = vec_all_of(0.0f);
    for (size_t j = 0; j < CELLS; j += LANES) {
        const vec x = vec_load(b->x + j);
        const vec w = vec_mul(vec_load(b->w + j), vec_sqrt(vec_add(spread, vec_mul(x, x))));
        vec_store(b->w + j, w);
        sum = vec_add(sum, w);
    }
    vec_store(b->weight, sum);
}

static inline void load_batch(const float *x, const float *weights, batch *b)
{
    transpose_groups(x, GROUP, b->x);
    if (weights) transpose_groups(weights, GROUP, b->w);
}

/* The mean square of each lane's super-block, times `factor`. */
static inline vec spreads(const float *x, float factor)
{
    const vec sums = vec_mul(vec_all_of(factor), sums_of_squares(x, GROUP, QN_SUPER));
    return vec_div(sums, vec_all_of(QN_SUPER));
}

/* Codes clamp(nearest((x + low) / step)) + levels; those in b->q stay where a
 * step is 0. */
static inline void recode(batch *b, const float *low, const float *step, int levels, int top)
{
    const vec d = vec_load(step), up = vec_all_of((float)levels);
    const vec_mask keep = vec_equal(d, vec_all_of(0.0f));
    for (size_t j = 0; j < CELLS; j += LANES) {
        const vec x = low ? vec_add(vec_load(b->x + j), vec_load(low)) : vec_load(b->x + j);
        const vec q = vec_add(vec_code(vec_div(x, d), -levels, top - levels), up);
        vec_store(b->q + j, vec_select(keep, vec_load(b->q + j), q));
    }
}

/* ---- Q2_K ----------------------------------------------------------------------------- */

/* Where the numbers of a lane are too far apart, see search_affine_lanes. */
static void search_q2_scalar(const float *x, const float *weights, batch *b)
{
    for (size_t lane = 0; lane < LANES; lane++) {
        float w[GROUP];
        uint8_t q[GROUP];
        for (size_t j = 0; j < GROUP; j++) w[j] = b->w[j * LANES + lane];
        b->scale[lane] =
            qn_search_affine(GROUP, x + lane * GROUP, w,
                             weights ? &qn_q2_k_weighted : &qn_q2_k_plain, q, &b->min[lane]);
        for (size_t j = 0; j < GROUP; j++) b->q[j * LANES + lane] = (float)q[j];
    }
}

static inline void search_q2(const float *x, const float *weights, batch *b)
{
    affine_best best;
    load_batch(x, weights, b);
    if (weights) {
        weigh(b, spreads(x, 1.0f));
    } else {
        for (size_t j = 0; j < CELLS; j += LANES) vec_store(b->w + j, vec_abs(vec_load(b->x + j)));
    }
    const qn_affine_search *how = weights ? &qn_q2_k_weighted : &qn_q2_k_plain;
    if (!search_affine_lanes(GROUP, b->x, b->w, how, b->q, &best)) {
        search_q2_scalar(x, weights, b);
        return;
    }
    for (size_t j = 0; j < CELLS; j += LANES) {
        const vec v = vec_mul(best.inverse, vec_sub(vec_load(b->x + j), best.from));
        vec_store(b->q + j, vec_select(best.flat, vec_all_of(0.0f), vec_code(v, 0, how->top)));
    }
    vec_store(b->scale, best.scale);
    vec_store(b->min, vec_negate(best.low));
}

static void encode_q2_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q2_k *out = blocks;
    float room[2][MOST_IN_GROUP * LANES];
    for (size_t i = 0; i < n; i += SUPERS * QN_SUPER) {
        const float *here = x + i, *w = weights ? weights + i : NULL;
        const size_t supers = (n - i) / QN_SUPER < SUPERS ? (n - i) / QN_SUPER : SUPERS;
        batch b;
        float step[LANES] = {0}, low[LANES] = {0};
        uint8_t q[CELLS];
        fill_batch(&here, &w, GROUP, n - i, room);
        search_q2(here, w, &b);
        for (size_t s = 0, g = 0; s < supers; s++, g += GROUPS)
            qn_q2_k_round_scales(b.scale + g, b.min + g, w ? b.weight + g : NULL, out + s, step + g,
                                 low + g);
        recode(&b, low, step, 0, qn_q2_k_plain.top);
        unload_codes(b.q, GROUP, q);
        for (size_t s = 0; s < supers; s++, out++) qn_q2_k_pack(q + s * QN_SUPER, out);
    }
}

/* ---- Q3_K -------------------------------------------------------------------------------- */

/* Each lane's element of largest magnitude, the first of equals; false where
 * there is none worth a scale. */
static inline vec_mask largest_elements(const batch *b, vec *most)
{
    vec magnitude = vec_all_of(0.0f);
    *most = magnitude;
    for (size_t j = 0; j < CELLS; j += LANES) {
        const vec x = vec_load(b->x + j), a = vec_abs(x);
        const vec_mask larger = vec_less(magnitude, a);
        magnitude = vec_select(larger, a, magnitude);
        *most = vec_select(larger, x, *most);
    }
    return vec_less(magnitude, vec_all_of(1e-15f));
}

/* One pass of qn_search_three_bits' coordinate descent; false when no lane
 * changed.  A lane that did not change will not in the next pass either.
 * Branches, not selects: foretold ones free the next step from waiting for this
 * one's division, and after two passes hardly a lane changes. */
static inline bool improve_q3(batch *b, vec *sum_xl, vec *sum_ll)
{
    const vec zero = vec_all_of(0.0f);
    bool changed = false;
    for (size_t j = 0; j < CELLS; j += LANES) {
        const vec x = vec_load(b->x + j), q = vec_load(b->q + j), w = vec_load(b->w + j);
        const vec wx = vec_load(b->wx + j);
        const vec xl = vec_sub(*sum_xl, vec_mul(wx, q));
        const vec ll = vec_sub(*sum_ll, vec_mul(vec_mul(w, q), q));
        const vec fresh =
            vec_code(vec_div(vec_mul(x, ll), xl), -QN_Q3_K_LEVELS, QN_Q3_K_LEVELS - 1);
        const vec_mask other = vec_or(vec_less(q, fresh), vec_less(fresh, q));
        vec_mask better = vec_and(other, vec_less(zero, xl));
        if (!vec_bits(better)) continue;
        const vec other_xl = vec_add(xl, vec_mul(wx, fresh));
        const vec other_ll = vec_add(ll, vec_mul(vec_mul(w, fresh), fresh));
        const vec old = vec_mul(vec_mul(*sum_xl, *sum_xl), other_ll);
        const vec score = vec_mul(vec_mul(other_xl, other_xl), *sum_ll);
        better = vec_and(better, vec_and(vec_less(zero, other_ll), vec_less(old, score)));
        if (!vec_bits(better)) continue;
        changed = true;
        vec_store(b->q + j, vec_select(better, fresh, q));
        *sum_xl = vec_select(better, other_xl, *sum_xl);
        *sum_ll = vec_select(better, other_ll, *sum_ll);
    }
    return changed;
}

static inline void search_q3_plain(batch *b)
{
    const vec zero = vec_all_of(0.0f), levels = vec_all_of(QN_Q3_K_LEVELS);
    vec most, sum_xl = zero, sum_ll = zero;
    const vec_mask none = largest_elements(b, &most);
    const vec inverse = vec_div(vec_all_of(-(float)QN_Q3_K_LEVELS), most);
    for (size_t j = 0; j < CELLS; j += LANES) {
        const vec x = vec_load(b->x + j), w = vec_mul(x, x), wx = vec_mul(w, x);
        const vec code = vec_code(vec_mul(inverse, x), -QN_Q3_K_LEVELS, QN_Q3_K_LEVELS - 1);
        vec_store(b->w + j, w);
        vec_store(b->wx + j, wx);
        vec_store(b->q + j, code);
        sum_xl = vec_add(sum_xl, vec_mul(wx, code));
        sum_ll = vec_add(sum_ll, vec_mul(vec_mul(w, code), code));
    }
    for (int pass = 0; pass < 5; pass++)
        if (!improve_q3(b, &sum_xl, &sum_ll)) break;
    for (size_t j = 0; j < CELLS; j += LANES)
        vec_store(b->q + j, vec_select(none, zero, vec_add(vec_load(b->q + j), levels)));
    const vec d = vec_select(vec_less(zero, sum_ll), vec_div(sum_xl, sum_ll), zero);
    vec_store(b->scale, vec_select(none, zero, d));
}

/* Q3_K with importance, Q6_K: the codes of the best scale stay in b->q. */
static inline void search_symmetric(batch *b, int levels)
{
    symmetric_best best;
    search_symmetric_lanes(GROUP, levels, b->x, b->w, b->wx, &best);
    for (size_t j = 0; j < CELLS; j += LANES) {
        const vec code = vec_code(vec_mul(best.inverse, vec_load(b->x + j)), -levels, levels - 1);
        const vec up = vec_add(code, vec_all_of((float)levels));
        vec_store(b->q + j, vec_select(best.zero, vec_all_of(0.0f), up));
    }
    vec_store(b->scale, best.scale);
}

static inline void round_q3_weighted(const float *scale, const float *weight, qn_block_q3_k *b,
                                     float *step)
{
    uint8_t code[GROUPS];
    const float d = search_symmetric_tries(GROUPS, QN_Q3_K_SCALE_LEVELS, scale, weight, code);
    qn_q3_k_store_scales(d, code, b, step);
}

static void encode_q3_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q3_k *out = blocks;
    float room[2][MOST_IN_GROUP * LANES];
    for (size_t i = 0; i < n; i += SUPERS * QN_SUPER) {
        const float *here = x + i, *w = weights ? weights + i : NULL;
        const size_t supers = (n - i) / QN_SUPER < SUPERS ? (n - i) / QN_SUPER : SUPERS;
        batch b;
        float step[LANES] = {0};
        uint8_t q[CELLS];
        fill_batch(&here, &w, GROUP, n - i, room);
        load_batch(here, w, &b);
        if (w) {
            weigh(&b, spreads(here, 2.0f));
            multiply_weights(&b);
            search_symmetric(&b, QN_Q3_K_LEVELS);
        } else {
            search_q3_plain(&b);
        }
        for (size_t s = 0, g = 0; s < supers; s++, g += GROUPS)
            if (w)
                round_q3_weighted(b.scale + g, b.weight + g, out + s, step + g);
            else
                qn_q3_k_round_scales(b.scale + g, out + s, step + g);
        recode(&b, NULL, step, QN_Q3_K_LEVELS, 2 * QN_Q3_K_LEVELS - 1);
        unload_codes(b.q, GROUP, q);
        for (size_t s = 0; s < supers; s++, out++) qn_q3_k_pack(q + s * QN_SUPER, out);
    }
}

/* ---- Q6_K ---------------------------------------------------------------------------------- */

static void encode_q6_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q6_k *out = blocks;
    float room[2][MOST_IN_GROUP * LANES];
    for (size_t i = 0; i < n; i += SUPERS * QN_SUPER) {
        const float *here = x + i, *w = weights ? weights + i : NULL;
        const size_t supers = (n - i) / QN_SUPER < SUPERS ? (n - i) / QN_SUPER : SUPERS;
        batch b;
        float step[LANES] = {0};
        uint8_t q[CELLS];
        bool any[SUPERS];
        fill_batch(&here, &w, GROUP, n - i, room);
        load_batch(here, w, &b);
        if (!w) {
            for (size_t j = 0; j < CELLS; j += LANES)
                vec_store(b.w + j, vec_mul(vec_load(b.x + j), vec_load(b.x + j)));
        }
        multiply_weights(&b);
        search_symmetric(&b, QN_Q6_K_LEVELS);
        for (size_t s = 0, g = 0; s < supers; s++, g += GROUPS)
            any[s] = qn_q6_k_round_scales(b.scale + g, out + s, step + g);
        recode(&b, NULL, step, QN_Q6_K_LEVELS, 2 * QN_Q6_K_LEVELS - 1);
        unload_codes(b.q, GROUP, q);
        for (size_t s = 0; s < supers; s++, out++)
            if (any[s]) qn_q6_k_pack(q + s * QN_SUPER, out);
    }
}

void QN_USE(qn_kernels *k)
{
    k->encode[QN_Q2_K] = encode_q2_k;
    k->encode[QN_Q3_K] = encode_q3_k;
    k->encode[QN_Q6_K] = encode_q6_k;
}
