/* Causal grouped-query attention over a cache of keys and values:
 *
 *     out = sum over u of p[u] value[u],
 *     p   = softmax over u of (query . key[u]) / sqrt(head_dim),   u <= t
 *
 * Query head j reads KV head j / (n_heads / n_kv_heads) (Ainslie et al., 2023).
 * Layers may slide (t - window < u), have heads of their own size and number,
 * scale the scores otherwise, cap them (cap tanh(score / cap)), and read the
 * cache of an earlier layer (qn_hparams).
 *
 * Both products run on the GEMM's micro-kernel (kernels.h, gemm_tile): keys are
 * cached as panels of QN_PANEL positions, values as columns of QN_PANEL
 * elements, so nothing is packed when they are read.  A score is one chain over
 * the head's elements, a result one chain over the positions from the first to
 * the token's own; the softmax is exact, in one pass over a row of scores held
 * in memory for QN_TILE_MAX queries at a time.  So a token's result has the
 * same bits whether its neighbours are computed with it or before it. */
#ifndef QN_VALIDATE_ATTENTION_H
#define QN_VALIDATE_ATTENTION_H

#include "formats/base/error.h"
#include "formats/hparams.h"
#include "kernels/kernels.h"

typedef struct qn_attention qn_attention; /* the cache of all layers, and scratch */

/* Tokens of one sequence that stand at rows row.. of the activations and at
 * positions first.. of the sequence. */
typedef struct {
    size_t sequence, row, first, n;
} qn_span;

/* block: layers are run over all tokens one after the other, so many at a time, and
 * sequences once and whole: a layer keeps keys and values only until its blocks
 * are through, or the layers that share them are.  0: all are kept. */
typedef struct {
    size_t sequences, n_ctx, block;
} qn_attention_size;

qn_status qn_attention_new(qn_attention **out, const qn_hparams *h, const qn_kernels *k,
                           int threads, const qn_attention_size *size, qn_error *err);
/* What that allocates. */
uint64_t qn_attention_bytes(const qn_hparams *h, int threads, const qn_attention_size *size);
void qn_attention_free(qn_attention *a); /* NULL is fine */

/* Keys [row][n_kv_heads][head_dim] and values [row][n_kv_heads][value_dim] of a
 * span into the cache of a layer that has its own.  Positions are below n_ctx. */
void qn_attention_store(qn_attention *a, size_t layer, const qn_span *span, const float *keys,
                        const float *values);

/* The first position that is read when queries from `position` on run in a layer: what
 * their windows see, from a panel's first. */
size_t qn_attention_reads_from(const qn_attention *a, size_t layer, size_t position);

/* The first n positions of sequence i are those of sequence parents[i] of another
 * cache of the same layers. */
void qn_attention_branch(qn_attention *a, const qn_attention *from, const size_t *parents,
                         size_t n);

/* sinks: [n_heads], scores of a position without a value, which each head sees besides
 * the others (gpt-oss); NULL: none.
 *
 * Queries [row][n_heads][head_dim] to out [row][n_heads][value_dim]; the keys and
 * values of the spans' own tokens are stored already. */
void qn_attention_run(qn_attention *a, size_t layer, const qn_span *spans, size_t n_spans,
                      const float *sinks, const float *queries, float *out);

#endif
