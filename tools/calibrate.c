/* quern calibrate: what the columns of every matrix are multiplied with on some
 * text, as an importance matrix. */
#include "validate/calibrate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"
#include "formats/model_digest.h"
#include "tools/calibrate_texts.h"
#include "tools/commands.h"
#include "tools/imatrix_table.h"
#include "tools/interrupt.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/window_memory.h"
#include "validate/weights.h"

/* Where an unfinished file goes on, and of which text. */
static const char next_key[] = "quern.calibrate.next_chunk";
static const char text_key[] = "quern.calibrate.text_sha256";
static const char model_key[] = "quern.calibrate.model_digest";

typedef struct {
    qn_common common;
    qn_load_options load;
    const char *model, *output, *format;
    qn_texts files, in_files;
    uint64_t n_ctx, batch, chunks, from, output_frequency, save_frequency, max_memory;
    bool process_output, no_ppl, parse_special, resume, force, layer_streamed, statistics;
} options;

static const options defaults = {
    .load = {.needs_text = true}, .output = "imatrix.gguf", .n_ctx = 512, .output_frequency = 10};

static const qn_opt table[] = {
    {'m', "model", "MODEL", QN_OPT_TEXT, offsetof(options, model), "the same as MODEL"},
    {'f', "file", "FILE", QN_OPT_TEXTS, offsetof(options, files),
     "a text to measure on, read byte for byte; may be given several times"},
    {0, "text", "FILE", QN_OPT_TEXTS, offsetof(options, files), "the same as --file"},
    {'o', "output", "OUT", QN_OPT_TEXT, offsetof(options, output),
     "what is written (default imatrix.gguf)"},
    {0, "output-file", "OUT", QN_OPT_TEXT, offsetof(options, output), "the same as --output"},
    {0, "output-format", "FORM", QN_OPT_TEXT, offsetof(options, format),
     "gguf, or dat for the older form (default: by OUT's ending)"},
    {'c', "ctx-size", "N", QN_OPT_COUNT, offsetof(options, n_ctx),
     "tokens of a chunk (default 512)"},
    {'b', "batch-size", "N", QN_OPT_COUNT, offsetof(options, batch),
     "tokens that run together (default 2048); results do not depend on it"},
    {0, "chunks", "N", QN_OPT_COUNT, offsetof(options, chunks),
     "at most N chunks, each text's share as large as its share of all (default all)"},
    {0, "from-chunk", "N", QN_OPT_COUNT, offsetof(options, from), "leave out the first N chunks"},
    {0, "chunk", "N", QN_OPT_COUNT, offsetof(options, from), "the same as --from-chunk"},
    {0, "process-output", NULL, QN_OPT_FLAG, offsetof(options, process_output),
     "measure output.weight, too"},
    {0, "no-ppl", NULL, QN_OPT_FLAG, offsetof(options, no_ppl),
     "no perplexity, which saves the logits"},
    {0, "parse-special", NULL, QN_OPT_FLAG, offsetof(options, parse_special),
     "text that spells a control token is one"},
    {0, "in-file", "FILE", QN_OPT_TEXTS, offsetof(options, in_files),
     "add this importance matrix; may be given several times, without MODEL merges them"},
    {0, "output-frequency", "N", QN_OPT_COUNT, offsetof(options, output_frequency),
     "write OUT every N chunks, to be resumed if need be (default 10; 0: at the end)"},
    {0, "save-frequency", "N", QN_OPT_COUNT, offsetof(options, save_frequency),
     "keep OUT.at_CHUNK every N chunks (default 0: never)"},
    {0, "resume", NULL, QN_OPT_FLAG, offsetof(options, resume),
     "go on where OUT, left unfinished, stopped: the result is the same to the last bit"},
    {0, "show-statistics", NULL, QN_OPT_FLAG, offsetof(options, statistics),
     "print what the file of --in-file says of each tensor, and do nothing else"},
    {0, "layer-streamed", NULL, QN_OPT_FLAG, offsetof(options, layer_streamed),
     "all chunks through a layer before the next: each weight is read once"},
    QN_MAX_MEMORY_OPTION(offsetof(options, max_memory)),
    {0, "force", NULL, QN_OPT_FLAG, offsetof(options, force), "replace OUT if it exists"},
    QN_LOAD_OPTIONS(options, load),
};

