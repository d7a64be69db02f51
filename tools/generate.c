/* quern generate: text from the reference forward pass: a smoke test, not a
 * chat program. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/prompt.h"
#include "tools/report.h"
#include "validate/sample.h"

typedef struct {
    qn_common common;
    qn_prompt prompt;
    qn_load_options load;
    const char *model;
    uint64_t n_predict, top_k, seed;
    double temperature, top_p;
    bool ignore_eos, no_display_prompt;
} options;

static const options defaults = {.n_predict = 128, .top_k = 40, .top_p = 0.95};

static const qn_opt table[] = {
    QN_MODEL_OPTION(offsetof(options, model)),
    {'p', "prompt", "TEXT", QN_OPT_TEXT, offsetof(options, prompt.prompt),
     "the text to go on from"},
    {'f', "file", "FILE", QN_OPT_TEXT, offsetof(options, prompt.file),
     "a file with it (default: standard input)"},
    {0, "ids", "LIST", QN_OPT_TEXT, offsetof(options, prompt.ids), "token ids instead: 1,2,3"},
    {'n', "predict", "N", QN_OPT_COUNT, offsetof(options, n_predict),
     "at most so many tokens (default 128)"},
    {0, "temp", "X", QN_OPT_REAL, offsetof(options, temperature),
     "temperature; 0 always takes the likeliest token (default 0)"},
    {0, "top-k", "N", QN_OPT_COUNT, offsetof(options, top_k),
     "with a temperature: draw from the N likeliest; 0 from all (default 40)"},
    {0, "top-p", "X", QN_OPT_REAL, offsetof(options, top_p),
     "with a temperature: draw from the likeliest that together reach X (default 0.95)"},
    {'s', "seed", "N", QN_OPT_COUNT, offsetof(options, seed),
     "the same seed gives the same text on every machine (default 0)"},
    {0, "ignore-eos", NULL, QN_OPT_FLAG, offsetof(options, ignore_eos),
     "go on behind an end token"},
    {0, "no-display-prompt", NULL, QN_OPT_FLAG, offsetof(options, no_display_prompt),
     "print only what was generated"},
    {0, "no-bos", NULL, QN_OPT_FLAG, offsetof(options, prompt.no_bos),
     "without the tokens that the vocabulary puts around a text"},
    {0, "parse-special", NULL, QN_OPT_FLAG, offsetof(options, prompt.parse_special),
     "text that spells a control token becomes that token"},
    QN_ACTIVATIONS_OPTION(offsetof(options, load.activations)),
    QN_LOAD_OPTIONS(options, load),
};

typedef struct {
    const options *o;
    const qn_loaded *l;
    uint32_t *ids; /* prompt and what follows */
    size_t n_prompt, n;
    qn_text text;        /* of all ids, control tokens left out */
    size_t printed;      /* bytes of it */
    const char *stopped; /* "end", "length" */
} generation;

/* ---- words ---------------------------------------------------------------------------------- */

/* How many bytes at the end of text begin a character whose rest is missing:
 * the next token may bring it. */
static size_t unfinished(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char byte = (unsigned char)s[n - back];
        if (byte < 0x80) return 0;
        if (byte < 0xc0) continue;
        const size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
        return back < length ? back : 0;
    }
    return 0;
}

/* Decoding starts at the front, because what the first token loses (a space)
 * depends on it. */
static qn_status show(generation *g, bool last, qn_error *err)
{
    g->text.n = 0;
    if (!g->l->tokenizer) return QN_OK;
    const qn_status status =
        qn_tokenizer_decode(g->l->tokenizer, g->ids, g->n, true, &g->text, err);
    if (status || g->o->common.json) return status;
    const size_t whole = last ? g->text.n : g->text.n - unfinished(g->text.s, g->text.n);
    if (whole > g->printed) {
        fwrite(g->text.s + g->printed, 1, whole - g->printed, stdout);
        fflush(stdout);
        g->printed = whole;
    }
    return QN_OK;
}

/* Without a tokenizer the ids are the answer. */
static void finish_text(const generation *g)
{
    for (size_t i = g->n_prompt; i < g->n && !g->l->tokenizer; i++)
        printf("%s%" PRIu32, i > g->n_prompt ? ", " : "", g->ids[i]);
    putchar('\n');
}

static json_t *id_list(const uint32_t *ids, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, qn_json_count(ids[i]));
    return list;
}

static qn_exit report(const generation *g, double seconds)
{
    json_t *document = qn_report_new(&g->o->common);
    const char *text = g->text.s ? g->text.s : "";
    json_object_set_new(document, "prompt_ids", id_list(g->ids, g->n_prompt));
    json_object_set_new(document, "ids", id_list(g->ids + g->n_prompt, g->n - g->n_prompt));
    json_object_set_new(document, "text", qn_json_text(text + g->printed, g->text.n - g->printed));
    json_object_set_new(document, "stopped", json_string(g->stopped));
    json_object_set_new(document, "elapsed_s", qn_json_number(seconds));
    return qn_report_print(&g->o->common, document);
}

