#include <string.h>

#include "formats/base/sizes.h"
#include "validate/attention.h"
#include "validate/norm.h"
#include "validate/rope.h"
#include "validate/weights.h"

/* Tokens that go through a layer together.  Enough that unpacking the weights
 * is a small part of the work; scratch grows with it. */
#define BLOCK_TOKENS 2048

struct qn_session {
    const qn_decoder *d;
    qn_gemm *gemm;
    qn_attention *attention;
    size_t sequences, n_ctx;
    size_t cached; /* positions of each sequence */
    size_t last_n; /* tokens of each sequence in the last run */

    size_t tokens;  /* there is room for: sequences * n */
    float *x;       /* [tokens][hidden]: the residual stream, at the end normed */
    float *turns;   /* [n][rope_dims] */
    qn_span *spans; /* [sequences] */

    size_t block; /* tokens there is room for in all of these */
    float *h;     /* [block][hidden]: normed input, then what is added to x */
    float *query; /* [block][n_heads][head_dim] */
    float *key;   /* [block][n_kv_heads][head_dim] */
    float *value; /* [block][n_kv_heads][value_dim] */
    float *mixed; /* [block][n_heads][value_dim] */
    float *gate;  /* [block][feed_forward] */
    float *up;    /* [block][feed_forward] */
};

qn_status qn_session_new(qn_session **out, const qn_decoder *d, size_t sequences, size_t n_ctx,
                         qn_error *err)
{
    const qn_hparams *hp = d->hparams;
    if (hp->rope_scaling == QN_ROPE_DYNAMIC && n_ctx > hp->n_ctx_train)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: a context of %zu with dynamic rope scaling, which is defined up to the "
                       "trained %llu here",
                       d->model->path, n_ctx, (unsigned long long)hp->n_ctx_train);
    qn_status status = QN_OK;
    qn_session *s = qn_alloc(1, sizeof *s);
    if (!s || !(s->spans = qn_alloc(sequences, sizeof *s->spans))) {
        status = qn_fail_memory(err, "a session");
        goto out;
    }
    s->d = d;
    s->sequences = sequences;
    s->n_ctx = n_ctx;
    if ((status = qn_gemm_new(&s->gemm, d->k, d->threads, err))) goto out;
    if ((status = qn_attention_new(&s->attention, hp, d->k, d->threads, sequences, n_ctx, err)))
        goto out;
    *out = s;
    s = NULL;
out:
    qn_session_free(s);
    return status;
}

void qn_session_free(qn_session *s)
{
    if (!s) return;
    float *const buffers[] = {s->x,     s->turns, s->h,    s->query, s->key,
                              s->value, s->mixed, s->gate, s->up};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) qn_free(buffers[i]);
    qn_free(s->spans);
    qn_attention_free(s->attention);
    qn_gemm_free(s->gemm);
    qn_free(s);
}

void qn_session_reset(qn_session *s)
{
    s->cached = 0;
    s->last_n = 0;
}

/* *p becomes rows * columns floats; false: no memory, *p still valid. */
static bool grow(float **p, uint64_t rows, uint64_t columns)
{
    uint64_t n;
    if (!qn_mul_u64(rows, columns, &n) || n > SIZE_MAX) return false;
    float *larger = qn_resize(*p, (size_t)n, sizeof **p);
    if (larger) *p = larger;
    return larger != NULL;
}

