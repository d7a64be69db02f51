#include <string.h>

#include "formats/base/alloc.h"
#include "validate/compact_base.h"
#include "validate/weights.h"

static qn_status make_room(qn_compact_writer *w, size_t n_vocab, qn_error *err)
{
    const qn_chunks *c = &w->chunks;
    const size_t threads = (size_t)w->d->threads;
    w->most = qn_compact_row_bytes(n_vocab);
    w->table = qn_alloc(c->chunks * c->scored, sizeof *w->table);
    w->rows = qn_alloc(qn_chunks_logit_rows(c, n_vocab), w->most);
    w->scratch = qn_alloc(threads, sizeof(qn_compact_scratch *));
    if (!w->table || !w->rows || !w->scratch) return qn_fail_memory(err, w->path);
    for (size_t i = 0; i < threads; i++)
        if (!(w->scratch[i] = qn_compact_scratch_new(n_vocab))) return qn_fail_memory(err, w->path);
    return QN_OK;
}

qn_status qn_compact_writer_begin(void *ctx, const qn_decoder *d, const qn_chunks *chunks,
                                  qn_error *err)
{
    qn_compact_writer *w = ctx;
    const uint64_t ids = (uint64_t)chunks->chunks * chunks->n_ctx;
    w->d = d;
    w->chunks = *chunks;
    w->at = QN_COMPACT_HEAD + 4 * (ids + (uint64_t)chunks->chunks * chunks->scored);
    qn_status status = qn_outfile_create(&w->file, w->path, w->force, err);
    if (!status) status = make_room(w, (size_t)d->hparams->n_vocab, err);
    if (!status) status = qn_outfile_write(w->file, QN_COMPACT_HEAD, chunks->ids, 4 * ids, err);
    return status;
}

qn_status qn_compact_writer_rows(void *ctx, size_t chunk, size_t row, size_t n, const float *logits,
                                 qn_error *err)
{
    qn_compact_writer *w = ctx;
    const size_t n_vocab = (size_t)w->d->hparams->n_vocab, first = chunk * w->chunks.scored + row;
    const uint32_t *next = qn_chunk_ids(&w->chunks, chunk) + w->chunks.first + row + 1;
    const size_t threads = (size_t)w->d->threads;
#pragma omp parallel for num_threads(w->d->threads)
    for (size_t t = 0; t < threads; t++)
        for (size_t i = t; i < n; i += threads) {
            uint8_t *out = w->rows + i * w->most;
            const size_t bytes = qn_compact_row_put(w->scratch[t], w->d->k, logits + i * n_vocab,
                                                    n_vocab, next[i], first + i, out);
            w->table[first + i] = qn_compact_entry(out, bytes);
        }
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t length = w->table[first + i] & 0xffff;
        memmove(w->rows + bytes, w->rows + i * w->most, length);
        bytes += length;
    }
    const qn_status status = qn_outfile_write(w->file, w->at, w->rows, bytes, err);
    w->at += bytes;
    return status;
}

static qn_status finish(const qn_compact_writer *w, qn_error *err)
{
    const qn_chunks *c = &w->chunks;
    const uint64_t ids = (uint64_t)c->chunks * c->n_ctx, rows = (uint64_t)c->chunks * c->scored;
    const uint64_t table = QN_COMPACT_HEAD + 4 * ids;
    const qn_compact_head head = {.n_ctx = (uint32_t)c->n_ctx,
                                  .n_vocab = (uint32_t)w->d->hparams->n_vocab,
                                  .n_chunks = (uint32_t)c->chunks,
                                  .row_bytes = w->at - table - 4 * rows,
                                  .of = w->of};
    uint8_t bytes[QN_COMPACT_HEAD];
    qn_compact_head_put(&head, c->ids, w->table, bytes);
    const qn_status status = qn_outfile_write(w->file, 0, bytes, sizeof bytes, err);
    return status ? status : qn_outfile_write(w->file, table, w->table, 4 * rows, err);
}

qn_status qn_compact_writer_end(qn_compact_writer *w, qn_status status, qn_error *err)
{
    if (!status) status = finish(w, err);
    if (!status)
        status = qn_outfile_commit(w->file, err);
    else
        qn_outfile_abandon(w->file);
    for (size_t i = 0; w->scratch && i < (size_t)w->d->threads; i++)
        qn_compact_scratch_free(w->scratch[i]);
    qn_free(w->scratch);
    qn_free(w->rows);
    qn_free(w->table);
    return status;
}
