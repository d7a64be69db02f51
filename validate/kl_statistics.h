/* What a comparison says in figures: llama-perplexity's --kl-divergence
 * statistics by its definitions, with errors by windows beside those by tokens.
 *
 * Tokens of one window share their context, so they are no independent
 * draws: an error by windows is the standard deviation of the windows' means
 * over the root of their number.  Errors by tokens, as llama-perplexity prints
 * them, are sqrt((mean x^2 - (mean x)^2) / (n - 1)) over all positions. */
#ifndef QN_VALIDATE_KL_STATISTICS_H
#define QN_VALIDATE_KL_STATISTICS_H

#include "validate/compare.h"

typedef struct {
    double value;
    double error;       /* by windows; NaN with a single window */
    double token_error; /* by tokens */
} qn_estimate;

#define QN_N_PERCENTILES 13
/* 0 (minimum) .. 100 (maximum), ascending. */
extern const double qn_percentiles[QN_N_PERCENTILES];
/* 0, 1 .. 100: for a curve. */
enum { QN_CURVE_POINTS = 101 };

typedef struct {
    size_t n, windows;
    qn_estimate ppl, ppl_reference;
    qn_estimate log_ratio; /* mean of the paired difference of nll */
    qn_estimate ppl_ratio; /* its exponential */
    double correlation;    /* of the two nll */
    qn_estimate kld;       /* mean, nats */
    double kld_at[QN_N_PERCENTILES], kld_curve[QN_CURVE_POINTS];
    qn_estimate same_top;                  /* share, 0..1 */
    qn_estimate delta_p;                   /* mean of q - p of the token that came, 0..1 */
    double rms_delta_p, rms_delta_p_error; /* error by tokens */
    double delta_p_at[QN_N_PERCENTILES];
} qn_kl_statistics;

/* Of one test, positions first .. first + n - 1, a whole number of windows. */
qn_status qn_kl_statistics_of(qn_kl_statistics *out, const qn_comparison *c, size_t test,
                              size_t first, size_t n, qn_error *err);

/* Of one test, the window whose positions begin at first: means of KL divergence, of the
 * same most probable token (a share), of -log q + log p of the token that came. */
double qn_window_mean_kld(const qn_comparison *c, size_t test, size_t first);
double qn_window_same_top(const qn_comparison *c, size_t test, size_t first);
double qn_window_log_ratio(const qn_comparison *c, size_t test, size_t first);

/* The positions with the largest KL divergence, most first, into at[]; how many. */
size_t qn_worst_positions(const qn_comparison *c, size_t test, size_t *at, size_t most);

#endif
