#include "tools/write_model.h"

#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/writer.h"
#include "quant/pipeline.h"
#include "tools/fallbacks.h"
#include "tools/interrupt.h"
#include "tools/memory.h"
#include "tools/progress.h"

/* What threads, stdio and the allocator take besides the pipeline's buffers. */
static const uint64_t THREAD_OVERHEAD = 256 << 10;
static const uint64_t PROCESS_OVERHEAD = 1 << 20;

/* Besides the pipeline's own default more is of no use to it. */
static const uint64_t MOST_BUFFERS = UINT64_C(64) << 20;

typedef struct {
    const qn_plan *plan;
    const char *path, *type;
    const qn_write_options *options;
    qn_writer *writer;
    uint64_t size_bytes;       /* of the file */
    double bits_per_weight;    /* of the tensors alone, as llama-quantize counts */
    qn_tensor_result *results; /* NULL: not measured */
    int threads;
    uint64_t buffer_bytes;
} job;

uint64_t qn_source_bytes(const qn_model *m)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < m->reader->n_files; i++) bytes += m->reader->files[i].size;
    return bytes;
}

/* ---- memory ------------------------------------------------------------------------ */

static uint64_t needed_with(const job *j, uint64_t now, int threads)
{
    const uint64_t buffers = qn_pipeline_least_memory(j->plan, threads);
    const uint64_t rest = now + PROCESS_OVERHEAD + THREAD_OVERHEAD * (uint64_t)threads;
    return buffers > UINT64_MAX - rest ? UINT64_MAX : buffers + rest;
}

/* As many threads as asked for and as the limit allows. */
static qn_status share_memory(job *j, qn_error *err)
{
    qn_memory_trim();
    const uint64_t limit = j->options->max_memory, now = qn_memory_now(), peak = qn_memory_peak();
    const uint64_t alone = needed_with(j, now, 1), least = alone > peak ? alone : peak;
    if (limit < least)
        return qn_fail(err, QN_ERR_MEMORY,
                       "--max-memory of %llu bytes is not enough for %s: it takes at least %llu "
                       "(--max-memory %lluK)",
                       (unsigned long long)limit, j->plan->model->path, (unsigned long long)least,
                       (unsigned long long)least / 1024 + 1);
    const int asked = (int)j->options->common->threads;
    for (j->threads = asked; needed_with(j, now, j->threads) > limit;) j->threads--;
    if (j->threads < asked)
        qn_remark(j->options->common, "--max-memory leaves room for %d of %d threads", j->threads,
                  asked);
    const uint64_t buffers =
        limit - (needed_with(j, now, j->threads) - qn_pipeline_least_memory(j->plan, j->threads));
    j->buffer_bytes = buffers < MOST_BUFFERS ? buffers : MOST_BUFFERS;
    const uint64_t least_buffers = qn_pipeline_least_memory(j->plan, j->threads);
    if (j->buffer_bytes < least_buffers) j->buffer_bytes = least_buffers;
    return QN_OK;
}

/* ---- writing ----------------------------------------------------------------------- */

/* The plan has checked that it fits. */
static uint64_t entry_bytes(const qn_plan_entry *e)
{
    uint64_t row_bytes = 0;
    qn_dtype_row_bytes(e->dtype, e->tensor->rows->columns, &row_bytes);
    return row_bytes * e->tensor->rows->rows;
}

static qn_status declare(job *j, qn_error *err)
{
    const qn_plan *p = j->plan;
    uint64_t bytes = 0, elements = 0;
    qn_status status = qn_writer_create(&j->writer, j->options->format, j->path, j->options->force,
                                        p->metadata, p->align, err);
    for (size_t i = 0; i < p->n && !status; i++) {
        const qn_model_tensor *t = p->entries[i].tensor;
        status = qn_writer_declare(j->writer, t->name, p->entries[i].dtype, t->rank, t->dims, err);
        elements += t->rows->rows * t->rows->columns;
        bytes += entry_bytes(&p->entries[i]);
    }
    if (!status) status = qn_writer_plan(j->writer, &j->size_bytes, err);
    if (status) return status;
    j->bits_per_weight = elements ? 8.0 * (double)bytes / (double)elements : 0;
    return QN_OK;
}

static qn_status write_all(job *j, qn_error *err)
{
    const qn_common *c = j->options->common;
    qn_progress progress;
    qn_progress_start(&progress, c, j->path, NULL);
    const qn_pipeline_options options = {
        .threads = j->threads,
        .memory_bytes = j->buffer_bytes,
        .allow_nan = j->options->allow_nan,
        .measure = j->results != NULL,
        .watch = {qn_progress_tell, &progress},
    };
    qn_interrupt_watched(true);
    qn_status status = qn_writer_begin(j->writer, err);
    if (!status) status = qn_pipeline_run(j->plan, j->writer, &options, j->results, err);
    if (!status && qn_interrupted()) status = qn_fail(err, QN_ERR_CANCELLED, "interrupted");
    qn_progress_end(&progress);
    return status;
}

/* ---- words ------------------------------------------------------------------------- */

