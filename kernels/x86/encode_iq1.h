/* IQ1_S and IQ1_M with a group in each lane: all steps of scalar/iq1.c in its
 * order.  Vectors that are no points leave the lanes one by one and have their
 * neighbours in lanes instead (near_lanes.h).  Built twice. */
#include <float.h>

#include "kernels/scalar/iq1.h"
#include "kernels/x86/lattice_lanes.h"
#include "kernels/x86/near_lanes.h"
#include "kernels/x86/x86.h"

enum { S_GROUP = 32, M_GROUP = 16, PAIRS = 4, EIGHT = 8 };

/* LANES groups: element j of lane's is [j * LANES + lane]. */
typedef struct {
    _Alignas(64) float x[S_GROUP * LANES], w[S_GROUP * LANES];
    float row_x[S_GROUP * LANES], row_w[S_GROUP * LANES]; /* lane by lane */
    float sorted_x[S_GROUP * LANES], sorted_w[S_GROUP * LANES];
    uint32_t order[S_GROUP * LANES];         /* where the sorted ones were */
    uint32_t words[S_GROUP / EIGHT * LANES]; /* codewords of vectors */
    float lowest[S_GROUP / EIGHT * LANES];   /* the lowest of their three levels */
} iq1_batch;

/* scalar/iq1.c's split; at < 0 before the first. */
typedef struct {
    vec scale, score;
    vec_int at; /* low << 16 | high << 8 | shift */
} split_lanes;

/* ---- sorting ------------------------------------------------------------------------- */

/* The smaller of two to a, of equal ones the one that came first. */
static inline void order_two(iq1_batch *b, int a, int other)
{
    const vec xa = vec_load(b->sorted_x + a), xb = vec_load(b->sorted_x + other);
    const vec wa = vec_load(b->sorted_w + a), wb = vec_load(b->sorted_w + other);
    const vec_int ia = int_load(b->order + a), ib = int_load(b->order + other);
    const vec_mask swap = vec_or(vec_less(xb, xa), vec_and(vec_equal(xa, xb), int_less(ib, ia)));
    vec_store(b->sorted_x + a, vec_select(swap, xb, xa));
    vec_store(b->sorted_x + other, vec_select(swap, xa, xb));
    vec_store(b->sorted_w + a, vec_select(swap, wb, wa));
    vec_store(b->sorted_w + other, vec_select(swap, wa, wb));
    int_store(b->order + a, int_select(swap, ib, ia));
    int_store(b->order + other, int_select(swap, ia, ib));
}

/* Batcher's odd-even merge sort (Knuth, volume 3, 5.2.2, algorithm M): what is
 * compared does not depend on the values. */
static inline void sort_lanes(iq1_batch *b, int n)
{
    memcpy(b->sorted_x, b->x, (size_t)n * LANES * sizeof *b->x);
    memcpy(b->sorted_w, b->w, (size_t)n * LANES * sizeof *b->w);
    for (int j = 0; j < n; j++) int_store(b->order + j * LANES, int_all_of(j));
    for (int run = 1; run < n; run *= 2)
        for (int step = run; step > 0; step /= 2)
            for (int from = step % run; from + step < n; from += 2 * step)
                for (int i = from; i < from + step && i + step < n; i++)
                    if (!((i ^ (i + step)) & 2 * run)) order_two(b, i * LANES, (i + step) * LANES);
}

/* ---- splits -------------------------------------------------------------------------- */

static inline vec_mask beats(const split_lanes *best, vec xl, vec ll)
{
    return vec_less(vec_mul(best->score, ll), vec_mul(xl, xl));
}

INLINE void try_split_lanes(split_lanes *best, vec xl, vec ll, int low, int high, int shift)
{
    const vec_mask better = vec_and(vec_less(vec_all_of(0.0f), ll), beats(best, xl, ll));
    const vec scale = vec_div(xl, ll);
    best->scale = vec_select(better, scale, best->scale);
    best->score = vec_select(better, vec_mul(scale, xl), best->score);
    best->at = int_select(better, int_all_of(low << 16 | high << 8 | shift), best->at);
}

