/* Reading GGUF: docs/formats/gguf.md has the bytes and what is refused
 * (ggml/docs/gguf.md; the rules that ggml's own reader enforces). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/gguf.h"
#include "formats/gguf_split.h"
#include "formats/reader.h"

enum {
    MAX_STRING = 1 << 30, /* bytes; ggml's limit, also for the length of arrays */
    MAX_KEY = 65535,
    /* The least bytes that a key with its value, a tensor's entry take. */
    LEAST_KEY_BYTES = 8 + 1 + 4 + 1,
    LEAST_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8,
};

typedef struct {
    const qn_map *map;
    uint64_t at;
    uint64_t alignment; /* of this file's data */
    qn_error *err;
} cursor;

/* ---- pieces ---------------------------------------------------------------------------- */

static uint64_t left(const cursor *c)
{
    return c->map->size - c->at;
}

static qn_status fail_short(const cursor *c, const char *what, uint64_t wanted)
{
    return qn_fail(
        c->err, QN_ERR_DATA,
        "%s: %s at byte %llu takes %llu bytes, the file has %llu more (is it truncated?)",
        c->map->path, what, (unsigned long long)c->at, (unsigned long long)wanted,
        (unsigned long long)left(c));
}

static qn_status take(cursor *c, const char *what, uint64_t n, const char **out)
{
    if (n > left(c)) return fail_short(c, what, n);
    *out = (const char *)c->map->data + c->at;
    c->at += n;
    return QN_OK;
}

static qn_status take_u32(cursor *c, const char *what, uint32_t *out)
{
    const char *p = NULL;
    const qn_status status = take(c, what, sizeof *out, &p);
    if (!status) memcpy(out, p, sizeof *out);
    return status;
}

static qn_status take_u64(cursor *c, const char *what, uint64_t *out)
{
    const char *p = NULL;
    const qn_status status = take(c, what, sizeof *out, &p);
    if (!status) memcpy(out, p, sizeof *out);
    return status;
}

static qn_status take_string(cursor *c, const char *what, qn_str *out)
{
    const char *p = NULL;
    uint64_t n = 0;
    qn_status status = take_u64(c, what, &n);
    if (status) return status;
    if (n > MAX_STRING)
        return qn_fail(c->err, QN_ERR_DATA, "%s: %s at byte %llu is %llu bytes long, at most %d",
                       c->map->path, what, (unsigned long long)c->at, (unsigned long long)n,
                       MAX_STRING);
    if ((status = take(c, what, n, &p))) return status;
    *out = qn_str_of(p, (size_t)n);
    return QN_OK;
}

/* ---- keys and values ---------------------------------------------------------------------- */

static qn_status check_key(const cursor *c, qn_str key, uint64_t number)
{
    const char *fault = NULL;
    unsigned cp;
    if (key.n == 0) fault = "is empty";
    if (key.n > MAX_KEY) fault = "is longer than 65535 bytes";
    for (size_t i = 0, used; !fault && i < key.n; i += used)
        if (!(used = qn_utf8_decode(key.s + i, key.n - i, &cp)) || cp == 0) {
            fault = "is not UTF-8";
            break;
        }
    if (!fault) return QN_OK;
    return qn_fail(c->err, QN_ERR_DATA, "%s: key number %llu %s", c->map->path,
                   (unsigned long long)number, fault);
}

static qn_status take_elements(cursor *c, const char *what, qn_meta_value *v)
{
    const uint64_t start = c->at;
    const size_t size = qn_meta_type_bytes(v->element);
    qn_status status;
    const char *p = NULL;
    qn_str s;
    if (size) { /* count is at most 2^30, so the product fits */
        if ((status = take(c, what, v->count * size, &p))) return status;
    } else {
        /* Each string takes 8 bytes or more: an absurd count ends soon. */
        if (v->count > left(c) / sizeof(uint64_t)) return fail_short(c, what, v->count * 8);
        for (uint64_t i = 0; i < v->count; i++)
            if ((status = take_string(c, what, &s))) return status;
    }
    v->bytes = qn_str_of((const char *)c->map->data + start, (size_t)(c->at - start));
    return QN_OK;
}

