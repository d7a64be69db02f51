/* A lattice's nearest neighbour, with a candidate in each lane: qn_lattice_nearest's
 * sums in its order, the first of equals. */
#ifndef QN_KERNELS_X86_NEAR_LANES_H
#define QN_KERNELS_X86_NEAR_LANES_H

#include <float.h>

#include "kernels/scalar/lattice.h"
#include "kernels/x86/vec_int.h"

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
static inline __attribute__((always_inline)) vec sums_of_costs(int dims, const vec *cost,
                                                               vec_int word)
{
    vec sum = dims == 8 ? vec_lookup_4(cost[0], word) : vec_lookup_8(cost[0], word);
#pragma GCC unroll 8
    for (int i = 1; i < dims; i++) {
        const vec_int c = int_right(word, (unsigned)i * (dims == 8 ? 2 : 3));
        sum = vec_add(sum, dims == 8 ? vec_lookup_4(cost[i], c) : vec_lookup_8(cost[i], c));
    }
    return sum;
}

/* The codeword of the neighbour of least cost of `number`, which has some. */
static inline __attribute__((always_inline)) unsigned nearest_lanes(const qn_lattice *l, int dims,
                                                                    unsigned number,
                                                                    const vec *cost)
{
    const uint16_t *near = l->near + l->first[number];
    const unsigned count = l->first[number + 1] - l->first[number];
    const vec far = vec_all_of(FLT_MAX);
    vec least = far;
    vec_int from = int_all_of(0);
    for (unsigned at = 0; at < count; at += LANES) {
        const vec sum = sums_of_costs(dims, cost, int_load_words(near + at));
        const vec_mask less = vec_and(vec_first(count - at), vec_less(sum, least));
        least = vec_select(less, sum, least);
        from = int_select(less, int_all_of((int)at), from);
    }
    unsigned lanes = vec_bits(vec_equal(least, vec_all_of(vec_smallest(least))));
    if (count <= LANES) return near[__builtin_ctz(lanes)];
    uint32_t start[LANES];
    int_store(start, from);
    unsigned best = UINT32_MAX;
    for (; lanes; lanes &= lanes - 1) {
        const unsigned lane = (unsigned)__builtin_ctz(lanes), here = start[lane] + lane;
        if (here < best) best = here;
    }
    return near[best];
}

#endif
