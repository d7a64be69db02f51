#include "quant/packed_band.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/packed/packing.h"
#include "kernels/half.h"

typedef unsigned long long ull;

enum {
    CACHE_LINE = 64,
    BAND_BYTES = 256 << 10, /* of rows that lie one behind the other */
    STRIP_BYTES = 4 << 20,  /* of strips: longer pieces are fewer writes */
    WORD = 4
};

/* ---- layouts ------------------------------------------------------------------------- */

/* Whether outputs lie side by side. */
static bool is_strip(const qn_packed_plan *p)
{
    return p->options.format == QN_PACK_GPTQ || p->options.format == QN_PACK_AWQ;
}

static uint64_t groups_of(const qn_packed_entry *e)
{
    return e->tensor->rows->columns / e->how.group;
}

static uint64_t scale_bytes(const qn_packed_entry *e)
{
    return qn_dtype_facts(e->how.scale_dtype)->block_bytes;
}

/* A part of n rows in the buffer: `pieces` of piece_bytes each. */
typedef struct {
    uint64_t pieces, piece_bytes;
} extent;

static extent extent_of(const qn_packed_plan *p, const qn_packed_entry *e, qn_part_kind kind,
                        uint64_t n)
{
    const uint64_t columns = e->tensor->rows->columns, groups = groups_of(e);
    const uint64_t row_words = qn_packed_words(columns, e->how.bits);
    const uint64_t n_words = qn_packed_words(n, e->how.bits);
    const bool strip = is_strip(p);
    switch (kind) {
    case QN_PART_CODES:
        if (p->options.format == QN_PACK_AWQ) return (extent){columns, n_words * WORD};
        return strip ? (extent){row_words, n * WORD} : (extent){1, n * row_words * WORD};
    case QN_PART_SCALES:
    case QN_PART_BIASES:
        return strip ? (extent){groups, n * scale_bytes(e)}
                     : (extent){1, n * groups * scale_bytes(e)};
    case QN_PART_ZEROS:
        return strip ? (extent){groups, n_words * WORD} : (extent){1, n_words * groups * WORD};
    case QN_PART_SHAPE:
    case QN_PART_INDEX: break;
    }
    return (extent){0, 0};
}

static uint64_t parts_bytes(const qn_packed_plan *p, const qn_packed_entry *e, uint64_t n)
{
    qn_packed_part parts[QN_MOST_PARTS];
    const unsigned n_parts = qn_packed_parts(p, e, parts);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < n_parts; i++) {
        const extent x = extent_of(p, e, parts[i].kind, n);
        bytes += (x.pieces * x.piece_bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    }
    return bytes;
}

/* ---- buffers ---------------------------------------------------------------------------- */

void qn_band_add_needs(qn_band_needs *n, const qn_packed_plan *p, const qn_packed_entry *e)
{
    const uint64_t least = parts_bytes(p, e, QN_GRANULE);
    const uint64_t whole = parts_bytes(p, e, e->tensor->rows->rows);
    const uint64_t best = is_strip(p) ? STRIP_BYTES : BAND_BYTES;
    n->columns = qn_max_u64(n->columns, e->tensor->rows->columns);
    n->groups = qn_max_u64(n->groups, groups_of(e));
    n->least_parts = qn_max_u64(n->least_parts, least);
    n->best_parts = qn_max_u64(n->best_parts, qn_max_u64(least, qn_min_u64(best, whole)));
}

uint64_t qn_band_bytes(const qn_band_needs *n, uint64_t parts)
{
    return n->columns * (2 * sizeof(float) + QN_GRANULE) +
           n->groups * QN_GRANULE * (2 * sizeof(float) + 1) + parts;
}

