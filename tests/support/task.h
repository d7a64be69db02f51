/* Jobs for the pipeline, made by hand: tensors of known values and a plan for them,
 * and the file that comes out, or what comes out the slow way. */
#ifndef QN_TESTS_SUPPORT_TASK_H
#define QN_TESTS_SUPPORT_TASK_H

#include "quant/pipeline.h"

typedef struct {
    qn_model *model;
    qn_plan plan;
    float *values[64]; /* of float tensors, by their number */
} task;

/* What must not matter. */
enum { N_TASK_THREADS = 4 };
extern const int task_threads[N_TASK_THREADS];

void task_open(task *t);
void task_close(task *t);

/* rows x columns float32 values, which the result points to, on their way to
 * `to`. */
float *task_add(task *t, uint64_t rows, uint64_t columns, qn_dtype to);

/* Every kind of tensor: long rows, short rows, one row, empty, every type; bound. */
void task_add_everything(task *t);

/* Once nothing is added any more. */
void task_bind(task *t);

/* A writer of the plan's file, ready for its rows. */
qn_writer *task_begun(const qn_plan *p, const char *path);

qn_status task_run(const qn_plan *p, qn_writer *w, const qn_pipeline_options *o,
                   qn_tensor_result *results, qn_error *err);

uint64_t task_least_memory(const qn_plan *p, int threads);

/* Runs and abandons: for what fails.  Nothing may be left behind. */
qn_status task_run_to_nothing(const qn_plan *p, const qn_pipeline_options *o, qn_error *err);

/* The file's bytes, for the caller to free. */
char *task_run_to_bytes(const qn_plan *p, const qn_pipeline_options *o, qn_tensor_result *results,
                        size_t *n);

/* The same file the slow way: every row by itself, by the scalar kernels. */
char *task_expected_bytes(const qn_plan *p, size_t *n);

#endif
