/* One thread's work on some rows of one tensor: decode, look for values that
 * the target cannot hold, encode, decode back, write.
 *
 * Rows go through in batches that stay in the cache.  Encoded rows are decoded
 * again to see that they came out finite: a half-precision scale (or an F16
 * value) overflows to infinity without a word. */
#ifndef QN_QUANT_SPAN_H
#define QN_QUANT_SPAN_H

#include "formats/writer.h"
#include "quant/plan.h"

/* What all threads share. */
typedef struct {
    const qn_plan *plan;
    qn_writer *writer;
    const qn_kernels *kernels;
    bool allow_nan, measure;
} qn_span_context;

/* One thread's buffers.  A batch is at least a row, so n_values holds the
 * longest row of the plan and n_out its bytes, n_weights the longest one with
 * importance. */
typedef struct {
    float *values;  /* n_values floats */
    float *back;    /* n_values floats: what was encoded, decoded again */
    uint8_t *out;   /* n_out bytes */
    float *weights; /* n_weights floats: the importance of a matrix's columns */
    uint64_t n_values, n_out, n_weights;
} qn_span_buffers;

/* Rows r0..r1 (r1 exclusive) of entry number `entry`.  *squares: the sum of
 * (decoded - source)^2 where that is measured, added row by row, so that it
 * does not depend on the buffers.  On failure *at is the row. */
qn_status qn_span_run(const qn_span_context *c, const qn_span_buffers *b, size_t entry, uint64_t r0,
                      uint64_t r1, double *squares, uint64_t *at, qn_error *err);

#endif
