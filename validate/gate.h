/* A limit on a mean, decided as early as the figures allow.
 *
 * Windows come one at a time, each with a figure x; the question is whether
 * their mean is below a limit.  Looking after every window and stopping when
 * it looks good would be wrong far too often, so the answer comes from a bet:
 * against each mean m that is thought possible, capital
 *
 *     K_n(m) = product over i of (1 + lambda_i (x_i - m))
 *
 * with stakes lambda_i set before x_i is seen.  If m is the mean, capital grows
 * on no average, and exceeds 1 / alpha at any time ever with a probability of
 * at most alpha (Ville's inequality).  So whoever stops when it does errs with
 * at most that probability, however often he looked.  Waudby-Smith and Ramdas,
 * Estimating means of bounded random variables by betting, JRSS-B 86 (2024);
 * stakes by their aGRAPA, (mean - m) / (variance + (mean - m)^2), cut at three
 * quarters of what could ruin.
 *
 * Bets need figures with bounds.  A window counts for at most `most` (and at
 * least `least`): what is decided is the mean of figures cut there.  A single
 * mean is assumed: windows should come in random order. */
#ifndef QN_VALIDATE_GATE_H
#define QN_VALIDATE_GATE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum { QN_GATE_OPEN, QN_GATE_PASS, QN_GATE_FAIL } qn_gate_state;

/* Means that the interval is looked for among, evenly from least to most. */
#define QN_GATE_GRID 128

typedef struct {
    double least, most, limit; /* least < limit < most */
    double alpha;              /* the error rate of each of the two answers */
    qn_gate_state state;       /* once decided it stays */
    size_t n;                  /* windows seen */
    size_t decided_at;         /* windows seen when it was decided */
    double sum, squares;       /* of the cut figures, from 0 to 1 */
    double plain_sum;          /* of the figures themselves */
    /* logarithms of capital, bets on a mean above and below each candidate; the
     * last one is the limit itself */
    double above[QN_GATE_GRID + 1], below[QN_GATE_GRID + 1];
} qn_gate;

void qn_gate_start(qn_gate *g, double least, double most, double limit, double alpha);

/* One more window.  Passing also asks that the plain mean is at most the limit. */
void qn_gate_see(qn_gate *g, double x);

/* The means not yet ruled out, at 1 - alpha on each side. */
void qn_gate_interval(const qn_gate *g, double *low, double *high);

#endif
