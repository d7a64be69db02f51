/* F16, BF16 and the blocks of 32.  Without importance a block is its own
 * vector, since maxima have no order; with importance the search takes one
 * block in each lane.  Built twice: encode_blocks32_avx2.c and _avx512.c
 * include this. */
#include <math.h>
#include <string.h>

#define VEC_PAIRS
#include "kernels/half.h"
#include "kernels/scalar/blocks32.h"
#include "kernels/x86/pack.h"
#include "kernels/x86/search_lanes.h"
#include "kernels/x86/x86.h"

enum { BLOCK = 32, VECS = BLOCK / LANES };

/* ---- rounding --------------------------------------------------------------------- */

/* The first element of the block that equals +value or -value. */
static inline float first_of(const float *x, const vec v[VECS], float value)
{
    unsigned equal = 0;
    for (int i = 0; i < VECS; i++)
        equal |= vec_bits(vec_equal(v[i], vec_all_of(value))) << (i * LANES);
    return x[__builtin_ctz(equal)];
}

/* qn_signed_max of a block. */
static inline float signed_max(const float *x)
{
    vec size[VECS], most = vec_all_of(0.0f);
    for (int i = 0; i < VECS; i++) {
        size[i] = vec_abs(vec_load(x + i * LANES));
        most = vec_max(most, size[i]);
    }
    const float largest = vec_largest(most);
    return largest > 0.0f ? first_of(x, size, largest) : 0.0f;
}

static inline float inverse_of(float d)
{
    return d != 0.0f ? 1.0f / d : 0.0f;
}

/* Codes min(top, truncated byte of v * inverse + offset). */
static inline void store_codes(const vec v[VECS], float inverse, float offset, int top, uint8_t *q)
{
    for (int i = 0; i < VECS; i++) {
        const vec moved = vec_add(vec_mul(v[i], vec_all_of(inverse)), vec_all_of(offset));
        vec_store_bytes(q + i * LANES, vec_min(vec_truncate_byte(moved), vec_all_of((float)top)));
    }
}

static inline float round_symmetric(const float *x, int levels, uint8_t *q)
{
    const float d = signed_max(x) / (float)-levels;
    vec v[VECS];
    for (int i = 0; i < VECS; i++) v[i] = vec_load(x + i * LANES);
    store_codes(v, inverse_of(d), (float)levels + 0.5f, 2 * levels - 1, q);
    return d;
}

static inline float round_affine(const float *x, int top, uint8_t *q, float *low)
{
    vec v[VECS], least = vec_load(x), most = least;
    for (int i = 0; i < VECS; i++) {
        v[i] = vec_load(x + i * LANES);
        least = vec_min(v[i], least);
        most = vec_max(v[i], most);
    }
    /* of two zeros the first counts */
    float small = -vec_largest(vec_negate(least)), large = vec_largest(most);
    if (small == 0.0f) small = first_of(x, v, 0.0f);
    if (large == 0.0f) large = first_of(x, v, 0.0f);
    const float d = (large - small) / (float)top;
    for (int i = 0; i < VECS; i++) v[i] = vec_sub(v[i], vec_all_of(small));
    store_codes(v, inverse_of(d), 0.5f, top, q);
    *low = small;
    return d;
}

/* ---- packing ----------------------------------------------------------------------- */

static inline void pack_fifth_bits(const uint8_t q[BLOCK], uint8_t out[4])
{
    const __m256i all = _mm256_loadu_si256((const __m256i *)q);
    const uint32_t bits = (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(all, 3));
    memcpy(out, &bits, sizeof bits);
}

/* ---- search -------------------------------------------------------------------------- */

/* LANES blocks from x on, of which `here` are there, transposed and weighed. */
typedef struct {
    float x[BLOCK * LANES], w[BLOCK * LANES], wx[BLOCK * LANES], q[BLOCK * LANES];
} batch;

static inline void load_batch(const float *x, const float *importance, size_t here, float spread,
                              batch *b)
{
    float room[2][MOST_IN_GROUP * LANES];
    fill_batch(&x, &importance, BLOCK, here * BLOCK, room);
    transpose_groups(x, BLOCK, b->x);
    transpose_groups(importance, BLOCK, b->w);
    for (size_t j = 0; j < BLOCK * LANES; j += LANES) {
        const vec xj = vec_load(b->x + j);
        const vec root = vec_sqrt(vec_add(vec_all_of(spread), vec_mul(xj, xj)));
        const vec w = vec_mul(vec_load(b->w + j), root);
        vec_store(b->w + j, w);
        vec_store(b->wx + j, vec_mul(w, xj));
    }
}

