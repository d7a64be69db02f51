#include "validate/calibrate.h"

#include <float.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "validate/weights.h"

/* Columns a thread takes at a time: their sums stay in registers and the first
 * level of cache. */
enum { COLUMNS = 64 };
/* Below so many elements starting threads costs more than they save. */
enum { FEW = 1 << 14 };

typedef unsigned long long ull;

qn_status qn_calibration_new(qn_calibration **out, const qn_decoder *d, bool output, qn_error *err)
{
    qn_calibration *c = qn_alloc(1, sizeof *c);
    if (!c || !(c->by_name = qn_names_new(0)) || !(c->arena = qn_arena_new())) {
        qn_calibration_free(c);
        return qn_fail_memory(err, "the calibration");
    }
    if (d) {
        c->k = d->k;
        c->threads = d->threads;
        c->where = d->model->path;
    }
    c->output = output;
    *out = c;
    return QN_OK;
}

void qn_calibration_free(qn_calibration *c)
{
    if (!c) return;
    for (size_t i = 0; i < c->n; i++) {
        qn_free(c->entries[i].sums);
        qn_free(c->entries[i].counts);
    }
    qn_free(c->entries);
    qn_names_free(c->by_name);
    qn_arena_free(c->arena);
    qn_free(c);
}

/* ---- entries --------------------------------------------------------------------------- */

static qn_imatrix_sums *find(const qn_calibration *c, const char *name)
{
    const uint32_t at = qn_names_find(c->by_name, qn_str_z(name));
    return at == UINT32_MAX ? NULL : &c->entries[at];
}

static qn_status add_entry(qn_calibration *c, const char *name, uint64_t columns, uint64_t matrices,
                           qn_imatrix_sums **out, qn_error *err)
{
    uint64_t values;
    if (!c->entries || c->n == c->capacity) {
        const size_t capacity = qn_grow(c->capacity, c->n + 1);
        qn_imatrix_sums *more = qn_resize(c->entries, capacity, sizeof *more);
        if (!more) return qn_fail_memory(err, name);
        c->entries = more;
        c->capacity = capacity;
    }
    qn_imatrix_sums e = {.name = qn_arena_strndup(c->arena, name, strlen(name)),
                         .columns = columns,
                         .matrices = matrices};
    if (qn_mul_u64(columns, matrices, &values) && values <= SIZE_MAX) {
        e.sums = qn_alloc((size_t)values, sizeof *e.sums);
        e.counts = qn_alloc((size_t)matrices, sizeof *e.counts);
    }
    if (!e.name || !e.sums || !e.counts ||
        qn_names_add(c->by_name, qn_str_z(e.name), (uint32_t)c->n, NULL)) {
        qn_free(e.sums);
        qn_free(e.counts);
        return qn_fail_memory(err, name);
    }
    c->entries[c->n] = e;
    *out = &c->entries[c->n++];
    return QN_OK;
}

/* An entry of one count for all its experts, as the legacy form has them,
 * becomes one of a count for each. */
static qn_status part(qn_imatrix_sums *e, uint64_t matrices, qn_error *err)
{
    uint64_t *counts = qn_resize(e->counts, (size_t)matrices, sizeof *counts);
    if (!counts) return qn_fail_memory(err, e->name);
    for (uint64_t i = 1; i < matrices; i++) counts[i] = counts[0];
    e->counts = counts;
    e->matrices = matrices;
    e->columns /= matrices;
    return QN_OK;
}

/* The entry of a tensor, new or of this very size. */
static qn_status get_entry(qn_calibration *c, const char *name, uint64_t columns, uint64_t matrices,
                           qn_imatrix_sums **out, qn_error *err)
{
    qn_imatrix_sums *e = find(c, name);
    if (!e) return add_entry(c, name, columns, matrices, out, err);
    if (e->matrices == 1 && matrices > 1 && e->columns % matrices == 0) {
        const qn_status status = part(e, matrices, err);
        if (status) return status;
    }
    if (e->columns != columns || e->matrices != matrices)
        return qn_fail(err, QN_ERR_DATA, "%s: %llu x %llu sums where %llu x %llu were before", name,
                       (ull)matrices, (ull)columns, (ull)e->matrices, (ull)e->columns);
    *out = e;
    return QN_OK;
}

/* Of a file's entry; one count may be that of all matrices that were there before. */
static uint64_t matrices_of(const qn_calibration *c, const qn_imatrix_entry *from)
{
    const qn_imatrix_sums *e = find(c, from->name);
    const bool alike = e && from->n_counts == 1 && e->columns * e->matrices == from->n_values;
    return alike ? e->matrices : from->n_counts;
}

