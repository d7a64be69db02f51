/* Rows with their share of B A added, tile by tile: a few rows, a run of columns
 * and a run of ranks at a time, so that nothing is allocated whatever the sizes,
 * and a piece of an adapter is decoded once for all rows of a tile. */
#include <math.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/lora/merge.h"

enum {
    TILE_ROWS = 16,
    TILE_COLUMNS = 128, /* a multiple of QN_LOW_RANK_COLUMNS */
    TILE_RANKS = 32
};

/* Some rows of one group, and a run of columns. */
typedef struct {
    const uint64_t *rows;
    size_t n_rows;
    uint64_t group, group_rows; /* all of rows are in group */
    uint64_t column;
    size_t width;
} tile;

typedef struct {
    double added[TILE_ROWS][TILE_COLUMNS]; /* by all changes */
    double alone[TILE_ROWS][TILE_COLUMNS]; /* by one that has a magnitude */
    double left[TILE_ROWS][TILE_RANKS];
    float right[TILE_RANKS][TILE_COLUMNS];
    double factor[QN_LORA_MOST_MAGNITUDES][TILE_ROWS]; /* magnitude / norm */
    /* What left holds, which serves all columns. */
    const qn_lora_change *left_of;
    uint64_t left_from;
} work;

/* ---- pieces of an adapter ------------------------------------------------------------ */

static void decode_at(const qn_tensor *t, const qn_kernels *k, uint64_t i, float *out, size_t n)
{
    const size_t bytes = qn_dtype_facts(t->dtype)->block_bytes;
    k->decode[t->dtype]((const uint8_t *)t->data + i * bytes, out, n);
}

/* Ranks k0 .. k0+ranks of row i of the group. */
static void left_row(const qn_lora_factor *f, const qn_kernels *k, uint64_t group, uint64_t i,
                     uint64_t k0, size_t ranks, double *out)
{
    float floats[TILE_RANKS];
    const uint64_t at = f->first + group * f->group_step + i * f->step + k0 * f->rank_step;
    if (f->tensor && f->rank_step == 1) decode_at(f->tensor, k, at, floats, ranks);
    for (size_t r = 0; r < ranks; r++) {
        if (!f->tensor)
            floats[r] = 1.0F;
        else if (f->rank_step != 1)
            decode_at(f->tensor, k, at + r * f->rank_step, &floats[r], 1);
        out[r] = (double)floats[r];
    }
}

static void fill_left(work *w, const qn_lora_change *c, const qn_kernels *k, const tile *t,
                      uint64_t k0, size_t ranks)
{
    if (w->left_of == c && w->left_from == k0) return;
    for (size_t i = 0; i < t->n_rows; i++)
        left_row(&c->left, k, t->group, t->rows[i] - t->group * t->group_rows, k0, ranks,
                 w->left[i]);
    w->left_of = c;
    w->left_from = k0;
}

/* Ranks k0 .. k0+ranks of the tile's columns. */
static void fill_right(work *w, const qn_lora_change *c, const qn_kernels *k, const tile *t,
                       uint64_t k0, size_t ranks)
{
    const qn_lora_factor *f = &c->right;
    float floats[TILE_RANKS];
    const uint64_t at =
        f->first + t->group * f->group_step + t->column * f->step + k0 * f->rank_step;
    for (size_t r = 0; r < ranks && f->step == 1; r++)
        decode_at(f->tensor, k, at + r * f->rank_step, w->right[r], t->width);
    for (size_t j = 0; j < t->width && f->step != 1; j++) {
        if (f->rank_step == 1) decode_at(f->tensor, k, at + j * f->step, floats, ranks);
        for (size_t r = 0; r < ranks; r++) {
            if (f->rank_step != 1)
                decode_at(f->tensor, k, at + j * f->step + r * f->rank_step, &floats[r], 1);
            w->right[r][j] = floats[r];
        }
    }
}

/* ---- changes ---------------------------------------------------------------------------- */

static size_t whole_columns(size_t width)
{
    return (width + QN_LOW_RANK_COLUMNS - 1) / QN_LOW_RANK_COLUMNS * QN_LOW_RANK_COLUMNS;
}

static void add_sum(work *w, const qn_lora_change *c, const qn_kernels *k, const tile *t,
                    double (*to)[TILE_COLUMNS])
{
    for (uint64_t k0 = 0; k0 < c->rank; k0 += TILE_RANKS) {
        const size_t ranks = (size_t)qn_min_u64(TILE_RANKS, c->rank - k0);
        fill_left(w, c, k, t, k0, ranks);
        fill_right(w, c, k, t, k0, ranks);
        k->add_low_rank(c->scale, w->left[0], TILE_RANKS, t->n_rows, w->right[0], TILE_COLUMNS,
                        ranks, to[0], TILE_COLUMNS, whole_columns(t->width));
    }
}

/* The tile's place in rows that stand decoded at out. */
static float *row_at(float *out, uint64_t columns, const tile *t, size_t i)
{
    return out + i * columns + t->column;
}

static void add_direction(work *w, const qn_lora_change *c, const qn_kernels *k, const tile *t,
                          const double *factor, float *out, uint64_t columns)
{
    memset(w->alone, 0, t->n_rows * sizeof *w->alone);
    add_sum(w, c, k, t, w->alone);
    for (size_t i = 0; i < t->n_rows; i++) {
        const float *base = row_at(out, columns, t, i);
        for (size_t j = 0; j < t->width; j++) {
            const double sum = (double)base[j] + w->added[i][j] + w->alone[i][j];
            w->added[i][j] = factor[i] * sum - (double)base[j];
        }
    }
}

