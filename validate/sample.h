/* Choosing the next token from logits.
 *
 * In llama.cpp's order: the top_k largest logits stay; of these the most
 * probable ones until their probabilities reach top_p; the rest is drawn from
 * with probabilities e^(logit / temperature).  Temperature 0 takes the largest
 * logit.  Of equal logits the lower id comes first.
 *
 * Random numbers are SplitMix64 (Steele, Lea and Flood, 2014), one a token,
 * the upper 53 bits as a fraction; exponentials are reals.h's: the same seed
 * gives the same tokens on every machine. */
#ifndef QN_VALIDATE_SAMPLE_H
#define QN_VALIDATE_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "formats/base/error.h"

typedef struct {
    double temperature; /* >= 0 */
    size_t top_k;       /* 0: all */
    double top_p;       /* above 0; 1 or more: all */
    uint64_t seed;
} qn_sample_options;

typedef struct qn_sampler qn_sampler;

/* For logits of n_vocab tokens. */
qn_status qn_sampler_new(qn_sampler **out, const qn_sample_options *options, size_t n_vocab,
                         qn_error *err);
void qn_sampler_free(qn_sampler *s); /* NULL is fine */

/* The next token's id.  A logit that is NaN is never chosen (QN_ERR_DATA when
 * all are). */
qn_status qn_sampler_next(qn_sampler *s, const float *logits, uint32_t *id, qn_error *err);

#endif