bool qn_band_allocate(qn_band_buffers *b, const qn_band_needs *n, uint64_t parts)
{
    b->values = qn_alloc_aligned(CACHE_LINE, n->columns, sizeof(float));
    b->back = qn_alloc_aligned(CACHE_LINE, n->columns, sizeof(float));
    b->codes = qn_alloc_aligned(CACHE_LINE, n->columns, QN_GRANULE);
    b->zeros = qn_alloc_aligned(CACHE_LINE, n->groups, QN_GRANULE);
    b->scales = qn_alloc_aligned(CACHE_LINE, n->groups, QN_GRANULE * sizeof(float));
    b->biases = qn_alloc_aligned(CACHE_LINE, n->groups, QN_GRANULE * sizeof(float));
    b->parts = qn_alloc_aligned(CACHE_LINE, parts, 1);
    b->n_parts = parts;
    return b->values && b->back && b->codes && b->zeros && b->scales && b->biases && b->parts;
}

void qn_band_free(qn_band_buffers *b)
{
    qn_free(b->values);
    qn_free(b->back);
    qn_free(b->codes);
    qn_free(b->zeros);
    qn_free(b->scales);
    qn_free(b->biases);
    qn_free(b->parts);
}

uint64_t qn_band_rows(const qn_packed_plan *p, const qn_packed_entry *e, uint64_t parts)
{
    const uint64_t rows = e->tensor->rows->rows;
    const uint64_t granule = parts_bytes(p, e, QN_GRANULE);
    assert(granule); /* the plan packs no empty matrix */
    uint64_t granules = parts / granule;
    const uint64_t all = rows / QN_GRANULE + (rows % QN_GRANULE != 0);
    /* A part is rounded up once a band, not once a granule. */
    if (parts >= parts_bytes(p, e, rows)) granules = all;
    return qn_min_u64(granules, all) * QN_GRANULE;
}

/* ---- packing -------------------------------------------------------------------------------- */

/* A band under way. */
typedef struct {
    const qn_band *band;
    const qn_band_buffers *b;
    const qn_packed_entry *e;
    qn_pack_format format;
    uint64_t columns, groups;
    uint64_t r0, n; /* its rows */
    qn_packed_part parts[QN_MOST_PARTS];
    unsigned n_parts;
    uint8_t *part[QN_PART_INDEX + 1]; /* where they are, by kind; NULL: not there */
} work;

