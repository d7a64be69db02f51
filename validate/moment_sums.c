#include "validate/moment_sums.h"

#include <omp.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"

/* Chains that are summed before the doubles go back to memory; panels of a task:
 * 8 x 32 KiB a chain, in the second level of cache; floats between columns
 * beyond their rows, so that they do not share the sets of the first. */
enum { CHAINS = 4, MOST_ROWS = CHAINS * QN_MOMENT_ROWS, PANELS = 4, PAD = 16 };

/* Of one matrix. */
typedef struct {
    double *sums;   /* NULL: no row yet */
    float *pending; /* [QN_MOMENT_ROWS][columns]; NULL: none were left over yet */
    size_t n_pending;
} matrix;

struct qn_moment_sums {
    const qn_linear_inputs *inputs;
    qn_moment_options o;
    matrix **of;    /* [inputs->n][matrices] */
    size_t next;    /* inputs before it are done */
    float *columns; /* [widest][MOST_ROWS + PAD]: rows at hand, turned */
    float **panels; /* [threads]: [PANELS][MOST_ROWS][QN_PANEL] */
};

static uint64_t widest(const qn_linear_inputs *inputs)
{
    uint64_t most = 1;
    for (size_t i = 0; i < inputs->n; i++) most = qn_max_u64(most, inputs->inputs[i].columns);
    return most;
}

qn_status qn_moment_sums_new(qn_moment_sums **out, const qn_linear_inputs *inputs,
                             const qn_moment_options *options, qn_error *err)
{
    const size_t threads = (size_t)options->threads;
    qn_moment_sums *m = qn_alloc(1, sizeof *m);
    if (!m) return qn_fail_memory(err, "second moments");
    m->inputs = inputs;
    m->o = *options;
    m->of = qn_alloc(inputs->n, sizeof(matrix *));
    m->columns = qn_alloc_aligned(64, (size_t)widest(inputs), (MOST_ROWS + PAD) * sizeof(float));
    m->panels = qn_alloc(threads, sizeof(float *));
    bool there = m->of && m->columns && m->panels;
    for (size_t i = 0; i < inputs->n && there; i++) {
        m->of[i] = qn_alloc((size_t)inputs->inputs[i].matrices, sizeof *m->of[i]);
        there = m->of[i] != NULL;
    }
    for (size_t i = 0; i < threads && there; i++) {
        m->panels[i] = qn_alloc_aligned(64, (size_t)PANELS * MOST_ROWS * QN_PANEL, sizeof(float));
        there = m->panels[i] != NULL;
    }
    if (!there) {
        qn_moment_sums_free(m);
        return qn_fail_memory(err, "second moments");
    }
    *out = m;
    return QN_OK;
}

static void drop(matrix *x)
{
    qn_free(x->sums);
    qn_free(x->pending);
    *x = (matrix){0};
}

void qn_moment_sums_free(qn_moment_sums *m)
{
    if (!m) return;
    for (size_t i = 0; m->of && i < m->inputs->n && m->of[i]; i++) {
        for (uint64_t j = 0; j < m->inputs->inputs[i].matrices; j++) drop(&m->of[i][j]);
        qn_free(m->of[i]);
    }
    for (int i = 0; m->panels && i < m->o.threads; i++) qn_free(m->panels[i]);
    qn_free(m->of);
    qn_free(m->columns);
    qn_free(m->panels);
    qn_free(m);
}

uint64_t qn_moment_sums_bytes(const qn_linear_inputs *inputs, const qn_moment_options *options)
{
    const double scratch = (double)widest(inputs) * (MOST_ROWS + PAD) +
                           options->threads * PANELS * MOST_ROWS * QN_PANEL;
    double layer = 0.0, most = 0.0, all = 0.0;
    for (size_t i = 0; i < inputs->n; i++) {
        const qn_moments_input *in = &inputs->inputs[i];
        const double each =
            sizeof(double) * (double)qn_moments_length(in->columns, options->block) +
            sizeof(float) * QN_MOMENT_ROWS * (double)in->columns + sizeof(matrix);
        if (i && inputs->layers[i] != inputs->layers[i - 1]) layer = 0.0;
        layer += each * (double)in->matrices;
        all += each * (double)in->matrices;
        if (layer > most) most = layer;
    }
    const double bytes = (options->by_layers ? most : all) + sizeof(float) * scratch;
    return bytes < 0x1p60 ? (uint64_t)bytes : UINT64_MAX;
}

/* ---- summing ------------------------------------------------------------------------------- */

