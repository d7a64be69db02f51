/* Q4_K and Q5_K: a group of 32 in each lane; what surrounds the search is the
 * scalar code of scalar/k_super.h.  Built twice: encode_k32_avx2.c and
 * encode_k32_avx512.c include this. */
#include <math.h>
#include <string.h>

#define VEC_PAIRS
#include "kernels/half.h"
#include "kernels/scalar/k_super.h"
#include "kernels/x86/search_lanes.h"
#include "kernels/x86/x86.h"

enum { GROUP = 32, GROUPS = QN_SUPER / GROUP, SUPERS = LANES / GROUPS };

/* The groups of SUPERS super-blocks, transposed, and what is found. */
typedef struct {
    float x[GROUP * LANES], w[GROUP * LANES], q[GROUP * LANES];
    float scale[LANES], min[LANES], sum_w[LANES];
    affine_best best;
} batch;

static inline void weigh_plain(batch *b)
{
    vec sum = vec_all_of(0.0f);
    for (size_t j = 0; j < GROUP * LANES; j += LANES)
        sum = vec_add(sum, vec_mul(vec_load(b->x + j), vec_load(b->x + j)));
    const vec typical = vec_sqrt(vec_div(sum, vec_all_of(GROUP)));
    for (size_t j = 0; j < GROUP * LANES; j += LANES)
        vec_store(b->w + j, vec_add(typical, vec_abs(vec_load(b->x + j))));
}

/* b->w holds the importance, transposed; spread that of each lane's super-block. */
static inline void weigh_by_importance(batch *b, vec spread)
{
    vec sum = vec_all_of(0.0f);
    for (size_t j = 0; j < GROUP * LANES; j += LANES) {
        const vec x = vec_load(b->x + j);
        const vec w = vec_mul(vec_load(b->w + j), vec_sqrt(vec_add(spread, vec_mul(x, x))));
        vec_store(b->w + j, w);
        sum = vec_add(sum, w);
    }
    vec_store(b->sum_w, sum);
}

/* qn_k_spread */
static inline vec spreads(const float *x)
{
    const vec sums = sums_of_squares(x, GROUP, QN_SUPER);
    return vec_div(vec_mul(vec_all_of(2.0f), sums), vec_all_of(QN_SUPER));
}

/* Codes for the stored scales; those of the search where a scale is 0. */
static inline void recode(batch *b, const qn_k_super *s, int top)
{
    float scale[LANES], min[LANES];
    for (int i = 0; i < LANES; i++) {
        const qn_k_super *super = s + i / GROUPS;
        scale[i] = qn_half_value(super->d) * (float)super->scale[i % GROUPS];
        min[i] = qn_half_value(super->dmin) * (float)super->min[i % GROUPS];
    }
    const vec d = vec_load(scale), m = vec_load(min), zero = vec_all_of(0.0f);
    const vec_mask keep = vec_equal(d, zero);
    for (size_t j = 0; j < GROUP * LANES; j += LANES) {
        const vec x = vec_load(b->x + j);
        vec q = vec_code(vec_div(vec_add(x, m), d), 0, top);
        if (vec_bits(keep)) {
            const vec found = vec_code(vec_mul(b->best.inverse, vec_sub(x, b->best.from)), 0, top);
            q = vec_select(keep, vec_select(b->best.flat, zero, found), q);
        }
        vec_store(b->q + j, q);
    }
}

/* SUPERS super-blocks at x. */
static inline void code_batch(const float *x, const float *importance, const qn_k_search *how,
                              qn_k_super *s)
{
    batch b;
    uint8_t q[LANES * GROUP];
    transpose_groups(x, GROUP, b.x);
    if (importance) {
        transpose_groups(importance, GROUP, b.w);
        weigh_by_importance(&b, spreads(x));
    } else {
        weigh_plain(&b);
    }
    const qn_affine_search *search = importance ? &how->weighted : &how->plain;
    if (!search_affine_lanes(GROUP, b.x, b.w, search, b.q, &b.best)) {
        for (int i = 0; i < SUPERS; i++)
            qn_k_code_super(x + i * QN_SUPER, importance ? importance + i * QN_SUPER : NULL, how,
                            s + i);
        return;
    }
    vec_store(b.scale, b.best.scale);
    vec_store(b.min, vec_negate(b.best.low));
    for (int i = 0; i < SUPERS; i++)
        qn_k_round_scales(b.scale + i * GROUPS, b.min + i * GROUPS,
                          importance ? b.sum_w + i * GROUPS : NULL, how->limited, s + i);
    recode(&b, s, how->plain.top);
    unload_codes(b.q, GROUP, q);
    for (int i = 0; i < SUPERS; i++) memcpy(s[i].q, q + i * QN_SUPER, QN_SUPER);
}

static inline void encode_k(const float *x, const float *weights, uint8_t *blocks, size_t n,
                            const qn_k_search *how, size_t block_bytes,
                            void (*pack)(const qn_k_super *s, void *block))
{
    float room[2][MOST_IN_GROUP * LANES];
    for (size_t i = 0; i < n; i += SUPERS * QN_SUPER) {
        const float *here = x + i, *w = weights ? weights + i : NULL;
        qn_k_super s[SUPERS];
        fill_batch(&here, &w, GROUP, n - i, room);
        code_batch(here, w, how, s);
        for (size_t p = 0; p < SUPERS && i + p * QN_SUPER < n; p++, blocks += block_bytes)
            pack(s + p, blocks);
    }
}

static void encode_q4_k(const float *x, const float *weights, void *blocks, size_t n)
{
    encode_k(x, weights, blocks, n, &qn_q4_k_search, sizeof(qn_block_q4_k), qn_q4_k_pack);
}

static void encode_q5_k(const float *x, const float *weights, void *blocks, size_t n)
{
    encode_k(x, weights, blocks, n, &qn_q5_k_search, sizeof(qn_block_q5_k), qn_q5_k_pack);
}

void QN_USE(qn_kernels *k)
{
    k->encode[QN_Q4_K] = encode_q4_k;
    k->encode[QN_Q5_K] = encode_q5_k;
}
