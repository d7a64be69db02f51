#include "validate/speed.h"

#include <omp.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "validate/gemm.h"

enum {
    ROUNDS = 1 << 20,      /* of fma_peak: a few milliseconds */
    COPY_BYTES = 64 << 20, /* a thread's part is larger than its share of any cache */
    ROWS = 8192,           /* that are encoded or decoded: 64 MiB of float32 */
    ALIGNMENT = 64,
};
static const double LONG_ENOUGH = 0.25; /* seconds */

/* Work that is repeated, on threads; units of it a run. */
typedef struct {
    void (*run)(void *context, int threads);
    void *context;
    int threads;
    double units;
} work;

static double best_rate(const work *w)
{
    double best = 0;
    w->run(w->context, w->threads);
    const double end = omp_get_wtime() + LONG_ENOUGH;
    for (double start = omp_get_wtime(); start < end;) {
        w->run(w->context, w->threads);
        const double now = omp_get_wtime(), rate = w->units / (now - start);
        if (rate > best) best = rate;
        start = now;
    }
    return best;
}

/* ---- limits ------------------------------------------------------------------------------ */

static void burn(void *context, int threads)
{
    const qn_kernels *k = context;
#pragma omp parallel num_threads(threads)
    k->fma_peak(ROUNDS);
}

double qn_speed_multiply_adds(const qn_kernels *k, int threads)
{
    qn_kernels mine = *k;
    const double each = 2.0 * ROUNDS * QN_PEAK_SUMS * (double)k->vector_floats;
    return best_rate(&(work){burn, &mine, threads, each * threads});
}

typedef struct {
    char *from, *to;
} copier;

static void copy(void *context, int threads)
{
    const copier *c = context;
    const size_t each = (size_t)(COPY_BYTES / threads);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        const size_t at = (size_t)t * each;
        memcpy(c->to + at, c->from + at, each);
    }
}

double qn_speed_copy(int threads)
{
    copier c = {qn_alloc(COPY_BYTES, 1), qn_alloc(COPY_BYTES, 1)};
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
    uint64_t rows, row_bytes;
    float *values; /* rows x QN_SPEED_SIZE */
    char *blocks;  /* the same, encoded */
} matrix;

static void matrix_free(matrix *m)
{
    qn_free(m->values);
    qn_free(m->blocks);
}

static void encode_rows(void *context, int threads)
{
    const matrix *m = context;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (uint64_t r = 0; r < m->rows; r++)
        m->k->encode[m->dtype](m->values + r * QN_SPEED_SIZE, NULL, m->blocks + r * m->row_bytes,
                               QN_SPEED_SIZE);
}

static void decode_rows(void *context, int threads)
{
    const matrix *m = context;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (uint64_t r = 0; r < m->rows; r++)
        m->k->decode[m->dtype](m->blocks + r * m->row_bytes, m->values + r * QN_SPEED_SIZE,
                               QN_SPEED_SIZE);
}

static bool matrix_make(matrix *m, const qn_kernels *k, qn_dtype t, uint64_t rows, int threads)
{
    *m = (matrix){.k = k, .dtype = t, .rows = rows};
    if (!k->encode[t] || !k->decode[t]) return false;
    if (!qn_dtype_row_bytes(t, QN_SPEED_SIZE, &m->row_bytes)) return false;
    m->values = qn_alloc_aligned(ALIGNMENT, rows * QN_SPEED_SIZE, sizeof *m->values);
    m->blocks = qn_alloc_aligned(ALIGNMENT, rows, m->row_bytes);
    if (!m->values || !m->blocks) return false;
    fill(m->values, rows * QN_SPEED_SIZE);
    encode_rows(m, threads);
    return true;
}

static double rows_rate(const qn_kernels *k, qn_dtype t, int threads, void (*run)(void *, int))
{
    matrix m;
    double rate = 0;
    if (matrix_make(&m, k, t, ROWS, threads))
        rate = best_rate(&(work){run, &m, threads, (double)ROWS * QN_SPEED_SIZE * sizeof(float)});
    matrix_free(&m);
    return rate;
}

double qn_speed_encode(const qn_kernels *k, qn_dtype t, int threads)
{
    return rows_rate(k, t, threads, encode_rows);
}

double qn_speed_decode(const qn_kernels *k, qn_dtype t, int threads)
{
    return rows_rate(k, t, threads, decode_rows);
}

/* ---- GEMM -------------------------------------------------------------------------------------- */

static qn_status decode_some(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                             float *out, qn_error *err)
{
    const matrix *m = s->state;
    (void)err;
    for (uint64_t r = r0; r < r1; r++)
        k->decode[m->dtype](m->blocks + r * m->row_bytes, out + (r - r0) * QN_SPEED_SIZE,
                            QN_SPEED_SIZE);
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
    float *x, *out; /* [QN_SPEED_TOKENS][QN_SPEED_SIZE] */
    bool failed;
} multiplier;

static void multiply(void *context, int threads)
{
    multiplier *m = context;
    (void)threads; /* the GEMM knows */
    if (qn_gemm_run(m->gemm, m->x, QN_SPEED_SIZE, QN_SPEED_TOKENS, m->weights, 0, QN_SPEED_SIZE,
                    m->out, QN_SPEED_SIZE, NULL))
        m->failed = true;
}

double qn_speed_gemm(const qn_kernels *k, qn_dtype t, int threads)
{
    enum { N = QN_SPEED_TOKENS * QN_SPEED_SIZE };
    matrix weights;
    double rate = 0;
    multiplier m = {.x = qn_alloc_aligned(ALIGNMENT, N, sizeof(float)),
                    .out = qn_alloc_aligned(ALIGNMENT, N, sizeof(float))};
    const qn_rows rows = {.dtype = t,
                          .rows = QN_SPEED_SIZE,
                          .columns = QN_SPEED_SIZE,
                          .decode = decode_some,
                          .raw = raw_row,
                          .done = keep_rows,
                          .state = &weights};
    m.weights = &rows;
    if (matrix_make(&weights, k, t, QN_SPEED_SIZE, threads) && m.x && m.out &&
        !qn_gemm_new(&m.gemm, k, threads, NULL)) {
        fill(m.x, N);
        rate = best_rate(&(work){multiply, &m, threads, 2.0 * N * QN_SPEED_SIZE});
    }
    qn_gemm_free(m.gemm);
    matrix_free(&weights);
    qn_free(m.x);
    qn_free(m.out);
    return m.failed ? 0 : rate;
}