static inline void search_symmetric(batch *b, int levels, float *d, uint8_t q[LANES][BLOCK])
{
    symmetric_best best;
    search_symmetric_lanes(BLOCK, levels, b->x, b->w, b->wx, &best);
    for (size_t j = 0; j < BLOCK * LANES; j += LANES) {
        const vec code = vec_code(vec_mul(best.inverse, vec_load(b->x + j)), -levels, levels - 1);
        const vec up = vec_add(code, vec_all_of((float)levels));
        vec_store(b->q + j, vec_select(best.zero, vec_all_of(0.0f), up));
    }
    vec_store(d, best.scale);
    unload_codes(b->q, BLOCK, q[0]);
}

/* False: a lane's numbers are too far apart, see search_affine_lanes. */
static inline bool search_affine(batch *b, const qn_affine_search *how, float *d, float *low,
                                 uint8_t q[LANES][BLOCK])
{
    affine_best best;
    if (!search_affine_lanes(BLOCK, b->x, b->w, how, b->q, &best)) return false;
    for (size_t j = 0; j < BLOCK * LANES; j += LANES) {
        const vec v = vec_mul(best.inverse, vec_sub(vec_load(b->x + j), best.from));
        vec_store(b->q + j, vec_select(best.flat, vec_all_of(0.0f), vec_code(v, 0, how->top)));
    }
    vec_store(d, best.scale);
    vec_store(low, best.low);
    unload_codes(b->q, BLOCK, q[0]);
    return true;
}

/* ---- the types -------------------------------------------------------------------------- */

/* Codes and scales of LANES blocks (here of them real). */
typedef struct {
    uint8_t q[LANES][BLOCK];
    float d[LANES], low[LANES];
} coded;

static inline void code_symmetric(const float *x, const float *weights, size_t here, float spread,
                                  int levels, coded *c)
{
    if (weights) {
        batch b;
        load_batch(x, weights, here, spread, &b);
        search_symmetric(&b, levels, c->d, c->q);
        return;
    }
    for (size_t i = 0; i < here; i++) c->d[i] = round_symmetric(x + i * BLOCK, levels, c->q[i]);
}

static inline void code_affine(const float *x, const float *weights, size_t here, float spread,
                               const qn_affine_search *how, coded *c)
{
    if (weights) {
        batch b;
        load_batch(x, weights, here, spread, &b);
        if (search_affine(&b, how, c->d, c->low, c->q)) return;
    }
    for (size_t i = 0; i < here; i++)
        c->d[i] = weights ? qn_code_affine32(x + i * BLOCK, weights + i * BLOCK, spread, how,
                                             c->q[i], &c->low[i])
                          : round_affine(x + i * BLOCK, how->top, c->q[i], &c->low[i]);
}

/* The blocks of a row in batches. */
#define FOR_BATCHES(n, first, here)                                                               \
    for (size_t first = 0, here;                                                                  \
         here = ((n) / BLOCK - first < LANES ? (n) / BLOCK - first : LANES), first < (n) / BLOCK; \
         first += here)

static void encode_q4_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q4_0 *out = blocks;
    const float spread = weights ? qn_mean_square(x, n) : 0.0f;
    coded c;
    FOR_BATCHES(n, first, here)
    {
        const size_t at = first * BLOCK;
        code_symmetric(x + at, weights ? weights + at : NULL, here, spread, 8, &c);
        for (size_t i = 0; i < here; i++, out++) {
            out->d = qn_half_of(c.d[i]);
            pack_nibbles(c.q[i], out->q);
        }
    }
}

static void encode_q5_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q5_0 *out = blocks;
    const float spread = weights ? qn_mean_square(x, n) : 0.0f;
    coded c;
    FOR_BATCHES(n, first, here)
    {
        const size_t at = first * BLOCK;
        code_symmetric(x + at, weights ? weights + at : NULL, here, spread, 16, &c);
        for (size_t i = 0; i < here; i++, out++) {
            out->d = qn_half_of(c.d[i]);
            pack_nibbles(c.q[i], out->q);
            pack_fifth_bits(c.q[i], out->high);
        }
    }
}

