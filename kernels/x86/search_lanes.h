/* The searches of scalar/search.h with one group in each lane: every lane takes
 * the scalar code's steps in the scalar code's order, branches become selects,
 * so scales, minima and codes are the same bits.
 *
 * Included by files that are built for one instruction set each.  Groups come
 * transposed: x[j][lane] is element j of the lane's group. */
#ifndef QN_KERNELS_X86_SEARCH_LANES_H
#define QN_KERNELS_X86_SEARCH_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/scalar/search.h"
#include "kernels/x86/vec.h"

enum { MOST_IN_GROUP = 32 };

/* n (a multiple of 8) elements of each of LANES groups that follow each other
 * in memory, transposed. */
static inline void transpose_groups(const float *x, size_t n, float *out)
{
    for (size_t lane = 0; lane < LANES; lane += 8)
        for (size_t j = 0; j < n; j += 8) {
            __m256 r[8], s[8];
            for (size_t i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(x + (lane + i) * n + j);
            for (int i = 0; i < 8; i += 2) {
                s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
                s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
            }
            for (int i = 0; i < 8; i += 4) {
                r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
                r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
                r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
                r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
            }
            for (size_t i = 0; i < 4; i++) {
                _mm256_storeu_ps(out + (j + i) * LANES + lane,
                                 _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
                _mm256_storeu_ps(out + (j + i + 4) * LANES + lane,
                                 _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
            }
        }
}

/* 16 x 16 bytes: four perfect shuffles. */
static inline void transpose_bytes(const uint8_t *in, size_t in_stride, uint8_t *out,
                                   size_t out_stride)
{
    __m128i r[16], s[16];
    for (size_t i = 0; i < 16; i++) r[i] = _mm_loadu_si128((const __m128i *)(in + i * in_stride));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 8; i++) {
            s[2 * i] = _mm_unpacklo_epi8(r[i], r[i + 8]);
            s[2 * i + 1] = _mm_unpackhi_epi8(r[i], r[i + 8]);
        }
        for (int i = 0; i < 8; i++) {
            r[2 * i] = _mm_unpacklo_epi8(s[i], s[i + 8]);
            r[2 * i + 1] = _mm_unpackhi_epi8(s[i], s[i + 8]);
        }
    }
    for (size_t i = 0; i < 16; i++) _mm_storeu_si128((__m128i *)(out + i * out_stride), r[i]);
}

/* The transposed codes q[j][lane] as bytes, group by group; n and LANES are
 * multiples of 16. */
static inline void unload_codes(const float *q, size_t n, uint8_t *out)
{
    uint8_t bytes[MOST_IN_GROUP * LANES];
    for (size_t j = 0; j < n * LANES; j += LANES) vec_store_bytes(bytes + j, vec_load(q + j));
    for (size_t lane = 0; lane < LANES; lane += 16)
        for (size_t j = 0; j < n; j += 16)
            transpose_bytes(bytes + j * LANES + lane, LANES, out + lane * n + j, n);
}

/* LANES groups of n weights that follow each other, of which the first `have`
 * weights are there: *x and *weights (NULL: none) come to have zeros behind
 * them, in room, when that is less than all. */
static inline void fill_batch(const float **x, const float **weights, size_t n, size_t have,
                              float room[2][MOST_IN_GROUP * LANES])
{
    if (have >= n * LANES) return;
    memset(room, 0, sizeof(float[2][MOST_IN_GROUP * LANES]));
    memcpy(room[0], *x, have * sizeof **x);
    *x = room[0];
    if (!*weights) return;
    memcpy(room[1], *weights, have * sizeof **x);
    *weights = room[1];
}

/* For each lane the sum of squares, in order, over the run of `size` weights
 * that it belongs to; runs are LANES groups of n in all, four at a time. */
static inline vec sums_of_squares(const float *x, size_t n, size_t size)
{
    enum { AT_ONCE = 4 };
    float all[LANES];
    const size_t runs = n * LANES / size;
    for (size_t r = 0; r < runs; r += AT_ONCE) {
        const float *p[AT_ONCE];
        float sum[AT_ONCE];
        for (size_t k = 0; k < AT_ONCE; k++) p[k] = x + (r + k < runs ? r + k : r) * size;
        __m128 sums = _mm_setzero_ps();
        for (size_t j = 0; j < size; j++) {
            const __m128 v = _mm_setr_ps(p[0][j], p[1][j], p[2][j], p[3][j]);
            sums = _mm_add_ps(sums, _mm_mul_ps(v, v));
        }
        _mm_storeu_ps(sum, sums);
        for (size_t k = 0; k < AT_ONCE && r + k < runs; k++)
            for (size_t lane = 0; lane < size / n; lane++)
                all[(r + k) * (size / n) + lane] = sum[k];
    }
    return vec_load(all);
}

/* ---- affine ----------------------------------------------------------------------- */

/* What the search keeps of the best candidate: enough to make its codes again. */
typedef struct {
    vec scale, low;    /* x ~ scale * q + low */
    vec inverse, from; /* q = clamp(nearest(inverse * (x - from))) */
    vec error;
    vec_mask flat; /* all elements equal: codes 0 */
} affine_best;

/* Sum of w * (scale * q + low - x)^2, or of w * |...|. */
static inline vec affine_lanes_error(size_t n, const float *x, const float *w, const float *q,
                                     vec scale, vec low, bool absolute)
{
    vec sum = vec_all_of(0.0f);
    if (absolute) {
        for (size_t j = 0; j < n * LANES; j += LANES) {
            const vec d = vec_sub(vec_add(vec_mul(scale, vec_load(q + j)), low), vec_load(x + j));
            sum = vec_add(sum, vec_mul(vec_load(w + j), vec_abs(d)));
        }
        return sum;
    }
    for (size_t j = 0; j < n * LANES; j += LANES) {
        const vec d = vec_sub(vec_add(vec_mul(scale, vec_load(q + j)), low), vec_load(x + j));
        sum = vec_add(sum, vec_mul(vec_load(w + j), vec_mul(d, d)));
    }
    return sum;
}

/* One candidate: its codes into q, its least squares, and the best if better. */
static inline void try_affine(size_t n, const float *x, const float *w, const qn_affine_search *how,
                              vec inverse, vec sum_w, vec sum_x, float *q, affine_best *best)
{
    const vec zero = vec_all_of(0.0f), from = best->low;
    vec l = zero, ll = zero, xl = zero;
    for (size_t j = 0; j < n * LANES; j += LANES) {
        const vec v = vec_mul(inverse, vec_sub(vec_load(x + j), from));
        const vec code = vec_near_index(v, (float)how->top);
        const vec wl = vec_mul(vec_load(w + j), code);
        vec_store(q + j, code);
        l = vec_add(l, wl);
        ll = vec_add(ll, vec_mul(wl, code));
        xl = vec_add(xl, vec_mul(wl, vec_load(x + j)));
    }
    const vec determinant = vec_sub(vec_mul(sum_w, ll), vec_mul(l, l));
    vec scale = vec_div(vec_sub(vec_mul(sum_w, xl), vec_mul(sum_x, l)), determinant);
    vec low = vec_div(vec_sub(vec_mul(ll, sum_x), vec_mul(l, xl)), determinant);
    const vec_mask above = vec_less(zero, low);
    low = vec_select(above, zero, low);
    scale = vec_select(above, vec_div(xl, ll), scale);
    const vec error = affine_lanes_error(n, x, w, q, scale, low, how->absolute);
    const vec_mask better = vec_and(vec_less(zero, determinant), vec_less(error, best->error));
    best->scale = vec_select(better, scale, best->scale);
    best->low = vec_select(better, low, best->low);
    best->inverse = vec_select(better, inverse, best->inverse);
    best->from = vec_select(better, from, best->from);
    best->error = vec_select(better, error, best->error);
}

/* False when a lane's numbers are so far apart that rounding by addition would
 * not be exact: the caller takes the scalar search then.  q: scratch, n * LANES. */
static inline bool search_affine_lanes(size_t n, const float *x, const float *w,
                                       const qn_affine_search *how, float *q, affine_best *best)
{
    const vec zero = vec_all_of(0.0f), top = vec_all_of((float)how->top);
    vec least = vec_load(x), high = least, sum_w = vec_load(w), sum_x = vec_mul(sum_w, least);
    for (size_t j = LANES; j < n * LANES; j += LANES) {
        const vec xj = vec_load(x + j), wj = vec_load(w + j);
        least = vec_min(xj, least);
        high = vec_max(xj, high);
        sum_w = vec_add(sum_w, wj);
        sum_x = vec_add(sum_x, vec_mul(wj, xj));
    }
    best->low = vec_select(vec_less(zero, least), zero, least);
    best->flat = vec_equal(high, best->low);
    best->from = best->low;
    best->inverse = vec_div(top, vec_sub(high, best->low));
    best->scale = vec_div(vec_all_of(1.0f), best->inverse);
    const vec far = vec_all_of(0x1p21f);
    for (int k = -1; k <= how->steps; k++) {
        const vec range = vec_sub(high, best->low);
        const float wanted = how->first + how->step * (float)k + (float)how->top;
        const vec inverse = k < 0 ? best->inverse : vec_div(vec_all_of(wanted), range);
        const vec span = vec_max(vec_abs(range), vec_abs(vec_sub(least, best->low)));
        const vec_mask near = vec_less(vec_mul(vec_abs(inverse), span), far);
        if (!vec_all(vec_or(near, best->flat))) return false;
        if (k >= 0) {
            try_affine(n, x, w, how, inverse, sum_w, sum_x, q, best);
            continue;
        }
        for (size_t j = 0; j < n * LANES; j += LANES)
            vec_store(q + j, vec_near_index(vec_mul(inverse, vec_sub(vec_load(x + j), best->low)),
                                            (float)how->top));
        best->error = affine_lanes_error(n, x, w, q, best->scale, best->low, how->absolute);
    }
    best->scale = vec_select(best->flat, zero, best->scale);
    return true;
}

/* ---- symmetric ---------------------------------------------------------------------- */

typedef struct {
    vec scale;
    vec inverse;   /* q = clamp(nearest(inverse * x)) + levels */
    vec_mask zero; /* nothing there: codes 0 (not levels) */
} symmetric_best;

/* wx: w * x, element by element. */
static inline void search_symmetric_lanes(size_t n, int levels, const float *x, const float *w,
                                          const float *wx, symmetric_best *best)
{
    const vec zero = vec_all_of(0.0f);
    vec most = zero, magnitude = zero, score = zero;
    for (size_t j = 0; j < n * LANES; j += LANES) {
        const vec xj = vec_load(x + j), a = vec_abs(xj);
        const vec_mask larger = vec_less(magnitude, a);
        magnitude = vec_select(larger, a, magnitude);
        most = vec_select(larger, xj, most);
    }
    best->zero = vec_less(magnitude, vec_all_of(1e-15f));
    best->scale = zero;
    best->inverse = zero;
    for (int step = 0; step < 19; step++) {
        const int k = step == 0 ? 0 : step <= 9 ? step - 10 : step - 9; /* 0, -9 .. -1, 1 .. 9 */
        const vec inverse = vec_div(vec_all_of(-((float)levels + 0.1f * (float)k)), most);
        vec xl = zero, ll = zero;
        for (size_t j = 0; j < n * LANES; j += LANES) {
            const vec l = vec_near_code(vec_mul(inverse, vec_load(x + j)), (float)-levels,
                                        (float)(levels - 1));
            xl = vec_add(xl, vec_mul(vec_load(wx + j), l));
            ll = vec_add(ll, vec_mul(vec_mul(vec_load(w + j), l), l));
        }
        const vec scale = vec_div(xl, ll);
        vec_mask better =
            vec_and(vec_less(zero, ll), vec_less(vec_mul(score, ll), vec_mul(xl, xl)));
        if (step == 0) { /* taken as it is, also when all its codes are 0 */
            const vec_mask none = vec_equal(ll, zero);
            best->scale = vec_select(none, zero, scale);
            best->inverse = inverse;
            score = vec_mul(best->scale, xl);
            continue;
        }
        best->scale = vec_select(better, scale, best->scale);
        best->inverse = vec_select(better, inverse, best->inverse);
        score = vec_select(better, vec_mul(scale, xl), score);
    }
    best->scale = vec_select(best->zero, zero, best->scale);
}

/* ---- one group ------------------------------------------------------------------------ */

/* qn_search_symmetric of a single group: its tries do not depend on each other,
 * so a lane is a try. */
static inline float search_symmetric_tries(size_t n, int levels, const float *x, const float *w,
                                           uint8_t *q)
{
    enum { TRIES = 19, ROOM = (TRIES + LANES - 1) / LANES * LANES };
    static const float steps[32] = {0, -9, -8, -7, -6, -5, -4, -3, -2, -1,
                                    1, 2,  3,  4,  5,  6,  7,  8,  9};
    float inverse[ROOM], xl[ROOM], ll[ROOM];
    const float most = qn_signed_max(x, n);
    if (fabsf(most) < 1e-15f) {
        memset(q, 0, n);
        return 0.0f;
    }
    for (size_t t = 0; t < TRIES; t += LANES) {
        const vec step = vec_mul(vec_all_of(0.1f), vec_load(steps + t));
        const vec wanted = vec_add(vec_all_of((float)levels), step);
        const vec by = vec_div(vec_negate(wanted), vec_all_of(most));
        vec sum_xl = vec_all_of(0.0f), sum_ll = sum_xl;
        for (size_t i = 0; i < n; i++) {
            const vec l = vec_code(vec_mul(by, vec_all_of(x[i])), -levels, levels - 1);
            sum_xl = vec_add(sum_xl, vec_mul(vec_all_of(w[i] * x[i]), l));
            sum_ll = vec_add(sum_ll, vec_mul(vec_mul(vec_all_of(w[i]), l), l));
        }
        vec_store(inverse + t, by);
        vec_store(xl + t, sum_xl);
        vec_store(ll + t, sum_ll);
    }
    size_t taken = 0;
    float scale = ll[0] != 0.0f ? xl[0] / ll[0] : 0.0f, best = scale * xl[0];
    for (size_t t = 1; t < TRIES; t++) {
        if (!(ll[t] > 0.0f && xl[t] * xl[t] > best * ll[t])) continue;
        taken = t;
        scale = xl[t] / ll[t];
        best = scale * xl[t];
    }
    for (size_t i = 0; i < n; i++)
        q[i] = (uint8_t)(qn_clamp(qn_nearest(inverse[taken] * x[i]), -levels, levels - 1) + levels);
    return scale;
}

#endif
