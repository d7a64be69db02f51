/* Rows of a packed weight.
 *
 * A matrix that lies in columns is read in tiles, BAND rows by CHUNK columns:
 * each cache line of it serves all rows of the band that it holds.  Nothing is
 * allocated, whatever the width. */
#include "formats/packed/packed.h"

#include <string.h>

#include "formats/base/sizes.h"
#include "formats/packed/packing.h"
#include "kernels/half.h"

enum {
    BAND = 64,   /* rows of a tile */
    CHUNK = 256, /* columns of a tile: whole words of every width */
    RUN = 32     /* columns scaled in one go */
};

/* ---- small tables: scales, zeros, biases, order ------------------------------------- */

static float number_at(const qn_tensor *t, uint64_t i)
{
    uint16_t half;
    float real;
    if (t->dtype == QN_F8_E8M0) {
        const uint8_t e = ((const uint8_t *)t->data)[i];
        return qn_float_of_bits(e == 255 ? 0x7fc00000 : e ? (uint32_t)e << 23 : 0x400000);
    }
    if (t->dtype == QN_F32) {
        memcpy(&real, (const uint8_t *)t->data + 4 * i, sizeof real);
        return real;
    }
    memcpy(&half, (const uint8_t *)t->data + 2 * i, sizeof half);
    return t->dtype == QN_F16 ? qn_half_value(half) : qn_bfloat16_value(half);
}

static uint64_t group_of(const qn_packed *p, uint64_t column)
{
    int32_t g;
    if (!p->g_idx.data) return column / p->column_block;
    memcpy(&g, (const uint8_t *)p->g_idx.data + 4 * column, sizeof g);
    return (uint32_t)g;
}

static uint32_t word_at(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Value i of a stream of words a stride apart. */
static unsigned stream_at(const uint8_t *words, uint64_t stride, uint64_t i, unsigned bits)
{
    const unsigned shift = i % 32 * bits % 32;
    const uint8_t *at = words + 4 * stride * (i / 32 * bits + i % 32 * bits / 32);
    uint32_t value = word_at(at) >> shift;
    if (shift + bits > 32) value |= word_at(at + 4 * stride) << (32 - shift);
    return value & ((1U << bits) - 1);
}

static int zero_at(const qn_packed *p, uint64_t r, uint64_t g)
{
    const uint8_t *z = p->zeros.data;
    switch (p->zero_layout) {
    case QN_ZERO_CONSTANT: break;
    case QN_ZERO_IN_ROWS:
        z += 4 * g * qn_packed_words(p->rows, p->bits);
        return (int)(stream_at(z, 1, r, p->bits) + p->zero);
    case QN_ZERO_AWQ: return word_at(z + 4 * (g * (p->rows / 8) + r / 8)) >> qn_awq_shift(r) & 15;
    case QN_ZERO_IN_COLUMNS: return (int)stream_at(z + 4 * g, p->n_groups, r, p->bits);
    case QN_ZERO_SIGNED: return (int)((const int8_t *)z)[r * p->n_groups + g] + (int)p->zero;
    }
    return (int)p->zero;
}

/* ---- codes ------------------------------------------------------------------------------ */

/* Columns c .. c+n of row r; c is a multiple of CHUNK. */
static void codes_of(const qn_packed *p, uint64_t r, uint64_t c, size_t n, uint8_t *codes)
{
    const uint8_t *data = p->codes.data;
    switch (p->code_layout) {
    case QN_CODES_IN_ROWS:
        qn_unpack(data + r * p->row_bytes + 4 * (c / 32 * p->bits), 1, n, p->bits, codes);
        return;
    case QN_CODES_IN_COLUMNS:
        qn_unpack(data + c / 32 * p->bits * p->row_bytes + 4 * r, (size_t)p->rows, n, p->bits,
                  codes);
        return;
    case QN_CODES_AWQ: {
        const uint8_t *at = data + c * p->row_bytes + r / 8 * 4 + qn_awq_shift(r) / 8;
        const unsigned shift = qn_awq_shift(r) % 8;
        for (size_t i = 0; i < n; i++, at += p->row_bytes) codes[i] = *at >> shift & 15;
        return;
    }
    case QN_CODES_SIGNED: memcpy(codes, data + r * p->row_bytes + c, n); return;
    case QN_CODES_FLOATS: return; /* decoded where they lie */
    }
}

/* ---- values ------------------------------------------------------------------------------ */

/* The loops below have a fixed length, so that compilers use vectors. */
static void integers(const uint8_t *codes, int zero, float scale, float *out)
{
    for (int i = 0; i < RUN; i++) out[i] = scale * (float)((int)codes[i] - zero);
}

static void signed_integers(const uint8_t *codes, int zero, float scale, float *out)
{
    for (int i = 0; i < RUN; i++) out[i] = scale * (float)((int)(int8_t)codes[i] - zero);
}

static void biased(const uint8_t *codes, float bias, float scale, float *out)
{
    for (int i = 0; i < RUN; i++) out[i] = scale * (float)codes[i] + bias;
}

static void scaled(float scale, float *out)
{
    for (int i = 0; i < RUN; i++) out[i] = scale * out[i];
}

/* RUN columns of one group. */
static void run_of(const qn_packed *p, float scale, float bias, int zero, const uint8_t *codes,
                   float *out)
{
    if (p->code_layout == QN_CODES_FLOATS)
        scaled(scale, out);
    else if (p->biases.data)
        biased(codes, bias, scale, out);
    else if (p->code_layout == QN_CODES_SIGNED)
        signed_integers(codes, zero, scale, out);
    else
        integers(codes, zero, scale, out);
}

/* n columns of row r in group g: their codes, or the floats of these, to values. */
static void group_values(const qn_packed *p, uint64_t r, uint64_t g, const uint8_t *codes, size_t n,
                         float *out)
{
    const uint64_t at = r / p->row_block * p->row_step + g * p->group_step;
    const float scale = number_at(&p->scales, at);
    const float bias = p->biases.data ? number_at(&p->biases, at) : 0;
    const int zero = zero_at(p, r, g);
    for (; n >= RUN; n -= RUN, codes += RUN, out += RUN) run_of(p, scale, bias, zero, codes, out);
    if (!n) return;
    float rest[RUN] = {0};
    uint8_t rest_codes[RUN] = {0};
    if (p->code_layout == QN_CODES_FLOATS) memcpy(rest, out, n * sizeof *rest);
    memcpy(rest_codes, codes, n);
    run_of(p, scale, bias, zero, rest_codes, rest);
    memcpy(out, rest, n * sizeof *rest);
}

/* Columns in any order of groups. */
static void ordered_values(const qn_packed *p, uint64_t r, uint64_t c, const uint8_t *codes,
                           size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t g = group_of(p, c + i);
        const float scale =
            number_at(&p->scales, r / p->row_block * p->row_step + g * p->group_step);
        out[i] = scale * (float)((int)codes[i] - zero_at(p, r, g));
    }
}