/* Rows at hand, and where their sums go. */
typedef struct {
    const qn_moment_sums *m;
    const float *x; /* [rows][columns] */
    size_t rows, columns, block;
    double *sums;
    size_t stride; /* of m->columns */
} batch;

static void turn(const batch *b)
{
    enum { AT_ONCE = 64 };
#pragma omp parallel for num_threads(b->m->o.threads)
    for (size_t c0 = 0; c0 < b->columns; c0 += AT_ONCE) {
        const size_t n = (size_t)qn_min_u64(AT_ONCE, b->columns - c0);
        float turned[AT_ONCE * QN_PANEL];
        for (size_t t = 0; t < b->rows; t += QN_PANEL) {
            const size_t rows = (size_t)qn_min_u64(QN_PANEL, b->rows - t);
            b->m->o.k->pack(b->x + t * b->columns + c0, b->columns, rows, n, turned);
            for (size_t c = 0; c < n; c++)
                memcpy(b->m->columns + (c0 + c) * b->stride + t, turned + c * QN_PANEL,
                       rows * sizeof *turned);
        }
    }
}

/* n columns from `first`, as gemm_tile wants them. */
static void fill_panel(const batch *b, size_t first, size_t n, float *panel)
{
    for (size_t t = 0; t < b->rows; t++, panel += QN_PANEL) {
        memcpy(panel, b->x + t * b->columns + first, n * sizeof *panel);
        memset(panel + n, 0, (QN_PANEL - n) * sizeof *panel);
    }
}

/* Products of columns i .. i + m - 1 with those of a panel, on and above the diagonal. */
static void add_tile(const batch *b, const float *tile, size_t i, size_t m, size_t first, size_t n)
{
    for (size_t r = 0; r < m; r++, tile += QN_PANEL) {
        const size_t j = (size_t)qn_max_u64(first, i + r);
        if (j >= first + n) return;
        double *to = b->sums + qn_moments_at(b->columns, b->block, i + r, j);
        for (size_t c = j - first; c < n; c++) *to++ += (double)tile[c];
    }
}

/* Columns first..last of the block that begins at start, with all before them. */
static void add_columns(const batch *b, size_t start, size_t first, size_t last, float *panels)
{
    const qn_kernels *k = b->m->o.k;
    const size_t each = b->rows * QN_PANEL;
    float tile[QN_TILE_MAX * QN_PANEL];
    for (size_t p = first; p < last; p += QN_PANEL)
        fill_panel(b, p, (size_t)qn_min_u64(QN_PANEL, last - p),
                   panels + (p - first) / QN_PANEL * each);
    for (size_t i = start; i < last; i += QN_TILE_MAX) {
        const size_t m = (size_t)qn_min_u64(QN_TILE_MAX, last - i);
        for (size_t t = 0; t < b->rows; t += QN_MOMENT_ROWS) {
            const size_t chain = (size_t)qn_min_u64(QN_MOMENT_ROWS, b->rows - t);
            for (size_t p = first; p < last; p += QN_PANEL) {
                const size_t n = (size_t)qn_min_u64(QN_PANEL, last - p);
                if (i >= p + n) continue;
                k->gemm_tile(b->m->columns + i * b->stride + t, b->stride, m,
                             panels + (p - first) / QN_PANEL * each + t * QN_PANEL, chain, tile,
                             QN_PANEL, false);
                add_tile(b, tile, i, m, p, n);
            }
        }
    }
}

/* Chains of rows from x on: whole ones but perhaps the last, up to MOST_ROWS. */
static void add_rows(const qn_moment_sums *m, const qn_moments_input *in, const float *x,
                     size_t rows, double *sums)
{
    const size_t columns = (size_t)in->columns;
    const batch b = {.m = m,
                     .x = x,
                     .rows = rows,
                     .columns = columns,
                     .block = (size_t)qn_moments_block(columns, m->o.block),
                     .sums = sums,
                     .stride = rows + PAD};
    const size_t width = PANELS * QN_PANEL, sets = (b.block + width - 1) / width;
    const size_t tasks = (columns + b.block - 1) / b.block * sets;
    turn(&b);
    /* The last columns of a block have most before them: they come first. */
#pragma omp parallel for schedule(dynamic) num_threads(m->o.threads)
    for (size_t t = 0; t < tasks; t++) {
        const size_t task = tasks - 1 - t, start = task / sets * b.block;
        const size_t end = (size_t)qn_min_u64(start + b.block, columns);
        const size_t first = start + task % sets * width;
        if (first < end)
            add_columns(&b, start, first, (size_t)qn_min_u64(first + width, end),
                        m->panels[omp_get_thread_num()]);
    }
}

