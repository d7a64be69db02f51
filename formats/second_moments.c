#include "formats/second_moments.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/sizes.h"

typedef unsigned long long ull;

/* ---- where values stand -------------------------------------------------------------------- */

static uint64_t triangle(uint64_t n)
{
    return n * (n + 1) / 2;
}

uint64_t qn_moments_block(uint64_t columns, uint64_t block)
{
    return block ? qn_min_u64(block, columns) : columns;
}

uint64_t qn_moments_length(uint64_t columns, uint64_t block)
{
    if (!columns || columns > INT32_MAX) return 0;
    const uint64_t each = qn_moments_block(columns, block);
    return columns / each * triangle(each) + triangle(columns % each);
}

uint64_t qn_moments_rest_length(uint64_t columns)
{
    return 1 + (QN_MOMENTS_CHAIN - 1) * columns;
}

uint64_t qn_moments_at(uint64_t columns, uint64_t block, uint64_t i, uint64_t j)
{
    const uint64_t each = qn_moments_block(columns, block), before = i / each * each;
    const uint64_t size = qn_min_u64(each, columns - before), row = i - before;
    return i / each * triangle(each) + triangle(size) - triangle(size - row) + (j - i);
}

/* ---- opening ------------------------------------------------------------------------------- */

typedef struct {
    qn_moments *m;
    const qn_imatrix *imatrix;
    qn_error *err;
} opening;

static qn_status find_array(const opening *o, const char *key, const qn_meta_value **out)
{
    *out = qn_metadata_find(o->imatrix->reader->metadata, key);
    if (*out && (*out)->type == QN_META_ARRAY && (*out)->element == QN_META_STRING) return QN_OK;
    return qn_fail(o->err, QN_ERR_DATA, "%s: %s %s", o->m->path, key,
                   *out ? "is not an array of strings" : "is missing");
}

/* The tensor's importance, of the shape that its input has. */
static qn_status check_tensor(const opening *o, const char *tensor, const qn_moments_entry *e)
{
    const qn_imatrix_entry *own = qn_imatrix_find(o->imatrix, tensor);
    if (!own)
        return qn_fail(o->err, QN_ERR_DATA,
                       "%s: second moments of %s, which has no sums of squares", o->m->path,
                       tensor);
    if (own->n_values != e->importance->n_values)
        return qn_fail(o->err, QN_ERR_DATA,
                       "%s: %s shares the second moments of %s: %llu columns, %llu", o->m->path,
                       tensor, e->importance->name, (ull)own->n_values,
                       (ull)e->importance->n_values);
    return QN_OK;
}

/* A tensor of the entry; NULL: there is none, or there is no memory (*status). */
static const qn_tensor *find_tensor(const opening *o, const char *name, const char *suffix,
                                    qn_status *status)
{
    qn_text stored = {0};
    qn_text_addf(&stored, "%s%s", name, suffix);
    if (stored.failed) *status = qn_fail_memory(o->err, o->m->path);
    const qn_tensor *t = stored.failed ? NULL : qn_reader_find(o->imatrix->reader, stored.s);
    qn_text_free(&stored);
    return t;
}

/* Only an unfinished file has one. */
static qn_status find_rest(const opening *o, const char *name, qn_moments_entry *e)
{
    qn_status status = QN_OK;
    const qn_tensor *t = find_tensor(o, name, QN_MOMENTS_REST_SUFFIX, &status);
    const uint64_t length = qn_moments_rest_length(e->input.columns);
    if (status || !t) return status;
    if (t->dtype != QN_F32 || qn_tensor_columns(t) != length ||
        qn_tensor_rows(t) != e->input.matrices)
        return qn_fail(o->err, QN_ERR_DATA, "%s: %s is %llu x %llu of %s, not %llu x %llu of F32",
                       o->m->path, t->name, (ull)qn_tensor_rows(t), (ull)qn_tensor_columns(t),
                       qn_dtype_facts(t->dtype)->name, (ull)e->input.matrices, (ull)length);
    e->rest = t->data;
    return QN_OK;
}

