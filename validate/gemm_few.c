#include "validate/gemm_few.h"

#include <omp.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "kernels/blocks.h"

/* Columns unpacked at a time where values are needed more than once, or must be
 * decoded first: a multiple of every block length. */
#define PIECE QN_SUPER
/* Floats between rows beyond their length: rows at multiples of 4096 bytes would
 * share the sets of the first-level cache. */
#define PAD 16
/* Products of fewer multiply-adds than this are no work for several threads. */
#define WORTH_SHARING 65536

typedef struct {
    float *rows;  /* [QN_PANEL][decoded columns] */
    float *panel; /* [PIECE][QN_PANEL] */
    float *sums;  /* [QN_TILE_MAX][QN_PANEL] */
    qn_error error;
    uint64_t failed; /* the panel that filled error; UINT64_MAX: none */
} worker;

struct qn_gemm_few {
    const qn_kernels *k;
    int threads;
    worker *workers;
    float *scratch; /* x, then the workers' */
    uint64_t scratch_floats;
    float *x; /* [m][columns + PAD], for more tokens than one */
};

typedef struct {
    const qn_gemm_few *g;
    const qn_product *p;
    bool stored;   /* rows are blocks in memory */
    bool straight; /* which a kernel takes as they are */
    size_t decoded, piece;
    int threads;
} job;

qn_status qn_gemm_few_new(qn_gemm_few **out, const qn_kernels *k, int threads, qn_error *err)
{
    qn_gemm_few *g = qn_alloc(1, sizeof *g);
    worker *workers = qn_alloc((size_t)threads, sizeof *workers);
    if (!g || !workers) {
        qn_free(g);
        qn_free(workers);
        return qn_fail_memory(err, "matrix multiplication");
    }
    *g = (qn_gemm_few){.k = k, .threads = threads, .workers = workers};
    *out = g;
    return QN_OK;
}

void qn_gemm_few_free(qn_gemm_few *g)
{
    if (!g) return;
    qn_free(g->scratch);
    qn_free(g->workers);
    qn_free(g);
}

/* UINT64_MAX, which no allocation satisfies, when it does not fit. */
static uint64_t scratch_floats(int threads, uint64_t m, uint64_t columns, uint64_t decoded)
{
    const uint64_t others = PIECE * QN_PANEL + QN_TILE_MAX * QN_PANEL;
    uint64_t rows, all, x;
    if (!qn_mul_u64(QN_PANEL, decoded, &rows) || !qn_add_u64(rows, others, &rows) ||
        !qn_mul_u64(rows, (uint64_t)threads, &all) || !qn_mul_u64(columns + PAD, m, &x) ||
        !qn_add_u64(all, x, &all) || all > SIZE_MAX / sizeof(float))
        return UINT64_MAX;
    return all;
}

uint64_t qn_gemm_few_bytes(int threads, uint64_t columns)
{
    const uint64_t floats =
        scratch_floats(threads, QN_TILE_MAX, columns, qn_max_u64(columns, PIECE + PAD));
    return floats == UINT64_MAX ? floats : floats * sizeof(float);
}

static qn_status get_scratch(qn_gemm_few *g, const job *j, qn_error *err)
{
    const size_t m = j->p->m > 1 ? j->p->m : 0, columns = (size_t)j->p->w->columns;
    const uint64_t floats = scratch_floats(g->threads, m, columns, j->decoded);
    if (floats > g->scratch_floats) {
        qn_free(g->scratch);
        g->scratch_floats = 0;
        g->scratch =
            floats == UINT64_MAX ? NULL : qn_alloc_aligned(64, (size_t)floats, sizeof(float));
        if (!g->scratch) return qn_fail_memory(err, "matrix multiplication");
        g->scratch_floats = floats;
    }
    float *at = g->scratch;
    for (int i = 0; i < g->threads; i++) {
        worker *s = &g->workers[i];
        s->failed = UINT64_MAX;
        s->panel = at;
        s->sums = s->panel + PIECE * QN_PANEL;
        s->rows = s->sums + QN_TILE_MAX * QN_PANEL;
        at = s->rows + QN_PANEL * j->decoded;
    }
    g->x = at;
    for (size_t i = 0; i < m; i++)
        memcpy(g->x + i * (columns + PAD), j->p->x + i * j->p->ldx, columns * sizeof *g->x);
    return QN_OK;
}

static void plan(job *j)
{
    const qn_kernels *k = j->g->k;
    const qn_rows *w = j->p->w;
    const size_t columns = (size_t)w->columns;
    j->stored = w->raw && w->raw(w, j->p->r0) && k->decode[w->dtype] &&
                PIECE % qn_dtype_facts(w->dtype)->block_len == 0;
    j->straight =
        j->stored && (j->p->m == 1 ? k->token[w->dtype] != NULL : k->unpack[w->dtype] != NULL);
    j->decoded = j->straight ? 0 : j->stored ? PIECE + PAD : columns;
    j->piece = j->straight && j->p->m == 1 ? columns : PIECE;
    const double work = (double)j->p->m * (double)(j->p->r1 - j->p->r0) * (double)columns;
    j->threads = work < WORTH_SHARING ? 1 : j->g->threads;
}

