/* quern forward: the reference forward pass as a tool, so that people who port
 * a model can find the first layer that differs. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/writer.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/prompt.h"
#include "tools/report.h"
#include "tools/window_memory.h"

typedef struct {
    qn_common common;
    qn_prompt prompt;
    qn_load_options load;
    const char *model, *output;
    uint64_t top, max_memory;
    bool hidden, force;
} options;

static const options defaults = {.top = 10};

static const qn_opt table[] = {
    QN_MODEL_OPTION(offsetof(options, model)),
    {0, "ids", "LIST", QN_OPT_TEXT, offsetof(options, prompt.ids), "token ids to run: 1,2,3"},
    {'p', "prompt", "TEXT", QN_OPT_TEXT, offsetof(options, prompt.prompt), "a text instead"},
    {'f', "file", "FILE", QN_OPT_TEXT, offsetof(options, prompt.file),
     "a file with the text (default: standard input)"},
    {'o', "output", "OUT", QN_OPT_TEXT, offsetof(options, output),
     "a .safetensors file for the float32 logits [n, vocabulary]"},
    {0, "hidden", NULL, QN_OPT_FLAG, offsetof(options, hidden),
     "also the residual stream: hidden.embed, hidden.layer.0 ..., hidden.final_norm [n, hidden]"},
    {0, "top", "N", QN_OPT_COUNT, offsetof(options, top),
     "how many of the likeliest next tokens to print (default 10)"},
    {0, "force", NULL, QN_OPT_FLAG, offsetof(options, force), "replace an existing OUT"},
    QN_MAX_MEMORY_OPTION(offsetof(options, max_memory)),
    {0, "no-bos", NULL, QN_OPT_FLAG, offsetof(options, prompt.no_bos),
     "without the tokens that the vocabulary puts around a text"},
    {0, "parse-special", NULL, QN_OPT_FLAG, offsetof(options, prompt.parse_special),
     "text that spells a control token becomes that token"},
    QN_ACTIVATIONS_OPTION(offsetof(options, load.activations)),
    QN_LOAD_OPTIONS(options, load),
};

/* Logits of so many positions are held at a time. */
enum { BATCH = 32 };

typedef struct {
    const options *o;
    const qn_loaded *l;
    uint32_t *ids;
    size_t n, n_vocab;
    qn_writer *writer; /* NULL: no OUT */
    float *logits;     /* [BATCH][n_vocab]; in the end its first row is the last position's */
    uint32_t *top;     /* ids, likeliest first */
    size_t n_top;
    qn_status status; /* of writing hidden states */
    qn_error error;
} job;

/* ---- the file ------------------------------------------------------------------------------- */

/* Tensor 0 is logits, 1 the residual stream behind the embedding (layer -1). */
static size_t hidden_tensor(int layer)
{
    return layer < 0 ? 1 : 2 + (size_t)layer;
}

static qn_status declare_hidden(job *j, qn_error *err)
{
    const qn_hparams *h = &j->l->model->hparams;
    const uint64_t all = h->hidden * (h->n_streams ? h->n_streams : 1);
    const int n_layers = (int)h->n_layers;
    qn_status status = QN_OK;
    for (int layer = -1; layer <= n_layers && !status; layer++) {
        char name[32];
        const uint64_t dims[2] = {j->n, layer == n_layers ? h->hidden : all};
        snprintf(name, sizeof name, "hidden.layer.%d", layer);
        status = qn_writer_declare(j->writer,
                                   layer < 0           ? "hidden.embed"
                                   : layer == n_layers ? "hidden.final_norm"
                                                       : name,
                                   QN_F32, 2, dims, err);
    }
    return status;
}

static qn_status open_file(job *j, qn_error *err)
{
    const uint64_t dims[2] = {j->n, j->n_vocab};
    uint64_t total;
    qn_status status = qn_writer_create(&j->writer, &qn_format_safetensors, j->o->output,
                                        j->o->force, NULL, 0, err);
    if (!status) status = qn_writer_declare(j->writer, "logits", QN_F32, 2, dims, err);
    if (!status && j->o->hidden) status = declare_hidden(j, err);
    if (!status) status = qn_writer_plan(j->writer, &total, err);
    return status ? status : qn_writer_begin(j->writer, err);
}

