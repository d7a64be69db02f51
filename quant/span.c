#include "quant/span.h"

#include "formats/base/sizes.h"

#include <math.h>
#include <string.h>

typedef unsigned long long ull;

/* A span under way. */
typedef struct {
    const qn_span_context *c;
    const qn_span_buffers *b;
    const qn_rows *rows;
    const char *name; /* the tensor's */
    size_t entry;
    uint64_t columns;
    uint64_t batch;                   /* rows at a time */
    const qn_importance_entry *whose; /* whose weights are in the buffer, */
    uint64_t matrix;                  /* and of which matrix */
} span;

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

static const char *model_path(const span *s)
{
    return s->c->outputs[0].plan->model->path;
}

/* Whether the rows of an output may hold any value there is.  A quantized tensor
 * that is copied was looked at when it was made; integers have none. */
static bool takes_all(const span *s, const qn_span_target *t)
{
    const qn_dtype to = t->entry->dtype;
    if (t->entry->copy && (qn_dtype_is_blocks(to) || !qn_dtype_facts(to)->is_float)) return true;
    return s->c->allow_nan && !qn_dtype_is_blocks(to);
}

/* The values of rows r.. as they were read. */
static qn_status check_values(const span *s, const qn_span_target *t, uint64_t r, uint64_t rows,
                              uint64_t *at, qn_error *err)
{
    const uint64_t n = rows * s->columns;
    const bool cannot_hold = qn_dtype_is_blocks(t->entry->dtype);
    if (takes_all(s, t) || s->c->kernels->finite(s->b->values, (size_t)n)) return QN_OK;
    const uint64_t i = first_not_finite(s->b->values, n);
    *at = r + i / s->columns;
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": row %llu, column %llu is %s%s%s", model_path(s),
                   s->name, (ull)*at, (ull)(i % s->columns), value_text(s->b->values[i]),
                   cannot_hold ? ", which no block can hold: " : " (--allow-nan writes it anyway)",
                   cannot_hold ? qn_dtype_facts(t->entry->dtype)->name : "");
}

