/* How far a test's numbers are from a reference's inside the two models: the
 * residual stream after each layer, and each matrix's output.
 *
 *     of a layer   |x' - x| / |x|           x, x': residual streams of the two runs
 *     of a tensor  |W'x - W x| / |W x|      x: its input in the reference's run
 *
 * with |.| over some positions of each window.  A layer's error has grown through
 * all before it; a tensor's is its own.  Tensors that no input is shown of
 * (embeddings read by id, norms, biases): |W' - W| / |W| over some rows. */
#ifndef QN_VALIDATE_OUTPUT_ERRORS_H
#define QN_VALIDATE_OUTPUT_ERRORS_H

#include "validate/chunks.h"

typedef struct {
    size_t n_layers;
    double *layers;  /* [n_layers + 2]: after the embedding, each layer, the final norm */
    double *tensors; /* [tensors of the test's model]; NaN: the reference has none of that shape */
} qn_output_errors;

/* Whether layers can be compared: as many, as wide (else QN_ERR_DATA). */
qn_status qn_output_errors_agree(const qn_decoder *reference, const qn_decoder *test,
                                 qn_error *err);

/* Over all of chunks, which both models can run.  *out is to be freed also after
 * a failure. */
qn_status qn_output_errors_measure(qn_output_errors *out, const qn_decoder *reference,
                                   const qn_decoder *test, const qn_chunks *chunks, qn_error *err);
/* The scratch of that; what each of the two models holds at a time comes to it. */
uint64_t qn_output_errors_bytes(const qn_decoder *reference, const qn_decoder *test,
                                const qn_chunks *chunks);
void qn_output_errors_free(qn_output_errors *e); /* {0} is fine */

/* The reference's tensor that could stand in the place of one of the test's:
 * same name, rows and columns; NULL: none. */
const qn_model_tensor *qn_counterpart(const qn_model *reference, const qn_model_tensor *t);

#endif
