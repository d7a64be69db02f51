/* A reference's distribution at one position in a few hundred bytes
 * (docs/formats/kl-base.md): its most probable tokens with their log-probabilities,
 * rounded to a step, and of all others (the tail) mass, mean log-probability and a
 * sample. */
#ifndef QN_VALIDATE_COMPACT_ROW_H
#define QN_VALIDATE_COMPACT_ROW_H

#include <stdbool.h>

#include "kernels/kernels.h"

/* Tokens are kept, the most probable first, until they have this share of the mass, and
 * at most so many of them: with a vocabulary of 262,144 a row stays below a hundredth of
 * its 16-bit form, whatever stands in it. */
#define QN_COMPACT_MASS 0.999
enum { QN_COMPACT_KEPT = 1536, QN_COMPACT_SAMPLES = 64 };

/* Of a log-probability, nats. */
#define QN_COMPACT_STEP 0x1p-10

typedef struct {
    float log_p_next; /* of the token that came */
    uint32_t top;     /* the most probable id, the first of equals */
    float tail;       /* mass of what is not kept; 0: nothing */
    float tail_mean;  /* mean of log p over the tail, weighted with p */
    size_t kept, samples;
    uint32_t *ids; /* those kept, ascending, then samples of the tail, each drawn with p / tail:
                      ascending, some perhaps several times */
    float *log_p;  /* of ids */
} qn_compact_row;

/* Room for ids and log_p. */
size_t qn_compact_row_ids(size_t n_vocab);

/* Bytes of the longest row. */
size_t qn_compact_row_bytes(size_t n_vocab);

/* What encoding a row takes besides: for one thread. */
typedef struct qn_compact_scratch qn_compact_scratch;
qn_compact_scratch *qn_compact_scratch_new(size_t n_vocab); /* NULL: no memory */
void qn_compact_scratch_free(qn_compact_scratch *s);        /* NULL is fine */

/* Writes a row of logits to out; its bytes.  seed: which draw of samples, the same bytes
 * for the same one. */
size_t qn_compact_row_put(qn_compact_scratch *s, const qn_kernels *k, const float *logits,
                          size_t n_vocab, uint32_t next, uint64_t seed, uint8_t *out);

/* Reads it back into *out, whose ids and log_p are the caller's; NULL, or what is wrong
 * with n bytes that anybody may have written. */
const char *qn_compact_row_get(qn_compact_row *out, const uint8_t *bytes, size_t n, size_t n_vocab);

#endif
