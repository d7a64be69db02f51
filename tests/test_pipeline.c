/* The pipeline against the obvious: every row encoded by itself, in order, by
 * the scalar kernels. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/files.h"
#include "tests/support/made_model.h"
#include "tests/support/run.h"
#include "tests/support/task.h"

/* ---- bytes -------------------------------------------------------------------- */

START_TEST(the_bytes_are_those_of_every_row_by_itself_whatever_the_threads)
{
    task t;
    size_t n, expected_n;
    task_open(&t);
    task_add_everything(&t);
    char *expected = task_expected_bytes(&t.plan, &expected_n);
    const qn_pipeline_options o = {.threads = task_threads[_i]};
    char *bytes = task_run_to_bytes(&t.plan, &o, NULL, &n);
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
    task_add_everything(&t);
    qn_tensor_result results[64], least_results[64];
    qn_pipeline_options o = {.threads = task_threads[_i], .measure = true};
    char *bytes = task_run_to_bytes(&t.plan, &o, results, &n);
    o.memory_bytes = task_least_memory(&t.plan, o.threads);
    char *least = task_run_to_bytes(&t.plan, &o, least_results, &least_n);
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
    task_add(&t, 2, 131072, QN_Q8_0);
    task_bind(&t);
    const uint64_t least = task_least_memory(&t.plan, 2);
    ck_assert_uint_ge(least, 2 * 131072 * 4);
    const qn_pipeline_options o = {.threads = 2, .memory_bytes = least - 1};
    ck_assert_int_eq(task_run_to_nothing(&t.plan, &o, &err), QN_ERR_MEMORY);
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
    task_add(&t, 4096, 64, QN_F32);
    task_add(&t, 4096, 64, QN_Q8_0);
    task_bind(&t);
    for (int i = 0; i < 2; i++)
        t.model->tensors[i].rows = qn_rows_permute(t.model->arena, t.model->tensors[i].rows, 4);
    char *expected = task_expected_bytes(&t.plan, &expected_n);
    char *bytes = task_run_to_bytes(&t.plan, &(qn_pipeline_options){.threads = 3}, NULL, &n);
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
    char *bytes = task_run_to_bytes(&p, &o, NULL, &n);
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
    task_add(&t, UINT64_C(1) << 40, 0, QN_F16);
    task_bind(&t);
    ck_assert_uint_lt(task_least_memory(&t.plan, 1), 1000);
    qn_free(task_run_to_bytes(&t.plan, &(qn_pipeline_options){.threads = 1}, NULL, &n));
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
    char *bytes = task_run_to_bytes(&p, &(qn_pipeline_options){0}, NULL, &n);
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
    task_add_everything(&t);
    plan_three(&t, plans);
    qn_pipeline_options o = {.threads = task_threads[_i / 2], .measure = true};
    for (int k = 0; k < N_OUTPUTS; k++) {
        writers[k] = task_begun(&plans[k], output_path(k));
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
        char *expected = task_run_to_bytes(&plans[k], &o, alone, &expected_n);
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
    float *v = task_add(&t, 300, 64, QN_F16);
    v[200 * 64 + 3] = 1e9F;
    v[250 * 64] = NAN;
    v[199 * 64 + 40] = 65535.0F;
    task_bind(&t);
    plan_three(&t, plans);
    for (int i = 0; i < N_TASK_THREADS; i++)
        for (int first = 0; first < N_OUTPUTS; first++) {
            qn_error err;
            const qn_pipeline_options o = {.threads = task_threads[i]};
            for (int k = 0; k < N_OUTPUTS; k++) {
                const qn_plan *p = &plans[(first + k) % N_OUTPUTS];
                outputs[k] = (qn_pipeline_output){p, task_begun(p, output_path(k)), NULL};
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
    task_add_everything(&t);
    qn_tensor_result results[64], one[64];
    const qn_pipeline_options o = {.threads = task_threads[_i], .measure = true};
    qn_free(task_run_to_bytes(&t.plan, &o, results, &n));
    qn_free(
        task_run_to_bytes(&t.plan, &(qn_pipeline_options){.threads = 1, .measure = true}, one, &n));
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

int main(void)
{
    Suite *s = suite_create("pipeline");
    TCase *t = qn_test_group(s, "bytes");
    tcase_add_loop_test(t, the_bytes_are_those_of_every_row_by_itself_whatever_the_threads, 0,
                        N_TASK_THREADS);
    tcase_add_loop_test(t, the_least_memory_is_enough_and_gives_the_same_bytes_and_errors, 0,
                        N_TASK_THREADS);
    tcase_add_test(t, less_than_the_least_memory_is_refused_with_both_numbers);
    tcase_add_test(t, rows_that_lie_in_another_order_are_gathered);
    tcase_add_test(t, two_hundred_thousand_tiny_tensors_take_few_turns_at_the_queue);
    tcase_add_test(t, rows_without_columns_cost_nothing_however_many);
    tcase_add_test(t, a_quantized_tensor_is_copied_unseen);
    tcase_add_loop_test(t, one_pass_gives_the_files_that_a_pass_for_each_gives, 0,
                        2 * N_TASK_THREADS);
    tcase_add_test(t, of_several_files_the_first_row_that_one_cannot_hold_is_named);
    tcase_add_loop_test(t, the_error_is_the_root_of_the_mean_square_and_the_same_for_any_threads, 0,
                        N_TASK_THREADS);
    return qn_test_run_suite(s);
}
