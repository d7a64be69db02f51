#include "validate/chunks.h"

#include <string.h>

#include "formats/base/sizes.h"
#include "validate/reals.h"
#include "validate/weights.h"

#define DEFAULT_CTX 512
/* Tokens run together when nobody chose: the forward pass's own block. */
#define BATCH_TOKENS 2048
#define LOGIT_FLOATS ((size_t)1 << 24)
#define LOGIT_ROWS 16
/* Exponentials summed in float lanes at a time, before double takes over. */
#define SUM_BLOCK 512

qn_status qn_chunks_cut(qn_chunks *out, const uint32_t *ids, size_t n_ids, uint32_t bos,
                        bool replace_first, const qn_chunk_options *options, qn_error *err)
{
    qn_chunks c = {.ids = ids, .bos = bos, .replace_first = replace_first};
    c.n_ctx = options->n_ctx ? options->n_ctx : DEFAULT_CTX;
    if (c.n_ctx < 3)
        return qn_fail(err, QN_ERR_ARGUMENT, "a context of %zu leaves no token to score", c.n_ctx);
    if (n_ids < c.n_ctx)
        return qn_fail(
            err, QN_ERR_ARGUMENT,
            "the text is %zu tokens, too short for one chunk of %zu: give more text or a "
            "smaller context",
            n_ids, c.n_ctx);
    if (options->stride >= c.n_ctx)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "a stride of %zu in a context of %zu: a token needs one before it",
                       options->stride, c.n_ctx);
    c.step = options->stride ? options->stride : c.n_ctx;
    c.first = options->stride ? c.n_ctx - 1 - options->stride : c.n_ctx / 2;
    c.scored = c.n_ctx - 1 - c.first;
    c.chunks = (n_ids - c.n_ctx) / c.step + 1;
    if (options->chunks) c.chunks = (size_t)qn_min_u64(options->chunks, c.chunks);
    c.batch = options->batch ? options->batch : BATCH_TOKENS / c.n_ctx;
    c.batch = (size_t)qn_min_u64(c.batch ? c.batch : 1, c.chunks);
    *out = c;
    return QN_OK;
}

size_t qn_chunks_logit_rows(const qn_chunks *c, size_t n_vocab)
{
    const size_t rows = LOGIT_FLOATS / n_vocab < LOGIT_ROWS ? LOGIT_ROWS : LOGIT_FLOATS / n_vocab;
    return (size_t)qn_min_u64(rows, c->scored);
}

static uint64_t scratch_of(const qn_chunks *c, size_t batch, const qn_decoder *const *models,
                           size_t n_models, size_t logits)
{
    const size_t n_vocab = (size_t)models[0]->hparams->n_vocab;
    double all = (double)logits * (double)n_vocab * sizeof(float);
    all *= (double)qn_chunks_logit_rows(c, n_vocab);
    for (size_t m = 0; m < n_models; m++) {
        all += (double)qn_session_whole_bytes(models[m], batch, c->n_ctx);
        all += (double)batch * (double)c->n_ctx * sizeof *c->ids;
    }
    return all < 0x1p60 ? (uint64_t)all : UINT64_MAX;
}

uint64_t qn_chunks_scratch(const qn_chunks *c, const qn_decoder *const *models, size_t n_models,
                           size_t logits)
{
    return scratch_of(c, c->batch, models, n_models, logits);
}

/* Of a batch, pages that are given back too; UINT64_MAX: more than can be said. */
static uint64_t bytes_of(const qn_chunks *c, size_t batch, const qn_decoder *const *models,
                         size_t n_models, size_t logits)
{
    uint64_t pages = 0, all = scratch_of(c, batch, models, n_models, logits);
    for (size_t m = 0; m < n_models; m++)
        if (models[m]->gives_back) pages = qn_max_u64(pages, qn_decoder_page_bytes(models[m]));
    return qn_add_u64(all, pages, &all) ? all : UINT64_MAX;
}

qn_status qn_chunks_fit(qn_chunks *c, uint64_t bytes, const qn_decoder *const *models,
                        size_t n_models, size_t logits, qn_error *err)
{
    const uint64_t least = bytes_of(c, 1, models, n_models, logits);
    if (least > bytes)
        return qn_fail(err, QN_ERR_MEMORY,
                       "one window of %zu tokens takes %.1f MiB of memory, %.1f MiB are left",
                       c->n_ctx, (double)least / 0x1p20, (double)bytes / 0x1p20);
    size_t fits = 1, too_many = c->chunks + 1;
    while (too_many - fits > 1) {
        const size_t middle = fits + (too_many - fits) / 2;
        if (bytes_of(c, middle, models, n_models, logits) <= bytes)
            fits = middle;
        else
            too_many = middle;
    }
    c->batch = fits;
    return QN_OK;
}

qn_status qn_chunk_runner_new(qn_chunk_runner *r, const qn_chunks *c, const qn_decoder *d,
                              qn_error *err)
{
    *r = (qn_chunk_runner){.chunks = c, .d = d};
    r->ids = qn_alloc(c->batch * c->n_ctx, sizeof *r->ids);
    return r->ids ? QN_OK : qn_fail_memory(err, "a batch of ids");
}

void qn_chunk_runner_free(qn_chunk_runner *r)
{
    qn_session_free(r->session);
    qn_free(r->ids);
    *r = (qn_chunk_runner){0};
}

qn_status qn_chunk_runner_run(qn_chunk_runner *r, size_t at, size_t n, qn_error *err)
{
    const qn_chunks *c = r->chunks;
    if (n != r->sequences) {
        qn_session_free(r->session);
        r->session = NULL;
        const qn_status status = qn_session_new_whole(&r->session, r->d, n, c->n_ctx, err);
        if (status) return status;
        qn_session_ask_from(r->session, c->first);
        qn_session_watch_inputs(r->session, r->watch, r->watch_ctx);
        r->sequences = n;
    }
    for (size_t s = 0; s < n; s++) {
        uint32_t *ids = r->ids + s * c->n_ctx;
        memcpy(ids, qn_chunk_ids(c, at + s), c->n_ctx * sizeof *ids);
        if (c->replace_first) ids[0] = c->bos;
    }
    qn_session_reset(r->session);
    qn_error why = {0};
    const qn_status status = qn_session_run(r->session, r->ids, c->n_ctx, NULL, NULL, &why);
    if (!status) return QN_OK;
    return qn_fail(err, status, "chunks %zu to %zu: %s", at + 1, at + n, why.message);
}

qn_status qn_chunk_runner_logits(qn_chunk_runner *r, size_t sequence, size_t chunk, size_t row,
                                 size_t rows, float *out, qn_error *err)
{
    qn_error why = {0};
    const qn_status status =
        qn_session_logits(r->session, sequence, r->chunks->first + row, rows, out, &why);
    return status ? qn_fail(err, status, "chunk %zu: %s", chunk + 1, why.message) : QN_OK;
}

double qn_log_sum_exp(const qn_kernels *k, const float *logits, size_t n, float *weights)
{
    float block[SUM_BLOCK];
    const float max = k->max(logits, n);
    double sum = 0.0;
    for (size_t i = 0; i < n; i += SUM_BLOCK) {
        const size_t m = (size_t)qn_min_u64(SUM_BLOCK, n - i);
        float *e = weights ? weights + i : block;
        memcpy(e, logits + i, m * sizeof *e);
        sum += (double)k->exp_sum(e, max, m);
    }
    return (double)max + qn_log(sum);
}