typedef struct {
    const options *o;
    qn_loaded l;
    qn_calibration *sums;
    qn_imatrix **in; /* [n_in]: open, since names of texts lie in them */
    size_t n_in;
    qn_str *datasets;
    size_t n_datasets;
    qn_calibrate_texts texts;
    qn_chunks chunks;  /* that are left to run */
    uint64_t done;     /* of texts.chunks, before this run */
    uint64_t held;     /* of them, in sums */
    bool legacy, ours; /* ours: OUT is this run's and may be replaced */
    qn_perplexity_result ppl;
    double seconds;

    char model_digest[65];
    qn_progress progress;
    bool listing;
    qn_status failed; /* while saving */
    qn_error why;
} job;

/* ---- writing -------------------------------------------------------------------------- */

static qn_status say_where(const job *j, qn_metadata *m, qn_error *err)
{
    qn_status status = qn_metadata_set_u64(m, next_key, j->held, err);
    if (!status) status = qn_metadata_set_str(m, text_key, qn_str_z(j->texts.sha256), err);
    return status ? status : qn_metadata_set_str(m, model_key, qn_str_z(j->model_digest), err);
}

static qn_status write_to(const job *j, const char *path, bool unfinished, bool force,
                          qn_error *err)
{
    qn_imatrix_contents c = {.entries = j->sums->entries,
                             .n_entries = j->sums->n,
                             .datasets = j->datasets,
                             .n_datasets = j->n_datasets,
                             .chunk_count = qn_calibration_chunks(j->sums, j->o->n_ctx),
                             .chunk_size = j->o->n_ctx};
    qn_metadata *where = NULL;
    qn_status status = QN_OK;
    if (unfinished) {
        if (!(where = qn_metadata_new())) return qn_fail_memory(err, path);
        status = say_where(j, where, err);
        c.unfinished = where;
    }
    if (!status) status = qn_imatrix_write(&c, path, j->legacy, force, err);
    qn_metadata_free(where);
    return status;
}

static qn_status write_out(job *j, bool unfinished, qn_error *err)
{
    const qn_status status = write_to(j, j->o->output, unfinished, j->o->force || j->ours, err);
    if (!status) j->ours = true;
    return status;
}

static qn_status write_copy(const job *j, qn_error *err)
{
    qn_text path = {0};
    qn_text_addf(&path, "%s.at_%" PRIu64, j->o->output,
                 qn_calibration_chunks(j->sums, j->o->n_ctx));
    const qn_status status =
        path.failed ? qn_fail_memory(err, j->o->output) : write_to(j, path.s, false, true, err);
    qn_text_free(&path);
    return status;
}

/* Whether a multiple of every lies in (before, now]. */
static bool is_due(uint64_t every, uint64_t before, uint64_t now)
{
    return every && now / every > before / every;
}

static qn_status save(job *j, uint64_t before, qn_error *err)
{
    qn_status status = QN_OK;
    if (is_due(j->o->output_frequency, before, j->held)) status = write_out(j, true, err);
    if (!status && is_due(j->o->save_frequency, before, j->held)) status = write_copy(j, err);
    return status;
}

/* ---- experts --------------------------------------------------------------------------- */

static uint64_t unseen_of(const qn_imatrix_sums *e)
{
    uint64_t unseen = 0;
    for (uint64_t i = 0; i < e->matrices; i++) unseen += e->counts[i] == 0;
    return unseen;
}

/* Experts of which a tensor saw nothing, counted once a layer: by their last
 * matrix, which all have. */
static bool is_of_experts(const qn_imatrix_sums *e)
{
    return e->matrices > 1 && strstr(e->name, "ffn_down_exps") != NULL;
}

