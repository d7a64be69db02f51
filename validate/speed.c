#include "validate/speed.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "formats/base/alloc.h"
#include "formats/families/family.h"
#include "validate/decoder.h"
#include "validate/gemm.h"

enum {
    ROUNDS = 1 << 20,      /* of fma_peak: a few milliseconds */
    COPY_BYTES = 64 << 20, /* a thread's part is larger than its share of any cache */
    ROWS = 4096,           /* that are encoded or decoded: 64 MiB of float32 */
    DISTINCT = 64,         /* rows of blocks that are not copies */
    ALIGNMENT = 64,
};
static const double LONG_ENOUGH = 0.1; /* seconds for a figure */
static const double SHORTEST = 2e-3;   /* and for a run */

/* One thread is timed by the processor time that it had. */
static double now(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Work that is repeated, on threads; units of it a run. */
typedef struct {
    void (*run)(void *context, int threads);
    void *context;
    int threads;
    double units;
} work;

static double time_of(const work *w)
{
    const double start = now(w->threads);
    w->run(w->context, w->threads);
    return now(w->threads) - start;
}

static double best_rate(const work *w)
{
    double best = 0;
    time_of(w);
    for (const double end = omp_get_wtime() + LONG_ENOUGH; omp_get_wtime() < end;) {
        const double rate = w->units / time_of(w);
        if (rate > best) best = rate;
    }
    return best;
}

/* ---- limits ------------------------------------------------------------------------------ */

static void burn(void *context, int threads)
{
    const qn_kernels *k = context;
#pragma omp parallel num_threads(threads) if (threads > 1)
    k->fma_peak(ROUNDS);
}

double qn_speed_multiply_adds(const qn_kernels *k, int threads)
{
    qn_kernels mine = *k;
    const double each = 2.0 * ROUNDS * QN_PEAK_SUMS * (double)k->vector_floats;
    return best_rate(&(work){burn, &mine, threads, each * threads});
}

typedef struct {
    const qn_kernels *k;
    char *from, *to;
} copier;

static void copy(void *context, int threads)
{
    const copier *c = context;
    const size_t each = (size_t)(COPY_BYTES / threads);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        const size_t at = (size_t)t * each;
        memcpy(c->to + at, c->from + at, each);
    }
}

double qn_speed_copy(int threads)
{
    copier c = {NULL, qn_alloc(COPY_BYTES, 1), qn_alloc(COPY_BYTES, 1)};
    double rate = 0;
    if (c.from && c.to) {
        memset(c.from, 1, COPY_BYTES);
        memset(c.to, 2, COPY_BYTES);
        rate = best_rate(&(work){copy, &c, threads, COPY_BYTES});
    }
    qn_free(c.from);
    qn_free(c.to);
    return rate;
}

static void read_all(void *context, int threads)
{
    const copier *c = context;
    const size_t each = (size_t)(COPY_BYTES / threads) / ALIGNMENT * ALIGNMENT;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int t = 0; t < threads; t++)
        c->k->max((const float *)(const void *)(c->from + (size_t)t * each), each / sizeof(float));
}

double qn_speed_read(const qn_kernels *k, int threads)
{
    copier c = {.k = k, .from = qn_alloc_aligned(ALIGNMENT, COPY_BYTES, 1)};
    double rate = 0;
    if (c.from) {
        memset(c.from, 1, COPY_BYTES);
        rate = best_rate(&(work){read_all, &c, threads, COPY_BYTES});
    }
    qn_free(c.from);
    return rate;
}

/* ---- rows in memory ------------------------------------------------------------------------ */

/* Values from about -1 to 1, as weights are, without a pattern that a search
 * could like. */
static void fill(float *x, size_t n)
{
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525U + 1013904223U;
        x[i] = (float)(int32_t)state * 0x1p-31F;
    }
}

typedef struct {
    const qn_kernels *k;
    qn_dtype dtype;
    uint64_t rows, columns, row_bytes;
    float *values, *importance; /* rows x columns; of a row, or NULL */
    char *blocks;               /* the same, encoded */
    uint64_t at, run_rows;      /* a run takes so many rows from there on, and around */
} matrix;

static void matrix_free(matrix *m)
{
    qn_free(m->values);
    qn_free(m->importance);
    qn_free(m->blocks);
}

static void encode_row(const matrix *m, uint64_t r)
{
    m->k->encode[m->dtype](m->values + r * m->columns, m->importance, m->blocks + r * m->row_bytes,
                           m->columns);
}

static void decode_row(const matrix *m, uint64_t r)
{
    m->k->decode[m->dtype](m->blocks + r * m->row_bytes, m->values + r * m->columns, m->columns);
}

