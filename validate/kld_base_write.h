/* Writes a file of a reference's probabilities (kld_base.h) while its logits are
 * computed:
 *
 *     qn_kld_base_writer w = {.path = path};
 *     const qn_logits_sink sink = {&w, qn_kld_base_begin, qn_kld_base_rows};
 *     status = qn_kld_base_end(&w, qn_perplexity_run(... sink ...), err);
 */
#ifndef QN_VALIDATE_KLD_BASE_WRITE_H
#define QN_VALIDATE_KLD_BASE_WRITE_H

#include "formats/base/outfile.h"
#include "validate/kld_base.h"

typedef struct {
    const char *path;
    bool force; /* replace the file if it exists */

    const qn_decoder *d;
    qn_chunks chunks;
    qn_outfile *file;
    size_t row_bytes;
    uint8_t *rows;
} qn_kld_base_writer;

/* As a qn_logits_sink calls them, ctx being the writer. */
qn_status qn_kld_base_begin(void *ctx, const qn_decoder *d, const qn_chunks *chunks, qn_error *err);
qn_status qn_kld_base_rows(void *ctx, size_t chunk, size_t row, size_t n, const float *logits,
                           qn_error *err);

/* Whatever came before: with QN_OK the file appears, else nothing is left.
 * Returns the status given, or why the file could not be finished. */
qn_status qn_kld_base_end(qn_kld_base_writer *w, qn_status status, qn_error *err);

#endif