static void place_parts(work *w)
{
    uint8_t *at = w->b->parts;
    w->n_parts = qn_packed_parts(w->band->plan, w->e, w->parts);
    for (unsigned i = 0; i < w->n_parts; i++) {
        const extent x = extent_of(w->band->plan, w->e, w->parts[i].kind, w->n);
        w->part[w->parts[i].kind] = at;
        at += (x.pieces * x.piece_bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    }
}

/* Value i of a part of scales. */
static void put_real(uint8_t *part, uint64_t i, qn_dtype t, float v)
{
    if (t == QN_F32) {
        memcpy(part + i * sizeof v, &v, sizeof v);
        return;
    }
    const uint16_t bits = t == QN_F16 ? qn_half_of(v) : qn_bfloat16_of(v);
    memcpy(part + i * sizeof bits, &bits, sizeof bits);
}

static void pack_row(const work *w, uint64_t r, const uint8_t *codes)
{
    const unsigned bits = w->e->how.bits;
    uint8_t *part = w->part[QN_PART_CODES];
    const uint64_t row_words = qn_packed_words(w->columns, bits);
    if (w->format == QN_PACK_GPTQ)
        qn_pack(codes, w->columns, bits, part + r * WORD, w->n);
    else
        qn_pack(codes, w->columns, bits, part + r * row_words * WORD, 1);
}

/* Eight rows make a word at each column. */
static void pack_awq(const work *w, uint64_t r)
{
    const uint64_t words = w->n / QN_GRANULE;
    uint8_t *to = w->part[QN_PART_CODES] + r / QN_GRANULE * WORD;
    for (uint64_t c = 0; c < w->columns; c++, to += words * WORD) {
        uint8_t eight[QN_GRANULE];
        for (unsigned j = 0; j < QN_GRANULE; j++) eight[j] = w->b->codes[j * w->columns + c];
        qn_pack_awq(eight, QN_GRANULE, to);
    }
}

static void put_reals(const work *w, qn_part_kind kind, uint64_t r, const float *values)
{
    const qn_dtype t = w->e->how.scale_dtype;
    const bool strip = is_strip(w->band->plan);
    for (uint64_t g = 0; w->part[kind] && g < w->groups; g++)
        put_real(w->part[kind], strip ? g * w->n + r : r * w->groups + g, t, values[g]);
}

/* The zero points of n rows from r on, the n of each group to one word or two. */
static void pack_zeros(const work *w, uint64_t r, unsigned n)
{
    const unsigned bits = w->e->how.bits;
    const uint64_t first = r * bits / 32, words = qn_packed_words(w->n, bits);
    uint8_t *part = w->part[QN_PART_ZEROS];
    for (uint64_t g = 0; part && g < w->groups; g++) {
        uint8_t zeros[QN_GRANULE];
        for (unsigned j = 0; j < n; j++) zeros[j] = w->b->zeros[j * w->groups + g];
        if (w->format == QN_PACK_GPTQ)
            for (unsigned j = 0; j < n; j++)
                zeros[j] = (uint8_t)qn_gptq_zero_stored(zeros[j], true);
        if (w->format == QN_PACK_AWQ)
            qn_pack_awq(zeros, n, part + (g * words + first) * WORD);
        else if (w->format == QN_PACK_GPTQ)
            qn_pack(zeros, n, bits, part + (g * words + first) * WORD, 1);
        else
            qn_pack(zeros, n, bits, part + (first * w->groups + g) * WORD, w->groups);
    }
}

/* ---- quantizing ------------------------------------------------------------------------------- */

static qn_status refuse_value(const work *w, uint64_t r, qn_error *err)
{
    uint64_t i = 0;
    while (i + 1 < w->columns && isfinite(w->b->values[i])) i++;
    const float v = w->b->values[i];
    return qn_fail(err, QN_ERR_DATA,
                   "%s: \"%s\": row %llu, column %llu is %s, which no int%u holds",
                   w->band->plan->model->path, w->e->tensor->name, (ull)r, (ull)i,
                   isnan(v) ? "NaN"
                   : v > 0  ? "infinity"
                            : "-infinity",
                   w->e->how.bits);
}

static qn_status refuse_scale(const work *w, uint64_t r, uint64_t group, qn_error *err)
{
    const uint64_t n = w->e->how.group;
    float largest = 0;
    for (uint64_t i = group * n; i < (group + 1) * n; i++)
        if (fabsf(w->b->values[i]) > largest) largest = fabsf(w->b->values[i]);
    return qn_fail(err, QN_ERR_DATA,
                   "%s: \"%s\": row %llu, columns %llu to %llu: values up to %g need a scale "
                   "beyond the range of %s, which %s stores",
                   w->band->plan->model->path, w->e->tensor->name, (ull)r, (ull)(group * n),
                   (ull)(group * n + n - 1), (double)largest,
                   qn_dtype_facts(w->e->how.scale_dtype)->name, qn_pack_format_name(w->format));
}

static double squared_error(const float *a, const float *b, uint64_t n)
{
    enum { LANES = 8 };
    double lane[LANES] = {0}, sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        const double d = (double)a[i] - (double)b[i];
        lane[i % LANES] += d * d;
    }
    for (unsigned j = 0; j < LANES; j++) sum += lane[j];
    return sum;
}

/* Row r of the tensor, row j of its granule. */
static qn_status encode_row(const work *w, uint64_t r, unsigned j, double *squares, qn_error *err)
{
    const qn_rows *rows = w->e->tensor->rows;
    const qn_groupwise_row out = {
        .codes = w->b->codes + j * w->columns,
        .zeros = w->b->zeros + j * w->groups,
        .scales = w->b->scales + j * w->groups,
        .biases = w->b->biases + j * w->groups,
    };
    uint64_t group;
    const qn_status status = rows->decode(rows, w->band->kernels, r, r + 1, w->b->values, err);
    if (status) return status;
    if (!w->band->kernels->finite(w->b->values, w->columns)) return refuse_value(w, r, err);
    if (!qn_groupwise_encode(&w->e->how, w->b->values, w->columns, &out, &group))
        return refuse_scale(w, r, group, err);
    if (w->format != QN_PACK_AWQ) pack_row(w, r - w->r0, out.codes);
    put_reals(w, QN_PART_SCALES, r - w->r0, out.scales);
    put_reals(w, QN_PART_BIASES, r - w->r0, out.biases);
    if (!w->band->squares) return QN_OK;
    qn_groupwise_decode(&w->e->how, &out, w->columns, w->b->back);
    *squares += squared_error(w->b->values, w->b->back, w->columns);
    return QN_OK;
}

