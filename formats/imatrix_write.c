#include "formats/imatrix_write.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/outfile.h"
#include "formats/base/sizes.h"
#include "formats/writer.h"

/* Moments are written in pieces of so many values. */
enum { PIECE = 1 << 16 };

/* Writing one file. */
struct qn_imatrix_writer {
    const qn_imatrix_contents *c;
    const qn_imatrix_sums **sorted;
    const char *path;
    qn_metadata *keys;
    qn_writer *writer;
    float *floats; /* of the widest entry, or of a piece */
    double *doubles;
};

typedef qn_imatrix_writer job;

static int by_name(const void *a, const void *b)
{
    const qn_imatrix_sums *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static qn_status start(job *j, qn_error *err)
{
    uint64_t most = PIECE;
    for (size_t i = 0; i < j->c->n_entries; i++) {
        const uint64_t n = j->c->entries[i].columns * j->c->entries[i].matrices;
        if (n > most) most = n;
    }
    j->sorted = qn_alloc(j->c->n_entries, sizeof(const qn_imatrix_sums *));
    j->floats = qn_alloc((size_t)most, sizeof *j->floats);
    j->doubles = qn_alloc((size_t)most, sizeof *j->doubles);
    if (!j->sorted || !j->floats || !j->doubles) return qn_fail_memory(err, j->path);
    for (size_t i = 0; i < j->c->n_entries; i++) j->sorted[i] = &j->c->entries[i];
    qsort(j->sorted, j->c->n_entries, sizeof(const qn_imatrix_sums *), by_name);
    return QN_OK;
}

static void finish(job *j)
{
    qn_free(j->sorted);
    qn_free(j->floats);
    qn_free(j->doubles);
    qn_metadata_free(j->keys);
}

static qn_status check(const job *j, const qn_imatrix_sums *e, qn_error *err)
{
    for (uint64_t i = 0; i < e->columns * e->matrices; i++)
        if (!(e->sums[i] <= (double)FLT_MAX))
            return qn_fail(err, QN_ERR_DATA, "%s: %s: the sum of squares of column %llu is %g",
                           j->path, e->name, (unsigned long long)(i % e->columns), e->sums[i]);
    return QN_OK;
}

/* ---- GGUF ------------------------------------------------------------------------------ */

/* Which tensor has which input. */
static qn_status name_inputs(const qn_imatrix_contents *c, qn_metadata *m, qn_error *err)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < c->n_inputs; i++) n += c->inputs[i].n_tensors;
    qn_str *tensors = qn_alloc(n, sizeof *tensors), *inputs = qn_alloc(n, sizeof *inputs);
    qn_status status = tensors && inputs ? QN_OK : qn_fail_memory(err, QN_MOMENTS_TENSORS_KEY);
    for (size_t i = 0; i < c->n_inputs && !status; i++)
        for (size_t t = 0; t < c->inputs[i].n_tensors; t++, at++) {
            tensors[at] = qn_str_z(c->inputs[i].tensors[t]);
            inputs[at] = qn_str_z(c->inputs[i].tensors[0]);
        }
    if (!status) status = qn_metadata_set_u32(m, QN_MOMENTS_BLOCK_KEY, (uint32_t)c->block, err);
    if (!status) status = qn_metadata_set_strs(m, QN_MOMENTS_TENSORS_KEY, tensors, n, err);
    if (!status) status = qn_metadata_set_strs(m, QN_MOMENTS_INPUTS_KEY, inputs, n, err);
    qn_free(tensors);
    qn_free(inputs);
    return status;
}

