/* quern bench: this machine's limits, and how near the kernels come. */
#include <stdio.h>
#include <string.h>

#include "tools/commands.h"
#include "tools/report.h"
#include "validate/speed.h"

typedef struct {
    qn_common common;
    bool levels;
} bench_options;

static const bench_options defaults = {.levels = false};

static const qn_opt options[] = {
    {0, "levels", NULL, QN_OPT_FLAG, offsetof(bench_options, levels),
     "every instruction set that runs here, on one thread and the best on all"},
};

/* What is measured, in this order. */
typedef struct {
    const char *name;
    double (*measure)(const qn_kernels *k, qn_dtype t, int threads);
    enum { MULTIPLY_ADDS, COPYING, READING, N_ROOFS } roof;
    const char *words;
} subject;

enum { FORWARD = 2 };

static const subject subjects[] = {
    {"gemm", qn_speed_gemm, MULTIPLY_ADDS, "512 tokens x 2048 x 2048, GFLOP/s"},
    {"token", qn_speed_token, READING, "one token x 64 MiB of weights, GB/s of them"},
    [FORWARD] = {"forward", qn_speed_forward, MULTIPLY_ADDS,
                 "a window of 512 tokens through a small llama, or MODEL, GFLOP/s of its products"},
    {"encode", qn_speed_encode, COPYING, "float32 values into blocks, GB/s of float32"},
    {"importance", qn_speed_encode_weighted, COPYING,
     "the same with an importance matrix, GB/s of float32"},
    {"decode", qn_speed_decode, COPYING, "blocks into float32 values, GB/s of float32"},
};

/* One column: kernels on threads, and the roofs there.  Shares are of them; a byte
 * of float32 counts as a byte copied, though what it comes from or goes to is
 * smaller, so that unpacking may exceed 1. */
typedef struct {
    qn_kernels k;
    int threads;
    double roofs[N_ROOFS];
} column;

enum { MOST_COLUMNS = 8 };

static const char *const roof_names[N_ROOFS] = {"multiply-adds", "copy", "read"};

typedef struct {
    column columns[MOST_COLUMNS];
    size_t n;
    json_t *results; /* NULL: print */
} bench;

static void add_column(bench *b, const qn_kernels *k, int threads)
{
    if (b->n == MOST_COLUMNS) return;
    column *c = &b->columns[b->n++];
    *c = (column){.k = *k, .threads = threads};
    c->roofs[MULTIPLY_ADDS] = qn_speed_multiply_adds(k, threads);
    c->roofs[COPYING] = qn_speed_copy(threads);
    c->roofs[READING] = qn_speed_read(k, threads);
}

static void choose_columns(bench *b, const bench_options *o)
{
    const qn_kernels *best = qn_kernels_best();
    const int threads = (int)o->common.threads;
    bool runs = true;
    qn_kernels k;
    for (unsigned level = 0; o->levels && runs && qn_kernels_level(level, &k, &runs); level++) {
        if (runs) add_column(b, &k, 1);
        if (!strcmp(k.isa, best->isa)) break;
    }
    if (!b->n || threads > 1) add_column(b, best, threads);
}

static void add_result(const bench *b, const column *c, const char *name, const char *type,
                       int roof, double rate)
{
    json_t *one = json_pack("{s: s, s: s, s: s, s: I}", "name", name, "isa", c->k.isa, "type", type,
                            "threads", (json_int_t)c->threads);
    json_object_set_new(one, roof == MULTIPLY_ADDS ? "flop_per_s" : "bytes_per_s",
                        qn_json_number(rate));
    json_object_set_new(one, "share_of_roof", qn_json_number(rate / c->roofs[roof]));
    json_array_append_new(b->results, one);
}

static void print_heads(const bench *b, const char *name, const char *words)
{
    printf("\n%s: %s and share of the roof\n%-12s", name, words, "");
    for (size_t i = 0; i < b->n; i++)
        printf("  %9s x %-3d", b->columns[i].k.isa, b->columns[i].threads);
    printf("\n");
}

static void print_roofs(const bench *b)
{
    printf("The roofs: multiply-adds on registers, GFLOP/s; copying and reading, GB/s\n%-12s", "");
    for (size_t i = 0; i < b->n; i++)
        printf("  %9s x %-3d", b->columns[i].k.isa, b->columns[i].threads);
    for (int r = 0; r < N_ROOFS; r++) {
        printf("\n%-12s", roof_names[r]);
        for (size_t i = 0; i < b->n; i++) printf("  %9.2f      ", b->columns[i].roofs[r] * 1e-9);
    }
    printf("\n");
}

static void add_roofs(const bench *b)
{
    for (size_t i = 0; i < b->n; i++)
        for (int r = 0; r < N_ROOFS; r++)
            add_result(b, &b->columns[i], roof_names[r], r == MULTIPLY_ADDS ? "F32" : "-", r,
                       b->columns[i].roofs[r]);
}