static void each_row(matrix *m, int threads, void (*run)(const matrix *m, uint64_t r))
{
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (uint64_t r = 0; r < m->run_rows; r++) run(m, (m->at + r) % m->rows);
    m->at = (m->at + m->run_rows) % m->rows;
}

static void encode_rows(void *context, int threads)
{
    each_row(context, threads, encode_row);
}

static void decode_rows(void *context, int threads)
{
    each_row(context, threads, decode_row);
}

static bool matrix_make(matrix *m, const qn_kernels *k, qn_dtype t, uint64_t rows, uint64_t columns)
{
    *m = (matrix){.k = k, .dtype = t, .rows = rows, .columns = columns};
    if (!k->encode[t] || !k->decode[t]) return false;
    if (!qn_dtype_row_bytes(t, columns, &m->row_bytes)) return false;
    m->values = qn_alloc_aligned(ALIGNMENT, rows * columns, sizeof *m->values);
    m->blocks = qn_alloc_aligned(ALIGNMENT, rows, m->row_bytes);
    if (!m->values || !m->blocks) return false;
    fill(m->values, rows * columns);
    for (uint64_t r = 0; r < rows; r++)
        if (r < DISTINCT)
            encode_row(m, r);
        else
            memcpy(m->blocks + r * m->row_bytes, m->blocks + (r - DISTINCT) * m->row_bytes,
                   m->row_bytes);
    return true;
}

static bool add_importance(matrix *m)
{
    m->importance = qn_alloc(m->columns, sizeof *m->importance);
    for (uint64_t i = 0; m->importance && i < m->columns; i++)
        m->importance[i] = m->values[i] * m->values[i] + 0x1p-10f;
    return m->importance;
}

/* Runs of so many rows that each thread is busy for a while. */
static double rows_rate(matrix *m, int threads, void (*run)(void *, int))
{
    const work one = {run, m, 1, 0};
    m->run_rows = 1;
    while (time_of(&one) < SHORTEST && m->run_rows * (uint64_t)threads < m->rows) m->run_rows *= 2;
    m->run_rows *= (uint64_t)threads;
    return best_rate(&(work){run, m, threads, (double)(m->run_rows * m->columns) * sizeof(float)});
}

static double measure(const qn_kernels *k, qn_dtype t, int threads, bool weighted,
                      void (*run)(void *, int))
{
    matrix m;
    double rate = 0;
    if (matrix_make(&m, k, t, ROWS, QN_SPEED_ROW) && (!weighted || add_importance(&m)))
        rate = rows_rate(&m, threads, run);
    matrix_free(&m);
    return rate;
}

double qn_speed_encode(const qn_kernels *k, qn_dtype t, int threads)
{
    return measure(k, t, threads, false, encode_rows);
}

double qn_speed_encode_weighted(const qn_kernels *k, qn_dtype t, int threads)
{
    return measure(k, t, threads, true, encode_rows);
}

double qn_speed_decode(const qn_kernels *k, qn_dtype t, int threads)
{
    return measure(k, t, threads, false, decode_rows);
}

/* ---- GEMM -------------------------------------------------------------------------------------- */

static qn_status decode_some(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                             float *out, qn_error *err)
{
    const matrix *m = s->state;
    (void)err;
    for (uint64_t r = r0; r < r1; r++)
        k->decode[m->dtype](m->blocks + r * m->row_bytes, out + (r - r0) * m->columns, m->columns);
    return QN_OK;
}

static const void *raw_row(const qn_rows *s, uint64_t r)
{
    const matrix *m = s->state;
    return m->blocks + r * m->row_bytes;
}

static void keep_rows(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    (void)s, (void)r0, (void)r1;
}

typedef struct {
    qn_gemm *gemm;
    const qn_rows *weights;
    size_t tokens;
    float *x, *out; /* [tokens][columns or rows of weights] */
    bool failed;
} multiplier;

static void multiply(void *context, int threads)
{
    multiplier *m = context;
    (void)threads; /* the GEMM knows */
    const uint64_t rows = m->weights->rows;
    if (qn_gemm_run(m->gemm, m->x, (size_t)m->weights->columns, m->tokens, m->weights, 0, rows,
                    m->out, (size_t)rows, NULL))
        m->failed = true;
}

