/* Second moments: beside a slow sum over what the matrices were multiplied with,
 * beside themselves made otherwise, and their files, right and wrong ones. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/imatrix_write.h"
#include "formats/writer.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"
#include "tests/support/run.h"
#include "validate/moment_sums.h"

/* Chains of 256 rows end inside calls and go on in the next. */
enum { N_CTX = 140, SEQUENCES = 2, MOST = 64 };

typedef unsigned long long ull;

/* ---- a slow sum ------------------------------------------------------------------------- */

/* Of one matrix of a tensor: S and the sums of |x[i] x[j]|, in double. */
typedef struct {
    char name[64];
    uint64_t matrix, columns, rows;
    double *s, *absolute; /* [columns][columns] */
} slow_sum;

typedef struct {
    slow_sum of[MOST * 4];
    size_t n;
    const qn_linear_inputs *inputs;
    qn_moment_sums *sums; /* under test, sees the same */
} watcher;

static slow_sum *slow_of(watcher *w, const char *name, uint64_t matrix, uint64_t columns)
{
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->of[i].name, name) && w->of[i].matrix == matrix) return &w->of[i];
    ck_assert_uint_lt(w->n, sizeof w->of / sizeof *w->of);
    slow_sum *new = &w->of[w->n++];
    snprintf(new->name, sizeof new->name, "%s", name);
    new->matrix = matrix;
    new->columns = columns;
    new->s = calloc(columns * columns, sizeof *new->s);
    new->absolute = calloc(columns * columns, sizeof *new->absolute);
    return new;
}

static qn_status see(void *ctx, const qn_linear_input *in, qn_error *err)
{
    watcher *w = ctx;
    const size_t n = in->columns;
    if (qn_linear_inputs_named(w->inputs, in->tensor) == SIZE_MAX) return QN_OK;
    slow_sum *sum = slow_of(w, in->tensor, in->matrix, n);
    for (size_t t = 0; t < in->rows; t++)
        for (size_t i = 0; i < n; i++)
            for (size_t j = i; j < n; j++) {
                const double p = (double)in->x[t * n + i] * (double)in->x[t * n + j];
                sum->s[i * n + j] += p;
                sum->absolute[i * n + j] += fabs(p);
            }
    sum->rows += in->rows;
    return qn_moment_sums_see(w->sums, in, err);
}

static void free_slow(watcher *w)
{
    for (size_t i = 0; i < w->n; i++) {
        free(w->of[i].s);
        free(w->of[i].absolute);
    }
}

/* ---- a run ------------------------------------------------------------------------------ */

/* What became of it: copies of sums by input and matrix. */
typedef struct {
    const qn_linear_inputs *inputs;
    uint64_t block;
    double **of[MOST]; /* [matrices]; NULL: no row came */
    bool unfinished;
    float **rest[MOST]; /* [matrices]: of an unfinished one */
    size_t *n_rest[MOST], rows_left, done;
} outcome;

static qn_status keep(void *ctx, size_t input, uint64_t matrix, const double *sums,
                      const float *rest, size_t n_rest, qn_error *err)
{
    outcome *o = ctx;
    const qn_moments_input *in = &o->inputs->inputs[input];
    const size_t n = qn_moments_length(in->columns, o->block);
    const size_t bytes = n_rest * in->columns * sizeof *rest;
    (void)err;
    ck_assert_uint_lt(input, MOST);
    if (!o->of[input]) {
        o->of[input] = calloc(in->matrices, sizeof(double *));
        o->rest[input] = calloc(in->matrices, sizeof(float *));
        o->n_rest[input] = calloc(in->matrices, sizeof(size_t));
    }
    o->done++;
    ck_assert(o->unfinished ? n_rest < QN_MOMENT_ROWS : !n_rest);
    if (n_rest) memcpy(o->rest[input][matrix] = malloc(bytes), rest, bytes);
    o->n_rest[input][matrix] = n_rest;
    o->rows_left += n_rest;
    if (!sums) return QN_OK;
    o->of[input][matrix] = malloc(n * sizeof(double));
    memcpy(o->of[input][matrix], sums, n * sizeof(double));
    return QN_OK;
}

