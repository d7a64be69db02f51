/* Times quern's quantizers and unpackers beside ggml's, in one run and on the
 * same rows, and compares their bytes.  tests/peers/codecs.sh builds and runs it.
 *
 * A figure is MB/s of float32: the best of short runs of at least SHORTEST
 * seconds, the two sides taking turns.  A run's time is the processor time of
 * the thread that had most of it, which on a quiet machine is what the clock
 * says, and on a busy one leaves out waiting for the others.  Rows lie in more
 * memory than caches hold, so what is fast enough is bound by memory. */
#include <getopt.h>
#include <ggml.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"
#include "tests/support/codec_rows.h"

enum { COLUMNS = 4096, ROWS = 4096, DISTINCT = 64, MAX_LEVELS = 3, MOST_BYTES = 4 };
static const double SHORTEST = 2e-3;

typedef enum { ENCODE, WEIGHTED, DECODE, JOBS } job;

static const char *const titles[JOBS] = {"Encoding", "Encoding with importance", "Decoding"};

static struct {
    float *x;         /* ROWS rows */
    float w[COLUMNS]; /* importance */
    uint8_t *blocks;  /* room for ROWS rows of any type */
    qn_kernels level[MAX_LEVELS];
    unsigned levels;
    int threads;       /* "all" */
    double seconds;    /* for a figure */
    double copy[2];    /* bytes copied a second: on one thread, on all */
    const char *types; /* comma separated; NULL: all */
    const char *jobs;  /* letters of e, w, d; NULL: all */
} g = {.seconds = 0.2};

/* ---- the two sides ------------------------------------------------------------------ */

/* One column of the table: somebody's kernels on some threads. */
typedef struct {
    const qn_kernels *k; /* NULL: ggml's */
    int threads;
    size_t at, rows; /* the next row; how many a run takes */
    double best;     /* MB/s */
} contender;

static enum ggml_type ggml_type_of(qn_dtype t)
{
    return (enum ggml_type)qn_dtype_facts(t)->ggml_id;
}

static size_t row_bytes(qn_dtype t)
{
    uint64_t bytes = 0;
    qn_dtype_row_bytes(t, COLUMNS, &bytes);
    return (size_t)bytes;
}

static bool has(qn_dtype t, job what)
{
    return what != ENCODE || !ggml_quantize_requires_imatrix(ggml_type_of(t));
}

static void encode(const qn_kernels *k, qn_dtype t, const float *x, bool weighted, void *blocks)
{
    const float *w = weighted ? g.w : NULL;
    if (k)
        k->encode[t](x, w, blocks, COLUMNS);
    else
        ggml_quantize_chunk(ggml_type_of(t), x, blocks, 0, 1, COLUMNS, w);
}

static void decode(const qn_kernels *k, qn_dtype t, const void *blocks, float *x)
{
    if (k)
        k->decode[t](blocks, x, COLUMNS);
    else
        ggml_get_type_traits(ggml_type_of(t))->to_float(blocks, x, COLUMNS);
}

static void take_row(const qn_kernels *k, qn_dtype t, job what, size_t row)
{
    float *x = g.x + row * COLUMNS;
    uint8_t *blocks = g.blocks + row * row_bytes(t);
    if (what == DECODE)
        decode(k, t, blocks, x);
    else
        encode(k, t, x, what == WEIGHTED, blocks);
}

/* ---- time ----------------------------------------------------------------------------- */

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* c->rows rows; seconds. */
static double run_once(contender *c, qn_dtype t, job what)
{
    double longest = 0;
#pragma omp parallel num_threads(c->threads) reduction(max : longest)
    {
        const double start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
#pragma omp for schedule(static) nowait
        for (size_t r = 0; r < c->rows; r++) take_row(c->k, t, what, (c->at + r) % ROWS);
        longest = seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
    }
    c->at = (c->at + c->rows) % ROWS;
    return longest;
}

/* Bytes a second of memcpy, each thread its part of all rows. */
static double copy_rate(int threads)
{
    const size_t each = (size_t)ROWS * COLUMNS * sizeof *g.x / (size_t)threads;
    const double end = seconds_of(CLOCK_MONOTONIC) + 10 * g.seconds;
    double best = 0;
    do {
        double longest = 0;
#pragma omp parallel num_threads(threads) reduction(max : longest)
        {
            const size_t at = (size_t)omp_get_thread_num() * each;
            const double start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
            memcpy(g.blocks + at, (const char *)g.x + at, each);
            longest = seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
        }
        const double rate = (double)(each * (size_t)threads) / longest;
        if (rate > best) best = rate;
    } while (seconds_of(CLOCK_MONOTONIC) < end);
    return best;
}

