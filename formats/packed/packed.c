/* Rows of a packed weight.
 *
 * A matrix that lies in columns is read in tiles, BAND rows by CHUNK columns:
 * each cache line of it serves all rows of the band that it holds.  Nothing is
 * allocated, whatever the width. */
#include "formats/packed/packed.h"

#include <string.h>

#include "formats/base/sizes.h"
#include "formats/packed/packing.h"
#include "kernels/blocks.h"
#include "kernels/half.h"

enum {
    BAND = 64,    /* rows of a tile */
    CHUNK = 1024, /* columns of a tile: whole words of every width */
    RUN = 32,
    TABLE = 256 /* groups of a row whose scales are looked up once a tile */
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

static float scale_at(const qn_packed *p, const qn_tensor *t, uint64_t r, uint64_t g)
{
    return number_at(t, r / p->row_block * p->row_step + g * p->group_step);
}

/* ---- codes ------------------------------------------------------------------------------ */

/* A tile under way: columns c .. c+n, which begin at a multiple of CHUNK. */
typedef struct {
    const qn_packed *p;
    float number[256]; /* of each code */
    uint64_t c;
    size_t n;
    /* AWQ: the words of two times eight rows, since a permuted matrix is taken from
     * two places in turn. */
    uint64_t octet[2]; /* rows / 8; UINT64_MAX: none */
    uint32_t words[2][CHUNK];
    unsigned last; /* which was used last */
} tile;

static void make_numbers(const qn_packed *p, const qn_kernels *k, float number[256])
{
    uint8_t codes[256];
    for (int i = 0; i < 256; i++) codes[i] = (uint8_t)i;
    switch (p->number) {
    case QN_F8_E4M3:
    case QN_F8_E5M2: k->decode[p->number](codes, number, 256); return;
    case QN_F4:
        for (int i = 0; i < 8; i++) codes[i] = (uint8_t)(2 * i | (2 * i + 1) << 4);
        k->decode[QN_F4](codes, number, 16);
        return;
    default:
        for (int i = 0; i < 256; i++)
            number[i] = (float)(p->number == QN_I8 && i > 127 ? i - 256 : i);
    }
}

/* Eight rows share each of their words, which lie far apart. */
static const uint32_t *awq_words(tile *t, uint64_t octet)
{
    const qn_packed *p = t->p;
    if (t->octet[t->last] == octet) return t->words[t->last];
    t->last = !t->last;
    if (t->octet[t->last] == octet) return t->words[t->last];
    const uint8_t *at = (const uint8_t *)p->codes.data + t->c * p->row_bytes + 4 * octet;
    for (size_t i = 0; i < t->n; i++, at += p->row_bytes) t->words[t->last][i] = word_at(at);
    t->octet[t->last] = octet;
    return t->words[t->last];
}

static void awq_codes(const uint32_t *words, unsigned shift, size_t n, uint8_t *codes)
{
    for (size_t i = 0; i < n; i++) codes[i] = words[i] >> shift & 15;
}

static void codes_of(tile *t, uint64_t r, uint8_t *codes)
{
    const qn_packed *p = t->p;
    const uint8_t *data = p->codes.data;
    const uint64_t words = t->c / 32 * p->bits; /* before the tile's */
    switch (p->code_layout) {
    case QN_CODES_IN_ROWS:
        qn_unpack(data + r * p->row_bytes + 4 * words, 1, t->n, p->bits, codes);
        return;
    case QN_CODES_IN_COLUMNS:
        qn_unpack(data + words * p->row_bytes + 4 * r, (size_t)p->rows, t->n, p->bits, codes);
        return;
    case QN_CODES_AWQ: awq_codes(awq_words(t, r / 8), qn_awq_shift(r), t->n, codes); return;
    case QN_CODES_IN_BYTES: memcpy(codes, data + r * p->row_bytes + t->c, t->n); return;
    }
}

/* ---- values ------------------------------------------------------------------------------ */

/* Codes that are their own numbers; RUN of them, so that compilers use vectors. */
static void run_values(const uint8_t *restrict codes, float scale, float zero, float bias,
                       float *restrict out)
{
    for (int i = 0; i < RUN; i++) out[i] = scale * ((float)codes[i] - zero) + bias;
}

/* n columns of row r in group g. */
static void group_values(const tile *t, uint64_t r, uint64_t g, const uint8_t *codes, size_t n,
                         float *out)
{
    const qn_packed *p = t->p;
    const float scale = scale_at(p, &p->scales, r, g), zero = (float)zero_at(p, r, g);
    /* adding -0 changes nothing, not even the sign of a zero */
    const float bias = p->biases.data ? scale_at(p, &p->biases, r, g) : -0.0F;
    size_t i = 0;
    if (p->number == QN_U8)
        for (; i + RUN <= n; i += RUN) run_values(codes + i, scale, zero, bias, out + i);
    for (; i < n; i++) out[i] = scale * (t->number[codes[i]] - zero) + bias;
}

/* A row's columns in any order of groups. */
static void ordered_values(const tile *t, uint64_t r, const uint8_t *codes, float *out)
{
    const qn_packed *p = t->p;
    float scale[TABLE], zero[TABLE];
    const bool looked_up = p->n_groups <= TABLE;
    for (uint64_t g = 0; looked_up && g < p->n_groups; g++) {
        scale[g] = scale_at(p, &p->scales, r, g);
        zero[g] = (float)zero_at(p, r, g);
    }
    for (size_t i = 0; i < t->n; i++) {
        const uint64_t g = group_of(p, t->c + i);
        if (looked_up)
            out[i] = scale[g] * (t->number[codes[i]] - zero[g]);
        else
            group_values(t, r, g, codes + i, 1, out + i);
    }
}

static void row_values(tile *t, uint64_t r, float *out)
{
    uint8_t codes[CHUNK];
    codes_of(t, r, codes);
    if (t->p->g_idx.data) {
        ordered_values(t, r, codes, out);
        return;
    }
    for (size_t i = 0, end; i < t->n; i = end) {
        const uint64_t g = group_of(t->p, t->c + i);
        end = (size_t)qn_min_u64(t->n, (g + 1) * t->p->column_block - t->c);
        group_values(t, r, g, codes + i, end - i, out + i);
    }
}

/* ---- the source -------------------------------------------------------------------------- */

static qn_status decode_some(const qn_rows *s, const qn_kernels *k, const uint64_t *rows, size_t n,
                             float *out, qn_error *err)
{
    tile t;
    (void)err;
    t.p = s->state;
    t.last = 0;
    make_numbers(t.p, k, t.number);
    for (t.c = 0; t.c < s->columns; t.c += CHUNK) {
        t.n = (size_t)qn_min_u64(CHUNK, s->columns - t.c);
        t.octet[0] = t.octet[1] = UINT64_MAX;
        for (size_t i = 0; i < n; i++) row_values(&t, rows[i], out + i * s->columns + t.c);
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

/* MXFP4's codes and scales as ggml's blocks: the scale in front, element j beside
 * j + 16. */
static void repack_mxfp4(const qn_rows *s, uint64_t r, void *out)
{
    const qn_packed *p = s->state;
    const uint8_t *codes = (const uint8_t *)p->codes.data + r * p->row_bytes;
    const uint8_t *scales = (const uint8_t *)p->scales.data + r * p->row_step;
    qn_block_mxfp4 *block = out;
    for (uint64_t g = 0; g < p->n_groups; g++, codes += 16, block++) {
        block->e = scales[g * p->group_step];
        for (int j = 0; j < 16; j += 2) {
            const uint8_t low = codes[j / 2], high = codes[8 + j / 2];
            block->q[j] = (uint8_t)((low & 15) | (high & 15) << 4);
            block->q[j + 1] = (uint8_t)(low >> 4 | (high & 0xf0));
        }
    }
}

static bool is_mxfp4(const qn_packed *p)
{
    return p->number == QN_F4 && p->scales.dtype == QN_F8_E8M0 && p->column_block == 32 &&
           p->row_block == 1 && p->columns % 32 == 0 && !p->biases.data && !p->g_idx.data;
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
                   .repack = is_mxfp4(p) ? repack_mxfp4 : NULL,
                   .blocks = QN_MXFP4,
                   .done = rows_done,
                   .state = p};
    return s;
}