static json_t *describe_tensor(const job *j, size_t i)
{
    const qn_plan_entry *e = &j->plan->entries[i];
    const qn_model_tensor *t = e->tensor;
    json_t *o = json_pack(
        "{s: o, s: o, s: s, s: s, s: o}", "name", qn_json_text(t->name, strlen(t->name)), "shape",
        qn_json_shape(t->dims, t->rank), "from", qn_dtype_facts(t->rows->dtype)->name, "to",
        qn_dtype_facts(e->dtype)->name, "size_bytes", qn_json_count(entry_bytes(e)));
    if (j->results) json_object_set_new(o, "rmse", qn_json_number(j->results[i].rmse));
    json_object_set_new(o, "reason", json_string(e->reason));
    json_object_set_new(o, "fallback", json_boolean(e->fallback));
    if (e->importance || e->lacks_importance)
        json_object_set_new(o, "importance", json_boolean(e->importance != NULL));
    return o;
}

static json_t *describe(const job *j)
{
    json_t *tensors = json_array();
    for (size_t i = 0; i < j->plan->n; i++) json_array_append_new(tensors, describe_tensor(j, i));
    return json_pack("{s: o, s: s, s: o, s: o, s: o}", "output",
                     qn_json_text(j->path, strlen(j->path)), "type", j->type, "size_bytes",
                     qn_json_count(j->size_bytes), "bits_per_weight",
                     qn_json_number(j->bits_per_weight), "tensors", tensors);
}

static int widest_name(const qn_plan *p)
{
    size_t widest = 6;
    for (size_t i = 0; i < p->n; i++) {
        const size_t n = strlen(p->entries[i].tensor->name);
        if (n > widest) widest = n;
    }
    return widest > 64 ? 64 : (int)widest;
}

static void print_table(const job *j)
{
    const int width = widest_name(j->plan);
    printf("%-*s  %-16s  %-6s  %-6s  %10s  %s%s\n", width, "tensor", "shape", "from", "to", "size",
           j->results ? "      rmse  " : "", "reason");
    for (size_t i = 0; i < j->plan->n; i++) {
        const qn_plan_entry *e = &j->plan->entries[i];
        const qn_model_tensor *t = e->tensor;
        char shape[64], size[32];
        printf("%-*s  %-16s  %-6s  %-6s  %10s  ", width, t->name,
               qn_shape_text(t->dims, t->rank, shape, sizeof shape),
               qn_dtype_facts(t->rows->dtype)->name, qn_dtype_facts(e->dtype)->name,
               qn_human_size((double)entry_bytes(e), size));
        if (j->results) printf("%10.3g  ", j->results[i].rmse);
        printf("%s%s\n", e->reason, e->lacks_importance ? "; no importance data" : "");
    }
}

static void print_summary(const job *j, double seconds)
{
    char size[32], source[32], took[32], memory[32];
    printf("%s: %s, %s, %.2f bits per weight", j->path, j->type,
           qn_human_size((double)j->size_bytes, size), j->bits_per_weight);
    if (!j->options->dry_run)
        printf("; %s read in %s, peak memory %s",
               qn_human_size((double)j->options->source_bytes, source),
               qn_human_time(seconds, took), qn_human_size((double)qn_memory_peak(), memory));
    putchar('\n');
}

static void tell_missing_importance(const qn_plan *p, const qn_common *c)
{
    const char *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (!p->entries[i].lacks_importance) continue;
        if (!n++) first = p->entries[i].tensor->name;
    }
    if (n == 1)
        qn_remark(c, "no importance data of \"%s\": quantized without", first);
    else if (n)
        qn_remark(c, "no importance data of \"%s\" and %zu more: quantized without", first, n - 1);
}

static void tell_result(const job *j, json_t *outputs, double seconds)
{
    const qn_common *c = j->options->common;
    if (c->json) {
        json_array_append_new(outputs, describe(j));
        return;
    }
    if (j->options->dry_run || c->verbose) print_table(j);
    print_summary(j, seconds);
}

json_t *qn_write_report(const qn_common *c, const qn_model *m, json_t *outputs, bool dry_run,
                        double started)
{
    json_t *report = qn_report_new(c);
    json_object_set_new(report, "source", qn_json_text(m->path, strlen(m->path)));
    json_object_set_new(report, "source_bytes", qn_json_count(qn_source_bytes(m)));
    if (!dry_run) {
        json_object_set_new(report, "elapsed_s", qn_json_number(qn_seconds() - started));
        json_object_set_new(report, "peak_memory_bytes", qn_json_count(qn_memory_peak()));
    }
    json_object_set_new(report, "outputs", outputs);
    return report;
}

qn_status qn_write_model(const qn_plan *p, const char *path, const char *type,
                         const qn_write_options *options, json_t *outputs, qn_error *err)
{
    const double started = qn_seconds();
    const qn_common *c = options->common;
    job j = {.plan = p, .path = path, .type = type, .options = options};
    qn_status status = qn_tell_fallbacks(p, c, err);
    if (status) return status;
    tell_missing_importance(p, c);
    if (!options->dry_run && (c->json || c->verbose)) {
        j.results = qn_alloc(p->n, sizeof *j.results);
        if (!j.results) return qn_fail_memory(err, "the results");
    }
    if ((status = declare(&j, err))) goto out;
    if (!options->dry_run) {
        if ((status = share_memory(&j, err)) || (status = write_all(&j, err))) goto out;
        qn_writer *writer = j.writer;
        j.writer = NULL;
        if ((status = qn_writer_commit(writer, err))) goto out;
    }
    tell_result(&j, outputs, qn_seconds() - started);
out:
    qn_writer_abandon(j.writer);
    qn_interrupt_watched(false);
    qn_free(j.results);
    return status;
}
