#include "quant/statistics.h"

#include "formats/base/alloc.h"
#include "quant/pass.h"

#include <math.h>
#include <string.h>

enum { SLICE = 65536 }; /* elements of a slice; it is a row where that is longer */

typedef struct {
    const qn_rows *rows;
    const qn_kernels *k;
    uint64_t rows_each, slices;
} cutting;

static cutting cut(const qn_rows *rows, const qn_kernels *k)
{
    const uint64_t each = rows->columns && rows->columns < SLICE ? SLICE / rows->columns : 1;
    const uint64_t slices = rows->columns ? rows->rows / each + (rows->rows % each != 0) : 0;
    return (cutting){rows, k, each, slices};
}

/* The values of slice i; *n of them. */
static qn_status decode_slice(const cutting *c, uint64_t i, float *values, size_t *n, qn_error *err)
{
    const uint64_t r0 = i * c->rows_each, left = c->rows->rows - r0;
    const uint64_t r1 = r0 + (left < c->rows_each ? left : c->rows_each);
    *n = (size_t)((r1 - r0) * c->rows->columns);
    const qn_status status = c->rows->decode(c->rows, c->k, r0, r1, values, err);
    if (c->rows->done) c->rows->done(c->rows, r0, r1);
    return status;
}

/* What is done with a slice's values; slot is the slice's own or the thread's. */
typedef void (*slice_fn)(const float *values, size_t n, void *slot, const void *context);

typedef struct {
    slice_fn call;
    char *slots;
    size_t slot_bytes;
    bool slot_a_thread; /* else a slot a slice */
    const void *context;
} work;

/* Of several faults the first slice's is reported. */
static qn_status each_slice(const cutting *c, const work *w, int threads, qn_error *err)
{
    uint64_t failed_at = UINT64_MAX;
    qn_error first = {0};
#pragma omp parallel num_threads(threads)
    {
        float *values = qn_alloc(c->rows_each * c->rows->columns, sizeof *values);
        const size_t thread = (size_t)omp_get_thread_num();
#pragma omp for schedule(dynamic)
        for (uint64_t i = 0; i < c->slices; i++) {
            qn_error mine = {0};
            size_t n = 0;
            if (values ? decode_slice(c, i, values, &n, &mine)
                       : qn_fail_memory(&mine, "a slice of rows")) {
#pragma omp critical
                if (i < failed_at) failed_at = i, first = mine;
                continue;
            }
            w->call(values, n, w->slots + (w->slot_a_thread ? thread : i) * w->slot_bytes,
                    w->context);
        }
        qn_free(values);
    }
    if (failed_at == UINT64_MAX) return QN_OK;
    return qn_fail(err, first.status, "%s", first.message);
}

/* ---- statistics ------------------------------------------------------------------- */

typedef struct {
    qn_statistics s;
    double squares; /* sum of squared deviations from s.mean */
} part;

static void look_at(const float *values, size_t n, void *slot, const void *context)
{
    (void)context;
    part p = {0};
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = (double)values[i];
        if (!isfinite(v)) {
            if (isnan(v))
                p.s.nans++;
            else
                p.s.infinities++;
            continue;
        }
        if (!p.s.finite || v < p.s.min) p.s.min = v;
        if (!p.s.finite || v > p.s.max) p.s.max = v;
        p.s.finite++;
        p.s.zeros += v == 0;
        sum += v;
    }
    if (p.s.finite) p.s.mean = sum / (double)p.s.finite;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)values[i] - p.s.mean;
        if (isfinite(d)) p.squares += d * d;
    }
    memcpy(slot, &p, sizeof p);
}

static void merge(part *all, const part *p)
{
    all->s.nans += p->s.nans;
    all->s.infinities += p->s.infinities;
    if (!p->s.finite) return;
    if (!all->s.finite || p->s.min < all->s.min) all->s.min = p->s.min;
    if (!all->s.finite || p->s.max > all->s.max) all->s.max = p->s.max;
    const double before = (double)all->s.finite, more = (double)p->s.finite;
    const double apart = p->s.mean - all->s.mean;
    all->s.mean += apart * (more / (before + more));
    all->squares += p->squares + apart * apart * (before * more / (before + more));
    all->s.finite += p->s.finite;
    all->s.zeros += p->s.zeros;
}

qn_status qn_statistics_of(const qn_rows *rows, const qn_kernels *k, int threads,
                           qn_statistics *out, qn_error *err)
{
    const cutting c = cut(rows, k);
    part *parts = qn_alloc(c.slices, sizeof *parts), all = {0};
    if (!parts) return qn_fail_memory(err, "a tensor's statistics");
    const work w = {.call = look_at, .slots = (char *)parts, .slot_bytes = sizeof *parts};
    const qn_status status = each_slice(&c, &w, qn_pass_threads(threads), err);
    for (uint64_t i = 0; i < c.slices && !status; i++) merge(&all, &parts[i]);
    qn_free(parts);
    if (status) return status;
    if (all.s.finite) all.s.deviation = sqrt(all.squares / (double)all.s.finite);
    *out = all.s;
    return QN_OK;
}

/* ---- histogram --------------------------------------------------------------------- */

typedef struct {
    double min, scale; /* bin = (value - min) * scale */
    size_t n_bins;
} binning;

static void count_bins(const float *values, size_t n, void *slot, const void *context)
{
    const binning *b = context;
    uint64_t *counts = slot;
    for (size_t i = 0; i < n; i++) {
        const double v = (double)values[i];
        if (!isfinite(v)) continue;
        const size_t bin = (size_t)((v - b->min) * b->scale);
        counts[bin < b->n_bins ? bin : b->n_bins - 1]++;
    }
}

qn_status qn_statistics_histogram(const qn_rows *rows, const qn_kernels *k, int threads,
                                  const qn_statistics *s, uint64_t *counts, size_t n_bins,
                                  qn_error *err)
{
    const cutting c = cut(rows, k);
    const double width = s->max - s->min;
    const binning b = {s->min, width > 0 ? (double)n_bins / width : 0, n_bins};
    const int n_threads = qn_pass_threads(threads);
    uint64_t *all = qn_alloc((size_t)n_threads * n_bins, sizeof *all);
    if (!all) return qn_fail_memory(err, "a histogram");
    const work w = {count_bins, (char *)all, n_bins * sizeof *all, true, &b};
    const qn_status status = each_slice(&c, &w, n_threads, err);
    if (!status) {
        memset(counts, 0, n_bins * sizeof *counts);
        for (size_t t = 0; t < (size_t)n_threads; t++)
            for (size_t i = 0; i < n_bins; i++) counts[i] += all[t * n_bins + i];
    }
    qn_free(all);
    return status;
}
