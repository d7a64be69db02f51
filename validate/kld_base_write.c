#include "validate/kld_base_write.h"

#include "formats/base/alloc.h"
#include "validate/weights.h"

qn_status qn_kld_base_begin(void *ctx, const qn_decoder *d, const qn_chunks *chunks, qn_error *err)
{
    qn_kld_base_writer *w = ctx;
    const size_t n_vocab = (size_t)d->hparams->n_vocab, head = qn_kld_base_head_bytes(chunks);
    w->d = d;
    w->chunks = *chunks;
    w->row_bytes = qn_kld_base_row_bytes(n_vocab);
    w->rows = qn_alloc(qn_chunks_logit_rows(chunks, n_vocab), w->row_bytes);
    uint8_t *bytes = qn_alloc(head, 1);
    qn_status status = w->rows && bytes ? qn_outfile_create(&w->file, w->path, w->force, err)
                                        : qn_fail_memory(err, w->path);
    if (!status)
        status = qn_outfile_reserve(
            w->file, head + (uint64_t)chunks->chunks * chunks->scored * w->row_bytes, err);
    if (!status) {
        qn_kld_base_put_head(chunks, n_vocab, bytes);
        status = qn_outfile_write(w->file, 0, bytes, head, err);
    }
    qn_free(bytes);
    return status;
}

qn_status qn_kld_base_rows(void *ctx, size_t chunk, size_t row, size_t n, const float *logits,
                           qn_error *err)
{
    const qn_kld_base_writer *w = ctx;
    const size_t n_vocab = (size_t)w->d->hparams->n_vocab;
    const uint64_t at = qn_kld_base_head_bytes(&w->chunks) +
                        ((uint64_t)chunk * w->chunks.scored + row) * w->row_bytes;
#pragma omp parallel for num_threads(w->d->threads)
    for (size_t i = 0; i < n; i++)
        qn_kld_base_put_row(w->d->k, logits + i * n_vocab, n_vocab, w->rows + i * w->row_bytes);
    return qn_outfile_write(w->file, at, w->rows, (uint64_t)n * w->row_bytes, err);
}

qn_status qn_kld_base_end(qn_kld_base_writer *w, qn_status status, qn_error *err)
{
    if (!status)
        status = qn_outfile_commit(w->file, err);
    else
        qn_outfile_abandon(w->file);
    qn_free(w->rows);
    return status;
}
