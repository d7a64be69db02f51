/* The exact reference forward pass: float32 arithmetic on weights as stored.
 *
 *     x = embedding[id]
 *     each layer:  h = norm(x);  q, k, v = h through their matrices
 *                  x = x + output . attention(rope(q), rope(k), v)
 *                  h = norm(x)
 *                  x = x + down . (silu(gate . h) * (up . h))
 *     logits = head . norm(x)
 *
 * One decoder for every family; what differs is in qn_hparams and in which
 * tensors the model has (a bias, a head of its own).  Follows transformers'
 * modeling code, which the golden logits come from.
 *
 * Every number is computed for its own token alone, in an order that depends
 * on nothing else (gemm.h, attention.h, norm.h, rope.h).  So logits have the
 * same bits for any number of threads, any ISA, and however tokens are
 * divided into runs and sequences into batches. */
#ifndef QN_VALIDATE_DECODER_H
#define QN_VALIDATE_DECODER_H

#include "formats/model.h"
#include "validate/input_rounding.h"
#include "validate/gemm.h"

typedef struct qn_decoder qn_decoder; /* weights bound to roles; shared by sessions */
typedef struct qn_session qn_session; /* sequences with their KV cache and scratch */

/* m and k outlive the decoder.  Refuses a model without a family, a weight
 * that cannot be decoded. */
qn_status qn_decoder_new(qn_decoder **out, const qn_model *m, const qn_kernels *k, int threads,
                         qn_error *err);
void qn_decoder_free(qn_decoder *d);

/* From now on runs give back the pages of mapped weights: a layer's when all
 * tokens are through it, the embedding's and the head's in pieces.  So each
 * weight is read once a run, and at most qn_decoder_page_bytes of them are
 * resident at a time. */
void qn_decoder_give_back(qn_decoder *d);
uint64_t qn_decoder_page_bytes(const qn_decoder *d);
/* The most that models which run in turn hold of their weights: of those that give
 * back the largest's pages, of the others everything. */
uint64_t qn_decoders_held_bytes(const qn_decoder *const *models, size_t n);

/* What the inputs of its matrix products are; exact unless said.  Before the
 * first session. */
void qn_decoder_set_activations(qn_decoder *d, qn_activations a);

/* Room for `sequences` independent sequences of up to n_ctx positions each.  d
 * outlives the session.  Dynamic rope scaling beyond the trained length is QN_ERR_UNSUPPORTED. */
qn_status qn_session_new(qn_session **out, const qn_decoder *d, size_t sequences, size_t n_ctx,
                         qn_error *err);
/* The same for sequences that are run once and whole, n_ctx tokens each: keys and
 * values are held while a layer needs them, so memory hardly grows with layers. */
qn_status qn_session_new_whole(qn_session **out, const qn_decoder *d, size_t sequences,
                               size_t n_ctx, qn_error *err);
/* The bytes that either takes, its runs included; UINT64_MAX: more than can be said. */
uint64_t qn_session_bytes(const qn_decoder *d, size_t sequences, size_t n_ctx);
uint64_t qn_session_whole_bytes(const qn_decoder *d, size_t sequences, size_t n_ctx);
void qn_session_free(qn_session *s);
void qn_session_reset(qn_session *s); /* forget everything cached */

/* From now on logits of a run are asked for from its token `first` on (0 at the
 * beginning; past the end: none), which changes no bit of them: a layer leaves out
 * the tokens that neither they nor later runs depend on, as all others' queries in the
 * last layer, and in those that share earlier layers' keys and values.  Runs that
 * somebody watches leave out nothing. */
void qn_session_ask_from(qn_session *s, size_t first);

/* Called with the residual stream [n_tokens][hidden] after the embedding
 * (layer -1), after each layer, and after the final norm (layer n_layers).
 * Several streams (hparams.n_streams) come side by side, as one of hidden times
 * their number, but for the last. */
typedef void (*qn_hidden_fn)(void *ctx, int layer, const float *x, size_t n_tokens, size_t hidden);

/* Runs n more ids of each sequence (ids[sequence][n]) at the positions that
 * follow what is cached, and leaves the final-normed residual
 * [sequences][n][hidden] inside the session.  An id outside the vocabulary is
 * QN_ERR_DATA, and so is a layer's first value that is not finite; more positions
 * than n_ctx are QN_ERR_ARGUMENT.  hidden may be NULL.
 * After a failure nothing more is cached than before.  Scratch is that residual
 * plus the widest activations of 2048 tokens. */
qn_status qn_session_run(qn_session *s, const uint32_t *ids, size_t n, qn_hidden_fn hidden,
                         void *ctx, qn_error *err);

/* What a matrix is about to be multiplied with: rows of x, one behind the other
 * as their tokens are.  A tensor of several matrices (experts) shows each by
 * itself, those that got no token not at all; one that is applied in parts (fused
 * queries, keys and values) is shown once. */
typedef struct {
    const char *tensor;        /* "blk.0.attn_q.weight" */
    uint64_t matrix, matrices; /* which of how many in it */
    const float *x;            /* [rows][columns], during the call */
    size_t rows, columns;
    bool same; /* x is what the call before was about, too (keys after queries) */
} qn_linear_input;

typedef qn_status (*qn_input_fn)(void *ctx, const qn_linear_input *input, qn_error *err);

/* From now on fn sees the input of every matrix that runs apply; NULL: no longer.
 * The head is among them, at the end of a run with all its positions, whether or
 * not logits are asked for.  What fn returns other than QN_OK ends the run. */
void qn_session_watch_inputs(qn_session *s, qn_input_fn fn, void *ctx);

/* Sequence i of `to` goes on where sequence parents[i] of `from` is: what that has
 * cached is copied.  Both are of one decoder, and from's positions fit into to. */
void qn_session_branch(qn_session *to, const qn_session *from, const size_t *parents);

/* Logits [count][n_vocab] of positions first.. of one sequence of the last
 * run, none before where they are asked for from. */
qn_status qn_session_logits(qn_session *s, size_t sequence, size_t first, size_t count, float *out,
                            qn_error *err);

/* The same of tokens anywhere in the last run: sequence * its tokens + position. */
qn_status qn_session_logits_at(qn_session *s, const size_t *tokens, size_t count, float *out,
                               qn_error *err);

#endif
