/* IQ2 and IQ3 with a group in each lane: all steps of scalar/lattice_search.c in its
 * order.  Only vectors that are no points leave the lanes, one by one, and have
 * their neighbours in lanes instead (near_lanes.h).  Built twice. */
#include "kernels/x86/lattice_lanes.h"
#include "kernels/x86/near_lanes.h"
#include "kernels/x86/positive_lanes.h"
#include "kernels/x86/x86.h"

enum { LATTICE_GROUP_MAX = 32, LATTICE_VECTORS_MAX = 8, MOVED = 1 << 16 };

/* LANES groups: element j of lane's is [j * LANES + lane], vector v's codeword
 * [v * LANES + lane], with MOVED set when it had to move to a point. */
typedef struct {
    _Alignas(64) float x[LATTICE_GROUP_MAX * LANES]; /* magnitudes, once signs are split off */
    float w[LATTICE_GROUP_MAX * LANES], wx[LATTICE_GROUP_MAX * LANES];
    float root[LATTICE_GROUP_MAX * LANES];                                       /* of w */
    float row_x[LANES * LATTICE_GROUP_MAX], row_root[LANES * LATTICE_GROUP_MAX]; /* rows */
    uint32_t tried[LATTICE_VECTORS_MAX * LANES], best[LATTICE_VECTORS_MAX * LANES];
    uint32_t negative[LATTICE_GROUP_MAX / 8 * LANES];
    const qn_lattice_search *how;
    const qn_lattice *lattice;
} lattice_batch;

/* What the compiler knows: functions that take one are inlined into one for each. */
typedef struct {
    int n, dims, levels, bits;
} lattice_shape;

static const lattice_shape shape_iq3 = {32, 4, 8, 3}, shape_iq2 = {16, 8, 3, 2},
                           shape_iq2_xxs = {32, 8, 3, 2};

/* ---- signs ------------------------------------------------------------- */

/* Eight magnitudes at x; their signs are returned. */
INLINE vec_int split_eight(bool even, float *x, const float *w)
{
    const vec zero = vec_all_of(0.0f);
    const vec_int sign = int_of_bits(vec_all_of(-0.0f)), none = int_all_of(0);
    vec_int negative = none, odd = none, least = none;
    vec least_cost = zero;
    for (int i = 0; i < 8; i++) {
        const vec v = vec_load(x + i * LANES);
        const vec_mask below = vec_less(v, zero);
        const vec cost = vec_mul(vec_mul(vec_load(w + i * LANES), v), v);
        const vec_mask less = vec_less(cost, least_cost);
        const vec_int flip = int_select(below, sign, none);
        negative = int_or(negative, int_select(below, int_all_of(1 << i), none));
        odd = int_xor(odd, flip);
        least_cost = i == 0 ? cost : vec_select(less, cost, least_cost);
        least = i == 0 ? none : int_select(less, int_all_of(i), least);
        vec_store(x + i * LANES, vec_of_bits(int_xor(int_of_bits(v), flip)));
    }
    if (!even) return negative;
    for (int i = 0; i < 8; i++) {
        const vec_int here = int_select(int_equal(least, int_all_of(i)), odd, none);
        vec_store(x + i * LANES, vec_of_bits(int_xor(int_of_bits(vec_load(x + i * LANES)), here)));
        negative = int_xor(negative, int_right(here, 31u - (unsigned)i));
    }
    return int_and(negative, int_all_of(127));
}

/* x as magnitudes; the largest of each lane is returned. */
INLINE vec split_lattice(const lattice_shape *s, lattice_batch *b)
{
    for (int v = 0; v < s->n / 8; v++)
        int_store(b->negative + v * LANES,
                  split_eight(b->how->even_signs, b->x + v * 8 * LANES, b->w + v * 8 * LANES));
    vec most = vec_load(b->x);
    for (int j = LANES; j < s->n * LANES; j += LANES) most = vec_max(vec_load(b->x + j), most);
    for (int j = 0; j < s->n * LANES; j += LANES) {
        vec_store(b->wx + j, vec_mul(vec_load(b->w + j), vec_load(b->x + j)));
        vec_store(b->root + j, vec_sqrt(vec_load(b->w + j)));
    }
    return most;
}

/* ---- candidates ---------------------------------------------------------------------- */

