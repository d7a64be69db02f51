#include "validate/attention.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"

/* Scores summed in float lanes at a time; the block sums are added in double,
 * so that a row of 100,000 positions loses nothing. */
#define SUM_BLOCK 512
/* Positions of values multiplied at a time: tile and panel stay in the
 * first-level cache. */
#define K_BLOCK 256
/* Keeps the rows of a tile out of each other's cache sets. */
#define PAD 16

typedef struct {
    float *queries; /* [QN_TILE_MAX][head_dim + PAD], scaled */
    float *scores;  /* [QN_TILE_MAX][score_stride] */
    float *sums;    /* [value_groups][QN_TILE_MAX][QN_PANEL] */
} worker;

typedef struct {
    size_t window; /* SIZE_MAX: none */
    bool chunks;   /* windows stand side by side */
    size_t n_kv_heads, head_dim, value_dim;
    size_t group;        /* query heads of a KV head */
    size_t value_groups; /* of QN_PANEL elements, the last one filled up with zeros */
    float scale;
    size_t slots;  /* sequence s is in slot s % slots */
    float *keys;   /* [slot][kv head][panel][head_dim][QN_PANEL] */
    float *values; /* [slot][kv head][value group][position][QN_PANEL] */
    bool own;      /* else they are an earlier layer's, or the passing layers' */
} cache;

struct qn_attention {
    const qn_kernels *k;
    int threads;
    size_t n_heads;
    size_t positions; /* n_ctx rounded up to whole panels */
    size_t score_stride;
    size_t sequences;
    float cap;     /* of scores; 0: none */
    cache *caches; /* [layer] */
    size_t n_layers;
    float *passing_keys, *passing_values; /* of layers that keep nothing, in turn */
    float *scratch;
    worker *workers;
};

/* factors[0] * ... as a size; SIZE_MAX, which no allocation satisfies, when it
 * does not fit. */
static size_t product(const uint64_t *factors, size_t n)
{
    uint64_t result = 1;
    for (size_t i = 0; i < n; i++)
        if (!qn_mul_u64(result, factors[i], &result) || result > SIZE_MAX) return SIZE_MAX;
    return (size_t)result;
}

static cache cache_of(const qn_hparams *h, uint64_t layer)
{
    const qn_layer_sizes l = qn_hparams_layer(h, layer);
    const double usual = 1.0 / sqrt((double)l.head_dim);
    return (cache){
        .window = l.window ? (size_t)l.window : SIZE_MAX,
        .chunks = h->window_is_chunk,
        .n_kv_heads = (size_t)l.n_kv_heads,
        .head_dim = (size_t)l.head_dim,
        .value_dim = (size_t)l.value_dim,
        .group = (size_t)(h->n_heads / l.n_kv_heads),
        .value_groups = (size_t)(l.value_dim + QN_PANEL - 1) / QN_PANEL,
        .scale = (float)(h->attention_scale != 0.0 ? h->attention_scale : usual),
    };
}

static size_t key_floats(const qn_attention *a, const cache *c)
{
    const uint64_t factors[] = {c->slots, c->n_kv_heads, a->positions, c->head_dim};
    return product(factors, 4);
}

static size_t value_floats(const qn_attention *a, const cache *c)
{
    const uint64_t factors[] = {c->slots, c->n_kv_heads, a->positions, c->value_groups, QN_PANEL};
    return product(factors, 5);
}

static bool is_donor(const qn_hparams *h, uint64_t layer)
{
    for (uint64_t i = layer + 1; i < h->n_layers; i++)
        if (qn_hparams_kv_layer(h, i) == layer) return true;
    return false;
}

/* What there is room for, without the room. */
static qn_attention *plan(const qn_hparams *h, int threads, const qn_attention_size *size)
{
    qn_attention *a = size->n_ctx < UINT32_MAX ? qn_alloc(1, sizeof *a) : NULL;
    if (!a || !(a->caches = qn_alloc((size_t)h->n_layers, sizeof *a->caches))) {
        qn_free(a);
        return NULL;
    }
    a->threads = threads;
    a->n_layers = (size_t)h->n_layers;
    a->n_heads = (size_t)h->n_heads;
    a->positions = (size->n_ctx + QN_PANEL - 1) / QN_PANEL * QN_PANEL;
    a->score_stride = a->positions + PAD;
    a->sequences = size->sequences;
    a->cap = (float)h->attention_cap;
    for (size_t i = 0; i < a->n_layers; i++) {
        cache *c = &a->caches[i];
        *c = cache_of(h, i);
        c->own = qn_hparams_kv_layer(h, i) == i && (!size->block || is_donor(h, i));
        /* a block's sequences follow each other; the first and the last may be cut */
        c->slots = c->own ? size->sequences
                          : (size_t)qn_min_u64(size->sequences, size->block / size->n_ctx + 2);
    }
    return a;
}

