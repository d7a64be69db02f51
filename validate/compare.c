#include "validate/compare.h"

#include <string.h>

#include "formats/base/sizes.h"
#include "validate/compact_kl.h"
#include "validate/reals.h"
#include "validate/weights.h"

/* Products summed in float lanes at a time, before double takes over. */
#define SUM_BLOCK 512

/* Of a row of the reference: KL = unit * (weighted difference) + mass * (total
 * of the test - total). */
typedef struct {
    double total, unit, mass;
} row_sums;

typedef struct {
    const qn_chunks *chunks;
    const qn_compare_reference *reference;
    size_t first; /* model that is run: 1 where the reference is a file */
    const char *const *names;
    const qn_kernels *k;
    int threads;
    size_t n_models, n_vocab, rows;
    qn_chunk_runner *runners; /* the reference (idle with a base), then the tests */
    float *logits, *test;     /* [rows][n_vocab]; of a base: log p */
    float *weights;           /* [rows][n_vocab]: p of the reference, up to a factor */
    row_sums *sums;           /* [rows] */
    qn_compact_row *compact;  /* [rows], of a compact base; NULL: none */
    uint32_t *compact_ids;    /* theirs */
    float *compact_log_p;
    qn_compact_kl *bounds; /* [rows] */
    qn_comparison *out;
} job;

/* ---- one position ------------------------------------------------------------------- */

static uint32_t first_largest(const qn_kernels *k, const float *logits, size_t n)
{
    const float max = k->max(logits, n);
    size_t i = 0;
    while (i + 1 < n && logits[i] != max) i++;
    return (uint32_t)i;
}

/* sum e^(a_v - max) (a_v - b_v) */
static double weighted_difference(const qn_kernels *k, const float *weights, const float *a,
                                  const float *b, size_t n)
{
    float difference[SUM_BLOCK];
    double sum = 0.0;
    for (size_t i = 0; i < n; i += SUM_BLOCK) {
        const size_t m = (size_t)qn_min_u64(SUM_BLOCK, n - i);
        for (size_t v = 0; v < m; v++) difference[v] = a[i + v] - b[i + v];
        sum += (double)k->dot(weights + i, difference, m);
    }
    return sum;
}

static void see_model(const job *j, size_t row, size_t at, uint32_t next)
{
    const float *a = j->logits + row * j->n_vocab;
    const double total = qn_log_sum_exp(j->k, a, j->n_vocab, j->weights + row * j->n_vocab);
    /* weights are e^(logit - max): their sum is e^(total - max) */
    const double sum = qn_exp(total - (double)j->k->max(a, j->n_vocab));
    j->sums[row] = (row_sums){.total = total, .unit = 1.0 / sum, .mass = 1.0};
    j->out->nll[at] = total - (double)a[next];
    j->out->top[at] = first_largest(j->k, a, j->n_vocab);
}

/* Probabilities of a file: below e^-16 none. */
static void see_base(const job *j, size_t row, size_t at, uint32_t next)
{
    static const float least = -16.0f;
    const float *a = j->logits + row * j->n_vocab;
    float *weights = j->weights + row * j->n_vocab;
    double mass = 0.0;
    memcpy(weights, a, j->n_vocab * sizeof *weights);
    j->k->exp_sum(weights, 0.0f, j->n_vocab);
    for (size_t v = 0; v < j->n_vocab; v++) {
        if (!(a[v] > least)) weights[v] = 0.0f;
        mass += (double)weights[v];
    }
    j->sums[row] = (row_sums){.unit = 1.0, .mass = mass};
    j->out->nll[at] = -(double)a[next];
    j->out->top[at] = first_largest(j->k, a, j->n_vocab);
}

/* A row of a compact base. */
static void see_compact(const job *j, size_t row, size_t at)
{
    j->out->nll[at] = -(double)j->compact[row].log_p_next;
    j->out->top[at] = j->compact[row].top;
}

