/* One file of a packed plan: its tensors that stay as they are through the
 * pipeline, its packed weights in bands of rows; memory bounded whatever the
 * model's size, the same bytes for any number of threads. */
#ifndef QN_QUANT_PACKED_RUN_H
#define QN_QUANT_PACKED_RUN_H

#include "quant/packed_plan.h"
#include "quant/pipeline.h"

/* One shard of a plan, to be written with a writer of its own. */
typedef struct qn_packed_shard qn_packed_shard;

/* p outlives it. */
qn_status qn_packed_shard_new(qn_packed_shard **out, const qn_packed_plan *p, size_t shard,
                              qn_error *err);
void qn_packed_shard_free(qn_packed_shard *s); /* NULL is fine */

uint64_t qn_packed_shard_source_bytes(const qn_packed_shard *s);

/* All its tensors, in the order that running it wants. */
qn_status qn_packed_shard_declare(const qn_packed_shard *s, qn_writer *w, qn_error *err);

/* The least memory_bytes that can process it with so many threads; more than
 * the second is of no use. */
uint64_t qn_packed_shard_least_memory(const qn_packed_shard *s, int threads);
uint64_t qn_packed_shard_best_memory(const qn_packed_shard *s, int threads);

/* As qn_pipeline_run; results: one for each of the plan's entries, of which the
 * shard's are filled, or NULL. */
qn_status qn_packed_shard_run(const qn_packed_shard *s, qn_writer *w,
                              const qn_pipeline_options *options, qn_tensor_result *results,
                              qn_error *err);

#endif