/* So many rows that each thread has SHORTEST seconds of work, whatever else runs. */
static void choose_rows(contender *c, qn_dtype t, job what)
{
    contender one = {.k = c->k, .threads = 1, .rows = 1};
    while (run_once(&one, t, what) < SHORTEST && one.rows * (size_t)c->threads < ROWS)
        one.rows *= 2;
    c->rows = one.rows * (size_t)c->threads;
}

/* All contenders in turn until each has had its time. */
static void race(contender *c, size_t n, qn_dtype t, job what)
{
    for (size_t i = 0; i < n; i++) choose_rows(&c[i], t, what);
    const double end = seconds_of(CLOCK_MONOTONIC) + g.seconds * (double)n;
    do {
        for (size_t i = 0; i < n; i++) {
            const double took = run_once(&c[i], t, what);
            const double speed = (double)(c[i].rows * COLUMNS * sizeof(float)) / took * 1e-6;
            if (speed > c[i].best) c[i].best = speed;
        }
    } while (seconds_of(CLOCK_MONOTONIC) < end);
}

/* ---- bytes ----------------------------------------------------------------------------- */

typedef struct {
    size_t compared, differ;
} comparison;

static void compare_encoding(const qn_kernels *k, qn_dtype t, const float *x, bool weighted,
                             comparison *c)
{
    static uint8_t theirs[COLUMNS * MOST_BYTES], ours[COLUMNS * MOST_BYTES];
    const qn_dtype_info *info = qn_dtype_facts(t);
    encode(NULL, t, x, weighted, theirs);
    encode(k, t, x, weighted, ours);
    for (size_t i = 0; i < COLUMNS / info->block_len; i++)
        c->differ += memcmp(theirs + i * info->block_bytes, ours + i * info->block_bytes,
                            info->block_bytes) != 0;
    c->compared += COLUMNS / info->block_len;
}

static void compare_decoding(const qn_kernels *k, qn_dtype t, qn_random *r, comparison *c)
{
    static uint8_t blocks[COLUMNS * MOST_BYTES];
    static float theirs[COLUMNS], ours[COLUMNS];
    const size_t block_len = qn_dtype_facts(t)->block_len;
    for (size_t i = 0; i < row_bytes(t); i++) blocks[i] = (uint8_t)qn_random_bits(r);
    decode(NULL, t, blocks, theirs);
    decode(k, t, blocks, ours);
    for (size_t i = 0; i < COLUMNS; i += block_len) {
        bool same = true;
        for (size_t j = i; j < i + block_len; j++)
            same &= (isnan(theirs[j]) && isnan(ours[j])) || theirs[j] == ours[j];
        c->differ += !same;
    }
    c->compared += COLUMNS / block_len;
}

/* One row of each kind of tests/support/codec_rows.h, and random blocks. */
static comparison compare(const qn_kernels *k, qn_dtype t, job what)
{
    static float x[COLUMNS];
    comparison c = {0, 0};
    qn_random r = {7};
    for (int kind = 0; kind < QN_CODEC_KINDS; kind++) {
        qn_codec_row(&r, kind, x, COLUMNS);
        if (what == DECODE)
            compare_decoding(k, t, &r, &c);
        else
            compare_encoding(k, t, x, what == WEIGHTED, &c);
    }
    return c;
}

static comparison compare_levels(qn_dtype t, job what)
{
    comparison all = {0, 0};
    for (unsigned i = 0; i < g.levels; i++) {
        const comparison c = compare(&g.level[i], t, what);
        all.compared += c.compared;
        all.differ += c.differ;
    }
    return all;
}

/* ---- the table --------------------------------------------------------------------------- */

static void print_head(job what)
{
    printf("\n### %s\n\n| type | blocks compared | differ | ggml |", titles[what]);
    for (unsigned i = 0; i < g.levels; i++) printf(" %s |", g.level[i].isa);
    printf(" ratio | of copy | ggml x %d | quern x %d | ratio | of copy |\n", g.threads, g.threads);
    for (unsigned i = 0; i < g.levels + 10; i++) printf(i ? "|--:" : "|---");
    printf("|\n");
}

