#include "validate/perplexity.h"

#include <math.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "validate/reals.h"
#include "validate/weights.h"

#define DEFAULT_CTX 512
/* Tokens run together when nobody chose: the forward pass's own block. */
#define BATCH_TOKENS 2048
/* Logits in memory at a time, in floats: 64 MiB, or 16 rows of any vocabulary. */
#define LOGIT_FLOATS ((size_t)1 << 24)
#define LOGIT_ROWS 16
/* Exponentials summed in float lanes at a time, before double takes over. */
#define SUM_BLOCK 512

typedef struct {
    const qn_decoder *d;
    const uint32_t *ids;
    uint32_t bos;
    bool replace_first;
    size_t n_ctx, first; /* positions first .. n_ctx - 2 of a chunk are scored */
    size_t scored;       /* of each chunk */
    size_t chunks;

    qn_session *session;
    size_t batch; /* sequences of the session */
    uint32_t *batch_ids;
    size_t logit_rows;
    float *logits;
    double *nll; /* [scored], of the chunk at hand */

    double sum, sum_of_squares;
    double *chunk_nll;
} job;

static double negative_log_probability(const qn_kernels *k, float *logits, size_t n,
                                       uint32_t target)
{
    const float max = k->max(logits, n);
    const double chosen = (double)logits[target];
    double sum = 0.0;
    for (size_t i = 0; i < n; i += SUM_BLOCK)
        sum += (double)k->exp_sum(logits + i, max, (size_t)qn_min_u64(SUM_BLOCK, n - i));
    return (double)max - chosen + qn_log(sum);
}

/* Fills nll for one sequence of the last run. */
static qn_status score(job *j, size_t sequence, const uint32_t *chunk, qn_error *err)
{
    const size_t n_vocab = (size_t)j->d->hparams->n_vocab;
    for (size_t r = 0; r < j->scored; r += j->logit_rows) {
        const size_t rows = (size_t)qn_min_u64(j->logit_rows, j->scored - r);
        const qn_status status =
            qn_session_logits(j->session, sequence, j->first + r, rows, j->logits, err);
        if (status) return status;
#pragma omp parallel for num_threads(j->d->threads)
        for (size_t i = 0; i < rows; i++)
            j->nll[r + i] = negative_log_probability(j->d->k, j->logits + i * n_vocab, n_vocab,
                                                     chunk[j->first + r + i + 1]);
    }
    return QN_OK;
}

static void add_chunk(job *j, size_t chunk)
{
    double sum = 0.0;
    for (size_t i = 0; i < j->scored; i++) {
        sum += j->nll[i];
        j->sum += j->nll[i];
        j->sum_of_squares += j->nll[i] * j->nll[i];
    }
    j->chunk_nll[chunk] = sum / (double)j->scored;
}

/* Runs chunks c .. c + n as the sequences of one batch. */
static qn_status run_batch(job *j, size_t c, size_t n, qn_error *err)
{
    if (n != j->batch) {
        qn_session_free(j->session);
        j->session = NULL;
        const qn_status status = qn_session_new(&j->session, j->d, n, j->n_ctx, err);
        if (status) return status;
        j->batch = n;
    }
    memcpy(j->batch_ids, j->ids + c * j->n_ctx, n * j->n_ctx * sizeof *j->ids);
    for (size_t s = 0; s < n && j->replace_first; s++) j->batch_ids[s * j->n_ctx] = j->bos;
    qn_session_reset(j->session);
    return qn_session_run(j->session, j->batch_ids, j->n_ctx, NULL, NULL, err);
}

