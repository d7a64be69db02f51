#include "validate/gemm.h"

#include <omp.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "validate/gemm_few.h"

/* Columns unpacked at a time: a multiple of every block length, and a tile of
 * QN_TILE_MAX activations (14 KiB) stays in a first-level cache of 32 KiB while
 * the panels stream past it. */
#define K_BLOCK 256
/* Panels of one group: 12 x 32 KiB in the second-level cache, so that each tile
 * of activations is fetched once per 384 rows of weights. */
#define GROUP_PANELS 12
/* Floats between the rows of the small buffers beyond their length: rows at
 * multiples of 4096 bytes would share the sets of the first-level cache. */
#define PAD 16
/* Rows of activations that are a multiple of so many floats apart do so, and
 * are copied. */
#define ALIAS 1024
#define LINE 16 /* floats of a line of a cache */

typedef struct {
    float *panels; /* [panels of the group][k_block][QN_PANEL] */
    float *rows;   /* [QN_PANEL][row_stride]: decoded, before packing */
    float *x;      /* [QN_TILE_MAX][k_block + PAD] */
    float *edge;   /* [QN_TILE_MAX][QN_PANEL]: results of a panel with missing rows */
    qn_error error;
    uint64_t failed; /* the task that filled error; UINT64_MAX: none */
} worker;

struct qn_gemm {
    const qn_kernels *k;
    int threads;
    worker *workers;
    float **scratch; /* one a worker: its four buffers */
    size_t scratch_floats;
    qn_gemm_few *few;
};

typedef struct {
    const qn_kernels *k;
    const float *x;
    size_t ldx, m;
    const qn_rows *w;
    uint64_t r0, r1;
    float *out;
    size_t ldo;

    size_t k_block, row_stride;
    uint64_t panels, groups, chunks; /* chunks: of the m activations */
    size_t group_panels;             /* of the largest group */
    bool by_blocks;                  /* stored rows can be decoded in pieces of k_block columns */
} job;

qn_status qn_gemm_new(qn_gemm **out, const qn_kernels *k, int threads, qn_error *err)
{
    qn_status status = QN_OK;
    qn_gemm *g = qn_alloc(1, sizeof *g);
    if (!g) {
        status = qn_fail_memory(err, "matrix multiplication");
        goto out;
    }
    g->k = k;
    g->threads = threads > 0 ? threads : omp_get_max_threads();
    g->workers = qn_alloc((size_t)g->threads, sizeof *g->workers);
    g->scratch = qn_alloc((size_t)g->threads, sizeof *g->scratch);
    if (!g->workers || !g->scratch) {
        status = qn_fail_memory(err, "matrix multiplication");
        goto out;
    }
    if ((status = qn_gemm_few_new(&g->few, k, g->threads, err))) goto out;
    *out = g;
    g = NULL;
out:
    qn_gemm_free(g);
    return status;
}

static void drop_scratch(qn_gemm *g)
{
    for (int i = 0; i < g->threads && g->scratch; i++) {
        qn_free(g->scratch[i]);
        g->scratch[i] = NULL;
    }
    g->scratch_floats = 0;
}

void qn_gemm_free(qn_gemm *g)
{
    if (!g) return;
    drop_scratch(g);
    qn_gemm_few_free(g->few);
    qn_free(g->scratch);
    qn_free(g->workers);
    qn_free(g);
}

uint64_t qn_gemm_bytes(int threads, uint64_t columns)
{
    /* a block may be half as long again as wanted (even_blocks) */
    const uint64_t block = K_BLOCK * 3 / 2, panels = GROUP_PANELS * block * QN_PANEL;
    const uint64_t x = QN_TILE_MAX * (block + PAD), edge = QN_TILE_MAX * QN_PANEL;
    uint64_t bytes;
    if (!qn_mul_u64(columns + PAD, QN_PANEL * sizeof(float), &bytes) ||
        !qn_add_u64(bytes, (panels + x + edge) * sizeof(float), &bytes) ||
        !qn_mul_u64(bytes, (uint64_t)threads, &bytes) ||
        !qn_add_u64(bytes, qn_gemm_few_bytes(threads, columns), &bytes))
        return UINT64_MAX;
    return bytes;
}