qn_status qn_calibration_add(qn_calibration *c, const qn_imatrix *m, uint64_t chunk_size,
                             qn_error *err)
{
    for (size_t i = 0; i < m->n_entries; i++) {
        const qn_imatrix_entry *from = &m->entries[i];
        const double rows = from->counts ? 1.0 : (double)chunk_size;
        const uint64_t matrices = matrices_of(c, from);
        qn_imatrix_sums *e;
        const qn_status status =
            get_entry(c, from->name, from->n_values / matrices, matrices, &e, err);
        if (status) return status;
        for (uint64_t j = 0; j < from->n_values; j++)
            e->sums[j] += from->sums ? qn_imatrix_exact(from->sums, j)
                                     : (double)qn_imatrix_value(from, j) * rows;
        for (uint64_t j = 0; j < e->matrices; j++) {
            const uint64_t value = j * e->columns;
            const uint64_t count = from->n_counts == 1 ? 0 : j;
            e->counts[j] += from->rows ? (uint64_t)qn_imatrix_exact(from->rows, count)
                                       : (uint64_t)qn_imatrix_count(from, value) * (uint64_t)rows;
        }
    }
    return QN_OK;
}

qn_status qn_calibration_expect(qn_calibration *c, const qn_linear_inputs *inputs, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < inputs->n; i++) {
        const qn_moments_input *in = &inputs->inputs[i];
        qn_imatrix_sums *e;
        for (size_t t = 0; t < in->n_tensors && !status; t++)
            status = get_entry(c, in->tensors[t], in->columns, in->matrices, &e, err);
    }
    return status;
}

uint64_t qn_calibration_chunks(const qn_calibration *c, uint64_t chunk_size)
{
    uint64_t most = 0;
    for (size_t i = 0; i < c->n; i++)
        for (uint64_t j = 0; j < c->entries[i].matrices; j++)
            most = qn_max_u64(most, c->entries[i].counts[j]);
    return most / chunk_size;
}

/* ---- seeing ------------------------------------------------------------------------------ */

static bool is_wanted(const qn_calibration *c, const char *tensor)
{
    return !strncmp(tensor, "blk.", 4) || (c->output && !strcmp(tensor, "output.weight"));
}

qn_status qn_calibration_see(void *calibration, const qn_linear_input *in, qn_error *err)
{
    qn_calibration *c = calibration;
    const size_t n = in->columns;
    qn_imatrix_sums *e;
    if (c->stopped && c->stopped()) return qn_fail(err, QN_ERR_CANCELLED, "cancelled");
    if (!is_wanted(c, in->tensor)) return QN_OK;
    const qn_status status = get_entry(c, in->tensor, n, in->matrices, &e, err);
    if (status) return status;
    double *sums = e->sums + in->matrix * n;
#pragma omp parallel for num_threads(c->threads) if (in->rows * n >= FEW)
    for (size_t j = 0; j < n; j += COLUMNS)
        c->k->add_squares(in->x + j, n, in->rows, sums + j, (size_t)qn_min_u64(COLUMNS, n - j));
    e->counts[in->matrix] += in->rows;
    for (size_t j = 0; j < n; j++)
        if (!(sums[j] <= DBL_MAX))
            return qn_fail(err, QN_ERR_DATA,
                           "%s: what \"%s\" is multiplied with is not finite in column %zu",
                           c->where, in->tensor, j);
    return c->moments ? qn_moment_sums_see(c->moments, in, err) : QN_OK;
}

/* ---- running ----------------------------------------------------------------------------- */

static qn_status run_plainly(qn_calibration *c, const qn_decoder *d, const qn_chunks *chunks,
                             qn_perplexity_fn progress, void *ctx, qn_error *err)
{
    qn_chunk_runner runner;
    qn_status status = qn_chunk_runner_new(&runner, chunks, d, err);
    runner.watch = qn_calibration_see;
    runner.watch_ctx = c;
    for (size_t i = 0; i < chunks->chunks && !status; i += chunks->batch) {
        const size_t n = (size_t)qn_min_u64(chunks->batch, chunks->chunks - i);
        status = qn_chunk_runner_run(&runner, i, n, err);
        if (!status && progress && !progress(ctx, i + n, chunks->chunks, 0.0))
            status = qn_fail(err, QN_ERR_CANCELLED, "cancelled after %zu of %zu chunks", i + n,
                             chunks->chunks);
    }
    qn_chunk_runner_free(&runner);
    return status;
}

qn_status qn_calibrate_run(qn_calibration *c, const qn_decoder *d, const qn_chunks *chunks,
                           bool perplexity, qn_perplexity_fn progress, void *ctx,
                           qn_perplexity_result *out, qn_error *err)
{
    if (!perplexity) {
        *out = (qn_perplexity_result){.chunks = chunks->chunks};
        return run_plainly(c, d, chunks, progress, ctx, err);
    }
    const qn_perplexity_options how = {.n_ctx = chunks->n_ctx,
                                       .chunks = chunks->chunks,
                                       .batch = chunks->batch,
                                       .watch = qn_calibration_see,
                                       .watch_ctx = c};
    return qn_perplexity_run(d, chunks->ids, chunks->chunks * chunks->n_ctx, chunks->bos,
                             chunks->replace_first, &how, progress, ctx, out, err);
}
