#include "validate/session.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "validate/altup.h"
#include "validate/layer_inputs.h"
#include "validate/moe.h"
#include "validate/rope.h"

/* Tokens that go through a layer together.  Enough that unpacking the weights
 * is a small part of the work; scratch grows with it. */
#define BLOCK_TOKENS 2048

static void choose_ropes(qn_session *s)
{
    const qn_decoder *d = s->d;
    for (size_t i = 0; i < 2; i++)
        s->rope[i] = d->long_rope.dims && s->n_ctx > d->long_from ? &d->long_rope : &d->rope[i];
}

static qn_status new_session(qn_session **out, const qn_decoder *d, const qn_attention_size *size,
                             qn_error *err)
{
    const size_t sequences = size->sequences, n_ctx = size->n_ctx;
    const qn_hparams *hp = d->hparams;
    if (hp->rope_scaling == QN_ROPE_DYNAMIC && n_ctx > hp->n_ctx_train)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: a context of %zu with dynamic rope scaling, which is defined up to the "
                       "trained %llu here",
                       d->model->path, n_ctx, (unsigned long long)hp->n_ctx_train);
    qn_status status = QN_OK;
    qn_session *s = qn_alloc(1, sizeof *s);
    if (!s || !(s->spans = qn_alloc(sequences, sizeof *s->spans)) ||
        !(s->wanted = qn_alloc((size_t)hp->n_layers, sizeof *s->wanted))) {
        status = qn_fail_memory(err, "a session");
        goto out;
    }
    s->d = d;
    s->sequences = sequences;
    s->n_ctx = n_ctx;
    s->whole = size->block > 0;
    choose_ropes(s);
    if ((status = qn_gemm_new(&s->gemm, d->k, d->threads, err))) goto out;
    if ((status = qn_attention_new(&s->attention, hp, d->k, d->threads, size, err))) goto out;
    *out = s;
    s = NULL;
out:
    qn_session_free(s);
    return status;
}

qn_status qn_session_new(qn_session **out, const qn_decoder *d, size_t sequences, size_t n_ctx,
                         qn_error *err)
{
    return new_session(out, d, &(qn_attention_size){sequences, n_ctx, 0}, err);
}

qn_status qn_session_new_whole(qn_session **out, const qn_decoder *d, size_t sequences,
                               size_t n_ctx, qn_error *err)
{
    return new_session(out, d, &(qn_attention_size){sequences, n_ctx, BLOCK_TOKENS}, err);
}

void qn_session_free(qn_session *s)
{
    if (!s) return;
    float *const buffers[] = {s->x,          s->turns[0],   s->turns[1],   s->h,         s->query,
                              s->key,        s->value,      s->mixed,      s->gate,      s->up,
                              s->inputs,     s->input_rows, s->mixture,    s->predicted, s->laurel,
                              s->streams[0], s->streams[1], s->streams[2], s->shown,     s->rounded,
                              s->modalities};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) qn_free(buffers[i]);
    qn_moe_free(s->moe);
    qn_free(s->spans);
    qn_free(s->wanted);
    qn_attention_free(s->attention);
    qn_gemm_free(s->gemm);
    qn_free(s);
}

void qn_session_reset(qn_session *s)
{
    s->cached = 0;
    s->last_n = s->from = 0;
}

