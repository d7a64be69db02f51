/* quern tokenize: text to token ids and back. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "formats/base/alloc.h"
#include "tools/commands.h"
#include "tools/loaded.h"
#include "tools/report.h"
#include "tools/text_input.h"

typedef struct {
    qn_common common;
    qn_load_options load;
    const char *model, *prompt, *file;
    bool ids, decode, no_bos, parse_special, bench;
} options;

static const options defaults = {0};

static const qn_opt table[] = {
    QN_MODEL_OPTION(offsetof(options, model)),
    {'p', "prompt", "TEXT", QN_OPT_TEXT, offsetof(options, prompt), "the text"},
    {'f', "file", "FILE", QN_OPT_TEXT, offsetof(options, file),
     "a file with the text (default: standard input)"},
    {0, "ids", NULL, QN_OPT_FLAG, offsetof(options, ids), "print the ids alone: [1, 2, 3]"},
    {0, "decode", NULL, QN_OPT_FLAG, offsetof(options, decode),
     "the other way: the text is a list of ids, and what they spell is printed"},
    {0, "no-bos", NULL, QN_OPT_FLAG, offsetof(options, no_bos),
     "without the tokens that the vocabulary puts around a text; with --decode, leave control "
     "tokens out"},
    {0, "parse-special", NULL, QN_OPT_FLAG, offsetof(options, parse_special),
     "text that spells a control token becomes that token"},
    {0, "bench", NULL, QN_OPT_FLAG, offsetof(options, bench),
     "print how fast the text is read, in MB of it by second of one core"},
    QN_FAMILY_OPTION(QN_OPT_TEXT, offsetof(options, load.family), ""),
    QN_PRE_OPTION(offsetof(options, load.pre)),
};

/* ---- words ------------------------------------------------------------------------------- */

static void print_ids(const uint32_t *ids, size_t n)
{
    putchar('[');
    for (size_t i = 0; i < n; i++) printf("%s%" PRIu32, i ? ", " : "", ids[i]);
    puts("]");
}

static void print_pieces(const qn_vocab *v, const uint32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const qn_str piece = qn_vocab_piece(v, ids[i]);
        printf("%6" PRIu32 " -> '", ids[i]);
        qn_print_escaped(piece.s, piece.n);
        puts("'");
    }
}

static qn_exit report(const options *o, const qn_vocab *v, const uint32_t *ids, size_t n,
                      const qn_text *decoded)
{
    json_t *document = qn_report_new(&o->common), *list = json_array(), *pieces = json_array();
    for (size_t i = 0; i < n; i++) {
        const qn_str piece = qn_vocab_piece(v, ids[i]);
        json_array_append_new(list, qn_json_count(ids[i]));
        json_array_append_new(pieces, qn_json_text(piece.s, piece.n));
    }
    json_object_set_new(document, "ids", list);
    json_object_set_new(document, "pieces", pieces);
    if (o->decode)
        json_object_set_new(document, "text",
                            qn_json_text(decoded->s ? decoded->s : "", decoded->n));
    return qn_report_print(&o->common, document);
}

static qn_exit print(const options *o, const qn_vocab *v, const uint32_t *ids, size_t n,
                     const qn_text *decoded)
{
    if (o->common.json) return report(o, v, ids, n, decoded);
    if (o->decode)
        fwrite(decoded->s, 1, decoded->n, stdout);
    else if (o->ids)
        print_ids(ids, n);
    else
        print_pieces(v, ids, n);
    return QN_EXIT_FINE;
}

/* ---- speed ------------------------------------------------------------------------------- */

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The whole text again and again, for a second at least. */
static qn_status measure(const qn_loaded *l, qn_str text, qn_encode_options how, double *rate,
                         qn_error *err)
{
    const double started = processor_seconds();
    double seconds = 0;
    uint64_t runs = 0;
    qn_status status = QN_OK;
    for (; !status && seconds < 1; runs++) {
        uint32_t *ids = NULL;
        size_t n = 0;
        status = qn_encode_text(l, text, how, &ids, &n, err);
        qn_free(ids);
        seconds = processor_seconds() - started;
    }
    *rate = (double)runs * (double)text.n / seconds;
    return status;
}

static qn_exit print_speed(const options *o, size_t n, double rate)
{
    if (!o->common.json) {
        printf("%zu tokens, %.1f MB/s on one core\n", n, rate * 1e-6);
        return QN_EXIT_FINE;
    }
    json_t *document = qn_report_new(&o->common);
    json_object_set_new(document, "n_tokens", qn_json_count(n));
    json_object_set_new(document, "bytes_per_s", qn_json_number(rate));
    return qn_report_print(&o->common, document);
}

/* ---- the job ------------------------------------------------------------------------------ */

static qn_status work(const options *o, const qn_loaded *l, uint32_t **ids, size_t *n,
                      qn_text *decoded, double *rate, qn_error *err)
{
    qn_text text = {0};
    const qn_encode_options how = {.add_special = !o->no_bos, .parse_special = o->parse_special};
    qn_status status = qn_text_from(o->prompt, o->file, &text, err);
    const qn_str view = qn_str_of(text.s ? text.s : "", text.n);
    if (!status && o->decode) {
        status = qn_ids_from_text(view, ids, n, err);
        if (!status) status = qn_tokenizer_decode(l->tokenizer, *ids, *n, o->no_bos, decoded, err);
    } else if (!status) {
        status = qn_encode_text(l, view, how, ids, n, err);
        if (!status && o->bench) status = measure(l, view, how, rate, err);
    }
    qn_text_free(&text);
    return status;
}

static qn_exit run(const void *given, char **args, size_t n_args)
{
    const options *o = given;
    qn_error err = {0};
    qn_loaded l = {0};
    uint32_t *ids = NULL;
    size_t n = 0;
    double rate = 0;
    qn_text decoded = {0};
    if (o->bench && o->decode)
        return qn_usage(&o->common, "--bench is of encoding, not of --decode");
    if (o->prompt && o->file) return qn_usage(&o->common, "the text is either -p or -f, not both");
    if (!o->model == !n_args)
        return qn_usage(&o->common, "one MODEL, please: quern tokenize MODEL");
    qn_status status = qn_load_tokenizer(&l, o->model ? o->model : args[0], &o->load, &err);
    if (!status) status = work(o, &l, &ids, &n, &decoded, &rate, &err);
    const qn_exit exit = status     ? qn_complain(&o->common, &err)
                         : o->bench ? print_speed(o, n, rate)
                                    : print(o, l.vocab, ids, n, &decoded);
    qn_text_free(&decoded);
    qn_free(ids);
    qn_unload(&l);
    return exit;
}

const qn_command qn_command_tokenize = {
    .name = "tokenize",
    .summary = "turn text into token ids, or back",
    .synopsis = "[options] MODEL",
    .about =
        "MODEL is a .gguf file or a checkpoint directory; its weights are not needed. Prints a "
        "line a token: the id and the piece as the vocabulary has it.",
    .examples = "  quern tokenize model.gguf -p 'Once upon a time'\n"
                "  quern tokenize checkpoint/ --ids -f wiki.test.raw\n"
                "  quern tokenize model.gguf --bench -f wiki.test.raw\n"
                "  quern tokenize model.gguf --decode -p '1, 403, 407'\n",
    .options = table,
    .n_options = QN_COUNT_OF(table),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .most = 1,
    .models = 1,
    .run = run,
};
