/* quern perplexity: how well a model expects a text, by llama-perplexity's method. */
#include "validate/perplexity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/digest.h"
#include "formats/base/sizes.h"
#include "tools/against.h"
#include "tools/commands.h"
#include "tools/loaded.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/report_data.h"
#include "tools/tasks.h"
#include "tools/text_input.h"
#include "tools/window_memory.h"
#include "validate/compact_base.h"
#include "validate/kld_base_write.h"
#include "validate/weights.h"

typedef struct {
    qn_common common;
    qn_load_options load;
    const char *model;
    qn_texts files;
    const char *base, *save_base, *against;
    double confidence;
    uint64_t n_ctx; /* 0: not given */
    uint64_t chunks, stride, max_memory;
    bool force;
    qn_task_options tasks;
} options;

#define DEFAULT_CTX 512
static const options defaults = {
    .load = {.needs_text = true}, .confidence = 0.99, .tasks = {.hellaswag_tasks = 400}};

static const qn_opt table[] = {
    QN_MODEL_OPTION(offsetof(options, model)),
    QN_TEXT_OPTIONS(options, files, "a text to score"),
    QN_SCORED_CHUNK_OPTION(offsetof(options, n_ctx)),
    {0, "chunks", "N", QN_OPT_COUNT, offsetof(options, chunks),
     "stop after N chunks (default all)"},
    {0, "stride", "N", QN_OPT_COUNT, offsetof(options, stride),
     "a chunk every N tokens, of which the last N are scored: each token once, with CTX - N or "
     "more before it (default: chunks side by side)"},
    {0, "kl-divergence-base", "FILE", QN_OPT_TEXT, offsetof(options, base),
     "write all logits to FILE, in llama-perplexity's format: a reference for quern compare"},
    {0, "save-all-logits", "FILE", QN_OPT_TEXT, offsetof(options, base),
     "the same as --kl-divergence-base"},
    {0, "save-base", "FILE", QN_OPT_TEXT, offsetof(options, save_base),
     "write the most probable tokens of all positions to FILE, some kilobytes each: a reference "
     "for quern compare, a hundredth of --kl-divergence-base with a large vocabulary"},
    {0, "against", "EARLIER.json", QN_OPT_TEXT, offsetof(options, against),
     "fail where a text's mean -log p became worse than in an earlier result (--json), by more "
     "than the error of the paired chunks explains"},
    {0, "confidence", "X", QN_OPT_REAL, offsetof(options, confidence),
     "that a difference --against is no chance (default 0.99)"},
    {0, "force", NULL, QN_OPT_FLAG, offsetof(options, force), "replace FILE if it exists"},
    {0, "hellaswag", NULL, QN_OPT_FLAG, offsetof(options, tasks.hellaswag),
     "score the HellaSwag tasks in FILE (six lines each)"},
    {0, "hellaswag-tasks", "N", QN_OPT_COUNT, offsetof(options, tasks.hellaswag_tasks),
     "at most N of them (default 400; 0: all)"},
    {0, "winogrande", NULL, QN_OPT_FLAG, offsetof(options, tasks.winogrande),
     "score the Winogrande tasks in FILE (comma-separated)"},
    {0, "winogrande-tasks", "N", QN_OPT_COUNT, offsetof(options, tasks.winogrande_tasks),
     "at most N of them (default all)"},
    {0, "multiple-choice", NULL, QN_OPT_FLAG, offsetof(options, tasks.multiple_choice),
     "score the tasks in FILE, in llama-perplexity's binary format (MMLU, ARC, TruthfulQA)"},
    {0, "multiple-choice-tasks", "N", QN_OPT_COUNT, offsetof(options, tasks.multiple_choice_tasks),
     "at most N of them (default all)"},
    {0, "binary-file", "FILE", QN_OPT_TEXTS, offsetof(options, files), "the same as --file"},
    QN_MAX_MEMORY_OPTION(offsetof(options, max_memory)),
    QN_ACTIVATIONS_OPTION(offsetof(options, load.activations)),
    QN_LOAD_OPTIONS(options, load),
};