/* Columns c .. c+n of row r; c is a multiple of CHUNK. */
static void values_of(const qn_packed *p, const qn_kernels *k, uint64_t r, uint64_t c, size_t n,
                      float *out)
{
    uint8_t codes[CHUNK] = {0};
    codes_of(p, r, c, n, codes);
    if (p->code_layout == QN_CODES_FLOATS) {
        const uint64_t a_byte = p->columns / p->row_bytes;
        k->decode[p->codes.dtype]((const uint8_t *)p->codes.data + r * p->row_bytes + c / a_byte,
                                  out, n);
    }
    if (p->g_idx.data) {
        ordered_values(p, r, c, codes, n, out);
        return;
    }
    for (size_t i = 0, end; i < n; i = end) {
        const uint64_t g = group_of(p, c + i);
        end = (size_t)qn_min_u64(n, (g + 1) * p->column_block - c);
        group_values(p, r, g, codes + i, end - i, out + i);
    }
}

/* ---- the source -------------------------------------------------------------------------- */

static qn_status decode_some(const qn_rows *s, const qn_kernels *k, const uint64_t *rows, size_t n,
                             float *out, qn_error *err)
{
    const qn_packed *p = s->state;
    (void)err;
    for (uint64_t c = 0; c < p->columns; c += CHUNK) {
        const size_t here = (size_t)qn_min_u64(CHUNK, p->columns - c);
        for (size_t i = 0; i < n; i++) values_of(p, k, rows[i], c, here, out + i * p->columns + c);
    }
    return QN_OK;
}

static qn_status decode_rows(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                             float *out, qn_error *err)
{
    uint64_t rows[BAND];
    for (size_t n; r0 < r1; r0 += n, out += n * s->columns) {
        n = (size_t)qn_min_u64(BAND, r1 - r0);
        for (size_t i = 0; i < n; i++) rows[i] = r0 + i;
        decode_some(s, k, rows, n, out, err);
    }
    return QN_OK;
}

/* Rows that lie in columns end together, with the last one. */
static void rows_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    const qn_packed *p = s->state;
    const qn_map *file = &p->reader->files[p->codes.file];
    const bool in_columns = p->code_layout == QN_CODES_IN_COLUMNS || p->code_layout == QN_CODES_AWQ;
    if (!in_columns)
        qn_map_done(file, p->codes.offset + r0 * p->row_bytes, (r1 - r0) * p->row_bytes);
    else if (r1 == p->rows)
        qn_map_done(file, p->codes.offset, p->codes.bytes);
}

const qn_rows *qn_packed_rows(qn_arena *a, const qn_packed *p)
{
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    if (!s) return NULL;
    *s = (qn_rows){.dtype = QN_F32,
                   .rows = p->rows,
                   .columns = p->columns,
                   .source_bytes = p->bytes,
                   .decode = decode_rows,
                   .gather = decode_some,
                   .done = rows_done,
                   .state = p};
    return s;
}
