/* quern bench: this machine's limits, and how near the kernels come. */
#include <stdio.h>
#include <string.h>

#include "tools/commands.h"
#include "tools/report.h"
#include "validate/speed.h"

static const qn_common defaults = {0}; /* all options it has */

/* What is measured, in this order. */
typedef struct {
    const char *name;
    double (*measure)(const qn_kernels *k, qn_dtype t, int threads);
    bool is_arithmetic; /* its roof is multiply-adds, else copying */
    const char *words;
} subject;

static const subject subjects[] = {
    {"gemm", qn_speed_gemm, true, "512 tokens x 2048 x 2048"},
    {"encode", qn_speed_encode, false, "float32 values into blocks, bytes of float32"},
    {"decode", qn_speed_decode, false, "blocks into float32 values, bytes of float32"},
};

typedef struct {
    const qn_common *common;
    const qn_kernels *k;
    double multiply_adds, copy; /* the roofs */
    json_t *results;            /* NULL: print */
} bench;

static void tell(const bench *b, const char *name, const char *type, bool is_arithmetic,
                 double rate, double share, const char *words)
{
    if (b->results) {
        json_t *one = json_pack("{s: s, s: s, s: s, s: I}", "name", name, "isa", b->k->isa, "type",
                                type, "threads", (json_int_t)b->common->threads);
        json_object_set_new(one, is_arithmetic ? "flop_per_s" : "bytes_per_s",
                            qn_json_number(rate));
        json_object_set_new(one, "share_of_roof", qn_json_number(share));
        json_array_append_new(b->results, one);
        return;
    }
    printf("%-13s %-5s %8.2f %-8s %5.1f %%  %s\n", name, type, rate * 1e-9,
           is_arithmetic ? "GFLOP/s" : "GB/s", 100 * share, words);
    fflush(stdout);
}

static bool is_wanted(const char *name, char **args, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(args[i], name)) return true;
    return n == 0;
}

/* A byte copied is a byte read and a byte written; a byte of float32 is read
 * (or written) together with its part of a block. */
static double share_of_copy(const bench *b, qn_dtype t, double rate)
{
    const qn_dtype_info *info = qn_dtype_facts(t);
    const double block = (double)info->block_bytes / (double)info->block_len / sizeof(float);
    return rate * (1 + block) / (2 * b->copy);
}

static void measure(const bench *b, const subject *s)
{
    const int threads = (int)b->common->threads;
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        const double rate = s->measure(b->k, (qn_dtype)t, threads);
        const double share =
            s->is_arithmetic ? rate / b->multiply_adds : share_of_copy(b, (qn_dtype)t, rate);
        if (rate > 0)
            tell(b, s->name, qn_dtype_facts((qn_dtype)t)->name, s->is_arithmetic, rate, share,
                 s->words);
    }
}

static qn_exit check_names(const qn_common *c, char **args, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool known = false;
        for (size_t s = 0; s < QN_COUNT_OF(subjects); s++)
            known |= !strcmp(args[i], subjects[s].name);
        if (!known)
            return qn_usage(c, "nothing called '%s' to measure; there is gemm, encode, decode",
                            args[i]);
    }
    return QN_EXIT_FINE;
}

static qn_exit run(const void *given, char **args, size_t n)
{
    const qn_common *c = given;
    const int threads = (int)c->threads;
    const qn_exit exit = check_names(c, args, n);
    if (exit) return exit;
    bench b = {.common = c, .k = qn_kernels_best(), .results = c->json ? json_array() : NULL};
    b.multiply_adds = qn_speed_multiply_adds(b.k, threads);
    b.copy = qn_speed_copy(threads);
    if (!b.results)
        printf("%s, %d threads; shares are of the first two lines\n", b.k->isa, threads);
    tell(&b, "multiply-adds", "F32", true, b.multiply_adds, 1, "on registers: the arithmetic roof");
    tell(&b, "copy", "-", false, b.copy, 1, "memory to memory: the roof of the rest");
    for (size_t s = 0; s < QN_COUNT_OF(subjects); s++)
        if (is_wanted(subjects[s].name, args, n)) measure(&b, &subjects[s]);
    if (!b.results) return QN_EXIT_FINE;
    json_t *document = qn_report_new(c);
    json_object_set_new(document, "results", b.results);
    return qn_report_print(c, document);
}

const qn_command qn_command_bench = {
    .name = "bench",
    .summary = "measure this machine and the kernels on it",
    .synopsis = "[options] [gemm] [encode] [decode]",
    .about =
        "Measures the machine's own limits (multiply-adds on registers, copying memory) and, "
        "for every type, how near to them the matrix product, the quantizers and the unpackers "
        "come. Other load on the machine makes every figure worse.",
    .examples = "  quern bench\n"
                "  quern bench gemm --threads 1\n"
                "  quern bench encode --isa scalar --json\n",
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .most = QN_COUNT_OF(subjects),
    .run = run,
};