static uint64_t unseen_experts(const job *j, uint64_t *experts)
{
    uint64_t unseen = 0;
    *experts = 0;
    for (size_t i = 0; i < j->sums->n; i++) {
        if (!is_of_experts(&j->sums->entries[i])) continue;
        *experts += j->sums->entries[i].matrices;
        unseen += unseen_of(&j->sums->entries[i]);
    }
    return unseen;
}

static void warn_of_unseen(const job *j)
{
    for (size_t i = 0; i < j->sums->n; i++) {
        const qn_imatrix_sums *e = &j->sums->entries[i];
        const uint64_t unseen = unseen_of(e);
        if (is_of_experts(e) && unseen)
            qn_remark(&j->o->common,
                      "%s: no token reached %" PRIu64 " of %" PRIu64
                      " experts, whose columns will count 1 each: more text would help",
                      e->name, unseen, e->matrices);
    }
}

/* ---- running ---------------------------------------------------------------------------- */

static bool tell(void *ctx, uint64_t chunk, uint64_t chunks, double so_far)
{
    job *j = ctx;
    const uint64_t before = j->held, batch = j->chunks.batch;
    uint64_t experts;
    const uint64_t unseen = unseen_experts(j, &experts);
    char *note = j->progress.note;
    j->held = j->done + qn_min_u64((chunk + batch - 1) / batch * batch, chunks);
    if (j->listing && so_far > 0) {
        printf("[%" PRIu64 "]%.4f,", j->done + chunk, so_far);
        fflush(stdout);
    }
    *note = 0;
    if (so_far > 0) snprintf(note, sizeof j->progress.note, "PPL %.4f", so_far);
    if (unseen)
        snprintf(note + strlen(note), sizeof j->progress.note - strlen(note),
                 "  %" PRIu64 " experts unseen", unseen);
    if (chunk < chunks && (j->failed = save(j, before, &j->why))) return false;
    return qn_progress_tell(&j->progress, chunk, chunks);
}

/* As many chunks at a time as were asked for, or as memory has room for. */
static qn_status choose_batch(job *j, qn_error *err)
{
    const options *o = j->o;
    uint64_t memory = 0;
    qn_decoder *const models[] = {j->l.decoder};
    if (o->layer_streamed) qn_decoder_give_back(j->l.decoder);
    if (o->layer_streamed) j->chunks.batch = j->chunks.chunks;
    const qn_status status = qn_window_memory(&o->common, o->max_memory, models, 1, &memory, err);
    if (status || !memory) return status;
    const qn_decoder *const d = j->l.decoder;
    return qn_chunks_fit(&j->chunks, memory, &d, 1, 1, err);
}

static qn_status run_chunks(job *j, qn_error *err)
{
    const options *o = j->o;
    const size_t n_ctx = (size_t)o->n_ctx;
    const uint32_t bos = qn_vocab_bos(j->l.vocab);
    const qn_chunk_options how = {.n_ctx = n_ctx, .batch = (size_t)(o->batch / o->n_ctx)};
    j->held = j->done;
    if (j->done >= j->texts.chunks) return QN_OK;
    qn_status status = qn_chunks_cut(&j->chunks, j->texts.ids + j->done * n_ctx,
                                     (j->texts.chunks - (size_t)j->done) * n_ctx, bos,
                                     qn_vocab_adds_bos(j->l.vocab) && bos != UINT32_MAX, &how, err);
    if (!status) status = choose_batch(j, err);
    if (status) return status;
    j->listing = !o->common.json && !o->common.quiet && !isatty(STDOUT_FILENO);
    qn_progress_start(&j->progress, &o->common, j->texts.texts[0].file, "chunks");
    const double started = qn_seconds();
    qn_interrupt_watched(true);
    status = qn_calibrate_run(j->sums, j->l.decoder, &j->chunks, !o->no_ppl, tell, j, &j->ppl, err);
    j->seconds = qn_seconds() - started;
    qn_progress_end(&j->progress);
    if (j->listing && !o->no_ppl) putchar('\n');
    if (j->failed) return qn_fail(err, j->failed, "%s", j->why.message);
    if (status != QN_ERR_CANCELLED || j->legacy) return status;
    qn_error saving = {0};
    if (write_out(j, true, &saving)) return qn_fail(err, saving.status, "%s", saving.message);
    qn_remark(&o->common, "%s holds %" PRIu64 " of %zu chunks: the same with --resume goes on",
              o->output, j->held, j->texts.chunks);
    return status;
}

