/* The pipeline against the obvious: every row encoded by itself, in order, by
 * the scalar kernels. */
#include "quant/pipeline.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "formats/base/outfile.h"
#include "tests/support/files.h"
#include "tests/support/made_model.h"

/* ---- jobs made by hand -------------------------------------------------------- */

typedef struct {
    qn_model *model;
    qn_plan plan;
    float *values[64]; /* of float tensors, by their number */
} task;

enum { SEED = 20260824 };

static void task_open(task *t)
{
    *t = (task){.model = made_model_new("llama")};
}

static void task_close(task *t)
{
    for (int i = 0; i < 64; i++) qn_free(t->values[i]);
    qn_free(t->plan.entries);
    made_model_free(t->model);
}

/* rows x columns float32 values, which the result points to, on their way to
 * `to`. */
static float *add(task *t, uint64_t rows, uint64_t columns, qn_dtype to)
{
    static unsigned state = SEED;
    const size_t i = t->model->n_tensors;
    char name[32];
    snprintf(name, sizeof name, "t%zu.weight", i);
    ck_assert_uint_lt(i, 64);
    float *v = t->values[i] = qn_alloc(rows * columns, sizeof *v);
    ck_assert_ptr_nonnull(v);
    for (uint64_t j = 0; j < rows * columns; j++) {
        state = state * 1664525 + 1013904223;
        v[j] = (float)(state >> 8) / 16777216.0F - 0.5F;
    }
    made_model_add(t->model, name, QN_F32, 2, (uint64_t[]){rows, columns}, v);
    t->plan.entries = qn_resize(t->plan.entries, i + 1, sizeof *t->plan.entries);
    ck_assert_ptr_nonnull(t->plan.entries);
    t->plan.entries[i] = (qn_plan_entry){.dtype = to, .copy = to == QN_F32};
    return v;
}

/* Once nothing is added any more. */
static void bind(task *t)
{
    t->plan.model = t->model;
    t->plan.n = t->model->n_tensors;
    t->plan.metadata = t->model->metadata;
    for (size_t i = 0; i < t->plan.n; i++) t->plan.entries[i].tensor = &t->model->tensors[i];
}

static qn_writer *begun(const qn_plan *p, const char *path)
{
    qn_writer *w = NULL;
    uint64_t total;
    qn_error err;
    qn_status status =
        qn_writer_create(&w, &qn_format_gguf, path, false, p->metadata, p->align, &err);
    for (size_t i = 0; !status && i < p->n; i++) {
        const qn_plan_entry *e = &p->entries[i];
        status =
            qn_writer_declare(w, e->tensor->name, e->dtype, e->tensor->rank, e->tensor->dims, &err);
    }
    if (!status) status = qn_writer_plan(w, &total, &err);
    if (!status) status = qn_writer_begin(w, &err);
    ck_assert_msg(!status, "%s", err.message);
    return w;
}

static qn_status run_one(const qn_plan *p, qn_writer *w, const qn_pipeline_options *o,
                         qn_tensor_result *results, qn_error *err)
{
    return qn_pipeline_run(&(qn_pipeline_output){p, w, results}, 1, o, err);
}

static uint64_t least_memory(const qn_plan *p, int threads)
{
    return qn_pipeline_least_memory(&(qn_pipeline_output){.plan = p}, 1, threads);
}

/* Runs and abandons: for what fails.  Nothing may be left behind. */
static qn_status run_to_nothing(const qn_plan *p, const qn_pipeline_options *o, qn_error *err)
{
    qn_writer *w = begun(p, qn_test_path("out.gguf"));
    const qn_status status = run_one(p, w, o, NULL, err);
    qn_writer_abandon(w);
    ck_assert_uint_eq(qn_test_count(""), 0);
    return status;
}

/* The file's bytes, for the caller to free. */
static char *run_to_bytes(const qn_plan *p, const qn_pipeline_options *o, qn_tensor_result *results,
                          size_t *n)
{
    qn_error err = {0};
    char *bytes;
    const char *path = qn_test_path("out.gguf");
    qn_writer *w = begun(p, path);
    ck_assert_msg(!run_one(p, w, o, results, &err), "%s", err.message);
    ck_assert_msg(!qn_writer_commit(w, &err), "%s", err.message);
    ck_assert_int_eq(qn_read_file(path, 1 << 30, &bytes, n, NULL), QN_OK);
    remove(path);
    return bytes;
}