static void keep_hidden(void *ctx, int layer, const float *x, size_t n_tokens, size_t hidden)
{
    job *j = ctx;
    if (j->status) return;
    j->status = qn_writer_put(j->writer, hidden_tensor(layer), 0, x, n_tokens * hidden * sizeof *x,
                              &j->error);
}

static qn_status write_logits(job *j, qn_session *session, qn_error *err)
{
    const uint64_t row_bytes = j->n_vocab * sizeof *j->logits;
    for (size_t first = 0; first < j->n; first += BATCH) {
        const size_t left = j->n - first, count = left < BATCH ? left : BATCH;
        qn_status status = qn_session_logits(session, 0, first, count, j->logits, err);
        if (!status)
            status =
                qn_writer_put(j->writer, 0, first * row_bytes, j->logits, count * row_bytes, err);
        if (status) return status;
    }
    return QN_OK;
}

/* ---- the likeliest ---------------------------------------------------------------------------- */

/* Of equal logits the lower id comes first. */
static void find_top(job *j)
{
    for (uint32_t id = 0; id < j->n_vocab; id++) {
        size_t at = j->n_top;
        while (at > 0 && j->logits[id] > j->logits[j->top[at - 1]]) at--;
        if (at == j->o->top) continue;
        if (j->n_top < j->o->top) j->n_top++;
        memmove(&j->top[at + 1], &j->top[at], (j->n_top - 1 - at) * sizeof *j->top);
        j->top[at] = id;
    }
}

static qn_str piece_of(const job *j, uint32_t id)
{
    return j->l->vocab ? qn_vocab_piece(j->l->vocab, id) : qn_str_z("");
}

static void print_top(const job *j)
{
    for (size_t i = 0; i < j->n_top; i++) {
        const qn_str piece = piece_of(j, j->top[i]);
        printf("%6" PRIu32 "  %12.6f  '", j->top[i], (double)j->logits[j->top[i]]);
        qn_print_escaped(piece.s, piece.n);
        puts("'");
    }
}

static qn_exit report(const job *j)
{
    json_t *document = qn_report_new(&j->o->common), *top = json_array(), *ids = json_array();
    for (size_t i = 0; i < j->n; i++) json_array_append_new(ids, qn_json_count(j->ids[i]));
    for (size_t i = 0; i < j->n_top; i++) {
        const qn_str piece = piece_of(j, j->top[i]);
        json_array_append_new(top, json_pack("{s: o, s: o, s: o}", "id", qn_json_count(j->top[i]),
                                             "piece", qn_json_text(piece.s, piece.n), "logit",
                                             qn_json_number((double)j->logits[j->top[i]])));
    }
    json_object_set_new(document, "n_tokens", qn_json_count(j->n));
    json_object_set_new(document, "n_vocab", qn_json_count(j->n_vocab));
    json_object_set_new(document, "ids", ids);
    json_object_set_new(document, "top", top);
    if (j->o->output)
        json_object_set_new(document, "output", qn_json_text(j->o->output, strlen(j->o->output)));
    return qn_report_print(&j->o->common, document);
}

/* ---- the job ------------------------------------------------------------------------------------ */

static qn_status allocate(job *j, qn_error *err)
{
    j->logits = qn_alloc_aligned(64, j->n_vocab * BATCH, sizeof *j->logits);
    j->top = qn_alloc((size_t)j->o->top + 1, sizeof *j->top);
    return j->logits && j->top ? QN_OK : qn_fail_memory(err, "logits");
}

