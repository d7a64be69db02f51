/* quern convert: the same weights in another format or float type: checkpoint
 * to GGUF as the reference converter writes it, and back. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "formats/base/alloc.h"
#include "formats/base/outdir.h"
#include "formats/export.h"
#include "formats/shards_write.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/memory.h"
#include "tools/output_name.h"
#include "tools/progress.h"
#include "tools/source_options.h"
#include "tools/split_options.h"
#include "tools/write_model.h"

typedef struct {
    qn_common common;
    bool dry_run, force, allow_nan;
    const char *outtype, *outfile, *format;
    qn_source_options source;
    const char *split_max_size;
    uint64_t max_memory, max_shard_size, align, split_max_tensors;
    qn_split_options split; /* from those two */
} options;

/* What transformers' save_pretrained does without max_shard_size (from release 5 on;
 * huggingface_hub's own default is 5GB). */
#define DEFAULT_SHARD_BYTES (UINT64_C(50) * 1000 * 1000 * 1000)

static const options defaults = {.max_memory = QN_DEFAULT_MEMORY, .outtype = "auto"};

static const qn_opt table[] = {
    {0, "outtype", "TYPE", QN_OPT_TEXT, offsetof(options, outtype),
     "f32, f16, bf16, q8_0, or auto: f16 or bf16 by the first matrix of the model (default auto)"},
    {'o', "outfile", "OUT", QN_OPT_TEXT, offsetof(options, outfile), "the same as OUT"},
    {0, "format", "NAME", QN_OPT_TEXT, offsetof(options, format),
     "gguf or safetensors (default: by OUT)"},
    {0, "dry-run", NULL, QN_OPT_FLAG, offsetof(options, dry_run),
     "print which tensor becomes what, and the size; write nothing"},
    {0, "force", NULL, QN_OPT_FLAG, offsetof(options, force), "replace existing outputs"},
    {0, "allow-nan", NULL, QN_OPT_FLAG, offsetof(options, allow_nan),
     "let NaN and infinity through"},
    QN_WRITE_MEMORY_OPTION(offsetof(options, max_memory)),
    {0, "align", "N", QN_OPT_SIZE, offsetof(options, align),
     "alignment of each tensor in a GGUF file, a power of two (default 32)"},
    QN_SPLIT_OPTIONS(options, split_max_size, split_max_tensors),
    {0, "max-shard-size", "SIZE", QN_OPT_SIZE, offsetof(options, max_shard_size),
     "of a checkpoint directory: begin another file, model-00002-of-00003.safetensors, where one "
     "would hold more bytes of tensors (default 50GB, as transformers)"},
    QN_SOURCE_OPTIONS(options, source),
};

/* ---- what was asked for -------------------------------------------------------------- */

static const char *const type_names[] = {
    [QN_OUT_AUTO] = "auto", [QN_OUT_F32] = "F32",   [QN_OUT_F16] = "F16",
    [QN_OUT_BF16] = "BF16", [QN_OUT_Q8_0] = "Q8_0",
};

static bool outtype_by_name(const char *name, qn_outtype *out)
{
    for (size_t i = 0; i < QN_COUNT_OF(type_names); i++)
        if (!strcasecmp(name, type_names[i])) {
            *out = (qn_outtype)i;
            return true;
        }
    return false;
}

typedef enum { GGUF_FILE, SAFETENSORS_FILE, CHECKPOINT } target;

static bool looks_like_directory(const char *out)
{
    return out && (qn_path_is_dir(out) || qn_str_ends(qn_str_z(out), "/"));
}

/* A directory takes a checkpoint when it was a GGUF file, a GGUF file when it
 * was a checkpoint; --format says otherwise. */
static target target_of(const options *o, const qn_model *m, const char *out)
{
    const bool named = out && qn_str_ends(qn_str_z(out), ".safetensors");
    const bool directory = looks_like_directory(out);
    bool safetensors = named || (directory && m->from_gguf);
    if (o->format) safetensors = !strcmp(o->format, "safetensors");
    if (!safetensors) return GGUF_FILE;
    return named && !directory ? SAFETENSORS_FILE : CHECKPOINT;
}

static qn_exit check_words(const options *o, const char *out, qn_outtype *outtype)
{
    const qn_common *c = &o->common;
    if (!outtype_by_name(o->outtype, outtype))
        return qn_usage(c, "unknown --outtype '%s'; it is f32, f16, bf16, q8_0 or auto",
                        o->outtype);
    if (!o->format) return QN_EXIT_FINE;
    if (strcmp(o->format, "gguf") != 0 && strcmp(o->format, "safetensors") != 0)
        return qn_usage(c, "unknown --format '%s'; it is gguf or safetensors", o->format);
    if (!strcmp(o->format, "safetensors") && !out)
        return qn_usage(c, "--format safetensors wants OUT: a .safetensors file or a directory");
    return QN_EXIT_FINE;
}