/* The same file the slow way. */
static char *expected_bytes(const qn_plan *p, size_t *n)
{
    qn_kernels k;
    bool runs;
    char *bytes;
    ck_assert(qn_kernels_level(0, &k, &runs));
    const char *path = qn_test_path("expected.gguf");
    qn_writer *w = begun(p, path);
    for (size_t i = 0; i < p->n; i++) {
        const qn_rows *rows = p->entries[i].tensor->rows;
        const qn_dtype to = p->entries[i].dtype;
        uint64_t row_bytes;
        ck_assert(qn_dtype_row_bytes(to, rows->columns, &row_bytes));
        float *values = qn_alloc(rows->columns, sizeof *values);
        uint8_t *row = qn_alloc(row_bytes, 1);
        for (uint64_t r = 0; r < rows->rows; r++) {
            ck_assert_int_eq(rows->decode(rows, &k, r, r + 1, values, NULL), QN_OK);
            k.encode[to](values, NULL, row, rows->columns);
            ck_assert_int_eq(qn_writer_put(w, i, r * row_bytes, row, row_bytes, NULL), QN_OK);
        }
        qn_free(values);
        qn_free(row);
    }
    ck_assert_int_eq(qn_writer_commit(w, NULL), QN_OK);
    ck_assert_int_eq(qn_read_file(path, 1 << 30, &bytes, n, NULL), QN_OK);
    remove(path);
    return bytes;
}

/* Every kind of tensor: long rows, short rows, one row, empty, every type. */
static void add_everything(task *t)
{
    static const qn_dtype types[] = {QN_F32,  QN_F16,  QN_BF16, QN_Q8_0, QN_Q4_0, QN_Q4_1,
                                     QN_Q5_0, QN_Q5_1, QN_Q4_K, QN_Q5_K, QN_Q6_K};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) add(t, 37 + i, 1024, types[i]);
    add(t, 5000, 32, QN_Q8_0);
    add(t, 3, 131072, QN_Q4_0);
    add(t, 1, 256, QN_Q4_K);
    add(t, 0, 256, QN_Q4_K);
    add(t, 2, 0, QN_F16);
    add(t, 70001, 3, QN_F16);
    add(t, 1, 1, QN_F32);
    bind(t);
}

/* What is quick, for what runs many times. */
static void add_a_little(task *t)
{
    add(t, 300, 1024, QN_Q8_0);
    add(t, 20, 32, QN_F32);
    add(t, 1000, 256, QN_F16);
    bind(t);
}

static const int thread_counts[] = {1, 2, 3, 7};
enum { N_THREAD_COUNTS = 4 };

/* ---- bytes -------------------------------------------------------------------- */

START_TEST(the_bytes_are_those_of_every_row_by_itself_whatever_the_threads)
{
    task t;
    size_t n, expected_n;
    task_open(&t);
    add_everything(&t);
    char *expected = expected_bytes(&t.plan, &expected_n);
    const qn_pipeline_options o = {.threads = thread_counts[_i]};
    char *bytes = run_to_bytes(&t.plan, &o, NULL, &n);
    ck_assert_uint_eq(n, expected_n);
    ck_assert_mem_eq(bytes, expected, n);
    qn_free(bytes);
    qn_free(expected);
    task_close(&t);
}
END_TEST

START_TEST(the_least_memory_is_enough_and_gives_the_same_bytes_and_errors)
{
    task t;
    size_t n, least_n;
    task_open(&t);
    add_everything(&t);
    qn_tensor_result results[64], least_results[64];
    qn_pipeline_options o = {.threads = thread_counts[_i], .measure = true};
    char *bytes = run_to_bytes(&t.plan, &o, results, &n);
    o.memory_bytes = least_memory(&t.plan, o.threads);
    char *least = run_to_bytes(&t.plan, &o, least_results, &least_n);
    ck_assert_uint_eq(n, least_n);
    ck_assert_mem_eq(bytes, least, n);
    ck_assert_mem_eq(results, least_results, t.plan.n * sizeof *results);
    qn_free(bytes);
    qn_free(least);
    task_close(&t);
}
END_TEST