/* One text's outcome. */
typedef struct {
    const char *file;
    char sha256[65];
    qn_perplexity_result p;
    double seconds;
    bool done;
    qn_against against; /* windows 0: no --against */
} scored;

/* ---- the running list ------------------------------------------------------------------- */

/* llama-perplexity's "[1]5.1234,[2]..." where standard output is no terminal;
 * on a terminal the progress line has the figure. */
typedef struct {
    qn_progress progress;
    bool listing;
} teller;

static bool tell(void *ctx, uint64_t chunk, uint64_t chunks, double so_far)
{
    teller *t = ctx;
    if (t->listing) {
        printf("[%" PRIu64 "]%.4f,", chunk, so_far);
        fflush(stdout);
    }
    snprintf(t->progress.note, sizeof t->progress.note, "PPL %.4f", so_far);
    return qn_progress_tell(&t->progress, chunk, chunks);
}

/* Who else gets the logits: at most one of two files. */
typedef struct {
    qn_kld_base_writer whole;
    qn_compact_writer compact;
} saving;

static qn_logits_sink sink_of(const options *o, saving *to)
{
    if (o->save_base)
        return (qn_logits_sink){&to->compact, qn_compact_writer_begin, qn_compact_writer_rows};
    return (qn_logits_sink){&to->whole, qn_kld_base_begin, qn_kld_base_rows};
}

static qn_compact_source source_of(const qn_digests *d, const scored *s)
{
    qn_compact_source of;
    memcpy(of.model, d->model, sizeof of.model);
    memcpy(of.tokenizer, d->tokenizer, sizeof of.tokenizer);
    memcpy(of.text, s->sha256, sizeof of.text);
    return of;
}

static qn_status score(const options *o, const qn_loaded *l, const qn_digests *digests, qn_str text,
                       scored *s, qn_error *err)
{
    const qn_encode_options how = {.add_special = true};
    saving save = {.whole = {.path = o->base, .force = o->force},
                   .compact = {.path = o->save_base, .force = o->force}};
    const qn_logits_sink sink = sink_of(o, &save);
    save.compact.of = source_of(digests, s);
    qn_perplexity_options settings = {.n_ctx = (size_t)o->n_ctx,
                                      .chunks = o->chunks,
                                      .stride = (size_t)o->stride,
                                      .sink = o->base || o->save_base ? &sink : NULL};
    const qn_common *c = &o->common;
    uint32_t *ids = NULL;
    size_t n = 0;
    qn_status status = qn_encode_text(l, text, how, &ids, &n, err);
    if (status) return status;
    qn_remark(c, "%s: %zu tokens", s->file, n);
    status = qn_window_memory(c, o->max_memory, &l->decoder, 1, &settings.memory, err);
    if (status) {
        qn_free(ids);
        return status;
    }
    teller t = {.listing = !c->json && !c->quiet && !isatty(STDOUT_FILENO)};
    qn_progress_start(&t.progress, c, s->file, "chunks");
    const double started = qn_seconds();
    const uint32_t bos = qn_vocab_bos(l->vocab);
    status =
        qn_perplexity_run(l->decoder, ids, n, bos, qn_vocab_adds_bos(l->vocab) && bos != UINT32_MAX,
                          &settings, tell, &t, &s->p, err);
    if (o->base) status = qn_kld_base_end(&save.whole, status, err);
    if (o->save_base) status = qn_compact_writer_end(&save.compact, status, err);
    s->seconds = qn_seconds() - started;
    qn_progress_end(&t.progress);
    if (t.listing && !status) putchar('\n');
    if (!status) qn_scratch_remark(c, s->file, (const qn_decoder *[]){l->decoder}, 1, s->p.scratch);
    s->done = !status;
    qn_free(ids);
    return status;
}

