/* Perplexity by llama-perplexity's method: the chunks of chunks.h;
 * PPL = exp(mean nll), its standard error
 * PPL * sqrt((mean(nll^2) - mean^2) / (count - 1)). */
#ifndef QN_VALIDATE_PERPLEXITY_H
#define QN_VALIDATE_PERPLEXITY_H

#include "formats/base/watch.h"
#include "validate/chunks.h"

typedef qn_chunk_options qn_perplexity_options;

typedef struct {
    double ppl, ppl_stderr, nll_mean;
    uint64_t chunks, tokens_scored;
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
