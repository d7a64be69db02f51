#include "quant/span.h"

#include "formats/base/sizes.h"

#include <math.h>
#include <string.h>

typedef unsigned long long ull;

/* A span under way. */
typedef struct {
    const qn_span_context *c;
    const qn_span_buffers *b;
    const qn_plan_entry *e;
    size_t entry;
    uint64_t columns, row_bytes;
    uint64_t batch;       /* rows at a time */
    uint64_t matrix_rows; /* that share their weights; 0 without importance */
    uint64_t matrix;      /* whose weights are in the buffer */
} span;

static bool is_blocks(qn_dtype t)
{
    return qn_dtype_facts(t)->block_len > 1;
}

static const char *value_text(float v)
{
    return isnan(v) ? "NaN" : v > 0 ? "infinity" : "-infinity";
}

static uint64_t first_not_finite(const float *values, uint64_t n)
{
    uint64_t i = 0;
    while (i < n && isfinite(values[i])) i++;
    return i;
}

/* The values of rows r.. as they were read. */
static qn_status check_values(const span *s, uint64_t r, uint64_t rows, uint64_t *at, qn_error *err)
{
    const uint64_t n = rows * s->columns;
    const bool cannot_hold = is_blocks(s->e->dtype);
    if (s->c->allow_nan && !cannot_hold) return QN_OK;
    if (s->c->kernels->finite(s->b->values, (size_t)n)) return QN_OK;
    const uint64_t i = first_not_finite(s->b->values, n);
    *at = r + i / s->columns;
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": row %llu, column %llu is %s%s%s",
                   s->c->plan->model->path, s->e->tensor->name, (ull)*at, (ull)(i % s->columns),
                   value_text(s->b->values[i]),
                   cannot_hold ? ", which no block can hold: " : " (--allow-nan writes it anyway)",
                   cannot_hold ? qn_dtype_facts(s->e->dtype)->name : "");
}

/* The values of rows r.. as they can be read from what was encoded. */
static qn_status check_encoded(const span *s, uint64_t r, uint64_t rows, uint64_t *at,
                               qn_error *err)
{
    const uint64_t n = rows * s->columns;
    const qn_dtype_info *to = qn_dtype_facts(s->e->dtype);
    if (s->c->allow_nan && !is_blocks(s->e->dtype)) return QN_OK;
    if (s->c->kernels->finite(s->b->back, (size_t)n)) return QN_OK;
    const uint64_t i = first_not_finite(s->b->back, n), column = i % s->columns;
    *at = r + i / s->columns;
    if (!is_blocks(s->e->dtype))
        return qn_fail(err, QN_ERR_DATA,
                       "%s: \"%s\": row %llu, column %llu: %g is beyond the range of %s "
                       "(BF16 and F32 reach further)",
                       s->c->plan->model->path, s->e->tensor->name, (ull)*at, (ull)column,
                       (double)s->b->values[i], to->name);
    const uint64_t first = column / to->block_len * to->block_len;
    const float *block = s->b->values + (i - column + first);
    float largest = 0;
    for (unsigned j = 0; j < to->block_len; j++)
        if (fabsf(block[j]) > largest) largest = fabsf(block[j]);
    return qn_fail(
        err, QN_ERR_DATA,
        "%s: \"%s\": row %llu, columns %llu to %llu: values up to %g need a scale beyond "
        "half precision, which is what %s stores",
        s->c->plan->model->path, s->e->tensor->name, (ull)*at, (ull)first,
        (ull)(first + to->block_len - 1), (double)largest, to->name);
}

/* In eight lanes, because one chain of additions would take longer than the
 * quantizer does. */
