#include "validate/kl_statistics.h"

#include <math.h>
#include <stdlib.h>

#include "validate/reals.h"

const double qn_percentiles[QN_N_PERCENTILES] = {0,  0.1, 1,  5,  10,   25, 50,
                                                 75, 90,  95, 99, 99.9, 100};

/* ---- means -------------------------------------------------------------------------- */

/* The mean of n values in windows of w, and its two errors. */
static qn_estimate mean_of(const double *x, size_t n, size_t w)
{
    qn_estimate e = {.error = (double)NAN};
    double sum = 0.0, squares = 0.0, of_windows = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
        squares += x[i] * x[i];
    }
    e.value = sum / (double)n;
    const double variance = squares / (double)n - e.value * e.value;
    if (n > 1 && variance > 0) e.token_error = sqrt(variance / (double)(n - 1));
    const size_t windows = n / w;
    if (windows < 2) return e;
    for (size_t i = 0; i < n; i += w) {
        double mean = 0.0;
        for (size_t k = 0; k < w; k++) mean += x[i + k];
        const double off = mean / (double)w - e.value;
        of_windows += off * off;
    }
    e.error = sqrt(of_windows / ((double)windows * (double)(windows - 1)));
    return e;
}

/* e^value; an error of the logarithm is a relative one of the value. */
static qn_estimate exponential_of(qn_estimate e)
{
    const double value = qn_exp(e.value);
    return (qn_estimate){value, value * e.error, value * e.token_error};
}

static double correlation_of(const double *a, const double *b, size_t n)
{
    double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
    const double count = (double)n;
    for (size_t i = 0; i < n; i++) {
        sa += a[i];
        sb += b[i];
    }
    for (size_t i = 0; i < n; i++) {
        const double da = a[i] - sa / count, db = b[i] - sb / count;
        saa += da * da;
        sbb += db * db;
        sab += da * db;
    }
    return saa > 0 && sbb > 0 ? sab / sqrt(saa * sbb) : (double)NAN;
}

/* ---- percentiles ------------------------------------------------------------------------ */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of sorted x: linear between the values at percent / 100 * (n - 1). */
static double percentile(const double *x, size_t n, double percent)
{
    const double at = percent / 100.0 * (double)(n - 1);
    const size_t low = (size_t)at, high = low + 1 < n ? low + 1 : low;
    return x[low] + (at - (double)low) * (x[high] - x[low]);
}

/* Sorts x. */
static void percentiles_of(double *x, size_t n, double out[QN_N_PERCENTILES])
{
    qsort(x, n, sizeof *x, ascending);
    for (size_t i = 0; i < QN_N_PERCENTILES; i++) out[i] = percentile(x, n, qn_percentiles[i]);
}

/* ---- all of them -------------------------------------------------------------------------- */

qn_status qn_kl_statistics_of(qn_kl_statistics *out, const qn_comparison *c, size_t test,
                              size_t first, size_t n, qn_error *err)
{
    const qn_compared *t = &c->tests[test];
    const double *a = c->nll + first, *b = t->nll + first;
    double *x = qn_alloc(n, sizeof *x);
    if (!x) return qn_fail_memory(err, "statistics");
    *out = (qn_kl_statistics){.n = n, .windows = n / c->scored};
    out->ppl_reference = exponential_of(mean_of(a, n, c->scored));
    out->ppl = exponential_of(mean_of(b, n, c->scored));
    for (size_t i = 0; i < n; i++) x[i] = b[i] - a[i];
    out->log_ratio = mean_of(x, n, c->scored);
    out->ppl_ratio = exponential_of(out->log_ratio);
    out->correlation = correlation_of(a, b, n);
    for (size_t i = 0; i < n; i++) x[i] = c->top[first + i] == t->top[first + i] ? 1.0 : 0.0;
    out->same_top = mean_of(x, n, c->scored);
    for (size_t i = 0; i < n; i++) x[i] = t->kld[first + i];
    out->kld = mean_of(x, n, c->scored);
    percentiles_of(x, n, out->kld_at);
    for (size_t i = 0; i < QN_CURVE_POINTS; i++) out->kld_curve[i] = percentile(x, n, (double)i);
    for (size_t i = 0; i < n; i++) x[i] = qn_exp(-b[i]) - qn_exp(-a[i]);
    out->delta_p = mean_of(x, n, c->scored);
    percentiles_of(x, n, out->delta_p_at);
    for (size_t i = 0; i < n; i++) x[i] *= x[i];
    const qn_estimate square = mean_of(x, n, c->scored);
    out->rms_delta_p = sqrt(square.value);
    if (square.value > 0) out->rms_delta_p_error = square.token_error / (2 * out->rms_delta_p);
    qn_free(x);
    return QN_OK;
}

double qn_window_mean_kld(const qn_comparison *c, size_t test, size_t first)
{
    double sum = 0;
    for (size_t i = 0; i < c->scored; i++) sum += c->tests[test].kld[first + i];
    return sum / (double)c->scored;
}

double qn_window_same_top(const qn_comparison *c, size_t test, size_t first)
{
    size_t same = 0;
    for (size_t i = first; i < first + c->scored; i++) same += c->tests[test].top[i] == c->top[i];
    return (double)same / (double)c->scored;
}

double qn_window_log_ratio(const qn_comparison *c, size_t test, size_t first)
{
    double sum = 0;
    for (size_t i = first; i < first + c->scored; i++) sum += c->tests[test].nll[i] - c->nll[i];
    return sum / (double)c->scored;
}

size_t qn_worst_positions(const qn_comparison *c, size_t test, size_t *at, size_t most)
{
    const double *kld = c->tests[test].kld;
    size_t n = 0;
    for (size_t i = 0; i < c->n && most; i++) {
        if (n == most && kld[i] <= kld[at[n - 1]]) continue;
        size_t place = n < most ? n++ : n - 1;
        for (; place && kld[at[place - 1]] < kld[i]; place--) at[place] = at[place - 1];
        at[place] = i;
    }
    return n;
}