/* The vectors in `tried` that are no points move to one. */
INLINE void move_to_points(const lattice_shape *s, lattice_batch *b, const uint16_t *off, int n_off,
                           const uint32_t *number, const float *unit)
{
    for (int k = 0; k < n_off; k++) {
        const int at = off[k], lane = at % LANES, v = at / LANES;
        vec cost[8];
        if (s->dims == 4) {
            cost_4(b->x + v * 4 * LANES + lane, LANES, b->root + v * 4 * LANES + lane, unit[lane],
                   cost);
        } else {
            static const float odd[4] = {1.0f, 3.0f, 5.0f, 0.0f};
            const int row = lane * s->n + v * 8;
            cost_8(b->row_x + row, b->row_root + row,
                   vec_mul(vec_all_of(unit[lane]), vec_repeat_4(odd)), cost);
        }
        b->tried[at] = MOVED | nearest_lanes(b->lattice, s->dims, number[at], cost);
    }
}

/* All vectors at these scales, to `tried`. */
INLINE void code_lattice(const lattice_shape *s, lattice_batch *b, vec inverse, vec unit)
{
    const vec half = vec_all_of(0.5f), one = vec_all_of(1.0f);
    _Alignas(64) uint32_t number[LATTICE_VECTORS_MAX * LANES];
    uint16_t off[LATTICE_VECTORS_MAX * LANES];
    float units[LANES];
    int n_off = 0;
    for (int v = 0; v < s->n / s->dims; v++) {
        vec_int word = int_all_of(0), digits = word;
#pragma GCC unroll 8
        for (int i = s->dims - 1; i >= 0; i--) {
            const vec x = vec_load(b->x + (v * s->dims + i) * LANES);
            const vec_int c =
                int_code(vec_mul(half, vec_sub(vec_mul(inverse, x), one)), 0, s->levels - 1);
            word = int_or(int_left(word, (unsigned)s->bits), c);
            if (s->levels == 3) digits = int_add(int_add(digits, int_left(digits, 1)), c);
        }
        int_store(b->tried + v * LANES, word);
        int_store(number + v * LANES, s->levels == 3 ? digits : word);
        for (int at = v * LANES; at < (v + 1) * LANES; at++) {
            off[n_off] = (uint16_t)at;
            n_off += b->lattice->point[number[at]] < 0;
        }
    }
    vec_store(units, unit);
    move_to_points(s, b, off, n_off, number, units);
}

/* Sums of w*x*l and w*l*l with l = 2 * c + 1. */
INLINE void sum_lattice(const lattice_shape *s, const lattice_batch *b, const uint32_t *words,
                        vec *xl, vec *ll)
{
    static const float odd[8] = {1.0f, 3.0f, 5.0f, 7.0f, 9.0f, 11.0f, 13.0f, 15.0f};
    const vec table = s->dims == 8 ? vec_repeat_4(odd) : vec_repeat_8(_mm256_loadu_ps(odd));
    *xl = *ll = vec_all_of(0.0f);
    for (int v = 0; v < s->n / s->dims; v++) {
        const vec_int word = int_load(words + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < s->dims; i++) {
            const int j = (v * s->dims + i) * LANES;
            const vec_int c = int_right(word, (unsigned)(i * s->bits));
            const vec l = s->dims == 8 ? vec_lookup_4(table, c) : vec_lookup_8(table, c);
            *xl = vec_add(*xl, vec_mul(vec_load(b->wx + j), l));
            *ll = vec_add(*ll, vec_mul(vec_mul(vec_load(b->w + j), l), l));
        }
    }
}

/* ---- the search ---------------------------------------------------------------------- */

INLINE vec try_lattice(const lattice_shape *s, lattice_batch *b, vec most, vec scale)
{
    const int vectors = s->n / s->dims;
    const float top = (float)(2 * s->levels - 1);
    vec score = vec_all_of(0.0f);
    for (int v = 0; v < vectors; v++)
        int_store(b->best + v * LANES, int_all_of(b->how->again == QN_AGAIN_IF_ANY ? MOVED : 0));
    for (int k = -b->how->tries; k <= b->how->tries; k++) {
        const vec inverse = vec_div(vec_all_of(top + (float)k * b->how->step), most);
        vec xl, ll;
        code_lattice(s, b, inverse, vec_div(vec_all_of(1.0f), inverse));
        sum_lattice(s, b, b->tried, &xl, &ll);
        const vec_mask better =
            vec_and(vec_less(vec_all_of(0.0f), ll), vec_less(vec_mul(score, ll), vec_mul(xl, xl)));
        scale = vec_select(better, vec_div(xl, ll), scale);
        score = vec_select(better, vec_mul(scale, xl), score);
        for (int v = 0; v < vectors * LANES; v += LANES)
            int_store(b->best + v,
                      int_select(better, int_load(b->tried + v), int_load(b->best + v)));
    }
    return scale;
}