static double squared_error(const float *a, const float *b, uint64_t n)
{
    enum { LANES = 8 };
    double lane[LANES] = {0};
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (unsigned j = 0; j < LANES; j++) {
            const double d = (double)a[i + j] - (double)b[i + j];
            lane[j] += d * d;
        }
    for (; i < n; i++) {
        const double d = (double)a[i] - (double)b[i];
        lane[i % LANES] += d * d;
    }
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static qn_status put(const span *s, uint64_t r, const void *bytes, uint64_t n, qn_error *err)
{
    return qn_writer_put(s->c->writer, s->entry, r * s->row_bytes, bytes, n, err);
}

/* ---- taking rows as they are ----------------------------------------------------- */

/* Floats can hold a NaN; a quantized tensor was looked at when it was made. */
static qn_status scan_copied(const span *s, uint64_t r0, uint64_t r1, uint64_t *at, qn_error *err)
{
    const qn_rows *rows = s->e->tensor->rows;
    if (s->c->allow_nan || is_blocks(rows->dtype) || !qn_dtype_facts(rows->dtype)->is_float)
        return QN_OK;
    for (uint64_t r = r0; r < r1; r += s->batch) {
        const uint64_t end = qn_min_u64(r + s->batch, r1);
        qn_status status = rows->decode(rows, s->c->kernels, r, end, s->b->values, err);
        *at = r;
        if (status || (status = check_values(s, r, end - r, at, err))) return status;
    }
    return QN_OK;
}

/* How many rows from r on lie one behind the other. */
static uint64_t adjoining(const span *s, uint64_t r, uint64_t r1)
{
    const qn_rows *rows = s->e->tensor->rows;
    const uint8_t *first = rows->raw(rows, r);
    uint64_t n = 1;
    while (r + n < r1 && (const uint8_t *)rows->raw(rows, r + n) == first + n * s->row_bytes) n++;
    return n;
}

static qn_status copy_rows(const span *s, uint64_t r0, uint64_t r1, uint64_t *at, qn_error *err)
{
    const qn_rows *rows = s->e->tensor->rows;
    qn_status status = scan_copied(s, r0, r1, at, err);
    if (status) return status;
    *at = r0;
    if (adjoining(s, r0, r1) == r1 - r0)
        return put(s, r0, rows->raw(rows, r0), (r1 - r0) * s->row_bytes, err);
    const uint64_t step = s->b->n_out / s->row_bytes;
    for (uint64_t r = r0; r < r1; r += step) {
        const uint64_t end = qn_min_u64(r + step, r1);
        for (uint64_t i = r; i < end; i++)
            memcpy(s->b->out + (i - r) * s->row_bytes, rows->raw(rows, i), (size_t)s->row_bytes);
        *at = r;
        if ((status = put(s, r, s->b->out, (end - r) * s->row_bytes, err))) return status;
    }
    return QN_OK;
}

/* ---- encoding -------------------------------------------------------------------- */

/* The weights for row r, or NULL. */
static const float *weights_for(span *s, uint64_t r)
{
    if (!s->matrix_rows) return NULL;
    const uint64_t matrix = r / s->matrix_rows;
    if (matrix != s->matrix)
        qn_importance_weights(s->e->importance, matrix * s->columns, s->columns, s->b->weights);
    s->matrix = matrix;
    return s->b->weights;
}

static qn_status encode_batch(span *s, uint64_t r0, uint64_t r1, uint8_t *out, double *squares,
                              uint64_t *at, qn_error *err)
{
    const qn_rows *rows = s->e->tensor->rows;
    const qn_kernels *k = s->c->kernels;
    const qn_dtype to = s->e->dtype;
    qn_status status = rows->decode(rows, k, r0, r1, s->b->values, err);
    *at = r0;
    if (status || (status = check_values(s, r0, r1 - r0, at, err))) return status;
    for (uint64_t i = 0; i < r1 - r0; i++)
        k->encode[to](s->b->values + i * s->columns, weights_for(s, r0 + i), out + i * s->row_bytes,
                      (size_t)s->columns);
    if (to == QN_F32) return QN_OK;
    k->decode[to](out, s->b->back, (size_t)((r1 - r0) * s->columns));
    if ((status = check_encoded(s, r0, r1 - r0, at, err))) return status;
    for (uint64_t i = 0; s->c->measure && i < r1 - r0; i++)
        *squares +=
            squared_error(s->b->values + i * s->columns, s->b->back + i * s->columns, s->columns);
    return QN_OK;
}

static qn_status encode_rows(span *s, uint64_t r0, uint64_t r1, double *squares, uint64_t *at,
                             qn_error *err)
{
    const uint64_t fit = s->b->n_out / s->row_bytes;
    for (uint64_t first = r0, last; first < r1; first = last) {
        qn_status status;
        last = qn_min_u64(first + fit, r1);
        for (uint64_t r = first, end; r < last; r = end) {
            end = qn_min_u64(r + s->batch, last);
            uint8_t *out = s->b->out + (r - first) * s->row_bytes;
            if ((status = encode_batch(s, r, end, out, squares, at, err))) return status;
        }
        *at = first;
        if ((status = put(s, first, s->b->out, (last - first) * s->row_bytes, err))) return status;
    }
    return QN_OK;
}

qn_status qn_span_run(const qn_span_context *c, const qn_span_buffers *b, size_t entry, uint64_t r0,
                      uint64_t r1, double *squares, uint64_t *at, qn_error *err)
{
    const qn_plan_entry *e = &c->plan->entries[entry];
    const qn_rows *rows = e->tensor->rows;
    span s = {.c = c, .b = b, .e = e, .entry = entry, .columns = rows->columns};
    *squares = 0;
    *at = r0;
    if (!qn_dtype_row_bytes(e->dtype, s.columns, &s.row_bytes))
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: \"%s\": %llu columns are not whole blocks of %s",
                       c->plan->model->path, e->tensor->name, (ull)s.columns,
                       qn_dtype_facts(e->dtype)->name);
    if (r0 == r1 || !s.row_bytes) return QN_OK;
    s.batch = b->n_values / s.columns;
    s.matrix = UINT64_MAX;
    if (e->importance) s.matrix_rows = rows->rows / (e->importance->n_values / s.columns);
    qn_status status =
        e->copy ? copy_rows(&s, r0, r1, at, err) : encode_rows(&s, r0, r1, squares, at, err);
    if (!status) rows->done(rows, r0, r1);
    return status;
}
