/* Perplexity by llama-perplexity's method: the chunks of chunks.h;
 * PPL = exp(mean nll), its standard error
 * PPL * sqrt((mean(nll^2) - mean^2) / (count - 1)). */
#ifndef QN_VALIDATE_PERPLEXITY_H
#define QN_VALIDATE_PERPLEXITY_H

#include "formats/base/watch.h"
#include "validate/chunks.h"

/* Who wants the logits, too: once what they are of, then every block of rows
 * (positions row .. row + n - 1 of those scored in a chunk), in order. */
typedef struct {
    void *ctx;
    qn_status (*begin)(void *ctx, const qn_decoder *d, const qn_chunks *chunks, qn_error *err);
    qn_status (*rows)(void *ctx, size_t chunk, size_t row, size_t n, const float *logits,
                      qn_error *err);
} qn_logits_sink;

typedef struct {
    size_t n_ctx; /* these four as in qn_chunk_options */
    uint64_t chunks;
    size_t batch, stride;
    uint64_t memory; /* bytes that it may take (qn_chunks_fit, instead of batch); 0: no limit */
    const qn_logits_sink *sink; /* NULL: nobody */
    qn_input_fn watch;          /* sees the inputs of all matrices; NULL: nobody */
    void *watch_ctx;
} qn_perplexity_options;

typedef struct {
    double ppl, ppl_stderr, nll_mean;
    uint64_t chunks, tokens_scored;
    uint64_t scratch;  /* bytes that it took at most */
    double *chunk_nll; /* mean of each chunk, chunks of them; qn_free */
} qn_perplexity_result;

/* Called after each chunk in order, with the perplexity so far; false cancels. */
typedef bool (*qn_perplexity_fn)(void *ctx, uint64_t chunk, uint64_t chunks, double ppl_so_far);

/* ids, bos, replace_first: as in qn_chunks_cut.  -log p = log-sum-exp - logit in
 * double, added in the order of the tokens: the same bits for any batch, thread
 * count and machine. */
qn_status qn_perplexity_run(const qn_decoder *d, const uint32_t *ids, size_t n_ids, uint32_t bos,
                            bool replace_first, const qn_perplexity_options *options,
                            qn_perplexity_fn progress, void *ctx, qn_perplexity_result *out,
                            qn_error *err);

#endif
