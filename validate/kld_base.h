/* llama.cpp's file of a reference's probabilities on a text
 * (llama-perplexity --kl-divergence-base), read and written:
 *
 *     "_logits_"  u32 n_ctx  i32 n_vocab  i32 n_chunk  i32 ids[n_chunk * n_ctx]
 *     per chunk n_ctx - 1 - n_ctx/2 rows of 2 * ((n_vocab + 1) / 2) + 4 u16:
 *         f32 scale  f32 minimum  u16 code[n_vocab]  a u16 of padding if odd
 *
 * log p = scale * code + minimum; probabilities below e^-16 of the largest are
 * cut there.  The ids are those of the text, the first of a chunk not yet
 * replaced by BOS.  (tools/perplexity/perplexity.cpp.) */
#ifndef QN_VALIDATE_KLD_BASE_H
#define QN_VALIDATE_KLD_BASE_H

#include "formats/base/map.h"
#include "validate/chunks.h"

typedef struct {
    qn_map map;
    size_t n_ctx, n_vocab, n_chunks, scored, row_bytes;
    const uint32_t *ids;
    const uint8_t *rows;
} qn_kld_base;

/* Whether the file begins as one; false also when it cannot be read. */
bool qn_kld_base_is(const char *path);

/* Checks that all of it is there. */
qn_status qn_kld_base_open(qn_kld_base *out, const char *path, qn_error *err);
void qn_kld_base_close(qn_kld_base *b); /* {0} is fine */

/* Whether n rows of a chunk from row on can be logarithms of probabilities by their scale
 * and minimum (else QN_ERR_DATA); that they add up to 1 is for who reads them. */
qn_status qn_kld_base_check(const qn_kld_base *b, size_t chunk, size_t row, size_t n,
                            qn_error *err);

/* n_vocab logarithms of probabilities. */
void qn_kld_base_row(const qn_kld_base *b, size_t chunk, size_t row, float *out);

/* ---- writing --------------------------------------------------------------------- */

/* Bytes of the header with the ids, and of a row. */
size_t qn_kld_base_head_bytes(const qn_chunks *c);
size_t qn_kld_base_row_bytes(size_t n_vocab);

void qn_kld_base_put_head(const qn_chunks *c, size_t n_vocab, uint8_t *out);

/* A row of logits. */
void qn_kld_base_put_row(const qn_kernels *k, const float *logits, size_t n_vocab, uint8_t *out);

#endif