static inline split_lanes no_split(void)
{
    return (split_lanes){vec_all_of(0.0f), vec_all_of(-FLT_MAX), int_all_of(-1)};
}

/* Of the levels -0.875, 0.125, 1.125 and -1.125, -0.125, 0.875 the middle ones
 * differ in sign alone, so that their terms do. */
static inline split_lanes best_split_s(const iq1_batch *b)
{
    enum { N = S_GROUP };
    const vec low_level[2] = {vec_all_of(-0.875f), vec_all_of(-1.125f)};
    const vec high_level[2] = {vec_all_of(1.125f), vec_all_of(0.875f)};
    const vec eighth = vec_all_of(0.125f);
    vec sum_x[N + 1], sum_w[N + 1], high_x[N + 1][2], high_w[N + 1][2];
    split_lanes best = no_split();
    sum_x[0] = sum_w[0] = vec_all_of(0.0f);
    for (int j = 0; j < N; j++) {
        const vec x = vec_load(b->sorted_x + j * LANES), w = vec_load(b->sorted_w + j * LANES);
        sum_x[j + 1] = vec_add(sum_x[j], vec_mul(w, x));
        sum_w[j + 1] = vec_add(sum_w[j], w);
    }
    for (int high = 0; high <= N; high++)
        for (int k = 0; k < 2; k++) {
            const vec l = high_level[k];
            high_x[high][k] = vec_mul(vec_sub(sum_x[N], sum_x[high]), l);
            high_w[high][k] = vec_mul(vec_mul(vec_sub(sum_w[N], sum_w[high]), l), l);
        }
    for (int low = 0; low <= N; low++) {
        vec low_x[2], low_w[2];
        for (int k = 0; k < 2; k++) {
            low_x[k] = vec_mul(sum_x[low], low_level[k]);
            low_w[k] = vec_mul(vec_mul(sum_w[low], low_level[k]), low_level[k]);
        }
        for (int high = low; high <= N; high++) {
            const vec x = vec_mul(vec_sub(sum_x[high], sum_x[low]), eighth);
            const vec w = vec_mul(vec_mul(vec_sub(sum_w[high], sum_w[low]), eighth), eighth);
            const vec xl_0 = vec_add(vec_add(low_x[0], x), high_x[high][0]);
            const vec xl_1 = vec_add(vec_sub(low_x[1], x), high_x[high][1]);
            const vec ll_0 = vec_add(vec_add(low_w[0], w), high_w[high][0]);
            const vec ll_1 = vec_add(vec_add(low_w[1], w), high_w[high][1]);
            if (!vec_bits(vec_or(beats(&best, xl_0, ll_0), beats(&best, xl_1, ll_1)))) continue;
            try_split_lanes(&best, xl_0, ll_0, low, high, 0);
            try_split_lanes(&best, xl_1, ll_1, low, high, 1);
        }
    }
    return best;
}

/* For the four pairs of shifts. */
typedef struct {
    vec xl[PAIRS], ll[PAIRS];
} pair_sums;

INLINE void add_pairs(pair_sums *sum, const pair_sums *term)
{
#pragma GCC unroll 4
    for (int p = 0; p < PAIRS; p++) {
        sum->xl[p] = vec_add(sum->xl[p], term->xl[p]);
        sum->ll[p] = vec_add(sum->ll[p], term->ll[p]);
    }
}

/* What the sorted weights add at a level, shifted up and down: by pairs of
 * shifts for the first eight and the second. */
