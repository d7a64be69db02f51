#include "tools/quantize_packed.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "formats/base/outdir.h"
#include "formats/carry.h"
#include "formats/export.h"
#include "formats/packed/scheme.h"
#include "formats/shards_write.h"
#include "tools/interrupt.h"
#include "tools/memory.h"
#include "tools/memory_share.h"
#include "tools/output_name.h"
#include "tools/packed_report.h"
#include "tools/progress.h"
#include "tools/version.h"
#include "tools/write_model.h"

bool qn_is_packed_type(const char *word)
{
    return !strcasecmp(word, "int4") || !strcasecmp(word, "int8");
}

/* ---- what was asked for ------------------------------------------------------------- */

static qn_exit read_group(const qn_packed_request *r, qn_packed_options *o)
{
    static const struct {
        const char *word;
        uint64_t group;
    } groups[] = {{"32", 32}, {"64", 64}, {"128", 128}, {"channel", 0}, {"-1", 0}};
    o->group = o->format == QN_PACK_MLX ? 64 : 128;
    if (!r->group_size) return QN_EXIT_FINE;
    for (size_t i = 0; i < QN_COUNT_OF(groups); i++)
        if (!strcasecmp(r->group_size, groups[i].word)) {
            o->group = groups[i].group;
            return QN_EXIT_FINE;
        }
    return qn_usage(r->common, "--group-size %s; it is 32, 64, 128 or channel", r->group_size);
}

static qn_exit read_options(const qn_packed_request *r, qn_packed_options *o)
{
    *o = (qn_packed_options){.bits = strchr(r->type, '4') ? 4 : 8,
                             .asymmetric = r->asymmetric,
                             .allow_requantize = r->allow_requantize,
                             .max_shard_bytes = r->max_shard_size};
    if (r->format && !qn_pack_format_by_name(r->format, &o->format))
        return qn_usage(r->common,
                        "unknown --format '%s'; it is compressed-tensors, gptq, awq or mlx",
                        r->format);
    if (r->clip && strcmp(r->clip, "minmax") != 0 && strcmp(r->clip, "mse") != 0)
        return qn_usage(r->common, "unknown --clip '%s'; it is minmax or mse", r->clip);
    if (r->clip && !strcmp(r->clip, "mse")) o->clip = QN_CLIP_MSE;
    return read_group(r, o);
}

/* ---- the job ---------------------------------------------------------------------------- */

typedef struct {
    const qn_packed_request *request;
    qn_packed_options options;
    qn_patterns ignore, include;
    qn_model *model, *exported; /* exported NULL: the model has the checkpoint's names itself */
    json_t *config;             /* of the output */
    qn_packed_plan *plan;
    qn_metadata *metadata;
    char *path;
    qn_outdir *directory;
    qn_index index;
    uint64_t tensor_bytes, size_bytes;
    uint64_t done, total; /* of source, over all shards */
    qn_progress progress;
    qn_tensor_result *results;
} job;

static void close_job(job *j)
{
    qn_index_abandon(&j->index);
    qn_outdir_abandon(j->directory);
    qn_free(j->results);
    qn_free(j->path);
    qn_metadata_free(j->metadata);
    qn_packed_plan_free(j->plan);
    json_decref(j->config);
    qn_model_close(j->exported);
    qn_model_close(j->model);
    qn_patterns_free(&j->ignore);
    qn_patterns_free(&j->include);
}

static qn_status is_gguf(const char *path, bool *out, qn_error *err)
{
    qn_reader *r = NULL;
    const qn_status status = qn_reader_open(&r, path, err);
    if (!status) *out = r->gguf_version != 0;
    qn_reader_close(r);
    return status;
}

/* A checkpoint's tensors are taken as they are called: of any architecture, those
 * of vision and audio too.  GGUF's get their checkpoint's names back. */
static qn_status open_model(job *j, qn_error *err)
{
    bool gguf = false;
    const qn_loras *loras = j->request->loras;
    qn_model_options how = {
        .family = j->request->family, .adapters = loras->of, .n_adapters = loras->n};
    qn_status status = is_gguf(j->request->in, &gguf, err);
    if (status) return status;
    if (!gguf && !how.family) how.family = "generic";
    if ((status = qn_model_open(&j->model, j->request->in, &how, err)) || j->model->generic)
        return status;
    return qn_export_open(&j->exported, j->model, err);
}

static bool says_tied(const json_t *o)
{
    return json_is_true(json_object_get(o, "tie_word_embeddings"));
}

