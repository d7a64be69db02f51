#include "formats/packed/parts.h"

#include <stdio.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/packed/packing.h"

typedef unsigned long long ull;

/* ---- finding and checking ------------------------------------------------------------ */

const char *qn_part_path(const qn_packed_build *b, const qn_tensor *t)
{
    return b->reader->files[t->file].path;
}

const qn_tensor *qn_find_beside(const qn_reader *r, qn_str base, const char *end)
{
    char name[1024]; /* longer ones are not there */
    const int n =
        snprintf(name, sizeof name, "%.*s%s", (int)qn_min_u64(base.n, sizeof name), base.s, end);
    return n > 0 && (size_t)n < sizeof name ? qn_reader_find(r, name) : NULL;
}

const qn_tensor *qn_part_find(const qn_packed_build *b, const char *end)
{
    return qn_find_beside(b->reader, b->base, end);
}

void qn_part_take(qn_packed_build *b, const qn_tensor *t)
{
    b->companions[b->n_companions++] = t;
    b->packed.bytes += t->bytes;
}

qn_status qn_part_need(qn_packed_build *b, const char *end, const qn_tensor **out, qn_error *err)
{
    *out = qn_part_find(b, end);
    if (!*out)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" lacks \"%.*s%s\", which %s needs",
                       qn_part_path(b, b->codes), b->codes->name, (int)b->base.n, b->base.s, end,
                       b->how->name);
    qn_part_take(b, *out);
    return QN_OK;
}

static qn_status fail_shape(const qn_packed_build *b, const qn_tensor *t, unsigned rank,
                            const uint64_t *dims, qn_error *err)
{
    char has[96], wants[96], codes[96];
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": shape %s, but \"%s\" of %s (%s) asks for %s",
                   qn_part_path(b, t), t->name, qn_shape_text(t->dims, t->rank, has, sizeof has),
                   b->codes->name,
                   qn_shape_text(b->codes->dims, b->codes->rank, codes, sizeof codes),
                   b->packed.words, qn_shape_text(dims, rank, wants, sizeof wants));
}

qn_status qn_want_shape(const qn_packed_build *b, const qn_tensor *t, unsigned rank,
                        const uint64_t *dims, qn_error *err)
{
    if (t->rank == rank && !memcmp(t->dims, dims, rank * sizeof *dims)) return QN_OK;
    return fail_shape(b, t, rank, dims, err);
}

qn_status qn_fail_type(const qn_packed_build *b, const qn_tensor *t, const char *wanted,
                       qn_error *err)
{
    return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is %s, not %s", qn_part_path(b, t), t->name,
                   qn_dtype_facts(t->dtype)->name, wanted);
}

qn_status qn_want_words(const qn_packed_build *b, const qn_tensor *t, qn_error *err)
{
    if (t->dtype == QN_I32 || t->dtype == QN_U32) return QN_OK;
    return qn_fail_type(b, t, "words of 32 bits", err);
}

qn_status qn_want_reals(const qn_packed_build *b, const qn_tensor *t, qn_error *err)
{
    if (t->dtype == QN_F16 || t->dtype == QN_BF16 || t->dtype == QN_F32) return QN_OK;
    if (t->dtype == QN_F8_E8M0 && b->packed.number != QN_U8) return QN_OK;
    return qn_fail_type(b, t, "F16, BF16 or F32", err);
}

/* The weight's shape is known: dims and rank. */
qn_status qn_set_shape(qn_packed_build *b, qn_error *err)
{
    uint64_t bytes;
    qn_packed *p = &b->packed;
    const char *path = qn_part_path(b, b->codes);
    const qn_status status =
        qn_tensor_measure(path, b->codes->name, QN_F32, b->rank, b->dims, &bytes, err);
    if (status) return status;
    if (!bytes) return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is empty", path, b->codes->name);
    p->reader = b->reader;
    p->codes = *b->codes;
    p->number = QN_U8;
    p->columns = b->dims[b->rank - 1];
    p->rows = 1;
    for (unsigned i = 0; i + 1 < b->rank; i++) p->rows *= b->dims[i];
    return QN_OK;
}

/* A stored dimension of words as one of values; false: no whole number of them. */
bool qn_words_to_values(uint64_t words, unsigned bits, uint64_t *values)
{
    uint64_t n;
    if (!qn_mul_u64(words, 32, &n) || n % bits) return false;
    *values = n / bits;
    return qn_packed_words(*values, bits) == words;
}

qn_status qn_fail_words(const qn_packed_build *b, uint64_t words, unsigned bits, qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": %llu words hold no whole number of %u-bit values",
                   qn_part_path(b, b->codes), b->codes->name, (ull)words, bits);
}

qn_status qn_want_rank(const qn_packed_build *b, unsigned least, unsigned most, qn_error *err)
{
    const qn_tensor *t = b->codes;
    if (t->rank >= least && t->rank <= most) return QN_OK;
    return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" has %u dimensions, which %s has not",
                   qn_part_path(b, t), t->name, t->rank, b->how->name);
}

/* ---- words for people -------------------------------------------------------------------- */

