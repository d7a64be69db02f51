#include "quant/packed_run.h"

#include <math.h>
#include <omp.h>

#include "formats/base/sizes.h"
#include "quant/packed_band.h"
#include "quant/pass.h"

struct qn_packed_shard {
    const qn_packed_plan *plan;
    size_t first, end; /* of the plan's entries */
    qn_plan floats;    /* what is not packed; its entries in the order of the plan's */
    qn_band_needs needs;
    uint64_t float_bytes, packed_bytes; /* of source */
};

/* ---- a shard ---------------------------------------------------------------------------- */

static void add_float(qn_packed_shard *s, const qn_packed_entry *e)
{
    const qn_rows *rows = e->tensor->rows;
    const bool has_raw = !rows->rows || !rows->columns || (rows->raw && rows->raw(rows, 0));
    s->floats.entries[s->floats.n++] = (qn_plan_entry){
        .tensor = e->tensor, .dtype = e->dtype, .copy = e->dtype == rows->dtype && has_raw};
    s->float_bytes += rows->source_bytes;
}

qn_status qn_packed_shard_new(qn_packed_shard **out, const qn_packed_plan *p, size_t shard,
                              qn_error *err)
{
    qn_packed_shard *s = qn_alloc(1, sizeof *s);
    if (!s) return qn_fail_memory(err, "the plan");
    s->plan = p;
    while (p->entries[s->first].shard != shard) s->first++;
    for (s->end = s->first; s->end < p->n && p->entries[s->end].shard == shard;) s->end++;
    s->floats.model = p->model;
    s->floats.entries = qn_alloc(s->end - s->first, sizeof *s->floats.entries);
    if (!s->floats.entries) {
        qn_packed_shard_free(s);
        return qn_fail_memory(err, "the plan");
    }
    for (size_t i = s->first; i < s->end; i++) {
        const qn_packed_entry *e = &p->entries[i];
        if (e->packed) {
            qn_band_add_needs(&s->needs, p, e);
            s->packed_bytes += e->tensor->rows->source_bytes;
        } else {
            add_float(s, e);
        }
    }
    *out = s;
    return QN_OK;
}

void qn_packed_shard_free(qn_packed_shard *s)
{
    if (s) qn_free(s->floats.entries);
    qn_free(s);
}

uint64_t qn_packed_shard_source_bytes(const qn_packed_shard *s)
{
    return s->float_bytes + s->packed_bytes;
}

static qn_status declare_parts(const qn_packed_plan *p, const qn_packed_entry *e, qn_writer *w,
                               qn_error *err)
{
    const qn_str module = qn_packed_module(e);
    qn_packed_part parts[QN_MOST_PARTS];
    const unsigned n = qn_packed_parts(p, e, parts);
    qn_status status = QN_OK;
    for (unsigned i = 0; i < n && !status; i++) {
        qn_text name = {0};
        qn_text_addf(&name, "%.*s.%s", (int)module.n, module.s, parts[i].suffix);
        status = name.failed ? qn_fail_memory(err, "the list of tensors")
                             : qn_writer_declare(w, name.s, parts[i].dtype, parts[i].rank,
                                                 parts[i].dims, err);
        qn_text_free(&name);
    }
    return status;
}

/* Floats first, so that the pipeline's entries are the writer's first tensors. */
qn_status qn_packed_shard_declare(const qn_packed_shard *s, qn_writer *w, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < s->floats.n && !status; i++) {
        const qn_model_tensor *t = s->floats.entries[i].tensor;
        status = qn_writer_declare(w, t->name, s->floats.entries[i].dtype, t->rank, t->dims, err);
    }
    for (size_t i = s->first; i < s->end && !status; i++)
        if (s->plan->entries[i].packed)
            status = declare_parts(s->plan, &s->plan->entries[i], w, err);
    return status;
}

/* ---- memory -------------------------------------------------------------------------------- */

/* Besides the threads' buffers: what is kept for each entry. */
static uint64_t shared_bytes(const qn_packed_shard *s);

static uint64_t band_memory(const qn_packed_shard *s, int threads, uint64_t parts)
{
    return (uint64_t)threads * qn_band_bytes(&s->needs, parts) + shared_bytes(s);
}

uint64_t qn_packed_shard_least_memory(const qn_packed_shard *s, int threads)
{
    const qn_pipeline_output floats = {.plan = &s->floats};
    return qn_max_u64(band_memory(s, threads, s->needs.least_parts),
                      qn_pipeline_least_memory(&floats, 1, threads));
}