/* What the earlier result says of this text; NULL, and why not. */
static const json_t *text_then(const options *o, const qn_earlier *e, const scored *s,
                               qn_error *err)
{
    const json_t *files = json_object_get(e->json, "files");
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *f = json_array_get(files, i);
        if (strcmp(qn_report_string(f, "text_sha256"), s->sha256) != 0) continue;
        if (qn_earlier_same_number(e, "context", f, "n_ctx", (double)o->n_ctx, err)) return NULL;
        if (json_integer_value(json_object_get(f, "stride")) == (json_int_t)o->stride) return f;
        qn_fail(err, QN_ERR_DATA, "%s: its stride is another", e->path);
        return NULL;
    }
    qn_fail(err, QN_ERR_DATA, "%s: has no text of this SHA-256, %.16s...", e->path, s->sha256);
    return NULL;
}

/* The chunks that both have: of a text they begin alike. */
static qn_status compare_then(const options *o, const qn_earlier *e, const json_t *file, scored *s,
                              qn_error *err)
{
    const json_t *list = json_object_get(file, "chunk_nll");
    const size_t n = (size_t)qn_min_u64(json_array_size(list), s->p.chunks);
    if (n < 2)
        return qn_fail(err, QN_ERR_DATA, "%s: has %zu chunks in common with now, an error needs 2",
                       e->path, n);
    double *then = qn_alloc(n, sizeof *then);
    if (!then) return qn_fail_memory(err, "chunks");
    for (size_t i = 0; i < n; i++) then[i] = json_number_value(json_array_get(list, i));
    qn_against_of(&s->against, "mean -log p", then, s->p.chunk_nll, n, 1, o->confidence);
    qn_free(then);
    return QN_OK;
}

static qn_status score_file(const options *o, const qn_loaded *l, const qn_digests *digests,
                            const qn_earlier *e, scored *s, qn_error *err)
{
    qn_text text = {0};
    qn_status status = qn_text_from_file(s->file, &text, err);
    if (!status) {
        qn_sha256_hex(text.s, text.n, s->sha256);
        qn_error why = {0};
        const json_t *then = e->path ? text_then(o, e, s, &why) : NULL;
        status = e->path && !then ? why.status : QN_OK;
        if (!status)
            status = score(o, l, digests, qn_str_of(text.s ? text.s : "", text.n), s, &why);
        if (!status && then) status = compare_then(o, e, then, s, &why);
        if (status) status = qn_fail(err, status, "%s: %s", s->file, why.message);
    }
    qn_text_free(&text);
    return status;
}

/* ---- words ------------------------------------------------------------------------------- */

static double macro_average(const scored *s, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += s[i].p.ppl;
    return sum / (double)n;
}

static void print_result(const scored *s, bool alone)
{
    if (!alone) printf("%s: ", s->file);
    printf("Final estimate: PPL = %.4f +/- %.5f\n", s->p.ppl, s->p.ppl_stderr);
    if (!s->against.windows) return;
    qn_text text = {0};
    qn_against_words(&s->against, &text);
    printf("against: %s\n", text.s ? text.s : "");
    qn_text_free(&text);
}

static json_t *result_json(const options *o, const scored *s)
{
    json_t *chunk_nll = json_array();
    for (uint64_t i = 0; i < s->p.chunks; i++)
        json_array_append_new(chunk_nll, qn_json_number(s->p.chunk_nll[i]));
    const double tokens = (double)(s->p.chunks * o->n_ctx);
    json_t *stride = o->stride ? qn_json_count(o->stride) : json_null();
    json_t *against = s->against.windows ? qn_against_json(&s->against) : NULL;
    return json_pack(
        "{s: o, s: o, s: o, s: o, s: o, s: o, s: o, s: o, s: o, s: o, s: s, s: o, s: o*}", "file",
        qn_json_text(s->file, strlen(s->file)), "ppl", qn_json_number(s->p.ppl), "ppl_stderr",
        qn_json_number(s->p.ppl_stderr), "nll_mean", qn_json_number(s->p.nll_mean), "n_ctx",
        qn_json_count(o->n_ctx), "stride", stride, "chunks", qn_json_count(s->p.chunks),
        "tokens_scored", qn_json_count(s->p.tokens_scored), "tokens_per_s",
        qn_json_number(s->seconds > 0 ? tokens / s->seconds : 0), "elapsed_s",
        qn_json_number(s->seconds), "text_sha256", s->sha256, "chunk_nll", chunk_nll, "against",
        against);
}