static bool decodes_by_blocks(const qn_kernels *k, const qn_rows *w)
{
    return w->raw && w->rows && w->raw(w, 0) && k->decode[w->dtype] &&
           K_BLOCK % qn_dtype_facts(w->dtype)->block_len == 0;
}

/* Columns of a block such that all have about `wanted` of them, the last one
 * not much fewer, and all but the last are whole blocks of the encoding. */
static size_t even_blocks(uint64_t columns, uint64_t wanted, uint64_t block_len)
{
    const uint64_t n = (columns + wanted / 2) / wanted;
    const uint64_t even = n > 1 ? (columns + n - 1) / n : columns;
    return (size_t)qn_min_u64((even + block_len - 1) / block_len * block_len, columns);
}

/* Groups of panels are dealt out evenly, a whole number of groups a thread;
 * when there are fewer panels than threads the activations are divided, too. */
static void choose_blocks(job *j, int threads)
{
    const uint64_t n_threads = (uint64_t)threads;
    j->k_block = even_blocks(j->w->columns, K_BLOCK, qn_dtype_facts(j->w->dtype)->block_len);
    j->panels = (j->r1 - j->r0 + QN_PANEL - 1) / QN_PANEL;
    j->by_blocks = decodes_by_blocks(j->k, j->w);
    j->row_stride = (j->by_blocks ? j->k_block : (size_t)j->w->columns) + PAD;

    const uint64_t most = j->by_blocks ? GROUP_PANELS : 1;
    const uint64_t rounds = (j->panels + n_threads * most - 1) / (n_threads * most);
    j->groups = qn_min_u64(j->panels, n_threads * rounds);
    j->group_panels = (size_t)((j->panels + j->groups - 1) / j->groups);
    const uint64_t tiles = (j->m + QN_TILE_MAX - 1) / QN_TILE_MAX;
    j->chunks = qn_min_u64(tiles, (n_threads + j->groups - 1) / j->groups);
}

static qn_status get_scratch(qn_gemm *g, const job *j, qn_error *err)
{
    const size_t panels = j->group_panels * j->k_block * QN_PANEL;
    const size_t x = QN_TILE_MAX * (j->k_block + PAD);
    const size_t edge = QN_TILE_MAX * QN_PANEL;
    uint64_t rows, floats;
    if (!qn_mul_u64(QN_PANEL, j->row_stride, &rows) ||
        !qn_add_u64(panels + x + edge, rows, &floats) || floats > SIZE_MAX / sizeof(float))
        return qn_fail_memory(err, "matrix multiplication");

    if (floats > g->scratch_floats) {
        drop_scratch(g);
        for (int i = 0; i < g->threads; i++) {
            g->scratch[i] = qn_alloc_aligned(64, (size_t)floats, sizeof(float));
            if (!g->scratch[i]) return qn_fail_memory(err, "matrix multiplication");
        }
        g->scratch_floats = (size_t)floats;
    }
    for (int i = 0; i < g->threads; i++) {
        worker *s = &g->workers[i];
        s->panels = g->scratch[i];
        s->edge = s->panels + panels;
        s->x = s->edge + edge;
        s->rows = s->x + x;
        s->failed = UINT64_MAX;
    }
    return QN_OK;
}

/* Where n stored float32 rows from r lie at equal distances: the distance in
 * floats; else 0. */