static inline void terms_of_level(const iq1_batch *b, float up, float down,
                                  pair_sums terms[M_GROUP])
{
    for (int j = 0; j < M_GROUP; j++) {
        const vec x = vec_load(b->sorted_x + j * LANES), w = vec_load(b->sorted_w + j * LANES);
        const vec_mask first = int_less(int_load(b->order + j * LANES), int_all_of(EIGHT));
        vec xl[2], ll[2];
        for (int k = 0; k < 2; k++) {
            const vec l = vec_all_of(k ? down : up), wl = vec_mul(w, l);
            xl[k] = vec_mul(wl, x);
            ll[k] = vec_mul(wl, l);
        }
        for (int p = 0; p < PAIRS; p++) {
            terms[j].xl[p] = vec_select(first, xl[p >> 1], xl[p & 1]);
            terms[j].ll[p] = vec_select(first, ll[p >> 1], ll[p & 1]);
        }
    }
}

static inline split_lanes best_split_m(const iq1_batch *b)
{
    pair_sums low_terms[M_GROUP], mid_terms[M_GROUP], high_terms[M_GROUP], low_sum;
    split_lanes best = no_split();
    terms_of_level(b, -0.875f, -1.125f, low_terms);
    terms_of_level(b, 0.125f, -0.125f, mid_terms);
    terms_of_level(b, 1.125f, 0.875f, high_terms);
    for (int p = 0; p < PAIRS; p++) low_sum.xl[p] = low_sum.ll[p] = vec_all_of(0.0f);
    for (int low = 0; low <= M_GROUP; low++) {
        pair_sums mid = low_sum;
        for (int high = low; high <= M_GROUP; high++) {
            pair_sums sum = mid;
            for (int j = high; j < M_GROUP; j++) add_pairs(&sum, &high_terms[j]);
            vec_mask any = beats(&best, sum.xl[0], sum.ll[0]);
#pragma GCC unroll 4
            for (int p = 1; p < PAIRS; p++) any = vec_or(any, beats(&best, sum.xl[p], sum.ll[p]));
            if (vec_bits(any))
#pragma GCC unroll 4
                for (int p = 0; p < PAIRS; p++)
                    try_split_lanes(&best, sum.xl[p], sum.ll[p], low, high, p);
            if (high < M_GROUP) add_pairs(&mid, &mid_terms[high]);
        }
        if (low < M_GROUP) add_pairs(&low_sum, &low_terms[low]);
    }
    return best;
}

/* ---- points -------------------------------------------------------------------------- */

/* Which weights are at or behind place `at` of the sorted ones: those not before
 * the one there. */
typedef struct {
    vec x;
    vec_int order;
} sorted_place;

static inline sorted_place place_of(const iq1_batch *b, int n, vec_int at)
{
    uint32_t place[LANES], order[LANES];
    float x[LANES];
    int_store(place, at);
    for (int lane = 0; lane < LANES; lane++) {
        const bool inside = place[lane] < (unsigned)n;
        const uint32_t here = (inside ? place[lane] : 0) * LANES + (unsigned)lane;
        x[lane] = inside ? b->sorted_x[here] : FLT_MAX;
        order[lane] = inside ? b->order[here] : (uint32_t)n;
    }
    return (sorted_place){vec_load(x), int_load(order)};
}

static inline vec_int behind(const sorted_place *p, vec x, int i)
{
    const vec_mask before =
        vec_or(vec_less(x, p->x), vec_and(vec_equal(x, p->x), int_less(int_all_of(i), p->order)));
    return int_select(before, int_all_of(0), int_all_of(1));
}

/* Codewords of the split, levels in reverse where `reversed`. */
static inline void split_words(iq1_batch *b, int n, const split_lanes *s, vec_mask reversed)
{
    const sorted_place low = place_of(b, n, int_right(s->at, 16));
    const sorted_place high = place_of(b, n, int_and(int_right(s->at, 8), int_all_of(255)));
    const vec_int two = int_all_of(2);
    for (int v = 0; v < n / EIGHT; v++) {
        vec_int word = int_all_of(0);
        for (int i = 0; i < EIGHT; i++) {
            const int j = v * EIGHT + i;
            const vec x = vec_load(b->x + j * LANES);
            const vec_int c = int_add(behind(&low, x, j), behind(&high, x, j));
            const vec_int level = int_select(reversed, int_sub(two, c), c);
            word = int_or(word, int_left(level, 2 * (unsigned)i));
        }
        int_store(b->words + v * LANES, word);
    }
}