START_TEST(less_than_the_least_memory_is_refused_with_both_numbers)
{
    task t;
    char numbers[100];
    qn_error err;
    task_open(&t);
    add(&t, 2, 131072, QN_Q8_0);
    bind(&t);
    const uint64_t least = least_memory(&t.plan, 2);
    ck_assert_uint_ge(least, 2 * 131072 * 4);
    const qn_pipeline_options o = {.threads = 2, .memory_bytes = least - 1};
    ck_assert_int_eq(run_to_nothing(&t.plan, &o, &err), QN_ERR_MEMORY);
    snprintf(numbers, sizeof numbers,
             "%llu bytes of memory for 2 threads are too few: at least %llu",
             (unsigned long long)least - 1, (unsigned long long)least);
    ck_assert_str_eq(err.message, numbers);
    task_close(&t);
}
END_TEST

START_TEST(rows_that_lie_in_another_order_are_gathered)
{
    task t;
    size_t n, expected_n;
    task_open(&t);
    add(&t, 4096, 64, QN_F32);
    add(&t, 4096, 64, QN_Q8_0);
    bind(&t);
    for (int i = 0; i < 2; i++)
        t.model->tensors[i].rows = qn_rows_permute(t.model->arena, t.model->tensors[i].rows, 4);
    char *expected = expected_bytes(&t.plan, &expected_n);
    char *bytes = run_to_bytes(&t.plan, &(qn_pipeline_options){.threads = 3}, NULL, &n);
    ck_assert_uint_eq(n, expected_n);
    ck_assert_mem_eq(bytes, expected, n);
    qn_free(bytes);
    qn_free(expected);
    task_close(&t);
}
END_TEST

static bool count_turns(void *turns, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    ++*(size_t *)turns;
    return true;
}

/* A pass has one parallel region, so its threads wait for each other once, at its
 * end; what they share before that is the queue, whose turns are counted here. */
START_TEST(two_hundred_thousand_tiny_tensors_take_few_turns_at_the_queue)
{
    enum { N = 200000, COLUMNS = 32, MOST_TURNS = 4000 };
    static float values[N][COLUMNS];
    size_t n, turns = 0;
    uint8_t row[34];
    qn_model *m = made_model_new("llama");
    qn_plan p = {.model = m, .n = N, .metadata = m->metadata};
    p.entries = qn_alloc(N, sizeof *p.entries);
    for (int i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "t%d.weight", i);
        for (int j = 0; j < COLUMNS; j++) values[i][j] = (float)(i * COLUMNS + j);
        made_model_add(m, name, QN_F32, 1, (uint64_t[]){COLUMNS}, values[i]);
        p.entries[i].dtype = QN_Q8_0;
    }
    for (int i = 0; i < N; i++) p.entries[i].tensor = &m->tensors[i];
    const qn_pipeline_options o = {.threads = 7, .watch = {count_turns, &turns}};
    char *bytes = run_to_bytes(&p, &o, NULL, &n);
    ck_assert_uint_lt(turns, MOST_TURNS);
    for (size_t i = 0; i < N; i++) { /* each in 34 bytes and 30 of padding */
        qn_kernels_best()->encode[QN_Q8_0](values[i], NULL, row, COLUMNS);
        ck_assert_mem_eq(bytes + n - (N - i) * 64, row, sizeof row);
    }
    qn_free(bytes);
    qn_free(p.entries);
    made_model_free(m);
}
END_TEST

START_TEST(rows_without_columns_cost_nothing_however_many)
{
    task t;
    size_t n;
    task_open(&t);
    add(&t, UINT64_C(1) << 40, 0, QN_F16);
    bind(&t);
    ck_assert_uint_lt(least_memory(&t.plan, 1), 1000);
    qn_free(run_to_bytes(&t.plan, &(qn_pipeline_options){.threads = 1}, NULL, &n));
    task_close(&t);
}
END_TEST

