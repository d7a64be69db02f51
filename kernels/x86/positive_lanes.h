/* qn_search_positive with one group in each lane, for magnitudes that may be
 * negative: the scales alone.  Groups come transposed, x[j * LANES + lane]. */
#ifndef QN_KERNELS_X86_POSITIVE_LANES_H
#define QN_KERNELS_X86_POSITIVE_LANES_H

#include "kernels/x86/vec_int.h"

/* min(qn_nearest(v), top), and as the byte that the scalar code keeps. */
static inline vec positive_code(vec v, int top)
{
    return float_of_int(int_code(v, INT32_MIN, top));
}

static inline vec positive_byte(vec v, int top)
{
    return float_of_int(int_and(int_code(v, INT32_MIN, top), int_all_of(255)));
}

/* Sum of w * (x - scale * code)^2.  The first candidate's codes are bytes without
 * a limit. */
static inline vec positive_lanes_error(int n, int top, const float *x, const float *w, vec inverse,
                                       bool first)
{
    const vec scale = vec_div(vec_all_of(1.0f), inverse);
    vec sum = vec_all_of(0.0f);
    for (int j = 0; j < n * LANES; j += LANES) {
        const vec xj = vec_load(x + j), v = vec_mul(inverse, xj);
        const vec l = first ? positive_byte(v, INT32_MAX) : positive_code(v, top);
        const vec d = vec_sub(xj, vec_mul(scale, l));
        sum = vec_add(sum, vec_mul(vec_mul(vec_load(w + j), d), d));
    }
    return sum;
}

/* One pass of coordinate descent over the codes q; false when none changed. */
static inline bool improve_positive_lanes(int n, int top, const float *x, const float *w, float *q,
                                          vec *sum_xl, vec *sum_ll)
{
    const vec zero = vec_all_of(0.0f);
    unsigned changed = 0;
    for (int j = 0; j < n * LANES; j += LANES) {
        const vec xj = vec_load(x + j), wj = vec_load(w + j), code = vec_load(q + j);
        const vec wx = vec_mul(wj, xj);
        vec xl = vec_sub(*sum_xl, vec_mul(wx, code));
        vec ll = vec_sub(*sum_ll, vec_mul(vec_mul(wj, code), code));
        const vec v = vec_div(vec_mul(xj, ll), xl);
        const vec l = positive_code(v, top), byte = positive_byte(v, top);
        const vec_mask open = vec_and(vec_less(zero, xl), vec_less(zero, ll));
        const vec_mask other = vec_or(vec_less(l, code), vec_less(code, l));
        xl = vec_add(xl, vec_mul(wx, l));
        ll = vec_add(ll, vec_mul(vec_mul(wj, l), l));
        const vec_mask better =
            vec_less(vec_mul(vec_mul(*sum_xl, *sum_xl), ll), vec_mul(vec_mul(xl, xl), *sum_ll));
        const vec_mask change = vec_and(vec_and(open, other), better);
        vec_store(q + j, vec_select(change, byte, code));
        *sum_xl = vec_select(change, xl, *sum_xl);
        *sum_ll = vec_select(change, ll, *sum_ll);
        changed |= vec_bits(change);
    }
    return changed;
}

/* most: the largest of each lane's group, 1e-15 or more where it matters.  q:
 * scratch, n * LANES. */
static inline vec search_positive_lanes(int n, int top, const float *x, const float *w, vec most,
                                        float *q)
{
    const vec zero = vec_all_of(0.0f);
    vec inverse = vec_div(vec_all_of((float)top), most);
    vec best = positive_lanes_error(n, top, x, w, inverse, true);
    for (int k = -4; k <= 4; k++) {
        if (k == 0) continue;
        const vec tried = vec_div(vec_all_of(0.1f * (float)k + (float)top), most);
        const vec error = positive_lanes_error(n, top, x, w, tried, false);
        const vec_mask better = vec_less(error, best);
        best = vec_select(better, error, best);
        inverse = vec_select(better, tried, inverse);
    }
    vec xl = zero, ll = zero;
    for (int j = 0; j < n * LANES; j += LANES) {
        const vec xj = vec_load(x + j), wj = vec_load(w + j), v = vec_mul(inverse, xj);
        const vec l = positive_code(v, top);
        vec_store(q + j, positive_byte(v, top));
        xl = vec_add(xl, vec_mul(vec_mul(wj, xj), l));
        ll = vec_add(ll, vec_mul(vec_mul(wj, l), l));
    }
    for (int pass = 0; pass < 5; pass++)
        if (!improve_positive_lanes(n, top, x, w, q, &xl, &ll)) break;
    return vec_select(vec_less(zero, ll), vec_div(xl, ll), zero);
}

#endif
