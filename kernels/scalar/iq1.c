/* IQ1_S and IQ1_M: -1, 0 or +1 and a shift of an eighth up or down, eight weights
 * at once as a point of a grid; the shift per 32 weights or per 8, a 3-bit scale
 * per 32 or 16 (ggml-quants.c: quantize_row_iq1_s_impl, quantize_row_iq1_m_impl).
 *
 * With three levels the best codes for some scale split the weights, sorted,
 * into three runs, so that all splits can be tried. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/grids.h"
#include "kernels/half.h"
#include "kernels/scalar/iq1.h"
#include "kernels/scalar/scalar.h"
#include "kernels/scalar/search.h"

enum { VECTOR = 8, VECTORS = QN_SUPER / VECTOR, SCALE_TOP = 7, LEVELS = 3 };
enum { S_GROUP = 32, S_GROUPS = QN_SUPER / S_GROUP, M_GROUP = 16, M_GROUPS = QN_SUPER / M_GROUP };

/* Shifted up and down. */
static const float level[2][LEVELS] = {{-0.875f, 0.125f, 1.125f}, {-1.125f, -0.125f, 0.875f}};

/* ---- decoding ---------------------------------------------------------------------- */

static void decode_vector(unsigned index, bool down, float scale, float *out)
{
    for (int i = 0; i < VECTOR; i++)
        out[i] = scale * level[down][qn_grid_iq1[index] >> (2 * i) & 3];
}

static void decode_iq1_s(const void *blocks, float *out, size_t n)
{
    const qn_block_iq1_s *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int v = 0; v < VECTORS; v++) {
            const unsigned high = b->high[v / 4], index = high >> (v % 4 * 3) & 7;
            const float scale = qn_half_value(b->d) * (float)(2 * (high >> 12 & 7) + 1);
            decode_vector(b->q[v] | index << 8, high >> 15, scale, out + i + v * VECTOR);
        }
}

/* Two bytes for four groups' scales (3 bits each) and 4 bits of d. */
static unsigned scale_word(const qn_block_iq1_m *b, int i)
{
    return b->scales[2 * i] | (unsigned)b->scales[2 * i + 1] << 8;
}

static void decode_iq1_m(const void *blocks, float *out, size_t n)
{
    const qn_block_iq1_m *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        unsigned d = 0;
        for (int k = 0; k < 4; k++) d |= scale_word(b, k) >> 12 << (4 * k);
        for (int v = 0; v < VECTORS; v++) {
            const unsigned high = b->high[v / 2] >> (v % 2 * 4);
            const unsigned code = scale_word(b, v / 8) >> (v % 8 / 2 * 3) & 7;
            const float scale = qn_half_value((qn_half)d) * (float)(2 * code + 1);
            decode_vector(b->q[v] | (high & 7) << 8, high >> 3 & 1, scale, out + i + v * VECTOR);
        }
    }
}

/* ---- splits -------------------------------------------------------------------------- */

/* Which weights are small: order[0] is the smallest, equal ones keep their order
 * (the sums below run in this order, so it is part of the format). */
static void sort(const float *x, int n, uint8_t *order)
{
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && x[order[at - 1]] > x[i]; at--) order[at] = order[at - 1];
        order[at] = (uint8_t)i;
    }
}

/* The best so far: weights order[0..low) are at the lowest level, those from
 * order[high] up at the highest.  shift: IQ1_S which level[], IQ1_M two bits,
 * bit 1 that of the first half. */
typedef struct {
    float scale, score;
    int low, high, shift;
} split;

static void try_split(split *best, float xl, float ll, int low, int high, int shift)
{
    if (!(ll > 0.0f && xl * xl > best->score * ll)) return;
    const float scale = xl / ll;
    *best = (split){scale, scale * xl, low, high, shift};
}

/* One shift for all: sums over runs are differences of sums from the start. */
static split best_split_s(const float *x, const float *w, const uint8_t *order)
{
    enum { N = S_GROUP };
    float sum_x[N + 1] = {0.0f}, sum_w[N + 1] = {0.0f};
    split best = {.score = -FLT_MAX, .low = -1};
    for (int j = 0; j < N; j++) {
        const int i = order[j];
        sum_x[j + 1] = sum_x[j] + w[i] * x[i];
        sum_w[j + 1] = sum_w[j] + w[i];
    }
    for (int low = 0; low <= N; low++)
        for (int high = low; high <= N; high++)
            for (int shift = 0; shift < 2; shift++) {
                const float *l = level[shift];
                const float xl = sum_x[low] * l[0] + (sum_x[high] - sum_x[low]) * l[1] +
                                 (sum_x[N] - sum_x[high]) * l[2];
                const float ll = sum_w[low] * l[0] * l[0] +
                                 (sum_w[high] - sum_w[low]) * l[1] * l[1] +
                                 (sum_w[N] - sum_w[high]) * l[2] * l[2];
                try_split(&best, xl, ll, low, high, shift);
            }
    return best;
}

/* Sums of w*x*l and w*l*l for the four pairs of shifts, as they go over the
 * sorted weights one by one. */
typedef struct {
    float xl[4], ll[4];
} shift_sums;