static void print_row(qn_dtype t, job what)
{
    contender c[MAX_LEVELS + 3] = {{.threads = 1}};
    const unsigned best = g.levels, theirs = g.levels + 1, ours = g.levels + 2;
    for (unsigned i = 0; i < g.levels; i++) c[i + 1] = (contender){.k = &g.level[i], .threads = 1};
    c[theirs] = (contender){.threads = g.threads};
    c[ours] = (contender){.k = &g.level[g.levels - 1], .threads = g.threads};
    const comparison same = compare_levels(t, what);
    race(c, g.levels + 1, t, what);
    race(c + theirs, 2, t, what);
    printf("| %s | %zu | %zu | %.0f |", qn_dtype_facts(t)->name, same.compared, same.differ,
           c[0].best);
    for (unsigned i = 1; i <= g.levels; i++) printf(" %.0f |", c[i].best);
    printf(" %.1f | %.2f | %.0f | %.0f | %.1f | %.2f |\n", c[best].best / c[0].best,
           c[best].best * 1e6 / g.copy[0], c[theirs].best, c[ours].best,
           c[ours].best / c[theirs].best, c[ours].best * 1e6 / g.copy[1]);
    fflush(stdout);
}

static bool is_wanted(qn_dtype t)
{
    const qn_dtype_info *info = qn_dtype_facts(t);
    if (info->ggml_id < 0 || !g.level[0].encode[t] || t == QN_F32) return false;
    if (!ggml_get_type_traits(ggml_type_of(t))->to_float) return false;
    if (!g.types) return true;
    const char *found = strcasestr(g.types, info->name);
    const size_t n = strlen(info->name);
    for (; found; found = strcasestr(found + 1, info->name))
        if ((found == g.types || found[-1] == ',') && (found[n] == ',' || !found[n])) return true;
    return false;
}

static void table(job what)
{
    print_head(what);
    for (qn_dtype t = 0; t < QN_DTYPE_COUNT; t++) {
        if (!is_wanted(t) || !has(t, what)) continue;
        for (size_t r = 0; what == DECODE && r < ROWS; r++) {
            uint8_t *blocks = g.blocks + r * row_bytes(t);
            if (r < DISTINCT)
                g.level[g.levels - 1].encode[t](g.x + r * COLUMNS, g.w, blocks, COLUMNS);
            else
                memcpy(blocks, blocks - DISTINCT * row_bytes(t), row_bytes(t));
        }
        print_row(t, what);
    }
}

/* ---- setting up ------------------------------------------------------------------------- */

static void fill_rows(void)
{
    qn_random r = {1};
    g.x = aligned_alloc(64, (size_t)ROWS * COLUMNS * sizeof *g.x);
    g.blocks = aligned_alloc(64, (size_t)ROWS * COLUMNS * MOST_BYTES);
    if (!g.x || !g.blocks) abort();
    memset(g.blocks, 1, (size_t)ROWS * COLUMNS * MOST_BYTES);
    for (size_t i = 0; i < DISTINCT * COLUMNS; i++) g.x[i] = 0.02f * qn_random_normal(&r);
    for (size_t row = DISTINCT; row < ROWS; row++)
        memcpy(g.x + row * COLUMNS, g.x + row % DISTINCT * COLUMNS, COLUMNS * sizeof *g.x);
    for (size_t i = 0; i < COLUMNS; i++) {
        const float v = qn_random_normal(&r);
        g.w[i] = v * v + 1e-3f;
    }
}

static void help(void)
{
    printf("usage: codecs [--types Q4_K,Q6_K] [--jobs ewd] [--threads N] [--seconds S]\n"
           "Prints MB/s of float32 for quern's quantizers and ggml's, on one thread and on N\n"
           "(all), S seconds (0.2) for each figure; \"of copy\" is the share of memcpy's rate.\n");
}

static bool read_options(int argc, char **argv)
{
    static const struct option options[] = {{"types", required_argument, NULL, 't'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"threads", required_argument, NULL, 'n'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (c == 't')
            g.types = optarg;
        else if (c == 'j')
            g.jobs = optarg;
        else if (c == 'n')
            g.threads = atoi(optarg);
        else if (c == 's')
            g.seconds = atof(optarg);
        else
            return false;
    }
    return optind == argc && g.threads > 0;
}

int main(int argc, char **argv)
{
    bool runs = true;
    g.threads = omp_get_num_procs();
    if (!read_options(argc, argv)) return help(), 2;
    while (g.levels < MAX_LEVELS && qn_kernels_level(g.levels, &g.level[g.levels], &runs) && runs)
        g.levels++;
    fill_rows();
    g.copy[0] = copy_rate(1);
    g.copy[1] = copy_rate(g.threads);
    printf("MB/s of float32, rows of %d. memcpy: %.0f on one thread, %.0f on %d.\n", COLUMNS,
           g.copy[0] * 1e-6, g.copy[1] * 1e-6, g.threads);
    for (job what = ENCODE; what < JOBS; what++)
        if (!g.jobs || strchr(g.jobs, "ewd"[what])) table(what);
    return EXIT_SUCCESS;
}