void qn_say_packing(qn_packed *p, const char *type, unsigned bits, const qn_packing_scheme *s,
                    const char *more)
{
    char scale[40] = "";
    switch (s->scale) {
    case QN_SCALE_OF_GROUP: snprintf(scale, sizeof scale, "groups of %llu", (ull)s->group); break;
    case QN_SCALE_OF_CHANNEL: snprintf(scale, sizeof scale, "by row"); break;
    case QN_SCALE_OF_TENSOR: snprintf(scale, sizeof scale, "one scale"); break;
    case QN_SCALE_OF_BLOCK:
        snprintf(scale, sizeof scale, "blocks of %llu x %llu", (ull)s->block[0], (ull)s->block[1]);
        break;
    }
    if (bits)
        snprintf(p->words, sizeof p->words, "%s%u, %s%s", type, bits, scale, more);
    else
        snprintf(p->words, sizeof p->words, "%s, %s%s", type, scale, more);
}

/* ---- the order of columns ------------------------------------------------------------ */

qn_status qn_check_order(const qn_packed_build *b, qn_error *err)
{
    const qn_packed *p = &b->packed;
    for (uint64_t i = 0; i < p->columns; i++) {
        int32_t g;
        memcpy(&g, (const uint8_t *)p->g_idx.data + 4 * i, sizeof g);
        if (g < 0 || (uint64_t)g >= p->n_groups)
            return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": column %llu is in group %d of %llu",
                           qn_part_path(b, &p->g_idx), p->g_idx.name, (ull)i, g, (ull)p->n_groups);
    }
    return QN_OK;
}

qn_status qn_set_order(qn_packed_build *b, const char *end, qn_error *err)
{
    const qn_tensor *t = qn_part_find(b, end);
    qn_status status;
    if (!t) return QN_OK;
    qn_part_take(b, t);
    if (t->dtype != QN_I32) return qn_fail_type(b, t, "I32", err);
    if ((status = qn_want_shape(b, t, 1, &b->packed.columns, err))) return status;
    b->packed.g_idx = *t;
    return QN_OK;
}

/* ---- rows of codes, rows of scales ------------------------------------------------------- */

/* The shape that scales have under a scheme; a channel's may lack its last 1. */
static unsigned scales_shape(const qn_packed_build *b, const qn_packing_scheme *s,
                             uint64_t dims[QN_MAX_RANK])
{
    const unsigned rank = b->rank;
    memcpy(dims, b->dims, rank * sizeof *dims);
    switch (s->scale) {
    case QN_SCALE_OF_TENSOR: dims[0] = 1; return 1;
    case QN_SCALE_OF_CHANNEL: dims[rank - 1] = 1; break;
    case QN_SCALE_OF_GROUP: dims[rank - 1] = qn_divide_up(b->dims[rank - 1], s->group); break;
    case QN_SCALE_OF_BLOCK:
        dims[rank - 1] = qn_divide_up(b->dims[rank - 1], s->block[1]);
        dims[rank - 2] = qn_divide_up(b->dims[rank - 2], s->block[0]);
        break;
    }
    return rank;
}

qn_status qn_want_scales_shape(const qn_packed_build *b, const qn_tensor *t,
                               const qn_packing_scheme *s, qn_error *err)
{
    uint64_t dims[QN_MAX_RANK];
    const unsigned rank = scales_shape(b, s, dims);
    if (s->scale == QN_SCALE_OF_TENSOR && qn_tensor_elements(t) == 1) return QN_OK;
    if (s->scale == QN_SCALE_OF_CHANNEL && t->rank + 1 == rank &&
        !memcmp(t->dims, dims, t->rank * sizeof *dims))
        return QN_OK;
    return qn_want_shape(b, t, rank, dims, err);
}

qn_status qn_set_scales(qn_packed_build *b, const qn_tensor *scales, const qn_packing_scheme *s,
                        qn_error *err)
{
    qn_packed *p = &b->packed;
    p->scales = *scales;
    p->row_block = s->scale == QN_SCALE_OF_TENSOR  ? p->rows
                   : s->scale == QN_SCALE_OF_BLOCK ? s->block[0]
                                                   : 1;
    p->column_block = s->scale == QN_SCALE_OF_GROUP   ? s->group
                      : s->scale == QN_SCALE_OF_BLOCK ? s->block[1]
                                                      : p->columns;
    if (p->column_block > p->columns) p->column_block = p->columns;
    p->n_groups = qn_divide_up(p->columns, p->column_block);
    p->row_step = p->n_groups;
    p->group_step = 1;
    const qn_status status = qn_want_scales_shape(b, scales, s, err);
    if (status) return status;
    /* Blocks of rows must not reach from one matrix of a stack into the next. */
    if (s->scale == QN_SCALE_OF_BLOCK && b->rank > 2 && b->dims[b->rank - 2] % s->block[0])
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: \"%s\": matrices of %llu rows in blocks of %llu are not read",
                       qn_part_path(b, b->codes), b->codes->name, (ull)b->dims[b->rank - 2],
                       (ull)s->block[0]);
    return qn_want_reals(b, scales, err);
}

qn_status qn_set_plain_codes(qn_packed_build *b, qn_error *err)
{
    qn_packed *p = &b->packed;
    qn_status status = qn_want_rank(b, 2, QN_MAX_RANK, err);
    if (status) return status;
    b->rank = b->codes->rank;
    memcpy(b->dims, b->codes->dims, b->rank * sizeof *b->dims);
    if ((status = qn_set_shape(b, err))) return status;
    p->row_bytes = p->columns;
    p->code_layout = QN_CODES_IN_BYTES;
    p->number = b->codes->dtype;
    p->bits = 8;
    return QN_OK;
}
