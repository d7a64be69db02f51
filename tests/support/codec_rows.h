/* Rows that lead quantizers astray, for tests and for the program that asks
 * ggml what it makes of them (tests/oracle/ggml-codecs.c). */
#ifndef QN_TESTS_SUPPORT_CODEC_ROWS_H
#define QN_TESTS_SUPPORT_CODEC_ROWS_H

#include "tests/support/random.h"

/* Kinds: like weights, uniform, heavy tails, mostly zeros, zeros by the group,
 * constant by the group, around 1e-14, denormals, thousands, small integers,
 * about 1, one value per 32, next to powers of two, positive, negative, three
 * values, outliers, halves of small integers, groups of falling size, a ramp. */
enum { QN_CODEC_KINDS = 20 };
void qn_codec_row(qn_random *r, int kind, float *x, size_t n);

/* Importance of columns: a fifth of them 0, the others squares. */
void qn_codec_importance(qn_random *r, float *w, size_t n);

#endif