static void free_outcome(outcome *o)
{
    for (size_t i = 0; i < o->inputs->n; i++) {
        for (uint64_t j = 0; o->of[i] && j < o->inputs->inputs[i].matrices; j++) {
            free(o->of[i][j]);
            free(o->rest[i][j]);
        }
        free(o->of[i]);
        free(o->rest[i]);
        free(o->n_rest[i]);
    }
}

typedef struct {
    const qn_kernels *k;
    int threads;
    size_t step; /* sequences run together */
    uint64_t block;
    bool by_layers;
} way;

static void run_some(const qn_decoder *d, const uint32_t *ids, size_t n, qn_input_fn fn, void *ctx)
{
    qn_session *s = NULL;
    qn_error err = {0};
    ck_assert(!qn_session_new_whole(&s, d, n, N_CTX, NULL));
    qn_session_watch_inputs(s, fn, ctx);
    ck_assert_msg(!qn_session_run(s, ids, N_CTX, NULL, NULL, &err), "%s", err.message);
    qn_session_free(s);
}

static void run(const qn_decoder *d, const qn_linear_inputs *inputs, const way *how, watcher *w,
                outcome *out)
{
    uint32_t ids[SEQUENCES * N_CTX];
    qn_error err = {0};
    qn_moment_sums *sums = NULL;
    const qn_moment_options options = {.k = how->k,
                                       .threads = how->threads,
                                       .block = how->block,
                                       .by_layers = how->by_layers,
                                       .ends = {out, NULL, keep}};
    *out = (outcome){.inputs = inputs, .block = how->block};
    for (uint32_t i = 0; i < SEQUENCES * N_CTX; i++) ids[i] = 3 + i * i % 89;
    ck_assert(!qn_moment_sums_new(&sums, inputs, &options, NULL));
    if (w) w->sums = sums;
    for (size_t s = 0; s < SEQUENCES; s += how->step)
        run_some(d, ids + s * N_CTX, how->step, w ? see : qn_moment_sums_see, w ? (void *)w : sums);
    if (how->by_layers) ck_assert_uint_gt(out->done, 0);
    ck_assert_msg(!qn_moment_sums_finish(sums, &err), "%s", err.message);
    qn_moment_sums_free(sums);
}

static const char *const models[] = {"models/golden/llama", "models/golden/qwen3-moe",
                                     "models/golden/gemma3n"};

typedef struct {
    qn_test_golden g;
    qn_decoder *d;
    qn_linear_inputs inputs;
} subject;

static bool open_subject(subject *s, const char *model)
{
    if (!qn_test_golden_open(&s->g, model)) return false;
    s->d = qn_test_decoder(s->g.model, qn_kernels_best(), 2);
    ck_assert(!qn_linear_inputs_list(&s->inputs, s->d, true, NULL));
    ck_assert_uint_le(s->inputs.n, MOST);
    return true;
}

static void close_subject(subject *s)
{
    qn_linear_inputs_free(&s->inputs);
    qn_decoder_free(s->d);
    qn_test_golden_close(&s->g);
}

/* The header's bound. */
static void check_slow(const slow_sum *slow, const double *sums, uint64_t block)
{
    const double u = 0x1p-24, bound = QN_MOMENT_ROWS * u / (1 - QN_MOMENT_ROWS * u);
    const uint64_t n = slow->columns, each = qn_moments_block(n, block);
    uint64_t at = 0;
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = i; j < n && j < (i / each + 1) * each; j++, at++) {
            ck_assert_uint_eq(qn_moments_at(n, block, i, j), at);
            ck_assert_msg(fabs(sums[at] - slow->s[i * n + j]) <=
                              bound * slow->absolute[i * n + j] + 1e-30,
                          "%s matrix %llu, columns %llu and %llu: %.9g, in double %.9g", slow->name,
                          (ull)slow->matrix, (ull)i, (ull)j, sums[at], slow->s[i * n + j]);
        }
    ck_assert_uint_eq(qn_moments_length(n, block), at);
}

