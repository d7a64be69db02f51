/* quern calibrate: what the columns of every matrix are multiplied with on some
 * text, as an importance matrix. */
#include "tools/calibrate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"
#include "formats/model_digest.h"
#include "tools/commands.h"
#include "tools/imatrix_table.h"
#include "tools/interrupt.h"
#include "tools/memory.h"
#include "tools/report.h"
#include "tools/text_input.h"
#include "tools/window_memory.h"
#include "validate/weights.h"

enum { DEFAULT_BLOCK = 256 };

static const qn_calibrate_options defaults = {.load = {.needs_text = true},
                                              .output = "imatrix.gguf",
                                              .n_ctx = 512,
                                              .block_size = DEFAULT_BLOCK,
                                              .output_frequency = QN_CALIBRATE_DEFAULT};

static const qn_opt table[] = {
    QN_MODEL_OPTION(offsetof(qn_calibrate_options, model)),
    QN_TEXT_OPTIONS(qn_calibrate_options, files, "a text to measure on"),
    {'o', "output", "OUT", QN_OPT_TEXT, offsetof(qn_calibrate_options, output),
     "what is written (default imatrix.gguf)"},
    {0, "output-file", "OUT", QN_OPT_TEXT, offsetof(qn_calibrate_options, output),
     "the same as --output"},
    {0, "output-format", "FORM", QN_OPT_TEXT, offsetof(qn_calibrate_options, format),
     "gguf, or dat for the older form (default: by OUT's ending)"},
    {'c', "ctx-size", "N", QN_OPT_COUNT, offsetof(qn_calibrate_options, n_ctx),
     "tokens of a chunk (default 512)"},
    {'b', "batch-size", "N", QN_OPT_COUNT, offsetof(qn_calibrate_options, batch),
     "tokens that run together (default 2048); results do not depend on it"},
    {0, "chunks", "N", QN_OPT_COUNT, offsetof(qn_calibrate_options, chunks),
     "at most N chunks, each text's share as large as its share of all (default all)"},
    {0, "from-chunk", "N", QN_OPT_COUNT, offsetof(qn_calibrate_options, from),
     "leave out the first N chunks"},
    {0, "chunk", "N", QN_OPT_COUNT, offsetof(qn_calibrate_options, from),
     "the same as --from-chunk"},
    {0, "process-output", NULL, QN_OPT_FLAG, offsetof(qn_calibrate_options, process_output),
     "measure output.weight, too"},
    {0, "no-ppl", NULL, QN_OPT_FLAG, offsetof(qn_calibrate_options, no_ppl),
     "no perplexity, which saves the logits"},
    {0, "parse-special", NULL, QN_OPT_FLAG, offsetof(qn_calibrate_options, parse_special),
     "text that spells a control token is one"},
    {0, "in-file", "FILE", QN_OPT_TEXTS, offsetof(qn_calibrate_options, in_files),
     "add this importance matrix; may be given several times, without MODEL merges them"},
    {0, "output-frequency", "N", QN_OPT_COUNT, offsetof(qn_calibrate_options, output_frequency),
     "write OUT every N chunks, to be resumed if need be (default 10, with --layer-streamed 64; "
     "0: at the end)"},
    {0, "save-frequency", "N", QN_OPT_COUNT, offsetof(qn_calibrate_options, save_frequency),
     "keep OUT.at_CHUNK every N chunks (default 0: never)"},
    {0, "resume", NULL, QN_OPT_FLAG, offsetof(qn_calibrate_options, resume),
     "go on where OUT, left unfinished, stopped: the result is the same to the last bit"},
    {0, "show-statistics", NULL, QN_OPT_FLAG, offsetof(qn_calibrate_options, statistics),
     "print what the file of --in-file says of each tensor, and do nothing else"},
    {0, "layer-streamed", NULL, QN_OPT_FLAG, offsetof(qn_calibrate_options, layer_streamed),
     "the chunks of --output-frequency through a layer before the next: each weight is read once "
     "for them"},
    {0, "second-moments", "FORM", QN_OPT_TEXT, offsetof(qn_calibrate_options, second_moments),
     "also the products of columns, full or in blocks (block) of --block-size"},
    {0, "block-size", "N", QN_OPT_COUNT, offsetof(qn_calibrate_options, block_size),
     "columns of a block of --second-moments block (default 256)"},
    QN_MAX_MEMORY_OPTION(offsetof(qn_calibrate_options, max_memory)),
    {0, "force", NULL, QN_OPT_FLAG, offsetof(qn_calibrate_options, force),
     "replace OUT if it exists"},
    QN_LOAD_OPTIONS(qn_calibrate_options, load),
};