START_TEST(a_quantized_tensor_is_copied_unseen)
{
    uint8_t block[18]; /* Q4_0 with a NaN for a scale */
    size_t n;
    memset(block, 0x7f, sizeof block);
    qn_model *m = made_model_new("llama");
    made_model_add(m, "t.weight", QN_Q4_0, 1, (uint64_t[]){32}, block);
    qn_plan_entry e = {.tensor = &m->tensors[0], .dtype = QN_Q4_0, .copy = true};
    qn_plan p = {.model = m, .n = 1, .metadata = m->metadata, .entries = &e};
    char *bytes = run_to_bytes(&p, &(qn_pipeline_options){0}, NULL, &n);
    ck_assert_uint_ge(n, 32);
    ck_assert_mem_eq(bytes + n - 32, block, sizeof block);
    qn_free(bytes);
    made_model_free(m);
}
END_TEST

/* ---- several files in one pass --------------------------------------------------- */

enum { N_OUTPUTS = 3 };

/* The same tensors by three plans: as they are, to other types, copied. */
static void plan_three(const task *t, qn_plan plans[N_OUTPUTS])
{
    for (int k = 0; k < N_OUTPUTS; k++) {
        plans[k] = t->plan;
        plans[k].entries = qn_alloc(t->plan.n, sizeof *plans[k].entries);
        ck_assert_ptr_nonnull(plans[k].entries);
        for (size_t i = 0; i < t->plan.n; i++) {
            qn_plan_entry *e = &plans[k].entries[i];
            *e = t->plan.entries[i];
            if (k == 1) e->dtype = e->tensor->rows->columns % 32 ? QN_BF16 : QN_Q4_0;
            if (k == 2) e->dtype = QN_F32;
            e->copy = e->dtype == QN_F32;
        }
    }
}

static const char *output_path(int k)
{
    char name[32];
    snprintf(name, sizeof name, "out%d.gguf", k);
    return qn_test_path(name);
}

START_TEST(one_pass_gives_the_files_that_a_pass_for_each_gives)
{
    task t;
    qn_plan plans[N_OUTPUTS];
    qn_pipeline_output outputs[N_OUTPUTS];
    qn_writer *writers[N_OUTPUTS];
    qn_tensor_result results[N_OUTPUTS][64], alone[64];
    qn_error err = {0};
    task_open(&t);
    add_everything(&t);
    plan_three(&t, plans);
    qn_pipeline_options o = {.threads = thread_counts[_i / 2], .measure = true};
    for (int k = 0; k < N_OUTPUTS; k++) {
        writers[k] = begun(&plans[k], output_path(k));
        outputs[k] = (qn_pipeline_output){&plans[k], writers[k], results[k]};
    }
    if (_i % 2) o.memory_bytes = qn_pipeline_least_memory(outputs, N_OUTPUTS, o.threads);
    ck_assert_msg(!qn_pipeline_run(outputs, N_OUTPUTS, &o, &err), "%s", err.message);
    ck_assert_msg(!qn_writer_commit_all(writers, N_OUTPUTS, &err), "%s", err.message);
    o.memory_bytes = 0;
    for (int k = 0; k < N_OUTPUTS; k++) {
        size_t n, expected_n;
        char *bytes;
        ck_assert_int_eq(qn_read_file(output_path(k), 1 << 30, &bytes, &n, NULL), QN_OK);
        char *expected = run_to_bytes(&plans[k], &o, alone, &expected_n);
        ck_assert_uint_eq(n, expected_n);
        ck_assert_mem_eq(bytes, expected, n);
        ck_assert_mem_eq(results[k], alone, t.plan.n * sizeof *alone);
        qn_free(bytes);
        qn_free(expected);
        qn_free(plans[k].entries);
    }
    task_close(&t);
}
END_TEST