static qn_status encode_granule(const work *w, uint64_t r, uint64_t *at, qn_error *err)
{
    const unsigned n = (unsigned)qn_min_u64(QN_GRANULE, w->r0 + w->n - r);
    double squares = 0;
    for (unsigned j = 0; j < n; j++) {
        *at = r + j;
        const qn_status status = encode_row(w, r + j, j, &squares, err);
        if (status) return status;
    }
    if (w->format == QN_PACK_AWQ) pack_awq(w, r - w->r0);
    pack_zeros(w, r - w->r0, n);
    if (w->band->squares) w->band->squares[r / QN_GRANULE] = squares;
    return QN_OK;
}

/* ---- writing ------------------------------------------------------------------------------------ */

static qn_status write_part(const work *w, unsigned i, qn_error *err)
{
    const qn_packed_plan *p = w->band->plan;
    const qn_part_kind kind = w->parts[i].kind;
    const extent x = extent_of(p, w->e, kind, w->n);
    const extent whole = extent_of(p, w->e, kind, w->e->tensor->rows->rows);
    const extent before = extent_of(p, w->e, kind, w->r0);
    const size_t part = w->band->first_part + i;
    qn_status status = QN_OK;
    if (x.piece_bytes == whole.piece_bytes)
        return qn_writer_put(w->band->writer, part, 0, w->part[kind], whole.pieces * x.piece_bytes,
                             err);
    for (uint64_t k = 0; k < x.pieces && !status; k++)
        status = qn_writer_put(w->band->writer, part, k * whole.piece_bytes + before.piece_bytes,
                               w->part[kind] + k * x.piece_bytes, x.piece_bytes, err);
    return status;
}

static qn_status write_shape(const work *w, unsigned i, qn_error *err)
{
    const qn_rows *rows = w->e->tensor->rows;
    const uint64_t shape[2] = {rows->rows, rows->columns};
    return qn_writer_put(w->band->writer, w->band->first_part + i, 0, shape, sizeof shape, err);
}

/* In the row that was read back, which has a float for each column. */
static qn_status write_index(const work *w, unsigned i, qn_error *err)
{
    int32_t *index = (int32_t *)(void *)w->b->back;
    for (uint64_t c = 0; c < w->columns; c++) index[c] = (int32_t)(c / w->e->how.group);
    return qn_writer_put(w->band->writer, w->band->first_part + i, 0, index,
                         w->columns * sizeof *index, err);
}

static qn_status write_parts(const work *w, qn_error *err)
{
    qn_status status = QN_OK;
    for (unsigned i = 0; i < w->n_parts && !status; i++) {
        const qn_part_kind kind = w->parts[i].kind;
        if (kind != QN_PART_SHAPE && kind != QN_PART_INDEX)
            status = write_part(w, i, err);
        else if (w->r0 == 0) /* once */
            status = kind == QN_PART_SHAPE ? write_shape(w, i, err) : write_index(w, i, err);
    }
    return status;
}

qn_status qn_band_run(const qn_band *band, const qn_band_buffers *b, uint64_t r0, uint64_t r1,
                      uint64_t *at, qn_error *err)
{
    const qn_rows *rows = band->entry->tensor->rows;
    work w = {.band = band,
              .b = b,
              .e = band->entry,
              .format = band->plan->options.format,
              .columns = rows->columns,
              .groups = groups_of(band->entry),
              .r0 = r0,
              .n = r1 - r0};
    place_parts(&w);
    for (uint64_t r = r0; r < r1; r += QN_GRANULE) {
        const qn_status status = encode_granule(&w, r, at, err);
        if (status) return status;
    }
    *at = r0;
    const qn_status status = write_parts(&w, err);
    if (!status) rows->done(rows, r0, r1);
    return status;
}
