/* Perplexity by llama-perplexity's method.
 *
 * The text is tokenized once and cut into chunks of n_ctx ids, the tail is
 * dropped; the first id of each chunk is replaced by BOS when the vocabulary
 * adds BOS; with first = n_ctx / 2, logits at positions first .. n_ctx-2
 * predict the next id.  PPL = exp(mean nll); its standard error is
 * PPL * sqrt((mean(nll^2) - mean^2) / (count - 1)).
 * (llama.cpp tools/perplexity/perplexity.cpp.) */
#ifndef QN_VALIDATE_PERPLEXITY_H
#define QN_VALIDATE_PERPLEXITY_H

#include "formats/base/watch.h"
#include "validate/decoder.h"

typedef struct {
    size_t n_ctx;    /* 0: 512 */
    uint64_t chunks; /* at most so many; 0: all */
    size_t batch;    /* sequences run together; 0: about 2048 tokens' worth */
} qn_perplexity_options;

typedef struct {
    double ppl, ppl_stderr, nll_mean;
    uint64_t chunks, tokens_scored;
    double *chunk_nll; /* mean of each chunk, chunks of them; qn_free */
} qn_perplexity_result;

/* Called after each chunk in order, with the perplexity so far; false cancels. */
typedef bool (*qn_perplexity_fn)(void *ctx, uint64_t chunk, uint64_t chunks, double ppl_so_far);

/* ids: the whole text, BOS already before it when the vocabulary adds one.
 * Fewer than n_ctx ids is QN_ERR_ARGUMENT (llama-perplexity asks for twice as
 * many).  bos: what replaces a chunk's first id when replace_first.
 *
 * -log p = max - logit + log(sum over the vocabulary of e^(logit - max)): the
 * exponentials in float32 (kernels.h, exp_sum), their sum, the logarithm and
 * everything after it in double (reals.h), in the order of the tokens: the same
 * bits for any batch, thread count and machine. */
qn_status qn_perplexity_run(const qn_decoder *d, const uint32_t *ids, size_t n_ids, uint32_t bos,
                            bool replace_first, const qn_perplexity_options *options,
                            qn_perplexity_fn progress, void *ctx, qn_perplexity_result *out,
                            qn_error *err);

#endif
