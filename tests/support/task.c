#include "tests/support/task.h"

#include <check.h>
#include <stdio.h>

#include "tests/support/files.h"
#include "tests/support/made_model.h"

const int task_threads[N_TASK_THREADS] = {1, 2, 3, 7};

void task_open(task *t)
{
    *t = (task){.model = made_model_new("llama")};
}

void task_close(task *t)
{
    for (int i = 0; i < 64; i++) qn_free(t->values[i]);
    qn_free(t->plan.entries);
    made_model_free(t->model);
}

float *task_add(task *t, uint64_t rows, uint64_t columns, qn_dtype to)
{
    static unsigned state = 20260824;
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

void task_bind(task *t)
{
    t->plan.model = t->model;
    t->plan.n = t->model->n_tensors;
    t->plan.metadata = t->model->metadata;
    for (size_t i = 0; i < t->plan.n; i++) t->plan.entries[i].tensor = &t->model->tensors[i];
}

qn_writer *task_begun(const qn_plan *p, const char *path)
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

qn_status task_run(const qn_plan *p, qn_writer *w, const qn_pipeline_options *o,
                   qn_tensor_result *results, qn_error *err)
{
    return qn_pipeline_run(&(qn_pipeline_output){p, w, results}, 1, o, err);
}

uint64_t task_least_memory(const qn_plan *p, int threads)
{
    return qn_pipeline_least_memory(&(qn_pipeline_output){.plan = p}, 1, threads);
}

qn_status task_run_to_nothing(const qn_plan *p, const qn_pipeline_options *o, qn_error *err)
{
    qn_writer *w = task_begun(p, qn_test_path("out.gguf"));
    const qn_status status = task_run(p, w, o, NULL, err);
    qn_writer_abandon(w);
    ck_assert_uint_eq(qn_test_count(""), 0);
    return status;
}

char *task_run_to_bytes(const qn_plan *p, const qn_pipeline_options *o, qn_tensor_result *results,
                        size_t *n)
{
    qn_error err = {0};
    char *bytes;
    const char *path = qn_test_path("out.gguf");
    qn_writer *w = task_begun(p, path);
    ck_assert_msg(!task_run(p, w, o, results, &err), "%s", err.message);
    ck_assert_msg(!qn_writer_commit(w, &err), "%s", err.message);
    ck_assert_int_eq(qn_read_file(path, 1 << 30, &bytes, n, NULL), QN_OK);
    remove(path);
    return bytes;
}

char *task_expected_bytes(const qn_plan *p, size_t *n)
{
    qn_kernels k;
    bool runs;
    char *bytes;
    ck_assert(qn_kernels_level(0, &k, &runs));
    const char *path = qn_test_path("expected.gguf");
    qn_writer *w = task_begun(p, path);
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

void task_add_everything(task *t)
{
    static const qn_dtype types[] = {QN_F32,  QN_F16,  QN_BF16, QN_Q8_0, QN_Q4_0, QN_Q4_1,
                                     QN_Q5_0, QN_Q5_1, QN_Q4_K, QN_Q5_K, QN_Q6_K};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) task_add(t, 37 + i, 1024, types[i]);
    task_add(t, 5000, 32, QN_Q8_0);
    task_add(t, 3, 131072, QN_Q4_0);
    task_add(t, 1, 256, QN_Q4_K);
    task_add(t, 0, 256, QN_Q4_K);
    task_add(t, 2, 0, QN_F16);
    task_add(t, 70001, 3, QN_F16);
    task_add(t, 1, 1, QN_F32);
    task_bind(t);
}
