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

struct qn_attention {
    const qn_kernels *k;
    int threads;
    size_t n_heads, n_kv_heads, head_dim, value_dim;
    size_t group;        /* query heads of a KV head */
    size_t value_groups; /* of QN_PANEL elements, the last one filled up with zeros */
    size_t positions;    /* n_ctx rounded up to whole panels */
    size_t score_stride;
    size_t sequences;
    float *keys;   /* [layer][sequence][kv head][panel][head_dim][QN_PANEL] */
    float *values; /* [layer][sequence][kv head][value group][position][QN_PANEL] */
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

static bool allocate(qn_attention *a, uint64_t layers)
{
    const uint64_t heads[] = {layers, a->sequences, a->n_kv_heads, a->positions};
    const uint64_t all_heads = product(heads, 4);
    const uint64_t keys[] = {all_heads, a->head_dim};
    const uint64_t values[] = {all_heads, a->value_groups, QN_PANEL};
    a->keys = qn_alloc(product(keys, 2), sizeof *a->keys);
    a->values = qn_alloc(product(values, 3), sizeof *a->values);

    const size_t queries = QN_TILE_MAX * (a->head_dim + PAD);
    const size_t scores = QN_TILE_MAX * a->score_stride;
    const size_t sums = QN_TILE_MAX * QN_PANEL * a->value_groups;
    const size_t each = queries + scores + sums;
    a->scratch = qn_alloc((size_t)a->threads * each, sizeof *a->scratch);
    a->workers = qn_alloc((size_t)a->threads, sizeof *a->workers);
    if (!a->keys || !a->values || !a->scratch || !a->workers) return false;
    for (int i = 0; i < a->threads; i++) {
        worker *w = &a->workers[i];
        w->queries = a->scratch + (size_t)i * each;
        w->scores = w->queries + queries;
        w->sums = w->scores + scores;
    }
    return true;
}

qn_status qn_attention_new(qn_attention **out, const qn_hparams *h, const qn_kernels *k,
                           int threads, size_t sequences, size_t n_ctx, qn_error *err)
{
    qn_attention *a = n_ctx < UINT32_MAX ? qn_alloc(1, sizeof *a) : NULL;
    if (!a) return qn_fail_memory(err, "the cache of keys and values");
    a->k = k;
    a->threads = threads;
    a->n_heads = (size_t)h->n_heads;
    a->n_kv_heads = (size_t)h->n_kv_heads;
    a->head_dim = (size_t)h->head_dim;
    a->value_dim = (size_t)h->value_dim;
    a->group = a->n_heads / a->n_kv_heads;
    a->value_groups = (a->value_dim + QN_PANEL - 1) / QN_PANEL;
    a->positions = (n_ctx + QN_PANEL - 1) / QN_PANEL * QN_PANEL;
    a->score_stride = a->positions + PAD;
    a->sequences = sequences;
    if (!allocate(a, h->n_layers)) {
        qn_attention_free(a);
        return qn_fail(err, QN_ERR_MEMORY, "no memory for a cache of %zu x %zu positions",
                       sequences, n_ctx);
    }
    *out = a;
    return QN_OK;
}

void qn_attention_free(qn_attention *a)
{
    if (!a) return;
    qn_free(a->workers);
    qn_free(a->scratch);
    qn_free(a->values);
    qn_free(a->keys);
    qn_free(a);
}

static float *keys_of(const qn_attention *a, size_t layer, size_t sequence, size_t head)
{
    const size_t index = (layer * a->sequences + sequence) * a->n_kv_heads + head;
    return a->keys + index * a->positions * a->head_dim;
}

static float *values_of(const qn_attention *a, size_t layer, size_t sequence, size_t head)
{
    const size_t index = (layer * a->sequences + sequence) * a->n_kv_heads + head;
    return a->values + index * a->positions * a->value_groups * QN_PANEL;
}

static void store_key(const qn_attention *a, float *panels, size_t position, const float *key)
{
    float *column = panels + position / QN_PANEL * a->head_dim * QN_PANEL + position % QN_PANEL;
    for (size_t d = 0; d < a->head_dim; d++) column[d * QN_PANEL] = key[d];
}

static void store_value(const qn_attention *a, float *groups, size_t position, const float *value)
{
    for (size_t d = 0; d < a->value_dim; d += QN_PANEL) {
        const size_t n = (size_t)qn_min_u64(QN_PANEL, a->value_dim - d);
        memcpy(groups + (d / QN_PANEL * a->positions + position) * QN_PANEL, value + d,
               n * sizeof *value);
    }
}

void qn_attention_store(qn_attention *a, size_t layer, const qn_span *span, const float *keys,
                        const float *values)
{
#pragma omp parallel for num_threads(a->threads)
    for (size_t head = 0; head < a->n_kv_heads; head++) {
        float *key_panels = keys_of(a, layer, span->sequence, head);
        float *value_columns = values_of(a, layer, span->sequence, head);
        for (size_t i = 0; i < span->n; i++) {
            const size_t from = (span->row + i) * a->n_kv_heads + head;
            store_key(a, key_panels, span->first + i, keys + from * a->head_dim);
            store_value(a, value_columns, span->first + i, values + from * a->value_dim);
        }
    }
}

/* The scores x[n] become weights that are still to be divided by their sum,
 * which is returned. */
static double exponentials(const qn_kernels *k, float *x, size_t n)
{
    const float shift = k->max(x, n);
    double sum = 0.0;
    for (size_t i = 0; i < n; i += SUM_BLOCK)
        sum += (double)k->exp_sum(x + i, shift, (size_t)qn_min_u64(SUM_BLOCK, n - i));
    return sum;
}

/* m weighted sums of values: row i over its first lengths[i] positions, which
 * ascend with i.  What all rows share is done as one tile. */
static void sum_values(const qn_attention *a, const worker *w, const float *columns,
                       const size_t *lengths, size_t m)
{
    const size_t shared = lengths[0], stride = a->score_stride;
    for (size_t u = 0; u < shared; u += K_BLOCK) {
        const size_t n = (size_t)qn_min_u64(K_BLOCK, shared - u);
        for (size_t g = 0; g < a->value_groups; g++)
            a->k->gemm_tile(w->scores + u, stride, m, columns + (g * a->positions + u) * QN_PANEL,
                            n, w->sums + g * QN_TILE_MAX * QN_PANEL, QN_PANEL, u > 0);
    }
    for (size_t i = 0; i < m; i++) {
        for (size_t g = 0; g < a->value_groups && lengths[i] > shared; g++)
            a->k->gemm_tile(w->scores + i * stride + shared, stride, 1,
                            columns + (g * a->positions + shared) * QN_PANEL, lengths[i] - shared,
                            w->sums + (g * QN_TILE_MAX + i) * QN_PANEL, QN_PANEL, true);
    }
}

/* Rows r0..r1 of a span's queries of one KV head; row = token * group + head. */
static void run_tile(const qn_attention *a, const worker *w, size_t layer, const qn_span *span,
                     size_t head, size_t r0, size_t r1, const float *queries, float *out)
{
    const size_t m = r1 - r0, lda = a->head_dim + PAD;
    const float scale = (float)(1.0 / sqrt((double)a->head_dim));
    assert(m > 0 && m <= QN_TILE_MAX);
    size_t lengths[QN_TILE_MAX];
    size_t heads[QN_TILE_MAX]; /* row of the activations times heads, plus head */
    for (size_t i = 0; i < m; i++) {
        const size_t token = (r0 + i) / a->group;
        lengths[i] = span->first + token + 1;
        heads[i] = (span->row + token) * a->n_heads + head * a->group + (r0 + i) % a->group;
        const float *query = queries + heads[i] * a->head_dim;
        for (size_t d = 0; d < a->head_dim; d++) w->queries[i * lda + d] = query[d] * scale;
    }
    const float *panels = keys_of(a, layer, span->sequence, head);
    for (size_t u = 0; u < lengths[m - 1]; u += QN_PANEL)
        a->k->gemm_tile(w->queries, lda, m, panels + u * a->head_dim, a->head_dim, w->scores + u,
                        a->score_stride, false);
    double sums[QN_TILE_MAX];
    for (size_t i = 0; i < m; i++)
        sums[i] = exponentials(a->k, w->scores + i * a->score_stride, lengths[i]);
    sum_values(a, w, values_of(a, layer, span->sequence, head), lengths, m);
    for (size_t i = 0; i < m; i++) {
        const float divide = (float)(1.0 / sums[i]);
        for (size_t d = 0; d < a->value_dim; d++)
            out[heads[i] * a->value_dim + d] =
                w->sums[(d / QN_PANEL * QN_TILE_MAX + i) * QN_PANEL + d % QN_PANEL] * divide;
    }
}

static size_t tiles_of(const qn_attention *a, const qn_span *span)
{
    return (span->n * a->group + QN_TILE_MAX - 1) / QN_TILE_MAX;
}

void qn_attention_run(qn_attention *a, size_t layer, const qn_span *spans, size_t n_spans,
                      const float *queries, float *out)
{
    size_t tasks = 0;
    for (size_t s = 0; s < n_spans; s++) tasks += tiles_of(a, &spans[s]) * a->n_kv_heads;
#pragma omp parallel for schedule(dynamic) num_threads(a->threads)
    for (size_t t = 0; t < tasks; t++) {
        const qn_span *span = spans;
        size_t task = t;
        for (; task >= tiles_of(a, span) * a->n_kv_heads; span++)
            task -= tiles_of(a, span) * a->n_kv_heads;
        const size_t tile = task / a->n_kv_heads, r0 = tile * QN_TILE_MAX;
        run_tile(a, &a->workers[omp_get_thread_num()], layer, span, task % a->n_kv_heads, r0,
                 (size_t)qn_min_u64(r0 + QN_TILE_MAX, span->n * a->group), queries, out);
    }
}
