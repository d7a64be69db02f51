/* What single tensors cost: the KL divergence of a test in which one tensor is
 * the reference's again, against that of the test as it is, on the same windows. */
#ifndef QN_VALIDATE_PUT_BACK_H
#define QN_VALIDATE_PUT_BACK_H

#include "formats/base/watch.h"
#include "validate/compare.h"

typedef struct {
    size_t tensor; /* of the test's model */
    double kld;    /* with it put back: mean, nats */
    double gain;   /* the test's mean less that */
    double error;  /* of the gain, by windows; NaN with a single one */
} qn_put_back;

/* Models that share one pass of the reference. */
#define QN_PUT_BACK_GROUP 4

/* Forward passes over the windows for n tensors: theirs, the test's, the
 * reference's for each group. */
static inline uint64_t qn_put_back_passes(uint64_t n)
{
    return n + 1 + (n + QN_PUT_BACK_GROUP) / QN_PUT_BACK_GROUP;
}

/* Fills kld, gain and error of list[n], whose tensors have counterparts
 * (output_errors.h); *kld: of the test as it is.  progress is told of each
 * window of each group. */
qn_status qn_put_back_measure(qn_put_back *list, size_t n, const qn_decoder *reference,
                              const qn_decoder *test, const qn_chunks *chunks, double *kld,
                              const qn_watch *progress, qn_error *err);

#endif
