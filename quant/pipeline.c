#include "quant/pipeline.h"

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"
#include "quant/pass.h"
#include "quant/span.h"

#include <assert.h>
#include <math.h>
#include <omp.h>

enum {
    SLICE = 65536,         /* elements */
    BATCH = 16384,         /* elements: 64 KiB of floats stay in a core's cache */
    TENSOR_COST = 1024,    /* elements that take as long as a tensor's own overhead */
    FLUSH_BYTES = 1 << 20, /* smaller tensors are left to the kernel: a call each costs more */
    CACHE_LINE = 64,
};
static const uint64_t DEFAULT_MEMORY = UINT64_C(64) << 20;

/* What is kept for each tensor while it is worked on. */
typedef struct {
    uint64_t rows_left;
    uint64_t first_slot; /* of its slices' sums of squares */
} progress;

typedef struct {
    qn_span_context span;
    progress *tensors;
    double *squares; /* one a slice, of all slices for each output */
    uint64_t slots;  /* slices */
    qn_pass pass;
    qn_plan_row next; /* under its lock */
} run;

static size_t entries(const run *r)
{
    return r->span.outputs[0].plan->n;
}

static const qn_rows *rows_of(const run *r, size_t entry)
{
    return r->span.outputs[0].plan->entries[entry].tensor->rows;
}

/* Slices of consecutive tensors, at most one of each. */
typedef struct {
    qn_plan_row from;
    size_t end_entry; /* exclusive */
    uint64_t end_row; /* in the last tensor, exclusive */
} job;

/* Rows without columns, however many, are one slice. */
static uint64_t slice_rows(const qn_rows *rows)
{
    if (!rows->columns) return UINT64_MAX;
    return rows->columns < SLICE ? SLICE / rows->columns : 1;
}

static uint64_t slices(const qn_rows *rows)
{
    const uint64_t each = slice_rows(rows);
    return rows->rows / each + (rows->rows % each != 0);
}

/* ---- memory ---------------------------------------------------------------------- */

/* Of one thread's buffers: what the longest row needs, and what more than
 * which is no use. */
typedef struct {
    uint64_t least_values, least_out;
    uint64_t weights; /* floats, whatever the memory */
    uint64_t targets; /* one an output */
    uint64_t best_values, best_out;
    uint64_t shared; /* bytes for all threads together */
} needs;

/* a * b + c, or UINT64_MAX: more than any memory. */
static uint64_t multiply_add(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t product, sum;
    return qn_mul_u64(a, b, &product) && qn_add_u64(product, c, &sum) ? sum : UINT64_MAX;
}

/* Of a row of entry number i, in all outputs. */
static uint64_t row_bytes_of(const qn_pipeline_output *outputs, size_t n_outputs, size_t i)
{
    uint64_t sum = 0;
    for (size_t k = 0; k < n_outputs; k++) {
        const qn_plan_entry *e = &outputs[k].plan->entries[i];
        uint64_t row_bytes = 0;
        qn_dtype_row_bytes(e->dtype, e->tensor->rows->columns, &row_bytes);
        sum = multiply_add(row_bytes, 1, sum);
    }
    return sum;
}

static bool heeds_importance(const qn_pipeline_output *outputs, size_t n_outputs, size_t i)
{
    for (size_t k = 0; k < n_outputs; k++)
        if (outputs[k].plan->entries[i].importance) return true;
    return false;
}

static needs needs_of(const qn_pipeline_output *outputs, size_t n_outputs)
{
    const qn_plan *p = outputs[0].plan;
    needs n = {.best_values = BATCH, .targets = n_outputs};
    uint64_t slots = 0;
    for (size_t i = 0; i < p->n; i++) {
        const qn_rows *rows = p->entries[i].tensor->rows;
        const uint64_t row_bytes = row_bytes_of(outputs, n_outputs, i);
        const uint64_t at_once = qn_min_u64(slice_rows(rows), rows->rows);
        n.least_values = qn_max_u64(n.least_values, rows->columns);
        n.least_out = qn_max_u64(n.least_out, row_bytes);
        if (heeds_importance(outputs, n_outputs, i))
            n.weights = qn_max_u64(n.weights, rows->columns);
        n.best_out = qn_max_u64(n.best_out, multiply_add(at_once, row_bytes, 0));
        slots += slices(rows);
    }
    n.best_values = qn_max_u64(n.best_values, n.least_values);
    n.best_out = qn_max_u64(n.best_out, n.least_out);
    const uint64_t sums = multiply_add(slots, n_outputs * sizeof(double), 0);
    n.shared = multiply_add(p->n, sizeof(progress), sums);
    return n;
}

