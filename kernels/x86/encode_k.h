/* Q4_K, Q5_K and Q6_K with the searches in lanes; what surrounds them is the
 * scalar code of scalar/k_super.h and scalar/q6_k.h.  Built twice:
 * encode_k_avx2.c and encode_k_avx512.c include this. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/scalar/k_super.h"
#include "kernels/scalar/q6_k.h"
#include "kernels/x86/search_lanes.h"
#include "kernels/x86/x86.h"

/* ---- Q4_K, Q5_K ------------------------------------------------------------------- */

enum { K_GROUP = 32, K_GROUPS = QN_SUPER / K_GROUP, K_PER_BATCH = LANES / K_GROUPS };

/* LANES groups of one or two super-blocks, transposed, and what is found. */
typedef struct {
    float x[K_GROUP * LANES], w[K_GROUP * LANES], q[K_GROUP * LANES];
    float scale[LANES], min[LANES], sum_w[LANES];
    affine_best best;
} k_batch;

static inline void weigh_plain(k_batch *b)
{
    vec sum = vec_all_of(0.0f);
    for (size_t j = 0; j < K_GROUP * LANES; j += LANES)
        sum = vec_add(sum, vec_mul(vec_load(b->x + j), vec_load(b->x + j)));
    const vec typical = vec_sqrt(vec_div(sum, vec_all_of(K_GROUP)));
    for (size_t j = 0; j < K_GROUP * LANES; j += LANES)
        vec_store(b->w + j, vec_add(typical, vec_abs(vec_load(b->x + j))));
}

/* b->w holds the importance, transposed; spread that of each lane's super-block. */
static inline void weigh_by_importance(k_batch *b, vec spread)
{
    vec sum = vec_all_of(0.0f);
    for (size_t j = 0; j < K_GROUP * LANES; j += LANES) {
        const vec x = vec_load(b->x + j);
        const vec w = vec_mul(vec_load(b->w + j), vec_sqrt(vec_add(spread, vec_mul(x, x))));
        vec_store(b->w + j, w);
        sum = vec_add(sum, w);
    }
    vec_store(b->sum_w, sum);
}

static inline vec spread_of(const float *x)
{
    float spread[LANES];
    for (int s = 0; s < K_PER_BATCH; s++, x += QN_SUPER)
        for (int g = 0; g < K_GROUPS; g++)
            spread[s * K_GROUPS + g] = g ? spread[s * K_GROUPS] : qn_k_spread(x);
    return vec_load(spread);
}

/* Codes for the stored scales; those of the search where a scale is 0. */
static inline void recode_lanes(k_batch *b, const qn_k_super *s, int top)
{
    float scale[LANES], min[LANES];
    for (int i = 0; i < LANES; i++) {
        const qn_k_super *super = s + i / K_GROUPS;
        scale[i] = qn_half_value(super->d) * (float)super->scale[i % K_GROUPS];
        min[i] = qn_half_value(super->dmin) * (float)super->min[i % K_GROUPS];
    }
    const vec d = vec_load(scale), m = vec_load(min), zero = vec_all_of(0.0f);
    const vec_mask keep = vec_equal(d, zero);
    for (size_t j = 0; j < K_GROUP * LANES; j += LANES) {
        const vec x = vec_load(b->x + j);
        const vec found = vec_code(vec_mul(b->best.inverse, vec_sub(x, b->best.from)), 0, top);
        const vec kept = vec_select(b->best.flat, zero, found);
        const vec fresh = vec_code(vec_div(vec_add(x, m), d), 0, top);
        vec_store(b->q + j, vec_select(keep, kept, fresh));
    }
}

static inline void store_codes(const k_batch *b, qn_k_super *s)
{
    uint8_t bytes[K_GROUP][LANES];
    for (size_t j = 0; j < K_GROUP; j++) vec_store_bytes(bytes[j], vec_load(b->q + j * LANES));
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < K_GROUP; j++)
            s[i / K_GROUPS].q[i % K_GROUPS * K_GROUP + j] = bytes[j][i];
}

/* K_PER_BATCH super-blocks at x. */
static inline void code_batch(const float *x, const float *importance, const qn_k_search *how,
                              qn_k_super *s)
{
    k_batch b;
    transpose_groups(x, K_GROUP, b.x);
    if (importance) {
        transpose_groups(importance, K_GROUP, b.w);
        weigh_by_importance(&b, spread_of(x));
    } else {
        weigh_plain(&b);
    }
    const qn_affine_search *search = importance ? &how->weighted : &how->plain;
    if (!search_affine_lanes(K_GROUP, b.x, b.w, search, b.q, &b.best)) {
        for (int i = 0; i < K_PER_BATCH; i++)
            qn_k_code_super(x + i * QN_SUPER, importance ? importance + i * QN_SUPER : NULL, how,
                            s + i);
        return;
    }
    vec_store(b.scale, b.best.scale);
    vec_store(b.min, vec_negate(b.best.low));
    for (int i = 0; i < K_PER_BATCH; i++)
        qn_k_round_scales(b.scale + i * K_GROUPS, b.min + i * K_GROUPS,
                          importance ? b.sum_w + i * K_GROUPS : NULL, how->limited, s + i);
    recode_lanes(&b, s, how->plain.top);
    store_codes(&b, s);
}