/* ---- running ---------------------------------------------------------------------------- */

static bool tell(void *ctx, uint64_t chunk, uint64_t chunks, double so_far)
{
    qn_calibrate_job *j = ctx;
    const uint64_t before = j->held, batch = j->chunks.batch;
    uint64_t experts;
    const uint64_t unseen = qn_calibrate_unseen_experts(j, &experts);
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
    if (j->held < j->texts.chunks && (j->failed = qn_calibrate_save(j, before, &j->why)))
        return false;
    j->told_no = !qn_progress_tell(&j->progress, chunk, chunks);
    return !j->told_no;
}

/* Says what so many chunks at a time take, or that the machine has not got it. */
static qn_status tell_memory(const qn_calibrate_job *j, qn_error *err)
{
    const qn_decoder *d = j->l.decoder;
    const uint64_t machine = qn_memory_of_machine();
    const bool streamed = j->o->layer_streamed;
    double bytes = (double)qn_session_whole_bytes(d, j->chunks.batch, j->chunks.n_ctx);
    char need[32], has[32];
    if (streamed) bytes += (double)qn_decoder_page_bytes(d);
    bytes += (double)qn_calibrate_moments_bytes(j);
    qn_human_size(bytes, need);
    if (machine && bytes > (double)machine)
        return qn_fail(err, QN_ERR_MEMORY,
                       "%zu chunks at a time%s take %s of memory, the machine has %s (%s)",
                       j->chunks.batch, j->moments ? " and second moments" : "", need,
                       qn_human_size((double)machine, has),
                       streamed ? "a lower --output-frequency takes less"
                                : "--layer-streamed holds the moments of a layer at a time");
    qn_remark(&j->o->common, "%zu of %zu chunks at a time%s: %s of memory", j->chunks.batch,
              j->chunks.chunks, streamed ? " through each layer" : "", need);
    return QN_OK;
}

/* As many chunks at a time as go into so many bytes, beside the second moments. */
static qn_status fit(qn_calibrate_job *j, uint64_t memory, qn_error *err)
{
    const qn_decoder *const d = j->l.decoder;
    const uint64_t moments = qn_calibrate_moments_bytes(j);
    if (moments > memory)
        return qn_fail(err, QN_ERR_MEMORY,
                       "second moments take %.1f MiB of memory, %.1f MiB are left%s",
                       (double)moments / 0x1p20, (double)memory / 0x1p20,
                       j->o->layer_streamed ? "" : " (--layer-streamed holds those of a layer)");
    return qn_chunks_fit(&j->chunks, memory - moments, &d, 1, j->o->no_ppl ? 0 : 1, err);
}

/* As many chunks at a time as were asked for, or as memory has room for. */
static qn_status choose_batch(qn_calibrate_job *j, qn_error *err)
{
    const qn_calibrate_options *o = j->o;
    uint64_t memory = 0;
    qn_decoder *const models[] = {j->l.decoder};
    if (o->layer_streamed) qn_decoder_give_back(j->l.decoder);
    const uint64_t every = o->layer_streamed ? qn_calibrate_every(j) : 0;
    const size_t most = (size_t)qn_min_u64(every ? every : SIZE_MAX, j->chunks.chunks);
    if (o->layer_streamed) j->chunks.batch = most;
    qn_status status = qn_window_memory(&o->common, o->max_memory, models, 1, &memory, err);
    if (!status && memory) status = fit(j, memory, err);
    if (j->chunks.batch > most) j->chunks.batch = most;
    return status || !(o->layer_streamed || j->moments) ? status : tell_memory(j, err);
}

/* What an interrupted run leaves: what it holds, or what it wrote before, where chunks are
 * in the middle of it or their moments on their way. */
