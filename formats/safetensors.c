/* Reading safetensors: docs/formats/safetensors.md has the bytes and what is
 * refused (the rules of the official Rust library). */
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "formats/base/json.h"
#include "formats/base/sizes.h"
#include "formats/reader.h"

/* A tensor's entry is about a hundred bytes; ones of the size of a book are not
 * entries. */
static const size_t entry_limit = 64u * 1024;

/* A value of the metadata: people put whole training recipes there. */
static const size_t metadata_limit = 16u * 1024 * 1024;

typedef struct {
    qn_reader *r;
    uint32_t file;
    const qn_map *map;
    uint64_t data_start;
    qn_tensor *tensors; /* offsets relative to data_start */
    size_t n, capacity;
    qn_error *err;
} parser;

static const char metadata_key[] = "__metadata__";

/* ---- one entry ---------------------------------------------------------------------------- */

static qn_status fail_entry(const parser *p, const char *name, const char *words)
{
    return qn_fail(p->err, QN_ERR_DATA, "%s: tensor %s: %s", p->map->path, name, words);
}

static qn_status read_dtype(const parser *p, const json_t *entry, qn_tensor *t)
{
    const json_t *v = json_object_get(entry, "dtype");
    if (!json_is_string(v)) return fail_entry(p, t->name, "dtype is missing or not a string");
    if (!qn_dtype_by_safetensors(json_string_value(v), &t->dtype))
        return qn_fail(p->err, QN_ERR_UNSUPPORTED, "%s: tensor %s: dtype %s is unknown",
                       p->map->path, t->name, json_string_value(v));
    return QN_OK;
}

