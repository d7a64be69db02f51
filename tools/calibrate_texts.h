/* The texts of quern calibrate: read, tokenized, and cut into whole chunks that
 * follow each other, each text's own. */
#ifndef QN_TOOLS_CALIBRATE_TEXTS_H
#define QN_TOOLS_CALIBRATE_TEXTS_H

#include "tools/loaded.h"

/* One of them. */
typedef struct {
    const char *file;
    size_t tokens, chunks; /* of the whole text */
    size_t first, used;    /* its chunks that count: first .. first + used - 1 */
    size_t start;          /* its first token in ids */
} qn_calibrate_text;

typedef struct {
    qn_calibrate_text *texts;
    size_t n;
    size_t n_ctx, chunks; /* chunks: of all texts, that count */
    uint32_t *ids;        /* [chunks][n_ctx] */
    char sha256[65];      /* of ids and n_ctx */
} qn_calibrate_texts;

/* Leaves out the first `skip` chunks of all; of the rest at most `most` count (0:
 * all), each text's share of them as large as its share of the rest. */
qn_status qn_calibrate_texts_read(qn_calibrate_texts *out, const qn_loaded *l,
                                  const char *const *files, size_t n, size_t n_ctx, uint64_t skip,
                                  uint64_t most, bool parse_special, qn_error *err);
void qn_calibrate_texts_free(qn_calibrate_texts *t); /* {0} is fine */

/* How many ids of a vocabulary the chunks have; the vocabulary's size when
 * memory is short. */
uint64_t qn_calibrate_texts_seen(const qn_calibrate_texts *t, uint64_t n_vocab);

#endif