static qn_status leave(qn_calibrate_job *j, qn_error *err)
{
    const bool as_is = j->torn || (j->moments && j->o->layer_streamed);
    const qn_status status = as_is || !j->held ? QN_OK : qn_calibrate_write(j, true, err);
    if (!status && !j->kept && j->torn)
        qn_remark(&j->o->common,
                  "nothing is kept: the first %zu chunks were not through all layers "
                  "(--output-frequency)",
                  j->chunks.batch);
    if (status || !j->kept) return status;
    qn_remark(&j->o->common, "%s holds %" PRIu64 " of %zu chunks: %s", j->o->output, j->kept,
              j->texts.chunks,
              j->legacy ? "a .dat file cannot be resumed, a .gguf file can"
                        : "the same with --resume goes on");
    return QN_OK;
}

/* The status of a run that was cancelled, in the words of those that were so between
 * chunks. */
static qn_status cancelled(qn_calibrate_job *j, qn_error *err)
{
    qn_error saving = {0};
    if (leave(j, &saving)) return qn_fail(err, saving.status, "%s", saving.message);
    if (!j->torn) return QN_ERR_CANCELLED;
    return qn_fail(err, QN_ERR_CANCELLED, "cancelled after %" PRIu64 " of %zu chunks",
                   j->held - j->done, j->chunks.chunks);
}

static qn_status run_chunks(qn_calibrate_job *j, qn_error *err)
{
    const qn_calibrate_options *o = j->o;
    const size_t n_ctx = (size_t)o->n_ctx;
    const uint32_t bos = qn_vocab_bos(j->l.vocab);
    const qn_chunk_options how = {
        .n_ctx = n_ctx, .batch = (size_t)(qn_max_u64(o->batch, o->batch ? n_ctx : 0) / n_ctx)};
    j->held = j->kept = j->done;
    if (j->done >= j->texts.chunks) return QN_OK;
    qn_status status = qn_chunks_cut(&j->chunks, j->texts.ids + j->done * n_ctx,
                                     (j->texts.chunks - (size_t)j->done) * n_ctx, bos,
                                     qn_vocab_adds_bos(j->l.vocab) && bos != UINT32_MAX, &how, err);
    if (!status) status = choose_batch(j, err);
    if (!status) status = qn_calibrate_check_copies(j, err);
    if (!status && j->moments) status = qn_calibrate_moments_begin(j, err);
    if (status) return status;
    j->listing = !o->common.json && !o->common.quiet && !isatty(STDOUT_FILENO);
    qn_progress_start(&j->progress, &o->common, j->texts.texts[0].file, "chunks");
    const double started = j->saved = qn_seconds();
    qn_interrupt_watched(true);
    if (o->layer_streamed) j->sums->stopped = qn_interrupted;
    status = qn_calibrate_run(j->sums, j->l.decoder, &j->chunks, !o->no_ppl, tell, j, &j->ppl, err);
    j->seconds = qn_seconds() - started;
    qn_progress_end(&j->progress);
    if (j->listing && !o->no_ppl) putchar('\n');
    if (j->failed) return qn_fail(err, j->failed, "%s", j->why.message);
    j->torn = status == QN_ERR_CANCELLED && !j->told_no;
    return status == QN_ERR_CANCELLED ? cancelled(j, err) : status;
}

/* ---- the job ------------------------------------------------------------------------------- */

static qn_status work(qn_calibrate_job *j, const char *model, const char *const *files, size_t n,
                      qn_error *err)
{
    const qn_calibrate_options *o = j->o;
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
        qn_calibrate_tell_coverage(j);
    }
    status = qn_calibrate_start(j, err);
    if (!status) status = qn_calibrate_moments_start(j, err);
    if (!status && model) status = run_chunks(j, err);
    if (status) return status;
    qn_calibrate_warn_of_unseen(j);
    return qn_calibrate_write(j, false, err);
}

static void clean_up(qn_calibrate_job *j)
{
    qn_free(j->ppl.chunk_nll);
    qn_calibrate_moments_free(j);
    qn_calibration_free(j->sums);
    for (size_t i = 0; i < j->n_in; i++) qn_imatrix_close(j->in[i]);
    qn_free(j->in);
    qn_free(j->datasets);
    qn_calibrate_texts_free(&j->texts);
    qn_unload(&j->l);
}