static bool read_size(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static qn_status read_shape(const parser *p, const json_t *entry, qn_tensor *t)
{
    const json_t *v = json_object_get(entry, "shape");
    if (!json_is_array(v)) return fail_entry(p, t->name, "shape is missing or not an array");
    const size_t rank = json_array_size(v);
    if (rank > QN_MAX_RANK)
        return qn_fail(p->err, QN_ERR_UNSUPPORTED,
                       "%s: tensor %s: %zu dimensions, at most %d are read", p->map->path, t->name,
                       rank, QN_MAX_RANK);
    for (size_t i = 0; i < rank; i++)
        if (!read_size(json_array_get(v, i), &t->dims[i]))
            return fail_entry(p, t->name, "shape holds something that is not a size");
    t->rank = (unsigned)rank;
    return QN_OK;
}

static qn_status read_offsets(const parser *p, const json_t *entry, qn_tensor *t)
{
    const json_t *v = json_object_get(entry, "data_offsets");
    uint64_t begin, end;
    if (!json_is_array(v) || json_array_size(v) != 2 || !read_size(json_array_get(v, 0), &begin) ||
        !read_size(json_array_get(v, 1), &end))
        return fail_entry(p, t->name, "data_offsets is not a pair of sizes");
    if (end < begin)
        return qn_fail(p->err, QN_ERR_DATA, "%s: tensor %s: data_offsets go backwards: %llu, %llu",
                       p->map->path, t->name, (unsigned long long)begin, (unsigned long long)end);
    t->offset = begin;
    t->bytes = end - begin;
    return QN_OK;
}

static qn_status add_entry(parser *p, const qn_text *key, const json_t *entry)
{
    if (p->n == p->capacity) {
        const size_t capacity = qn_grow(p->capacity, p->n + 64);
        qn_tensor *grown = qn_resize(p->tensors, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(p->err, p->map->path);
        p->tensors = grown;
        p->capacity = capacity;
    }
    qn_tensor t = {.file = p->file};
    t.name = qn_arena_strndup(p->r->arena, key->s, key->n);
    if (!t.name) return qn_fail_memory(p->err, p->map->path);
    if (!json_is_object(entry)) return fail_entry(p, t.name, "its entry is not an object");
    qn_status status = read_dtype(p, entry, &t);
    if (!status) status = read_shape(p, entry, &t);
    if (!status) status = read_offsets(p, entry, &t);
    if (!status) p->tensors[p->n++] = t;
    return status;
}

/* ---- the header ---------------------------------------------------------------------------- */

/* The first file's metadata stand for all shards'. */
static qn_status add_metadata(const parser *p, const char *key, const json_t *v)
{
    if (!json_is_string(v))
        return qn_fail(p->err, QN_ERR_DATA, "%s: %s: \"%s\" is not a string", p->map->path,
                       metadata_key, key);
    if (p->file > 0) return QN_OK;
    if (qn_metadata_find(p->r->metadata, key))
        return qn_fail(p->err, QN_ERR_DATA, "%s: %s: key \"%s\" is there twice", p->map->path,
                       metadata_key, key);
    return qn_metadata_set_str(p->r->metadata, key,
                               qn_str_of(json_string_value(v), json_string_length(v)), p->err);
}

static qn_status parse_metadata(const parser *p, qn_json_walk *w, qn_text *key)
{
    bool more = false;
    json_t *null;
    if (w->at < w->n && w->text[w->at] == 'n') { /* MLX writes null for none */
        const qn_status status = qn_json_walk_value(w, entry_limit, &null, p->err);
        if (!status) json_decref(null);
        return status;
    }
    qn_status status = qn_json_walk_enter(w, p->err);
    while (!status && !(status = qn_json_walk_key(w, key, &more, p->err)) && more) {
        json_t *v;
        if ((status = qn_json_walk_value(w, metadata_limit, &v, p->err))) break;
        status = add_metadata(p, key->s, v);
        json_decref(v);
    }
    return status;
}

static qn_status parse_member(parser *p, qn_json_walk *w, qn_text *key, bool *metadata_seen)
{
    if (strcmp(key->s, metadata_key) != 0) {
        json_t *entry;
        qn_status status = qn_json_walk_value(w, entry_limit, &entry, p->err);
        if (status) return status;
        status = add_entry(p, key, entry);
        json_decref(entry);
        return status;
    }
    if (*metadata_seen)
        return qn_fail(p->err, QN_ERR_DATA, "%s: %s is there twice", p->map->path, metadata_key);
    *metadata_seen = true;
    return parse_metadata(p, w, key);
}

static qn_status parse_header(parser *p, const char *text, size_t n)
{
    qn_json_walk w;
    qn_text key = {0};
    bool more = false, metadata_seen = false;
    if (text[0] != '{')
        return qn_fail(p->err, QN_ERR_DATA, "%s: its header does not begin with '{'", p->map->path);
    qn_status status = qn_json_walk_open(&w, text, n, p->map->path, p->err);
    while (!status && !(status = qn_json_walk_key(&w, &key, &more, p->err)) && more)
        status = parse_member(p, &w, &key, &metadata_seen);
    if (!status) status = qn_json_walk_end(&w, p->err);
    qn_text_free(&key);
    return status;
}

/* ---- the data -------------------------------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
    const qn_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name); /* several empty ones in one place */
}

/* The tensors must lie back to back and fill the file: no hole can hide other
 * data, no byte is read as two tensors. */
static qn_status add_tensors(parser *p)
{
    uint64_t end = 0;
    const uint64_t data_bytes = p->map->size - p->data_start;
    if (p->n) qsort(p->tensors, p->n, sizeof *p->tensors, by_offset);
    for (size_t i = 0; i < p->n; i++) {
        qn_tensor *t = &p->tensors[i];
        if (t->offset != end)
            return qn_fail(p->err, QN_ERR_DATA,
                           "%s: tensor %s: begins at %llu, the tensor before it ends at %llu (%s)",
                           p->map->path, t->name, (unsigned long long)t->offset,
                           (unsigned long long)end, t->offset < end ? "an overlap" : "a hole");
        end += t->bytes; /* offset + bytes came as one 63-bit number */
        t->offset += p->data_start;
        const qn_status status = qn_reader_add(p->r, t, p->err);
        if (status) return status;
    }
    if (end != data_bytes)
        return qn_fail(p->err, QN_ERR_DATA, "%s: its tensors take %llu bytes, the file has %llu",
                       p->map->path, (unsigned long long)end, (unsigned long long)data_bytes);
    return QN_OK;
}

static qn_status check_frame(const qn_map *m, uint64_t *header_bytes, qn_error *err)
{
    uint64_t n;
    if (m->size < sizeof n)
        return qn_fail(err, QN_ERR_DATA, "%s: %llu bytes, a safetensors file has 8 and more",
                       m->path, (unsigned long long)m->size);
    memcpy(&n, m->data, sizeof n);
    if (n > QN_SAFETENSORS_MAX_HEADER)
        return qn_fail(err, QN_ERR_DATA, "%s: a header of %llu bytes, at most %d are read", m->path,
                       (unsigned long long)n, QN_SAFETENSORS_MAX_HEADER);
    if (n > m->size - sizeof n)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: a header of %llu bytes, the file has %llu more (is it truncated?)",
                       m->path, (unsigned long long)n, (unsigned long long)(m->size - sizeof n));
    if (n < 2)
        return qn_fail(err, QN_ERR_DATA, "%s: a header of %llu bytes", m->path,
                       (unsigned long long)n);
    *header_bytes = n;
    return QN_OK;
}

static qn_status parse(qn_reader *r, uint32_t file, qn_error *err)
{
    uint64_t header_bytes = 0;
    const qn_map *m = &r->files[file];
    qn_status status = check_frame(m, &header_bytes, err);
    if (status) return status;
    parser p = {.r = r, .file = file, .map = m, .data_start = 8 + header_bytes, .err = err};
    status = parse_header(&p, (const char *)m->data + 8, (size_t)header_bytes);
    if (!status) status = add_tensors(&p);
    r->alignment = QN_SAFETENSORS_ALIGNMENT;
    qn_free(p.tensors);
    return status;
}

/* There is no magic: a plausible length and a '{' behind it. */
static int bid(const uint8_t *head, size_t n, const char *path)
{
    uint64_t header_bytes;
    if (n > 8 && head[8] == '{') {
        memcpy(&header_bytes, head, sizeof header_bytes);
        if (header_bytes <= QN_SAFETENSORS_MAX_HEADER) return 80;
    }
    return qn_str_ends(qn_str_z(path), ".safetensors") ? 10 : 0;
}

const qn_format qn_format_safetensors = {
    .name = "safetensors",
    .bid = bid,
    .parse = parse,
    .writer = &qn_safetensors_writer,
};
