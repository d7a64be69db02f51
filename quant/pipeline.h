/* Rows in, blocks out: one streaming pass over a model, OpenMP over slices of
 * rows, memory bounded whatever the model's size, the same bytes for any
 * number of threads.  Several files may come of one pass, each by its own plan:
 * the source is read and decoded once.
 *
 * A slice is the rows of one tensor that hold 65,536 elements, or one row if
 * that is longer.  Threads take slices in the order of the plan, several at
 * once where tensors are tiny; each decodes, checks, encodes and writes its own
 * while the others do the same, so reading, computing and writing overlap.
 * There is one queue for all tensors and one parallel region: threads wait for
 * each other once, at the end, however many and small the tensors are. */
#ifndef QN_QUANT_PIPELINE_H
#define QN_QUANT_PIPELINE_H

#include "formats/base/watch.h"
#include "formats/writer.h"
#include "quant/plan.h"

typedef struct {
    int threads;           /* 0: OpenMP's default */
    uint64_t memory_bytes; /* for chunk buffers of all threads together; 0: 64 MiB, or the least
                              where that is more */
    bool allow_nan;        /* else a NaN or infinity is refused with tensor and position, as is a
                              number that F16 or BF16 rounds to infinity; F32, F16 and BF16 only:
                              blocks cannot hold either and always refuse */
    bool measure;          /* decode back and fill rmse */
    qn_watch watch;        /* in source bytes */
} qn_pipeline_options;

/* Per plan entry, in its order. */
typedef struct {
    double rmse; /* root mean square of (decoded - source); 0 when copied or not measured; summed
                    in a fixed order.  NaN where allow_nan let one in. */
} qn_tensor_result;

/* One file of a pass. */
typedef struct {
    const qn_plan *plan;
    qn_writer *writer;         /* has the plan's tensors declared in order and has begun */
    qn_tensor_result *results; /* plan->n of them; NULL: not wanted */
} qn_pipeline_output;

/* The least memory_bytes that can process these plans with so many threads. */
uint64_t qn_pipeline_least_memory(const qn_pipeline_output *outputs, size_t n, int threads);

/* n >= 1 outputs, whose plans are of one model and have its tensors in one order.
 * Commits nothing: the caller commits or abandons.
 *
 * Of several faults the one in the first tensor, row and output is reported,
 * whatever the number of threads.  A watch that says no gives QN_ERR_CANCELLED. */
qn_status qn_pipeline_run(const qn_pipeline_output *outputs, size_t n,
                          const qn_pipeline_options *options, qn_error *err);

#endif