/* What each weight adds at each level; pairs of shifts 0 and 1 shift the first
 * half up, 0 and 2 the second. */
static void terms_of(const float *x, const float *w, shift_sums terms[M_GROUP][LEVELS])
{
    for (int i = 0; i < M_GROUP; i++)
        for (int k = 0; k < LEVELS; k++)
            for (int pair = 0; pair < 4; pair++) {
                const float l = level[i < M_GROUP / 2 ? pair >> 1 : pair & 1][k];
                terms[i][k].xl[pair] = w[i] * l * x[i];
                terms[i][k].ll[pair] = w[i] * l * l;
            }
}

static void add(shift_sums *sum, const shift_sums *term)
{
    for (int pair = 0; pair < 4; pair++) {
        sum->xl[pair] += term->xl[pair];
        sum->ll[pair] += term->ll[pair];
    }
}

/* A shift for each half.  Every split's sums run over all sorted weights: those
 * of the low and middle runs are shared, those of the high run go on from each.
 * This is the order of ggml up to 0.21 and of its checksums; 0.25 takes
 * differences of sums for each half instead, whose rounding now and then makes
 * another split the best. */
static split best_split_m(const float *x, const float *w, const uint8_t *order)
{
    shift_sums terms[M_GROUP][LEVELS], low_sum = {0}, sum[M_GROUP + 1];
    split best = {.score = -FLT_MAX, .low = -1};
    terms_of(x, w, terms);
    for (int low = 0; low <= M_GROUP; low++) {
        sum[low] = low_sum;
        for (int j = low; j < M_GROUP; j++) {
            sum[j + 1] = sum[j];
            add(&sum[j + 1], &terms[order[j]][1]);
            for (int high = low; high <= j; high++) add(&sum[high], &terms[order[j]][2]);
        }
        for (int high = low; high <= M_GROUP; high++)
            for (int pair = 0; pair < 4; pair++)
                try_split(&best, sum[high].xl[pair], sum[high].ll[pair], low, high, pair);
        if (low < M_GROUP) add(&low_sum, &terms[order[low]][0]);
    }
    return best;
}

/* ---- groups -------------------------------------------------------------------------- */

/* The points of a group's vectors for the split's codes, and the scale once more
 * if one of them had to move. */
static float points_of(const float *x, const float *w, int n, const uint8_t *codes,
                       const float *const *levels, float scale, uint16_t *points)
{
    const qn_lattice *lattice = qn_lattice_get(QN_LATTICE_IQ1);
    uint8_t c[S_GROUP];
    bool moved = false;
    memcpy(c, codes, (size_t)n);
    for (int v = 0; v < n / VECTOR; v++) {
        float cost[VECTOR * LEVELS];
        const unsigned number = qn_lattice_number(lattice, c + v * VECTOR);
        if (lattice->point[number] < 0) {
            for (int i = 0; i < VECTOR; i++)
                for (int k = 0; k < LEVELS; k++) {
                    const float error = scale * levels[v][k] - x[v * VECTOR + i];
                    cost[i * LEVELS + k] = w[v * VECTOR + i] * error * error;
                }
            qn_lattice_nearest(lattice, number, cost, c + v * VECTOR);
            moved = true;
        }
        points[v] = (uint16_t)lattice->point[qn_lattice_number(lattice, c + v * VECTOR)];
    }
    float xl = 0.0f, ll = 0.0f;
    for (int i = 0; i < n; i++) {
        const float l = levels[i / VECTOR][c[i]];
        xl += w[i] * l * x[i];
        ll += w[i] * l * l;
    }
    return moved && xl > 0.0f && ll > 0.0f ? xl / ll : scale;
}

static void codes_of(const split *s, const uint8_t *order, int n, uint8_t *codes)
{
    for (int j = 0; j < n; j++) codes[order[j]] = (uint8_t)((j >= s->low) + (j >= s->high));
}

/* A negative scale is a positive one with the levels in reverse. */
static void make_positive(split *s, int n, int shifts, uint8_t *codes)
{
    if (!(s->scale < 0.0f)) return;
    s->scale = -s->scale;
    s->shift ^= shifts;
    for (int j = 0; j < n; j++) codes[j] = (uint8_t)(2 - codes[j]);
}

/* Group i of n weights; IQ1_S and IQ1_M differ in the splits, in the number of
 * shifts and in what counts as zero. */
static void search_group(const float *x, const float *w, int n, int i, qn_iq1_groups *g)
{
    const bool is_s = n == S_GROUP;
    uint8_t order[S_GROUP], codes[S_GROUP];
    split best = {.low = -1};
    uint16_t *points = g->point + i * n / VECTOR;
    if (!(fabsf(qn_signed_max(x, (size_t)n)) < (is_s ? 1e-12f : 1e-7f))) {
        sort(x, n, order);
        best = is_s ? best_split_s(x, w, order) : best_split_m(x, w, order);
    }
    g->scale[i] = 0.0f;
    g->shift[i] = 0;
    memset(points, 0, (size_t)(n / VECTOR) * sizeof *points);
    if (best.low < 0) return;
    codes_of(&best, order, n, codes);
    make_positive(&best, n, is_s ? 1 : 3, codes);
    const float *levels[S_GROUP / VECTOR];
    for (int v = 0; v < n / VECTOR; v++)
        levels[v] = level[is_s || v == 1 ? best.shift & 1 : best.shift >> 1];
    g->scale[i] = points_of(x, w, n, codes, levels, best.scale, points);
    g->shift[i] = (uint8_t)best.shift;
}