uint64_t qn_packed_shard_best_memory(const qn_packed_shard *s, int threads)
{
    return qn_max_u64(band_memory(s, threads, s->needs.best_parts), UINT64_C(16) << 20);
}

/* ---- a run ---------------------------------------------------------------------------------- */

typedef struct {
    uint64_t rows_left;
    size_t first_part;     /* the writer's number */
    uint64_t first_square; /* of its granules */
} progress;

typedef struct {
    const qn_packed_shard *shard;
    qn_writer *writer;
    const qn_kernels *kernels;
    progress *entries; /* of the shard's */
    double *squares;   /* NULL: not measured */
    uint64_t n_squares;
    qn_pass pass;
    qn_plan_row next; /* under its lock */
} run;

static uint64_t granules(const qn_packed_entry *e)
{
    const uint64_t rows = e->tensor->rows->rows;
    return e->packed ? rows / QN_GRANULE + (rows % QN_GRANULE != 0) : 0;
}

/* As if the errors were measured, to keep it simple. */
static uint64_t shared_bytes(const qn_packed_shard *s)
{
    uint64_t n = 0;
    for (size_t i = s->first; i < s->end; i++) n += granules(&s->plan->entries[i]);
    return n * sizeof(double) + (s->end - s->first) * sizeof(progress);
}

/* The next band in *from..*end; false when there is none. */
static bool take_band(run *r, uint64_t parts, qn_plan_row *from, uint64_t *end)
{
    const qn_packed_plan *p = r->shard->plan;
    omp_set_lock(&r->pass.lock);
    while (r->next.entry < r->shard->end && !p->entries[r->next.entry].packed) r->next.entry++;
    const bool some = !r->pass.failed && r->next.entry < r->shard->end;
    if (some) {
        const qn_packed_entry *e = &p->entries[r->next.entry];
        *from = r->next;
        *end = qn_min_u64(r->next.row + qn_band_rows(p, e, parts), e->tensor->rows->rows);
        r->next.row = *end;
        if (*end == e->tensor->rows->rows) r->next = (qn_plan_row){.entry = from->entry + 1};
    }
    omp_unset_lock(&r->pass.lock);
    return some;
}

static void finish_rows(run *r, size_t entry, uint64_t n)
{
    enum { FLUSH_BYTES = 1 << 20 }; /* less is left to the kernel */
    uint64_t left;
    progress *mine = &r->entries[entry - r->shard->first];
#pragma omp atomic capture
    left = mine->rows_left -= n;
    if (left) return;
    qn_packed_part parts[QN_MOST_PARTS];
    const unsigned n_parts =
        qn_packed_parts(r->shard->plan, &r->shard->plan->entries[entry], parts);
    for (unsigned i = 0; i < n_parts; i++)
        if (qn_writer_tensor_bytes(r->writer, mine->first_part + i) >= FLUSH_BYTES)
            qn_writer_flush(r->writer, mine->first_part + i);
}

static void work(run *r, const qn_band_buffers *b)
{
    qn_plan_row from;
    uint64_t end;
    while (take_band(r, b->n_parts, &from, &end)) {
        const qn_packed_entry *e = &r->shard->plan->entries[from.entry];
        const progress *mine = &r->entries[from.entry - r->shard->first];
        const qn_band band = {.plan = r->shard->plan,
                              .entry = e,
                              .writer = r->writer,
                              .first_part = mine->first_part,
                              .kernels = r->kernels,
                              .squares = r->squares ? r->squares + mine->first_square : NULL};
        qn_error error = {0};
        qn_plan_row at = from;
        const qn_status status = qn_band_run(&band, b, from.row, end, &at.row, &error);
        if (!status) finish_rows(r, from.entry, end - from.row);
        qn_pass_end(&r->pass, status, qn_pass_bytes(e->tensor->rows, from.row, end), at, &error);
    }
}

static qn_status allocate(run *r, bool measure, qn_error *err)
{
    const qn_packed_shard *s = r->shard;
    size_t part = s->floats.n;
    r->entries = qn_alloc(s->end - s->first, sizeof *r->entries);
    if (!r->entries) return qn_fail_memory(err, "the tensors' progress");
    for (size_t i = s->first; i < s->end; i++) {
        const qn_packed_entry *e = &s->plan->entries[i];
        r->entries[i - s->first] = (progress){e->tensor->rows->rows, part, r->n_squares};
        qn_packed_part parts[QN_MOST_PARTS];
        part += e->packed ? qn_packed_parts(s->plan, e, parts) : 0;
        r->n_squares += granules(e);
    }
    if (measure && !(r->squares = qn_alloc(r->n_squares, sizeof *r->squares)))
        return qn_fail_memory(err, "the tensors' errors");
    return QN_OK;
}