START_TEST(sums_are_those_of_a_slow_loop_within_the_stated_bound)
{
    static const uint64_t blocks[] = {0, 24, 1};
    subject s = {0};
    watcher w = {.inputs = &s.inputs};
    outcome out;
    if (!open_subject(&s, models[_i])) return;
    const uint64_t block = blocks[_i];
    const way how = {.k = qn_kernels_best(), .threads = 2, .step = SEQUENCES, .block = block};
    run(s.d, &s.inputs, &how, &w, &out);
    for (size_t i = 0; i < w.n; i++) {
        const size_t input = qn_linear_inputs_named(&s.inputs, w.of[i].name);
        ck_assert_uint_eq(s.inputs.inputs[input].columns, w.of[i].columns);
        ck_assert_msg(out.of[input][w.of[i].matrix] != NULL, "%s has no sums", w.of[i].name);
        check_slow(&w.of[i], out.of[input][w.of[i].matrix], block);
    }
    ck_assert_uint_ge(w.n, s.inputs.n);
    free_slow(&w);
    free_outcome(&out);
    close_subject(&s);
}
END_TEST

static void same_outcome(const outcome *a, const outcome *b)
{
    ck_assert_uint_eq(a->done, b->done);
    for (size_t i = 0; i < a->inputs->n; i++) {
        const qn_moments_input *in = &a->inputs->inputs[i];
        const size_t bytes = qn_moments_length(in->columns, a->block) * sizeof(double);
        for (uint64_t j = 0; j < in->matrices; j++) {
            const double *x = a->of[i][j], *y = b->of[i][j];
            ck_assert_msg(!x == !y && (!x || !memcmp(x, y, bytes)), "%s, matrix %llu differs",
                          in->tensors[0], (ull)j);
        }
    }
}

START_TEST(sums_have_the_same_bits_however_they_are_made)
{
    subject s = {0};
    outcome want, other;
    qn_kernels scalar;
    bool runs;
    if (!open_subject(&s, models[_i])) return;
    ck_assert(qn_kernels_level(0, &scalar, &runs));
    const way ways[] = {
        {qn_kernels_best(), 1, 1, 0, false},
        {qn_kernels_best(), 3, 2, 0, false},
        {&scalar, 2, 2, 0, true},
    };
    run(s.d, &s.inputs, &ways[0], NULL, &want);
    for (size_t i = 1; i < sizeof ways / sizeof *ways; i++) {
        run(s.d, &s.inputs, &ways[i], NULL, &other);
        same_outcome(&other, &want);
        free_outcome(&other);
    }
    free_outcome(&want);
    close_subject(&s);
}
END_TEST

/* What a run begins with that goes on from another. */
static qn_status give_back(void *ctx, size_t input, uint64_t matrix, double *sums, float *rest,
                           size_t *n_rest, qn_error *err)
{
    const outcome *o = ((outcome **)ctx)[1];
    const qn_moments_input *in = &o->inputs->inputs[input];
    const double *of = o->of[input][matrix];
    (void)err;
    if (of) memcpy(sums, of, qn_moments_length(in->columns, o->block) * sizeof *sums);
    *n_rest = o->n_rest[input][matrix];
    if (*n_rest) memcpy(rest, o->rest[input][matrix], *n_rest * in->columns * sizeof *rest);
    return QN_OK;
}

static qn_status keep_first(void *ctx, size_t input, uint64_t matrix, const double *sums,
                            const float *rest, size_t n_rest, qn_error *err)
{
    return keep(((outcome **)ctx)[0], input, matrix, sums, rest, n_rest, err);
}

