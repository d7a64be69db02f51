#include <string.h>

#include "formats/base/sizes.h"
#include "validate/altup.h"
#include "validate/layer_inputs.h"
#include "validate/moe.h"
#include "validate/rope.h"
#include "validate/session.h"

/* Tokens that go through a layer together.  Enough that unpacking the weights
 * is a small part of the work; scratch grows with it. */
#define BLOCK_TOKENS 2048

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
    for (size_t i = 0; i < 2; i++)
        s->rope[i] = d->long_rope.dims && n_ctx > d->long_from ? &d->long_rope : &d->rope[i];
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
    float *const buffers[] = {s->x,          s->turns[0],   s->turns[1],   s->h,         s->query,
                              s->key,        s->value,      s->mixed,      s->gate,      s->up,
                              s->inputs,     s->input_row,  s->mixture,    s->predicted, s->laurel,
                              s->streams[0], s->streams[1], s->streams[2], s->shown};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) qn_free(buffers[i]);
    qn_moe_free(s->moe);
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

void qn_session_watch_inputs(qn_session *s, qn_input_fn fn, void *ctx)
{
    s->watch = fn;
    s->watch_ctx = ctx;
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

/* Elements of a token in the widest layer. */
typedef struct {
    uint64_t query, key, value, mixed, feed_forward;
} widths;

static widths widest(const qn_hparams *h)
{
    const uint64_t experts = qn_max_u64(h->expert_feed_forward, h->shared_feed_forward);
    widths w = {.feed_forward = qn_max_u64(qn_max_u64(h->layer_input, h->laurel_rank), experts)};
    for (uint64_t i = 0; i < h->n_layers; i++) {
        const qn_layer_sizes l = qn_hparams_layer(h, i);
        w.query = qn_max_u64(w.query, h->n_heads * l.head_dim);
        w.key = qn_max_u64(w.key, l.n_kv_heads * l.head_dim);
        w.value = qn_max_u64(w.value, l.n_kv_heads * l.value_dim);
        w.mixed = qn_max_u64(w.mixed, h->n_heads * l.value_dim);
        w.feed_forward = qn_max_u64(w.feed_forward, l.feed_forward);
    }
    return w;
}

static bool grow_streams(qn_session *s, uint64_t tokens);

static qn_status make_room(qn_session *s, size_t n, qn_error *err)
{
    const qn_hparams *h = s->d->hparams;
    const uint64_t tokens = (uint64_t)s->sequences * n; /* both within n_ctx's cache */
    const uint64_t block = qn_min_u64(tokens, BLOCK_TOKENS);
    const uint64_t inputs = h->layer_input * h->n_layers;
    if (tokens > s->tokens) {
        if (!grow(&s->x, tokens, h->hidden) || !grow(&s->turns[0], tokens, s->rope[0]->dims) ||
            !grow(&s->turns[1], tokens, s->rope[1]->dims) || !grow_streams(s, tokens) ||
            (inputs && (!grow(&s->inputs, tokens, inputs) || !grow(&s->input_row, 1, inputs))))
            return qn_fail_memory(err, "activations");
        s->tokens = (size_t)tokens;
    }
    if (block > s->block) {
        const widths w = widest(h);
        if (!grow(&s->h, block, h->hidden) || !grow(&s->query, block, w.query) ||
            !grow(&s->key, block, w.key) || !grow(&s->value, block, w.value) ||
            !grow(&s->mixed, block, w.mixed) || !grow(&s->gate, block, w.feed_forward) ||
            !grow(&s->up, block, w.feed_forward) ||
            (h->n_experts && !grow(&s->mixture, block, h->hidden)) ||
            (h->n_streams && !grow(&s->predicted, block, h->hidden)) ||
            (h->laurel_rank && !grow(&s->laurel, block, h->hidden)))
            return qn_fail_memory(err, "activations");
        s->block = (size_t)block;
    }
    return QN_OK;
}

static void scale_row(float *x, double scale, size_t n)
{
    if (scale == 0.0) return;
    for (size_t i = 0; i < n; i++) x[i] *= (float)scale;
}

/* What alternating updates and the augmented residual need more. */
static bool grow_streams(qn_session *s, uint64_t tokens)
{
    const uint64_t hidden = s->d->hparams->hidden;
    for (size_t j = 0; s->d->hparams->n_streams && j + 1 < QN_N_STREAMS; j++)
        if (!grow(&s->streams[j], tokens, hidden)) return false;
    return true;
}

static qn_status embed(qn_session *s, const uint32_t *ids, size_t tokens, qn_error *err)
{
    const qn_decoder *d = s->d;
    const size_t hidden = (size_t)d->hparams->hidden;
    for (size_t t = 0; t < tokens; t++) {
        if (ids[t] >= d->hparams->n_vocab)
            return qn_fail(err, QN_ERR_DATA, "%s: token %zu has id %u, the vocabulary %llu",
                           d->model->path, t, ids[t], (unsigned long long)d->hparams->n_vocab);
        const qn_status status =
            d->embedding->decode(d->embedding, d->k, ids[t], ids[t] + 1ULL, s->x + t * hidden, err);
        if (status) return status;
        scale_row(s->x + t * hidden, d->hparams->embedding_scale, hidden);
    }
    return QN_OK;
}

static qn_status run_layer(qn_session *s, size_t layer, const qn_block *b, qn_error *err)
{
    const qn_layer *l = &s->d->layers[layer];
    qn_status status;
    if (l->altup.norm) qn_altup_predict(s, layer, b);
    if ((l->laurel_norm && (status = qn_laurel_make(s, layer, b, err))) ||
        (status = qn_layer_attend(s, layer, b, err)))
        return status;
    if (l->laurel_norm) qn_laurel_add(s, b);
    if ((status = qn_layer_feed_forward(s, layer, b, err))) return status;
    if (l->altup.norm) qn_altup_correct(s, layer, b);
    if ((status = qn_layer_inputs_add(s, layer, b, err))) return status;
    qn_scale_rows(s, l->output_scale, b->t1 - b->t0, b->x);
    return QN_OK;
}

/* The residual stream, or several side by side. */
static qn_status show(qn_session *s, int layer, size_t tokens, qn_hidden_fn hidden, void *ctx,
                      qn_error *err)
{
    const size_t n = (size_t)s->d->hparams->hidden, width = n * QN_N_STREAMS;
    if (hidden && !s->d->hparams->n_streams) hidden(ctx, layer, s->x, tokens, n);
    if (!hidden || !s->d->hparams->n_streams) return QN_OK;
    if (!grow(&s->shown, tokens, width)) return qn_fail_memory(err, "activations");
    for (size_t t = 0; t < tokens; t++)
        for (size_t j = 0; j < QN_N_STREAMS; j++)
            memcpy(s->shown + t * width + j * n, (j ? s->streams[j - 1] : s->x) + t * n,
                   n * sizeof *s->shown);
    hidden(ctx, layer, s->shown, tokens, width);
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
    for (size_t i = 0; i < 2; i++)
        qn_rope_turns(s->rope[i]->frequency, s->rope[i]->dims, s->rope[i]->factor, s->cached, n,
                      s->turns[i]);
    if ((status = qn_layer_inputs_make(s, ids, tokens, err)) ||
        (hp->n_streams && (status = qn_altup_begin(s, tokens, err))) ||
        (status = show(s, -1, tokens, hidden, ctx, err)))
        return status;
    for (size_t layer = 0; layer < hp->n_layers; layer++) {
        for (size_t t0 = 0; t0 < tokens; t0 += s->block) {
            const qn_block b = {.n = n,
                                .t0 = t0,
                                .t1 = (size_t)qn_min_u64(t0 + s->block, tokens),
                                .x = s->x + t0 * (size_t)hp->hidden};
            if ((status = run_layer(s, layer, &b, err))) return status;
        }
        if ((status = show(s, (int)layer, tokens, hidden, ctx, err))) return status;
    }
    if (hp->n_streams && (status = qn_altup_end(s, tokens, err))) return status;
    qn_norm_rows(s, s->x, d->final_norm, tokens, s->x);
    if (hidden) hidden(ctx, (int)hp->n_layers, s->x, tokens, (size_t)hp->hidden);
    if ((status = qn_show_input(s, &d->head, 0, s->x, tokens, err))) return status;
    s->cached += n;
    s->last_n = n;
    return QN_OK;
}

static void divide(const qn_session *s, float divisor, size_t n, float *x)
{
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < n; i++) x[i] /= divisor;
}