static void see_test_by_compact(const job *j, const qn_compared *t, size_t row, size_t at,
                                uint32_t next)
{
    const float *b = j->test + row * j->n_vocab;
    qn_compact_kl *kl = &j->bounds[row];
    qn_compact_kl_of(kl, j->k, &j->compact[row], b, j->weights + row * j->n_vocab, j->n_vocab);
    t->nll[at] = kl->total - (double)b[next];
    t->top[at] = first_largest(j->k, b, j->n_vocab);
    t->kld[at] = kl->kld;
}

static void add_bounds(const job *j, qn_compared *t, size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        t->kld_least += j->bounds[i].least;
        t->kld_most += j->bounds[i].most;
        t->kld_variance += j->bounds[i].variance;
    }
}

static void see_test(const job *j, const qn_compared *t, size_t row, size_t at, uint32_t next)
{
    const float *a = j->logits + row * j->n_vocab, *b = j->test + row * j->n_vocab;
    const float *weights = j->weights + row * j->n_vocab;
    const row_sums *r = &j->sums[row];
    const double total = qn_log_sum_exp(j->k, b, j->n_vocab, NULL);
    t->nll[at] = total - (double)b[next];
    t->top[at] = first_largest(j->k, b, j->n_vocab);
    t->kld[at] = weighted_difference(j->k, weights, a, b, j->n_vocab) * r->unit +
                 r->mass * (total - r->total);
}

/* ---- a batch ------------------------------------------------------------------------- */

/* What the reference says of rows of one chunk, from the model or the file. */
static qn_status get_reference(const job *j, size_t sequence, size_t chunk, size_t row, size_t rows,
                               qn_error *err)
{
    const qn_compare_reference *r = j->reference;
    const size_t there = r->order ? r->order[chunk] : chunk;
    if (r->compact) return qn_compact_base_rows(r->compact, there, row, rows, j->compact, err);
    if (!r->base)
        return qn_chunk_runner_logits(j->runners, sequence, chunk, row, rows, j->logits, err);
    const qn_status status = qn_kld_base_check(r->base, there, row, rows, err);
    if (status) return status;
#pragma omp parallel for num_threads(j->threads)
    for (size_t i = 0; i < rows; i++)
        qn_kld_base_row(r->base, there, row + i, j->logits + i * j->n_vocab);
    return QN_OK;
}

static void see_reference(const job *j, size_t row, size_t at, uint32_t next)
{
    if (j->compact)
        see_compact(j, row, at);
    else if (j->reference->base)
        see_base(j, row, at, next);
    else
        see_model(j, row, at, next);
}

/* What a file's rows come to: those below e^-16 are not counted, a few hundredths at most. */
static qn_status check_masses(const job *j, size_t chunk, size_t row, size_t rows, qn_error *err)
{
    const qn_compare_reference *r = j->reference;
    for (size_t i = 0; r->base && i < rows; i++)
        if (!(j->sums[i].mass > 0.9 && j->sums[i].mass < 1.01))
            return qn_fail(err, QN_ERR_DATA,
                           "%s: chunk %zu, row %zu: its probabilities add up to %g",
                           r->base->map.path, (r->order ? r->order[chunk] : chunk) + 1, row + i + 1,
                           j->sums[i].mass);
    return QN_OK;
}

