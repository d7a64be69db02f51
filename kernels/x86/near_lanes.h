/* A lattice's nearest neighbour, with a candidate in each lane: qn_lattice_nearest's
 * sums in its order, the first of equals. */
#ifndef QN_KERNELS_X86_NEAR_LANES_H
#define QN_KERNELS_X86_NEAR_LANES_H

#include <float.h>

#include "kernels/x86/lattice_lanes.h"
#include "kernels/x86/vec_int.h"

enum { SIXTEEN_PARTS = 16 / LANES };

/* What each coordinate costs at each of eight levels k, as a table for
 * vec_lookup_8: weight * error * error, error = unit * (2 * k + 1) - x. */
static inline void cost_4(const float *x, size_t stride, const float *weight, float unit,
                          vec cost[4])
{
    const __m256 value =
        _mm256_mul_ps(_mm256_set1_ps(unit), _mm256_setr_ps(1, 3, 5, 7, 9, 11, 13, 15));
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const __m256 error = _mm256_sub_ps(value, _mm256_set1_ps(x[i * stride]));
        const __m256 weighted = _mm256_mul_ps(_mm256_set1_ps(weight[i * stride]), error);
        cost[i] = vec_repeat_8(_mm256_mul_ps(weighted, error));
    }
}

/* Of eight floats those from 4 * part up, 4 (AVX2: 2) of them, each four times. */
static inline vec four_times(const float *eight, int part)
{
    const __m256 v = _mm256_loadu_ps(eight);
#if defined(__AVX512F__)
    const __m512i which =
        _mm512_add_epi32(_mm512_set1_epi32(4 * part),
                         _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
    return _mm512_permutexvar_ps(which, _mm512_castps256_ps512(v));
#else
    const __m256i which =
        _mm256_add_epi32(_mm256_set1_epi32(2 * part), _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
    return _mm256_permutevar8x32_ps(v, which);
#endif
}

/* The same for eight coordinates of three levels, whose values are given again
 * and again; for vec_lookup_4. */
static inline void cost_8(const float *x, const float *weight, vec value, vec cost[8])
{
    _Alignas(64) float at[32];
#pragma GCC unroll 4
    for (int part = 0; part < 32 / LANES; part++) {
        const vec error = vec_sub(value, four_times(x, part));
        const vec weighted = vec_mul(four_times(weight, part), error);
        vec_store(at + part * LANES, vec_mul(weighted, error));
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) cost[i] = vec_repeat_4(at + 4 * i);
}

/* Sums for the codewords in the lanes. */
INLINE vec sums_of_costs(int dims, const vec *cost, vec_int word)
{
    vec sum = dims == 8 ? vec_lookup_4(cost[0], word) : vec_lookup_8(cost[0], word);
#pragma GCC unroll 8
    for (int i = 1; i < dims; i++) {
        const vec_int c = int_right(word, (unsigned)i * (dims == 8 ? 2 : 3));
        sum = vec_add(sum, dims == 8 ? vec_lookup_4(cost[i], c) : vec_lookup_8(cost[i], c));
    }
    return sum;
}

/* Neighbours are weighed sixteen at a time, since most vectors have no more: the
 * least cost so far in each of sixteen places, and where its sixteen began. */
typedef struct {
    vec cost[SIXTEEN_PARTS];
    vec_int from[SIXTEEN_PARTS];
} sixteen_least;

/* Those from `at` up to `count`. */
INLINE void weigh_sixteen(int dims, const uint16_t *near, unsigned at, unsigned count,
                          const vec *cost, sixteen_least *least)
{
#pragma GCC unroll 2
    for (unsigned p = 0; p < SIXTEEN_PARTS; p++) {
        const unsigned here = at + p * LANES, left = count > here ? count - here : 0;
        const vec sum = sums_of_costs(dims, cost, int_load_words(near + here));
        const vec_mask less = vec_and(vec_first(left), vec_less(sum, least->cost[p]));
        least->cost[p] = vec_select(less, sum, least->cost[p]);
        least->from[p] = int_select(less, int_all_of((int)at), least->from[p]);
    }
}

/* Which of the sixteen have the least, a bit each. */
INLINE unsigned least_bits(const sixteen_least *least)
{
    vec all = least->cost[0];
    for (unsigned p = 1; p < SIXTEEN_PARTS; p++) all = vec_min(all, least->cost[p]);
    const vec smallest = vec_all_of(vec_smallest(all));
    unsigned bits = 0;
    for (unsigned p = 0; p < SIXTEEN_PARTS; p++)
        bits |= vec_bits(vec_equal(least->cost[p], smallest)) << (p * LANES);
    return bits;
}

/* The codeword of the neighbour of least cost of `number`, which has some. */
INLINE unsigned nearest_lanes(const qn_lattice *l, int dims, unsigned number, const vec *cost)
{
    const uint16_t *near = l->near + l->first[number];
    const unsigned count = l->first[number + 1] - l->first[number];
    sixteen_least least;
    for (unsigned p = 0; p < SIXTEEN_PARTS; p++) {
        least.cost[p] = vec_all_of(FLT_MAX);
        least.from[p] = int_all_of(0);
    }
    weigh_sixteen(dims, near, 0, count, cost, &least);
    if (count <= 16) return near[__builtin_ctz(least_bits(&least))];
    for (unsigned at = 16; at < count; at += 16) weigh_sixteen(dims, near, at, count, cost, &least);
    uint32_t start[16];
    for (unsigned p = 0; p < SIXTEEN_PARTS; p++) int_store(start + p * LANES, least.from[p]);
    unsigned best = UINT32_MAX;
    for (unsigned bits = least_bits(&least); bits; bits &= bits - 1) {
        const unsigned i = (unsigned)__builtin_ctz(bits), here = start[i] + i;
        if (here < best) best = here;
    }
    return near[best];
}

#endif
