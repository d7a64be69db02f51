/* What an importance matrix says about each tensor's inputs, as llama-imatrix
 * --show-statistics has it.  Of the mean squares a[j] = sums[j] / count of all
 * columns (of experts that a row reached):
 *
 *     total, least, most, mean, deviation   of a
 *     active    share of a[j] > 1e-5
 *     entropy   - sum p log2 p, p[j] = a[j] / total, in bits
 *     z_density share of a[j] more than one deviation above the mean
 *     likeness  cosine of the sums and those of the same tensor a layer before;
 *               0 where there is none */
#ifndef QN_VALIDATE_IMATRIX_STATISTICS_H
#define QN_VALIDATE_IMATRIX_STATISTICS_H

#include "formats/imatrix.h"

typedef struct {
    const qn_imatrix_entry *entry;
    int64_t layer; /* -1: of none */
    qn_str role;   /* "attn_q" of "blk.0.attn_q.weight" */
    uint64_t n;    /* columns that count */
    double total, least, most, mean, deviation, active, entropy, z_density, likeness;
} qn_imatrix_statistics;

/* Of m's entries that a row reached into out, with room for m->n_entries; by
 * role, then by total, the largest first.  Returns how many. */
size_t qn_imatrix_statistics_of(const qn_imatrix *m, qn_imatrix_statistics *out);

#endif