/* ---- the job ---------------------------------------------------------------------------------- */

static qn_status next_tokens(generation *g, qn_session *session, qn_sampler *sampler, float *logits,
                             qn_error *err)
{
    size_t done = 0; /* ids that the session has seen */
    g->stopped = "length";
    while (g->n - g->n_prompt < g->o->n_predict) {
        const size_t fresh = g->n - done;
        uint32_t id;
        qn_session_ask_from(session, fresh - 1);
        qn_status status = qn_session_run(session, g->ids + done, fresh, NULL, NULL, err);
        if (!status) status = qn_session_logits(session, 0, fresh - 1, 1, logits, err);
        if (!status) status = qn_sampler_next(sampler, logits, &id, err);
        if (status) return status;
        done = g->n;
        if (!g->o->ignore_eos && g->l->vocab && qn_vocab_ends(g->l->vocab, id)) {
            g->stopped = "end";
            break;
        }
        g->ids[g->n++] = id;
        if ((status = show(g, false, err))) return status;
    }
    return show(g, true, err);
}

static qn_status generate(generation *g, qn_error *err)
{
    const options *o = g->o;
    const size_t n_vocab = (size_t)g->l->model->hparams.n_vocab;
    const qn_sample_options how = {
        .temperature = o->temperature,
        .top_k = (size_t)o->top_k,
        .top_p = o->top_p,
        .seed = o->seed,
    };
    qn_session *session = NULL;
    qn_sampler *sampler = NULL;
    float *logits = qn_alloc(n_vocab, sizeof *logits);
    uint32_t *longer = qn_resize(g->ids, g->n + (size_t)o->n_predict, sizeof *longer);
    qn_status status = QN_ERR_MEMORY;
    if (longer) g->ids = longer;
    if (!logits || !longer) {
        qn_fail_memory(err, "the generated text");
        goto out;
    }
    if ((status = show(g, false, err)) ||
        (status = qn_session_new(&session, g->l->decoder, 1, g->n + (size_t)o->n_predict, err)) ||
        (status = qn_sampler_new(&sampler, &how, n_vocab, err)))
        goto out;
    status = next_tokens(g, session, sampler, logits, err);
out:
    qn_sampler_free(sampler);
    qn_session_free(session);
    qn_free(logits);
    return status;
}

/* What the prompt alone spells is not shown when nobody wants to see it. */
static qn_status hide_prompt(generation *g, qn_error *err)
{
    if (!g->l->tokenizer || !(g->o->no_display_prompt || g->o->common.json)) return QN_OK;
    const qn_status status =
        qn_tokenizer_decode(g->l->tokenizer, g->ids, g->n, true, &g->text, err);
    if (!status) g->printed = g->text.n - unfinished(g->text.s, g->text.n);
    return status;
}

static qn_exit run(const void *given, char **args, size_t n_args)
{
    const options *o = given;
    const double started = qn_seconds();
    qn_error err = {0};
    qn_loaded l = {0};
    generation g = {.o = o, .l = &l};
    if (!o->model == !n_args)
        return qn_usage(&o->common, "one MODEL, please: quern generate MODEL");
    if (!qn_prompt_is_one(&o->common, &o->prompt)) return QN_EXIT_USAGE;
    if (o->temperature < 0 || o->top_p <= 0)
        return qn_usage(&o->common, "--temp must be 0 or more, --top-p more than 0");
    if (o->n_predict > INT32_MAX)
        return qn_usage(&o->common, "--predict %" PRIu64 " is too many", o->n_predict);

    qn_load_options how = o->load;
    how.needs_text = !o->prompt.ids;
    qn_status status = qn_load_model(&l, &o->common, o->model ? o->model : args[0], &how, &err);
    if (!status) status = qn_prompt_ids(&o->prompt, &l, &g.ids, &g.n, &err);
    g.n_prompt = g.n;
    if (!status) status = hide_prompt(&g, &err);
    if (!status) status = generate(&g, &err);
    qn_exit exit = QN_EXIT_FINE;
    if (status)
        exit = qn_complain(&o->common, &err);
    else if (o->common.json)
        exit = report(&g, qn_seconds() - started);
    else
        finish_text(&g);
    qn_text_free(&g.text);
    qn_free(g.ids);
    qn_unload(&l);
    return exit;
}

const qn_command qn_command_generate = {
    .name = "generate",
    .summary = "let a model go on with a text",
    .synopsis = "[options] MODEL -p TEXT",
    .about = "MODEL is a checkpoint directory or a .gguf file. A smoke test with the reference "
             "forward pass: is what a quantized model says still language? Stops at an end token "
             "or after --predict tokens.",
    .examples = "  quern generate model-Q4_K_M.gguf -p 'Once upon a time' -n 64\n"
                "  quern generate checkpoint/ -p 'The sea' --temp 0.8 --seed 7\n",
    .options = table,
    .n_options = QN_COUNT_OF(table),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .most = 1,
    .models = 1,
    .run = run,
};