/* A new entry for the input of that name. */
static qn_status add_entry(const opening *o, const char *name)
{
    qn_moments *m = o->m;
    qn_status status = QN_OK;
    qn_moments_entry e = {.importance = qn_imatrix_find(o->imatrix, name)};
    if (!e.importance)
        return qn_fail(o->err, QN_ERR_DATA,
                       "%s: second moments of %s, which has no sums of squares", m->path, name);
    e.input.matrices = e.importance->n_counts;
    e.input.columns = e.importance->n_values / e.importance->n_counts;
    e.length = qn_moments_length(e.input.columns, m->block);
    const qn_tensor *t = find_tensor(o, name, QN_MOMENTS_SUFFIX, &status);
    if (status) return status;
    if (!t)
        return qn_fail(o->err, QN_ERR_DATA, "%s: tensor %s%s is missing", m->path, name,
                       QN_MOMENTS_SUFFIX);
    if (!e.length || (t->dtype != QN_F32 && t->dtype != QN_F64) ||
        qn_tensor_columns(t) != e.length || qn_tensor_rows(t) != e.input.matrices)
        return qn_fail(
            o->err, QN_ERR_DATA,
            "%s: %s is %llu x %llu of %s: %llu columns in blocks of %llu take %llu x %llu "
            "of F32",
            m->path, t->name, (ull)qn_tensor_rows(t), (ull)qn_tensor_columns(t),
            qn_dtype_facts(t->dtype)->name, (ull)e.input.columns,
            (ull)qn_moments_block(e.input.columns, m->block), (ull)e.input.matrices, (ull)e.length);
    e.dtype = t->dtype;
    e.values = t->data;
    if ((status = find_rest(o, name, &e))) return status;
    m->entries[m->n_entries++] = e;
    return QN_OK;
}

/* One more tensor with that input. */
static qn_status add_tensor(const opening *o, qn_str tensor, qn_str input)
{
    qn_moments *m = o->m;
    bool present = false;
    const char *const name = qn_arena_strndup(m->arena, tensor.s, tensor.n);
    if (!name) return qn_fail_memory(o->err, m->path);
    const uint32_t first = qn_names_find(m->by_tensor, input);
    if (first == UINT32_MAX && !qn_str_equal(tensor, input))
        return qn_fail(o->err, QN_ERR_DATA,
                       "%s: second moments of %s are those of %.*s, which has none", m->path, name,
                       (int)qn_min_u64(input.n, 63), input.s);
    qn_status status = first == UINT32_MAX ? add_entry(o, name) : QN_OK;
    if (status) return status;
    const size_t at = first == UINT32_MAX ? m->n_entries - 1 : first;
    qn_moments_input *of = &m->entries[at].input;
    if ((status = check_tensor(o, name, &m->entries[at]))) return status;
    const char **more = qn_resize(of->tensors, of->n_tensors + 1, sizeof(const char *));
    if (more) of->tensors = more;
    if (!more || qn_names_add(m->by_tensor, qn_str_z(name), (uint32_t)at, &present))
        return qn_fail_memory(o->err, m->path);
    if (present)
        return qn_fail(o->err, QN_ERR_DATA, "%s: second moments of %s are named twice", m->path,
                       name);
    of->tensors[of->n_tensors++] = name;
    return QN_OK;
}

static qn_status fill(const opening *o)
{
    const qn_meta_value *tensors, *inputs;
    qn_moments *m = o->m;
    qn_str tensor, input;
    qn_status status = qn_metadata_u64(o->imatrix->reader->metadata, QN_MOMENTS_BLOCK_KEY,
                                       &m->block, NULL, o->err);
    if (!status) status = find_array(o, QN_MOMENTS_TENSORS_KEY, &tensors);
    if (!status) status = find_array(o, QN_MOMENTS_INPUTS_KEY, &inputs);
    if (status) return status;
    if (tensors->count != inputs->count || !tensors->count)
        return qn_fail(o->err, QN_ERR_DATA, "%s: second moments of %llu tensors and %llu inputs",
                       m->path, (ull)tensors->count, (ull)inputs->count);
    m->entries = qn_alloc((size_t)tensors->count, sizeof *m->entries);
    m->by_tensor = qn_names_new(0);
    m->arena = qn_arena_new();
    if (!m->entries || !m->by_tensor || !m->arena) return qn_fail_memory(o->err, m->path);
    qn_str t = tensors->bytes, i = inputs->bytes;
    while (!status && qn_meta_next_string(&t, &tensor) && qn_meta_next_string(&i, &input))
        status = add_tensor(o, tensor, input);
    return status;
}

qn_status qn_moments_open(qn_moments **out, const qn_imatrix *imatrix, qn_error *err)
{
    *out = NULL;
    if (!imatrix->reader || !qn_metadata_find(imatrix->reader->metadata, QN_MOMENTS_TENSORS_KEY))
        return QN_OK;
    qn_moments *m = qn_alloc(1, sizeof *m);
    if (!m) return qn_fail_memory(err, imatrix->map.path);
    m->path = imatrix->map.path;
    const qn_status status = fill(&(opening){m, imatrix, err});
    if (status)
        qn_moments_close(m);
    else
        *out = m;
    return status;
}

void qn_moments_close(qn_moments *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->n_entries; i++) qn_free(m->entries[i].input.tensors);
    qn_free(m->entries);
    qn_names_free(m->by_tensor);
    qn_arena_free(m->arena);
    qn_free(m);
}

/* ---- reading ------------------------------------------------------------------------------- */

