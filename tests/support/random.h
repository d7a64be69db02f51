/* Numbers that are the same in every run: a seed printed by a failing test
 * repeats it. */
#ifndef QN_TESTS_SUPPORT_RANDOM_H
#define QN_TESTS_SUPPORT_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t state;
} qn_random;

uint64_t qn_random_bits(qn_random *r);
float qn_random_normal(qn_random *r); /* about N(0, 1): a sum of uniforms */

/* Fills x with one of the kinds of rows that break kernels: normal, heavy
 * tailed, one huge value among small ones, zeros of both signs, denormals,
 * equal maxima of both signs, a constant.  All finite, all below 1e4. */
enum { QN_ROW_KINDS = 8 };
void qn_random_row(qn_random *r, int kind, float *x, size_t n);

#endif