/* "dtype", which was "torch_dtype"; F32 where neither says something. */
static qn_dtype dtype_of(const json_t *o)
{
    const char *name = json_string_value(json_object_get(o, "dtype"));
    if (!name) name = json_string_value(json_object_get(o, "torch_dtype"));
    if (name && !strcmp(name, "bfloat16")) return QN_BF16;
    return name && !strcmp(name, "float16") ? QN_F16 : QN_F32;
}

static qn_status open_config(job *j, qn_error *err)
{
    qn_status status = qn_export_check(j->model, QN_OUT_AUTO, err);
    if (!status) status = qn_carry_config(j->model, &j->config, err);
    if (status) return status;
    qn_packing_forget(j->config);
    const json_t *text = json_object_get(j->config, "text_config");
    j->options.dtype = dtype_of(j->config);
    if (j->options.dtype == QN_F32) j->options.dtype = dtype_of(text);
    j->options.tied = says_tied(j->config) || says_tied(text);
    return QN_OK;
}

static qn_status make_plan(job *j, qn_error *err)
{
    const qn_packed_request *r = j->request;
    qn_status status;
    if ((status = qn_packed_options_check(&j->options, err)) ||
        (status = qn_patterns_compile(&j->ignore, r->ignore.at, r->ignore.n, err)) ||
        (status = qn_patterns_compile(&j->include, r->include.at, r->include.n, err)) ||
        (status = open_model(j, err)) || (status = open_config(j, err)))
        return status;
    j->options.ignore = &j->ignore;
    j->options.include = &j->include;
    j->options.source = j->model->reader;
    return qn_packed_plan_new(&j->plan, j->exported ? j->exported : j->model, &j->options, err);
}

static void remark_unused(const job *j, const char *option, const qn_texts *texts,
                          const qn_patterns *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (!p->hits[i])
            qn_remark(j->request->common, "--%s '%s' is found in no name of a matrix", option,
                      texts->at[i]);
}

static void remark(const job *j)
{
    const qn_packed_request *r = j->request;
    char size[32];
    if (j->plan->n_stacked)
        qn_remark(r->common,
                  "%zu tensors of stacked experts stay floats, %s: loaders take packed experts one "
                  "by one, which quern does not write yet",
                  j->plan->n_stacked, qn_human_size((double)j->plan->stacked_bytes, size));
    size_t named = 0;
    for (size_t i = 0; i < r->include.n; i++)
        named += strstr(r->include.at[i], "lm_head") && !j->include.hits[i];
    if (j->plan->tied_head_named || (named && j->options.tied))
        qn_remark(r->common, "the head is tied to the embedding, which stays as it is");
    else
        remark_unused(j, "include", &r->include, &j->include);
    remark_unused(j, "ignore", &r->ignore, &j->ignore);
}

static qn_status name_output(job *j, qn_error *err)
{
    const qn_packed_options *o = &j->options;
    char group[32], type[96];
    snprintf(group, sizeof group, "g%llu", (unsigned long long)o->group);
    snprintf(type, sizeof type, "%s-%s%s%s", j->request->type, o->group ? group : "channel",
             o->format == QN_PACK_COMPRESSED_TENSORS ? "" : "-",
             o->format == QN_PACK_COMPRESSED_TENSORS ? "" : qn_pack_format_name(o->format));
    return qn_output_directory(j->model->path, j->request->out, type, &j->path, err);
}

/* mlx-lm's files say whose they are; all others are PyTorch's. */
static qn_status make_metadata(job *j, qn_error *err)
{
    const char *format = j->options.format == QN_PACK_MLX ? "mlx" : "pt";
    if (!(j->metadata = qn_metadata_new())) return qn_fail_memory(err, "the metadata");
    return qn_metadata_set_str(j->metadata, "format", qn_str_z(format), err);
}

/* ---- one file ------------------------------------------------------------------------------- */

/* Declared and measured; for a dry run under the final directory's name. */
static qn_status plan_file(const job *j, const qn_packed_shard *s, const char *dir, size_t i,
                           qn_writer **out, uint64_t *bytes, qn_error *err)
{
    char name[64];
    char *path = qn_path_join(dir, qn_shard_name(i, j->plan->n_shards, name));
    qn_status status =
        path ? qn_writer_create(out, &qn_format_safetensors, path, false, j->metadata, 0, err)
             : qn_fail_memory(err, "the output's name");
    qn_free(path);
    if (!status) status = qn_packed_shard_declare(s, *out, err);
    return status ? status : qn_writer_plan(*out, bytes, err);
}

