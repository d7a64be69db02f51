/* Rows of several sources in a row, and some rows of each group of a source:
 * what stacked experts and fused matrices are made of, without a copy. */
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/rows.h"

/* ---- stacked ----------------------------------------------------------------------- */

/* Source i has rows i * number .. (i + 1) * number. */
static const qn_rows *part_of(const qn_rows *s, uint64_t r)
{
    return ((const qn_rows *const *)s->state)[r / s->number];
}

static qn_status stack_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                              float *out, qn_error *err)
{
    while (r0 < r1) {
        const qn_rows *part = part_of(s, r0);
        const uint64_t first = r0 % s->number, n = qn_min_u64(s->number - first, r1 - r0);
        const qn_status status = part->decode(part, k, first, first + n, out, err);
        if (status) return status;
        out += n * s->columns;
        r0 += n;
    }
    return QN_OK;
}

static const void *stack_raw(const qn_rows *s, uint64_t r)
{
    const qn_rows *part = part_of(s, r);
    return part->raw(part, r % s->number);
}

static void stack_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    while (r0 < r1) {
        const qn_rows *part = part_of(s, r0);
        const uint64_t first = r0 % s->number, n = qn_min_u64(s->number - first, r1 - r0);
        part->done(part, first, first + n);
        r0 += n;
    }
}

const qn_rows *qn_rows_stack(qn_arena *a, const qn_rows *const *parts, uint64_t n)
{
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    if (!s) return NULL;
    *s = (qn_rows){
        .dtype = parts[0]->dtype,
        .columns = parts[0]->columns,
        .decode = stack_decode,
        .raw = stack_raw,
        .done = stack_done,
        .below = parts[0],
        .state = parts,
        .number = parts[0]->rows,
    };
    for (uint64_t i = 0; i < n; i++) {
        s->rows += parts[i]->rows;
        s->source_bytes += parts[i]->source_bytes;
        if (parts[i]->dtype != s->dtype || !parts[i]->raw) s->raw = NULL;
    }
    if (!s->raw) s->dtype = QN_F32;
    return s;
}

/* ---- some rows of each group --------------------------------------------------------- */

typedef struct {
    uint64_t group; /* rows of a group below */
    uint64_t first, step;
} selection;

/* The row below that is row r; number: rows taken of each group. */
static uint64_t selected(const qn_rows *s, uint64_t r)
{
    const selection *w = s->state;
    return r / s->number * w->group + w->first + r % s->number * w->step;
}

static qn_status select_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                               float *out, qn_error *err)
{
    const selection *w = s->state;
    while (r0 < r1) {
        const uint64_t left = qn_min_u64(s->number - r0 % s->number, r1 - r0);
        const uint64_t n = w->step == 1 ? left : 1, from = selected(s, r0);
        const qn_status status = s->below->decode(s->below, k, from, from + n, out, err);
        if (status) return status;
        out += n * s->columns;
        r0 += n;
    }
    return QN_OK;
}

static const void *select_raw(const qn_rows *s, uint64_t r)
{
    return s->below->raw(s->below, selected(s, r));
}

static void select_repack(const qn_rows *s, uint64_t r, void *out)
{
    s->below->repack(s->below, selected(s, r), out);
}

/* Pages of rows between them go, too; whoever wants those reads them again. */
static void select_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    while (r0 < r1) {
        const uint64_t n = qn_min_u64(s->number - r0 % s->number, r1 - r0);
        s->below->done(s->below, selected(s, r0), selected(s, r0 + n - 1) + 1);
        r0 += n;
    }
}

const qn_rows *qn_rows_select(qn_arena *a, const qn_rows *below, uint64_t groups, uint64_t first,
                              uint64_t step, uint64_t count)
{
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    selection *w = qn_arena_alloc(a, 1, sizeof *w);
    if (!s || !w) return NULL;
    *w = (selection){.group = below->rows / groups, .first = first, .step = step};
    *s = (qn_rows){
        .dtype = below->dtype,
        .rows = groups * count,
        .columns = below->columns,
        .source_bytes = below->rows ? below->source_bytes / below->rows * groups * count : 0,
        .decode = select_decode,
        .raw = below->raw ? select_raw : NULL,
        .repack = below->repack ? select_repack : NULL,
        .blocks = below->blocks,
        .done = select_done,
        .below = below,
        .state = w,
        .number = count,
    };
    return s;
}

/* ---- two joined ---------------------------------------------------------------------------- */

typedef struct {
    const qn_rows *part[2];
    uint64_t group; /* rows of a group in each */
    bool alternating;
} pair;