/* Floats for the layers that keep nothing. */
static void passing_floats(const qn_attention *a, const qn_hparams *h, size_t *keys, size_t *values)
{
    *keys = *values = 0;
    for (size_t i = 0; i < a->n_layers; i++) {
        const cache *c = &a->caches[i];
        if (c->own || qn_hparams_kv_layer(h, i) != i) continue;
        if (key_floats(a, c) > *keys) *keys = key_floats(a, c);
        if (value_floats(a, c) > *values) *values = value_floats(a, c);
    }
}

static bool allocate_caches(qn_attention *a, const qn_hparams *h)
{
    size_t keys, values;
    passing_floats(a, h, &keys, &values);
    if (keys && (!(a->passing_keys = qn_alloc(keys, sizeof(float))) ||
                 !(a->passing_values = qn_alloc(values, sizeof(float)))))
        return false;
    for (size_t i = 0; i < a->n_layers; i++) {
        cache *c = &a->caches[i];
        const uint64_t from = qn_hparams_kv_layer(h, i);
        if (c->own) {
            c->keys = qn_alloc(key_floats(a, c), sizeof *c->keys);
            c->values = qn_alloc(value_floats(a, c), sizeof *c->values);
            if (!c->keys || !c->values) return false;
        } else if (from != i) {
            c->slots = a->caches[from].slots;
            c->keys = a->caches[from].keys;
            c->values = a->caches[from].values;
        } else {
            c->keys = a->passing_keys;
            c->values = a->passing_values;
        }
    }
    return true;
}

static void worker_floats(const qn_attention *a, size_t *queries, size_t *scores, size_t *sums)
{
    size_t head_dim = 0, groups = 0;
    for (size_t i = 0; i < a->n_layers; i++) {
        if (a->caches[i].head_dim > head_dim) head_dim = a->caches[i].head_dim;
        if (a->caches[i].value_groups > groups) groups = a->caches[i].value_groups;
    }
    *queries = QN_TILE_MAX * (head_dim + PAD);
    *scores = QN_TILE_MAX * a->score_stride;
    *sums = QN_TILE_MAX * QN_PANEL * groups;
}

static bool allocate_workers(qn_attention *a)
{
    size_t queries, scores, sums;
    worker_floats(a, &queries, &scores, &sums);
    const size_t each = queries + scores + sums;
    a->scratch = qn_alloc((size_t)a->threads * each, sizeof *a->scratch);
    a->workers = qn_alloc((size_t)a->threads, sizeof *a->workers);
    if (!a->scratch || !a->workers) return false;
    for (int i = 0; i < a->threads; i++) {
        worker *w = &a->workers[i];
        w->queries = a->scratch + (size_t)i * each;
        w->scores = w->queries + queries;
        w->sums = w->scores + scores;
    }
    return true;
}

qn_status qn_attention_new(qn_attention **out, const qn_hparams *h, const qn_kernels *k,
                           int threads, const qn_attention_size *size, qn_error *err)
{
    qn_attention *a = plan(h, threads, size);
    if (!a) return qn_fail_memory(err, "the cache of keys and values");
    a->k = k;
    if (!allocate_caches(a, h) || !allocate_workers(a)) {
        qn_attention_free(a);
        return qn_fail(err, QN_ERR_MEMORY, "no memory for a cache of %zu x %zu positions",
                       size->sequences, size->n_ctx);
    }
    *out = a;
    return QN_OK;
}

uint64_t qn_attention_bytes(const qn_hparams *h, int threads, const qn_attention_size *size)
{
    size_t keys, values, queries, scores, sums;
    qn_attention *a = plan(h, threads, size);
    if (!a) return UINT64_MAX;
    passing_floats(a, h, &keys, &values);
    worker_floats(a, &queries, &scores, &sums);
    double floats =
        (double)keys + (double)values + (double)threads * (double)(queries + scores + sums);
    for (size_t i = 0; i < a->n_layers; i++)
        if (a->caches[i].own)
            floats += (double)key_floats(a, &a->caches[i]) + (double)value_floats(a, &a->caches[i]);
    qn_attention_free(a);
    return floats < 0x1p60 ? sizeof(float) * (uint64_t)floats : UINT64_MAX;
}

void qn_attention_free(qn_attention *a)
{
    if (!a) return;
    for (size_t i = 0; i < a->n_layers; i++) {
        if (!a->caches[i].own) continue;
        qn_free(a->caches[i].keys);
        qn_free(a->caches[i].values);
    }
    qn_free(a->passing_keys);
    qn_free(a->passing_values);
    qn_free(a->caches);
    qn_free(a->workers);
    qn_free(a->scratch);
    qn_free(a);
}