INLINE vec try_lattice_again(const lattice_shape *s, lattice_batch *b, vec scale)
{
    const vec zero = vec_all_of(0.0f), one = vec_all_of(1.0f);
    const vec_int moved = int_all_of(MOVED);
    const int vectors = s->n / s->dims;
    vec_int any = int_all_of(b->how->again == QN_AGAIN_ALWAYS ? MOVED : 0);
    for (int v = 0; v < vectors * LANES; v += LANES)
        any = int_or(any, int_and(int_load(b->best + v), moved));
    const vec_mask again = vec_and(vec_less(zero, scale), int_equal(any, moved));
    code_lattice(s, b, vec_div(one, scale), scale);
    for (int v = 0; v < vectors * LANES; v += LANES) {
        const vec_int word = int_load(b->best + v);
        const vec_mask here = b->how->again == QN_AGAIN_OFF_GRID
                                  ? vec_and(again, int_equal(int_and(word, moved), moved))
                                  : again;
        int_store(b->best + v, int_select(here, int_load(b->tried + v), word));
    }
    vec xl, ll;
    sum_lattice(s, b, b->best, &xl, &ll);
    return vec_select(vec_and(again, vec_less(zero, ll)), vec_div(xl, ll), scale);
}

/* The largest magnitude and the scale from which to look; the lanes that are not
 * empty are returned. */
INLINE vec_mask first_scale(const lattice_shape *s, lattice_batch *b, vec *most, vec *scale)
{
    const vec zero = vec_all_of(0.0f), one = vec_all_of(1.0f), least = vec_all_of(b->how->least);
    vec_mask full =
        vec_and(vec_less(zero, *most), vec_or(vec_less(least, *most), vec_equal(least, *most)));
    *most = vec_select(full, *most, one);
    if (!b->how->positive_start) {
        *scale = vec_div(*most, vec_all_of((float)(2 * s->levels - 1)));
        return full;
    }
    *scale = search_positive_lanes(s->n, s->levels + 1, b->x, b->w, *most, b->row_x);
    *most = vec_mul(*scale, vec_all_of((float)s->levels));
    full = vec_and(full, vec_less(zero, *most));
    *most = vec_select(full, *most, one);
    return full;
}

/* What was found for a lane, to group i. */
INLINE void store_lattice(const lattice_shape *s, const lattice_batch *b, int lane, float scale,
                          bool empty, qn_lattice_groups *g, int i)
{
    const unsigned mask = (1u << s->bits) - 1, flip = b->how->even_signs ? 127 : 255;
    uint8_t *c = g->c + i * s->n, *signs = g->signs + i * s->n / 8;
    g->scale[i] = fabsf(scale);
    g->empty[i] = empty;
    memset(c, 0, (size_t)s->n);
    memset(signs, 0, (size_t)s->n / 8);
    if (empty) return;
    for (int j = 0; j < s->n; j++) {
        const uint32_t word = b->best[j / s->dims * LANES + lane];
        c[j] = (uint8_t)(word >> (j % s->dims * s->bits) & mask);
    }
    for (int v = 0; v < s->n / 8; v++)
        signs[v] = (uint8_t)(b->negative[v * LANES + lane] ^ (scale < 0.0f ? flip : 0));
}

/* LANES groups, the first of them number `at`. */
INLINE void search_lattice(const lattice_shape *s, const qn_lattice_search *how,
                           const super_batch *in, int at, qn_lattice_groups *found)
{
    const int per_super = QN_SUPER / s->n;
    lattice_batch b = {.how = how, .lattice = qn_lattice_get(how->id)};
    float scales[LANES];
    transpose_groups(in->x + at * s->n, (size_t)s->n, b.x);
    if (in->importance) transpose_groups(in->importance + at * s->n, (size_t)s->n, b.w);
    weigh_lanes(s->n, b.x, in->importance, how->plain, spread_lanes(in, s->n, at), b.w);
    vec most = split_lattice(s, &b), scale;
    const vec_mask full = first_scale(s, &b, &most, &scale);
    if (s->dims == 8) store_rows(s->n, b.x, b.row_x);
    if (s->dims == 8) store_rows(s->n, b.root, b.row_root);
    scale = try_lattice(s, &b, most, scale);
    scale = vec_select(full, try_lattice_again(s, &b, scale), vec_all_of(0.0f));
    vec_store(scales, scale);
    const unsigned bits = vec_bits(full);
    for (int lane = 0; lane < LANES; lane++)
        store_lattice(s, &b, lane, scales[lane], !(bits >> lane & 1),
                      found + (at + lane) / per_super, (at + lane) % per_super);
}

