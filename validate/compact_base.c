#include "validate/compact_base.h"

#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/digest.h"
#include "formats/base/sizes.h"

static const char magic[8] = "QUERNKLB";

enum { VERSION = 1, DIGESTS_AT = 32, CHECKED = 128, ROW_MOST = 65535 };

/* ---- the head ------------------------------------------------------------------------- */

static const char digits[] = "0123456789abcdef";

static void bytes_of_hex(const char hex[65], uint8_t out[32])
{
    for (size_t i = 0; i < 32; i++) {
        const char *high = hex[0] ? strchr(digits, hex[2 * i]) : NULL;
        const char *low = hex[0] ? strchr(digits, hex[2 * i + 1]) : NULL;
        out[i] = high && low ? (uint8_t)(16 * (high - digits) + (low - digits)) : 0;
    }
}

static void hex_of_bytes(const uint8_t bytes[32], char out[65])
{
    for (size_t i = 0; i < 32; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[64] = '\0';
}

static uint64_t check_of(const uint8_t *head, const uint32_t *ids, size_t n_ids,
                         const uint32_t *table, size_t n_rows)
{
    const uint64_t parts[3] = {qn_xxh3(head, CHECKED), qn_xxh3(ids, n_ids * sizeof *ids),
                               qn_xxh3(table, n_rows * sizeof *table)};
    return qn_xxh3(parts, sizeof parts);
}

static size_t scored_of(size_t n_ctx)
{
    return n_ctx - 1 - n_ctx / 2;
}

void qn_compact_head_put(const qn_compact_head *h, const uint32_t *ids, const uint32_t *table,
                         uint8_t out[QN_COMPACT_HEAD])
{
    const uint32_t numbers[4] = {VERSION, h->n_ctx, h->n_vocab, h->n_chunks};
    memcpy(out, magic, sizeof magic);
    memcpy(out + 8, numbers, sizeof numbers);
    memcpy(out + 24, &h->row_bytes, sizeof h->row_bytes);
    bytes_of_hex(h->of.model, out + DIGESTS_AT);
    bytes_of_hex(h->of.tokenizer, out + DIGESTS_AT + 32);
    bytes_of_hex(h->of.text, out + DIGESTS_AT + 64);
    const uint64_t check = check_of(out, ids, (size_t)h->n_chunks * h->n_ctx, table,
                                    h->n_chunks * scored_of(h->n_ctx));
    memcpy(out + CHECKED, &check, sizeof check);
}

uint32_t qn_compact_entry(const uint8_t *row, size_t bytes)
{
    return (uint32_t)bytes | (uint32_t)(qn_xxh3(row, bytes) & 0xffff) << 16;
}

/* ---- reading --------------------------------------------------------------------------- */

static bool begins_as_one(const qn_map *m)
{
    return m->size >= sizeof magic && !memcmp(m->data, magic, sizeof magic);
}

bool qn_compact_base_is(const char *path)
{
    qn_map m = {0};
    if (qn_path_is_dir(path) || qn_map_open(&m, path, NULL)) return false;
    const bool is = begins_as_one(&m);
    qn_map_close(&m);
    return is;
}

static qn_status read_head(qn_compact_base *b, uint64_t *row_bytes, qn_error *err)
{
    const char *path = b->map.path;
    uint32_t n[4];
    if (!begins_as_one(&b->map))
        return qn_fail(err, QN_ERR_DATA, "%s: is no compact base file", path);
    if (b->map.size < QN_COMPACT_HEAD)
        return qn_fail(err, QN_ERR_DATA, "%s: %llu bytes are no head of %d (is it truncated?)",
                       path, (unsigned long long)b->map.size, QN_COMPACT_HEAD);
    memcpy(n, b->map.data + 8, sizeof n);
    memcpy(row_bytes, b->map.data + 24, sizeof *row_bytes);
    if (n[0] != VERSION)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: a base file of version %u, this quern reads %d", path, n[0], VERSION);
    if (n[1] < 3 || n[1] > INT32_MAX || !n[2] || n[2] > INT32_MAX || !n[3] || n[3] > INT32_MAX)
        return qn_fail(err, QN_ERR_DATA, "%s: a context of %u, a vocabulary of %u, %u chunks", path,
                       n[1], n[2], n[3]);
    b->n_ctx = n[1];
    b->n_vocab = n[2];
    b->n_chunks = n[3];
    b->scored = scored_of(b->n_ctx);
    hex_of_bytes(b->map.data + DIGESTS_AT, b->of.model);
    hex_of_bytes(b->map.data + DIGESTS_AT + 32, b->of.tokenizer);
    hex_of_bytes(b->map.data + DIGESTS_AT + 64, b->of.text);
    return QN_OK;
}

/* Where the parts are; all of them, and nothing behind. */
static qn_status measure(qn_compact_base *b, uint64_t row_bytes, uint64_t *rows, qn_error *err)
{
    const uint64_t ids = (uint64_t)b->n_chunks * b->n_ctx; /* below 2^62 */
    const uint64_t entries = (uint64_t)b->n_chunks * b->scored;
    uint64_t bytes, all;
    if (!qn_mul_u64(4, ids + entries, &bytes) || !qn_add_u64(bytes, QN_COMPACT_HEAD, rows) ||
        !qn_add_u64(*rows, row_bytes, &all) || all != b->map.size)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: %zu chunks of %zu tokens and %llu bytes of rows are not its %llu bytes "
                       "(is it truncated?)",
                       b->map.path, b->n_chunks, b->n_ctx, (unsigned long long)row_bytes,
                       (unsigned long long)b->map.size);
    b->ids = (const uint32_t *)(const void *)(b->map.data + QN_COMPACT_HEAD);
    b->table = b->ids + ids;
    uint64_t check;
    memcpy(&check, b->map.data + CHECKED, sizeof check);
    if (check != check_of(b->map.data, b->ids, (size_t)ids, b->table, (size_t)entries))
        return qn_fail(err, QN_ERR_DATA, "%s: is damaged: its check does not fit", b->map.path);
    for (size_t i = 0; i < ids; i++)
        if (b->ids[i] >= b->n_vocab)
            return qn_fail(err, QN_ERR_DATA, "%s: token %zu is %u, the vocabulary has %zu",
                           b->map.path, i, b->ids[i], b->n_vocab);
    return QN_OK;
}