static float *keys_of(const qn_attention *a, const cache *c, size_t sequence, size_t head)
{
    return c->keys + (sequence % c->slots * c->n_kv_heads + head) * a->positions * c->head_dim;
}

static float *values_of(const qn_attention *a, const cache *c, size_t sequence, size_t head)
{
    return c->values +
           (sequence % c->slots * c->n_kv_heads + head) * a->positions * c->value_groups * QN_PANEL;
}

static void store_key(const cache *c, float *panels, size_t position, const float *key)
{
    float *column = panels + position / QN_PANEL * c->head_dim * QN_PANEL + position % QN_PANEL;
    for (size_t d = 0; d < c->head_dim; d++) column[d * QN_PANEL] = key[d];
}

static void store_value(const cache *c, size_t positions, float *groups, size_t position,
                        const float *value)
{
    for (size_t d = 0; d < c->value_dim; d += QN_PANEL) {
        const size_t n = (size_t)qn_min_u64(QN_PANEL, c->value_dim - d);
        memcpy(groups + (d / QN_PANEL * positions + position) * QN_PANEL, value + d,
               n * sizeof *value);
    }
}

void qn_attention_store(qn_attention *a, size_t layer, const qn_span *span, const float *keys,
                        const float *values)
{
    const cache *c = &a->caches[layer];
#pragma omp parallel for num_threads(a->threads) if (span->n > 1)
    for (size_t head = 0; head < c->n_kv_heads; head++) {
        float *key_panels = keys_of(a, c, span->sequence, head);
        float *value_columns = values_of(a, c, span->sequence, head);
        for (size_t i = 0; i < span->n; i++) {
            const size_t from = (span->row + i) * c->n_kv_heads + head;
            store_key(c, key_panels, span->first + i, keys + from * c->head_dim);
            store_value(c, a->positions, value_columns, span->first + i,
                        values + from * c->value_dim);
        }
    }
}

void qn_attention_branch(qn_attention *a, const qn_attention *from, const size_t *parents, size_t n)
{
    const size_t panels = (n + QN_PANEL - 1) / QN_PANEL;
    for (size_t layer = 0; layer < a->n_layers; layer++) {
        const cache *c = &a->caches[layer], *f = &from->caches[layer];
        if (!c->own) continue;
#pragma omp parallel for num_threads(a->threads)
        for (size_t i = 0; i < a->sequences * c->n_kv_heads; i++) {
            const size_t sequence = i / c->n_kv_heads, head = i % c->n_kv_heads;
            float *values = values_of(a, c, sequence, head);
            const float *old = values_of(from, f, parents[sequence], head);
            memcpy(keys_of(a, c, sequence, head), keys_of(from, f, parents[sequence], head),
                   panels * QN_PANEL * c->head_dim * sizeof *values);
            for (size_t g = 0; g < c->value_groups; g++)
                memcpy(values + g * a->positions * QN_PANEL, old + g * from->positions * QN_PANEL,
                       n * QN_PANEL * sizeof *values);
        }
    }
}

/* The scores x[n] become weights that are still to be divided by their sum,
 * which is returned; *sink: a score that counts in it, or NULL. */
static double exponentials(const qn_kernels *k, float *x, size_t n, const float *sink)
{
    const float most = k->max(x, n), shift = sink && *sink > most ? *sink : most;
    float weight = sink ? *sink : 0.0F;
    double sum = sink ? (double)k->exp_sum(&weight, shift, 1) : 0.0;
    for (size_t i = 0; i < n; i += SUM_BLOCK)
        sum += (double)k->exp_sum(x + i, shift, (size_t)qn_min_u64(SUM_BLOCK, n - i));
    return sum;
}

/* What the rows of a tile read: positions start.. of row i up to ends[i], of
 * which those before its own window have weight 0. */
typedef struct {
    size_t m, start;
    size_t starts[QN_TILE_MAX], ends[QN_TILE_MAX]; /* both ascend */
    size_t heads[QN_TILE_MAX]; /* row of the activations times heads, plus head */
} tile;

/* The first position that a token at `position` sees. */
static size_t window_start(const cache *c, size_t position)
{
    if (c->chunks) return position / c->window * c->window;
    return position + 1 > c->window ? position + 1 - c->window : 0;
}

size_t qn_attention_reads_from(const qn_attention *a, size_t layer, size_t position)
{
    return window_start(&a->caches[layer], position) / QN_PANEL * QN_PANEL;
}

static tile tile_of(const qn_attention *a, const cache *c, const qn_span *span, size_t head,
                    size_t r0, size_t r1)
{
    tile t = {.m = r1 - r0};
    assert(t.m > 0 && t.m <= QN_TILE_MAX);
    for (size_t i = 0; i < t.m; i++) {
        const size_t token = (r0 + i) / c->group;
        t.ends[i] = span->first + token + 1;
        t.starts[i] = window_start(c, span->first + token);
        t.heads[i] = (span->row + token) * a->n_heads + head * c->group + (r0 + i) % c->group;
    }
    t.start = t.starts[0] / QN_PANEL * QN_PANEL;
    return t;
}