/* The search of a super_batch. */
typedef void (*lattice_lanes)(const qn_lattice_search *how, const super_batch *in,
                              qn_lattice_groups *found);

static void search_iq3(const qn_lattice_search *how, const super_batch *in,
                       qn_lattice_groups *found)
{
    for (int at = 0; at < in->groups; at += LANES) search_lattice(&shape_iq3, how, in, at, found);
}

static void search_iq2(const qn_lattice_search *how, const super_batch *in,
                       qn_lattice_groups *found)
{
    for (int at = 0; at < in->groups; at += LANES) search_lattice(&shape_iq2, how, in, at, found);
}

static void search_iq2_xxs(const qn_lattice_search *how, const super_batch *in,
                           qn_lattice_groups *found)
{
    for (int at = 0; at < in->groups; at += LANES)
        search_lattice(&shape_iq2_xxs, how, in, at, found);
}

/* ---- types --------------------------------------------------------------------------- */

/* The first of `left` super-blocks; how many. */
static size_t search_some(lattice_lanes search, const qn_lattice_search *how, const float *x,
                          const float *importance, size_t left, qn_lattice_groups *found)
{
    super_batch in;
    take_supers(&in, how->n, x, importance, left, how->spread);
    search(how, &in, found);
    return in.here;
}

static void encode_iq3_s(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq3_s *b = blocks;
    for (size_t i = 0; i < n;) {
        qn_lattice_groups g[TOGETHER_MAX];
        const size_t some = search_some(search_iq3, &qn_search_iq3_s, x + i,
                                        weights ? weights + i : NULL, (n - i) / QN_SUPER, g);
        for (size_t k = 0; k < some; k++) qn_finish_iq3_s(g + k, b++);
        i += some * QN_SUPER;
    }
}

static void encode_iq3_xxs(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq3_xxs *b = blocks;
    for (size_t i = 0; i < n;) {
        qn_lattice_groups g[TOGETHER_MAX];
        const size_t some = search_some(search_iq3, &qn_search_iq3_xxs, x + i,
                                        weights ? weights + i : NULL, (n - i) / QN_SUPER, g);
        for (size_t k = 0; k < some; k++) qn_finish_iq3_xxs(g + k, b++);
        i += some * QN_SUPER;
    }
}

static void encode_iq2_s(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq2_s *b = blocks;
    for (size_t i = 0; i < n;) {
        qn_lattice_groups g[TOGETHER_MAX];
        const size_t some = search_some(search_iq2, &qn_search_iq2_s, x + i,
                                        weights ? weights + i : NULL, (n - i) / QN_SUPER, g);
        for (size_t k = 0; k < some; k++) qn_finish_iq2_s(g + k, b++);
        i += some * QN_SUPER;
    }
}

static void encode_iq2_xs(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq2_xs *b = blocks;
    for (size_t i = 0; i < n;) {
        qn_lattice_groups g[TOGETHER_MAX];
        const size_t some = search_some(search_iq2, &qn_search_iq2_xs, x + i,
                                        weights ? weights + i : NULL, (n - i) / QN_SUPER, g);
        for (size_t k = 0; k < some; k++) qn_finish_iq2_xs(g + k, b++);
        i += some * QN_SUPER;
    }
}

static void encode_iq2_xxs(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq2_xxs *b = blocks;
    for (size_t i = 0; i < n;) {
        qn_lattice_groups g[TOGETHER_MAX];
        const size_t some = search_some(search_iq2_xxs, &qn_search_iq2_xxs, x + i,
                                        weights ? weights + i : NULL, (n - i) / QN_SUPER, g);
        for (size_t k = 0; k < some; k++) qn_finish_iq2_xxs(g + k, b++);
        i += some * QN_SUPER;
    }
}

void QN_USE(qn_kernels *k)
{
    k->encode[QN_IQ3_S] = encode_iq3_s;
    k->encode[QN_IQ3_XXS] = encode_iq3_xxs;
    k->encode[QN_IQ2_S] = encode_iq2_s;
    k->encode[QN_IQ2_XS] = encode_iq2_xs;
    k->encode[QN_IQ2_XXS] = encode_iq2_xxs;
}