/* Columns k0..k0+n of QN_PANEL rows, which begin there, into the sums. */
static void multiply(const job *j, const worker *s, const void *const *rows, const void *ahead,
                     qn_dtype dtype, size_t k0, size_t n)
{
    const qn_kernels *k = j->g->k;
    const size_t lda = (size_t)j->p->w->columns + PAD;
    if (j->p->m == 1) {
        k->token[dtype](rows, ahead, j->p->x + k0, n, s->sums);
        return;
    }
    k->unpack[dtype](rows, ahead, n, s->panel);
    k->gemm_tile(j->g->x + k0, lda, j->p->m, s->panel, n, s->sums, QN_PANEL, true);
}

/* Where rows r.. begin; rows of an incomplete panel stand for the missing ones. */
static void stored_rows(const job *j, uint64_t r, const char *rows[QN_PANEL])
{
    const qn_rows *w = j->p->w;
    for (size_t i = 0; i < QN_PANEL; i++) rows[i] = w->raw(w, qn_min_u64(r + i, j->p->r1 - 1));
}

/* The bytes behind the panel at r where all its rows follow each other, else the
 * panel's own. */
static const char *what_follows(const job *j, uint64_t r, const char *const rows[QN_PANEL])
{
    const size_t row_bytes = (size_t)(rows[1] - rows[0]);
    for (size_t i = 1; i < QN_PANEL; i++)
        if (rows[i] != rows[0] + i * row_bytes) return rows[0];
    return r + 2ULL * QN_PANEL <= j->p->w->rows ? rows[0] + QN_PANEL * row_bytes : rows[0];
}

static void multiply_stored(const job *j, const worker *s, uint64_t r, size_t n_rows)
{
    const qn_rows *w = j->p->w;
    const qn_dtype_info *facts = qn_dtype_facts(w->dtype);
    const size_t columns = (size_t)w->columns;
    const char *stored[QN_PANEL];
    const void *rows[QN_PANEL];
    stored_rows(j, r, stored);
    const char *ahead = what_follows(j, r, stored);
    for (size_t k0 = 0, n; k0 < columns; k0 += n) {
        const size_t at = k0 / facts->block_len * facts->block_bytes;
        n = (size_t)qn_min_u64(j->piece, columns - k0);
        for (size_t i = 0; i < QN_PANEL; i++)
            rows[i] = j->straight ? stored[i] + at : (const char *)(s->rows + i * j->decoded);
        for (size_t i = 0; i < n_rows && !j->straight; i++)
            j->g->k->decode[w->dtype](stored[i] + at, s->rows + i * j->decoded, n);
        multiply(j, s, rows, ahead + QN_PANEL * at, j->straight ? w->dtype : QN_F32, k0, n);
    }
}

static qn_status multiply_computed(const job *j, worker *s, uint64_t r, size_t n_rows)
{
    const qn_rows *w = j->p->w;
    const size_t columns = (size_t)w->columns;
    const void *rows[QN_PANEL];
    const qn_status status = w->decode(w, j->g->k, r, r + n_rows, s->rows, &s->error);
    for (size_t k0 = 0, n; k0 < columns && !status; k0 += n) {
        n = (size_t)qn_min_u64(PIECE, columns - k0);
        for (size_t i = 0; i < QN_PANEL; i++)
            rows[i] = s->rows + qn_min_u64(i, n_rows - 1) * columns + k0;
        multiply(j, s, rows, rows[0], QN_F32, k0, n);
    }
    return status;
}

static qn_status run_panel(const job *j, worker *s, uint64_t panel)
{
    const qn_product *p = j->p;
    const uint64_t first = panel * QN_PANEL, r = p->r0 + first;
    const size_t n_rows = (size_t)qn_min_u64(QN_PANEL, p->r1 - r);
    qn_status status = QN_OK;
    memset(s->sums, 0, p->m * QN_PANEL * sizeof *s->sums);
    if (j->stored)
        multiply_stored(j, s, r, n_rows);
    else
        status = multiply_computed(j, s, r, n_rows);
    for (size_t i = 0; i < p->m && !status; i++)
        memcpy(p->out + i * p->ldo + first, s->sums + i * QN_PANEL, n_rows * sizeof *p->out);
    return status;
}

qn_status qn_gemm_few_run(qn_gemm_few *g, const qn_product *p, qn_error *err)
{
    job j = {.g = g, .p = p};
    plan(&j);
    const qn_status status = get_scratch(g, &j, err);
    if (status) return status;

    const uint64_t panels = (p->r1 - p->r0 + QN_PANEL - 1) / QN_PANEL;
    /* Guided: a panel is followed by the one that its kernel asks for ahead.
     * Monotonic: a thread that has failed skips later panels only, so the lowest
     * failing one is always tried. */
#pragma omp parallel for schedule(monotonic : guided) num_threads(j.threads)
    for (uint64_t t = 0; t < panels; t++) {
        worker *s = &g->workers[omp_get_thread_num()];
        if (s->failed == UINT64_MAX && run_panel(&j, s, t)) s->failed = t;
    }
    const worker *lowest = &g->workers[0];
    for (int i = 1; i < g->threads; i++)
        if (g->workers[i].failed < lowest->failed) lowest = &g->workers[i];
    if (lowest->failed == UINT64_MAX) return QN_OK;
    return qn_fail(err, lowest->error.status, "%s", lowest->error.message);
}