static void measure_type(const bench *b, const subject *s, qn_dtype t)
{
    const char *type = qn_dtype_facts(t)->name;
    if (!b->columns[0].k.encode[t] || !b->columns[0].k.decode[t]) return;
    if (!b->results) printf("%-12s", type);
    for (size_t i = 0; i < b->n; i++) {
        const column *c = &b->columns[i];
        const double rate = s->measure(&c->k, t, c->threads);
        if (b->results)
            add_result(b, c, s->name, type, (int)s->roof, rate);
        else
            printf("  %9.3f %4.0f%%", rate * 1e-9, 100 * rate / c->roofs[s->roof]);
        fflush(stdout);
    }
    if (!b->results) printf("\n");
}

static bool is_wanted(const char *name, char **args, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(args[i], name)) return true;
    return n == 0;
}

static bool is_subject(const char *name)
{
    for (size_t s = 0; s < QN_COUNT_OF(subjects); s++)
        if (!strcmp(name, subjects[s].name)) return true;
    return false;
}

static qn_exit check_names(const qn_common *c, char **args, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_subject(args[i]))
            return qn_usage(c,
                            "nothing called '%s' to measure; there is gemm, token, forward, "
                            "encode, importance, decode, and forward MODEL",
                            args[i]);
    return QN_EXIT_FINE;
}

/* bench forward MODEL: the model instead of one made up. */
static qn_status open_model(qn_model **out, const char *path, qn_error *err)
{
    const qn_model_options how = {.no_vocab = true};
    const qn_status status = qn_model_open(out, path, &how, err);
    if (status) return status;
    if (!(*out)->family)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %s", path,
                       (*out)->not_runnable ? (*out)->not_runnable : "of no family that runs");
    if (!qn_speed_counts(&(*out)->hparams))
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: bench counts the operations of dense models only", path);
    return QN_OK;
}

static void measure_model(const bench *b, const qn_model *m)
{
    if (!b->results) {
        print_heads(b, subjects[FORWARD].name, subjects[FORWARD].words);
        printf("%-12s", "MODEL");
    }
    for (size_t i = 0; i < b->n; i++) {
        const column *c = &b->columns[i];
        const double rate = qn_speed_forward_of(m, &c->k, c->threads);
        if (b->results)
            add_result(b, c, subjects[FORWARD].name, m->path, MULTIPLY_ADDS, rate);
        else
            printf("  %9.3f %4.0f%%", rate * 1e-9, 100 * rate / c->roofs[MULTIPLY_ADDS]);
    }
    if (!b->results) printf("\n");
}

static void measure_types(const bench *b, char **args, size_t n)
{
    for (size_t s = 0; s < QN_COUNT_OF(subjects); s++) {
        if (!is_wanted(subjects[s].name, args, n)) continue;
        if (!b->results) print_heads(b, subjects[s].name, subjects[s].words);
        for (int t = 0; t < QN_DTYPE_COUNT; t++) measure_type(b, &subjects[s], (qn_dtype)t);
    }
}

static qn_exit run(const void *given, char **args, size_t n)
{
    const bench_options *o = given;
    const bool of_model =
        n == 2 && !strcmp(args[0], subjects[FORWARD].name) && !is_subject(args[1]);
    qn_exit exit = of_model ? QN_EXIT_FINE : check_names(&o->common, args, n);
    if (exit) return exit;
    qn_error err = {0};
    qn_model *model = NULL;
    if (of_model && open_model(&model, args[1], &err)) {
        qn_model_close(model);
        return qn_complain(&o->common, &err);
    }
    bench b = {.results = o->common.json ? json_array() : NULL};
    choose_columns(&b, o);
    if (b.results)
        add_roofs(&b);
    else
        print_roofs(&b);
    if (model)
        measure_model(&b, model);
    else
        measure_types(&b, args, n);
    qn_model_close(model);
    if (!b.results) return QN_EXIT_FINE;
    json_t *document = qn_report_new(&o->common);
    json_object_set_new(document, "results", b.results);
    return qn_report_print(&o->common, document);
}

const qn_command qn_command_bench = {
    .name = "bench",
    .summary = "measure this machine and the kernels on it",
    .synopsis = "[options] [gemm] [token] [forward [MODEL]] [encode] [importance] [decode]",
    .about = "Measures the machine's own limits (multiply-adds on registers, copying and reading "
             "memory) "
             "and, "
             "for every type, how near to them the matrix product, that of a single token, a "
             "forward pass, the quantizers (without and with "
             "importance) and the unpackers come. One thread is timed by its own processor time, "
             "several by the clock. Other load on the machine makes every figure worse.",
    .examples = "  quern bench\n"
                "  quern bench gemm --threads 1\n"
                "  quern bench forward model-Q4_K_M.gguf\n"
                "  quern bench encode decode --levels\n"
                "  quern bench encode --isa scalar --json\n",
    .options = options,
    .n_options = QN_COUNT_OF(options),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .most = QN_COUNT_OF(subjects),
    .run = run,
};