/* 65,520 does not fit into F16; a row before it holds 1e9, which Q4_0 cannot. */
START_TEST(of_several_files_the_first_row_that_one_cannot_hold_is_named)
{
    task t;
    qn_plan plans[N_OUTPUTS];
    qn_pipeline_output outputs[N_OUTPUTS];
    task_open(&t);
    float *v = add(&t, 300, 64, QN_F16);
    v[200 * 64 + 3] = 1e9F;
    v[250 * 64] = NAN;
    v[199 * 64 + 40] = 65535.0F;
    bind(&t);
    plan_three(&t, plans);
    for (int i = 0; i < N_THREAD_COUNTS; i++)
        for (int first = 0; first < N_OUTPUTS; first++) {
            qn_error err;
            const qn_pipeline_options o = {.threads = thread_counts[i]};
            for (int k = 0; k < N_OUTPUTS; k++) {
                const qn_plan *p = &plans[(first + k) % N_OUTPUTS];
                outputs[k] = (qn_pipeline_output){p, begun(p, output_path(k)), NULL};
            }
            ck_assert_int_eq(qn_pipeline_run(outputs, N_OUTPUTS, &o, &err), QN_ERR_DATA);
            ck_assert_str_eq(err.message,
                             "made.gguf: \"t0.weight\": row 199, column 40: 65535 is beyond the "
                             "range of F16 (BF16 and F32 reach further)");
            for (int k = 0; k < N_OUTPUTS; k++) qn_writer_abandon(outputs[k].writer);
            ck_assert_uint_eq(qn_test_count(""), 0);
        }
    for (int k = 0; k < N_OUTPUTS; k++) qn_free(plans[k].entries);
    task_close(&t);
}
END_TEST

/* ---- errors measured ---------------------------------------------------------- */

START_TEST(the_error_is_the_root_of_the_mean_square_and_the_same_for_any_threads)
{
    task t;
    size_t n;
    qn_kernels k;
    bool runs;
    static float back[41][1024];
    task_open(&t);
    add_everything(&t);
    qn_tensor_result results[64], one[64];
    const qn_pipeline_options o = {.threads = thread_counts[_i], .measure = true};
    qn_free(run_to_bytes(&t.plan, &o, results, &n));
    qn_free(run_to_bytes(&t.plan, &(qn_pipeline_options){.threads = 1, .measure = true}, one, &n));
    ck_assert_mem_eq(results, one, t.plan.n * sizeof *one);

    enum { Q4_0_ENTRY = 4, ROWS = 37 + Q4_0_ENTRY };
    ck_assert_int_eq(t.plan.entries[Q4_0_ENTRY].dtype, QN_Q4_0);
    uint8_t row[1024 / 32 * 18];
    double sum = 0;
    ck_assert(qn_kernels_level(0, &k, &runs));
    for (int r = 0; r < ROWS; r++) {
        const float *x = t.values[Q4_0_ENTRY] + r * 1024;
        k.encode[QN_Q4_0](x, NULL, row, 1024);
        k.decode[QN_Q4_0](row, back[r], 1024);
        for (int c = 0; c < 1024; c++)
            sum += ((double)x[c] - (double)back[r][c]) * ((double)x[c] - (double)back[r][c]);
    }
    ck_assert_double_eq_tol(results[Q4_0_ENTRY].rmse, sqrt(sum / (ROWS * 1024)), 1e-13);
    ck_assert_double_gt(results[Q4_0_ENTRY].rmse, 0.01);
    ck_assert_double_eq(results[0].rmse, 0);
    task_close(&t);
}
END_TEST

/* ---- values that cannot be written -------------------------------------------- */

static void expect_refusal(task *t, bool allow_nan, const char *message)
{
    bind(t);
    for (int i = 0; i < N_THREAD_COUNTS; i++) {
        qn_error err;
        const qn_pipeline_options o = {.threads = thread_counts[i], .allow_nan = allow_nan};
        ck_assert_int_eq(run_to_nothing(&t->plan, &o, &err), QN_ERR_DATA);
        ck_assert_str_eq(err.message, message);
    }
}

START_TEST(the_first_nan_is_refused_whatever_the_threads)
{
    task t;
    task_open(&t);
    add(&t, 200, 1024, QN_Q4_K);
    float *second = add(&t, 900, 512, QN_Q4_0);
    float *third = add(&t, 64, 512, QN_Q4_0);
    second[899 * 512 + 5] = NAN;
    second[700 * 512 + 511] = NAN;
    second[701 * 512] = -INFINITY;
    third[0] = NAN;
    expect_refusal(&t, false,
                   "made.gguf: \"t1.weight\": row 700, column 511 is NaN, which no block can hold: "
                   "Q4_0");
    task_close(&t);
}
END_TEST

