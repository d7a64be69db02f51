/* Rows with their share of B A added, tile by tile: a few rows, a run of columns
 * and a run of ranks at a time, so that nothing is allocated whatever the sizes,
 * and a piece of an adapter is decoded once for all rows of a tile. */
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/lora/merge.h"

enum {
    TILE_ROWS = 16,
    TILE_COLUMNS = 128,
    TILE_RANKS = 32,
    UNROLL = 4 /* ranks added in one pass over a row of the tile */
};

typedef struct {
    double sum[TILE_ROWS][TILE_COLUMNS];
    double left[TILE_ROWS][TILE_RANKS];
    double right[TILE_RANKS][TILE_COLUMNS];
    float floats[TILE_COLUMNS];
} tile;

/* ---- pieces of an adapter ------------------------------------------------------------ */

static void decode_at(const qn_lora_factor *f, const qn_kernels *k, uint64_t i, float *out,
                      size_t n)
{
    const size_t bytes = qn_dtype_facts(f->tensor->dtype)->block_bytes;
    k->decode[f->tensor->dtype]((const uint8_t *)f->tensor->data + i * bytes, out, n);
}

/* Elements (i0 .. i0+n, k0 .. k0+ranks) to out[i * i_step + k * k_step]. */
static void fill(const qn_lora_factor *f, const qn_kernels *k, uint64_t i0, size_t n, uint64_t k0,
                 size_t ranks, float *floats, double *out, size_t i_step, size_t k_step)
{
    const uint64_t at = f->tensor ? f->first + i0 * f->step + k0 * f->rank_step : 0;
    const bool by_rank = f->tensor && f->step == 1;
    const bool by_row = f->tensor && !by_rank && f->rank_step == 1;
    const size_t outer = by_rank ? ranks : n, inner = by_rank ? n : ranks;
    const size_t outer_step = by_rank ? k_step : i_step, inner_step = by_rank ? i_step : k_step;
    for (size_t o = 0; o < outer; o++) {
        const uint64_t first = at + o * (by_rank ? f->rank_step : f->step);
        if (by_rank || by_row) decode_at(f, k, first, floats, inner);
        for (size_t i = 0; i < inner; i++) {
            if (!f->tensor)
                floats[i] = 1.0F;
            else if (!by_rank && !by_row)
                decode_at(f, k, first + i * f->rank_step, &floats[i], 1);
            out[o * outer_step + i * inner_step] = (double)floats[i];
        }
    }
}

/* ---- sums ---------------------------------------------------------------------------- */

/* UNROLL ranks, one after the other, in each of a run of columns. */
static void add_ranks(double *restrict sum, const double *restrict left,
                      const double (*restrict right)[TILE_COLUMNS])
{
    const double l0 = left[0], l1 = left[1], l2 = left[2], l3 = left[3];
    for (int c = 0; c < TILE_COLUMNS; c++) {
        double s = sum[c];
        s += l0 * right[0][c];
        s += l1 * right[1][c];
        s += l2 * right[2][c];
        s += l3 * right[3][c];
        sum[c] = s;
    }
}

/* t->sum = left right of n rows and a run of columns.  What a tile has too much is
 * zero, which leaves sums as they are. */
static void multiply(tile *t, const qn_lora_change *c, const qn_kernels *k, uint64_t row, size_t n,
                     uint64_t column, size_t width)
{
    memset(t->sum, 0, n * sizeof *t->sum);
    for (uint64_t k0 = 0; k0 < c->rank; k0 += TILE_RANKS) {
        const size_t ranks = (size_t)qn_min_u64(TILE_RANKS, c->rank - k0);
        if (ranks % UNROLL || width < TILE_COLUMNS) {
            memset(t->left, 0, sizeof t->left);
            memset(t->right, 0, sizeof t->right);
        }
        fill(&c->left, k, row - c->first_row, n, k0, ranks, t->floats, &t->left[0][0], TILE_RANKS,
             1);
        fill(&c->right, k, column, width, k0, ranks, t->floats, &t->right[0][0], 1, TILE_COLUMNS);
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < ranks; r += UNROLL)
                add_ranks(t->sum[i], &t->left[i][r], (const double(*)[TILE_COLUMNS])t->right + r);
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

typedef struct {
    tile t;
    double value[TILE_ROWS][TILE_COLUMNS];
} work;

static void replace(work *w, const qn_lora_change *c, const qn_kernels *k, uint64_t row, size_t n,
                    uint64_t column, size_t width)
{
    for (size_t i = 0; i < n; i++) {
        const qn_lora_token *token = token_of(c, row + i);
        if (!token) continue;
        fill(&c->right, k, column, width, token->row, 1, w->t.floats, w->value[i], 1, 0);
    }
}

/* Rows row .. row+n, of which those of the change. */
static void apply(work *w, const qn_lora_change *c, const qn_kernels *k, uint64_t row, size_t n,
                  uint64_t column, size_t width)
{
    const uint64_t first = row > c->first_row ? row : c->first_row;
    const uint64_t end = qn_min_u64(row + n, c->first_row + c->n_rows);
    if (c->tokens) {
        replace(w, c, k, row, n, column, width);
        return;
    }
    if (first >= end) return;
    multiply(&w->t, c, k, first, (size_t)(end - first), column, width);
    for (uint64_t r = first; r < end; r++)
        for (size_t j = 0; j < width; j++)
            w->value[r - row][j] += c->scale * w->t.sum[r - first][j];
}

/* ---- the source -------------------------------------------------------------------------- */

/* n rows of s, which stand decoded at out, get their changes. */
static void change_rows(const qn_rows *s, const qn_kernels *k, uint64_t row, size_t n, float *out)
{
    const struct qn_lora_merge *m = s->state;
    work w;
    for (uint64_t column = 0; column < s->columns; column += TILE_COLUMNS) {
        const size_t width = (size_t)qn_min_u64(TILE_COLUMNS, s->columns - column);
        float *at = out + column;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < width; j++) w.value[i][j] = (double)at[i * s->columns + j];
        for (const qn_lora_change *c = m->changes; c; c = c->next)
            apply(&w, c, k, row, n, column, width);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < width; j++) at[i * s->columns + j] = (float)w.value[i][j];
    }
}

static qn_status merged_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                               float *out, qn_error *err)
{
    const qn_status status = s->below->decode(s->below, k, r0, r1, out, err);
    if (status) return status;
    for (size_t n; r0 < r1; r0 += n, out += n * s->columns) {
        n = (size_t)qn_min_u64(TILE_ROWS, r1 - r0);
        change_rows(s, k, r0, n, out);
    }
    return QN_OK;
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
        .done = merged_done,
        .below = below,
        .state = m,
    };
    return s;
}