/* Scores of positions t->start.. at w->scores. */
static void score(const qn_attention *a, const worker *w, const cache *c, const tile *t,
                  const float *panels, const float *queries)
{
    const size_t lda = c->head_dim + PAD;
    for (size_t i = 0; i < t->m; i++) {
        const float *query = queries + t->heads[i] * c->head_dim;
        for (size_t d = 0; d < c->head_dim; d++) w->queries[i * lda + d] = query[d] * c->scale;
    }
    for (size_t u = t->start; u < t->ends[t->m - 1]; u += QN_PANEL)
        a->k->gemm_tile(w->queries, lda, t->m, panels + u * c->head_dim, c->head_dim,
                        w->scores + (u - t->start), a->score_stride, false);
}

/* Weighted sums of values, each over its positions in rising order.  What all
 * rows share is done as one tile. */
static void sum_values(const qn_attention *a, const worker *w, const cache *c, const tile *t,
                       const float *columns)
{
    const size_t shared = t->ends[0], stride = a->score_stride;
    for (size_t u = t->start; u < shared; u += K_BLOCK) {
        const size_t n = (size_t)qn_min_u64(K_BLOCK, shared - u);
        for (size_t g = 0; g < c->value_groups; g++)
            a->k->gemm_tile(w->scores + (u - t->start), stride, t->m,
                            columns + (g * a->positions + u) * QN_PANEL, n,
                            w->sums + g * QN_TILE_MAX * QN_PANEL, QN_PANEL, u > t->start);
    }
    for (size_t i = 0; i < t->m; i++) {
        for (size_t g = 0; g < c->value_groups && t->ends[i] > shared; g++)
            a->k->gemm_tile(w->scores + i * stride + (shared - t->start), stride, 1,
                            columns + (g * a->positions + shared) * QN_PANEL, t->ends[i] - shared,
                            w->sums + (g * QN_TILE_MAX + i) * QN_PANEL, QN_PANEL, true);
    }
}

/* Rows r0..r1 of a span's queries of one KV head; row = token * group + head. */
static void run_tile(const qn_attention *a, const worker *w, const cache *c, const qn_span *span,
                     size_t head, size_t r0, size_t r1, const float *sinks, const float *queries,
                     float *out)
{
    const tile t = tile_of(a, c, span, head, r0, r1);
    double sums[QN_TILE_MAX];
    score(a, w, c, &t, keys_of(a, c, span->sequence, head), queries);
    for (size_t i = 0; i < t.m; i++) {
        float *row = w->scores + i * a->score_stride, *seen = row + (t.starts[i] - t.start);
        const size_t n = t.ends[i] - t.starts[i];
        if (a->cap > 0.0F) a->k->soft_cap(seen, a->cap, n);
        sums[i] = exponentials(a->k, seen, n, sinks ? sinks + t.heads[i] % a->n_heads : NULL);
        memset(row, 0, (t.starts[i] - t.start) * sizeof *row);
    }
    sum_values(a, w, c, &t, values_of(a, c, span->sequence, head));
    for (size_t i = 0; i < t.m; i++) {
        const float divide = (float)(1.0 / sums[i]);
        for (size_t d = 0; d < c->value_dim; d++)
            out[t.heads[i] * c->value_dim + d] =
                w->sums[(d / QN_PANEL * QN_TILE_MAX + i) * QN_PANEL + d % QN_PANEL] * divide;
    }
}

static size_t tiles_of(const cache *c, const qn_span *span)
{
    return (span->n * c->group + QN_TILE_MAX - 1) / QN_TILE_MAX;
}

void qn_attention_run(qn_attention *a, size_t layer, const qn_span *spans, size_t n_spans,
                      const float *sinks, const float *queries, float *out)
{
    const cache *c = &a->caches[layer];
    size_t tasks = 0;
    for (size_t s = 0; s < n_spans; s++) tasks += tiles_of(c, &spans[s]) * c->n_kv_heads;
#pragma omp parallel for schedule(dynamic) num_threads(a->threads)
    for (size_t t = 0; t < tasks; t++) {
        const qn_span *span = spans;
        size_t task = t;
        for (; task >= tiles_of(c, span) * c->n_kv_heads; span++)
            task -= tiles_of(c, span) * c->n_kv_heads;
        const size_t r0 = task / c->n_kv_heads * QN_TILE_MAX;
        run_tile(a, &a->workers[omp_get_thread_num()], c, span, task % c->n_kv_heads, r0,
                 (size_t)qn_min_u64(r0 + QN_TILE_MAX, span->n * c->group), sinks, queries, out);
    }
}