const qn_moments_entry *qn_moments_find(const qn_moments *m, const char *tensor)
{
    const uint32_t at = qn_names_find(m->by_tensor, qn_str_z(tensor));
    return at == UINT32_MAX ? NULL : &m->entries[at];
}

/* Value number i of a matrix as stored. */
static double value_of(const qn_moments_entry *e, uint64_t matrix, uint64_t i)
{
    const uint64_t at = matrix * e->length + i;
    float f;
    if (e->dtype == QN_F64) return qn_imatrix_exact(e->values, at);
    memcpy(&f, (const uint8_t *)e->values + at * sizeof f, sizeof f);
    return (double)f;
}

static qn_status take(const qn_moments *m, const qn_moments_entry *e, uint64_t matrix, uint64_t i,
                      uint64_t j, double *out, qn_error *err)
{
    *out = value_of(e, matrix, qn_moments_at(e->input.columns, m->block, i, j));
    if (isfinite(*out) && (i != j || *out >= 0.0)) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: %s%s: the value of columns %llu and %llu is %g", m->path,
                   e->input.tensors[0], QN_MOMENTS_SUFFIX, (ull)i, (ull)j, *out);
}

qn_status qn_moments_read(const qn_moments *m, const qn_moments_entry *e, uint64_t matrix,
                          uint64_t first, uint64_t n, float *out, qn_error *err)
{
    const uint64_t columns = e->input.columns, block = qn_moments_block(columns, m->block);
    double value;
    if (!n || first >= columns || n > columns - first || matrix >= e->input.matrices ||
        first / block != (first + n - 1) / block)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s: %s%s: columns %llu to %llu of matrix %llu are in no block of %llu",
                       m->path, e->input.tensors[0], QN_MOMENTS_SUFFIX, (ull)first,
                       (ull)(first + n), (ull)matrix, (ull)block);
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = i; j < n; j++) {
            const qn_status status = take(m, e, matrix, first + i, first + j, &value, err);
            if (status) return status;
            out[i * n + j] = out[j * n + i] = (float)value;
        }
    return QN_OK;
}

static float rest_value(const qn_moments_entry *e, uint64_t matrix, uint64_t i)
{
    float f;
    const uint64_t at = matrix * qn_moments_rest_length(e->input.columns) + i;
    memcpy(&f, (const uint8_t *)e->rest + at * sizeof f, sizeof f);
    return f;
}

/* Rows that are not in the sums, of one matrix, into rest or, where that is NULL, into the
 * sums. */
static qn_status take_rest(const qn_moments *m, const qn_moments_entry *e, uint64_t matrix,
                           double *sums, float *rest, size_t *n_rest, qn_error *err)
{
    const uint64_t columns = e->input.columns, block = qn_moments_block(columns, m->block);
    const float rows = e->rest ? rest_value(e, matrix, 0) : 0.0F;
    if (!(rows >= 0 && rows < QN_MOMENTS_CHAIN) || rows != floorf(rows))
        return qn_fail(err, QN_ERR_DATA, "%s: %s%s: %g rows, fewer than %d there can be", m->path,
                       e->input.tensors[0], QN_MOMENTS_REST_SUFFIX, (double)rows,
                       (int)QN_MOMENTS_CHAIN);
    const size_t n = (size_t)rows;
    for (uint64_t i = 0; i < n * columns; i++) {
        const float x = rest_value(e, matrix, 1 + i);
        if (!isfinite(x))
            return qn_fail(err, QN_ERR_DATA, "%s: %s%s: the value of row %llu, column %llu is %g",
                           m->path, e->input.tensors[0], QN_MOMENTS_REST_SUFFIX, (ull)(i / columns),
                           (ull)(i % columns), (double)x);
        if (rest) rest[i] = x;
    }
    if (rest) *n_rest = n;
    for (size_t t = 0; t < n && !rest; t++) {
        double *s = sums;
        for (uint64_t i = 0; i < columns; i++) {
            const double x = (double)rest_value(e, matrix, 1 + t * columns + i);
            const uint64_t end = qn_min_u64(i / block * block + block, columns);
            for (uint64_t j = i; j < end; j++)
                *s++ += x * (double)rest_value(e, matrix, 1 + t * columns + j);
        }
    }
    return QN_OK;
}

qn_status qn_moments_add(const qn_moments *m, const qn_moments_entry *e, uint64_t matrix,
                         double *sums, float *rest, size_t *n_rest, qn_error *err)
{
    const uint64_t columns = e->input.columns, block = qn_moments_block(columns, m->block);
    double value, *const all = sums;
    for (uint64_t i = 0; i < columns; i++) {
        const uint64_t end = qn_min_u64(i / block * block + block, columns);
        for (uint64_t j = i; j < end; j++) {
            const qn_status status = take(m, e, matrix, i, j, &value, err);
            if (status) return status;
            *sums++ += value;
        }
    }
    return take_rest(m, e, matrix, all, rest, n_rest, err);
}