static qn_status make_keys(const qn_imatrix_contents *c, qn_metadata *m, qn_error *err)
{
    qn_status status;
    if ((status = qn_metadata_set_str(m, "general.type", qn_str_z("imatrix"), err)) ||
        (status = qn_metadata_set_strs(m, "imatrix.datasets", c->datasets, c->n_datasets, err)) ||
        (status = qn_metadata_set_u32(m, "imatrix.chunk_count", (uint32_t)c->chunk_count, err)) ||
        (status = qn_metadata_set_u32(m, "imatrix.chunk_size", (uint32_t)c->chunk_size, err)) ||
        (c->n_inputs && (status = name_inputs(c, m, err))))
        return status;
    for (size_t i = 0; c->unfinished && i < qn_metadata_count(c->unfinished) && !status; i++)
        status = qn_metadata_add_view(m, qn_metadata_at(c->unfinished, i), err);
    return status;
}

/* Of one matrix as ggml does: without the dimension of 1. */
static qn_status declare(const job *j, const char *tensor, const char *what, qn_dtype dtype,
                         uint64_t matrices, uint64_t columns, qn_error *err)
{
    const uint64_t dims[] = {matrices, columns};
    const unsigned rank = matrices > 1 ? 2 : 1;
    qn_text name = {0};
    qn_text_addf(&name, "%s%s", tensor, what);
    const qn_status status =
        name.failed ? qn_fail_memory(err, j->path)
                    : qn_writer_declare(j->writer, name.s, dtype, rank, dims + 2 - rank, err);
    qn_text_free(&name);
    return status;
}

static qn_status declare_entry(const job *j, const qn_imatrix_sums *e, qn_error *err)
{
    const uint64_t n = e->columns, m = e->matrices;
    qn_status status;
    if ((status = declare(j, e->name, ".in_sum2", QN_F32, m, n, err)) ||
        (status = declare(j, e->name, ".counts", QN_F32, m, 1, err)) || !j->c->unfinished ||
        (status = declare(j, e->name, ".sums", QN_F64, m, n, err)))
        return status;
    return declare(j, e->name, ".rows", QN_F64, m, 1, err);
}

static qn_status declare_input(const job *j, const qn_moments_input *i, qn_error *err)
{
    const uint64_t n = qn_moments_length(i->columns, j->c->block);
    if (!n)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %s: second moments of %llu columns", j->path,
                       i->tensors[0], (unsigned long long)i->columns);
    const qn_status status = declare(j, i->tensors[0], QN_MOMENTS_SUFFIX,
                                     j->c->unfinished ? QN_F64 : QN_F32, i->matrices, n, err);
    if (status || !j->c->unfinished) return status;
    return declare(j, i->tensors[0], QN_MOMENTS_REST_SUFFIX, QN_F32, i->matrices,
                   qn_moments_rest_length(i->columns), err);
}

static qn_status declare_all(const job *j, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < j->c->n_entries && !status; i++)
        status = declare_entry(j, j->sorted[i], err);
    for (size_t i = 0; i < j->c->n_inputs && !status; i++)
        status = declare_input(j, &j->c->inputs[i], err);
    return status;
}

/* Tensors of an entry. */
static size_t per_entry(const job *j)
{
    return j->c->unfinished ? 4 : 2;
}

/* Tensors of an input. */
static size_t per_input(const job *j)
{
    return j->c->unfinished ? 2 : 1;
}

/* Tensors number at.. of the file are this entry's. */
static qn_status put(const job *j, const qn_imatrix_sums *e, size_t at, qn_error *err)
{
    const uint64_t n = e->columns * e->matrices, m = e->matrices;
    qn_status status = check(j, e, err);
    if (status) return status;
    for (uint64_t i = 0; i < n; i++) j->floats[i] = (float)e->sums[i];
    status = qn_writer_put(j->writer, at, 0, j->floats, n * sizeof *j->floats, err);
    if (status) return status;
    for (uint64_t i = 0; i < m; i++) j->floats[i] = (float)e->counts[i];
    status = qn_writer_put(j->writer, at + 1, 0, j->floats, m * sizeof *j->floats, err);
    if (status || !j->c->unfinished) return status;
    status = qn_writer_put(j->writer, at + 2, 0, e->sums, n * sizeof *e->sums, err);
    if (status) return status;
    for (uint64_t i = 0; i < m; i++) j->doubles[i] = (double)e->counts[i];
    return qn_writer_put(j->writer, at + 3, 0, j->doubles, m * sizeof *j->doubles, err);
}