static qn_status make_pending(const qn_moments_input *in, matrix *x, qn_error *err)
{
    if (!x->pending)
        x->pending = qn_alloc(QN_MOMENT_ROWS * (size_t)in->columns, sizeof *x->pending);
    return x->pending ? QN_OK : qn_fail_memory(err, in->tensors[0]);
}

static qn_status begin(const qn_moment_sums *m, size_t input, uint64_t number, matrix *x,
                       qn_error *err)
{
    const qn_moments_input *in = &m->inputs->inputs[input];
    if (x->sums) return QN_OK;
    x->sums = qn_alloc((size_t)qn_moments_length(in->columns, m->o.block), sizeof *x->sums);
    if (!x->sums) return qn_fail_memory(err, in->tensors[0]);
    if (!m->o.ends.start) return QN_OK;
    qn_status status = make_pending(in, x, err);
    if (!status)
        status =
            m->o.ends.start(m->o.ends.ctx, input, number, x->sums, x->pending, &x->n_pending, err);
    return status;
}

/* Takes as many of the rows as make one step of it; *taken of them. */
static qn_status take(const qn_moment_sums *m, const qn_moments_input *in, matrix *x,
                      const float *rows, size_t n, size_t *taken, qn_error *err)
{
    const size_t columns = (size_t)in->columns;
    if (!x->n_pending && n >= QN_MOMENT_ROWS) {
        *taken = (size_t)qn_min_u64(n / QN_MOMENT_ROWS, CHAINS) * QN_MOMENT_ROWS;
        add_rows(m, in, rows, *taken, x->sums);
        return QN_OK;
    }
    const qn_status status = make_pending(in, x, err);
    if (status) return status;
    *taken = (size_t)qn_min_u64(n, QN_MOMENT_ROWS - x->n_pending);
    memcpy(x->pending + x->n_pending * columns, rows, *taken * columns * sizeof *rows);
    x->n_pending += *taken;
    if (x->n_pending == QN_MOMENT_ROWS) {
        add_rows(m, in, x->pending, QN_MOMENT_ROWS, x->sums);
        x->n_pending = 0;
    }
    return QN_OK;
}

/* ---- seeing, and the end ------------------------------------------------------------------- */

static qn_status hand_over(const qn_moment_sums *m, size_t input, uint64_t number, bool unfinished,
                           qn_error *err)
{
    matrix *x = &m->of[input][number];
    const qn_status status = m->o.ends.start ? begin(m, input, number, x, err) : QN_OK;
    if (status) return status;
    if (x->n_pending && !unfinished) {
        add_rows(m, &m->inputs->inputs[input], x->pending, x->n_pending, x->sums);
        x->n_pending = 0;
    }
    return m->o.ends.done(m->o.ends.ctx, input, number, x->sums, x->pending, x->n_pending, err);
}

qn_status qn_moment_sums_store(qn_moment_sums *m, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t input = 0; input < m->inputs->n && !status; input++)
        for (uint64_t i = 0; i < m->inputs->inputs[input].matrices && !status; i++)
            status = hand_over(m, input, i, true, err);
    return status;
}

static qn_status finish_matrix(qn_moment_sums *m, size_t input, uint64_t number, qn_error *err)
{
    const qn_status status = hand_over(m, input, number, m->o.unfinished, err);
    drop(&m->of[input][number]);
    return status;
}

/* Of the layers before that one. */
static qn_status finish_before(qn_moment_sums *m, uint64_t layer, qn_error *err)
{
    qn_status status = QN_OK;
    for (; m->next < m->inputs->n && m->inputs->layers[m->next] < layer && !status; m->next++)
        for (uint64_t i = 0; i < m->inputs->inputs[m->next].matrices && !status; i++)
            status = finish_matrix(m, m->next, i, err);
    return status;
}

qn_status qn_moment_sums_finish(qn_moment_sums *m, qn_error *err)
{
    return finish_before(m, UINT64_MAX, err);
}

qn_status qn_moment_sums_see(void *moment_sums, const qn_linear_input *in, qn_error *err)
{
    qn_moment_sums *m = moment_sums;
    const size_t input = qn_linear_inputs_named(m->inputs, in->tensor);
    if (input == SIZE_MAX) return QN_OK;
    matrix *x = &m->of[input][in->matrix];
    qn_status status = m->o.by_layers ? finish_before(m, m->inputs->layers[input], err) : QN_OK;
    if (!status) status = begin(m, input, in->matrix, x, err);
    for (size_t t = 0, taken = 0; t < in->rows && !status; t += taken)
        status = take(m, &m->inputs->inputs[input], x, in->x + t * in->columns, in->rows - t,
                      &taken, err);
    return status;
}