/* ---- what is there before ------------------------------------------------------------------ */

static qn_status add_dataset(job *j, qn_str name, qn_error *err)
{
    qn_str *more = qn_resize(j->datasets, j->n_datasets + 1, sizeof *more);
    if (!more) return qn_fail_memory(err, "names of texts");
    j->datasets = more;
    j->datasets[j->n_datasets++] = name;
    return QN_OK;
}

static qn_status add_file(job *j, const char *path, qn_error *err)
{
    qn_imatrix *m = NULL;
    qn_status status = qn_imatrix_open(&m, path, err);
    if (status) return status;
    j->in[j->n_in++] = m;
    if ((status = qn_calibration_add(j->sums, m, j->o->n_ctx, err))) return status;
    qn_str cursor = m->datasets, name;
    if (!cursor.n && m->dataset.n) return add_dataset(j, m->dataset, err);
    while (!status && qn_meta_next_string(&cursor, &name)) status = add_dataset(j, name, err);
    return status;
}

/* Takes up what OUT holds. */
static qn_status resume(job *j, qn_error *err)
{
    const char *out = j->o->output;
    qn_status status = add_file(j, out, err);
    if (status) return status;
    const qn_imatrix *m = j->in[j->n_in - 1];
    qn_str text = {0}, model = {0};
    bool has_next = false, has_text = false, has_model = false;
    if (m->reader) {
        const qn_metadata *keys = m->reader->metadata;
        status = qn_metadata_u64(keys, next_key, &j->done, &has_next, err);
        if (!status) status = qn_metadata_str(keys, text_key, &text, &has_text, err);
        if (!status) status = qn_metadata_str(keys, model_key, &model, &has_model, err);
    }
    if (status) return status;
    if (!has_next || !has_text || !has_model)
        return qn_fail(err, QN_ERR_ARGUMENT, "%s is not unfinished: there is nothing to resume",
                       out);
    if (!qn_str_is(model, j->model_digest))
        return qn_fail(err, QN_ERR_ARGUMENT, "%s was begun with another model than %s", out,
                       j->l.model->path);
    if (!qn_str_is(text, j->texts.sha256) || j->done > j->texts.chunks)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s was begun with other texts, chunks or another tokenizer", out);
    j->ours = true;
    qn_remark(&j->o->common, "%s: %" PRIu64 " of %zu chunks are there", out, j->done,
              j->texts.chunks);
    return QN_OK;
}

static qn_status start_sums(job *j, qn_error *err)
{
    const options *o = j->o;
    qn_status status = qn_calibration_new(&j->sums, j->l.decoder, o->process_output, err);
    j->in = qn_alloc(o->in_files.n + 1, sizeof(qn_imatrix *));
    if (!status && !j->in) status = qn_fail_memory(err, "importance matrices");
    if (status) return status;
    if (o->resume && qn_path_exists(o->output)) return resume(j, err);
    for (size_t i = 0; i < o->in_files.n && !status; i++)
        status = add_file(j, o->in_files.at[i], err);
    for (size_t i = 0; i < j->texts.n && !status; i++)
        status = add_dataset(j, qn_str_z(j->texts.texts[i].file), err);
    return status;
}

/* ---- words ------------------------------------------------------------------------------ */

static double share_of(const job *j, const qn_calibrate_text *t)
{
    return (double)t->used / (double)j->texts.chunks;
}

