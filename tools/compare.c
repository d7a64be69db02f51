/* quern compare: how far models are from a reference on the same text. */
#include "tools/compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/outfile.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/text_input.h"
#include "tools/window_memory.h"
#include "tools/write_model.h"

static const qn_compare_options defaults = {
    .worst = 5,
    .budget = QN_NO_BUDGET,
    .limits = {NAN, NAN, NAN, NAN, NAN, .confidence = 0.99},
};

static const qn_opt table[] = {
    QN_TEXT_OPTIONS(qn_compare_options, files, "a text"),
    QN_SCORED_CHUNK_OPTION(offsetof(qn_compare_options, n_ctx)),
    {0, "chunks", "N", QN_OPT_COUNT, offsetof(qn_compare_options, chunks),
     "at most N chunks of each text (default all)"},
    {0, "base", "FILE", QN_OPT_TEXT, offsetof(qn_compare_options, base),
     "REF is a base file, of quern perplexity --save-base or --kl-divergence-base or of "
     "llama-perplexity; TESTs alone are named then"},
    {0, "base-model", "MODEL", QN_OPT_TEXT, offsetof(qn_compare_options, base_model),
     "refuse a compact base file that is not of MODEL"},
    {0, "worst", "N", QN_OPT_COUNT, offsetof(qn_compare_options, worst),
     "show the N tokens that changed most, in their context (default 5)"},
    {0, "by", "WHAT", QN_OPT_TEXT, offsetof(qn_compare_options, by),
     "layer: also the relative error behind each layer; tensor: and what putting single tensors "
     "of REF back would gain"},
    {0, "budget", "N", QN_OPT_COUNT, offsetof(qn_compare_options, budget),
     "tokens of forward passes that --by tensor may take for each TEST (default 65536)"},
    {0, "max-kld", "X", QN_OPT_REAL, offsetof(qn_compare_options, limits.max_kld),
     "gate: the mean KL divergence is at most X"},
    {0, "max-p99-kld", "X", QN_OPT_REAL, offsetof(qn_compare_options, limits.max_p99_kld),
     "gate: 99 % of the tokens have a KL divergence of at most X"},
    {0, "max-p999-kld", "X", QN_OPT_REAL, offsetof(qn_compare_options, limits.max_p999_kld),
     "gate: 99.9 % of the tokens have a KL divergence of at most X"},
    {0, "min-same-top", "X", QN_OPT_REAL, offsetof(qn_compare_options, limits.min_same_top),
     "gate: the most probable token stays the same at a share of X or more (0.9)"},
    {0, "max-ppl-ratio", "X", QN_OPT_REAL, offsetof(qn_compare_options, limits.max_ppl_ratio),
     "gate: the perplexity is at most X times REF's (1.01)"},
    {0, "confidence", "X", QN_OPT_REAL, offsetof(qn_compare_options, limits.confidence),
     "of a gate's answer, pass or fail, and that a difference --against is no chance (default "
     "0.99)"},
    {0, "against", "EARLIER.json", QN_OPT_TEXT, offsetof(qn_compare_options, against),
     "fail where mean KLD, same top or PPL ratio became worse than in an earlier result (--json) "
     "of the same texts and REF, by more than the error of the paired windows explains"},
    {0, "junit", "FILE", QN_OPT_TEXT, offsetof(qn_compare_options, junit),
     "write the outcome of gates and --against as JUnit XML; FILE is replaced"},
    {0, "markdown", "FILE", QN_OPT_TEXT, offsetof(qn_compare_options, markdown),
     "write a table in Markdown, for a step's summary; FILE is replaced"},
    QN_MAX_MEMORY_OPTION(offsetof(qn_compare_options, max_memory)),
    {0, "html", "FILE", QN_OPT_TEXT, offsetof(qn_compare_options, html),
     "write all of it as one page, as quern report does; FILE is replaced"},
    {0, "activations", "HOW", QN_OPT_TEXT, offsetof(qn_compare_options, activations),
     "the inputs of the TESTs' matrix products: exact, or q8: rounded as ggml's CPU kernels do "
     "(default exact)"},
    QN_FAMILY_OPTION(QN_OPT_TEXTS, offsetof(qn_compare_options, families),
                     "; once for all models, or once for each in order"),
    QN_PRE_OPTION(offsetof(qn_compare_options, pre)),
    QN_LORA_OPTIONS(qn_compare_options, lora),
};

