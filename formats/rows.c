#include "formats/rows.h"

#include <assert.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/lora/merge.h"
#include "formats/packed/packed.h"

/* ---- a mapped tensor --------------------------------------------------------------- */

typedef struct {
    const qn_reader *reader;
    const qn_tensor *tensor;
    uint64_t row_bytes;
} view;

static qn_status view_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                             float *out, qn_error *err)
{
    const view *v = s->state;
    if (!k->decode[s->dtype])
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: tensor %s: %s cannot be read as numbers yet",
                       v->reader->files[v->tensor->file].path, v->tensor->name,
                       qn_dtype_facts(s->dtype)->name);
    /* Rows are whole blocks, one behind the other: one long row to the kernel. */
    if (r1 > r0 && s->columns)
        k->decode[s->dtype]((const uint8_t *)v->tensor->data + r0 * v->row_bytes, out,
                            (size_t)((r1 - r0) * s->columns));
    return QN_OK;
}

static const void *view_raw(const qn_rows *s, uint64_t r)
{
    const view *v = s->state;
    return (const uint8_t *)v->tensor->data + r * v->row_bytes;
}

static void view_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    const view *v = s->state;
    qn_map_done(&v->reader->files[v->tensor->file], v->tensor->offset + r0 * v->row_bytes,
                (r1 - r0) * v->row_bytes);
}

const qn_rows *qn_rows_view(qn_arena *a, const qn_reader *reader, const qn_tensor *t)
{
    if (t->lora) return qn_lora_rows(a, t->lora);
    if (t->packed) return qn_packed_rows(a, t->packed);
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    view *v = qn_arena_alloc(a, 1, sizeof *v);
    if (!s || !v) return NULL;
    *v = (view){.reader = reader, .tensor = t};
    const bool whole = qn_dtype_row_bytes(t->dtype, qn_tensor_columns(t), &v->row_bytes);
    assert(whole); /* the reader has checked */
    (void)whole;
    *s = (qn_rows){
        .dtype = t->dtype,
        .rows = qn_tensor_rows(t),
        .columns = qn_tensor_columns(t),
        .source_bytes = t->bytes,
        .decode = view_decode,
        .raw = t->data ? view_raw : NULL,
        .done = view_done,
        .state = v,
    };
    return s;
}

/* ---- rows in another order ------------------------------------------------------------ */

/* Which row below is row r of a source that reorders. */
typedef uint64_t (*order_fn)(const qn_rows *s, uint64_t r);

static uint64_t interleaved(const qn_rows *s, uint64_t r)
{
    const uint64_t group = s->rows / s->number, in_group = r % group;
    return r - in_group + in_group / 2 + in_group % 2 * (group / 2);
}

static uint64_t deinterleaved(const qn_rows *s, uint64_t r)
{
    const uint64_t group = s->rows / s->number, in_group = r % group, half = group / 2;
    return r - in_group + (in_group < half ? 2 * in_group : 2 * (in_group - half) + 1);
}

static order_fn order_of(const qn_rows *s)
{
    return *(const order_fn *)s->state;
}

static qn_status reorder_gather(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                                float *out, qn_error *err)
{
    enum { AT_ONCE = 64 };
    uint64_t rows[AT_ONCE];
    const order_fn order = order_of(s);
    for (size_t n; r0 < r1; r0 += n, out += n * s->columns) {
        n = (size_t)qn_min_u64(AT_ONCE, r1 - r0);
        for (size_t i = 0; i < n; i++) rows[i] = order(s, r0 + i);
        const qn_status status = s->below->gather(s->below, k, rows, n, out, err);
        if (status) return status;
    }
    return QN_OK;
}

static qn_status reorder_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                                float *out, qn_error *err)
{
    const order_fn order = order_of(s);
    if (s->below->gather) return reorder_gather(s, k, r0, r1, out, err);
    for (uint64_t r = r0; r < r1; r++, out += s->columns) {
        const uint64_t from = order(s, r);
        const qn_status status = s->below->decode(s->below, k, from, from + 1, out, err);
        if (status) return status;
    }
    return QN_OK;
}

static const void *reorder_raw(const qn_rows *s, uint64_t r)
{
    return s->below->raw(s->below, order_of(s)(s, r));
}

/* A group's rows are spread over the whole group below.  Whoever is done with some
 * of them gives all back, as others may be done already. */
static void reorder_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    const uint64_t group = s->rows / s->number;
    if (!group || r0 == r1) return;
    s->below->done(s->below, r0 / group * group, (r1 + group - 1) / group * group);
}

static const qn_rows *reorder(qn_arena *a, const qn_rows *below, uint64_t heads,
                              const order_fn *order)
{
    assert(heads && below->rows % heads == 0 && below->rows / heads % 2 == 0);
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    if (!s) return NULL;
    *s = *below;
    s->decode = reorder_decode;
    s->repack = NULL;
    s->gather = NULL;
    s->raw = below->raw ? reorder_raw : NULL;
    s->done = reorder_done;
    s->below = below;
    s->state = order;
    s->number = heads;
    return s;
}

const qn_rows *qn_rows_permute(qn_arena *a, const qn_rows *below, uint64_t heads)
{
    static const order_fn order = interleaved;
    return reorder(a, below, heads, &order);
}

const qn_rows *qn_rows_unpermute(qn_arena *a, const qn_rows *below, uint64_t heads)
{
    static const order_fn order = deinterleaved;
    return reorder(a, below, heads, &order);
}

/* ---- values in memory -------------------------------------------------------------------- */

static const void *values_raw(const qn_rows *s, uint64_t r)
{
    return (const float *)s->state + r * s->columns;
}

static qn_status values_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                               float *out, qn_error *err)
{
    (void)k;
    (void)err;
    if (r1 > r0) memcpy(out, values_raw(s, r0), (size_t)((r1 - r0) * s->columns) * sizeof *out);
    return QN_OK;
}

static void values_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    (void)s;
    (void)r0;
    (void)r1;
}

const qn_rows *qn_rows_values(qn_arena *a, const float *values, uint64_t rows, uint64_t columns)
{
    uint64_t n;
    if (!qn_mul_u64(rows, columns, &n) || n > SIZE_MAX / sizeof *values) return NULL;
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    float *copy = qn_arena_alloc(a, (size_t)n, sizeof *copy);
    if (!s || !copy) return NULL;
    if (n) memcpy(copy, values, (size_t)n * sizeof *copy);
    *s = (qn_rows){
        .dtype = QN_F32,
        .rows = rows,
        .columns = columns,
        .source_bytes = n * sizeof *copy,
        .decode = values_decode,
        .raw = values_raw,
        .done = values_done,
        .state = copy,
    };
    return s;
}