static qn_status measure_file(job *j, size_t i, qn_error *err)
{
    qn_packed_shard *s = NULL;
    qn_writer *w = NULL;
    uint64_t bytes = 0;
    qn_status status = qn_packed_shard_new(&s, j->plan, i, err);
    if (!status) status = plan_file(j, s, j->path, i, &w, &bytes, err);
    j->size_bytes += bytes;
    qn_writer_abandon(w);
    qn_packed_shard_free(s);
    return status;
}

static bool tell(void *ctx, uint64_t done, uint64_t total)
{
    job *j = ctx;
    (void)total;
    return qn_progress_tell(&j->progress, j->done + done, j->total);
}

static uint64_t least_memory(const void *shard, int threads)
{
    return qn_packed_shard_least_memory(shard, threads);
}

static qn_status run_file(job *j, const qn_packed_shard *s, qn_writer *w, qn_error *err)
{
    const qn_common *c = j->request->common;
    qn_pipeline_options options = {.measure = j->results != NULL, .watch = {tell, j}};
    const qn_memory_wish wish = {.limit = j->request->max_memory,
                                 .what = j->model->path,
                                 .least = least_memory,
                                 .job = s,
                                 .most = qn_packed_shard_best_memory(s, (int)c->threads)};
    qn_status status = qn_memory_share(&wish, c, &options.threads, &options.memory_bytes, err);
    if (!status) status = qn_writer_begin(w, err);
    if (!status) status = qn_packed_shard_run(s, w, &options, j->results, err);
    if (!status && qn_interrupted()) status = qn_fail(err, QN_ERR_CANCELLED, "interrupted");
    return status;
}

static qn_status write_file(job *j, size_t i, qn_error *err)
{
    qn_packed_shard *s = NULL;
    qn_writer *w = NULL;
    uint64_t bytes;
    qn_status status = qn_packed_shard_new(&s, j->plan, i, err);
    if (!status) status = plan_file(j, s, qn_outdir_path(j->directory), i, &w, &bytes, err);
    if (!status) status = run_file(j, s, w, err);
    if (!status) {
        qn_writer *finished = w;
        w = NULL;
        status = qn_writer_commit(finished, err);
    }
    if (!status) j->done += qn_packed_shard_source_bytes(s);
    qn_writer_abandon(w);
    qn_packed_shard_free(s);
    return status;
}

/* ---- beside the weights ------------------------------------------------------------------------ */

static qn_status index_entry(job *j, const qn_packed_entry *e, qn_error *err)
{
    char file[64];
    qn_packed_part parts[QN_MOST_PARTS];
    qn_status status = QN_OK;
    qn_shard_name(e->shard, j->plan->n_shards, file);
    if (!e->packed) return qn_index_add(&j->index, qn_str_z(e->tensor->name), file, err);
    const unsigned n = qn_packed_parts(j->plan, e, parts);
    const qn_str module = qn_packed_module(e);
    for (unsigned i = 0; i < n && !status; i++) {
        qn_text name = {0};
        qn_text_addf(&name, "%.*s.%s", (int)module.n, module.s, parts[i].suffix);
        status = name.failed ? qn_fail_memory(err, "the index of tensors")
                             : qn_index_add(&j->index, qn_str_of(name.s, name.n), file, err);
        qn_text_free(&name);
    }
    return status;
}

static qn_status write_index(job *j, qn_error *err)
{
    if (j->plan->n_shards == 1) return QN_OK;
    char *path = qn_path_join(qn_outdir_path(j->directory), "model.safetensors.index.json");
    qn_status status = path ? qn_index_begin(&j->index, path, j->tensor_bytes, err)
                            : qn_fail_memory(err, "the index of tensors");
    qn_free(path);
    for (size_t i = 0; i < j->plan->n && !status; i++)
        status = index_entry(j, &j->plan->entries[i], err);
    return status ? status : qn_index_commit(&j->index, err);
}

/* Names of modules with a matrix that is not packed; in an arena of theirs. */
static qn_status kept_modules(const job *j, qn_arena *a, const char **names, size_t *n,
                              qn_error *err)
{
    *n = 0;
    for (size_t i = 0; i < j->plan->n; i++) {
        const qn_packed_entry *e = &j->plan->entries[i];
        if (!e->linear || e->packed || e->head) continue;
        const qn_str module = qn_packed_module(e);
        if (!(names[*n] = qn_arena_strndup(a, module.s, module.n)))
            return qn_fail_memory(err, "config.json");
        ++*n;
    }
    return QN_OK;
}

static bool head_is_packed(const qn_packed_plan *p)
{
    bool packed = false;
    for (size_t i = 0; i < p->n; i++) packed |= p->entries[i].head && p->entries[i].packed;
    return packed;
}