/* ---- the run ---------------------------------------------------------------------------- */

typedef struct {
    qn_progress progress;
    double sum; /* of the first test's windows, their mean KL divergence */
    qn_compare_gates *gates;
} teller;

static qn_compare_verdict tell(void *ctx, const qn_comparison *c, size_t chunk, size_t chunks)
{
    teller *t = ctx;
    const size_t end = chunk * c->scored;
    t->sum += qn_window_mean_kld(c, 0, end - c->scored);
    snprintf(t->progress.note, sizeof t->progress.note, "KLD %.6f", t->sum / (double)chunk);
    if (!qn_progress_tell(&t->progress, chunk, chunks)) return QN_COMPARE_CANCEL;
    return t->gates->n_tests && qn_gates_see(t->gates, c, end - c->scored) ? QN_COMPARE_ENOUGH
                                                                           : QN_COMPARE_ON;
}

static qn_status fit_memory(qn_compare_job *j, qn_decoder *const *models, size_t n, qn_error *err)
{
    const qn_decoder *const *all = (const qn_decoder *const *)models;
    uint64_t left;
    qn_status status = qn_window_memory(&j->o->common, j->o->max_memory, models, n, &left, err);
    if (!status && left) status = qn_chunks_fit(&j->chunks, left, all, n, QN_COMPARE_LOGITS, err);
    if (!status)
        qn_scratch_remark(&j->o->common, "the comparison", all, n,
                          qn_chunks_scratch(&j->chunks, all, n, QN_COMPARE_LOGITS));
    return status;
}

static qn_status run_models(qn_compare_job *j, qn_error *err)
{
    qn_decoder **decoders = qn_alloc(j->n_models, sizeof(qn_decoder *));
    const char **names = qn_alloc(j->n_models, sizeof *names);
    qn_status status = decoders && names ? QN_OK : qn_fail_memory(err, "models");
    for (size_t m = 0; m < j->n_models && !status; m++) {
        names[m] = j->models[m].path;
        decoders[m] = j->models[m].loaded.decoder;
    }
    if (!status) status = fit_memory(j, decoders + j->has_base, j->n_models - j->has_base, err);
    if (!status) {
        teller t = {.gates = &j->gates};
        const double started = qn_seconds();
        qn_progress_start(&t.progress, &j->o->common, j->models->path, "chunks");
        const bool compact = qn_compare_is_compact(j);
        const qn_compare_reference reference = {.decoder = j->models->loaded.decoder,
                                                .base = j->has_base && !compact ? &j->base : NULL,
                                                .compact = compact ? &j->compact : NULL,
                                                .order = j->mixed.order};
        status = qn_compare_run(&j->seen, &reference, (const qn_decoder *const *)(decoders + 1),
                                j->n_models - 1, names, &j->chunks, tell, &t, err);
        qn_progress_end(&t.progress);
        j->seconds = qn_seconds() - started;
    }
    qn_free(names);
    qn_free(decoders);
    return status;
}

static const char *family_of(const qn_compare_job *j, size_t m)
{
    const qn_texts *given = &j->o->families;
    return given->n > 1 ? given->at[m - j->has_base] : given->n ? given->at[0] : NULL;
}

/* Adapters are REF's: what was made of it with them is a test. */
static qn_status load(qn_compare_job *j, char **paths, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t m = 0; m < j->n_models && !status; m++) {
        qn_compare_model *model = &j->models[m];
        model->path = paths[m];
        if (!m && j->has_base) {
            status = qn_compare_open_base(j, paths[m], err);
            continue;
        }
        qn_load_options how = {.family = family_of(j, m), .pre = j->o->pre, .needs_text = true};
        if (m)
            how.activations = j->o->activations;
        else
            how.lora = j->o->lora;
        status = qn_load_model(&model->loaded, &j->o->common, paths[m], &how, err);
        if (!status) model->bytes = qn_source_bytes(model->loaded.model);
        if (!status) status = qn_digests_of(&model->loaded, &model->digests, err);
    }
    return status;
}