static inline void encode_k(const float *x, const float *weights, uint8_t *blocks, size_t n,
                            const qn_k_search *how, size_t block_bytes,
                            void (*pack)(const qn_k_super *s, void *block))
{
    const size_t supers = n / QN_SUPER;
    size_t i = 0;
    for (; i + K_PER_BATCH <= supers; i += K_PER_BATCH) {
        qn_k_super s[K_PER_BATCH];
        code_batch(x + i * QN_SUPER, weights ? weights + i * QN_SUPER : NULL, how, s);
        for (size_t p = 0; p < K_PER_BATCH; p++) pack(s + p, blocks + (i + p) * block_bytes);
    }
    for (; i < supers; i++) { /* the odd one, beside a super-block of zeros */
        qn_k_super s[K_PER_BATCH];
        float padded[K_PER_BATCH * QN_SUPER] = {0}, importance[K_PER_BATCH * QN_SUPER] = {0};
        memcpy(padded, x + i * QN_SUPER, QN_SUPER * sizeof *x);
        if (weights) memcpy(importance, weights + i * QN_SUPER, QN_SUPER * sizeof *x);
        code_batch(padded, weights ? importance : NULL, how, s);
        pack(s, blocks + i * block_bytes);
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

/* ---- Q6_K -------------------------------------------------------------------------- */

enum { Q6_GROUP = 16, Q6_GROUPS = QN_SUPER / Q6_GROUP };

typedef struct {
    float x[Q6_GROUP * LANES], w[Q6_GROUP * LANES], wx[Q6_GROUP * LANES];
    symmetric_best best;
} q6_batch;

static inline void search_q6(const float *x, const float *weights, q6_batch *b, float *scale)
{
    transpose_groups(x, Q6_GROUP, b->x);
    if (weights) transpose_groups(weights, Q6_GROUP, b->w);
    for (size_t j = 0; j < Q6_GROUP * LANES; j += LANES) {
        const vec xj = vec_load(b->x + j);
        const vec w = weights ? vec_load(b->w + j) : vec_mul(xj, xj);
        vec_store(b->w + j, w);
        vec_store(b->wx + j, vec_mul(w, xj));
    }
    search_symmetric_lanes(Q6_GROUP, QN_Q6_K_LEVELS, b->x, b->w, b->wx, &b->best);
    vec_store(scale, b->best.scale);
}

static inline void recode_q6(const q6_batch *b, const float *d, uint8_t *q)
{
    const vec scale = vec_load(d), zero = vec_all_of(0.0f), levels = vec_all_of(QN_Q6_K_LEVELS);
    const vec_mask keep = vec_equal(scale, zero);
    uint8_t bytes[Q6_GROUP][LANES];
    for (size_t j = 0; j < Q6_GROUP; j++) {
        const vec x = vec_load(b->x + j * LANES);
        const vec found =
            vec_code(vec_mul(b->best.inverse, x), -QN_Q6_K_LEVELS, QN_Q6_K_LEVELS - 1);
        const vec kept = vec_select(b->best.zero, zero, vec_add(found, levels));
        const vec fresh = vec_code(vec_div(x, scale), -QN_Q6_K_LEVELS, QN_Q6_K_LEVELS - 1);
        vec_store_bytes(bytes[j], vec_select(keep, kept, vec_add(fresh, levels)));
    }
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < Q6_GROUP; j++) q[i * Q6_GROUP + j] = bytes[j][i];
}

static void encode_q6_k(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q6_k *block = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, block++) {
        q6_batch b[Q6_GROUPS / LANES];
        float scale[Q6_GROUPS], d[Q6_GROUPS];
        uint8_t q[QN_SUPER];
        for (int g = 0; g < Q6_GROUPS; g += LANES)
            search_q6(x + i + g * Q6_GROUP, weights ? weights + i + g * Q6_GROUP : NULL,
                      &b[g / LANES], scale + g);
        if (!qn_q6_k_round_scales(scale, block, d)) continue;
        for (int g = 0; g < Q6_GROUPS; g += LANES)
            recode_q6(&b[g / LANES], d + g, q + g * Q6_GROUP);
        qn_q6_k_pack(q, block);
    }
}

void QN_USE(qn_kernels *k)
{
    k->encode[QN_Q4_K] = encode_q4_k;
    k->encode[QN_Q5_K] = encode_q5_k;
    k->encode[QN_Q6_K] = encode_q6_k;
}
