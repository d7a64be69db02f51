#include "validate/kld_base.h"

#include <string.h>

#include "formats/base/sizes.h"

static const char magic[8] = "_logits_";

enum { HEAD_BYTES = 20, LARGEST_CODE = 65535 };

/* Logits so far below the largest have no code of their own. */
static const float depth = 16.0f;

size_t qn_kld_base_row_bytes(size_t n_vocab)
{
    return 2 * (2 * ((n_vocab + 1) / 2) + 4);
}

/* ---- reading ----------------------------------------------------------------------- */

bool qn_kld_base_is(const char *path)
{
    qn_map m = {0};
    if (qn_path_is_dir(path) || qn_map_open(&m, path, NULL)) return false;
    const bool is = m.size >= HEAD_BYTES && !memcmp(m.data, magic, sizeof magic);
    qn_map_close(&m);
    return is;
}

static uint32_t number_at(const qn_map *m, size_t at)
{
    uint32_t n;
    memcpy(&n, m->data + at, sizeof n);
    return n;
}

static qn_status measure(qn_kld_base *b, qn_error *err)
{
    const char *path = b->map.path;
    uint64_t ids, rows, all;
    if (b->map.size < HEAD_BYTES || memcmp(b->map.data, magic, sizeof magic) != 0)
        return qn_fail(err, QN_ERR_DATA, "%s: is no file of llama-perplexity's base logits", path);
    b->n_ctx = number_at(&b->map, 8);
    b->n_vocab = number_at(&b->map, 12);
    b->n_chunks = number_at(&b->map, 16);
    if (b->n_ctx < 3 || b->n_ctx > INT32_MAX || !b->n_vocab || b->n_vocab > INT32_MAX ||
        !b->n_chunks || b->n_chunks > INT32_MAX)
        return qn_fail(err, QN_ERR_DATA, "%s: a context of %zu, a vocabulary of %zu, %zu chunks",
                       path, b->n_ctx, b->n_vocab, b->n_chunks);
    b->scored = b->n_ctx - 1 - b->n_ctx / 2;
    b->row_bytes = qn_kld_base_row_bytes(b->n_vocab);
    if (!qn_mul_u64(4 * b->n_ctx, b->n_chunks, &ids) ||
        !qn_mul_u64(b->scored * b->n_chunks, b->row_bytes, &rows) || !qn_add_u64(ids, rows, &all) ||
        all > b->map.size - HEAD_BYTES)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: %zu chunks of %zu tokens over a vocabulary of %zu do not fit in its "
                       "%llu bytes (is it truncated?)",
                       path, b->n_chunks, b->n_ctx, b->n_vocab, (unsigned long long)b->map.size);
    b->ids = (const uint32_t *)(const void *)(b->map.data + HEAD_BYTES);
    b->rows = b->map.data + HEAD_BYTES + ids;
    for (size_t i = 0; i < b->n_ctx * b->n_chunks; i++)
        if (b->ids[i] >= b->n_vocab)
            return qn_fail(err, QN_ERR_DATA, "%s: token %zu is %u, the vocabulary has %zu", path, i,
                           b->ids[i], b->n_vocab);
    return QN_OK;
}

qn_status qn_kld_base_open(qn_kld_base *out, const char *path, qn_error *err)
{
    *out = (qn_kld_base){0};
    qn_status status = qn_map_open(&out->map, path, err);
    if (!status) status = measure(out, err);
    if (status) qn_kld_base_close(out);
    return status;
}

void qn_kld_base_close(qn_kld_base *b)
{
    qn_map_close(&b->map);
    *b = (qn_kld_base){0};
}

/* The row's codes. */
static const uint8_t *find_row(const qn_kld_base *b, size_t chunk, size_t row, float *scale,
                               float *minimum)
{
    const uint8_t *p = b->rows + (chunk * b->scored + row) * b->row_bytes;
    memcpy(scale, p, sizeof *scale);
    memcpy(minimum, p + 4, sizeof *minimum);
    return p + 8;
}

qn_status qn_kld_base_check(const qn_kld_base *b, size_t chunk, size_t row, size_t n, qn_error *err)
{
    /* the largest is at least 1 / n_vocab, and no other is further below than depth */
    static const float least = -100.0f, rounding = 1e-3f;
    for (size_t i = row; i < row + n; i++) {
        float scale, minimum;
        find_row(b, chunk, i, &scale, &minimum);
        if (scale >= 0.0f && minimum >= least && minimum + scale * LARGEST_CODE <= rounding)
            continue;
        return qn_fail(err, QN_ERR_DATA,
                       "%s: chunk %zu, row %zu: from %g in steps of %g are no logarithms of "
                       "probabilities",
                       b->map.path, chunk + 1, i + 1, (double)minimum, (double)scale);
    }
    return QN_OK;
}

void qn_kld_base_row(const qn_kld_base *b, size_t chunk, size_t row, float *out)
{
    float scale, minimum;
    const uint8_t *codes = find_row(b, chunk, row, &scale, &minimum);
    for (size_t v = 0; v < b->n_vocab; v++) {
        uint16_t code;
        memcpy(&code, codes + 2 * v, sizeof code);
        out[v] = scale * (float)code + minimum;
    }
}

/* ---- writing ------------------------------------------------------------------------ */

size_t qn_kld_base_head_bytes(const qn_chunks *c)
{
    return HEAD_BYTES + 4 * c->n_ctx * c->chunks;
}

void qn_kld_base_put_head(const qn_chunks *c, size_t n_vocab, uint8_t *out)
{
    const uint32_t numbers[3] = {(uint32_t)c->n_ctx, (uint32_t)n_vocab, (uint32_t)c->chunks};
    memcpy(out, magic, sizeof magic);
    memcpy(out + sizeof magic, numbers, sizeof numbers);
    memcpy(out + HEAD_BYTES, c->ids, 4 * c->n_ctx * c->chunks);
}

/* Nearest, halves to even; x lies in 0 .. 65535. */
static uint16_t nearest_code(float x)
{
    const float shifted = x + 0x1.8p23f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (uint16_t)bits;
}

void qn_kld_base_put_row(const qn_kernels *k, const float *logits, size_t n_vocab, uint8_t *out)
{
    const float max = k->max(logits, n_vocab);
    float min = logits[0];
    for (size_t v = 1; v < n_vocab; v++)
        if (logits[v] < min) min = logits[v];
    if (min < max - depth) min = max - depth;
    const float log_sum = (float)(qn_log_sum_exp(k, logits, n_vocab, NULL) - (double)max);
    const float minimum = min - max - log_sum, scale = (max - min) / LARGEST_CODE;
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    memset(out, 0, qn_kld_base_row_bytes(n_vocab));
    memcpy(out, &scale, sizeof scale);
    memcpy(out + 4, &minimum, sizeof minimum);
    for (size_t v = 0; v < n_vocab; v++) {
        const float x = inverse * (logits[v] - min);
        const uint16_t code =
            logits[v] > min ? nearest_code(x < LARGEST_CODE ? x : LARGEST_CODE) : 0;
        memcpy(out + 8 + 2 * v, &code, sizeof code);
    }
}