/* Where row r comes from; *row is its row there, and so are the next of the result. */
static const qn_rows *joined_from(const qn_rows *s, uint64_t r, uint64_t *row, uint64_t *run)
{
    const pair *p = s->state;
    const uint64_t in = r % (2 * p->group), first = r / (2 * p->group) * p->group;
    if (p->alternating) {
        *row = first + in / 2;
        *run = 1;
        return p->part[in % 2];
    }
    *row = first + in % p->group;
    *run = p->group - in % p->group;
    return p->part[in / p->group];
}

static qn_status join_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                             float *out, qn_error *err)
{
    while (r0 < r1) {
        uint64_t row, run;
        const qn_rows *part = joined_from(s, r0, &row, &run);
        const uint64_t n = qn_min_u64(run, r1 - r0);
        const qn_status status = part->decode(part, k, row, row + n, out, err);
        if (status) return status;
        out += n * s->columns;
        r0 += n;
    }
    return QN_OK;
}

static const void *join_raw(const qn_rows *s, uint64_t r)
{
    uint64_t row, run;
    const qn_rows *part = joined_from(s, r, &row, &run);
    return part->raw(part, row);
}

static void join_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    while (r0 < r1) {
        uint64_t row, run;
        const qn_rows *part = joined_from(s, r0, &row, &run);
        const uint64_t n = qn_min_u64(run, r1 - r0);
        part->done(part, row, row + n);
        r0 += n;
    }
}

static qn_rows *new_pair(qn_arena *a, const qn_rows *first, const qn_rows *second, pair how)
{
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    pair *p = qn_arena_alloc(a, 1, sizeof *p);
    if (!s || !p) return NULL;
    how.part[0] = first;
    how.part[1] = second;
    *p = how;
    *s = (qn_rows){
        .dtype = QN_F32,
        .rows = first->rows,
        .columns = first->columns,
        .source_bytes = first->source_bytes + second->source_bytes,
        .below = first,
        .state = p,
    };
    return s;
}

const qn_rows *qn_rows_join(qn_arena *a, const qn_rows *first, const qn_rows *second,
                            uint64_t groups, bool alternating)
{
    const pair how = {.group = first->rows / groups, .alternating = alternating};
    qn_rows *s = new_pair(a, first, second, how);
    if (!s) return NULL;
    s->rows *= 2;
    s->decode = join_decode;
    s->done = join_done;
    if (first->raw && second->raw && first->dtype == second->dtype) {
        s->dtype = first->dtype;
        s->raw = join_raw;
    }
    return s;
}

static qn_status alternate_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                                  float *out, qn_error *err)
{
    const pair *p = s->state;
    const uint64_t n = s->columns / 2;
    float *row = qn_alloc((size_t)n, sizeof *row);
    if (!row) return qn_fail_memory(err, "a row");
    qn_status status = QN_OK;
    for (; r0 < r1 && !status; r0++, out += s->columns)
        for (uint64_t half = 0; half < 2 && !status; half++) {
            status = p->part[half]->decode(p->part[half], k, r0, r0 + 1, row, err);
            for (uint64_t i = 0; i < n && !status; i++) out[2 * i + half] = row[i];
        }
    qn_free(row);
    return status;
}

static void alternate_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    const pair *p = s->state;
    for (int i = 0; i < 2; i++) p->part[i]->done(p->part[i], r0, r1);
}

const qn_rows *qn_rows_alternate(qn_arena *a, const qn_rows *even, const qn_rows *odd)
{
    qn_rows *s = new_pair(a, even, odd, (pair){0});
    if (!s) return NULL;
    s->columns *= 2;
    s->decode = alternate_decode;
    s->done = alternate_done;
    return s;
}

/* ---- zeros behind it --------------------------------------------------------------------- */

static qn_status pad_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                            float *out, qn_error *err)
{
    const uint64_t there = s->below->rows, end = qn_min_u64(r1, there);
    if (r0 < end) {
        const qn_status status = s->below->decode(s->below, k, r0, end, out, err);
        if (status) return status;
        out += (end - r0) * s->columns;
        r0 = end;
    }
    if (r0 < r1) memset(out, 0, (size_t)((r1 - r0) * s->columns) * sizeof *out);
    return QN_OK;
}

static void pad_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    const uint64_t end = qn_min_u64(r1, s->below->rows);
    if (r0 < end) s->below->done(s->below, r0, end);
}

const qn_rows *qn_rows_pad(qn_arena *a, const qn_rows *below, uint64_t rows)
{
    if (rows <= below->rows) return below;
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    if (!s) return NULL;
    *s = *below;
    s->dtype = QN_F32; /* not every row is stored */
    s->rows = rows;
    s->decode = pad_decode;
    s->gather = NULL;
    s->raw = NULL;
    s->repack = NULL;
    s->done = pad_done;
    s->below = below;
    return s;
}