static bool is_legacy(const qn_calibrate_options *o)
{
    return o->format ? !strcmp(o->format, "dat") : qn_str_ends(qn_str_z(o->output), ".dat");
}

static qn_exit calibrate(const qn_calibrate_options *o, const char *model, const char *const *files,
                         size_t n)
{
    qn_error err = {0};
    qn_calibrate_job j = {.o = o};
    j.legacy = is_legacy(o);
    const qn_status status = work(&j, model, files, n, &err);
    const qn_exit exit = status ? qn_complain(&o->common, &err) : qn_calibrate_say(&j);
    clean_up(&j);
    return exit;
}

/* An option that says how to run a model, where none is run; NULL: there is none. */
static const char *idle_option(const qn_calibrate_options *o)
{
    return o->from             ? "--from-chunk"
           : o->chunks         ? "--chunks"
           : o->resume         ? "--resume"
           : o->second_moments ? "--second-moments"
                               : NULL;
}

/* False when what is said of second moments cannot be had, and says so. */
static bool moments_agree(const qn_calibrate_options *o, bool legacy)
{
    const qn_common *c = &o->common;
    const bool blocks = o->second_moments && !strcmp(o->second_moments, "block");
    if (o->second_moments && !blocks && strcmp(o->second_moments, "full") != 0)
        qn_usage(c, "--second-moments %s: full or block, please", o->second_moments);
    else if (o->second_moments && legacy)
        qn_usage(c, "--second-moments go into a .gguf file, not into %s", o->output);
    else if (o->second_moments && o->save_frequency)
        qn_usage(c, "--save-frequency keeps no second moments");
    else if (!blocks && o->block_size != DEFAULT_BLOCK)
        qn_usage(c, "--block-size is of --second-moments block");
    else if (!o->block_size || o->block_size > INT32_MAX)
        qn_usage(c, "--block-size %" PRIu64 " is not between 1 and 2^31", o->block_size);
    else
        return true;
    return false;
}

static qn_exit run(const void *given, char **args, size_t n_args)
{
    const qn_calibrate_options *o = given;
    const char *model = o->model;
    if (!model && n_args) model = *args++, n_args--;
    size_t n = n_args + o->files.n;
    if (o->statistics && (model || n || o->in_files.n != 1))
        return qn_usage(&o->common, "--show-statistics is of one file: --in-file imatrix.gguf");
    if (o->statistics) return qn_imatrix_table(&o->common, o->in_files.at[0]);
    if (model ? !n : !o->in_files.n)
        return qn_usage(&o->common,
                        "a model and a text, please: quern calibrate MODEL TEXT -o imatrix.gguf");
    if (!model && n) return qn_usage(&o->common, "a model, please, to run the texts with");
    if (!model && idle_option(o))
        return qn_usage(&o->common, "%s is of a run: a model and a text, please", idle_option(o));
    if (o->n_ctx < 3 || o->n_ctx > INT32_MAX)
        return qn_usage(&o->common, "--ctx-size %" PRIu64 " is not between 3 and 2^31", o->n_ctx);
    if (o->format && strcmp(o->format, "gguf") != 0 && strcmp(o->format, "dat") != 0)
        return qn_usage(&o->common, "--output-format %s: gguf or dat, please", o->format);
    if (!moments_agree(o, is_legacy(o))) return QN_EXIT_USAGE;
    const char **files = qn_file_list(&o->files, args, n_args, &n);
    if (!files) return qn_no_memory(&o->common, "the names of the texts");
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
        "was measured in OUT. Without MODEL the files of --in-file are merged. With "
        "--second-moments "
        "OUT has the sums of products of columns as well, for rounding with error feedback.",
    .examples = "  quern calibrate model.gguf calibration.txt -o imatrix.gguf\n"
                "  quern calibrate checkpoint/ -f prose.txt -f code.txt --chunks 200 --no-ppl\n"
                "  quern calibrate model.gguf text.txt --second-moments block -o stats.gguf\n"
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