static qn_status place_chunks(qn_compact_base *b, uint64_t rows, qn_error *err)
{
    uint64_t at = rows;
    b->offsets = qn_alloc(b->n_chunks, sizeof *b->offsets);
    if (!b->offsets) return qn_fail_memory(err, b->map.path);
    for (size_t c = 0; c < b->n_chunks; c++) {
        b->offsets[c] = at;
        for (size_t i = 0; i < b->scored; i++) at += b->table[c * b->scored + i] & ROW_MOST;
    }
    if (at == b->map.size) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: its rows end at byte %llu, the file at %llu", b->map.path,
                   (unsigned long long)at, (unsigned long long)b->map.size);
}

qn_status qn_compact_base_open(qn_compact_base *out, const char *path, qn_error *err)
{
    uint64_t row_bytes, rows;
    *out = (qn_compact_base){0};
    qn_status status = qn_map_open(&out->map, path, err);
    if (!status) status = read_head(out, &row_bytes, err);
    if (!status) status = measure(out, row_bytes, &rows, err);
    if (!status) status = place_chunks(out, rows, err);
    if (status) qn_compact_base_close(out);
    return status;
}

void qn_compact_base_close(qn_compact_base *b)
{
    qn_free(b->offsets);
    qn_map_close(&b->map);
    *b = (qn_compact_base){0};
}

qn_status qn_compact_base_rows(const qn_compact_base *b, size_t chunk, size_t row, size_t n,
                               qn_compact_row *out, qn_error *err)
{
    const uint32_t *entries = b->table + chunk * b->scored;
    uint64_t at = b->offsets[chunk];
    for (size_t i = 0; i < row; i++) at += entries[i] & ROW_MOST;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *bytes = b->map.data + at;
        const size_t length = entries[row + i] & ROW_MOST;
        const char *wrong = qn_compact_entry(bytes, length) != entries[row + i]
                                ? "is damaged: its check does not fit"
                                : qn_compact_row_get(&out[i], bytes, length, b->n_vocab);
        if (wrong)
            return qn_fail(err, QN_ERR_DATA, "%s: chunk %zu, row %zu: %s", b->map.path, chunk + 1,
                           row + i + 1, wrong);
        at += length;
    }
    return QN_OK;
}