qn_status qn_imatrix_begin(qn_imatrix_writer **out, const qn_imatrix_contents *c, const char *path,
                           bool force, qn_error *err)
{
    uint64_t bytes;
    job *j = qn_alloc(1, sizeof *j);
    if (!j) return qn_fail_memory(err, path);
    j->c = c;
    j->path = path;
    j->keys = qn_metadata_new();
    qn_status status = j->keys ? start(j, err) : qn_fail_memory(err, path);
    if (!status) status = make_keys(c, j->keys, err);
    if (!status)
        status = qn_writer_create(&j->writer, &qn_format_gguf, path, force, j->keys, 0, err);
    if (!status) status = declare_all(j, err);
    if (!status) status = qn_writer_plan(j->writer, &bytes, err);
    if (!status) status = qn_writer_begin(j->writer, err);
    if (status)
        qn_imatrix_abandon(j);
    else
        *out = j;
    return status;
}

/* n values into the piece as float32. */
static qn_status round_piece(const job *j, size_t input, const double *sums, size_t n,
                             qn_error *err)
{
    for (size_t i = 0; i < n; i++) {
        j->floats[i] = sums ? (float)sums[i] : 0.0F;
        if (!isfinite(j->floats[i]))
            return qn_fail(err, QN_ERR_DATA, "%s: %s: a second moment is %g, beyond float32",
                           j->path, j->c->inputs[input].tensors[0], sums[i]);
    }
    return QN_OK;
}

static qn_status put_zeros(const job *j, size_t tensor, uint64_t from, uint64_t to, qn_error *err)
{
    const uint64_t most = PIECE * sizeof *j->floats;
    qn_status status = QN_OK;
    memset(j->floats, 0, most);
    for (uint64_t at = from; at < to && !status; at += most)
        status =
            qn_writer_put(j->writer, tensor, at, j->floats, (size_t)qn_min_u64(most, to - at), err);
    return status;
}

/* How many, the rows, and zeros behind them. */
static qn_status put_rest(const job *j, size_t input, size_t tensor, uint64_t matrix,
                          const float *rest, size_t n_rest, qn_error *err)
{
    const uint64_t columns = j->c->inputs[input].columns;
    const uint64_t each = qn_moments_rest_length(columns) * sizeof(float), at = matrix * each;
    const uint64_t bytes = n_rest * columns * sizeof *rest;
    const float rows = (float)n_rest;
    qn_status status = qn_writer_put(j->writer, tensor, at, &rows, sizeof rows, err);
    if (!status && n_rest)
        status = qn_writer_put(j->writer, tensor, at + sizeof rows, rest, bytes, err);
    return status ? status : put_zeros(j, tensor, at + sizeof rows + bytes, at + each, err);
}

qn_status qn_imatrix_put_moments(qn_imatrix_writer *j, size_t input, uint64_t matrix,
                                 const double *sums, const float *rest, size_t n_rest,
                                 qn_error *err)
{
    const uint64_t n = qn_moments_length(j->c->inputs[input].columns, j->c->block);
    const size_t tensor = j->c->n_entries * per_entry(j) + input * per_input(j);
    const bool rounded = !j->c->unfinished;
    const size_t width = rounded ? sizeof(float) : sizeof(double);
    qn_status status = rounded ? QN_OK : put_rest(j, input, tensor + 1, matrix, rest, n_rest, err);
    if (!sums) memset(j->doubles, 0, PIECE * sizeof *j->doubles);
    for (uint64_t at = 0; at < n && !status; at += PIECE) {
        const size_t piece = (size_t)qn_min_u64(PIECE, n - at);
        const double *from = sums ? sums + at : j->doubles;
        status = round_piece(j, input, from, piece, err);
        if (!status)
            status = qn_writer_put(j->writer, tensor, (matrix * n + at) * width,
                                   rounded ? (const void *)j->floats : from, piece * width, err);
    }
    return status;
}

