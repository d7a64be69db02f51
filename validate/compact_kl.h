/* How far a test's logits are from a compact row of the reference (compact_row.h).
 *
 * With S the tokens kept, T the tail, m and M the reference's and the test's mass of it,
 * p and q their probabilities:
 *
 *     KL = sum over S of p log(p/q) + m log(m/M) + m D,   D = sum over T of p/m log((p/m) / (q/M))
 *
 * The first two terms are those of the distributions with the tail as one outcome, below
 * KL by the data processing inequality (Cover and Thomas, Elements of Information Theory,
 * 2.7.1).  D is estimated from the row's sample by the mean of r - 1 - log r with
 * r = (q/M) / (p/m): never negative, and without bias, since r is 1 on average under p
 * (Schulman, Approximating KL Divergence, 2020).  It is at most mean log(p/m) - least
 * log(q/M), with the row's mean and the test's least probable token of the tail.
 *
 * Log-probabilities are off by at most half a step h.  Every term is taken as
 * p log(p/q) - p + q, which is least where p = q, so that this moves KL by at most
 * (e^(h/2) - 1) sum p |log p/q| + h^2/8 e^(h/2). */
#ifndef QN_VALIDATE_COMPACT_KL_H
#define QN_VALIDATE_COMPACT_KL_H

#include "validate/compact_row.h"

typedef struct {
    double kld;         /* the estimate */
    double least, most; /* of KL, whatever the tail, up to the float32 exponentials */
    double variance;    /* of the estimate, by sampling */
    double total;       /* log-sum-exp of the logits */
} qn_compact_kl;

/* weights: n_vocab floats of scratch. */
void qn_compact_kl_of(qn_compact_kl *out, const qn_kernels *k, const qn_compact_row *row,
                      const float *logits, float *weights, size_t n_vocab);

#endif