static void encode_q4_1(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q4_1 *out = blocks;
    const float spread = weights ? qn_mean_square(x, n) : 0.0f;
    coded c;
    FOR_BATCHES(n, first, here)
    {
        const size_t at = first * BLOCK;
        code_affine(x + at, weights ? weights + at : NULL, here, spread, &qn_search15, &c);
        for (size_t i = 0; i < here; i++, out++) {
            out->d = qn_half_of(c.d[i]);
            out->m = qn_half_of(c.low[i]);
            pack_nibbles(c.q[i], out->q);
        }
    }
}

static void encode_q5_1(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q5_1 *out = blocks;
    const float spread = weights ? qn_mean_square(x, n) : 0.0f;
    coded c;
    FOR_BATCHES(n, first, here)
    {
        const size_t at = first * BLOCK;
        code_affine(x + at, weights ? weights + at : NULL, here, spread, &qn_search31, &c);
        for (size_t i = 0; i < here; i++, out++) {
            out->d = qn_half_of(c.d[i]);
            out->m = qn_half_of(c.low[i]);
            pack_nibbles(c.q[i], out->q);
            pack_fifth_bits(c.q[i], out->high);
        }
    }
}

/* Halves away from zero; 0 where it is no int32. */
static inline vec round_away(vec v)
{
    const vec one = vec_all_of(1.0f), zero = vec_all_of(0.0f);
    const vec_mask fits = vec_less(vec_abs(v), vec_all_of(0x1p31f));
    const vec whole = vec_truncate(v), rest = vec_sub(v, whole);
    const vec up = vec_select(vec_less(rest, vec_all_of(0.5f)), zero, one);
    const vec down = vec_select(vec_less(vec_all_of(-0.5f), rest), zero, one);
    return vec_select(fits, vec_sub(vec_add(whole, up), down), zero);
}

static void encode_q8_0(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_q8_0 *out = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += BLOCK, out++) {
        vec v[VECS], most = vec_all_of(0.0f);
        for (int j = 0; j < VECS; j++) {
            v[j] = vec_load(x + i + j * LANES);
            most = vec_max(most, vec_abs(v[j]));
        }
        const float d = vec_largest(most) / 127.0f;
        const vec inverse = vec_all_of(inverse_of(d));
        out->d = qn_half_of(d);
        for (int j = 0; j < VECS; j++)
            vec_store_bytes((uint8_t *)out->q + j * LANES, round_away(vec_mul(v[j], inverse)));
    }
}

static void encode_f16(const float *x, const float *weights, void *blocks, size_t n)
{
    uint8_t *out = blocks;
    (void)weights;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i);
        if (_mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q))) { /* NaNs lose their payload */
            for (size_t j = i; j < i + 8; j++) {
                const qn_half h = qn_half_of(x[j]);
                memcpy(out + 2 * j, &h, sizeof h);
            }
            continue;
        }
        _mm_storeu_si128((__m128i *)(out + 2 * i), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
    for (; i < n; i++) {
        const qn_half h = qn_half_of(x[i]);
        memcpy(out + 2 * i, &h, sizeof h);
    }
}

static void encode_bf16(const float *x, const float *weights, void *blocks, size_t n)
{
    const __m256i one = _mm256_set1_epi32(1), half = _mm256_set1_epi32(0x7fff);
    uint8_t *out = blocks;
    (void)weights;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i);
        const __m256i u = _mm256_castps_si256(v);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), one);
        const __m256i up = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, half), odd), 16);
        const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(64));
        const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
        const __m256i b = _mm256_blendv_epi8(up, quiet, nan);
        _mm_storeu_si128(
            (__m128i *)(out + 2 * i),
            _mm_packus_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1)));
    }
    for (; i < n; i++) {
        const qn_bfloat16 b = qn_bfloat16_of(x[i]);
        memcpy(out + 2 * i, &b, sizeof b);
    }
}

void QN_USE(qn_kernels *k)
{
    k->encode[QN_BF16] = encode_bf16;
    k->encode[QN_F16] = encode_f16;
    k->encode[QN_Q4_0] = encode_q4_0;
    k->encode[QN_Q4_1] = encode_q4_1;
    k->encode[QN_Q5_0] = encode_q5_0;
    k->encode[QN_Q5_1] = encode_q5_1;
    k->encode[QN_Q8_0] = encode_q8_0;
}