/* One sequence, of those that `before` (NULL: nothing) went before. */
static void run_part(const subject *s, size_t sequence, bool by_layers, outcome *before,
                     outcome *out)
{
    uint32_t ids[SEQUENCES * N_CTX];
    qn_moment_sums *sums = NULL;
    outcome *both[] = {out, before};
    const qn_moment_options options = {.k = qn_kernels_best(),
                                       .threads = 2,
                                       .by_layers = by_layers,
                                       .unfinished = !before,
                                       .ends = {both, before ? give_back : NULL, keep_first}};
    *out = (outcome){.inputs = &s->inputs, .unfinished = !before};
    for (uint32_t i = 0; i < SEQUENCES * N_CTX; i++) ids[i] = 3 + i * i % 89;
    ck_assert(!qn_moment_sums_new(&sums, &s->inputs, &options, NULL));
    run_some(s->d, ids + sequence * N_CTX, 1, qn_moment_sums_see, sums);
    ck_assert(!(before || by_layers ? qn_moment_sums_finish(sums, NULL)
                                    : qn_moment_sums_store(sums, NULL)));
    qn_moment_sums_free(sums);
}

/* Chains are cut where the first run stops, and whole again in the second. */
START_TEST(going_on_where_another_stopped_loses_no_bit)
{
    const way whole = {qn_kernels_best(), 2, 2, 0, false};
    outcome want, first, second;
    subject s = {0};
    if (!open_subject(&s, models[_i])) return;
    run(s.d, &s.inputs, &whole, NULL, &want);
    for (int by_layers = 0; by_layers < 2; by_layers++) {
        run_part(&s, 0, by_layers, NULL, &first);
        ck_assert_uint_gt(first.rows_left, 0);
        run_part(&s, 1, by_layers, &first, &second);
        for (size_t i = 0; i < s.inputs.n; i++) /* zeros are kept where no row came */
            for (uint64_t j = 0; j < s.inputs.inputs[i].matrices; j++)
                if (!want.of[i][j]) {
                    free(second.of[i][j]);
                    second.of[i][j] = NULL;
                }
        same_outcome(&second, &want);
        free_outcome(&first);
        free_outcome(&second);
    }
    free_outcome(&want);
    close_subject(&s);
}
END_TEST

/* ---- files ------------------------------------------------------------------------------- */

enum { COLUMNS = 5, BLOCK = 2, LENGTH = 7 };

static const char *tensors[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight",
                                "blk.0.ffn_up_exps.weight"};
static const qn_moments_input inputs[] = {{tensors, 2, COLUMNS, 1}, {tensors + 2, 1, COLUMNS, 2}};

/* Block by block: 1 2 3, 4 5 6, 7; the second expert of nothing. */
static const double moments[] = {1, 2, 3, 4, 5, 6, 7};
static double squares[] = {1, 3, 4, 6, 7, 0, 0, 0, 0, 0};
static uint64_t counts[] = {9, 0};
/* Two rows that are not in the sums. */
static const float rest_rows[] = {1, 2, 0, 0, 3, 0, 1, 0, 0, 1};

static const char *write_file(const qn_metadata *unfinished)
{
    const qn_imatrix_sums entries[] = {{tensors[0], COLUMNS, 1, squares, counts},
                                       {tensors[1], COLUMNS, 1, squares, counts},
                                       {tensors[2], COLUMNS, 2, squares, counts}};
    const qn_str text = qn_str_z("made.txt");
    const qn_imatrix_contents c = {.entries = entries,
                                   .n_entries = 3,
                                   .datasets = &text,
                                   .n_datasets = 1,
                                   .chunk_count = 1,
                                   .chunk_size = 9,
                                   .unfinished = unfinished,
                                   .inputs = inputs,
                                   .n_inputs = 2,
                                   .block = BLOCK};
    const char *path = qn_test_path("moments.gguf");
    qn_imatrix_writer *w = NULL;
    qn_error err = {0};
    ck_assert_msg(!qn_imatrix_begin(&w, &c, path, true, &err), "%s", err.message);
    ck_assert(!qn_imatrix_put_moments(w, 1, 1, NULL, NULL, 0, &err));
    ck_assert(!qn_imatrix_put_moments(w, 0, 0, moments, NULL, 0, &err));
    ck_assert(!qn_imatrix_put_moments(w, 1, 0, moments, rest_rows, unfinished ? 2 : 0, &err));
    ck_assert_msg(!qn_imatrix_commit(w, &err), "%s", err.message);
    return path;
}

