#include "validate/perplexity.h"

#include <math.h>

#include "formats/base/sizes.h"
#include "validate/reals.h"
#include "validate/weights.h"

typedef struct {
    qn_chunks chunks;
    qn_chunk_runner runner;
    const qn_logits_sink *sink;
    size_t logit_rows;
    float *logits;
    double *nll; /* [scored], of the chunk at hand */

    double sum, sum_of_squares;
    double *chunk_nll;
} job;

/* Fills nll for one sequence of the last run. */
static qn_status score(job *j, size_t sequence, size_t number, qn_error *err)
{
    const uint32_t *chunk = qn_chunk_ids(&j->chunks, number);
    const qn_decoder *d = j->runner.d;
    const size_t n_vocab = (size_t)d->hparams->n_vocab;
    for (size_t r = 0; r < j->chunks.scored; r += j->logit_rows) {
        const size_t rows = (size_t)qn_min_u64(j->logit_rows, j->chunks.scored - r);
        qn_status status =
            qn_chunk_runner_logits(&j->runner, sequence, number, r, rows, j->logits, err);
        if (!status && j->sink)
            status = j->sink->rows(j->sink->ctx, number, r, rows, j->logits, err);
        if (status) return status;
#pragma omp parallel for num_threads(d->threads)
        for (size_t i = 0; i < rows; i++) {
            const float *logits = j->logits + i * n_vocab;
            j->nll[r + i] = qn_log_sum_exp(d->k, logits, n_vocab, NULL) -
                            (double)logits[chunk[j->chunks.first + r + i + 1]];
        }
    }
    return QN_OK;
}

static void add_chunk(job *j, size_t chunk)
{
    double sum = 0.0;
    for (size_t i = 0; i < j->chunks.scored; i++) {
        sum += j->nll[i];
        j->sum += j->nll[i];
        j->sum_of_squares += j->nll[i] * j->nll[i];
    }
    j->chunk_nll[chunk] = sum / (double)j->chunks.scored;
}

static qn_status run_all(job *j, qn_perplexity_fn progress, void *ctx, qn_error *err)
{
    const qn_chunks *all = &j->chunks;
    for (size_t c = 0; c < all->chunks; c += all->batch) {
        const size_t n = (size_t)qn_min_u64(all->batch, all->chunks - c);
        qn_status status = qn_chunk_runner_run(&j->runner, c, n, err);
        for (size_t s = 0; s < n && !status; s++) {
            status = score(j, s, c + s, err);
            if (status) break;
            add_chunk(j, c + s);
            const double so_far = qn_exp(j->sum / (double)((c + s + 1) * all->scored));
            if (progress && !progress(ctx, c + s + 1, all->chunks, so_far))
                status = qn_fail(err, QN_ERR_CANCELLED, "cancelled after %zu of %zu chunks",
                                 c + s + 1, all->chunks);
        }
        if (status) return status;
    }
    return QN_OK;
}

static qn_status start(job *j, const qn_decoder *d, qn_error *err)
{
    const size_t n_vocab = (size_t)d->hparams->n_vocab;
    const qn_status status = qn_chunk_runner_new(&j->runner, &j->chunks, d, err);
    if (status) return status;
    j->logit_rows = qn_chunks_logit_rows(&j->chunks, n_vocab);
    j->logits = qn_alloc(j->logit_rows * n_vocab, sizeof *j->logits);
    j->nll = qn_alloc(j->chunks.scored, sizeof *j->nll);
    j->chunk_nll = qn_alloc(j->chunks.chunks, sizeof *j->chunk_nll);
    if (!j->logits || !j->nll || !j->chunk_nll) return qn_fail_memory(err, "logits");
    return QN_OK;
}

static void finish(job *j, qn_perplexity_result *out)
{
    const qn_chunks *c = &j->chunks;
    const double count = (double)c->chunks * (double)c->scored, mean = j->sum / count;
    const double variance = j->sum_of_squares / count - mean * mean;
    *out = (qn_perplexity_result){.ppl = qn_exp(mean),
                                  .nll_mean = mean,
                                  .chunks = c->chunks,
                                  .tokens_scored = (uint64_t)c->chunks * c->scored,
                                  .chunk_nll = j->chunk_nll};
    if (count > 1.0 && variance > 0.0) out->ppl_stderr = out->ppl * sqrt(variance / (count - 1.0));
    j->chunk_nll = NULL;
}

qn_status qn_perplexity_run(const qn_decoder *d, const uint32_t *ids, size_t n_ids, uint32_t bos,
                            bool replace_first, const qn_perplexity_options *options,
                            qn_perplexity_fn progress, void *ctx, qn_perplexity_result *out,
                            qn_error *err)
{
    job j = {.sink = options->sink};
    const qn_chunk_options how = {options->n_ctx, options->chunks, options->batch, options->stride};
    const size_t buffers = j.sink ? 2 : 1; /* of logits */
    qn_status status = qn_chunks_cut(&j.chunks, ids, n_ids, bos, replace_first, &how, err);
    if (!status && options->memory)
        status = qn_chunks_fit(&j.chunks, options->memory, &d, 1, buffers, err);
    if (!status && j.sink) status = j.sink->begin(j.sink->ctx, d, &j.chunks, err);
    if (!status) status = start(&j, d, err);
    j.runner.watch = options->watch;
    j.runner.watch_ctx = options->watch_ctx;
    if (!status) status = run_all(&j, progress, ctx, err);
    if (!status) finish(&j, out);
    if (!status) out->scratch = qn_chunks_scratch(&j.chunks, &d, 1, buffers);
    qn_chunk_runner_free(&j.runner);
    qn_free(j.chunk_nll);
    qn_free(j.nll);
    qn_free(j.logits);
    return status;
}