static qn_status take_type(cursor *c, const char *what, qn_meta_type *out)
{
    uint32_t type = 0;
    const qn_status status = take_u32(c, what, &type);
    if (status) return status;
    if (type >= QN_META_TYPE_COUNT)
        return qn_fail(c->err, QN_ERR_DATA, "%s: %s has type %u, GGUF's end at %d", c->map->path,
                       what, type, QN_META_TYPE_COUNT - 1);
    *out = (qn_meta_type)type;
    return QN_OK;
}

static qn_status take_value(cursor *c, qn_meta_value *v)
{
    char what[96];
    snprintf(what, sizeof what, "key \"%.*s\"", v->key.n < 64 ? (int)v->key.n : 64, v->key.s);
    qn_status status = take_type(c, what, &v->type);
    if (status) return status;
    v->element = v->type;
    v->count = 1;
    if (v->type == QN_META_ARRAY) {
        if ((status = take_type(c, what, &v->element))) return status;
        if (v->element == QN_META_ARRAY)
            return qn_fail(c->err, QN_ERR_UNSUPPORTED, "%s: %s is an array of arrays", c->map->path,
                           what);
        if ((status = take_u64(c, what, &v->count))) return status;
        if (v->count > MAX_STRING)
            return qn_fail(c->err, QN_ERR_DATA, "%s: %s has %llu elements, at most %d",
                           c->map->path, what, (unsigned long long)v->count, MAX_STRING);
    }
    return take_elements(c, what, v);
}

static qn_status parse_metadata(cursor *c, qn_metadata *metadata, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        qn_meta_value v;
        qn_status status = take_string(c, "a key", &v.key);
        if (!status) status = check_key(c, v.key, i);
        if (!status) status = take_value(c, &v);
        if (!status) status = qn_metadata_add_view(metadata, &v, c->err);
        if (status) return status;
    }
    return QN_OK;
}

static qn_status find_alignment(cursor *c, const qn_metadata *metadata)
{
    const qn_meta_value *v = qn_metadata_find(metadata, "general.alignment");
    c->alignment = QN_GGUF_ALIGNMENT;
    if (!v) return QN_OK;
    if (v->type != QN_META_U32)
        return qn_fail(c->err, QN_ERR_DATA, "%s: general.alignment is of type %s, not u32",
                       c->map->path, qn_meta_type_name(v->type));
    uint32_t align;
    memcpy(&align, v->bytes.s, sizeof align);
    if (align == 0 || (align & (align - 1)))
        return qn_fail(c->err, QN_ERR_DATA, "%s: general.alignment is %u, not a power of two",
                       c->map->path, align);
    c->alignment = align;
    return QN_OK;
}

/* Parts behind the first one: theirs must be what the first one announced. */
static qn_status check_part(const cursor *c, const qn_reader *r, uint32_t file,
                            const qn_metadata *metadata)
{
    qn_gguf_split all, mine;
    qn_status status = qn_gguf_split_read(r->metadata, &all, c->err);
    if (status || (status = qn_gguf_split_read(metadata, &mine, c->err))) return status;
    if (mine.count == all.count && mine.no == file) return QN_OK;
    return qn_fail(c->err, QN_ERR_DATA,
                   "%s: is named as part %u of %llu, but by its keys it is part %llu of %llu",
                   c->map->path, file + 1, (unsigned long long)all.count,
                   (unsigned long long)mine.no + 1, (unsigned long long)mine.count);
}

/* ---- tensors ------------------------------------------------------------------------------ */