/* What replaces `row`; NULL: nothing. */
static const qn_lora_token *token_of(const qn_lora_change *c, uint64_t row)
{
    uint64_t low = 0, high = c->n_tokens;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (c->tokens[middle].token == row) return &c->tokens[middle];
        if (c->tokens[middle].token < row)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void replace(work *w, const qn_lora_change *c, const qn_kernels *k, const tile *t,
                    float *out, uint64_t columns)
{
    for (size_t i = 0; i < t->n_rows; i++) {
        const qn_lora_token *token = token_of(c, t->rows[i]);
        if (!token) continue;
        decode_at(c->right.tensor, k, token->row * columns + t->column, row_at(out, columns, t, i),
                  t->width);
        memset(w->added[i], 0, sizeof w->added[i]);
    }
}

/* ---- magnitudes --------------------------------------------------------------------------- */

static void find_factors(work *w, const qn_lora_change *c, const qn_kernels *k, tile t,
                         double *factor, float *out, uint64_t columns)
{
    double squares[TILE_ROWS] = {0};
    for (t.column = 0; t.column < columns; t.column += TILE_COLUMNS) {
        t.width = (size_t)qn_min_u64(TILE_COLUMNS, columns - t.column);
        memset(w->alone, 0, t.n_rows * sizeof *w->alone);
        add_sum(w, c, k, &t, w->alone);
        for (size_t i = 0; i < t.n_rows; i++) {
            const float *base = row_at(out, columns, &t, i);
            for (size_t j = 0; j < t.width; j++) {
                const double sum = (double)base[j] + w->alone[i][j];
                squares[i] += sum * sum;
            }
        }
    }
    for (size_t i = 0; i < t.n_rows; i++) {
        float magnitude;
        decode_at(c->magnitude, k, t.rows[i], &magnitude, 1);
        factor[i] = (double)magnitude / sqrt(squares[i]);
    }
}

/* ---- the source -------------------------------------------------------------------------- */

/* The tile's rows, which stand decoded at out, get their changes. */
static void change_rows(const qn_rows *s, const qn_kernels *k, work *w, tile t, float *out)
{
    const struct qn_lora_merge *m = s->state;
    size_t n = 0;
    w->left_of = NULL;
    for (const qn_lora_change *c = m->changes; c; c = c->next)
        if (c->magnitude) find_factors(w, c, k, t, w->factor[n++], out, s->columns);
    for (t.column = 0; t.column < s->columns; t.column += TILE_COLUMNS) {
        t.width = (size_t)qn_min_u64(TILE_COLUMNS, s->columns - t.column);
        memset(w->added, 0, t.n_rows * sizeof *w->added);
        n = 0;
        for (const qn_lora_change *c = m->changes; c; c = c->next)
            if (c->tokens)
                replace(w, c, k, &t, out, s->columns);
            else if (c->magnitude)
                add_direction(w, c, k, &t, w->factor[n++], out, s->columns);
            else
                add_sum(w, c, k, &t, w->added);
        for (size_t i = 0; i < t.n_rows; i++)
            k->add_doubles(w->added[i], row_at(out, s->columns, &t, i), t.width);
    }
}

/* How many of the first n rows are in one group, at most a tile's. */
static size_t in_one_group(const uint64_t *rows, size_t n, uint64_t group_rows)
{
    size_t i = 1;
    while (i < n && i < TILE_ROWS && rows[i] / group_rows == rows[0] / group_rows) i++;
    return i;
}

static void change_all(const qn_rows *s, const qn_kernels *k, work *w, const uint64_t *rows,
                       size_t n, float *out)
{
    const uint64_t group_rows = s->number;
    for (size_t done = 0, some; done < n; done += some) {
        some = in_one_group(rows + done, n - done, group_rows);
        const tile t = {.rows = rows + done,
                        .n_rows = some,
                        .group = rows[done] / group_rows,
                        .group_rows = group_rows};
        change_rows(s, k, w, t, out + done * s->columns);
    }
}

static qn_status merged_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                               float *out, qn_error *err)
{
    const qn_status status = s->below->decode(s->below, k, r0, r1, out, err);
    uint64_t rows[TILE_ROWS];
    work w = {.left_of = NULL};
    if (status) return status;
    for (size_t n; r0 < r1; r0 += n, out += n * s->columns) {
        n = (size_t)qn_min_u64(TILE_ROWS, r1 - r0);
        for (size_t i = 0; i < n; i++) rows[i] = r0 + i;
        change_all(s, k, &w, rows, n, out);
    }
    return QN_OK;
}

static qn_status merged_gather(const qn_rows *s, const qn_kernels *k, const uint64_t *rows,
                               size_t n, float *out, qn_error *err)
{
    const qn_rows *b = s->below;
    qn_status status = b->gather ? b->gather(b, k, rows, n, out, err) : QN_OK;
    work w = {.left_of = NULL};
    for (size_t i = 0; i < n && !b->gather && !status; i++)
        status = b->decode(b, k, rows[i], rows[i] + 1, out + i * s->columns, err);
    if (!status) change_all(s, k, &w, rows, n, out);
    return status;
}

static void merged_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    s->below->done(s->below, r0, r1);
}

const qn_rows *qn_lora_rows(qn_arena *a, const struct qn_lora_merge *m)
{
    const qn_rows *below = qn_rows_view(a, m->reader, &m->base);
    if (!below || !m->changes) return below;
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    if (!s) return NULL;
    *s = (qn_rows){
        .dtype = QN_F32,
        .rows = below->rows,
        .columns = below->columns,
        .source_bytes = below->source_bytes,
        .decode = merged_decode,
        .gather = merged_gather,
        .done = merged_done,
        .below = below,
        .state = m,
        .number = m->base.rank == 3 ? m->base.dims[1] : below->rows,
    };
    return s;
}