void qn_session_ask_from(qn_session *s, size_t first)
{
    s->asked = first;
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

typedef struct {
    float **at;
    uint64_t rows, columns;
} room;

enum { MOST_ROOMS = 5 + QN_N_STREAMS, MOST_BLOCK_ROOMS = 11 };

/* What is needed of all tokens of a run. */
static size_t list_rooms(qn_session *s, uint64_t tokens, room rooms[MOST_ROOMS])
{
    const qn_hparams *h = s->d->hparams;
    const uint64_t inputs = h->layer_input * h->n_layers;
    size_t n = 0;
    rooms[n++] = (room){&s->x, tokens, h->hidden};
    rooms[n++] = (room){&s->turns[0], tokens, s->rope[0]->dims};
    rooms[n++] = (room){&s->turns[1], tokens, s->rope[1]->dims};
    for (size_t j = 0; h->n_streams && j + 1 < QN_N_STREAMS; j++)
        rooms[n++] = (room){&s->streams[j], tokens, h->hidden};
    if (!inputs) return n;
    rooms[n++] = (room){&s->inputs, tokens, inputs};
    rooms[n++] = (room){&s->input_rows, qn_min_u64(tokens, QN_INPUT_ROWS), inputs};
    return n;
}

/* And of the tokens that go through a layer together. */
static size_t list_block_rooms(qn_session *s, uint64_t block, room rooms[MOST_BLOCK_ROOMS])
{
    const qn_hparams *h = s->d->hparams;
    const widths w = widest(h);
    size_t n = 0;
    rooms[n++] = (room){&s->h, block, h->hidden};
    rooms[n++] = (room){&s->query, block, w.query};
    rooms[n++] = (room){&s->key, block, w.key};
    rooms[n++] = (room){&s->value, block, w.value};
    rooms[n++] = (room){&s->mixed, block, w.mixed};
    rooms[n++] = (room){&s->gate, block, w.feed_forward};
    rooms[n++] = (room){&s->up, block, w.feed_forward};
    if (h->n_experts) rooms[n++] = (room){&s->mixture, block, h->hidden};
    if (h->n_streams) rooms[n++] = (room){&s->predicted, block, h->hidden};
    if (h->n_streams) rooms[n++] = (room){&s->modalities, block, QN_N_STREAMS};
    if (h->laurel_rank) rooms[n++] = (room){&s->laurel, block, h->hidden};
    return n;
}

static bool grow_all(const room *rooms, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!grow(rooms[i].at, rooms[i].rows, rooms[i].columns)) return false;
    return true;
}

static qn_status make_room(qn_session *s, size_t n, qn_error *err)
{
    const uint64_t tokens = (uint64_t)s->sequences * n; /* both within n_ctx's cache */
    const uint64_t block = qn_min_u64(tokens, BLOCK_TOKENS);
    room rooms[MOST_ROOMS], block_rooms[MOST_BLOCK_ROOMS];
    if (tokens > s->tokens) {
        if (!grow_all(rooms, list_rooms(s, tokens, rooms)))
            return qn_fail_memory(err, "activations");
        s->tokens = (size_t)tokens;
    }
    if (block > s->block) {
        if (!grow_all(block_rooms, list_block_rooms(s, block, block_rooms)))
            return qn_fail_memory(err, "activations");
        s->block = (size_t)block;
    }
    return QN_OK;
}

static uint64_t bytes_of(const room *rooms, size_t n)
{
    double floats = 0;
    for (size_t i = 0; i < n; i++) floats += (double)rooms[i].rows * (double)rooms[i].columns;
    return floats < 0x1p60 ? sizeof(float) * (uint64_t)floats : UINT64_MAX;
}

static uint64_t sum_of(const uint64_t *parts, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        if (!qn_add_u64(sum, parts[i], &sum)) return UINT64_MAX;
    return sum;
}

static uint64_t session_bytes(const qn_decoder *d, const qn_attention_size *size)
{
    const qn_hparams *h = d->hparams;
    const size_t sequences = size->sequences, n_ctx = size->n_ctx;
    qn_session s = {.d = d, .sequences = sequences, .n_ctx = n_ctx};
    const widths w = widest(h);
    room rooms[MOST_ROOMS], block_rooms[MOST_BLOCK_ROOMS];
    uint64_t tokens;
    choose_ropes(&s);
    if (!qn_mul_u64(sequences, n_ctx, &tokens)) return UINT64_MAX;
    const uint64_t block = qn_min_u64(tokens, BLOCK_TOKENS);
    const uint64_t widest_input = qn_max_u64(qn_max_u64(h->hidden, w.mixed), w.feed_forward);
    const uint64_t rounded = d->activations == QN_ACTIVATIONS_EXACT ? 0 : block;
    const uint64_t parts[] = {
        sizeof s + sequences * sizeof *s.spans + (size_t)h->n_layers * sizeof *s.wanted,
        bytes_of(rooms, list_rooms(&s, tokens, rooms)),
        bytes_of(block_rooms, list_block_rooms(&s, block, block_rooms)),
        qn_attention_bytes(h, d->threads, size),
        bytes_of(&(room){NULL, rounded, widest_input}, 1),
        qn_gemm_bytes(d->threads, widest_input),
        h->n_experts ? qn_moe_bytes(h, (size_t)block) : 0,
    };
    return sum_of(parts, sizeof parts / sizeof *parts);
}