START_TEST(a_file_gives_back_what_was_put_into_it)
{
    static const float second[] = {4, 5, 5, 6};
    float out[4] = {0};
    double sums[LENGTH] = {10};
    qn_imatrix *m = NULL;
    qn_moments *s = NULL;
    qn_error err = {0};
    qn_metadata *where = _i ? qn_metadata_new() : NULL;
    ck_assert(!qn_imatrix_open(&m, write_file(where), NULL));
    ck_assert_msg(!qn_moments_open(&s, m, &err), "%s", err.message);
    ck_assert_uint_eq(s->n_entries, 2);
    ck_assert_uint_eq(s->block, BLOCK);
    const qn_moments_entry *e = qn_moments_find(s, tensors[1]);
    ck_assert_ptr_eq(e, qn_moments_find(s, tensors[0]));
    ck_assert_uint_eq(e->input.n_tensors, 2);
    ck_assert_uint_eq(e->dtype, _i ? QN_F64 : QN_F32);
    ck_assert(!qn_moments_read(s, e, 0, 2, 2, out, &err));
    ck_assert(!memcmp(out, second, sizeof second));
    ck_assert(!qn_moments_read(s, e, 0, 4, 1, out, &err));
    ck_assert(out[0] == 7.0F);
    ck_assert_int_eq(qn_moments_read(s, e, 0, 1, 2, out, &err), QN_ERR_ARGUMENT);
    ck_assert_int_eq(qn_moments_read(s, e, 0, 4, 2, out, &err), QN_ERR_ARGUMENT);
    ck_assert_int_eq(qn_moments_read(s, e, 1, 0, 2, out, &err), QN_ERR_ARGUMENT);

    const qn_moments_entry *experts = qn_moments_find(s, tensors[2]);
    float rest[QN_MOMENTS_CHAIN * COLUMNS];
    size_t n_rest = 9;
    ck_assert(!qn_moments_add(s, experts, 0, sums, rest, &n_rest, &err));
    ck_assert(sums[0] == 11.0 && sums[6] == 7.0);
    ck_assert_uint_eq(n_rest, _i ? 2 : 0);
    ck_assert(!_i || !memcmp(rest, rest_rows, sizeof rest_rows));
    if (_i) { /* added to the sums: 1, 2, 4 + 1 of the first block, 9 + 1 of the last */
        ck_assert(!qn_moments_add(s, experts, 0, sums, NULL, NULL, &err));
        ck_assert(sums[0] == 11.0 + 2.0 && sums[1] == 4.0 + 2.0 && sums[2] == 6.0 + 5.0);
        ck_assert(sums[3] == 8.0 && sums[6] == 14.0 + 10.0);
    }
    ck_assert(!qn_moments_read(s, experts, 1, 2, 2, out, &err));
    ck_assert(out[0] == 0.0F && out[3] == 0.0F);
    ck_assert_ptr_null(qn_moments_find(s, "blk.0"));
    qn_moments_close(s);
    qn_imatrix_close(m);
    qn_metadata_free(where);
}
END_TEST

/* The same file made by hand: what the page says, but for one thing. */
typedef struct {
    const char *tensor, *input; /* of the second name */
    uint64_t block, matrices, length;
    qn_dtype dtype;
    float spoiled; /* the diagonal's second value */
    bool lone;     /* an input too few */
    const char *words;
    uint64_t rest_length; /* of a.rest; 0: there is none */
    float rest_rows;
} flaw;

