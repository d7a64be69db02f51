/* Elements of stored rows in another order: columns as rows, every other column.
 * They are decoded where they lie, a short run at a time, so the rows below must
 * be stored as plain numbers. */
#include "formats/base/sizes.h"
#include "formats/rows.h"

enum { RUN = 256 };

typedef struct {
    uint64_t groups_rows; /* rows of a group below */
    uint64_t first, step; /* the column below that becomes row or column 0, and the next */
} picked;

/* count elements of row r below from column c on, step apart, to out, apart. */
static void pick(const qn_rows *below, const qn_kernels *k, uint64_t r, uint64_t c, uint64_t step,
                 uint64_t count, float *out, uint64_t apart)
{
    const uint64_t size = qn_dtype_facts(below->dtype)->block_bytes, fit = (RUN - 1) / step + 1;
    const uint8_t *row = below->raw(below, r);
    float run[RUN];
    for (uint64_t i = 0, n; i < count; i += n) {
        n = qn_min_u64(fit, count - i);
        k->decode[below->dtype](row + (c + i * step) * size, run, (size_t)((n - 1) * step + 1));
        for (uint64_t j = 0; j < n; j++) out[(i + j) * apart] = run[j * step];
    }
}

static const qn_rows *new_picked(qn_arena *a, const qn_rows *below, qn_rows like, picked how)
{
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    picked *w = qn_arena_alloc(a, 1, sizeof *w);
    if (!s || !w) return NULL;
    *w = how;
    *s = like;
    s->dtype = QN_F32;
    s->below = below;
    s->state = w;
    return s;
}

bool qn_rows_are_plain(const qn_rows *s)
{
    return s->raw && s->raw(s, 0) && qn_dtype_facts(s->dtype)->is_float &&
           !qn_dtype_is_blocks(s->dtype);
}

/* ---- columns as rows ------------------------------------------------------------------- */

static qn_status transpose_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                                  float *out, qn_error *err)
{
    const picked *w = s->state;
    (void)err;
    while (r0 < r1) {
        const uint64_t in_group = r0 % s->number, n = qn_min_u64(s->number - in_group, r1 - r0);
        const uint64_t row = r0 / s->number * w->groups_rows;
        for (uint64_t c = 0; c < s->columns; c++)
            pick(s->below, k, row + c, w->first + in_group * w->step, w->step, n, out + c,
                 s->columns);
        out += n * s->columns;
        r0 += n;
    }
    return QN_OK;
}

/* Every row touches the whole group, which goes with its last one. */
static void transpose_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    const picked *w = s->state;
    for (uint64_t g = r0 / s->number; (g + 1) * s->number <= r1; g++)
        s->below->done(s->below, g * w->groups_rows, (g + 1) * w->groups_rows);
}

const qn_rows *qn_rows_transpose(qn_arena *a, const qn_rows *below, uint64_t groups, uint64_t first,
                                 uint64_t step, uint64_t count)
{
    const uint64_t rows = below->rows / groups;
    return new_picked(a, below,
                      (qn_rows){.rows = groups * count,
                                .columns = rows,
                                .source_bytes = below->source_bytes,
                                .decode = transpose_decode,
                                .done = transpose_done,
                                .number = count},
                      (picked){.groups_rows = rows, .first = first, .step = step});
}

/* ---- some columns ------------------------------------------------------------------------ */

static qn_status columns_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                                float *out, qn_error *err)
{
    const picked *w = s->state;
    (void)err;
    for (uint64_t r = r0; r < r1; r++, out += s->columns)
        pick(s->below, k, r, w->first, w->step, s->columns, out, 1);
    return QN_OK;
}

static void columns_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    s->below->done(s->below, r0, r1);
}

const qn_rows *qn_rows_columns(qn_arena *a, const qn_rows *below, uint64_t first, uint64_t step,
                               uint64_t count)
{
    return new_picked(a, below,
                      (qn_rows){.rows = below->rows,
                                .columns = count,
                                .source_bytes = below->source_bytes,
                                .decode = columns_decode,
                                .done = columns_done},
                      (picked){.first = first, .step = step});
}
