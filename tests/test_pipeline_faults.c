/* The pipeline when something is wrong: values that cannot be written, a run that is
 * stopped, a full disk, no memory. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "formats/base/outfile.h"
#include "tests/support/files.h"
#include "tests/support/made_model.h"
#include "tests/support/run.h"
#include "tests/support/task.h"

/* What is quick, for what runs many times. */
static void add_a_little(task *t)
{
    task_add(t, 300, 1024, QN_Q8_0);
    task_add(t, 20, 32, QN_F32);
    task_add(t, 1000, 256, QN_F16);
    task_bind(t);
}

/* ---- values that cannot be written -------------------------------------------- */

static void expect_refusal(task *t, bool allow_nan, const char *message)
{
    task_bind(t);
    for (int i = 0; i < N_TASK_THREADS; i++) {
        qn_error err;
        const qn_pipeline_options o = {.threads = task_threads[i], .allow_nan = allow_nan};
        ck_assert_int_eq(task_run_to_nothing(&t->plan, &o, &err), QN_ERR_DATA);
        ck_assert_str_eq(err.message, message);
    }
}

START_TEST(the_first_nan_is_refused_whatever_the_threads)
{
    task t;
    task_open(&t);
    task_add(&t, 200, 1024, QN_Q4_K);
    float *second = task_add(&t, 900, 512, QN_Q4_0);
    float *third = task_add(&t, 64, 512, QN_Q4_0);
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
    task_add(&t, 5, 32, QN_F32)[3 * 32 + 17] = -INFINITY;
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
    task_add(&t, 5, 32, QN_F16)[1] = NAN;
    task_add(&t, 5, 32, QN_Q8_0)[32] = INFINITY;
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
    task_add(&t, 5, 32, QN_F32)[3] = NAN;
    task_add(&t, 5, 32, QN_F16)[3] = INFINITY;
    task_add(&t, 5, 32, QN_BF16)[3] = NAN;
    task_add(&t, 5, 32, QN_F16)[3] = 1e6F;
    task_bind(&t);
    char *expected = task_expected_bytes(&t.plan, &expected_n);
    char *bytes = task_run_to_bytes(
        &t.plan, &(qn_pipeline_options){.allow_nan = true, .threads = 2}, NULL, &n);
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
    float *v = task_add(&t, 5, 32, QN_F16);
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
    task_add(&t, 3, 512, cases[_i].dtype)[1 * 512 + 7] = cases[_i].value;
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
    for (int i = 0; i < 2; i++) task_add(&t, 64, 1024, QN_Q8_0);
    task_bind(&t);
    slow_source first = {.slow_ms = 60, .poison = 5}, second = {.poison = 1};
    replace_rows(&t, 0, &first);
    replace_rows(&t, 1, &second);
    qn_error err;
    const qn_pipeline_options o = {.threads = 2};
    ck_assert_int_eq(task_run_to_nothing(&t.plan, &o, &err), QN_ERR_DATA);
    ck_assert_ptr_nonnull(strstr(err.message, "\"t0.weight\": row 5, column 0 is NaN"));
    ck_assert_uint_gt(second.calls, 0);
    task_close(&t);
}
END_TEST

START_TEST(nothing_more_is_begun_after_a_fault)
{
    task t;
    task_open(&t);
    for (int i = 0; i < 2; i++) task_add(&t, 640, 1024, QN_Q8_0);
    task_bind(&t);
    slow_source first = {.poison = 5}, second = {.poison = UINT64_MAX};
    replace_rows(&t, 0, &first);
    replace_rows(&t, 1, &second);
    qn_error err;
    ck_assert_int_eq(task_run_to_nothing(&t.plan, &(qn_pipeline_options){.threads = 1}, &err),
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
    task_add_everything(&t);
    slow_source odd = {.poison = UINT64_MAX};
    ck_assert_uint_ne(1000003 % t.model->tensors[3].rows->rows, 0);
    replace_rows(&t, 3, &odd);
    for (size_t i = 0; i < t.plan.n; i++) total += t.model->tensors[i].rows->source_bytes;
    const qn_pipeline_options o = {.threads = task_threads[_i], .watch = {watch, &w}};
    qn_free(task_run_to_bytes(&t.plan, &o, NULL, &n));
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
        const qn_pipeline_options o = {.threads = task_threads[_i], .watch = {watch, &w}};
        ck_assert_int_eq(task_run_to_nothing(&t.plan, &o, &err), QN_ERR_CANCELLED);
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
        qn_writer *w = task_begun(&t.plan, qn_test_path("out.gguf"));
        qn_outfile_fail_at(at);
        const qn_pipeline_options o = {.threads = task_threads[_i]};
        const qn_status status = task_run(&t.plan, w, &o, NULL, &err);
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
    task_add(&t, 64, 256, QN_Q4_K);
    task_bind(&t);
    for (;; at++) {
        qn_error err;
        qn_writer *w = task_begun(&t.plan, qn_test_path("out.gguf"));
        qn_alloc_fail_at(at);
        const qn_status status =
            task_run(&t.plan, w, &(qn_pipeline_options){.threads = 2}, NULL, &err);
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
    Suite *s = suite_create("pipeline, faults");
    TCase *t = qn_test_group(s, "refusals");
    tcase_add_test(t, the_first_nan_is_refused_whatever_the_threads);
    tcase_add_test(t, a_nan_in_a_copied_tensor_is_refused);
    tcase_add_test(t, no_block_can_hold_a_nan_even_when_it_is_allowed);
    tcase_add_test(t, floats_keep_a_nan_that_is_allowed);
    tcase_add_test(t, a_number_beyond_f16_is_refused);
    tcase_add_loop_test(t, a_scale_beyond_half_precision_is_refused, 0, 5);
    t = qn_test_group(s, "stopping");
    tcase_add_loop_test(t, the_watch_hears_of_every_byte_from_one_thread_at_a_time, 0,
                        N_TASK_THREADS);
    tcase_add_test(t, a_fault_found_late_wins_when_it_comes_first_in_the_plan);
    tcase_add_test(t, nothing_more_is_begun_after_a_fault);
    tcase_add_loop_test(t, a_watch_that_says_no_leaves_nothing, 0, N_TASK_THREADS);
    tcase_add_loop_test(t, a_write_that_fails_leaves_nothing, 0, N_TASK_THREADS);
    tcase_add_test(t, a_run_without_memory_says_so);
    return qn_test_run_suite(s);
}