/* Logits of count rows of the normed residual. */
static qn_status logits_of(qn_session *s, const float *x, size_t count, float *out, qn_error *err)
{
    const qn_hparams *hp = s->d->hparams;
    const size_t n = (size_t)hp->n_vocab;
    const qn_status status =
        qn_gemm_run(s->gemm, x, (size_t)hp->hidden, count, s->d->head.rows, 0, n, out, n, err);
    if (status) return status;
    if (hp->logit_divisor != 0.0) divide(s, (float)hp->logit_divisor, count * n, out);
    if (hp->final_cap == 0.0) return QN_OK;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < count; i++) s->d->k->soft_cap(out + i * n, (float)hp->final_cap, n);
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
    return logits_of(s, s->x + (sequence * s->last_n + first) * (size_t)hp->hidden, count, out,
                     err);
}

qn_status qn_session_logits_at(qn_session *s, const size_t *tokens, size_t count, float *out,
                               qn_error *err)
{
    const size_t hidden = (size_t)s->d->hparams->hidden, n_vocab = (size_t)s->d->hparams->n_vocab;
    qn_status status = QN_OK;
    for (size_t at = 0; at < count && !status; at += s->block) {
        const size_t n = (size_t)qn_min_u64(s->block, count - at);
        for (size_t i = 0; i < n; i++) {
            if (tokens[at + i] >= s->sequences * s->last_n)
                return qn_fail(err, QN_ERR_ARGUMENT, "logits of token %zu: the last run had %zu",
                               tokens[at + i], s->sequences * s->last_n);
            memcpy(s->h + i * hidden, s->x + tokens[at + i] * hidden, hidden * sizeof *s->h);
        }
        status = logits_of(s, s->h, n, out + at * n_vocab, err);
    }
    return status;
}

void qn_session_branch(qn_session *to, const qn_session *from, const size_t *parents)
{
    qn_attention_branch(to->attention, from->attention, parents, from->cached);
    to->cached = from->cached;
    to->last_n = 0;
}