static qn_status write_config(const job *j, qn_error *err)
{
    const qn_packed_options *o = &j->options;
    qn_arena *a = qn_arena_new();
    const char **kept = a ? qn_arena_alloc(a, j->plan->n, sizeof(char *)) : NULL;
    qn_quantization q = {.format = o->format,
                         .bits = o->bits,
                         .group = o->group,
                         .asymmetric = o->asymmetric,
                         .mse = o->clip == QN_CLIP_MSE,
                         .head = head_is_packed(j->plan),
                         .kept = kept,
                         .tool = "quern:" QN_VERSION};
    qn_status status =
        kept ? kept_modules(j, a, kept, &q.n_kept, err) : qn_fail_memory(err, "config.json");
    if (!status) status = qn_quantization_set(j->config, &q, err);
    if (!status)
        status = qn_carry_write_config(j->model, j->config, qn_outdir_path(j->directory), err);
    qn_arena_free(a);
    return status;
}

static qn_status write_others(job *j, qn_error *err)
{
    bool tokenizer = false;
    qn_status status = write_index(j, err);
    if (!status) status = write_config(j, err);
    if (!status && j->model->directory)
        status = qn_carry_files(j->model, qn_outdir_path(j->directory), &tokenizer, err);
    if (!status && j->model->from_gguf && j->model->vocab) {
        status = qn_export_vocabulary(j->model, qn_outdir_path(j->directory), err);
        tokenizer = !status;
    }
    if (!status && !tokenizer)
        qn_remark(j->request->common, "%s: without a tokenizer: the source has none", j->path);
    return status;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static qn_status write_all(job *j, qn_error *err)
{
    const qn_common *c = j->request->common;
    qn_status status = qn_outdir_create(&j->directory, j->path, j->request->force, err);
    if (status) return status;
    if ((c->json || c->verbose) && !(j->results = qn_alloc(j->plan->n, sizeof *j->results)))
        return qn_fail_memory(err, "the results");
    qn_interrupt_watched(true);
    qn_progress_start(&j->progress, c, j->path, NULL);
    for (size_t i = 0; i < j->plan->n_shards && !status; i++) status = write_file(j, i, err);
    qn_progress_end(&j->progress);
    if (!status) status = write_others(j, err);
    if (!status) {
        qn_outdir *finished = j->directory;
        j->directory = NULL;
        status = qn_outdir_commit(finished, err);
    }
    qn_interrupt_watched(false);
    return status;
}

static qn_status plan_and_write(job *j, qn_error *err)
{
    qn_status status = make_plan(j, err);
    if (status) return status;
    remark(j);
    for (size_t i = 0; i < j->plan->n; i++) {
        j->tensor_bytes += j->plan->entries[i].bytes;
        j->total += j->plan->entries[i].tensor->rows->source_bytes;
    }
    if ((status = name_output(j, err)) || (status = make_metadata(j, err))) return status;
    if (!j->request->dry_run && (status = qn_outdir_check(j->path, j->request->force, err)))
        return status;
    for (size_t i = 0; i < j->plan->n_shards && !status; i++) status = measure_file(j, i, err);
    if (status || j->request->dry_run) return status;
    return write_all(j, err);
}

static qn_exit tell_result(const job *j, double started)
{
    const qn_packed_request *r = j->request;
    const qn_packed_output o = {j->plan, j->path, r->type, j->size_bytes, j->results};
    if (r->common->json) {
        json_t *outputs = json_pack("[o]", qn_packed_describe(&o));
        return qn_report_print(r->common,
                               qn_write_report(r->common, j->model, outputs, r->dry_run, started));
    }
    if (r->dry_run || r->common->verbose) qn_packed_print_table(&o);
    qn_packed_print_summary(&o);
    if (!r->dry_run) {
        char source[32], took[32], memory[32];
        printf("; %s read in %s, peak memory %s",
               qn_human_size((double)qn_source_bytes(j->model), source),
               qn_human_time(qn_seconds() - started, took),
               qn_human_size((double)qn_memory_peak(), memory));
    }
    putchar('\n');
    return QN_EXIT_FINE;
}

qn_exit qn_quantize_packed(const qn_packed_request *r)
{
    const double started = qn_seconds();
    qn_error err = {0};
    job j = {.request = r};
    qn_exit exit = read_options(r, &j.options);
    if (exit) return exit;
    qn_memory_watch();
    exit = plan_and_write(&j, &err) ? qn_complain(r->common, &err) : tell_result(&j, started);
    close_job(&j);
    return exit;
}