static const flaw flaws[] = {
    {"a", "a", BLOCK, 1, LENGTH, QN_F32, 3, false, NULL, 0, 0},
    {"b", "a", BLOCK, 1, LENGTH, QN_F32, 3, true, "second moments of 2 tensors and 1 inputs", 0, 0},
    {"c", "a", BLOCK, 1, LENGTH, QN_F32, 3, false, "moments of c, which has no sums of squares", 0,
     0},
    {"d", "a", BLOCK, 1, LENGTH, QN_F32, 3, false, "d shares the second moments of a: 4 columns, 5",
     0, 0},
    {"b", "c", BLOCK, 1, LENGTH, QN_F32, 3, false, "moments of b are those of c, which has none", 0,
     0},
    {"b", "b", BLOCK, 1, LENGTH, QN_F32, 3, false, "tensor b.moments is missing", 0, 0},
    {"b", "a", 3, 1, LENGTH, QN_F32, 3, false, "5 columns in blocks of 3 take 1 x 9 of F32", 0, 0},
    {"b", "a", 0, 1, LENGTH, QN_F32, 3, false, "5 columns in blocks of 5 take 1 x 15 of F32", 0, 0},
    {"b", "a", BLOCK, 2, LENGTH, QN_F32, 3, false, "a.moments is 2 x 7 of F32", 0, 0},
    {"b", "a", BLOCK, 1, LENGTH, QN_F16, 3, false, "a.moments is 1 x 7 of F16", 0, 0},
    {"b", "a", BLOCK, 1, LENGTH, QN_F32, -3, false, "the value of columns 1 and 1 is -3", 0, 0},
    {"b", "a", BLOCK, 1, LENGTH, QN_F32, INFINITY, false, "the value of columns 1 and 1 is inf", 0,
     0},
    {"b", "a", BLOCK, 1, LENGTH, QN_F32, 3, false, "a.rest is 1 x 6 of F32, not 1 x 1276", 6, 1},
    {"b", "a", BLOCK, 1, LENGTH, QN_F32, 3, false, "a.rest: 256 rows, fewer than 256", 1276, 256},
    {"b", "a", BLOCK, 1, LENGTH, QN_F32, 3, false, "a.rest: 1.5 rows", 1276, 1.5F},
    {"b", "a", BLOCK, 1, LENGTH, QN_F32, 3, false, "of row 0, column 0 is inf", 1276, 1},
};

static void put_importance(qn_writer *w, size_t at, uint64_t columns)
{
    static const float ones[] = {1, 1, 1, 1, 1};
    ck_assert(!qn_writer_put(w, at, 0, ones, columns * sizeof *ones, NULL));
    ck_assert(!qn_writer_put(w, at + 1, 0, ones, sizeof *ones, NULL));
}

