/* Rows in, blocks out: one streaming pass over a plan, OpenMP over chunks of
 * rows, memory bounded whatever the model's size, the same bytes for any
 * number of threads. */
#ifndef QN_QUANT_PIPELINE_H
#define QN_QUANT_PIPELINE_H

#include "formats/base/watch.h"
#include "formats/writer.h"
#include "quant/plan.h"

typedef struct {
    int threads;           /* 0: OpenMP's default */
    uint64_t memory_bytes; /* for chunk buffers of all threads together; 0: 64 MiB */
    bool allow_nan;        /* else a NaN or infinity is refused with tensor and position */
    bool measure;          /* decode back and fill rmse */
    qn_watch watch;        /* in source bytes */
} qn_pipeline_options;

/* Per plan entry, in its order. */
typedef struct {
    double rmse; /* root mean square of (decoded - source); 0 when copied or not measured */
} qn_tensor_result;

/* The least memory_bytes that can process this plan with so many threads. */
uint64_t qn_pipeline_least_memory(const qn_plan *p, int threads);

/* The writer has the plan's tensors declared in order and has begun.  Commits
 * nothing: the caller commits or abandons.  results: p->n of them, or NULL. */
qn_status qn_pipeline_run(const qn_plan *p, qn_writer *w, const qn_pipeline_options *options,
                          qn_tensor_result *results, qn_error *err);

#endif
