/* What the runs of a model multiply with which matrices, before any run: each
 * input with the matrices that share it, in the order of a run.  A watcher
 * (qn_session_watch_inputs) sees these and no others, but for what stands before
 * the layers and the head. */
#ifndef QN_VALIDATE_LINEAR_INPUTS_H
#define QN_VALIDATE_LINEAR_INPUTS_H

#include "formats/second_moments.h"
#include "validate/decoder.h"

typedef struct {
    qn_moments_input *inputs; /* [n]; names are the model's */
    uint64_t *layers;         /* [n]: never falling; the head's is n_layers */
    size_t n, capacity;
    qn_names *by_tensor; /* every matrix to its input */
    qn_arena *arena;
} qn_linear_inputs;

/* Of the layers; head: of output.weight as well, where the model has one. */
qn_status qn_linear_inputs_list(qn_linear_inputs *out, const qn_decoder *d, bool head,
                                qn_error *err);
void qn_linear_inputs_free(qn_linear_inputs *l); /* {0} is fine */

/* The input that a tensor is the first of; SIZE_MAX: of none. */
size_t qn_linear_inputs_named(const qn_linear_inputs *l, const char *tensor);

#endif