static uint64_t thread_bytes(const needs *n, uint64_t n_values, uint64_t n_out)
{
    uint64_t rest = multiply_add(n->weights, sizeof(float), n_out);
    rest = multiply_add(n->targets, sizeof(qn_span_target), rest);
    return multiply_add(n_values, 2 * sizeof(float), rest);
}

static uint64_t least_memory(const needs *n, int threads)
{
    return multiply_add((uint64_t)threads, thread_bytes(n, n->least_values, n->least_out),
                        n->shared);
}

uint64_t qn_pipeline_least_memory(const qn_pipeline_output *outputs, size_t n, int threads)
{
    const needs all = needs_of(outputs, n);
    return least_memory(&all, qn_pass_threads(threads));
}

/* The sizes of one thread's buffers out of `bytes`, which are enough. */
static qn_span_buffers share_out(const needs *n, uint64_t bytes)
{
    qn_span_buffers b = {.n_values = n->best_values, .n_weights = n->weights};
    if (bytes < thread_bytes(n, n->best_values, n->least_out)) b.n_values = n->least_values;
    b.n_out = qn_min_u64(n->best_out, bytes - thread_bytes(n, b.n_values, 0));
    return b;
}

static qn_status allocate_buffers(qn_span_buffers *all, int threads, qn_span_buffers sizes,
                                  size_t n_outputs, qn_error *err)
{
    for (int t = 0; t < threads; t++) {
        all[t] = sizes;
        all[t].values = qn_alloc_aligned(CACHE_LINE, (size_t)sizes.n_values, sizeof(float));
        all[t].back = qn_alloc_aligned(CACHE_LINE, (size_t)sizes.n_values, sizeof(float));
        all[t].out = qn_alloc_aligned(CACHE_LINE, (size_t)sizes.n_out, 1);
        all[t].weights = qn_alloc_aligned(CACHE_LINE, (size_t)sizes.n_weights, sizeof(float));
        all[t].targets = qn_alloc(n_outputs, sizeof *all[t].targets);
        if (!all[t].values || !all[t].back || !all[t].out || !all[t].weights || !all[t].targets)
            return qn_fail_memory(err, "the threads' buffers");
    }
    return QN_OK;
}

static void free_buffers(qn_span_buffers *all, int threads)
{
    for (int t = 0; all && t < threads; t++) {
        qn_free(all[t].values);
        qn_free(all[t].back);
        qn_free(all[t].out);
        qn_free(all[t].weights);
        qn_free(all[t].targets);
    }
    qn_free(all);
}

/* ---- jobs ------------------------------------------------------------------------ */

/* Under the lock. */
static void cut_job(run *r, job *j)
{
    uint64_t cost = 0;
    j->from = r->next;
    while (r->next.entry < entries(r) && cost < SLICE) {
        const qn_rows *rows = rows_of(r, r->next.entry);
        const uint64_t n = qn_min_u64(slice_rows(rows), rows->rows - r->next.row);
        cost += n * rows->columns + TENSOR_COST;
        j->end_entry = r->next.entry + 1;
        j->end_row = r->next.row + n;
        if (j->end_row < rows->rows) {
            r->next.row = j->end_row;
            return;
        }
        r->next = (qn_plan_row){.entry = j->end_entry};
    }
}

static bool take_job(run *r, job *j)
{
    omp_set_lock(&r->pass.lock);
    const bool some = !r->pass.failed && r->next.entry < entries(r);
    if (some) cut_job(r, j);
    omp_unset_lock(&r->pass.lock);
    return some;
}

static void finish_rows(run *r, size_t entry, uint64_t n)
{
    uint64_t left;
#pragma omp atomic capture
    left = r->tensors[entry].rows_left -= n;
    if (left) return;
    for (size_t k = 0; k < r->span.n_outputs; k++) {
        qn_writer *w = r->span.outputs[k].writer;
        if (qn_writer_tensor_bytes(w, entry) >= FLUSH_BYTES) qn_writer_flush(w, entry);
    }
}

/* *bytes: of source that was worked through. */
static qn_status do_job(run *r, const qn_span_buffers *b, const job *j, uint64_t *bytes,
                        qn_plan_row *at, qn_error *err)
{
    *bytes = 0;
    for (at->entry = j->from.entry; at->entry < j->end_entry; at->entry++) {
        const qn_rows *rows = rows_of(r, at->entry);
        const uint64_t r0 = at->entry == j->from.entry ? j->from.row : 0;
        const uint64_t r1 = at->entry + 1 == j->end_entry ? j->end_row : rows->rows;
        const uint64_t slot = r->tensors[at->entry].first_slot + r0 / slice_rows(rows);
        qn_status status = qn_span_run(&r->span, b, at->entry, r0, r1, &at->row, err);
        if (status) return status;
        for (size_t k = 0; r1 > r0 && k < r->span.n_outputs; k++)
            r->squares[k * r->slots + slot] = b->targets[k].squares;
        finish_rows(r, at->entry, r1 - r0);
        *bytes += qn_pass_bytes(rows, r0, r1);
    }
    return QN_OK;
}