uint64_t qn_session_bytes(const qn_decoder *d, size_t sequences, size_t n_ctx)
{
    return session_bytes(d, &(qn_attention_size){sequences, n_ctx, 0});
}

uint64_t qn_session_whole_bytes(const qn_decoder *d, size_t sequences, size_t n_ctx)
{
    return session_bytes(d, &(qn_attention_size){sequences, n_ctx, BLOCK_TOKENS});
}

static void scale_row(float *x, double scale, size_t n)
{
    if (scale == 0.0) return;
    for (size_t i = 0; i < n; i++) x[i] *= (float)scale;
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
        if (d->gives_back) d->embedding->done(d->embedding, ids[t], ids[t] + 1ULL);
        scale_row(s->x + t * hidden, d->hparams->embedding_scale, hidden);
    }
    return QN_OK;
}

/* Rows of n floats, each of a row of the block. */
static qn_status check_finite(const qn_session *s, const char *what, const float *x, size_t n,
                              const qn_block *b, qn_error *err)
{
    const size_t rows = b->t1 - b->t0;
    size_t first = rows;
#pragma omp parallel for num_threads(s->d->threads) reduction(min : first)
    for (size_t i = 0; i < rows; i++)
        if (!s->d->k->finite(x + i * n, n) && i < first) first = i;
    if (first == rows) return QN_OK;
    return qn_fail(err, QN_ERR_DATA,
                   "%s: %s a number that is not finite at position %zu of sequence %zu",
                   s->d->model->path, what, qn_block_position(b, first), (b->t0 + first) / b->n);
}

