/* A text cut into chunks (windows) as llama-perplexity cuts it, and a model
 * run over them, several at a time.
 *
 * The text is tokenized once and cut into chunks of n_ctx ids, the tail is
 * dropped; the first id of each chunk is replaced by BOS when the vocabulary
 * adds BOS; logits at positions n_ctx / 2 .. n_ctx - 2 are scored: they predict
 * the next id.  (llama.cpp tools/perplexity/perplexity.cpp.)
 *
 * With a stride, chunks of n_ctx begin every `stride` ids and overlap, and the last
 * `stride` ids of each are scored: each id of the text once, with n_ctx - stride or
 * more before it, but for the first n_ctx - stride and the tail.  (Hugging Face's
 * "Perplexity of fixed-length models" slides the same window, and scores those, too;
 * perplexity_v2 of llama.cpp's file leaves out BOS and a last chunk that ends with
 * the text.) */
#ifndef QN_VALIDATE_CHUNKS_H
#define QN_VALIDATE_CHUNKS_H

#include "validate/decoder.h"

typedef struct {
    size_t n_ctx;    /* 0: 512 */
    uint64_t chunks; /* at most so many; 0: all */
    size_t batch;    /* run together; 0: about 2048 tokens' worth */
    size_t stride;   /* below n_ctx; 0: none */
} qn_chunk_options;

typedef struct {
    const uint32_t *ids; /* of the whole text; the caller's */
    uint32_t bos;
    bool replace_first;
    size_t n_ctx, chunks, batch;
    size_t step;          /* ids from a chunk's first to the next one's */
    size_t first, scored; /* positions first .. first + scored - 1 of a chunk */
} qn_chunks;

/* ids: the whole text, BOS already before it when the vocabulary adds one; bos
 * replaces a chunk's first id when replace_first.  Fewer than n_ctx ids is
 * QN_ERR_ARGUMENT (llama-perplexity asks for twice as many). */
qn_status qn_chunks_cut(qn_chunks *out, const uint32_t *ids, size_t n_ids, uint32_t bos,
                        bool replace_first, const qn_chunk_options *options, qn_error *err);

/* The ids of a chunk as they stand in the text: what position i predicts is [i + 1]. */
static inline const uint32_t *qn_chunk_ids(const qn_chunks *c, size_t chunk)
{
    return c->ids + chunk * c->step;
}

/* Rows of logits that are held at a time: 64 MiB of them, or 16 of any vocabulary. */
size_t qn_chunks_logit_rows(const qn_chunks *c, size_t n_vocab);

/* Makes the batch as large as so many bytes allow that hold models' sessions (all at
 * once), `logits` buffers of logits and, where pages are given back, those of a
 * layer.  Too few for one chunk: QN_ERR_MEMORY. */
qn_status qn_chunks_fit(qn_chunks *c, uint64_t bytes, const qn_decoder *const *models,
                        size_t n_models, size_t logits, qn_error *err);

/* What those sessions and buffers take, as the batch is; UINT64_MAX: more than can be said. */
uint64_t qn_chunks_scratch(const qn_chunks *c, const qn_decoder *const *models, size_t n_models,
                           size_t logits);

/* One model at work on them. */
typedef struct {
    const qn_chunks *chunks;
    const qn_decoder *d;
    qn_session *session;
    size_t sequences;  /* of the session */
    uint32_t *ids;     /* of the batch */
    qn_input_fn watch; /* of the session; NULL: nobody */
    void *watch_ctx;
} qn_chunk_runner;

qn_status qn_chunk_runner_new(qn_chunk_runner *r, const qn_chunks *c, const qn_decoder *d,
                              qn_error *err);
void qn_chunk_runner_free(qn_chunk_runner *r); /* {0} is fine */

/* Runs chunks at .. at + n - 1 (n up to c->batch) as sequences 0 .. n - 1 of r->session. */
qn_status qn_chunk_runner_run(qn_chunk_runner *r, size_t at, size_t n, qn_error *err);

/* Logits of rows row .. row + rows - 1 of those scored in a sequence of the last run,
 * which is that chunk.  One that is not finite is QN_ERR_DATA. */
qn_status qn_chunk_runner_logits(qn_chunk_runner *r, size_t sequence, size_t chunk, size_t row,
                                 size_t rows, float *out, qn_error *err);

/* log(sum over the vocabulary of e^logit), the exponentials in float32
 * (kernels.h, exp_sum), 512 at a time, everything else in double (reals.h): the
 * same bits for any batch, thread count and machine.  weights: n floats for
 * e^(logit - max), or NULL. */
double qn_log_sum_exp(const qn_kernels *k, const float *logits, size_t n, float *weights);

#endif
