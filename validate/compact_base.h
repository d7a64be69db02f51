/* A file of a reference's distributions on a text, a row each (compact_row.h), with
 * what they are of.  The layout is in docs/formats/kl-base.md. */
#ifndef QN_VALIDATE_COMPACT_BASE_H
#define QN_VALIDATE_COMPACT_BASE_H

#include "formats/base/map.h"
#include "formats/base/outfile.h"
#include "validate/chunks.h"
#include "validate/compact_row.h"

typedef struct {
    char model[65], tokenizer[65]; /* digests (model_digest.h, tokenizer.h) */
    char text[65];                 /* SHA-256 of its bytes */
} qn_compact_source;

/* ---- reading ----------------------------------------------------------------------- */

typedef struct {
    qn_map map;
    qn_compact_source of;
    size_t n_ctx, n_vocab, n_chunks, scored;
    const uint32_t *ids;   /* [n_chunks * n_ctx] */
    const uint32_t *table; /* [n_chunks * scored]: bytes of a row, its check above them */
    uint64_t *offsets;     /* of each chunk's first row */
} qn_compact_base;

/* Whether the file begins as one; false also when it cannot be read. */
bool qn_compact_base_is(const char *path);

/* Checks that all of it is there; rows are checked when they are read. */
qn_status qn_compact_base_open(qn_compact_base *out, const char *path, qn_error *err);
void qn_compact_base_close(qn_compact_base *b); /* {0} is fine */

/* n rows of a chunk from row on; out's ids and log_p have room for qn_compact_row_ids each. */
qn_status qn_compact_base_rows(const qn_compact_base *b, size_t chunk, size_t row, size_t n,
                               qn_compact_row *out, qn_error *err);

/* ---- writing ------------------------------------------------------------------------ */

/* While logits are computed:
 *
 *     qn_compact_writer w = {.path = path, .of = ...};
 *     const qn_logits_sink sink = {&w, qn_compact_writer_begin, qn_compact_writer_rows};
 *     status = qn_compact_writer_end(&w, qn_perplexity_run(... sink ...), err);
 */
typedef struct {
    const char *path;
    bool force; /* replace the file if it exists */
    qn_compact_source of;

    const qn_decoder *d;
    qn_chunks chunks;
    qn_outfile *file;
    uint64_t at;     /* where the next row goes */
    uint32_t *table; /* [chunks * scored] */
    size_t most;     /* bytes of a row */
    uint8_t *rows;
    qn_compact_scratch **scratch; /* of each thread */
} qn_compact_writer;

/* As a qn_logits_sink calls them, ctx being the writer. */
qn_status qn_compact_writer_begin(void *ctx, const qn_decoder *d, const qn_chunks *chunks,
                                  qn_error *err);
qn_status qn_compact_writer_rows(void *ctx, size_t chunk, size_t row, size_t n, const float *logits,
                                 qn_error *err);

/* Whatever came before: with QN_OK the file appears, else nothing is left.
 * Returns the status given, or why the file could not be finished. */
qn_status qn_compact_writer_end(qn_compact_writer *w, qn_status status, qn_error *err);

/* ---- the head ------------------------------------------------------------------------- */

enum { QN_COMPACT_HEAD = 136 };

/* Everything in the head but the check, which is over it, the ids and the table. */
typedef struct {
    uint32_t n_ctx, n_vocab, n_chunks;
    uint64_t row_bytes;
    qn_compact_source of;
} qn_compact_head;

void qn_compact_head_put(const qn_compact_head *h, const uint32_t *ids, const uint32_t *table,
                         uint8_t out[QN_COMPACT_HEAD]);

/* A row's entry in the table. */
uint32_t qn_compact_entry(const uint8_t *row, size_t bytes);

#endif