static qn_status write_file(const char *path, const qn_text *text, qn_error *err)
{
    if (text->failed) return qn_fail_memory(err, path);
    return qn_outfile_whole(path, text->s, text->n, true, err);
}

static qn_status write_junit(const qn_compare_job *j, qn_error *err)
{
    qn_text text = {0};
    const char **names = qn_alloc(j->n_models, sizeof *names);
    if (!names) return qn_fail_memory(err, j->o->junit);
    for (size_t m = 1; m < j->n_models; m++) names[m - 1] = j->models[m].path;
    qn_gates_junit(&j->gates, names, j->n_models - 1, (const qn_against(*)[QN_N_AGAINST])j->against,
                   &text);
    const qn_status status = write_file(j->o->junit, &text, err);
    qn_text_free(&text);
    qn_free(names);
    return status;
}

typedef qn_status (*make_text)(const qn_compare_job *j, qn_text *out, qn_error *err);

static qn_status write_text(const qn_compare_job *j, const char *path, make_text make,
                            qn_error *err)
{
    qn_text text = {0};
    qn_status status = make(j, &text, err);
    if (!status) status = write_file(path, &text, err);
    qn_text_free(&text);
    return status;
}

static qn_status write_files(const qn_compare_job *j, qn_error *err)
{
    const qn_compare_options *o = j->o;
    qn_status status = o->junit ? write_junit(j, err) : QN_OK;
    if (!status && o->markdown) status = write_text(j, o->markdown, qn_compare_markdown, err);
    if (!status && o->html) status = write_text(j, o->html, qn_compare_html, err);
    return status;
}

/* What could not be compared is told before the long run. */
static qn_status check_models(const qn_compare_job *j, qn_error *err)
{
    qn_status status = qn_compare_is_compact(j) ? qn_compare_check_base(j, err) : QN_OK;
    for (size_t m = 1; m < j->n_models && j->wanted.layers && !status; m++)
        status =
            qn_output_errors_agree(j->models->loaded.decoder, j->models[m].loaded.decoder, err);
    return status;
}

static qn_status find_damage(qn_compare_job *j, qn_error *err)
{
    qn_status status = QN_OK;
    if (!j->wanted.layers) return QN_OK;
    j->damage = qn_alloc(j->n_models - 1, sizeof *j->damage);
    if (!j->damage) return qn_fail_memory(err, "layers");
    for (size_t t = 0; t + 1 < j->n_models && !status; t++)
        status = qn_damage_measure(&j->damage[t], &j->o->common, &j->wanted, &j->models->loaded,
                                   &j->models[t + 1].loaded, &j->chunks, err);
    return status;
}

static qn_exit compare(qn_compare_job *j, char **paths)
{
    qn_error err = {0};
    qn_status status =
        j->o->against ? qn_earlier_open(&j->earlier, j->o->against, "compare", &err) : QN_OK;
    if (!status) status = load(j, paths, &err);
    if (!status) status = check_models(j, &err);
    if (!status) status = qn_compare_read_texts(j, &err);
    if (!status && j->o->against) status = qn_compare_against_check(j, &err);
    if (!status && j->gates.n_tests) status = qn_windows_shuffle(&j->mixed, &j->chunks, &err);
    if (!status) status = run_models(j, &err);
    if (!status && j->gates.n_tests)
        status = qn_windows_restore(&j->mixed, &j->seen, &j->chunks, j->ids, &err);
    if (!status && j->o->against) status = qn_compare_against_measure(j, &err);
    if (!status) status = find_damage(j, &err);
    if (!status && !j->o->common.json) status = qn_compare_print(j, &err);
    if (status) return qn_complain(&j->o->common, &err);
    const qn_exit exit = j->o->common.json ? qn_compare_report(j) : QN_EXIT_FINE;
    if (write_files(j, &err)) return qn_complain(&j->o->common, &err);
    if (exit) return exit;
    return qn_compare_against_exit(j) ? QN_EXIT_NO : qn_gates_exit(&j->gates);
}

/* A file of probabilities stands for the reference. */
static bool is_base(const char *path)
{
    return qn_kld_base_is(path) || qn_compact_base_is(path);
}