START_TEST(a_nan_in_a_copied_tensor_is_refused)
{
    task t;
    task_open(&t);
    add(&t, 5, 32, QN_F32)[3 * 32 + 17] = -INFINITY;
    expect_refusal(&t, false,
                   "made.gguf: \"t0.weight\": row 3, column 17 is -infinity (--allow-nan writes it "
                   "anyway)");
    task_close(&t);
}
END_TEST

START_TEST(no_block_can_hold_a_nan_even_when_it_is_allowed)
{
    task t;
    task_open(&t);
    add(&t, 5, 32, QN_F16)[1] = NAN;
    add(&t, 5, 32, QN_Q8_0)[32] = INFINITY;
    expect_refusal(
        &t, true,
        "made.gguf: \"t1.weight\": row 1, column 0 is infinity, which no block can hold: "
        "Q8_0");
    task_close(&t);
}
END_TEST

START_TEST(floats_keep_a_nan_that_is_allowed)
{
    task t;
    size_t n, expected_n;
    task_open(&t);
    add(&t, 5, 32, QN_F32)[3] = NAN;
    add(&t, 5, 32, QN_F16)[3] = INFINITY;
    add(&t, 5, 32, QN_BF16)[3] = NAN;
    add(&t, 5, 32, QN_F16)[3] = 1e6F;
    bind(&t);
    char *expected = expected_bytes(&t.plan, &expected_n);
    char *bytes =
        run_to_bytes(&t.plan, &(qn_pipeline_options){.allow_nan = true, .threads = 2}, NULL, &n);
    ck_assert_uint_eq(n, expected_n);
    ck_assert_mem_eq(bytes, expected, n);
    qn_free(bytes);
    qn_free(expected);
    task_close(&t);
}
END_TEST

START_TEST(a_number_beyond_f16_is_refused)
{
    task t;
    task_open(&t);
    float *v = add(&t, 5, 32, QN_F16);
    v[31] = 65519.0F; /* rounds to 65504, the largest */
    v[2 * 32 + 4] = 65520.0F;
    expect_refusal(&t, false,
                   "made.gguf: \"t0.weight\": row 2, column 4: 65520 is beyond the range of F16 "
                   "(BF16 and F32 reach further)");
    task_close(&t);
}
END_TEST

START_TEST(a_scale_beyond_half_precision_is_refused)
{
    static const struct {
        qn_dtype dtype;
        float value;
        const char *what;
    } cases[] = {
        {QN_Q8_0, 8.4e6F,
         "columns 0 to 31: values up to 8.4e+06 need a scale beyond half "
         "precision, which is what Q8_0"},
        {QN_Q4_0, 6e5F,
         "columns 0 to 31: values up to 600000 need a scale beyond half "
         "precision, which is what Q4_0"},
        {QN_Q4_1, 1.1e6F,
         "columns 0 to 31: values up to 1.1e+06 need a scale beyond half "
         "precision, which is what Q4_1"},
        {QN_Q4_K, 1e9F,
         "columns 0 to 255: values up to 1e+09 need a scale beyond half "
         "precision, which is what Q4_K"},
        {QN_Q6_K, 1e12F,
         "columns 0 to 255: values up to 1e+12 need a scale beyond half "
         "precision, which is what Q6_K"},
    };
    task t;
    char message[300];
    task_open(&t);
    add(&t, 3, 512, cases[_i].dtype)[1 * 512 + 7] = cases[_i].value;
    snprintf(message, sizeof message, "made.gguf: \"t0.weight\": row 1, %s stores", cases[_i].what);
    expect_refusal(&t, false, message);
    task_close(&t);
}
END_TEST

/* ---- sources that take their time ---------------------------------------------- */

/* Zeros, but what `poison` says: a row source of no file. */
typedef struct {
    unsigned slow_ms; /* for each call */
    uint64_t poison;  /* the row that is NaN */
    unsigned long calls;
} slow_source;