/* ---- the job --------------------------------------------------------------------------- */

/* What is to be written, in which way. */
typedef struct {
    const qn_format *format;
    const char *path;         /* of the file; of a directory's first */
    const char *directory;    /* that is being made for it, or NULL */
    uint64_t max_shard_bytes; /* 0: no shards */
} destination;

static qn_status write_index(const qn_plan *p, const char *directory, qn_error *err)
{
    qn_index index = {0};
    uint64_t total = 0, row_bytes = 0;
    char file[64], *path = qn_path_join(directory, "model.safetensors.index.json");
    for (size_t i = 0; i < p->n; i++) {
        const qn_rows *rows = p->entries[i].tensor->rows;
        qn_dtype_row_bytes(p->entries[i].dtype, rows->columns, &row_bytes);
        total += row_bytes * rows->rows;
    }
    qn_status status =
        path ? qn_index_begin(&index, path, total, err) : qn_fail_memory(err, "the index");
    for (size_t i = 0; i < p->n && !status; i++)
        status = qn_index_add(&index, qn_str_z(p->entries[i].tensor->name),
                              qn_shard_name(p->entries[i].part, p->n_parts, file), err);
    qn_free(path);
    if (!status) return qn_index_commit(&index, err);
    qn_index_abandon(&index);
    return status;
}

/* source: what was opened, which m was made from. */
static qn_status write_as(const options *o, const qn_model *source, const qn_model *m,
                          qn_outtype outtype, const destination *to, json_t *outputs, qn_error *err)
{
    qn_plan *plan = NULL;
    const qn_write_options write = {
        .common = &o->common,
        .format = to->format,
        .dry_run = o->dry_run,
        .force = o->force,
        .allow_nan = o->allow_nan,
        .max_memory = o->max_memory,
        .source_bytes = qn_source_bytes(source),
    };
    qn_status status = qn_plan_convert(&plan, m, outtype, o->align, err);
    if (!status)
        status = to->max_shard_bytes ? qn_plan_shard(plan, to->max_shard_bytes, err)
                                     : qn_plan_split(plan, &o->split, err);
    const qn_write_target file = {
        .plan = plan, .path = to->path, .directory = to->directory, .type = type_names[outtype]};
    if (!status) status = qn_write_models(&file, 1, &write, outputs, err);
    if (!status && !o->dry_run && to->directory && plan->n_parts > 1)
        status = write_index(plan, to->directory, err);
    qn_plan_free(plan);
    return status;
}

static qn_status refuse_shards(const options *o, const char *path, qn_error *err)
{
    if (!o->max_shard_size) return QN_OK;
    return qn_fail(err, QN_ERR_ARGUMENT, "%s: only a checkpoint directory has shards", path);
}

static qn_status to_gguf(const options *o, const qn_model *m, qn_outtype outtype, const char *out,
                         json_t *outputs, qn_error *err)
{
    char *path = NULL;
    qn_status status = qn_output_path(m->path, m->from_gguf ? NULL : m->metadata, out,
                                      type_names[outtype], &path, err);
    const destination to = {.format = &qn_format_gguf, .path = path};
    if (!status) status = refuse_shards(o, path, err);
    if (!status) status = write_as(o, m, m, outtype, &to, outputs, err);
    qn_free(path);
    return status;
}

static qn_status to_safetensors(const options *o, const qn_model *m, qn_outtype outtype,
                                const destination *to, json_t *outputs, qn_error *err)
{
    qn_model *exported = NULL;
    if (outtype == QN_OUT_Q8_0)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s: safetensors files hold f32, f16 and bf16, not --outtype q8_0",
                       to->path);
    if (o->split.max_bytes || o->split.max_tensors)
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: only GGUF files can be split", to->path);
    qn_status status = qn_export_open(&exported, m, err);
    if (!status) status = write_as(o, m, exported, outtype, to, outputs, err);
    qn_model_close(exported);
    return status;
}

static qn_status to_file(const options *o, const qn_model *m, qn_outtype outtype, const char *path,
                         json_t *outputs, qn_error *err)
{
    const destination to = {.format = &qn_format_safetensors, .path = path};
    const qn_status status = refuse_shards(o, path, err);
    return status ? status : to_safetensors(o, m, outtype, &to, outputs, err);
}

