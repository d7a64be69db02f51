/* The forward pass of the Llama family written down plainly, in double: whole
 * matrices, one token after the other, every loop in sight.  It shares nothing
 * with validate/. */
#ifndef QN_TESTS_SUPPORT_PLAIN_FORWARD_H
#define QN_TESTS_SUPPORT_PLAIN_FORWARD_H

#include "formats/model.h"

/* logits[n][n_vocab] of n ids.  frequency: of each rotated pair; factor: of its
 * cosine and sine. */
void qn_test_plain_forward(const qn_model *m, const double *frequency, double factor,
                           const uint32_t *ids, size_t n, double *logits);

/* A model of random weights: h needs sizes, rope and biases set.  float32, the
 * tensors of odd layers BF16. */
qn_model *qn_test_random_model(const qn_hparams *h, uint64_t seed);
void qn_test_random_model_free(qn_model *m);

#endif
