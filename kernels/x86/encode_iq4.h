/* IQ4_NL and IQ4_XS: a group of 32 in each lane; rounding of scales is the scalar
 * code's (scalar/iq4.h).  Built twice: encode_iq4_avx2.c and encode_iq4_avx512.c
 * include this. */
#include <math.h>
#include <string.h>

#define VEC_PAIRS
#include "kernels/half.h"
#include "kernels/scalar/iq4.h"
#include "kernels/x86/pack.h"
#include "kernels/x86/search_lanes.h"
#include "kernels/x86/x86.h"

enum { GROUP = 32, CELLS = GROUP * LANES };

/* LANES groups, transposed. */
typedef struct {
    float x[CELLS], w[CELLS], q[CELLS];
} batch;

/* The code of the nearest of the 16 levels.  Cells of 16 from -128.25 on hold at most two
 * of the bounds each, and none of these lies within a quarter of a cell's edge,
 * so a cell found by rounding is never wrong by one.  NaN gets the last code. */
static inline vec nearest_code(vec v)
{
    static const float none = 1000.0f;
    static const float first[16] = {-115.5f, none,  -93.5f, -74.0f, -57.0f, -42.0f, -28.5f, -16.0f,
                                    7.0f,    19.0f, 45.5f,  61.0f,  79.0f,  none,   101.0f, none};
    static const float second[16] = {none, none,  none, none, none, none, none, -4.5f,
                                     none, 31.5f, none, none, none, none, none, none};
    /* the code at a cell's start */
    static const float start[16] = {0, 1, 1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 14, 15};
    const vec inside = vec_min(vec_max(vec_all_of(-128.0f), v), vec_all_of(127.0f));
    const vec cell = vec_mul(vec_add(inside, vec_all_of(128.25f)), vec_all_of(0.0625f));
    const vec one = vec_all_of(1.0f), zero = vec_all_of(0.0f);
    vec code = vec_lookup16(start, cell);
    code = vec_add(code, vec_select(vec_less(inside, vec_lookup16(first, cell)), zero, one));
    return vec_add(code, vec_select(vec_less(inside, vec_lookup16(second, cell)), zero, one));
}

static inline vec nearest_level(vec v)
{
    static const float level[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};
    return vec_lookup16(level, nearest_code(v));
}

/* Sums of w*l*x and w*l*l. */
static inline void try_levels(const batch *b, vec inverse, vec *xl, vec *ll)
{
    *xl = *ll = vec_all_of(0.0f);
    for (size_t j = 0; j < CELLS; j += LANES) {
        const vec x = vec_load(b->x + j), level = nearest_level(vec_mul(inverse, x));
        const vec wl = vec_mul(vec_load(b->w + j), level);
        *xl = vec_add(*xl, vec_mul(wl, x));
        *ll = vec_add(*ll, vec_mul(wl, level));
    }
}

static inline vec search_levels(const batch *b)
{
    const vec zero = vec_all_of(0.0f), lowest = vec_all_of(-127.0f);
    vec most = zero, magnitude = zero, xl, ll;
    for (size_t j = 0; j < CELLS; j += LANES) {
        const vec x = vec_load(b->x + j), a = vec_abs(x);
        const vec_mask larger = vec_less(magnitude, a);
        magnitude = vec_select(larger, a, magnitude);
        most = vec_select(larger, x, most);
    }
    const vec_mask none = vec_less(magnitude, vec_all_of(1e-15f));
    try_levels(b, vec_div(vec_all_of(1.0f), vec_div(vec_negate(most), lowest)), &xl, &ll);
    vec d = vec_select(vec_less(zero, ll), vec_div(xl, ll), zero), best = vec_mul(d, xl);
    for (int k = -7; k <= 7; k++) {
        try_levels(b, vec_div(vec_all_of((float)k - 127.0f), most), &xl, &ll);
        const vec_mask better =
            vec_and(vec_less(zero, ll), vec_less(vec_mul(best, ll), vec_mul(xl, xl)));
        d = vec_select(better, vec_div(xl, ll), d);
        best = vec_select(better, vec_mul(d, xl), best);
    }
    return vec_select(none, zero, d);
}