static void tell_coverage(const job *j)
{
    const qn_common *c = &j->o->common;
    const uint64_t n_vocab = j->l.decoder->hparams->n_vocab;
    const uint64_t seen = qn_calibrate_texts_seen(&j->texts, n_vocab);
    for (size_t i = 0; i < j->texts.n; i++) {
        const qn_calibrate_text *t = &j->texts.texts[i];
        qn_remark(c, "%s: %zu tokens, %zu of %zu chunks of %zu, %.1f %% of all", t->file, t->tokens,
                  t->used, t->chunks, j->texts.n_ctx, 100 * share_of(j, t));
    }
    qn_remark(c,
              "%" PRIu64 " of the vocabulary's %" PRIu64 " tokens are in the text, %" PRIu64
              " never seen",
              seen, n_vocab, n_vocab - seen);
}

static json_t *text_json(const job *j, const qn_calibrate_text *t)
{
    return json_pack("{s: o, s: o, s: o, s: o}", "file", qn_json_text(t->file, strlen(t->file)),
                     "tokens", qn_json_count(t->tokens), "chunks", qn_json_count(t->used), "share",
                     qn_json_number(share_of(j, t)));
}

static qn_exit report(const job *j)
{
    const options *o = j->o;
    uint64_t experts;
    const uint64_t unseen = unseen_experts(j, &experts);
    json_t *document = qn_report_new(&o->common), *files = json_array();
    for (size_t i = 0; i < j->texts.n; i++)
        json_array_append_new(files, text_json(j, &j->texts.texts[i]));
    json_object_set_new(document, "output", qn_json_text(o->output, strlen(o->output)));
    json_object_set_new(document, "entries", qn_json_count(j->sums->n));
    json_object_set_new(document, "chunks",
                        qn_json_count(qn_calibration_chunks(j->sums, o->n_ctx)));
    json_object_set_new(document, "n_ctx", qn_json_count(o->n_ctx));
    json_object_set_new(document, "files", files);
    json_object_set_new(document, "experts", qn_json_count(experts));
    json_object_set_new(document, "experts_unseen", qn_json_count(unseen));
    if (j->l.decoder) {
        const uint64_t n_vocab = j->l.decoder->hparams->n_vocab;
        json_object_set_new(document, "vocabulary", qn_json_count(n_vocab));
        json_object_set_new(document, "vocabulary_seen",
                            qn_json_count(qn_calibrate_texts_seen(&j->texts, n_vocab)));
        json_object_set_new(document, "elapsed_s", qn_json_number(j->seconds));
    }
    if (j->ppl.chunk_nll) {
        json_object_set_new(document, "ppl", qn_json_number(j->ppl.ppl));
        json_object_set_new(document, "ppl_stderr", qn_json_number(j->ppl.ppl_stderr));
    }
    return qn_report_print(&o->common, document);
}

static qn_exit say(const job *j)
{
    if (j->o->common.json) return report(j);
    if (j->ppl.chunk_nll)
        printf("Final estimate: PPL = %.4f +/- %.5f\n", j->ppl.ppl, j->ppl.ppl_stderr);
    printf("%s: %zu matrices, %" PRIu64 " chunks of %" PRIu64 " tokens\n", j->o->output, j->sums->n,
           qn_calibration_chunks(j->sums, j->o->n_ctx), j->o->n_ctx);
    return QN_EXIT_FINE;
}

/* ---- the job ------------------------------------------------------------------------------- */

static qn_status work(job *j, const char *model, const char *const *files, size_t n, qn_error *err)
{
    const options *o = j->o;
    qn_status status = QN_OK;
    if (!o->force && !o->resume && qn_path_exists(o->output))
        return qn_fail(err, QN_ERR_ARGUMENT, "%s exists (--force replaces it)", o->output);
    if (model) {
        status = qn_load_model(&j->l, &o->common, model, &o->load, err);
        if (!status)
            status = qn_calibrate_texts_read(&j->texts, &j->l, files, n, (size_t)o->n_ctx, o->from,
                                             o->chunks, o->parse_special, err);
        if (!status) status = qn_model_digest(j->l.model, qn_kernels_best(), j->model_digest, err);
        if (status) return status;
        tell_coverage(j);
    }
    status = start_sums(j, err);
    if (!status && model) status = run_chunks(j, err);
    if (status) return status;
    warn_of_unseen(j);
    return write_out(j, false, err);
}