/* The prompt is one window; hidden states of several streams are put side by side. */
static qn_status fit_memory(const job *j, qn_error *err)
{
    const qn_common *c = &j->o->common;
    qn_decoder *const model = j->l->decoder;
    const qn_hparams *h = &j->l->model->hparams;
    const double shown = j->o->hidden ? (double)(h->hidden * h->n_streams) * (double)j->n : 0;
    uint64_t left;
    qn_status status = qn_scratch_memory(c, j->o->max_memory, &model, 1, &left, err);
    if (status) return status;
    const double scratch = (double)qn_session_whole_bytes(model, 1, j->n) +
                           ((double)j->n_vocab * BATCH + shown) * sizeof(float);
    if (j->o->max_memory && scratch > (double)left)
        return qn_fail(err, QN_ERR_MEMORY, "%zu tokens take %.1f MiB of memory, %.1f MiB are left",
                       j->n, scratch / 0x1p20, (double)left / 0x1p20);
    qn_scratch_remark(c, "the run", (const qn_decoder *[]){model}, 1,
                      (uint64_t)fmin(scratch, 0x1p60));
    return QN_OK;
}

static qn_status forward(job *j, qn_error *err)
{
    qn_session *session = NULL;
    qn_status status = fit_memory(j, err);
    if (!status) status = allocate(j, err);
    if (!status && j->o->output) status = open_file(j, err);
    if (!status) status = qn_session_new_whole(&session, j->l->decoder, 1, j->n, err);
    if (!status)
        status = qn_session_run(session, j->ids, j->n, j->o->hidden ? keep_hidden : NULL, j, err);
    if (!status && j->status) status = qn_fail(err, j->status, "%s", j->error.message);
    if (!status && j->writer) status = write_logits(j, session, err);
    if (!status) status = qn_session_logits(session, 0, j->n - 1, 1, j->logits, err);
    if (!status) find_top(j);
    qn_session_free(session);
    if (!status && j->writer) {
        qn_writer *writer = j->writer;
        j->writer = NULL;
        status = qn_writer_commit(writer, err);
    }
    qn_writer_abandon(j->writer);
    return status;
}

static qn_exit run(const void *given, char **args, size_t n_args)
{
    const options *o = given;
    qn_error err = {0};
    qn_loaded l = {0};
    job j = {.o = o, .l = &l};
    if (!o->model == !n_args) return qn_usage(&o->common, "one MODEL, please: quern forward MODEL");
    if (!qn_prompt_is_one(&o->common, &o->prompt)) return QN_EXIT_USAGE;
    if (o->hidden && !o->output)
        return qn_usage(&o->common, "--hidden wants a file to write to: -o OUT.safetensors");
    qn_load_options how = o->load;
    how.needs_text = !o->prompt.ids;
    qn_status status = qn_load_model(&l, &o->common, o->model ? o->model : args[0], &how, &err);
    if (!status) status = qn_prompt_ids(&o->prompt, &l, &j.ids, &j.n, &err);
    if (!status && o->top > l.model->hparams.n_vocab)
        status = qn_fail(&err, QN_ERR_ARGUMENT, "--top %" PRIu64 " of a vocabulary of %" PRIu64,
                         o->top, l.model->hparams.n_vocab);
    if (!status) {
        j.n_vocab = (size_t)l.model->hparams.n_vocab;
        status = forward(&j, &err);
    }
    qn_exit exit = QN_EXIT_FINE;
    if (status)
        exit = qn_complain(&o->common, &err);
    else if (o->common.json)
        exit = report(&j);
    else
        print_top(&j);
    qn_free(j.top);
    qn_free(j.logits);
    qn_free(j.ids);
    qn_unload(&l);
    return exit;
}

const qn_command qn_command_forward = {
    .name = "forward",
    .summary = "run a model once and keep its numbers",
    .synopsis = "[options] MODEL",
    .about =
        "MODEL is a checkpoint directory or a .gguf file. Runs the exact float32 forward pass over "
        "some token ids and prints the likeliest next tokens with their logits; with -o all logits "
        "go to a safetensors file, with --hidden the residual stream after the embedding and after "
        "each layer, too: compare them with another implementation's to find the first layer that "
        "differs.",
    .examples = "  quern forward model.gguf -p 'Once upon a time'\n"
                "  quern forward checkpoint/ --ids 1,403,407 --hidden -o states.safetensors\n",
    .options = table,
    .n_options = QN_COUNT_OF(table),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .most = 1,
    .models = 1,
    .run = run,
};