static size_t even_stride(const qn_rows *w, uint64_t r, size_t n)
{
    const uintptr_t first = (uintptr_t)w->raw(w, r);
    const uintptr_t step = n > 1 ? (uintptr_t)w->raw(w, r + 1) - first : sizeof(float);
    if (w->dtype != QN_F32 || first % sizeof(float) || step % sizeof(float)) return 0;
    for (size_t i = 2; i < n; i++)
        if ((uintptr_t)w->raw(w, r + i) - first != i * step) return 0;
    return step / sizeof(float);
}

/* n rows from r, columns k0 .. k0+k, to a panel. */
static qn_status unpack_panel(const job *j, worker *s, uint64_t r, size_t n, size_t k0, size_t k,
                              float *panel)
{
    const qn_rows *w = j->w;
    if (!j->by_blocks) {
        const size_t columns = (size_t)w->columns;
        if (k0 == 0) {
            /* side by side, then apart */
            const qn_status status = w->decode(w, j->k, r, r + n, s->rows, &s->error);
            if (status) return status;
            for (size_t i = n; i-- > 1;)
                memmove(s->rows + i * j->row_stride, s->rows + i * columns,
                        columns * sizeof *s->rows);
        }
        j->k->pack(s->rows + k0, j->row_stride, n, k, panel);
        return QN_OK;
    }
    const size_t stride = even_stride(w, r, n);
    if (stride) {
        j->k->pack((const float *)w->raw(w, r) + k0, stride, n, k, panel);
        return QN_OK;
    }
    const qn_dtype_info *facts = qn_dtype_facts(w->dtype);
    const size_t offset = k0 / facts->block_len * facts->block_bytes;
    if (j->k->unpack[w->dtype] && n == QN_PANEL) {
        const void *rows[QN_PANEL];
        for (size_t i = 0; i < n; i++) rows[i] = (const char *)w->raw(w, r + i) + offset;
        j->k->unpack[w->dtype](rows, rows[0], k, panel);
        return QN_OK;
    }
    for (size_t i = 0; i < n; i++)
        j->k->decode[w->dtype]((const char *)w->raw(w, r + i) + offset, s->rows + i * j->row_stride,
                               k);
    j->k->pack(s->rows, j->row_stride, n, k, panel);
    return QN_OK;
}

/* One tile of activations, m rows of k at x, lda apart, against one panel. */
static void multiply(const job *j, const worker *s, const float *x, size_t lda, size_t m, size_t k,
                     const float *panel, size_t rows, float *out, bool accumulate)
{
    if (rows == QN_PANEL) {
        j->k->gemm_tile(x, lda, m, panel, k, out, j->ldo, accumulate);
        return;
    }
    for (size_t i = 0; i < m && accumulate; i++)
        memcpy(s->edge + i * QN_PANEL, out + i * j->ldo, rows * sizeof *out);
    j->k->gemm_tile(x, lda, m, panel, k, s->edge, QN_PANEL, accumulate);
    for (size_t i = 0; i < m; i++)
        memcpy(out + i * j->ldo, s->edge + i * QN_PANEL, rows * sizeof *out);
}

/* A share of the n rows of k floats at x, stride apart, asked for ahead of
 * their use: part `part` of `parts`. */
static void fetch_ahead(const float *x, size_t stride, size_t n, size_t k, size_t part,
                        size_t parts)
{
    for (size_t i = n * part / parts; i < n * (part + 1) / parts; i++)
        for (size_t p = 0; p < k; p += LINE) __builtin_prefetch(x + i * stride + p, 0, 2);
}

/* Rows of the next tile of those left, such that all are about as high. */
static size_t next_tile(const qn_kernels *k, size_t left)
{
    const size_t unit = k->tile_unit, most = QN_TILE_MAX / unit * unit;
    const size_t tiles = (left + most - 1) / most;
    if (!tiles) return 0;
    const size_t even = (left + tiles - 1) / tiles;
    return (size_t)qn_min_u64((even + unit - 1) / unit * unit, left);
}