static void work(run *r, const qn_span_buffers *b)
{
    job j;
    while (take_job(r, &j)) {
        qn_error error = {0};
        uint64_t bytes;
        qn_plan_row at = j.from;
        const qn_status status = do_job(r, b, &j, &bytes, &at, &error);
        qn_pass_end(&r->pass, status, bytes, at, &error);
    }
}

/* ---- the whole ------------------------------------------------------------------- */

static qn_status allocate_progress(run *r, qn_error *err)
{
    const size_t n = entries(r);
    r->tensors = qn_alloc(n, sizeof *r->tensors);
    if (!r->tensors) return qn_fail_memory(err, "the tensors' progress");
    for (size_t i = 0; i < n; i++) {
        const qn_rows *rows = rows_of(r, i);
        r->tensors[i] = (progress){.rows_left = rows->rows, .first_slot = r->slots};
        r->slots += slices(rows);
        r->pass.total += rows->source_bytes;
    }
    r->squares = qn_alloc((size_t)r->slots * r->span.n_outputs, sizeof *r->squares);
    return r->squares ? QN_OK : qn_fail_memory(err, "the tensors' errors");
}

static void sum_results(const run *r, size_t output)
{
    qn_tensor_result *results = r->span.outputs[output].results;
    for (size_t i = 0; results && i < entries(r); i++) {
        const qn_rows *rows = rows_of(r, i);
        const double *slot = r->squares + output * r->slots + r->tensors[i].first_slot;
        const double n = (double)rows->rows * (double)rows->columns;
        double sum = 0;
        for (uint64_t j = 0; j < slices(rows); j++) sum += slot[j];
        results[i].rmse = n > 0 ? sqrt(sum / n) : 0;
    }
}

static qn_status check_memory(const needs *n, int threads, uint64_t given, uint64_t *bytes,
                              qn_error *err)
{
    const uint64_t least = least_memory(n, threads);
    *bytes = given ? given : qn_max_u64(DEFAULT_MEMORY, least);
    if (*bytes >= least) return QN_OK;
    return qn_fail(err, QN_ERR_MEMORY,
                   "%llu bytes of memory for %d threads are too few: at least %llu",
                   (unsigned long long)given, threads, (unsigned long long)least);
}

/* Plans of one model have its tensors in one order. */
static void assert_alike(const qn_pipeline_output *outputs, size_t n)
{
    for (size_t k = 1; k < n; k++) {
        assert(outputs[k].plan->n == outputs[0].plan->n);
        for (size_t i = 0; i < outputs[0].plan->n; i++)
            assert(outputs[k].plan->entries[i].tensor == outputs[0].plan->entries[i].tensor);
    }
}

qn_status qn_pipeline_run(const qn_pipeline_output *outputs, size_t n,
                          const qn_pipeline_options *options, qn_error *err)
{
    assert_alike(outputs, n);
    const needs all = needs_of(outputs, n);
    const int threads = qn_pass_threads(options->threads);
    uint64_t bytes;
    qn_status status = check_memory(&all, threads, options->memory_bytes, &bytes, err);
    if (status) return status;

    run r = {.span = {.outputs = outputs,
                      .n_outputs = n,
                      .kernels = qn_kernels_best(),
                      .allow_nan = options->allow_nan,
                      .measure = options->measure},
             .pass = {.watch = &options->watch}};
    omp_init_lock(&r.pass.lock);
    qn_span_buffers *buffers = qn_alloc((size_t)threads, sizeof *buffers);
    if (!buffers) {
        status = qn_fail_memory(err, "the threads' buffers");
        goto out;
    }
    const uint64_t each = (bytes - all.shared) / (uint64_t)threads;
    if ((status = allocate_buffers(buffers, threads, share_out(&all, each), n, err))) goto out;
    if ((status = allocate_progress(&r, err))) goto out;
#pragma omp parallel num_threads(threads)
    work(&r, &buffers[omp_get_thread_num()]);
    if ((status = qn_pass_result(&r.pass, err))) goto out;
    for (size_t k = 0; k < n; k++) sum_results(&r, k);
out:
    qn_free(r.squares);
    qn_free(r.tensors);
    free_buffers(buffers, threads);
    omp_destroy_lock(&r.pass.lock);
    return status;
}