/* The files that are replaced are none of those that are read. */
static qn_exit check_outputs(const qn_compare_options *o, char **paths, size_t n)
{
    const char *const outputs[] = {o->junit, o->markdown, o->html};
    for (size_t i = 0; i < QN_COUNT_OF(outputs); i++) {
        bool is_input = false;
        if (!outputs[i]) continue;
        for (size_t k = 0; k < n; k++) is_input = is_input || qn_path_same(outputs[i], paths[k]);
        for (size_t k = 0; k < o->files.n; k++)
            is_input = is_input || qn_path_same(outputs[i], o->files.at[k]);
        if (is_input || (o->against && qn_path_same(outputs[i], o->against)))
            return qn_usage(&o->common, "%s is read, and would be replaced", outputs[i]);
    }
    return QN_EXIT_FINE;
}

static qn_exit check_options(const qn_compare_options *o, const char *reference, bool has_base,
                             size_t n)
{
    if (n < 2)
        return qn_usage(&o->common, "a reference and a test, please: quern compare REF TEST...");
    if (has_base && qn_kld_base_is(reference) && (o->files.n || o->base_model))
        return qn_usage(&o->common, "%s has its text in it, and no model's name; no %s, please",
                        reference, o->files.n ? "-f" : "--base-model");
    if (has_base && o->files.n > 1)
        return qn_usage(&o->common, "%s is of one text, not of %zu", reference, o->files.n);
    if (!has_base && o->base_model)
        return qn_usage(&o->common, "--base-model is of a base file; %s is none", reference);
    if (!has_base && !o->files.n)
        return qn_usage(&o->common, "a text, please: quern compare REF TEST... -f TEXT");
    if (o->n_ctx && (o->n_ctx < 3 || o->n_ctx > INT32_MAX))
        return qn_usage(&o->common, "--ctx-size %" PRIu64 " is not between 3 and 2^31", o->n_ctx);
    if ((o->junit || o->limits.confidence != defaults.limits.confidence) &&
        !qn_gates_given(&o->limits) && !o->against)
        return qn_usage(&o->common, "--junit and --confidence are of gates and --against; give "
                                    "one, as --max-kld 0.02");
    if (!(o->limits.confidence >= 0.5 && o->limits.confidence < 1))
        return qn_usage(&o->common, "--confidence %g is not between 0.5 and 1",
                        o->limits.confidence);
    const size_t n_opened = n - has_base;
    if (o->families.n > 1 && o->families.n != n_opened)
        return qn_usage(&o->common, "--family is there %zu times for %zu models", o->families.n,
                        n_opened);
    if (has_base && o->by)
        return qn_usage(&o->common, "--by %s wants a model as REF; %s has only its logits", o->by,
                        reference);
    return QN_EXIT_FINE;
}

static qn_exit run_on(const qn_compare_options *o, char **paths, size_t n, bool has_base)
{
    const size_t n_texts = o->files.n ? o->files.n : 1;
    qn_damage_wanted wanted;
    if (!qn_damage_by(&o->common, o->by, o->budget, o->n_ctx ? o->n_ctx : 512, &wanted))
        return QN_EXIT_USAGE;
    wanted.max_memory = o->max_memory;
    qn_compare_job j = {
        .o = o, .wanted = wanted, .n_models = n, .n_texts = n_texts, .has_base = has_base};
    j.models = qn_alloc(n, sizeof *j.models);
    j.texts = qn_alloc(n_texts, sizeof *j.texts);
    qn_exit exit = QN_EXIT_FINE;
    if (qn_gates_given(&o->limits)) exit = qn_gates_start(&j.gates, &o->common, &o->limits, n - 1);
    if (!exit && j.models && j.texts) {
        for (size_t i = 0; i < o->files.n; i++) j.texts[i].file = o->files.at[i];
        exit = compare(&j, paths);
    } else if (!exit) {
        exit = qn_no_memory(&o->common, "models");
    }
    for (size_t t = 0; j.damage && t + 1 < n; t++) qn_damage_free(&j.damage[t]);
    qn_free(j.damage);
    for (size_t m = 0; j.models && m < n; m++) qn_unload(&j.models[m].loaded);
    qn_kld_base_close(&j.base);
    qn_compact_base_close(&j.compact);
    qn_comparison_free(&j.seen);
    qn_gates_free(&j.gates);
    qn_free(j.against);
    qn_earlier_close(&j.earlier);
    qn_shuffled_free(&j.mixed);
    qn_free(j.ids);
    qn_free(j.texts);
    qn_free(j.models);
    return exit;
}