/* The weights first, since they can fail in most ways. */
static qn_status fill(const options *o, const qn_model *m, qn_outtype outtype,
                      const destination *to, const char *shown, json_t *outputs, qn_error *err)
{
    bool tokenizer = false;
    qn_status status = to_safetensors(o, m, outtype, to, outputs, err);
    if (status || o->dry_run) return status;
    qn_interrupt_watched(true);
    status = qn_export_files(m, to->directory, outtype, &tokenizer, err);
    if (!status && !tokenizer)
        qn_remark(&o->common, "%s: without a tokenizer: the source has none", shown);
    return status;
}

static qn_status to_checkpoint(const options *o, const qn_model *m, qn_outtype outtype,
                               const char *dir, json_t *outputs, qn_error *err)
{
    qn_outdir *made = NULL;
    qn_status status = qn_export_check(m, outtype, err);
    if (!status && !o->dry_run) status = qn_outdir_create(&made, dir, o->force, err);
    if (status) return status;
    char *path = qn_path_join(dir, "model.safetensors");
    const destination to = {.format = &qn_format_safetensors,
                            .path = path,
                            .directory = made ? qn_outdir_path(made) : NULL,
                            .max_shard_bytes =
                                o->max_shard_size ? o->max_shard_size : DEFAULT_SHARD_BYTES};
    status = path ? fill(o, m, outtype, &to, dir, outputs, err) : qn_fail_memory(err, dir);
    qn_free(path);
    if (!status && made)
        status = qn_outdir_commit(made, err);
    else
        qn_outdir_abandon(made);
    qn_interrupt_watched(false);
    return status;
}

static qn_exit run(const void *given, char **args, size_t n)
{
    options mine = *(const options *)given;
    const options *o = &mine;
    const double started = qn_seconds();
    const char *out = n > 1 ? args[1] : o->outfile;
    qn_loras loras = {0};
    qn_outtype outtype = QN_OUT_AUTO;
    qn_error err = {0};
    qn_model *model = NULL;
    if (n > 1 && o->outfile) return qn_usage(&o->common, "OUT and --outfile are the same thing");
    qn_exit exit = check_words(o, out, &outtype);
    if (!exit)
        exit = qn_split_limits(&o->common, o->split_max_size, o->split_max_tensors, &mine.split);
    if (!exit && qn_loras_read(&o->source.lora, &loras, &err)) exit = qn_complain(&o->common, &err);
    if (exit) return exit;

    const qn_model_options how = qn_source_how(&o->source, &loras);
    json_t *outputs = json_array();
    qn_memory_watch();
    qn_status status = qn_model_open(&model, args[0], &how, &err);
    if (!status) {
        outtype = qn_convert_resolve(model, outtype);
        switch (target_of(o, model, out)) {
        case GGUF_FILE: status = to_gguf(o, model, outtype, out, outputs, &err); break;
        case SAFETENSORS_FILE: status = to_file(o, model, outtype, out, outputs, &err); break;
        case CHECKPOINT: status = to_checkpoint(o, model, outtype, out, outputs, &err); break;
        }
    }
    if (status)
        exit = qn_complain(&o->common, &err);
    else if (o->common.json)
        exit = qn_report_print(&o->common, qn_write_report(&o->common, model, json_incref(outputs),
                                                           o->dry_run, started));
    json_decref(outputs);
    qn_model_close(model);
    qn_loras_free(&loras);
    return exit;
}

const qn_command qn_command_convert = {
    .name = "convert",
    .summary = "put a model into another format, without quantizing",
    .synopsis = "[options] IN [OUT]",
    .about = "From a checkpoint directory (or a lone .safetensors file) to GGUF with the reference "
             "converter's metadata, names, order and bytes; from GGUF back to safetensors with the "
             "checkpoint's names and layout; or between float types. OUT absent: NAME-TYPE.gguf in "
             "the current directory. OUT ending in .safetensors: that file. OUT a directory: from "
             "GGUF a checkpoint with config.json and the tokenizer's files, from a checkpoint a "
             "file in it, named by the "
             "GGUF naming convention (NAME-SIZE-FINETUNE-VERSION-TYPE.gguf).",
    .examples = "  quern convert SmolLM2-135M-Instruct/\n"
                "  quern convert stories260K-hf/ stories.gguf --outtype f32\n"
                "  quern convert model-Q8_0.gguf model.safetensors --outtype f32\n"
                "  quern convert model.gguf checkpoint/ --outtype bf16\n",
    .options = table,
    .n_options = QN_COUNT_OF(table),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .least = 1,
    .most = 2,
    .models = 1,
    .run = run,
};