static qn_status make_room(qn_session *s, size_t n, qn_error *err)
{
    const qn_hparams *h = s->d->hparams;
    const uint64_t tokens = (uint64_t)s->sequences * n; /* both within n_ctx's cache */
    const uint64_t block = qn_min_u64(tokens, BLOCK_TOKENS);
    if (tokens > s->tokens) {
        if (!grow(&s->x, tokens, h->hidden) || !grow(&s->turns, tokens, h->rope_dims))
            return qn_fail_memory(err, "activations");
        s->tokens = (size_t)tokens;
    }
    if (block > s->block) {
        if (!grow(&s->h, block, h->hidden) || !grow(&s->query, block, h->n_heads * h->head_dim) ||
            !grow(&s->key, block, h->n_kv_heads * h->head_dim) ||
            !grow(&s->value, block, h->n_kv_heads * h->value_dim) ||
            !grow(&s->mixed, block, h->n_heads * h->value_dim) ||
            !grow(&s->gate, block, h->feed_forward) || !grow(&s->up, block, h->feed_forward))
            return qn_fail_memory(err, "activations");
        s->block = (size_t)block;
    }
    return QN_OK;
}

static qn_status embed(qn_session *s, const uint32_t *ids, size_t tokens, qn_error *err)
{
    const qn_decoder *d = s->d;
    for (size_t t = 0; t < tokens; t++) {
        if (ids[t] >= d->hparams->n_vocab)
            return qn_fail(err, QN_ERR_DATA, "%s: token %zu has id %u, the vocabulary %llu",
                           d->model->path, t, ids[t], (unsigned long long)d->hparams->n_vocab);
        const qn_status status = d->embedding->decode(d->embedding, d->k, ids[t], ids[t] + 1ULL,
                                                      s->x + t * d->hparams->hidden, err);
        if (status) return status;
    }
    return QN_OK;
}

static void norm_rows(const qn_session *s, const float *x, const float *weight, size_t rows,
                      float *out)
{
    const size_t n = (size_t)s->d->hparams->hidden;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < rows; i++)
        qn_rms_norm(x + i * n, weight, s->d->hparams->rms_eps, out + i * n, n);
}

static void add_rows(const qn_session *s, const float *what, size_t rows, float *x)
{
    const size_t n = (size_t)s->d->hparams->hidden;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = i * n; j < (i + 1) * n; j++) x[j] += what[j];
}

/* rows of x through a matrix and its bias. */
static qn_status apply(qn_session *s, const qn_linear *l, const float *x, size_t rows, float *out,
                       qn_error *err)
{
    const size_t n = (size_t)l->rows->rows;
    const qn_status status =
        qn_gemm_run(s->gemm, x, (size_t)l->rows->columns, rows, l->rows, 0, n, out, n, err);
    if (status || !l->bias) return status;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++) out[i * n + j] += l->bias[j];
    return QN_OK;
}

/* Cuts tokens t0..t1 of the batch into pieces of one sequence each. */
static size_t cut_spans(const qn_session *s, size_t n, size_t t0, size_t t1)
{
    size_t n_spans = 0;
    for (size_t t = t0; t < t1;) {
        const size_t in_sequence = t % n;
        const size_t count = (size_t)qn_min_u64(n - in_sequence, t1 - t);
        s->spans[n_spans++] = (qn_span){
            .sequence = t / n, .row = t - t0, .first = s->cached + in_sequence, .n = count};
        t += count;
    }
    return n_spans;
}

static qn_status attend(qn_session *s, size_t layer, size_t n, size_t t0, size_t t1, qn_error *err)
{
    const qn_hparams *hp = s->d->hparams;
    const qn_layer *l = &s->d->layers[layer];
    const size_t rows = t1 - t0, head_dim = (size_t)hp->head_dim, dims = (size_t)hp->rope_dims;
    float *x = s->x + t0 * (size_t)hp->hidden;
    qn_status status;
    norm_rows(s, x, l->attention_norm, rows, s->h);
    if ((status = apply(s, &l->query, s->h, rows, s->query, err)) ||
        (status = apply(s, &l->key, s->h, rows, s->key, err)) ||
        (status = apply(s, &l->value, s->h, rows, s->value, err)))
        return status;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < rows; i++) {
        const float *turn = s->turns + (t0 + i) % n * dims;
        qn_rope_rotate(turn, dims, s->query + i * hp->n_heads * head_dim, hp->n_heads, head_dim);
        qn_rope_rotate(turn, dims, s->key + i * hp->n_kv_heads * head_dim, hp->n_kv_heads,
                       head_dim);
    }
    const size_t n_spans = cut_spans(s, n, t0, t1);
    for (size_t i = 0; i < n_spans; i++)
        qn_attention_store(s->attention, layer, &s->spans[i], s->key, s->value);
    qn_attention_run(s->attention, layer, s->spans, n_spans, s->query, s->mixed);
    if ((status = apply(s, &l->output, s->mixed, rows, s->h, err))) return status;
    add_rows(s, s->h, rows, x);
    return QN_OK;
}

