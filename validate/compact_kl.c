#include "validate/compact_kl.h"

#include "formats/base/sizes.h"
#include "validate/chunks.h"
#include "validate/reals.h"

/* The test's share of a tail, at least: beyond this its logits are below all floats. */
static const double smallest = 1e-300;

typedef struct {
    double mass;       /* of weights */
    float least, most; /* logits */
} tail;

/* Tokens that are not kept. */
static tail tail_of(const qn_compact_row *row, const float *logits, const float *weights, size_t n)
{
    tail t = {.least = 3e38f, .most = -3e38f};
    size_t from = 0;
    for (size_t i = 0; i <= row->kept; i++) {
        const size_t to = i < row->kept ? row->ids[i] : n;
        for (size_t v = from; v < to; v++) {
            t.mass += (double)weights[v];
            if (logits[v] < t.least) t.least = logits[v];
            if (logits[v] > t.most) t.most = logits[v];
        }
        from = to + 1;
    }
    return t;
}

/* Mean and variance of r - 1 - log r over the sample; log_share: log(M/m). */
static void sample_of(const qn_compact_row *row, const float *logits, double total,
                      double log_share, double *mean, double *variance)
{
    const uint32_t *ids = row->ids + row->kept;
    const float *log_p = row->log_p + row->kept;
    const double n = (double)row->samples;
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < row->samples; i++) {
        const double log_r = (double)logits[ids[i]] - total - (double)log_p[i] - log_share;
        const double x = qn_exp(log_r) - 1.0 - log_r;
        sum += x;
        squares += x * x;
    }
    *mean = n > 0 ? sum / n : 0.0;
    *variance = n > 1 ? (squares - sum * sum / n) / ((n - 1) * n) : 0.0;
}

void qn_compact_kl_of(qn_compact_kl *out, const qn_kernels *k, const qn_compact_row *row,
                      const float *logits, float *weights, size_t n_vocab)
{
    const double half = QN_COMPACT_STEP / 2, up = qn_exp(half);
    const double total = qn_log_sum_exp(k, logits, n_vocab, weights);
    const double all = qn_exp(total - (double)k->max(logits, n_vocab));
    double sum = 0.0, distance = 0.0, mean, variance;
    for (size_t i = 0; i < row->kept; i++) {
        const uint32_t id = row->ids[i];
        const double ratio = (double)row->log_p[i] - ((double)logits[id] - total);
        const double p = qn_exp((double)row->log_p[i]);
        sum += p * (ratio - 1.0) + (double)weights[id] / all;
        distance += p * (ratio < 0 ? -ratio : ratio);
    }
    const double rounding = (up - 1.0) * distance + half * half / 2 * up;
    const tail t = tail_of(row, logits, weights, n_vocab);
    const double m = (double)row->tail;
    double share = t.mass / all, above = 0.0;
    if (m > 0) {
        double log_share = share > smallest ? qn_log(share) : (double)t.most - total;
        log_share -= qn_log(m);
        sum += m * (-log_share - 1.0);
        sample_of(row, logits, total, log_share, &mean, &variance);
        above = m * ((double)row->tail_mean + log_share - ((double)t.least - total));
    } else {
        mean = variance = 0.0;
    }
    sum += share;
    *out = (qn_compact_kl){.kld = sum + m * mean, .variance = m * m * variance, .total = total};
    out->least = sum > rounding ? sum - rounding : 0.0;
    out->most = sum + rounding + (above > 0 ? above : 0.0);
}