static qn_status check_name(const cursor *c, qn_str name, uint64_t number)
{
    if (name.n > QN_GGUF_MAX_NAME)
        return qn_fail(c->err, QN_ERR_DATA,
                       "%s: tensor %.*s: its name is %zu bytes long, at most %d", c->map->path,
                       QN_GGUF_MAX_NAME, name.s, name.n, QN_GGUF_MAX_NAME);
    if (memchr(name.s, 0, name.n))
        return qn_fail(c->err, QN_ERR_DATA, "%s: the name of tensor number %llu holds a zero byte",
                       c->map->path, (unsigned long long)number);
    return QN_OK;
}

static qn_status take_shape(cursor *c, qn_tensor *t)
{
    uint32_t rank = 0;
    qn_status status = take_u32(c, t->name, &rank);
    if (status) return status;
    if (rank > QN_GGUF_MAX_RANK)
        return qn_fail(c->err, QN_ERR_DATA, "%s: tensor %s: %u dimensions, GGUF has at most %d",
                       c->map->path, t->name, rank, QN_GGUF_MAX_RANK);
    t->rank = rank;
    for (uint32_t i = 0; i < rank; i++) /* the file has the row's length first */
        if ((status = take_u64(c, t->name, &t->dims[rank - 1 - i]))) return status;
    return QN_OK;
}

/* One entry; t->offset is still relative to the data. */
static qn_status take_tensor(cursor *c, qn_reader *r, uint64_t number, qn_tensor *t)
{
    qn_str name = {0};
    uint32_t type = 0;
    qn_status status = take_string(c, "a tensor's name", &name);
    if (!status) status = check_name(c, name, number);
    if (status) return status;
    t->name = qn_arena_strndup(r->arena, name.s, name.n);
    if (!t->name) return qn_fail_memory(c->err, c->map->path);
    if ((status = take_shape(c, t))) return status;
    if ((status = take_u32(c, t->name, &type))) return status;
    if (!qn_dtype_by_ggml(type, &t->dtype))
        return qn_fail(c->err, QN_ERR_UNSUPPORTED,
                       "%s: tensor %s: type number %u is unknown or was removed from GGUF",
                       c->map->path, t->name, type);
    if ((status = take_u64(c, t->name, &t->offset))) return status;
    if (t->offset % c->alignment)
        return qn_fail(c->err, QN_ERR_DATA, "%s: tensor %s: offset %llu is not a multiple of %llu",
                       c->map->path, t->name, (unsigned long long)t->offset,
                       (unsigned long long)c->alignment);
    return qn_tensor_measure(c->map->path, t->name, t->dtype, t->rank, t->dims, &t->bytes, c->err);
}

static qn_status add_tensors(cursor *c, qn_reader *r, qn_tensor *list, uint64_t n)
{
    uint64_t start;
    if (!qn_align_u64(c->at, c->alignment, &start)) return fail_short(c, "padding", c->alignment);
    for (uint64_t i = 0; i < n; i++) {
        if (!qn_add_u64(list[i].offset, start, &list[i].offset)) list[i].offset = UINT64_MAX;
        const qn_status status = qn_reader_add(r, &list[i], c->err);
        if (status) return status;
    }
    return QN_OK;
}

