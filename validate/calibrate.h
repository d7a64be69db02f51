/* Importance matrices measured: a model run over chunks of text, and of the
 * input x of every matrix the sum of squares of each column, by experts where a
 * tensor has several.
 *
 *     sums[j] = sum over tokens, ascending, of x[j]^2      in double
 *
 * Squares of floats are exact in double and every column has its own sum, so
 * the result is the same for any batch, number of threads and machine.
 *
 * Collected are the matrices of the layers, and the head when asked for, as
 * llama-imatrix does (tools/imatrix/imatrix.cpp); it passes over dense products
 * of fewer than 16 rows, which only the end of an oddly cut text has: here they
 * count. */
#ifndef QN_VALIDATE_CALIBRATE_H
#define QN_VALIDATE_CALIBRATE_H

#include "formats/imatrix.h"
#include "formats/imatrix_write.h"
#include "validate/moment_sums.h"
#include "validate/perplexity.h"

typedef struct {
    const qn_kernels *k;
    int threads;
    bool output; /* collect output.weight, too */
    qn_imatrix_sums *entries;
    size_t n, capacity;
    qn_names *by_name;
    qn_arena *arena;
    const char *where;       /* the model, for messages */
    bool (*stopped)(void);   /* asked before each input: the run is cancelled; NULL: nobody */
    qn_moment_sums *moments; /* see what c sees; the caller's; NULL: there are none */
} qn_calibration;

/* d: the model whose inputs will be seen, for its kernels and path; NULL where
 * files are only merged. */
qn_status qn_calibration_new(qn_calibration **out, const qn_decoder *d, bool output, qn_error *err);
void qn_calibration_free(qn_calibration *c); /* NULL is fine */

/* Entries of all tensors with these inputs, so that no run adds another. */
qn_status qn_calibration_expect(qn_calibration *c, const qn_linear_inputs *inputs, qn_error *err);

/* Adds a file's sums: unrounded ones where it has them (imatrix_write.h); a call
 * of the legacy form counts as chunk_size rows. */
qn_status qn_calibration_add(qn_calibration *c, const qn_imatrix *m, uint64_t chunk_size,
                             qn_error *err);

/* A qn_input_fn on a qn_calibration.  An input that is not finite is QN_ERR_DATA. */
qn_status qn_calibration_see(void *calibration, const qn_linear_input *input, qn_error *err);

/* As many whole chunks of so many tokens as the tensor that saw most. */
uint64_t qn_calibration_chunks(const qn_calibration *c, uint64_t chunk_size);

/* Runs chunks, c sees.  With perplexity as qn_perplexity_run, which *out is of,
 * else figures are 0.  c holds whole batches: after chunk i the chunks up to the
 * next multiple of chunks->batch. */
qn_status qn_calibrate_run(qn_calibration *c, const qn_decoder *d, const qn_chunks *chunks,
                           bool perplexity, qn_perplexity_fn progress, void *ctx,
                           qn_perplexity_result *out, qn_error *err);

#endif