static void clean_up(job *j)
{
    qn_free(j->ppl.chunk_nll);
    qn_calibration_free(j->sums);
    for (size_t i = 0; i < j->n_in; i++) qn_imatrix_close(j->in[i]);
    qn_free(j->in);
    qn_free(j->datasets);
    qn_calibrate_texts_free(&j->texts);
    qn_unload(&j->l);
}

static qn_exit calibrate(const options *o, const char *model, const char *const *files, size_t n)
{
    qn_error err = {0};
    job j = {.o = o};
    const qn_str out = qn_str_z(o->output);
    j.legacy = o->format ? !strcmp(o->format, "dat") : qn_str_ends(out, ".dat");
    const qn_status status = work(&j, model, files, n, &err);
    const qn_exit exit = status ? qn_complain(&o->common, &err) : say(&j);
    clean_up(&j);
    return exit;
}

static qn_exit run(const void *given, char **args, size_t n_args)
{
    const options *o = given;
    const char *model = o->model;
    if (!model && n_args) model = *args++, n_args--;
    const size_t n = n_args + o->files.n;
    if (o->statistics && (model || n || o->in_files.n != 1))
        return qn_usage(&o->common, "--show-statistics is of one file: --in-file imatrix.gguf");
    if (o->statistics) return qn_imatrix_table(&o->common, o->in_files.at[0]);
    if (model ? !n : !o->in_files.n)
        return qn_usage(&o->common,
                        "a model and a text, please: quern calibrate MODEL TEXT -o imatrix.gguf");
    if (!model && n) return qn_usage(&o->common, "a model, please, to run the texts with");
    if (o->n_ctx < 3 || o->n_ctx > INT32_MAX)
        return qn_usage(&o->common, "--ctx-size %" PRIu64 " is not between 3 and 2^31", o->n_ctx);
    if (o->format && strcmp(o->format, "gguf") != 0 && strcmp(o->format, "dat") != 0)
        return qn_usage(&o->common, "--output-format %s: gguf or dat, please", o->format);
    const char **files = qn_alloc(n, sizeof *files);
    if (!files) return qn_usage(&o->common, "no memory for %zu texts", n);
    for (size_t i = 0; i < o->files.n; i++) files[i] = o->files.at[i];
    for (size_t i = 0; i < n_args; i++) files[o->files.n + i] = args[i];
    const qn_exit exit = calibrate(o, model, files, n);
    qn_free(files);
    return exit;
}

const qn_command qn_command_calibrate = {
    .name = "calibrate",
    .summary = "measure which columns of the weights matter",
    .synopsis = "[options] MODEL TEXT... -o OUT",
    .about =
        "Runs MODEL, a checkpoint directory or a .gguf file, over the texts in chunks of "
        "--ctx-size tokens and writes an importance matrix for quantize --imatrix: of what each "
        "weight matrix is multiplied with the sums of squares of its columns, each expert's by "
        "itself. OUT is llama-imatrix's file, which llama-quantize reads as well; sums are exact "
        "to the rounding at the end and the same for any number of threads. Ctrl-C leaves what "
        "was measured in OUT. Without MODEL the files of --in-file are merged.",
    .examples = "  quern calibrate model.gguf calibration.txt -o imatrix.gguf\n"
                "  quern calibrate checkpoint/ -f prose.txt -f code.txt --chunks 200 --no-ppl\n"
                "  quern calibrate --in-file a.gguf --in-file b.dat -o both.gguf\n"
                "  quern calibrate --show-statistics --in-file imatrix.gguf\n",
    .options = table,
    .n_options = QN_COUNT_OF(table),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .most = SIZE_MAX,
    .models = 1,
    .run = run,
};