/* Rows row .. row + rows - 1 of one chunk, all models. */
static qn_status see_rows(const job *j, size_t sequence, size_t chunk, size_t row, size_t rows,
                          qn_error *err)
{
    const size_t at = chunk * j->chunks->scored + row;
    const uint32_t *next = qn_chunk_ids(j->chunks, chunk) + j->chunks->first + row + 1;
    qn_status status = get_reference(j, sequence, chunk, row, rows, err);
    if (status) return status;
#pragma omp parallel for num_threads(j->threads)
    for (size_t i = 0; i < rows; i++) see_reference(j, i, at + i, next[i]);
    if ((status = check_masses(j, chunk, row, rows, err))) return status;
    for (size_t t = 1; t < j->n_models; t++) {
        qn_compared *test = &j->out->tests[t - 1];
        status = qn_chunk_runner_logits(&j->runners[t], sequence, chunk, row, rows, j->test, err);
        if (status) return status;
#pragma omp parallel for num_threads(j->threads)
        for (size_t i = 0; i < rows; i++) {
            if (j->compact)
                see_test_by_compact(j, test, i, at + i, next[i]);
            else
                see_test(j, test, i, at + i, next[i]);
        }
        if (j->compact) add_bounds(j, test, rows);
    }
    return QN_OK;
}

static qn_status see_chunk(const job *j, size_t sequence, size_t chunk, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t row = 0; row < j->chunks->scored && !status; row += j->rows)
        status = see_rows(j, sequence, chunk, row,
                          (size_t)qn_min_u64(j->rows, j->chunks->scored - row), err);
    return status;
}

static qn_status run_all(const job *j, qn_compare_fn progress, void *ctx, qn_error *err)
{
    const qn_chunks *c = j->chunks;
    for (size_t at = 0; at < c->chunks; at += c->batch) {
        const size_t n = (size_t)qn_min_u64(c->batch, c->chunks - at);
        qn_status status = QN_OK;
        for (size_t m = j->first; m < j->n_models && !status; m++)
            status = qn_chunk_runner_run(&j->runners[m], at, n, err);
        for (size_t s = 0; s < n && !status; s++) {
            if ((status = see_chunk(j, s, at + s, err))) break;
            const qn_compare_verdict verdict =
                progress ? progress(ctx, j->out, at + s + 1, c->chunks) : QN_COMPARE_ON;
            j->out->n = (at + s + 1) * c->scored;
            if (verdict == QN_COMPARE_ENOUGH) return QN_OK;
            if (verdict == QN_COMPARE_CANCEL)
                status = qn_fail(err, QN_ERR_CANCELLED, "cancelled after %zu of %zu chunks",
                                 at + s + 1, c->chunks);
        }
        if (status) return status;
    }
    return QN_OK;
}

/* ---- memory -------------------------------------------------------------------------- */

static qn_status make_room(qn_comparison *out, const qn_chunks *chunks, size_t n_tests,
                           qn_error *err)
{
    const size_t n = chunks->chunks * chunks->scored;
    *out = (qn_comparison){.n = n, .scored = chunks->scored};
    out->nll = qn_alloc(n, sizeof *out->nll);
    out->top = qn_alloc(n, sizeof *out->top);
    out->tests = qn_alloc(n_tests, sizeof *out->tests);
    if (!out->nll || !out->top || !out->tests) return qn_fail_memory(err, "a comparison");
    for (out->n_tests = 0; out->n_tests < n_tests;) {
        qn_compared *t = &out->tests[out->n_tests++];
        t->nll = qn_alloc(n, sizeof *t->nll);
        t->kld = qn_alloc(n, sizeof *t->kld);
        t->top = qn_alloc(n, sizeof *t->top);
        if (!t->nll || !t->kld || !t->top) return qn_fail_memory(err, "a comparison");
    }
    return QN_OK;
}

void qn_comparison_free(qn_comparison *c)
{
    for (size_t t = 0; t < c->n_tests; t++) {
        qn_free(c->tests[t].nll);
        qn_free(c->tests[t].kld);
        qn_free(c->tests[t].top);
    }
    qn_free(c->tests);
    qn_free(c->nll);
    qn_free(c->top);
    *c = (qn_comparison){0};
}