/* ---- super-blocks ---------------------------------------------------------------------- */

/* IQ1_S takes missing importance for 1 everywhere, IQ1_M for the weight's size. */
static void weigh(const float *x, const float *importance, float spread, int n, float *w)
{
    if (importance) {
        qn_weigh(x, importance, spread, (size_t)n, w);
        return;
    }
    for (int j = 0; j < n; j++) {
        const float square = x[j] * x[j];
        w[j] = n == S_GROUP ? sqrtf(spread + square) : square;
    }
}

static void search(const float *x, const float *importance, int n, qn_iq1_groups *g)
{
    const float spread = 2.0f * qn_sum_of_squares(x, QN_SUPER) / QN_SUPER;
    for (int i = 0; i < QN_SUPER / n; i++) {
        float *w = g->w + i * n;
        weigh(x + i * n, importance ? importance + i * n : NULL, spread, n, w);
        search_group(x + i * n, w, n, i, g);
    }
}

void qn_finish_iq1_s(const qn_iq1_groups *g, qn_block_iq1_s *b)
{
    uint8_t scale[S_GROUPS];
    const float d = qn_lattice_round_scales(g->scale, S_GROUPS, SCALE_TOP, scale);
    memset(b, 0, sizeof *b);
    b->d = qn_half_of(d * 1.125f); /* ggml's, by experience */
    for (int v = 0; v < VECTORS; v++) {
        b->q[v] = (uint8_t)g->point[v];
        b->high[v / 4] = (uint16_t)(b->high[v / 4] | g->point[v] >> 8 << (v % 4 * 3));
    }
    for (int i = 0; i < S_GROUPS && d > 0.0f; i++)
        b->high[i] = (uint16_t)(b->high[i] | scale[i] << 12 | g->shift[i] << 15);
}

/* The scale of all, given everything else: least squares over the super-block. */
static float fit_super(const float *x, const qn_iq1_groups *g, const uint8_t *scale, float d)
{
    float xl = 0.0f, ll = 0.0f;
    for (int v = 0; v < VECTORS; v++) {
        const int i = v / 2, shift = g->shift[i] >> (1 - v % 2) & 1;
        const unsigned codeword = qn_grid_iq1[g->point[v]];
        for (int j = 0; j < VECTOR; j++) {
            const float w = g->w[v * VECTOR + j], l = level[shift][codeword >> (2 * j) & 3];
            const float q = l * (float)(2 * scale[i] + 1);
            xl += w * q * x[v * VECTOR + j];
            ll += w * q * q;
        }
    }
    return ll > 0.0f ? xl / ll : d;
}

void qn_finish_iq1_m(const float *x, const qn_iq1_groups *g, qn_block_iq1_m *b)
{
    uint8_t scale[M_GROUPS];
    float d = qn_lattice_round_scales(g->scale, M_GROUPS, SCALE_TOP, scale);
    memset(b, 0, sizeof *b);
    for (int v = 0; v < VECTORS; v++) {
        b->q[v] = (uint8_t)g->point[v];
        b->high[v / 2] |= (uint8_t)(g->point[v] >> 8 << (v % 2 * 4));
    }
    if (d == 0.0f) return;
    d = fit_super(x, g, scale, d);
    const unsigned bits = qn_half_of(d * 1.1125f); /* ggml's, by experience */
    unsigned word[4] = {0};
    for (int i = 0; i < M_GROUPS; i++) {
        b->high[i] |= (uint8_t)((g->shift[i] >> 1 & 1) << 3 | (g->shift[i] & 1) << 7);
        word[i / 4] |= (unsigned)scale[i] << (i % 4 * 3);
    }
    for (int k = 0; k < 4; k++) {
        word[k] |= (bits >> (4 * k) & 15) << 12;
        b->scales[2 * k] = (uint8_t)word[k];
        b->scales[2 * k + 1] = (uint8_t)(word[k] >> 8);
    }
}

static void encode_iq1_s(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq1_s *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_iq1_groups g;
        search(x + i, weights ? weights + i : NULL, S_GROUP, &g);
        qn_finish_iq1_s(&g, b);
    }
}

static void encode_iq1_m(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_iq1_m *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++) {
        qn_iq1_groups g;
        search(x + i, weights ? weights + i : NULL, M_GROUP, &g);
        qn_finish_iq1_m(x + i, &g, b);
    }
}

void qn_use_scalar_iq1(qn_kernels *k)
{
    k->decode[QN_IQ1_S] = decode_iq1_s;
    k->decode[QN_IQ1_M] = decode_iq1_m;
    k->encode[QN_IQ1_S] = encode_iq1_s;
    k->encode[QN_IQ1_M] = encode_iq1_m;
}