static void sum_results(const run *r, qn_tensor_result *results)
{
    for (size_t i = r->shard->first; i < r->shard->end; i++) {
        const qn_packed_entry *e = &r->shard->plan->entries[i];
        const qn_rows *rows = e->tensor->rows;
        double sum = 0;
        if (!e->packed) continue;
        for (uint64_t g = 0; g < granules(e); g++)
            sum += r->squares[r->entries[i - r->shard->first].first_square + g];
        results[i].rmse = sqrt(sum / ((double)rows->rows * (double)rows->columns));
    }
}

/* Bytes of parts for each thread out of all memory, which is enough. */
static uint64_t share_out(const qn_packed_shard *s, uint64_t memory, int threads)
{
    const uint64_t fixed = band_memory(s, threads, 0);
    return qn_min_u64((memory - fixed) / (uint64_t)threads, s->needs.best_parts);
}

static qn_status run_packed(run *r, uint64_t memory, int threads, bool measure, qn_error *err)
{
    const uint64_t parts = share_out(r->shard, memory, threads);
    bool enough = true;
    qn_band_buffers *buffers = qn_alloc((size_t)threads, sizeof *buffers);
    qn_status status = buffers ? allocate(r, measure, err) : qn_fail_memory(err, "the buffers");
    for (int t = 0; t < threads && !status && enough; t++)
        enough = qn_band_allocate(&buffers[t], &r->shard->needs, parts);
    if (!enough) status = qn_fail_memory(err, "the threads' buffers");
    if (!status) {
#pragma omp parallel num_threads(threads)
        work(r, &buffers[omp_get_thread_num()]);
        status = qn_pass_result(&r->pass, err);
    }
    for (int t = 0; buffers && t < threads; t++) qn_band_free(&buffers[t]);
    qn_free(buffers);
    return status;
}

/* ---- the whole -------------------------------------------------------------------------------- */

/* The floats' part of the whole. */
typedef struct {
    const qn_watch *outer;
    uint64_t total;
} part_watch;

static bool tell_part(void *ctx, uint64_t done, uint64_t total)
{
    const part_watch *w = ctx;
    (void)total;
    return qn_watch_tell(w->outer, done, w->total);
}

static qn_status run_floats(const qn_packed_shard *s, qn_writer *w,
                            const qn_pipeline_options *options, uint64_t memory, int threads,
                            qn_error *err)
{
    part_watch watch = {&options->watch, s->float_bytes + s->packed_bytes};
    const qn_pipeline_options mine = {.threads = threads,
                                      .memory_bytes = memory,
                                      .allow_nan = options->allow_nan,
                                      .watch = {tell_part, &watch}};
    const qn_pipeline_output output = {.plan = &s->floats, .writer = w};
    return s->floats.n ? qn_pipeline_run(&output, 1, &mine, err) : QN_OK;
}

qn_status qn_packed_shard_run(const qn_packed_shard *s, qn_writer *w,
                              const qn_pipeline_options *options, qn_tensor_result *results,
                              qn_error *err)
{
    const int threads = qn_pass_threads(options->threads);
    const uint64_t least = qn_packed_shard_least_memory(s, threads);
    const uint64_t memory =
        options->memory_bytes ? options->memory_bytes : qn_packed_shard_best_memory(s, threads);
    if (memory < least)
        return qn_fail(err, QN_ERR_MEMORY,
                       "%llu bytes of memory for %d threads are too few: at least %llu",
                       (unsigned long long)memory, threads, (unsigned long long)least);
    qn_status status = run_floats(s, w, options, memory, threads, err);
    if (status) return status;
    run r = {.shard = s,
             .writer = w,
             .kernels = qn_kernels_best(),
             .pass = {.watch = &options->watch,
                      .done = s->float_bytes,
                      .total = s->float_bytes + s->packed_bytes},
             .next = {.entry = s->first}};
    omp_init_lock(&r.pass.lock);
    const bool measure = options->measure && results;
    status = run_packed(&r, memory, threads, measure, err);
    if (!status && measure) sum_results(&r, results);
    qn_free(r.squares);
    qn_free(r.entries);
    omp_destroy_lock(&r.pass.lock);
    return status;
}