static qn_exit report(const options *o, const char *model, const qn_digests *digests,
                      const scored *s, size_t n)
{
    json_t *document = qn_report_new(&o->common), *files = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(files, result_json(o, &s[i]));
    json_object_set_new(document, "model", qn_json_text(model, strlen(model)));
    qn_report_digests(document, digests->model, digests->tokenizer);
    json_object_set_new(document, "activations",
                        json_string(o->load.activations ? o->load.activations : "exact"));
    json_object_set_new(document, "files", files);
    json_object_set_new(document, "macro_ppl", qn_json_number(macro_average(s, n)));
    return qn_report_print(&o->common, document);
}

/* ---- the job ------------------------------------------------------------------------------ */

static qn_status check_earlier(const options *o, const qn_earlier *e, const qn_digests *digests,
                               qn_error *err)
{
    const char *how = o->load.activations ? o->load.activations : "exact";
    const qn_status status =
        qn_earlier_same(e, "tokenizer", e->json, "tokenizer_digest", digests->tokenizer, err);
    return status ? status
                  : qn_earlier_same(e, "kind of activations", e->json, "activations", how, err);
}

static qn_exit measure(const options *o, const char *model, scored *s, size_t n)
{
    qn_error err = {0};
    qn_loaded l = {0};
    qn_digests digests = {0};
    qn_earlier earlier = {0};
    qn_status status =
        o->against ? qn_earlier_open(&earlier, o->against, "perplexity", &err) : QN_OK;
    if (!status) status = qn_load_model(&l, &o->common, model, &o->load, &err);
    if (!status && (o->common.json || o->save_base || o->against))
        status = qn_digests_of(&l, &digests, &err);
    if (!status && o->against) status = check_earlier(o, &earlier, &digests, &err);
    for (size_t i = 0; i < n && !status; i++) {
        status = score_file(o, &l, &digests, &earlier, &s[i], &err);
        if (!status && !o->common.json) print_result(&s[i], n == 1);
    }
    qn_unload(&l);
    qn_earlier_close(&earlier);
    if (status) return qn_complain(&o->common, &err);
    qn_exit exit = o->common.json ? report(o, model, &digests, s, n) : QN_EXIT_FINE;
    if (!o->common.json && n > 1)
        printf("Macro average of %zu texts: PPL = %.4f\n", n, macro_average(s, n));
    for (size_t i = 0; i < n && !exit; i++)
        if (s[i].against.verdict == QN_AGAINST_WORSE) exit = QN_EXIT_NO;
    return exit;
}

/* What the options say of texts. */
static qn_exit run_texts(const options *given, const char *model, const char *const *files,
                         size_t n)
{
    options o = *given;
    const qn_common *c = &o.common;
    if (!o.n_ctx) o.n_ctx = DEFAULT_CTX;
    if (o.n_ctx < 2 || o.n_ctx > INT32_MAX)
        return qn_usage(c, "--ctx-size %" PRIu64 " is not between 2 and 2^31", o.n_ctx);
    if (o.stride >= o.n_ctx)
        return qn_usage(c, "--stride %" PRIu64 " is not below the --ctx-size of %" PRIu64, o.stride,
                        o.n_ctx);
    if (!(o.confidence >= 0.5 && o.confidence < 1))
        return qn_usage(c, "--confidence %g is not between 0.5 and 1", o.confidence);
    if (o.confidence != defaults.confidence && !o.against)
        return qn_usage(c, "--confidence is of --against");
    const char *saves = o.save_base ? "--save-base" : "--kl-divergence-base";
    const bool saved = o.base || o.save_base;
    if (o.base && o.save_base)
        return qn_usage(c, "--kl-divergence-base and --save-base: one of them a run");
    if (saved && n > 1) return qn_usage(c, "%s is of one text, not of %zu", saves, n);
    if (saved && o.stride) return qn_usage(c, "%s is of chunks side by side: no --stride", saves);
    scored *s = qn_alloc(n, sizeof *s);
    if (!s) return qn_no_memory(c, "the texts");
    for (size_t i = 0; i < n; i++) s[i].file = files[i];
    const qn_exit exit = measure(&o, model, s, n);
    for (size_t i = 0; i < n; i++)
        if (s[i].done) qn_free(s[i].p.chunk_nll);
    qn_free(s);
    return exit;
}