static int by_offset(const void *a, const void *b)
{
    const qn_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Gaps are fine, overlaps are not.  The list is sorted for it: r has copies. */
static qn_status check_overlaps(const cursor *c, qn_tensor *list, uint64_t n)
{
    if (n) qsort(list, (size_t)n, sizeof *list, by_offset);
    for (uint64_t i = 1; i < n; i++) {
        const qn_tensor *a = &list[i - 1], *b = &list[i];
        const uint64_t end = a->offset + a->bytes;
        if (a->bytes && end > b->offset)
            return qn_fail(c->err, QN_ERR_DATA,
                           "%s: tensor %s: ends at %llu, behind the start of %s at %llu",
                           c->map->path, a->name, (unsigned long long)end, b->name,
                           (unsigned long long)b->offset);
    }
    return QN_OK;
}

static qn_status parse_tensors(cursor *c, qn_reader *r, uint32_t file, uint64_t n)
{
    qn_tensor *list = qn_alloc((size_t)n, sizeof *list);
    if (!list) return qn_fail_memory(c->err, c->map->path);
    qn_status status = QN_OK;
    for (uint64_t i = 0; !status && i < n; i++) {
        list[i].file = file;
        status = take_tensor(c, r, i, &list[i]);
    }
    if (!status) status = add_tensors(c, r, list, n);
    if (!status) status = check_overlaps(c, list, n);
    qn_free(list);
    return status;
}

/* ---- the file ------------------------------------------------------------------------------ */

static qn_status check_version(const cursor *c, uint32_t version)
{
    if (version == 2 || version == 3) return QN_OK;
    if (version && (version & 0xFFFF) == 0)
        return qn_fail(c->err, QN_ERR_UNSUPPORTED,
                       "%s: is a big-endian GGUF file; only little-endian ones are read",
                       c->map->path);
    if (version == 1)
        return qn_fail(c->err, QN_ERR_UNSUPPORTED,
                       "%s: is GGUF version 1, which had 32-bit sizes and is no longer read; "
                       "convert the model again",
                       c->map->path);
    return qn_fail(c->err, QN_ERR_UNSUPPORTED, "%s: is GGUF version %u; 2 and 3 are read",
                   c->map->path, version);
}

static qn_status check_count(const cursor *c, const char *what, uint64_t n, uint64_t least)
{
    if (n <= left(c) / least) return QN_OK;
    return qn_fail(c->err, QN_ERR_DATA, "%s: %llu %s cannot stand in the %llu bytes that follow",
                   c->map->path, (unsigned long long)n, what, (unsigned long long)left(c));
}

/* The first file's metadata are the model's. */
static qn_status parse_keys(cursor *c, qn_reader *r, uint32_t file, uint64_t n)
{
    if (!file) {
        qn_status status = parse_metadata(c, r->metadata, n);
        if (!status) status = find_alignment(c, r->metadata);
        r->alignment = c->alignment;
        return status;
    }
    qn_metadata *mine = qn_metadata_new();
    if (!mine) return qn_fail_memory(c->err, c->map->path);
    qn_metadata_set_where(mine, c->map->path);
    qn_status status = parse_metadata(c, mine, n);
    if (!status) status = find_alignment(c, mine);
    if (!status) status = check_part(c, r, file, mine);
    qn_metadata_free(mine);
    return status;
}

static qn_status parse(qn_reader *r, uint32_t file, qn_error *err)
{
    cursor c = {.map = &r->files[file], .at = 0, .err = err};
    const char *magic = NULL;
    uint32_t version = 0;
    uint64_t n_tensors = 0, n_keys = 0;
    qn_status status = take(&c, "the magic", 4, &magic);
    if (!status && memcmp(magic, "GGUF", 4) != 0)
        status = qn_fail(err, QN_ERR_DATA, "%s: does not begin with GGUF", c.map->path);
    if (!status) status = take_u32(&c, "the version", &version);
    if (!status) status = check_version(&c, version);
    if (!status) status = take_u64(&c, "the number of tensors", &n_tensors);
    if (!status) status = take_u64(&c, "the number of keys", &n_keys);
    if (!status) status = check_count(&c, "keys", n_keys, LEAST_KEY_BYTES);
    if (!status) status = parse_keys(&c, r, file, n_keys);
    if (!status) status = check_count(&c, "tensors", n_tensors, LEAST_TENSOR_BYTES);
    if (!status) status = parse_tensors(&c, r, file, n_tensors);
    if (!status) r->gguf_version = version;
    return status;
}

static int bid(const uint8_t *head, size_t n, const char *path)
{
    if (n >= 4 && !memcmp(head, "GGUF", 4)) return 100;
    return qn_str_ends(qn_str_z(path), ".gguf") ? 10 : 0;
}

const qn_format qn_format_gguf = {
    .name = "gguf",
    .bid = bid,
    .parse = parse,
    .writer = &qn_gguf_writer,
};