void qn_imatrix_abandon(qn_imatrix_writer *j)
{
    if (!j) return;
    qn_writer_abandon(j->writer);
    finish(j);
    qn_free(j);
}

qn_status qn_imatrix_commit(qn_imatrix_writer *j, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < j->c->n_entries && !status; i++)
        status = put(j, j->sorted[i], i * per_entry(j), err);
    if (!status) {
        status = qn_writer_commit(j->writer, err);
        j->writer = NULL;
    }
    qn_imatrix_abandon(j);
    return status;
}

static qn_status write_gguf(const qn_imatrix_contents *c, const char *path, bool force,
                            qn_error *err)
{
    qn_imatrix_writer *w = NULL;
    const qn_status status = qn_imatrix_begin(&w, c, path, force, err);
    return status ? status : qn_imatrix_commit(w, err);
}

/* ---- legacy ---------------------------------------------------------------------------- */

static uint64_t most_rows(const qn_imatrix_sums *e)
{
    uint64_t most = 0;
    for (uint64_t i = 0; i < e->matrices; i++)
        if (e->counts[i] > most) most = e->counts[i];
    return most;
}

static void add_i32(qn_text *t, uint64_t v)
{
    const int32_t stored = (int32_t)v;
    qn_text_add(t, (const char *)&stored, sizeof stored);
}

/* (sum / count) * calls in float32, as llama-imatrix does; 1 for what no row
 * reached. */
static void add_entry(const job *j, const qn_imatrix_sums *e, qn_text *t)
{
    const uint64_t n = e->columns * e->matrices;
    const uint64_t calls = (most_rows(e) + j->c->chunk_size - 1) / j->c->chunk_size;
    add_i32(t, strlen(e->name));
    qn_text_adds(t, e->name);
    add_i32(t, calls);
    add_i32(t, n);
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t count = e->counts[i / e->columns];
        const float mean = count ? (float)e->sums[i] / (float)count : 1.0F;
        j->floats[i] = mean * (float)calls;
    }
    qn_text_add(t, (const char *)j->floats, n * sizeof *j->floats);
}

static qn_status write_legacy(const job *j, bool force, qn_error *err)
{
    qn_text t = {0};
    qn_status status = QN_OK;
    uint64_t stored = 0;
    for (size_t i = 0; i < j->c->n_entries; i++) stored += most_rows(j->sorted[i]) > 0;
    add_i32(&t, stored);
    for (size_t i = 0; i < j->c->n_entries && !status; i++) {
        const qn_imatrix_sums *e = j->sorted[i];
        if (e->columns * e->matrices > INT32_MAX)
            status =
                qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %s: %llu values, the form holds %d", j->path,
                        e->name, (unsigned long long)(e->columns * e->matrices), INT32_MAX);
        if (!status) status = check(j, e, err);
        if (!status && most_rows(e)) add_entry(j, e, &t);
    }
    const qn_str text = j->c->n_datasets ? j->c->datasets[j->c->n_datasets - 1] : qn_str_z("");
    add_i32(&t, j->c->chunk_count);
    add_i32(&t, text.n);
    qn_text_add(&t, text.s, text.n);
    if (!status && t.failed) status = qn_fail_memory(err, j->path);
    if (!status) status = qn_outfile_whole(j->path, t.s, t.n, force, err);
    qn_text_free(&t);
    return status;
}

qn_status qn_imatrix_write(const qn_imatrix_contents *c, const char *path, bool legacy, bool force,
                           qn_error *err)
{
    if (!legacy) return write_gguf(c, path, force, err);
    job j = {.c = c, .path = path};
    qn_status status = start(&j, err);
    if (!status) status = write_legacy(&j, force, err);
    finish(&j);
    return status;
}