/* The scales of LANES groups at x; `size` weights share a spread. */
static inline void search(const float *x, const float *weights, size_t size, batch *b, float *scale)
{
    transpose_groups(x, GROUP, b->x);
    if (weights) {
        const vec squares = sums_of_squares(x, GROUP, size);
        const vec spread = vec_mul(squares, vec_all_of(2.0f / (float)size));
        transpose_groups(weights, GROUP, b->w);
        for (size_t j = 0; j < CELLS; j += LANES) {
            const vec v = vec_load(b->x + j), root = vec_sqrt(vec_add(spread, vec_mul(v, v)));
            vec_store(b->w + j, vec_mul(vec_load(b->w + j), root));
        }
    } else {
        for (size_t j = 0; j < CELLS; j += LANES)
            vec_store(b->w + j, vec_mul(vec_load(b->x + j), vec_load(b->x + j)));
    }
    vec_store(scale, search_levels(b));
}

/* Codes of x times its lane's `inverse`, then nibbles: byte j of a group holds
 * weight j low and weight j + 16 high. */
static inline void code(batch *b, const float *inverse, uint8_t q[LANES][GROUP / 2])
{
    uint8_t codes[LANES][GROUP];
    for (size_t j = 0; j < CELLS; j += LANES)
        vec_store(b->q + j, nearest_code(vec_mul(vec_load(inverse), vec_load(b->x + j))));
    unload_codes(b->q, GROUP, codes[0]);
    for (int i = 0; i < LANES; i++) pack_nibbles(codes[i], q[i]);
}

static void encode_iq4_nl(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq4_nl *out = blocks;
    float room[2][CELLS];
    for (size_t i = 0; i < n; i += CELLS) {
        const float *here = x + i, *w = weights ? weights + i : NULL;
        const size_t groups = (n - i < CELLS ? n - i : CELLS) / GROUP;
        batch b;
        float scale[LANES], inverse[LANES] = {0};
        uint8_t q[LANES][GROUP / 2];
        fill_batch(&here, &w, GROUP, n - i, room);
        search(here, w, GROUP, &b, scale);
        for (size_t g = 0; g < groups; g++) inverse[g] = qn_iq4_nl_round_scale(scale[g], out + g);
        code(&b, inverse, q);
        for (size_t g = 0; g < groups; g++, out++) memcpy(out->q, q[g], sizeof out->q);
    }
}

static void encode_iq4_xs(const float *x, const float *weights, void *blocks, size_t n)
{
    enum { GROUPS = QN_SUPER / GROUP };
    qn_block_iq4_xs *out = blocks;
    float room[2][CELLS];
    for (size_t i = 0; i < n; i += CELLS) {
        const float *here = x + i, *w = weights ? weights + i : NULL;
        const size_t groups = (n - i < CELLS ? n - i : CELLS) / GROUP;
        batch b;
        float scale[LANES], inverse[LANES] = {0};
        uint8_t q[LANES][GROUP / 2];
        fill_batch(&here, &w, GROUP, n - i, room);
        search(here, w, QN_SUPER, &b, scale);
        for (size_t g = 0; g < groups; g += GROUPS)
            qn_iq4_xs_round_scales(scale + g, out + g / GROUPS, inverse + g);
        code(&b, inverse, q);
        for (size_t g = 0; g < groups; g += GROUPS, out++) memcpy(out->q, q[g], sizeof out->q);
    }
}

void QN_USE(qn_kernels *k)
{
    k->encode[QN_IQ4_NL] = encode_iq4_nl;
    k->encode[QN_IQ4_XS] = encode_iq4_xs;
}