static qn_status run_all(job *j, size_t batch, qn_perplexity_fn progress, void *ctx, qn_error *err)
{
    for (size_t c = 0; c < j->chunks; c += batch) {
        const size_t n = (size_t)qn_min_u64(batch, j->chunks - c);
        qn_status status = run_batch(j, c, n, err);
        for (size_t s = 0; s < n && !status; s++) {
            status = score(j, s, j->ids + (c + s) * j->n_ctx, err);
            if (status) break;
            add_chunk(j, c + s);
            const double so_far = qn_exp(j->sum / (double)((c + s + 1) * j->scored));
            if (progress && !progress(ctx, c + s + 1, j->chunks, so_far))
                status = qn_fail(err, QN_ERR_CANCELLED, "cancelled after %zu of %zu chunks",
                                 c + s + 1, j->chunks);
        }
        if (status) return status;
    }
    return QN_OK;
}

static qn_status start(job *j, size_t n_ids, const qn_perplexity_options *options, size_t *batch,
                       qn_error *err)
{
    j->n_ctx = options->n_ctx ? options->n_ctx : DEFAULT_CTX;
    if (j->n_ctx < 3)
        return qn_fail(err, QN_ERR_ARGUMENT, "a context of %zu leaves no token to score", j->n_ctx);
    if (n_ids < j->n_ctx)
        return qn_fail(
            err, QN_ERR_ARGUMENT,
            "the text is %zu tokens, too short for one chunk of %zu: give more text or a "
            "smaller context",
            n_ids, j->n_ctx);
    j->first = j->n_ctx / 2;
    j->scored = j->n_ctx - 1 - j->first;
    j->chunks = n_ids / j->n_ctx;
    if (options->chunks) j->chunks = (size_t)qn_min_u64(options->chunks, j->chunks);
    *batch = options->batch ? options->batch : BATCH_TOKENS / j->n_ctx;
    *batch = (size_t)qn_min_u64(*batch ? *batch : 1, j->chunks);

    const size_t n_vocab = (size_t)j->d->hparams->n_vocab;
    j->logit_rows = LOGIT_FLOATS / n_vocab < LOGIT_ROWS ? LOGIT_ROWS : LOGIT_FLOATS / n_vocab;
    j->logit_rows = (size_t)qn_min_u64(j->logit_rows, j->scored);
    j->batch_ids = qn_alloc(*batch * j->n_ctx, sizeof *j->batch_ids);
    j->logits = qn_alloc(j->logit_rows * n_vocab, sizeof *j->logits);
    j->nll = qn_alloc(j->scored, sizeof *j->nll);
    j->chunk_nll = qn_alloc(j->chunks, sizeof *j->chunk_nll);
    if (!j->batch_ids || !j->logits || !j->nll || !j->chunk_nll)
        return qn_fail_memory(err, "logits");
    return QN_OK;
}

static void finish(job *j, qn_perplexity_result *out)
{
    const double count = (double)j->chunks * (double)j->scored, mean = j->sum / count;
    const double variance = j->sum_of_squares / count - mean * mean;
    *out = (qn_perplexity_result){.ppl = qn_exp(mean),
                                  .nll_mean = mean,
                                  .chunks = j->chunks,
                                  .tokens_scored = (uint64_t)j->chunks * j->scored,
                                  .chunk_nll = j->chunk_nll};
    if (count > 1.0 && variance > 0.0) out->ppl_stderr = out->ppl * sqrt(variance / (count - 1.0));
    j->chunk_nll = NULL;
}

qn_status qn_perplexity_run(const qn_decoder *d, const uint32_t *ids, size_t n_ids, uint32_t bos,
                            bool replace_first, const qn_perplexity_options *options,
                            qn_perplexity_fn progress, void *ctx, qn_perplexity_result *out,
                            qn_error *err)
{
    size_t batch = 0;
    job j = {.d = d, .ids = ids, .bos = bos, .replace_first = replace_first};
    qn_status status = start(&j, n_ids, options, &batch, err);
    if (!status) status = run_all(&j, batch, progress, ctx, err);
    if (!status) finish(&j, out);
    qn_session_free(j.session);
    qn_free(j.chunk_nll);
    qn_free(j.nll);
    qn_free(j.logits);
    qn_free(j.batch_ids);
    return status;
}