static qn_status slow_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                             float *out, qn_error *err)
{
    slow_source *source = (slow_source *)(uintptr_t)s->state;
    (void)k, (void)err;
#pragma omp atomic
    source->calls++;
    nanosleep(&(struct timespec){.tv_nsec = source->slow_ms * 1000000L}, NULL);
    memset(out, 0, (r1 - r0) * s->columns * sizeof *out);
    if (r0 <= source->poison && source->poison < r1) out[(source->poison - r0) * s->columns] = NAN;
    return QN_OK;
}

static void slow_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    (void)s, (void)r0, (void)r1;
}

static void replace_rows(task *t, size_t i, slow_source *source)
{
    qn_rows *rows = qn_arena_alloc(t->model->arena, 1, sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    *rows = *t->model->tensors[i].rows;
    rows->decode = slow_decode;
    rows->done = slow_done;
    rows->state = source;
    rows->source_bytes = 1000003;
    t->model->tensors[i].rows = rows;
}

START_TEST(a_fault_found_late_wins_when_it_comes_first_in_the_plan)
{
    task t;
    task_open(&t);
    for (int i = 0; i < 2; i++) add(&t, 64, 1024, QN_Q8_0);
    bind(&t);
    slow_source first = {.slow_ms = 60, .poison = 5}, second = {.poison = 1};
    replace_rows(&t, 0, &first);
    replace_rows(&t, 1, &second);
    qn_error err;
    const qn_pipeline_options o = {.threads = 2};
    ck_assert_int_eq(run_to_nothing(&t.plan, &o, &err), QN_ERR_DATA);
    ck_assert_ptr_nonnull(strstr(err.message, "\"t0.weight\": row 5, column 0 is NaN"));
    ck_assert_uint_gt(second.calls, 0);
    task_close(&t);
}
END_TEST

START_TEST(nothing_more_is_begun_after_a_fault)
{
    task t;
    task_open(&t);
    for (int i = 0; i < 2; i++) add(&t, 640, 1024, QN_Q8_0);
    bind(&t);
    slow_source first = {.poison = 5}, second = {.poison = UINT64_MAX};
    replace_rows(&t, 0, &first);
    replace_rows(&t, 1, &second);
    qn_error err;
    ck_assert_int_eq(run_to_nothing(&t.plan, &(qn_pipeline_options){.threads = 1}, &err),
                     QN_ERR_DATA);
    ck_assert_uint_eq(first.calls, 1);
    ck_assert_uint_eq(second.calls, 0);
    task_close(&t);
}
END_TEST

/* ---- stopping ----------------------------------------------------------------- */

typedef struct {
    uint64_t last, calls, stop_at;
    int inside;
} watcher;

static bool watch(void *ctx, uint64_t done, uint64_t total)
{
    watcher *w = ctx;
    int inside;
#pragma omp atomic capture
    inside = ++w->inside;
    ck_assert_int_eq(inside, 1);
    ck_assert_uint_le(done, total);
    ck_assert_uint_ge(done, w->last);
    w->last = done;
#pragma omp atomic
    w->inside--;
    return ++w->calls != w->stop_at;
}

START_TEST(the_watch_hears_of_every_byte_from_one_thread_at_a_time)
{
    task t;
    size_t n;
    uint64_t total = 0;
    watcher w = {0};
    task_open(&t);
    add_everything(&t);
    slow_source odd = {.poison = UINT64_MAX};
    ck_assert_uint_ne(1000003 % t.model->tensors[3].rows->rows, 0);
    replace_rows(&t, 3, &odd);
    for (size_t i = 0; i < t.plan.n; i++) total += t.model->tensors[i].rows->source_bytes;
    const qn_pipeline_options o = {.threads = thread_counts[_i], .watch = {watch, &w}};
    qn_free(run_to_bytes(&t.plan, &o, NULL, &n));
    ck_assert_uint_eq(w.last, total);
    ck_assert_uint_gt(w.calls, 5);
    task_close(&t);
}
END_TEST

START_TEST(a_watch_that_says_no_leaves_nothing)
{
    task t;
    qn_error err;
    task_open(&t);
    add_a_little(&t);
    for (uint64_t at = 1; at < 8; at += 3) {
        watcher w = {.stop_at = at};
        const qn_pipeline_options o = {.threads = thread_counts[_i], .watch = {watch, &w}};
        ck_assert_int_eq(run_to_nothing(&t.plan, &o, &err), QN_ERR_CANCELLED);
        ck_assert_uint_eq(w.calls, at);
    }
    task_close(&t);
}
END_TEST

START_TEST(a_write_that_fails_leaves_nothing)
{
    task t;
    unsigned long at = 1;
    task_open(&t);
    add_a_little(&t);
    for (;; at++) {
        qn_error err;
        qn_writer *w = begun(&t.plan, qn_test_path("out.gguf"));
        qn_outfile_fail_at(at);
        const qn_pipeline_options o = {.threads = thread_counts[_i]};
        const qn_status status = run_one(&t.plan, w, &o, NULL, &err);
        qn_outfile_fail_at(0);
        qn_writer_abandon(w);
        ck_assert_uint_eq(qn_test_count(""), 0);
        if (!status) break;
        ck_assert_int_eq(status, QN_ERR_SYSTEM);
        ck_assert_ptr_nonnull(strstr(err.message, "No space left"));
    }
    ck_assert_uint_gt(at, 10);
    task_close(&t);
}
END_TEST

START_TEST(a_run_without_memory_says_so)
{
    task t;
    unsigned long at = 1;
    task_open(&t);
    add(&t, 64, 256, QN_Q4_K);
    bind(&t);
    for (;; at++) {
        qn_error err;
        qn_writer *w = begun(&t.plan, qn_test_path("out.gguf"));
        qn_alloc_fail_at(at);
        const qn_status status =
            run_one(&t.plan, w, &(qn_pipeline_options){.threads = 2}, NULL, &err);
        qn_alloc_fail_at(0);
        qn_writer_abandon(w);
        if (!status) break;
        ck_assert_int_eq(status, QN_ERR_MEMORY);
    }
    ck_assert_uint_gt(at, 8);
    task_close(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pipeline");
    TCase *t = tcase_create("bytes");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, the_bytes_are_those_of_every_row_by_itself_whatever_the_threads, 0,
                        N_THREAD_COUNTS);
    tcase_add_loop_test(t, the_least_memory_is_enough_and_gives_the_same_bytes_and_errors, 0,
                        N_THREAD_COUNTS);
    tcase_add_test(t, less_than_the_least_memory_is_refused_with_both_numbers);
    tcase_add_test(t, rows_that_lie_in_another_order_are_gathered);
    tcase_add_test(t, two_hundred_thousand_tiny_tensors_take_few_turns_at_the_queue);
    tcase_add_test(t, rows_without_columns_cost_nothing_however_many);
    tcase_add_test(t, a_quantized_tensor_is_copied_unseen);
    tcase_add_loop_test(t, one_pass_gives_the_files_that_a_pass_for_each_gives, 0,
                        2 * N_THREAD_COUNTS);
    tcase_add_test(t, of_several_files_the_first_row_that_one_cannot_hold_is_named);
    tcase_add_loop_test(t, the_error_is_the_root_of_the_mean_square_and_the_same_for_any_threads, 0,
                        N_THREAD_COUNTS);
    suite_add_tcase(s, t);
    t = tcase_create("refusals");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_first_nan_is_refused_whatever_the_threads);
    tcase_add_test(t, a_nan_in_a_copied_tensor_is_refused);
    tcase_add_test(t, no_block_can_hold_a_nan_even_when_it_is_allowed);
    tcase_add_test(t, floats_keep_a_nan_that_is_allowed);
    tcase_add_test(t, a_number_beyond_f16_is_refused);
    tcase_add_loop_test(t, a_scale_beyond_half_precision_is_refused, 0, 5);
    suite_add_tcase(s, t);
    t = tcase_create("stopping");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, the_watch_hears_of_every_byte_from_one_thread_at_a_time, 0,
                        N_THREAD_COUNTS);
    tcase_add_test(t, a_fault_found_late_wins_when_it_comes_first_in_the_plan);
    tcase_add_test(t, nothing_more_is_begun_after_a_fault);
    tcase_add_loop_test(t, a_watch_that_says_no_leaves_nothing, 0, N_THREAD_COUNTS);
    tcase_add_loop_test(t, a_write_that_fails_leaves_nothing, 0, N_THREAD_COUNTS);
    tcase_add_test(t, a_run_without_memory_says_so);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