/* The values of rows r.. as they can be read from what was encoded. */
static qn_status check_encoded(const span *s, const qn_span_target *t, uint64_t r, uint64_t rows,
                               uint64_t *at, qn_error *err)
{
    const uint64_t n = rows * s->columns;
    const qn_dtype_info *to = qn_dtype_facts(t->entry->dtype);
    if (takes_all(s, t) || s->c->kernels->finite(s->b->back, (size_t)n)) return QN_OK;
    const uint64_t i = first_not_finite(s->b->back, n), column = i % s->columns;
    *at = r + i / s->columns;
    if (!qn_dtype_is_blocks(t->entry->dtype))
        return qn_fail(err, QN_ERR_DATA,
                       "%s: \"%s\": row %llu, column %llu: %g is beyond the range of %s "
                       "(BF16 and F32 reach further)",
                       model_path(s), s->name, (ull)*at, (ull)column, (double)s->b->values[i],
                       to->name);
    const uint64_t first = column / to->block_len * to->block_len;
    const float *block = s->b->values + (i - column + first);
    float largest = 0;
    for (unsigned j = 0; j < to->block_len; j++)
        if (fabsf(block[j]) > largest) largest = fabsf(block[j]);
    return qn_fail(err, QN_ERR_DATA,
                   "%s: \"%s\": row %llu, columns %llu to %llu: values up to %g need a scale "
                   "beyond half precision, which is what %s stores",
                   model_path(s), s->name, (ull)*at, (ull)first, (ull)(first + to->block_len - 1),
                   (double)largest, to->name);
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

static qn_status put(const span *s, const qn_span_target *t, uint64_t r, const void *bytes,
                     uint64_t rows, qn_error *err)
{
    qn_writer *w = s->c->outputs[t - s->b->targets].writer;
    return qn_writer_put(w, s->entry, r * t->row_bytes, bytes, rows * t->row_bytes, err);
}

/* ---- taking rows as they are ----------------------------------------------------- */

/* How many rows from r on lie one behind the other. */
static uint64_t adjoining(const span *s, uint64_t row_bytes, uint64_t r, uint64_t r1)
{
    const uint8_t *first = s->rows->raw(s->rows, r);
    uint64_t n = 1;
    while (r + n < r1 && (const uint8_t *)s->rows->raw(s->rows, r + n) == first + n * row_bytes)
        n++;
    return n;
}

static qn_status copy_rows(const span *s, const qn_span_target *t, uint64_t r0, uint64_t r1,
                           uint64_t *at, qn_error *err)
{
    qn_status status = QN_OK;
    *at = r0;
    const bool repack = t->entry->repack;
    if (!repack && adjoining(s, t->row_bytes, r0, r1) == r1 - r0)
        return put(s, t, r0, s->rows->raw(s->rows, r0), r1 - r0, err);
    const uint64_t step = s->b->n_out / t->row_bytes;
    for (uint64_t r = r0, end; r < r1 && !status; r = end) {
        end = qn_min_u64(r + step, r1);
        for (uint64_t i = r; i < end; i++) {
            uint8_t *out = s->b->out + (i - r) * t->row_bytes;
            if (repack)
                s->rows->repack(s->rows, i, out);
            else
                memcpy(out, s->rows->raw(s->rows, i), (size_t)t->row_bytes);
        }
        *at = r;
        status = put(s, t, r, s->b->out, end - r, err);
    }
    return status;
}

/* ---- encoding -------------------------------------------------------------------- */

/* The weights for row r, or NULL. */
static const float *weights_for(span *s, const qn_span_target *t, uint64_t r)
{
    const qn_importance_entry *whose = t->entry->importance;
    if (!t->matrix_rows) return NULL;
    const uint64_t matrix = r / t->matrix_rows;
    if (whose != s->whose || matrix != s->matrix)
        qn_importance_weights(whose, matrix * s->columns, s->columns, s->b->weights);
    s->whose = whose;
    s->matrix = matrix;
    return s->b->weights;
}

/* Rows r0..r1, which were decoded, to the same rows of out. */
static qn_status encode_batch(span *s, qn_span_target *t, uint64_t r0, uint64_t r1, uint8_t *out,
                              uint64_t *at, qn_error *err)
{
    const qn_kernels *k = s->c->kernels;
    const qn_dtype to = t->entry->dtype;
    for (uint64_t i = 0; i < r1 - r0; i++)
        k->encode[to](s->b->values + i * s->columns, weights_for(s, t, r0 + i),
                      out + i * t->row_bytes, (size_t)s->columns);
    if (to == QN_F32) return QN_OK;
    k->decode[to](out, s->b->back, (size_t)((r1 - r0) * s->columns));
    const qn_status status = check_encoded(s, t, r0, r1 - r0, at, err);
    for (uint64_t i = 0; !status && s->c->measure && i < r1 - r0; i++)
        t->squares +=
            squared_error(s->b->values + i * s->columns, s->b->back + i * s->columns, s->columns);
    return status;
}

/* Rows r0..r1 decoded, looked at and encoded for every output; `first` is the
 * row that stands first in the outputs' buffers.  A fault narrows what is looked
 * at further to the rows before it, so that the first row's is reported. */
static qn_status work_batch(span *s, uint64_t first, uint64_t r0, uint64_t r1, uint64_t *at,
                            qn_error *err)
{
    qn_span_target *const targets = s->b->targets;
    *at = r0;
    qn_status status = s->rows->decode(s->rows, s->c->kernels, r0, r1, s->b->values, err);
    if (status) return status;
    uint64_t end = r1;
    for (size_t k = 0; k < s->c->n_outputs && end > r0; k++) {
        qn_status fault = check_values(s, &targets[k], r0, end - r0, at, err);
        if (fault) status = fault, end = *at;
    }
    for (size_t k = 0; k < s->c->n_outputs && end > r0; k++) {
        qn_span_target *t = &targets[k];
        if (t->entry->copy) continue;
        qn_status fault =
            encode_batch(s, t, r0, end, t->out + (r0 - first) * t->row_bytes, at, err);
        if (fault) status = fault, end = *at;
    }
    return status;
}

static qn_status put_encoded(const span *s, uint64_t r0, uint64_t r1, uint64_t *at, qn_error *err)
{
    qn_status status = QN_OK;
    *at = r0;
    for (size_t k = 0; k < s->c->n_outputs && !status; k++) {
        const qn_span_target *t = &s->b->targets[k];
        if (!t->entry->copy) status = put(s, t, r0, t->out, r1 - r0, err);
    }
    return status;
}

/* ---- all outputs ----------------------------------------------------------------- */

static qn_status set_targets(span *s, qn_error *err)
{
    for (size_t k = 0; k < s->c->n_outputs; k++) {
        qn_span_target *t = &s->b->targets[k];
        *t = (qn_span_target){.entry = &s->c->outputs[k].plan->entries[s->entry]};
        if (!qn_dtype_row_bytes(t->entry->dtype, s->columns, &t->row_bytes))
            return qn_fail(err, QN_ERR_ARGUMENT,
                           "%s: \"%s\": %llu columns are not whole blocks of %s", model_path(s),
                           s->name, (ull)s->columns, qn_dtype_facts(t->entry->dtype)->name);
        const qn_importance_entry *importance = t->entry->importance;
        if (importance && s->columns)
            t->matrix_rows = s->rows->rows / qn_importance_matrices(importance, s->columns);
    }
    return QN_OK;
}

/* Gives each output its part of the buffer; returns for how many rows. */
static uint64_t share_buffer(const span *s)
{
    uint64_t row_bytes = 0, at = 0;
    for (size_t k = 0; k < s->c->n_outputs; k++)
        if (!s->b->targets[k].entry->copy) row_bytes += s->b->targets[k].row_bytes;
    const uint64_t rows = row_bytes ? s->b->n_out / row_bytes : UINT64_MAX;
    for (size_t k = 0; k < s->c->n_outputs; k++) {
        qn_span_target *t = &s->b->targets[k];
        if (t->entry->copy) continue;
        t->out = s->b->out + at;
        at += rows * t->row_bytes;
    }
    return rows;
}

static bool must_look(const span *s)
{
    for (size_t k = 0; k < s->c->n_outputs; k++)
        if (!s->b->targets[k].entry->copy || !takes_all(s, &s->b->targets[k])) return true;
    return false;
}

static qn_status encode_rows(span *s, uint64_t r0, uint64_t r1, uint64_t *at, qn_error *err)
{
    const uint64_t fit = share_buffer(s);
    for (uint64_t first = r0, last; first < r1; first = last) {
        last = first + qn_min_u64(fit, r1 - first);
        for (uint64_t r = first, end; r < last; r = end) {
            end = qn_min_u64(r + s->batch, last);
            const qn_status status = work_batch(s, first, r, end, at, err);
            if (status) return status;
        }
        const qn_status status = put_encoded(s, first, last, at, err);
        if (status) return status;
    }
    return QN_OK;
}

qn_status qn_span_run(const qn_span_context *c, const qn_span_buffers *b, size_t entry, uint64_t r0,
                      uint64_t r1, uint64_t *at, qn_error *err)
{
    const qn_model_tensor *tensor = c->outputs[0].plan->entries[entry].tensor;
    span s = {.c = c,
              .b = b,
              .rows = tensor->rows,
              .name = tensor->name,
              .entry = entry,
              .columns = tensor->rows->columns};
    *at = r0;
    qn_status status = set_targets(&s, err);
    if (status || r0 == r1 || !s.columns) return status;
    s.batch = b->n_values / s.columns;
    if (must_look(&s)) status = encode_rows(&s, r0, r1, at, err);
    for (size_t k = 0; k < c->n_outputs && !status; k++)
        if (b->targets[k].entry->copy) status = copy_rows(&s, &b->targets[k], r0, r1, at, err);
    if (!status) s.rows->done(s.rows, r0, r1);
    return status;
}