/* The numbers of codewords. */
static inline vec_int numbers_of(vec_int word)
{
    vec_int number = int_all_of(0);
    for (int i = EIGHT - 1; i >= 0; i--) {
        const vec_int c = int_and(int_right(word, 2 * (unsigned)i), int_all_of(3));
        number = int_add(int_add(number, int_left(number, 1)), c);
    }
    return number;
}

static inline void lowest_levels(iq1_batch *b, int n, vec_int split)
{
    for (int v = 0; v < n / EIGHT; v++) {
        const vec_int bit = int_all_of(n == S_GROUP || v == 1 ? 1 : 2);
        const vec_mask down = int_equal(int_and(split, bit), bit);
        vec_store(b->lowest + v * LANES,
                  vec_select(down, vec_all_of(-1.125f), vec_all_of(-0.875f)));
    }
}

/* Vectors that are no points move to one; which lanes have one that did, a bit
 * each. */
static inline unsigned move_iq1(iq1_batch *b, int n, vec scale)
{
    const qn_lattice *l = qn_lattice_get(QN_LATTICE_IQ1);
    float scales[LANES];
    unsigned moved = 0;
    vec_store(scales, scale);
    for (int v = 0; v < n / EIGHT; v++) {
        uint32_t number[LANES];
        int_store(number, numbers_of(int_load(b->words + v * LANES)));
        for (int lane = 0; lane < LANES; lane++) {
            if (l->point[number[lane]] >= 0) continue;
            const float low = b->lowest[v * LANES + lane];
            const float levels[4] = {low, low + 1.0f, low + 2.0f, 0.0f};
            const int row = lane * n + v * EIGHT;
            vec cost[EIGHT];
            cost_8(b->row_x + row, b->row_w + row,
                   vec_mul(vec_all_of(scales[lane]), vec_repeat_4(levels)), cost);
            b->words[v * LANES + lane] = nearest_lanes(l, EIGHT, number[lane], cost);
            moved |= 1u << lane;
        }
    }
    return moved;
}

/* The scale once more. */
static inline vec fit_iq1(const iq1_batch *b, int n, vec scale)
{
    const vec zero = vec_all_of(0.0f);
    vec xl = zero, ll = zero;
    for (int v = 0; v < n / EIGHT; v++) {
        const vec_int word = int_load(b->words + v * LANES);
        const vec low = vec_load(b->lowest + v * LANES);
        for (int i = 0; i < EIGHT; i++) {
            const int j = (v * EIGHT + i) * LANES;
            const vec_int c = int_and(int_right(word, 2 * (unsigned)i), int_all_of(3));
            const vec l = vec_add(float_of_int(c), low), wl = vec_mul(vec_load(b->w + j), l);
            xl = vec_add(xl, vec_mul(wl, vec_load(b->x + j)));
            ll = vec_add(ll, vec_mul(wl, l));
        }
    }
    return vec_select(vec_and(vec_less(zero, xl), vec_less(zero, ll)), vec_div(xl, ll), scale);
}

/* ---- groups -------------------------------------------------------------------------- */

/* What was found, each lane's to its group: `again` is the scale where a vector
 * moved, `none` are the empty groups. */
static inline void store_iq1(const iq1_batch *b, int n, vec scale, vec again, vec_int split,
                             unsigned moved, unsigned none, int at, qn_iq1_groups *found)
{
    const qn_lattice *l = qn_lattice_get(QN_LATTICE_IQ1);
    const int vectors = n / EIGHT, per_super = QN_SUPER / n;
    float scales[2][LANES];
    uint32_t shift[LANES], number[S_GROUP / EIGHT * LANES];
    vec_store(scales[0], scale);
    vec_store(scales[1], again);
    int_store(shift, int_and(split, int_all_of(3)));
    for (int v = 0; v < vectors * LANES; v += LANES)
        int_store(number + v, numbers_of(int_load(b->words + v)));
    for (int lane = 0; lane < LANES; lane++) {
        qn_iq1_groups *g = found + (at + lane) / per_super;
        const int i = (at + lane) % per_super;
        const bool empty = none >> lane & 1;
        memcpy(g->w + i * n, b->row_w + lane * n, (size_t)n * sizeof *g->w);
        g->scale[i] = empty ? 0.0f : scales[moved >> lane & 1][lane];
        g->shift[i] = empty ? 0 : (uint8_t)shift[lane];
        for (int v = 0; v < vectors; v++)
            g->point[i * vectors + v] = empty ? 0 : (uint16_t)l->point[number[v * LANES + lane]];
    }
}

