/* One thread's work on some rows of one tensor: decode, and for each output look
 * for values that it cannot hold, encode, decode back, write.
 *
 * Rows go through in batches that stay in the cache.  Encoded rows are decoded
 * again to see that they came out finite: a half-precision scale (or an F16
 * value) overflows to infinity without a word. */
#ifndef QN_QUANT_SPAN_H
#define QN_QUANT_SPAN_H

#include "quant/pipeline.h"

/* What all threads share. */
typedef struct {
    const qn_pipeline_output *outputs;
    size_t n_outputs;
    const qn_kernels *kernels;
    bool allow_nan, measure;
} qn_span_context;

/* What one output makes of the rows at hand. */
typedef struct {
    const qn_plan_entry *entry;
    uint64_t row_bytes;
    uint64_t matrix_rows; /* that share their weights; 0 without importance */
    uint8_t *out;         /* its part of the buffer */
    double squares;       /* the sum of (decoded - source)^2 where that is measured */
} qn_span_target;

/* One thread's buffers.  A batch is at least a row, so n_values holds the
 * longest row of the plans and n_out its bytes in all of them, n_weights the
 * longest one with importance. */
typedef struct {
    float *values;           /* n_values floats */
    float *back;             /* n_values floats: what was encoded, decoded again */
    uint8_t *out;            /* n_out bytes */
    float *weights;          /* n_weights floats: the importance of a matrix's columns */
    qn_span_target *targets; /* one an output */
    uint64_t n_values, n_out, n_weights;
} qn_span_buffers;

/* Rows r0..r1 (r1 exclusive) of entry number `entry`.  The targets' squares are
 * added row by row, so that they do not depend on the buffers.  On failure *at is
 * the row. */
qn_status qn_span_run(const qn_span_context *c, const qn_span_buffers *b, size_t entry, uint64_t r0,
                      uint64_t r1, uint64_t *at, qn_error *err);

#endif