/* Units (of a run) a second of tokens by all rows of weights. */
static double product_rate(const qn_kernels *k, matrix *weights, size_t tokens, double units,
                           int threads)
{
    const size_t n_x = tokens * weights->columns, n_out = tokens * weights->rows;
    double rate = 0;
    const qn_rows rows = {.dtype = weights->dtype,
                          .rows = weights->rows,
                          .columns = weights->columns,
                          .decode = decode_some,
                          .raw = raw_row,
                          .done = keep_rows,
                          .state = weights};
    multiplier m = {.weights = &rows,
                    .tokens = tokens,
                    .x = qn_alloc_aligned(ALIGNMENT, n_x, sizeof(float)),
                    .out = qn_alloc_aligned(ALIGNMENT, n_out, sizeof(float))};
    if (m.x && m.out && !qn_gemm_new(&m.gemm, k, threads, NULL)) {
        fill(m.x, n_x);
        rate = best_rate(&(work){multiply, &m, threads, units});
    }
    qn_gemm_free(m.gemm);
    qn_free(m.x);
    qn_free(m.out);
    return m.failed ? 0 : rate;
}

double qn_speed_gemm(const qn_kernels *k, qn_dtype t, int threads)
{
    const double operations = 2.0 * QN_SPEED_TOKENS * QN_SPEED_SIZE * QN_SPEED_SIZE;
    matrix weights;
    double rate = 0;
    if (matrix_make(&weights, k, t, QN_SPEED_SIZE, QN_SPEED_SIZE))
        rate = product_rate(k, &weights, QN_SPEED_TOKENS, operations, threads);
    matrix_free(&weights);
    return rate;
}

/* More rows, copies of those there are; values stay few. */
static bool repeat_rows(matrix *m, uint64_t rows)
{
    const uint64_t had = m->rows;
    char *blocks = qn_alloc_aligned(ALIGNMENT, rows, m->row_bytes);
    if (!blocks) return false;
    for (uint64_t r = 0; r < rows; r++)
        memcpy(blocks + r * m->row_bytes, m->blocks + r % had * m->row_bytes, m->row_bytes);
    qn_free(m->blocks);
    m->blocks = blocks;
    m->rows = rows;
    return true;
}

double qn_speed_token(const qn_kernels *k, qn_dtype t, int threads)
{
    matrix weights;
    double rate = 0;
    if (matrix_make(&weights, k, t, DISTINCT, QN_SPEED_SIZE) &&
        repeat_rows(&weights, COPY_BYTES / weights.row_bytes))
        rate = product_rate(k, &weights, 1, (double)(weights.rows * weights.row_bytes), threads);
    matrix_free(&weights);
    return rate;
}

/* ---- forward passes ------------------------------------------------------------------------ */

typedef struct {
    qn_session *session;
    const uint32_t *ids; /* [QN_SPEED_TOKENS] */
    float *logits;       /* [QN_SPEED_SCORED][n_vocab] */
    bool failed;
} forward;

static void run_forward(void *context, int threads)
{
    forward *f = context;
    (void)threads; /* the decoder knows */
    qn_session_reset(f->session);
    if (qn_session_run(f->session, f->ids, QN_SPEED_TOKENS, NULL, NULL, NULL) ||
        qn_session_logits(f->session, 0, QN_SPEED_TOKENS - QN_SPEED_SCORED, QN_SPEED_SCORED,
                          f->logits, NULL))
        f->failed = true;
}

bool qn_speed_counts(const qn_hparams *h)
{
    return !h->n_experts && !h->layer_input && !h->n_streams && !h->n_shared_kv && !h->value_is_key;
}

/* Of a run's matrix products; attention to the past is half a square. */
static double forward_operations(const qn_hparams *h)
{
    const double tokens = QN_SPEED_TOKENS, hidden = (double)h->hidden;
    double weights = 0, pairs = 0;
    for (uint64_t i = 0; i < h->n_layers; i++) {
        const qn_layer_sizes l = qn_hparams_layer(h, i);
        const double heads = (double)h->n_heads, kv_heads = (double)l.n_kv_heads;
        const double key = (double)l.head_dim, value = (double)l.value_dim;
        weights +=
            hidden * (heads + kv_heads) * (key + value) + 3 * hidden * (double)l.feed_forward;
        pairs += heads * (key + value) * (tokens + 1) / 2;
    }
    return 2 * (tokens * (weights + pairs) + QN_SPEED_SCORED * hidden * (double)h->n_vocab);
}

double qn_speed_forward_of(const qn_model *m, const qn_kernels *k, int threads)
{
    const size_t n_vocab = (size_t)m->hparams.n_vocab;
    uint32_t ids[QN_SPEED_TOKENS];
    for (uint32_t i = 0; i < QN_SPEED_TOKENS; i++) ids[i] = i * 31 % (uint32_t)n_vocab;
    forward f = {.ids = ids,
                 .logits = qn_alloc_aligned(ALIGNMENT, QN_SPEED_SCORED * n_vocab, sizeof(float))};
    qn_decoder *d = NULL;
    double rate = 0;
    if (f.logits && !qn_decoder_new(&d, m, k, threads, NULL) &&
        !qn_session_new_whole(&f.session, d, 1, QN_SPEED_TOKENS, NULL))
        rate = best_rate(&(work){run_forward, &f, threads, forward_operations(&m->hparams)});
    qn_session_free(f.session);
    qn_decoder_free(d);
    qn_free(f.logits);
    return f.failed ? 0 : rate;
}