static qn_status make_compact(job *j, qn_error *err)
{
    const size_t ids = qn_compact_row_ids(j->n_vocab);
    j->test = qn_alloc(j->rows * j->n_vocab, sizeof *j->test);
    j->weights = qn_alloc(j->rows * j->n_vocab, sizeof *j->weights);
    j->compact = qn_alloc(j->rows, sizeof *j->compact);
    j->compact_ids = qn_alloc(j->rows * ids, sizeof *j->compact_ids);
    j->compact_log_p = qn_alloc(j->rows * ids, sizeof *j->compact_log_p);
    j->bounds = qn_alloc(j->rows, sizeof *j->bounds);
    if (!j->test || !j->weights || !j->compact || !j->compact_ids || !j->compact_log_p ||
        !j->bounds)
        return qn_fail_memory(err, "logits");
    for (size_t i = 0; i < j->rows; i++) {
        j->compact[i].ids = j->compact_ids + i * ids;
        j->compact[i].log_p = j->compact_log_p + i * ids;
    }
    return QN_OK;
}

static void free_buffers(job *j)
{
    for (size_t m = 0; j->runners && m < j->n_models; m++) qn_chunk_runner_free(&j->runners[m]);
    qn_free(j->runners);
    qn_free(j->logits);
    qn_free(j->test);
    qn_free(j->weights);
    qn_free(j->sums);
    qn_free(j->compact);
    qn_free(j->compact_ids);
    qn_free(j->compact_log_p);
    qn_free(j->bounds);
}

static qn_status make_buffers(job *j, qn_error *err)
{
    j->rows = qn_chunks_logit_rows(j->chunks, j->n_vocab);
    j->runners = qn_alloc(j->n_models, sizeof *j->runners);
    if (j->reference->compact)
        return j->runners ? make_compact(j, err) : qn_fail_memory(err, "runners");
    j->logits = qn_alloc(j->rows * j->n_vocab, sizeof *j->logits);
    j->test = qn_alloc(j->rows * j->n_vocab, sizeof *j->test);
    j->weights = qn_alloc(j->rows * j->n_vocab, sizeof *j->weights);
    j->sums = qn_alloc(j->rows, sizeof *j->sums);
    if (!j->runners || !j->logits || !j->test || !j->weights || !j->sums)
        return qn_fail_memory(err, "logits");
    return QN_OK;
}

static qn_status start(job *j, const qn_compare_reference *reference,
                       const qn_decoder *const *tests, qn_error *err)
{
    const qn_decoder *first = j->first ? tests[0] : reference->decoder;
    j->k = first->k;
    j->threads = first->threads;
    j->n_vocab = reference->compact ? reference->compact->n_vocab
                 : reference->base  ? reference->base->n_vocab
                                    : (size_t)first->hparams->n_vocab;
    for (size_t m = 1; m < j->n_models; m++)
        if (tests[m - 1]->hparams->n_vocab != j->n_vocab)
            return qn_fail(err, QN_ERR_DATA, "%s: a vocabulary of %llu, %s has %zu", j->names[m],
                           (unsigned long long)tests[m - 1]->hparams->n_vocab, j->names[0],
                           j->n_vocab);
    qn_status status = make_buffers(j, err);
    for (size_t m = j->first; m < j->n_models && !status; m++)
        status = qn_chunk_runner_new(&j->runners[m], j->chunks,
                                     m ? tests[m - 1] : reference->decoder, err);
    return status;
}

qn_status qn_compare_run(qn_comparison *out, const qn_compare_reference *reference,
                         const qn_decoder *const *tests, size_t n_tests, const char *const *names,
                         const qn_chunks *chunks, qn_compare_fn progress, void *ctx, qn_error *err)
{
    job j = {.chunks = chunks,
             .reference = reference,
             .first = reference->base || reference->compact,
             .names = names,
             .n_models = n_tests + 1,
             .out = out};
    qn_status status = make_room(out, chunks, n_tests, err);
    if (!status) status = start(&j, reference, tests, err);
    if (!status) status = run_all(&j, progress, ctx, err);
    free_buffers(&j);
    return status;
}
