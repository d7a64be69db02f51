/* What the values of a tensor look like: range, mean, spread, the values that
 * no weight should have, a histogram.
 *
 * Rows are taken in slices of fixed size by several threads; a slice's mean and
 * sum of squared deviations are merged in the order of the slices (Chan, Golub
 * and LeVeque, 1979), so the figures have the same bits for any number of
 * threads. */
#ifndef QN_QUANT_STATISTICS_H
#define QN_QUANT_STATISTICS_H

#include "formats/rows.h"

/* Of the finite values, but for the first two counts. */
typedef struct {
    uint64_t nans, infinities;
    uint64_t finite, zeros;
    double min, max, mean, deviation; /* 0 when there is no finite value */
} qn_statistics;

/* threads 0: OpenMP's default.  Fails for memory, or rows that cannot be
 * decoded. */
qn_status qn_statistics_of(const qn_rows *rows, const qn_kernels *k, int threads,
                           qn_statistics *out, qn_error *err);

/* counts[n_bins]: how many finite values lie in each of n_bins equal parts of
 * s->min .. s->max (all in the first one where the two are equal). */
qn_status qn_statistics_histogram(const qn_rows *rows, const qn_kernels *k, int threads,
                                  const qn_statistics *s, uint64_t *counts, size_t n_bins,
                                  qn_error *err);

#endif
