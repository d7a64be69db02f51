/* Two or more models on the same text, token by token: how far the
 * distributions of the tests are from the reference's.
 *
 * Per scored position, with p of the reference, q of a test, over the whole
 * vocabulary:  KL(p || q) = sum p_v (log p_v - log q_v)
 *                         = sum p_v (a_v - b_v) - LSE(a) + LSE(b)
 * for logits a and b, in which nothing of size cancels but what truly differs.
 * Exponentials and products in float32 lanes of 512, their sums in double: the
 * same bits for any batch, thread count and machine. */
#ifndef QN_VALIDATE_COMPARE_H
#define QN_VALIDATE_COMPARE_H

#include "validate/chunks.h"
#include "validate/compact_base.h"
#include "validate/kld_base.h"

/* What was seen of one test at every scored position, in the text's order. */
typedef struct {
    double *nll;   /* -log q of the token that came */
    double *kld;   /* nats */
    uint32_t *top; /* the most probable id, the first of equals */
    /* Of a compact base, sums over the positions seen: what KL lies between whatever the
     * tails, and the variance of the estimates in kld (compact_kl.h). */
    double kld_least, kld_most, kld_variance;
} qn_compared;

typedef struct {
    size_t n, scored; /* positions seen, and per chunk */
    size_t n_tests;
    double *nll;        /* of the reference */
    uint32_t *top;      /* of the reference */
    qn_compared *tests; /* [n_tests] */
} qn_comparison;

typedef enum {
    QN_COMPARE_ON,     /* go on */
    QN_COMPARE_ENOUGH, /* what was seen is all that is wanted */
    QN_COMPARE_CANCEL  /* stop with QN_ERR_CANCELLED */
} qn_compare_verdict;

/* Called after each chunk in order, with everything up to it filled. */
typedef qn_compare_verdict (*qn_compare_fn)(void *ctx, const qn_comparison *c, size_t chunk,
                                            size_t chunks);

/* What the tests are compared with: a model, or a file of its probabilities, whose chunks
 * are then those that are run.  With llama-perplexity's, q is compared where log p > -16,
 * with p as they stand there, as it does; with a compact one kld is an estimate. */
typedef struct {
    const qn_decoder *decoder; /* one of the three */
    const qn_kld_base *base;
    const qn_compact_base *compact;
    const size_t *order; /* of a file: which of its chunks each is; NULL: as they stand */
} qn_compare_reference;

/* Buffers of logits that a run holds (qn_chunks_fit). */
#define QN_COMPARE_LOGITS 3

/* The models have vocabularies of one size (else QN_ERR_DATA).  A logit that
 * is no number is QN_ERR_DATA, with its model's place and position; names: of
 * the reference and of the tests, for that.  *out is to be freed also after a
 * failure. */
qn_status qn_compare_run(qn_comparison *out, const qn_compare_reference *reference,
                         const qn_decoder *const *tests, size_t n_tests, const char *const *names,
                         const qn_chunks *chunks, qn_compare_fn progress, void *ctx, qn_error *err);
void qn_comparison_free(qn_comparison *c); /* {0} is fine */

#endif