/* And of tasks. */
static qn_exit run_tasks(const options *o, const char *model, const char *const *files, size_t n)
{
    const qn_common *c = &o->common;
    if (n > 1) return qn_usage(c, "tasks of one file, not of %zu", n);
    if (o->base || o->save_base)
        return qn_usage(c, "%s is of a text, not of tasks",
                        o->base ? "--kl-divergence-base" : "--save-base");
    if (o->against) return qn_usage(c, "--against is of texts, not of tasks");
    if (o->n_ctx || o->chunks || o->stride)
        return qn_usage(c, "--%s is for texts: tasks run whole, whatever their length",
                        o->n_ctx    ? "ctx-size"
                        : o->chunks ? "chunks"
                                    : "stride");
    return qn_tasks_run(c, &o->tasks, model, &o->load, o->max_memory, files[0]);
}

static qn_exit run(const void *given, char **args, size_t n_args)
{
    const options *o = given;
    const char *model = o->model;
    size_t n = 0;
    if (!model && n_args) model = *args++, n_args--;
    if (!model || !(n_args + o->files.n))
        return qn_usage(&o->common, "a model and a text, please: quern perplexity MODEL -f TEXT");
    if (!qn_task_options_agree(&o->common, &o->tasks)) return QN_EXIT_USAGE;
    const char **files = qn_file_list(&o->files, args, n_args, &n);
    if (!files) return qn_no_memory(&o->common, "the names of the texts");
    const qn_exit exit =
        qn_tasks_wanted(&o->tasks) ? run_tasks(o, model, files, n) : run_texts(o, model, files, n);
    qn_free(files);
    return exit;
}

const qn_command qn_command_perplexity = {
    .name = "perplexity",
    .summary = "measure how well a model expects a text",
    .synopsis = "[options] MODEL -f TEXT...",
    .about =
        "MODEL is a checkpoint directory or a .gguf file. The text is cut into chunks of "
        "--ctx-size "
        "tokens; in the second half of each, every token is predicted from those before it in the "
        "chunk, as llama-perplexity does, or with --stride N in the last N of chunks that begin "
        "every N "
        "tokens. PPL is the exponential of the mean negative log "
        "probability, with its standard error. Arithmetic is exact to float32, so that what is "
        "measured is the loss in the weights alone; with --activations q8 the inputs of products "
        "are rounded as llama.cpp's CPU kernels round them, and so is what a phone shows.\n\n"
        "With --hellaswag, --winogrande or --multiple-choice FILE has tasks instead of a text, "
        "drawn "
        "and scored as llama-perplexity does: a choice's score is the mean log-probability of the "
        "tokens that are its own, the largest wins.",
    .examples = "  quern perplexity model-Q4_K_M.gguf -f wiki.test.raw\n"
                "  quern perplexity checkpoint/ -f a.txt -f b.txt -c 256 --json\n"
                "  quern perplexity model.gguf -f wiki.test.raw --chunks 20 --quiet\n"
                "  quern perplexity model.gguf --hellaswag -f hellaswag_val_full.txt\n",
    .options = table,
    .n_options = QN_COUNT_OF(table),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .most = SIZE_MAX,
    .models = 1,
    .run = run,
};