static qn_status feed_forward(qn_session *s, size_t layer, size_t t0, size_t t1, qn_error *err)
{
    const qn_hparams *hp = s->d->hparams;
    const qn_layer *l = &s->d->layers[layer];
    const size_t rows = t1 - t0, width = (size_t)hp->feed_forward;
    float *x = s->x + t0 * (size_t)hp->hidden;
    qn_status status;
    norm_rows(s, x, l->mlp_norm, rows, s->h);
    if ((status = apply(s, &l->gate, s->h, rows, s->gate, err)) ||
        (status = apply(s, &l->up, s->h, rows, s->up, err)))
        return status;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < rows; i++)
        s->d->k->silu_mul(s->gate + i * width, s->up + i * width, width);
    if ((status = apply(s, &l->down, s->gate, rows, s->h, err))) return status;
    add_rows(s, s->h, rows, x);
    return QN_OK;
}

qn_status qn_session_run(qn_session *s, const uint32_t *ids, size_t n, qn_hidden_fn hidden,
                         void *ctx, qn_error *err)
{
    const qn_decoder *d = s->d;
    const qn_hparams *hp = d->hparams;
    if (n == 0) return qn_fail(err, QN_ERR_ARGUMENT, "no tokens to run");
    if (n > s->n_ctx - s->cached)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%zu tokens after %zu are more than the context of %zu", n, s->cached,
                       s->n_ctx);
    qn_status status = make_room(s, n, err);
    if (status) return status;
    const size_t tokens = s->sequences * n;
    s->last_n = 0;
    if ((status = embed(s, ids, tokens, err))) return status;
    qn_rope_turns(d->rope_frequency, (size_t)hp->rope_dims, d->rope_factor, s->cached, n, s->turns);
    if (hidden) hidden(ctx, -1, s->x, tokens, (size_t)hp->hidden);
    for (size_t layer = 0; layer < hp->n_layers; layer++) {
        for (size_t t0 = 0; t0 < tokens; t0 += s->block) {
            const size_t t1 = (size_t)qn_min_u64(t0 + s->block, tokens);
            if ((status = attend(s, layer, n, t0, t1, err)) ||
                (status = feed_forward(s, layer, t0, t1, err)))
                return status;
        }
        if (hidden) hidden(ctx, (int)layer, s->x, tokens, (size_t)hp->hidden);
    }
    norm_rows(s, s->x, d->final_norm, tokens, s->x);
    if (hidden) hidden(ctx, (int)hp->n_layers, s->x, tokens, (size_t)hp->hidden);
    s->cached += n;
    s->last_n = n;
    return QN_OK;
}

qn_status qn_session_logits(qn_session *s, size_t sequence, size_t first, size_t count, float *out,
                            qn_error *err)
{
    const qn_hparams *hp = s->d->hparams;
    if (sequence >= s->sequences || first > s->last_n || count > s->last_n - first)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "logits of %zu positions from %zu of sequence %zu: the last run had %zu",
                       count, first, sequence, s->last_n);
    const float *x = s->x + (sequence * s->last_n + first) * (size_t)hp->hidden;
    return qn_gemm_run(s->gemm, x, (size_t)hp->hidden, count, s->d->head, 0, hp->n_vocab, out,
                       (size_t)hp->n_vocab, err);
}