/* A llama in memory, its matrices of one type. */
enum { LAYERS = 3, MATRICES = 7, MADE_TENSORS = 2 + LAYERS * (MATRICES + 2) };

typedef struct {
    qn_model model;
    matrix weights[MADE_TENSORS];
    qn_rows rows[MADE_TENSORS];
    qn_model_tensor tensors[MADE_TENSORS];
    char names[MADE_TENSORS][32];
} made;

static bool add_tensor(made *m, const qn_kernels *k, const char *name, qn_dtype t, uint64_t rows,
                       uint64_t columns)
{
    const size_t i = m->model.n_tensors++;
    matrix *w = &m->weights[i];
    bool present;
    snprintf(m->names[i], sizeof m->names[i], "%s", name);
    if (!matrix_make(w, k, t, rows < DISTINCT ? rows : DISTINCT, columns) || !repeat_rows(w, rows))
        return false;
    m->rows[i] = (qn_rows){.dtype = t,
                           .rows = rows,
                           .columns = columns,
                           .decode = decode_some,
                           .raw = raw_row,
                           .done = keep_rows,
                           .state = w};
    m->tensors[i] = (qn_model_tensor){
        .name = m->names[i], .rank = 2, .dims = {rows, columns}, .rows = &m->rows[i]};
    return !qn_names_add(m->model.by_name, qn_str_z(m->names[i]), (uint32_t)i, &present);
}

static bool add_layer(made *m, const qn_kernels *k, qn_dtype t, int layer)
{
    const qn_hparams *h = &m->model.hparams;
    const uint64_t keys = h->n_kv_heads * h->head_dim, hidden = h->hidden, wide = h->feed_forward;
    const struct {
        const char *role;
        uint64_t rows, columns;
        bool vector;
    } parts[MATRICES + 2] = {
        {"attn_norm", 1, hidden, true},    {"ffn_norm", 1, hidden, true},
        {"attn_q", hidden, hidden, false}, {"attn_k", keys, hidden, false},
        {"attn_v", keys, hidden, false},   {"attn_output", hidden, hidden, false},
        {"ffn_gate", wide, hidden, false}, {"ffn_up", wide, hidden, false},
        {"ffn_down", hidden, wide, false},
    };
    bool good = true;
    for (size_t i = 0; i < MATRICES + 2 && good; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, parts[i].role);
        good =
            add_tensor(m, k, name, parts[i].vector ? QN_F32 : t, parts[i].rows, parts[i].columns);
    }
    return good;
}

static bool make_llama(made *m, const qn_kernels *k, qn_dtype t)
{
    m->model = (qn_model){.path = "a made-up llama",
                          .family = &qn_family_llama,
                          .architecture = "llama",
                          .tensors = m->tensors,
                          .by_name = qn_names_new(MADE_TENSORS),
                          .hparams = {.n_vocab = 8192,
                                      .n_ctx_train = QN_SPEED_TOKENS,
                                      .n_layers = LAYERS,
                                      .hidden = 1024,
                                      .feed_forward = 2816,
                                      .n_heads = 16,
                                      .n_kv_heads = 4,
                                      .head_dim = 64,
                                      .value_dim = 64,
                                      .rope_dims = 64,
                                      .rope_theta = 10000,
                                      .rms_eps = 1e-5,
                                      .tied = true}};
    qn_hparams *h = &m->model.hparams;
    bool good = m->model.by_name && !qn_hparams_complete(h, m->model.path, NULL) &&
                add_tensor(m, k, "token_embd.weight", t, h->n_vocab, h->hidden) &&
                add_tensor(m, k, "output_norm.weight", QN_F32, 1, h->hidden);
    for (int i = 0; i < LAYERS && good; i++) good = add_layer(m, k, t, i);
    return good;
}

double qn_speed_forward(const qn_kernels *k, qn_dtype t, int threads)
{
    made *m = qn_alloc(1, sizeof *m);
    double rate = 0;
    if (!m) return rate;
    if (make_llama(m, k, t)) rate = qn_speed_forward_of(&m->model, k, threads);
    for (size_t i = 0; i < m->model.n_tensors; i++) matrix_free(&m->weights[i]);
    qn_names_free(m->model.by_name);
    qn_free(m);
    return rate;
}