/* Activations i0..i1, columns k0..k0+k, against the unpacked panels p0..p1. */
static void multiply_group(const job *j, const worker *s, size_t i0, size_t i1, size_t k0, size_t k,
                           uint64_t p0, uint64_t p1)
{
    const bool copies = j->ldx % ALIAS == 0;
    const size_t lda = copies ? j->k_block + PAD : j->ldx;
    for (size_t i = i0; i < i1;) {
        const size_t m = next_tile(j->k, i1 - i), n_next = next_tile(j->k, i1 - i - m);
        const float *x = j->x + i * j->ldx + k0, *next = x + m * j->ldx;
        for (size_t t = 0; t < m && copies; t++)
            memcpy(s->x + t * lda, x + t * j->ldx, k * sizeof *x);
        for (uint64_t p = p0; p < p1; p++) {
            const uint64_t first = p * QN_PANEL;
            const size_t rows = (size_t)qn_min_u64(QN_PANEL, j->r1 - j->r0 - first);
            fetch_ahead(next, j->ldx, n_next, k, (size_t)(p - p0), (size_t)(p1 - p0));
            multiply(j, s, copies ? s->x : x, lda, m, k,
                     s->panels + (p - p0) * j->k_block * QN_PANEL, rows,
                     j->out + i * j->ldo + first, k0 > 0);
        }
        i += m;
    }
}

static qn_status run_task(const job *j, worker *s, uint64_t task)
{
    const uint64_t group = task / j->chunks, chunk = task % j->chunks;
    const uint64_t p0 = group * j->panels / j->groups, p1 = (group + 1) * j->panels / j->groups;
    const size_t i0 = (size_t)(chunk * j->m / j->chunks);
    const size_t i1 = (size_t)((chunk + 1) * j->m / j->chunks);
    const size_t columns = (size_t)j->w->columns;
    size_t k0 = 0;
    do {
        const size_t k = (size_t)qn_min_u64(j->k_block, columns - k0);
        for (uint64_t p = p0; p < p1; p++) {
            const uint64_t r = j->r0 + p * QN_PANEL;
            const qn_status status =
                unpack_panel(j, s, r, (size_t)qn_min_u64(QN_PANEL, j->r1 - r), k0, k,
                             s->panels + (p - p0) * j->k_block * QN_PANEL);
            if (status) return status;
        }
        multiply_group(j, s, i0, i1, k0, k, p0, p1);
        k0 += k;
    } while (k0 < columns);
    return QN_OK;
}

qn_status qn_gemm_run(qn_gemm *g, const float *x, size_t ldx, size_t m, const qn_rows *w,
                      uint64_t r0, uint64_t r1, float *out, size_t ldo, qn_error *err)
{
    job j = {.k = g->k, .x = x, .ldx = ldx, .m = m, .w = w, .r0 = r0, .r1 = r1};
    j.out = out;
    j.ldo = ldo;
    if (m == 0 || r0 >= r1) return QN_OK;
    if (m <= QN_TILE_MAX)
        return qn_gemm_few_run(g->few, &(qn_product){x, ldx, m, w, r0, r1, out, ldo}, err);
    choose_blocks(&j, g->threads);
    const qn_status status = get_scratch(g, &j, err);
    if (status) return status;

    const uint64_t tasks = j.groups * j.chunks;
    /* Monotonic: a thread that has failed skips later tasks only, so the lowest
     * failing one is always tried. */
#pragma omp parallel for schedule(monotonic : dynamic) num_threads(g->threads)
    for (uint64_t t = 0; t < tasks; t++) {
        worker *s = &g->workers[omp_get_thread_num()];
        if (s->failed == UINT64_MAX && run_task(&j, s, t)) s->failed = t;
    }
    const worker *lowest = &g->workers[0];
    for (int i = 1; i < g->threads; i++)
        if (g->workers[i].failed < lowest->failed) lowest = &g->workers[i];
    if (lowest->failed == UINT64_MAX) return QN_OK;
    return qn_fail(err, lowest->error.status, "%s", lowest->error.message);
}