static const char *write_by_hand(const flaw *f)
{
    const char *path = qn_test_path("made.gguf");
    const uint64_t five = COLUMNS, four = 4, one = 1, dims[] = {f->matrices, f->length};
    const qn_str text = qn_str_z("made.txt"), names[] = {qn_str_z("a"), qn_str_z(f->tensor)};
    const qn_str of[] = {qn_str_z("a"), qn_str_z(f->input)};
    const float values[2 * LENGTH] = {1, 2, f->spoiled, 4, 5, 6, 7};
    const float infinite = INFINITY;
    uint64_t bytes;
    qn_writer *w = NULL;
    qn_metadata *m = qn_metadata_new();
    qn_metadata_set_strs(m, "imatrix.datasets", &text, 1, NULL);
    qn_metadata_set_u32(m, "imatrix.chunk_count", 1, NULL);
    qn_metadata_set_u32(m, "imatrix.chunk_size", 9, NULL);
    qn_metadata_set_u32(m, QN_MOMENTS_BLOCK_KEY, (uint32_t)f->block, NULL);
    qn_metadata_set_strs(m, QN_MOMENTS_TENSORS_KEY, names, 2, NULL);
    qn_metadata_set_strs(m, QN_MOMENTS_INPUTS_KEY, of, f->lone ? 1 : 2, NULL);
    ck_assert(!qn_writer_create(&w, &qn_format_gguf, path, true, m, 0, NULL));
    qn_writer_declare(w, "a.in_sum2", QN_F32, 1, &five, NULL);
    qn_writer_declare(w, "a.counts", QN_F32, 1, &one, NULL);
    qn_writer_declare(w, "b.in_sum2", QN_F32, 1, &five, NULL);
    qn_writer_declare(w, "b.counts", QN_F32, 1, &one, NULL);
    qn_writer_declare(w, "d.in_sum2", QN_F32, 1, &four, NULL);
    qn_writer_declare(w, "d.counts", QN_F32, 1, &one, NULL);
    qn_writer_declare(w, "a.moments", f->dtype, 2, dims, NULL);
    if (f->rest_length) qn_writer_declare(w, "a.rest", QN_F32, 1, &f->rest_length, NULL);
    ck_assert(!qn_writer_plan(w, &bytes, NULL) && !qn_writer_begin(w, NULL));
    for (size_t i = 0; i < f->rest_length; i++)
        ck_assert(!qn_writer_put(w, 7, i * sizeof(float),
                                 i == 1 ? &infinite
                                 : i    ? values
                                        : &f->rest_rows,
                                 sizeof(float), NULL));
    for (size_t i = 0; i < 3; i++) put_importance(w, 2 * i, i == 2 ? 4 : COLUMNS);
    ck_assert(!qn_writer_put(w, 6, 0, values, qn_writer_tensor_bytes(w, 6), NULL));
    ck_assert(!qn_writer_commit(w, NULL));
    qn_metadata_free(m);
    return path;
}

START_TEST(a_file_that_is_wrong_is_refused_by_name)
{
    const flaw *f = &flaws[_i];
    qn_imatrix *m = NULL;
    qn_moments *s = NULL;
    qn_error err = {0};
    double sums[2 * LENGTH] = {0};
    ck_assert(!qn_imatrix_open(&m, write_by_hand(f), NULL));
    if (!f->words) { /* a name twice */
        ck_assert_int_eq(qn_moments_open(&s, m, &err), QN_ERR_DATA);
        ck_assert_msg(strstr(err.message, "moments of a are named twice"), "%s", err.message);
    } else {
        qn_status status = qn_moments_open(&s, m, &err);
        if (!status) status = qn_moments_add(s, &s->entries[0], 0, sums, NULL, NULL, &err);
        ck_assert_int_eq(status, QN_ERR_DATA);
        ck_assert_msg(strstr(err.message, f->words), "'%s' lacks '%s'", err.message, f->words);
    }
    qn_moments_close(s);
    qn_imatrix_close(m);
}
END_TEST

START_TEST(an_importance_matrix_without_them_has_none)
{
    qn_imatrix *m = NULL;
    qn_moments *s = (qn_moments *)&m;
    const char *path = qn_test_data("eval/quern-demo-llama/imatrix.gguf");
    if (!path) return;
    ck_assert(!qn_imatrix_open(&m, path, NULL));
    ck_assert(!qn_moments_open(&s, m, NULL));
    ck_assert_ptr_null(s);
    qn_imatrix_close(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("second moments");
    TCase *tc = qn_test_group(s, "sums");
    tcase_add_loop_test(tc, sums_are_those_of_a_slow_loop_within_the_stated_bound, 0, 3);
    tcase_add_loop_test(tc, sums_have_the_same_bits_however_they_are_made, 0, 2);
    tcase_add_loop_test(tc, going_on_where_another_stopped_loses_no_bit, 0, 2);
    tc = qn_test_group(s, "files");
    tcase_add_loop_test(tc, a_file_gives_back_what_was_put_into_it, 0, 2);
    tcase_add_loop_test(tc, a_file_that_is_wrong_is_refused_by_name, 0,
                        (int)(sizeof flaws / sizeof *flaws));
    tcase_add_test(tc, an_importance_matrix_without_them_has_none);
    return qn_test_run_suite(s);
}
