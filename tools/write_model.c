#include "tools/write_model.h"

#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/gguf_split.h"
#include "formats/shards_write.h"
#include "formats/writer.h"
#include "quant/pipeline.h"
#include "tools/fallbacks.h"
#include "tools/interrupt.h"
#include "tools/memory.h"
#include "tools/memory_share.h"
#include "tools/progress.h"

/* Besides the pipeline's own default more is of no use to it. */
static const uint64_t MOST_BUFFERS = UINT64_C(64) << 20;

/* One file. */
typedef struct {
    qn_write_target target;
    char **paths; /* of its parts, for people; target.path when it is not split */
    qn_writer *writer;
    uint64_t size_bytes;       /* of the file */
    double bits_per_weight;    /* of the tensors alone, as llama-quantize counts */
    qn_tensor_result *results; /* NULL: not measured */
} output;

typedef struct {
    const qn_write_options *options;
    output *outputs;
    qn_pipeline_output *pass; /* the same for the pipeline */
    size_t n;
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

static uint64_t least_memory(const void *j, int threads)
{
    const job *mine = j;
    return qn_pipeline_least_memory(mine->pass, mine->n, threads);
}

static qn_status share_memory(job *j, qn_error *err)
{
    const qn_memory_wish wish = {.limit = j->options->max_memory,
                                 .what = j->pass[0].plan->model->path,
                                 .least = least_memory,
                                 .job = j,
                                 .most = MOST_BUFFERS};
    return qn_memory_share(&wish, j->options->common, &j->threads, &j->buffer_bytes, err);
}

/* ---- writing ----------------------------------------------------------------------- */

/* The plan has checked that it fits. */
static uint64_t entry_bytes(const qn_plan_entry *e)
{
    uint64_t row_bytes = 0;
    qn_dtype_row_bytes(e->dtype, e->tensor->rows->columns, &row_bytes);
    return row_bytes * e->tensor->rows->rows;
}

/* A shard's is beside the path. */
static char *shard_path(const char *path, size_t i, size_t n)
{
    char name[64], *parent = qn_path_parent(path);
    char *joined = parent ? qn_path_join(parent, qn_shard_name(i, n, name)) : NULL;
    qn_free(parent);
    return joined;
}

static char *part_path(const qn_format *format, const char *path, size_t i, size_t n)
{
    const size_t stem = strlen(path) - (qn_str_ends(qn_str_z(path), ".gguf") ? 5 : 0);
    if (n == 1) return qn_strdup(path);
    return format == &qn_format_gguf ? qn_gguf_part_path(path, stem, i, n) : shard_path(path, i, n);
}

static qn_status name_parts(const job *j, output *o, qn_error *err)
{
    const size_t n = o->target.plan->n_parts;
    o->paths = qn_alloc(n, sizeof(char *));
    if (!o->paths) return qn_fail_memory(err, "the outputs' names");
    for (size_t i = 0; i < n; i++) {
        o->paths[i] = part_path(j->options->format, o->target.path, i, n);
        if (!o->paths[i]) return qn_fail_memory(err, "the outputs' names");
    }
    return QN_OK;
}

/* Begins a part of the writer's where it is really made. */
static qn_status begin_part(const job *j, output *o, size_t part, qn_error *err)
{
    const qn_plan *p = o->target.plan;
    const char *path = o->paths[part], *slash = strrchr(path, '/');
    char *made = o->target.directory ? qn_path_join(o->target.directory, slash ? slash + 1 : path)
                                     : qn_strdup(path);
    qn_status status = made ? QN_OK : qn_fail_memory(err, "the outputs' names");
    if (!status && !part)
        status = qn_writer_create(&o->writer, j->options->format, made, j->options->force,
                                  p->metadata, p->align, err);
    else if (!status)
        status = qn_writer_part(o->writer, made, p->more_metadata[part - 1], err);
    qn_free(made);
    return status;
}

static qn_status declare(const job *j, output *o, qn_error *err)
{
    const qn_plan *p = o->target.plan;
    uint64_t bytes = 0, elements = 0;
    size_t part = 0;
    qn_status status = name_parts(j, o, err);
    if (!status) status = begin_part(j, o, 0, err);
    for (size_t i = 0; i < p->n && !status; i++) {
        const qn_plan_entry *e = &p->entries[i];
        const qn_model_tensor *t = e->tensor;
        if (e->part > part) {
            part = e->part;
            status = begin_part(j, o, part, err);
        }
        if (!status)
            status = qn_writer_declare(o->writer, t->name, e->dtype, t->rank, t->dims, err);
        elements += t->rows->rows * t->rows->columns;
        bytes += entry_bytes(e);
    }
    if (!status) status = qn_writer_plan(o->writer, &o->size_bytes, err);
    if (status) return status;
    o->bits_per_weight = elements ? 8.0 * (double)bytes / (double)elements : 0;
    return QN_OK;
}

static qn_status run_pass(job *j, bool measure, qn_error *err)
{
    char what[300];
    qn_progress progress;
    if (j->n == 1)
        snprintf(what, sizeof what, "%s", j->outputs[0].paths[0]);
    else
        snprintf(what, sizeof what, "%s and %zu more", j->outputs[0].paths[0], j->n - 1);
    qn_progress_start(&progress, j->options->common, what, NULL);
    const qn_pipeline_options options = {
        .threads = j->threads,
        .memory_bytes = j->buffer_bytes,
        .allow_nan = j->options->allow_nan,
        .measure = measure,
        .watch = {qn_progress_tell, &progress},
    };
    qn_status status = qn_pipeline_run(j->pass, j->n, &options, err);
    if (!status && qn_interrupted()) status = qn_fail(err, QN_ERR_CANCELLED, "interrupted");
    qn_progress_end(&progress);
    return status;
}

static qn_status commit(job *j, qn_error *err)
{
    qn_writer **writers = qn_alloc(j->n, sizeof(qn_writer *));
    if (!writers) return qn_fail_memory(err, "the list of outputs");
    for (size_t k = 0; k < j->n; k++) {
        writers[k] = j->outputs[k].writer;
        j->outputs[k].writer = NULL;
    }
    const qn_status status = qn_writer_commit_all(writers, j->n, err);
    qn_free(writers);
    return status;
}

static qn_status write_all(job *j, qn_error *err)
{
    const bool measure = j->options->common->json || j->options->common->verbose;
    qn_status status = share_memory(j, err);
    qn_interrupt_watched(true);
    for (size_t k = 0; k < j->n && !status; k++) {
        output *o = &j->outputs[k];
        if (measure && !(o->results = qn_alloc(o->target.plan->n, sizeof *o->results)))
            status = qn_fail_memory(err, "the results");
        if (!status) status = qn_writer_begin(o->writer, err);
        j->pass[k].writer = o->writer;
        j->pass[k].results = o->results;
    }
    if (!status) status = run_pass(j, measure, err);
    return status ? status : commit(j, err);
}

/* ---- words ------------------------------------------------------------------------- */

static json_t *describe_tensor(const output *o, size_t i)
{
    const qn_plan_entry *e = &o->target.plan->entries[i];
    const qn_model_tensor *t = e->tensor;
    json_t *d = json_pack(
        "{s: o, s: o, s: s, s: s, s: o}", "name", qn_json_text(t->name, strlen(t->name)), "shape",
        qn_json_shape(t->dims, t->rank), "from", qn_dtype_facts(t->rows->dtype)->name, "to",
        qn_dtype_facts(e->dtype)->name, "size_bytes", qn_json_count(entry_bytes(e)));
    if (o->results) json_object_set_new(d, "rmse", qn_json_number(o->results[i].rmse));
    json_object_set_new(d, "reason", json_string(e->reason));
    json_object_set_new(d, "fallback", json_boolean(e->fallback));
    if (e->importance || e->lacks_importance)
        json_object_set_new(d, "importance", json_boolean(!e->lacks_importance));
    return d;
}

static json_t *describe(const output *o)
{
    const qn_plan *p = o->target.plan;
    json_t *tensors = json_array();
    for (size_t i = 0; i < p->n; i++) json_array_append_new(tensors, describe_tensor(o, i));
    json_t *d = json_pack("{s: o, s: s, s: o, s: o}", "output",
                          qn_json_text(o->paths[0], strlen(o->paths[0])), "type", o->target.type,
                          "size_bytes", qn_json_count(o->size_bytes), "bits_per_weight",
                          qn_json_number(o->bits_per_weight));
    if (p->n_parts > 1) {
        json_t *parts = json_array();
        for (size_t i = 0; i < p->n_parts; i++)
            json_array_append_new(parts, qn_json_text(o->paths[i], strlen(o->paths[i])));
        json_object_set_new(d, "parts", parts);
    }
    json_object_set_new(d, "tensors", tensors);
    return d;
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

static int widest_type(const qn_plan *p)
{
    size_t widest = 6;
    for (size_t i = 0; i < p->n; i++) {
        const size_t n = strlen(qn_dtype_facts(p->entries[i].dtype)->name);
        if (n > widest) widest = n;
    }
    return (int)widest;
}

static void print_table(const output *o)
{
    const int width = widest_name(o->target.plan), type = widest_type(o->target.plan);
    printf("%-*s  %-16s  %-6s  %-*s  %10s  %s%s\n", width, "tensor", "shape", "from", type, "to",
           "size", o->results ? "      rmse  " : "", "reason");
    for (size_t i = 0; i < o->target.plan->n; i++) {
        const qn_plan_entry *e = &o->target.plan->entries[i];
        const qn_model_tensor *t = e->tensor;
        char shape[64], size[32];
        qn_print_name(t->name, strlen(t->name), width);
        printf("  %-16s  %-6s  %-*s  %10s  ", qn_shape_text(t->dims, t->rank, shape, sizeof shape),
               qn_dtype_facts(t->rows->dtype)->name, type, qn_dtype_facts(e->dtype)->name,
               qn_human_size((double)entry_bytes(e), size));
        if (o->results) printf("%10.3g  ", o->results[i].rmse);
        printf("%s%s\n", e->reason, e->lacks_importance ? "; no importance data" : "");
    }
}

static void print_file(const output *o)
{
    char size[32];
    printf("%s", o->paths[0]);
    if (o->target.plan->n_parts > 1) printf(" and the other parts");
    printf(": %s, %s, %.2f bits per weight", o->target.type,
           qn_human_size((double)o->size_bytes, size), o->bits_per_weight);
}

static void print_effort(const job *j, double seconds)
{
    char source[32], took[32], memory[32];
    printf("%s read in %s, peak memory %s\n",
           qn_human_size((double)j->options->source_bytes, source), qn_human_time(seconds, took),
           qn_human_size((double)qn_memory_peak(), memory));
}

static void tell_left_out(const qn_model *m, const qn_common *c)
{
    for (const char *line = m->remarks; line && *line;) {
        const size_t n = strcspn(line, "\n");
        qn_remark(c, "%.*s", (int)n, line);
        line += n + (line[n] == '\n');
    }
    if (m->n_towers)
        qn_remark(c, "%zu tensor%s of vision and audio left out: the text model is what is read",
                  m->n_towers, m->n_towers == 1 ? "" : "s");
}

static void tell_results(const job *j, json_t *list, double seconds)
{
    const qn_common *c = j->options->common;
    const bool written = !j->options->dry_run;
    for (size_t k = 0; k < j->n; k++) {
        const output *o = &j->outputs[k];
        if (c->json) {
            json_array_append_new(list, describe(o));
            continue;
        }
        if (!written || c->verbose) print_table(o);
        print_file(o);
        fputs(written && j->n == 1 ? "; " : "\n", stdout);
    }
    if (c->json || !written) return;
    if (j->n > 1) printf("%zu files in one pass; ", j->n);
    print_effort(j, seconds);
}

json_t *qn_write_report(const qn_common *c, const qn_model *m, json_t *outputs, bool dry_run,
                        double started)
{
    json_t *report = qn_report_new(c);
    json_object_set_new(report, "source", qn_json_text(m->path, strlen(m->path)));
    json_object_set_new(report, "source_bytes", qn_json_count(qn_source_bytes(m)));
    if (m->n_towers) json_object_set_new(report, "tensors_left_out", qn_json_count(m->n_towers));
    if (!dry_run) {
        json_object_set_new(report, "elapsed_s", qn_json_number(qn_seconds() - started));
        json_object_set_new(report, "peak_memory_bytes", qn_json_count(qn_memory_peak()));
    }
    json_object_set_new(report, "outputs", outputs);
    return report;
}

static qn_status prepare(job *j, const qn_write_target *targets, qn_error *err)
{
    qn_status status = QN_OK;
    j->outputs = qn_alloc(j->n, sizeof *j->outputs);
    j->pass = qn_alloc(j->n, sizeof *j->pass);
    if (!j->outputs || !j->pass) return qn_fail_memory(err, "the list of outputs");
    for (size_t k = 0; k < j->n && !status; k++) {
        output *o = &j->outputs[k];
        const char *of = j->n > 1 ? targets[k].type : NULL;
        o->target = targets[k];
        j->pass[k].plan = targets[k].plan;
        status = qn_tell_fallbacks(o->target.plan, of, j->options->common, err);
        if (status) return status;
        qn_tell_importance(o->target.plan, of, j->options->common);
        status = declare(j, o, err);
    }
    return status;
}

static void release(output *o)
{
    qn_writer_abandon(o->writer);
    for (size_t i = 0; o->paths && i < o->target.plan->n_parts; i++) qn_free(o->paths[i]);
    qn_free(o->paths);
    qn_free(o->results);
}

qn_status qn_write_models(const qn_write_target *targets, size_t n, const qn_write_options *options,
                          json_t *outputs, qn_error *err)
{
    const double started = qn_seconds();
    job j = {.options = options, .n = n};
    tell_left_out(targets->plan->model, options->common);
    qn_status status = prepare(&j, targets, err);
    if (!status && !options->dry_run) status = write_all(&j, err);
    if (!status) tell_results(&j, outputs, qn_seconds() - started);
    for (size_t k = 0; j.outputs && k < n; k++) release(&j.outputs[k]);
    qn_interrupt_watched(false);
    qn_free(j.outputs);
    qn_free(j.pass);
    return status;
}