/* LANES groups of n weights, the first of them number `at`. */
INLINE void search_iq1(int n, const super_batch *in, int at, qn_iq1_groups *found)
{
    const bool is_s = n == S_GROUP;
    const vec zero = vec_all_of(0.0f);
    iq1_batch b;
    transpose_groups(in->x + at * n, (size_t)n, b.x);
    if (in->importance) transpose_groups(in->importance + at * n, (size_t)n, b.w);
    weigh_lanes(n, b.x, in->importance, is_s ? QN_PLAIN_ONES : QN_PLAIN_SQUARES,
                spread_lanes(in, n, at), b.w);
    store_rows(n, b.x, b.row_x);
    store_rows(n, b.w, b.row_w);
    vec most = zero;
    for (int j = 0; j < n * LANES; j += LANES) most = vec_max(most, vec_abs(vec_load(b.x + j)));
    sort_lanes(&b, n);
    split_lanes best = is_s ? best_split_s(&b) : best_split_m(&b);
    const vec_mask empty =
        vec_or(vec_less(most, vec_all_of(is_s ? 1e-12f : 1e-7f)), int_less(best.at, int_all_of(0)));
    const vec_mask reversed = vec_less(best.scale, zero);
    best.scale = vec_select(reversed, vec_negate(best.scale), best.scale);
    best.at = int_select(reversed, int_xor(best.at, int_all_of(is_s ? 1 : 3)), best.at);
    split_words(&b, n, &best, reversed);
    lowest_levels(&b, n, best.at);
    const unsigned moved = move_iq1(&b, n, best.scale), none = vec_bits(empty);
    store_iq1(&b, n, best.scale, fit_iq1(&b, n, best.scale), best.at, moved, none, at, found);
}

static void search_s(const super_batch *in, qn_iq1_groups *found)
{
    for (int at = 0; at < in->groups; at += LANES) search_iq1(S_GROUP, in, at, found);
}

static void search_m(const super_batch *in, qn_iq1_groups *found)
{
    for (int at = 0; at < in->groups; at += LANES) search_iq1(M_GROUP, in, at, found);
}

static void encode_iq1_s(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq1_s *b = blocks;
    for (size_t i = 0; i < n;) {
        super_batch in;
        qn_iq1_groups g[TOGETHER_MAX];
        take_supers(&in, S_GROUP, x + i, weights ? weights + i : NULL, (n - i) / QN_SUPER, 2.0f);
        search_s(&in, g);
        for (size_t k = 0; k < in.here; k++) qn_finish_iq1_s(g + k, b++);
        i += in.here * QN_SUPER;
    }
}

static void encode_iq1_m(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq1_m *b = blocks;
    for (size_t i = 0; i < n;) {
        super_batch in;
        qn_iq1_groups g[TOGETHER_MAX];
        take_supers(&in, M_GROUP, x + i, weights ? weights + i : NULL, (n - i) / QN_SUPER, 2.0f);
        search_m(&in, g);
        for (size_t k = 0; k < in.here; k++, i += QN_SUPER) qn_finish_iq1_m(x + i, g + k, b++);
    }
}

void QN_USE(qn_kernels *k)
{
    k->encode[QN_IQ1_S] = encode_iq1_s;
    k->encode[QN_IQ1_M] = encode_iq1_m;
}