static qn_exit run(const void *given, char **args, size_t n)
{
    const qn_compare_options *o = given;
    const bool has_base = o->base || is_base(args[0]);
    char **paths = qn_alloc(n + 1, sizeof(char *));
    if (!paths) return qn_no_memory(&o->common, "the names of the models");
    size_t n_paths = 0;
    if (o->base) paths[n_paths++] = (char *)o->base;
    for (size_t i = 0; i < n; i++) paths[n_paths++] = args[i];
    qn_exit exit = check_options(o, paths[0], has_base, n_paths);
    if (!exit) exit = check_outputs(o, paths, n_paths);
    if (!exit) exit = run_on(o, paths, n_paths, has_base);
    qn_free(paths);
    return exit;
}

const qn_command qn_command_compare = {
    .name = "compare",
    .summary = "measure how far models are from a reference",
    .synopsis = "[options] REF TEST... -f TEXT...",
    .about =
        "All models are run over the same chunks of text, window by window, and their "
        "distributions compared at every scored position: KL divergence from REF in nats (mean, "
        "percentiles, largest), how often the most probable token stays the same, how the "
        "probability of the token that came changes, and the ratio of the perplexities with its "
        "paired error. Definitions are llama-perplexity's --kl-divergence; no base file is needed "
        "in between, but REF may be one (of llama-perplexity or quern perplexity "
        "--kl-divergence-base, or a compact one of --save-base), which has its text in it. A "
        "compact one knows its model, tokenizer and text and is refused with others; from it KL "
        "divergences are estimates whose error is told. Errors (+/-) are by windows, since "
        "tokens of one window are not independent. "
        "Several TESTs share one pass of REF. With --activations q8 the TESTs' products see their "
        "inputs rounded as llama.cpp's CPU kernels round them, REF's never.\n\n"
        "With a gate (--max-kld, --min-same-top ...) windows are taken in random order, and the "
        "run "
        "ends as soon as the answer is certain: status 0 when all gates pass, 1 when one fails, 5 "
        "when the text ran out first. The answer may be looked for after every window and is still "
        "wrong with at most 1 - --confidence (bets of Waudby-Smith and Ramdas, 2024); a window "
        "counts for at most 4 times the limit.\n\n"
        "--against EARLIER.json takes a result of --json, of another build or recipe, and pairs "
        "the "
        "windows of both: a measure is worse when its mean difference exceeds Student's quantile "
        "at "
        "--confidence times its error, and then the status is 1. Texts, tokenizer, context, REF "
        "and "
        "--activations must be those of then. A test is found by its file's name, an only one "
        "beside "
        "an only one whatever it is called.\n\n"
        "--by layer shows how the error grows: |x' - x| / |x| of the residual stream behind each "
        "layer. --by tensor finds where it comes from: the relative error of each matrix's output "
        "on REF's inputs, and for those with the largest, as many as --budget allows, the KL "
        "divergence that is gained when REF's tensor replaces TEST's; with it goes what to give "
        "quantize as --tensor-type.",
    .examples = "  quern compare checkpoint/ model-Q8_0.gguf model-Q4_K_M.gguf -f wiki.test.raw\n"
                "  quern compare f16.gguf q4.gguf -f prose.txt -f code.txt -c 256 --json\n"
                "  quern compare f16.gguf q4.gguf -f wiki.test.raw --chunks 40 --worst 20\n"
                "  quern compare f16.gguf q4.gguf -f wiki.test.raw --max-kld 0.02 --junit q4.xml\n"
                "  quern compare f16.gguf q4.gguf -f wiki.test.raw --against main.json\n"
                "  quern compare checkpoint/ q4.gguf -f wiki.test.raw --chunks 20 --by tensor\n",
    .options = table,
    .n_options = QN_COUNT_OF(table),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .least = 1,
    .most = SIZE_MAX,
    .models = SIZE_MAX,
    .run = run,
};