static qn_status run_layer(qn_session *s, size_t layer, qn_block *b, qn_error *err)
{
    char what[64];
    const qn_layer *l = &s->d->layers[layer];
    qn_status status;
    if ((l->altup.norm && (status = qn_altup_predict(s, layer, b, err))) ||
        (l->laurel_norm && (status = qn_laurel_make(s, layer, b, err))) ||
        (status = qn_layer_attend(s, layer, b, err)))
        return status;
    if (b->t0 == b->t1) return QN_OK;
    if (l->laurel_norm) qn_laurel_add(s, b);
    if ((status = qn_layer_feed_forward(s, layer, b, err))) return status;
    if ((l->altup.norm && (status = qn_altup_correct(s, layer, b, err))) ||
        (status = qn_layer_inputs_add(s, layer, b, err)))
        return status;
    qn_scale_rows(s, l->output_scale, b->t1 - b->t0, b->x);
    snprintf(what, sizeof what, "layer %zu gives", layer);
    return check_finite(s, what, b->x, (size_t)s->d->hparams->hidden, b, err);
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

/* A layer for all rows, so many at a time as there is room for; where they are of runs
 * cut short, no more sequences at a time than with whole ones, for the attention's
 * sake (qn_attention_size.block). */
static qn_status run_blocks(qn_session *s, size_t layer, size_t n, size_t wanted, qn_error *err)
{
    const size_t from = s->from, left = n - from, rows = s->sequences * left;
    const size_t step =
        s->d->layers[layer].owns_kv && from ? (s->block * left + n - 1) / n : s->block;
    for (size_t t0 = 0; t0 < rows; t0 += step) {
        qn_block b = {.n = left,
                      .from = from,
                      .wanted = wanted,
                      .t0 = t0,
                      .t1 = (size_t)qn_min_u64(t0 + step, rows),
                      .x = s->x + t0 * (size_t)s->d->hparams->hidden};
        const qn_status status = run_layer(s, layer, &b, err);
        if (status) return status;
        s->from = b.from;
    }
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
    if (s->whole && n != s->n_ctx)
        return qn_fail(err, QN_ERR_ARGUMENT, "%zu tokens in a session for %zu at once", n,
                       s->n_ctx);
    qn_status status = make_room(s, n, err);
    if (status) return status;
    size_t tokens = s->sequences * n;
    s->last_n = s->from = 0;
    qn_session_choose_wanted(s, s->watch || hidden ? 0 : (size_t)qn_min_u64(s->asked, n));
    if ((status = embed(s, ids, tokens, err))) return status;
    for (size_t i = 0; i < 2; i++)
        qn_rope_turns(s->rope[i]->frequency, s->rope[i]->dims, s->rope[i]->factor, s->cached, n,
                      s->turns[i]);
    if ((status = qn_layer_inputs_make(s, ids, tokens, err)) ||
        (hp->n_streams && (status = qn_altup_begin(s, tokens, err))) ||
        (status = show(s, -1, tokens, hidden, ctx, err)))
        return status;
    qn_give_back(d, &d->input_projection);
    qn_give_back(d, &d->streams_in);
    for (size_t layer = 0; layer < hp->n_layers; layer++) {
        if ((status = run_blocks(s, layer, n, s->wanted[layer], err))) return status;
        tokens = s->sequences * (n - s->from);
        qn_give_back_layer(d, layer);
        if ((status = show(s, (int)layer, tokens, hidden, ctx, err))) return status;
    }
    if (hp->n_streams && (status = qn_altup_end(s, tokens, err))) return status;
    qn_give_back(d, &d->streams_out);
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

/* Logits of count rows of the normed residual; of a part of the vocabulary at a
 * time where pages are given back. */
static qn_status logits_of(qn_session *s, const float *x, size_t count, float *out, qn_error *err)
{
    const qn_hparams *hp = s->d->hparams;
    const qn_rows *head = s->d->head.rows;
    const size_t n = (size_t)hp->n_vocab, hidden = (size_t)hp->hidden;
    const size_t step = s->d->gives_back ? QN_HEAD_ROWS : n;
    qn_status status = qn_round_inputs(s, &s->d->head, count, &x, err);
    if (status) return status;
    for (size_t v = 0; v < n; v += step) {
        const size_t end = (size_t)qn_min_u64(n, v + step);
        status = qn_gemm_run(s->gemm, x, hidden, count, head, v, end, out + v, n, err);
        if (status) return status;
        if (s->d->gives_back) head->done(head, v, end);
    }
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
    if (sequence >= s->sequences || first < s->from || first > s->last_n ||
        count > s->last_n - first)
        return qn_fail(
            err, QN_ERR_ARGUMENT,
            "logits of %zu positions from %zu of sequence %zu: the last run had %zu to %zu", count,
            first, sequence, s->from, s->last_n);
    const size_t row = sequence * (s->last_n - s->from) + first - s->from;
    const qn_block b = {.n = s->last_n - s->from, .from = s->from, .t0 = row, .t1 = row + count};
    const qn_status status = logits_of(s, s->x + row * (size_t)hp->hidden, count, out, err);
    if (status) return status;
    return check_finite(s, "the head gives", out, (size_t)hp->n_vocab, &b, err);
}

qn_status qn_session_logits_at(qn_session *s, const size_t *tokens, size_t count, float *out,
                               qn_error *err)
{
    const size_t hidden = (size_t)s->d->hparams->hidden, n_vocab = (size_t)s->d->hparams->n_vocab;
    qn_status status = QN_OK;
    assert(!s->from);
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
