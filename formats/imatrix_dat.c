/* The legacy form of an importance matrix. */
#include <string.h>

#include "formats/imatrix.h"

typedef unsigned long long ull;

/* Length, one byte of name, calls, number of values, one value. */
enum { LEAST_ENTRY_BYTES = 4 + 1 + 4 + 4 + 4, MOST_NAME = 255 };

typedef struct {
    const qn_map *map;
    uint64_t at;
    qn_error *err;
} cursor;

static uint64_t left(const cursor *c)
{
    return c->map->size - c->at;
}

static qn_status take(cursor *c, const char *what, uint64_t n, const void **out)
{
    if (n > left(c))
        return qn_fail(c->err, QN_ERR_DATA,
                       "%s: %s at byte %llu takes %llu bytes, the file has %llu more (is it an "
                       "importance matrix?)",
                       c->map->path, what, (ull)c->at, (ull)n, (ull)left(c));
    *out = c->map->data + c->at;
    c->at += n;
    return QN_OK;
}

static qn_status take_i32(cursor *c, const char *what, int32_t *out)
{
    const void *p = NULL;
    const qn_status status = take(c, what, sizeof *out, &p);
    if (!status) memcpy(out, p, sizeof *out);
    return status;
}

/* A number that counts something: at least `least`, at most `most`. */
static qn_status take_count(cursor *c, const char *what, int64_t least, int64_t most, int32_t *out)
{
    const uint64_t at = c->at;
    int32_t n = 0;
    const qn_status status = take_i32(c, what, &n);
    if (status) return status;
    if (n < least || n > most)
        return qn_fail(c->err, QN_ERR_DATA,
                       "%s: %s at byte %llu is %ld, it can be %lld to %lld here (is it an "
                       "importance matrix?)",
                       c->map->path, what, (ull)at, (long)n, (long long)least, (long long)most);
    *out = n;
    return QN_OK;
}

static qn_status take_name(cursor *c, qn_imatrix *m, const char **out)
{
    const void *p = NULL;
    int32_t n = 0;
    qn_status status = take_count(c, "a name's length", 1, MOST_NAME, &n);
    if (!status) status = take(c, "a name", (uint64_t)n, &p);
    if (status) return status;
    if (memchr(p, 0, (size_t)n))
        return qn_fail(c->err, QN_ERR_DATA, "%s: the name of entry %zu holds a zero byte",
                       c->map->path, m->n_entries);
    if (!qn_utf8_valid(qn_str_of(p, (size_t)n)))
        return qn_fail(c->err, QN_ERR_DATA, "%s: the name of entry %zu is not UTF-8", c->map->path,
                       m->n_entries);
    *out = qn_arena_strndup(m->arena, p, (size_t)n);
    return *out ? QN_OK : qn_fail_memory(c->err, c->map->path);
}

static qn_status take_entry(cursor *c, qn_imatrix *m)
{
    qn_imatrix_entry e = {.n_counts = 1};
    int32_t n = 0;
    qn_status status = take_name(c, m, &e.name);
    if (!status) status = take_i32(c, "a number of calls", &e.calls);
    if (!status) status = take_count(c, "a number of values", 1, INT32_MAX, &n);
    e.n_values = (uint64_t)n;
    if (!status) status = take(c, e.name, e.n_values * sizeof(float), &e.values);
    if (status) return status;
    if (e.calls < 1) e.calls = 1;
    return qn_imatrix_add(m, &e, c->err);
}

static qn_status take_end(cursor *c, qn_imatrix *m)
{
    const void *p = NULL;
    int32_t chunks = 0, n = 0;
    if (!left(c)) return QN_OK;
    qn_status status = take_i32(c, "the number of chunks", &chunks);
    if (!status) status = take_count(c, "the length of the text's name", 0, INT32_MAX, &n);
    if (!status) status = take(c, "the text's name", (uint64_t)n, &p);
    if (status) return status;
    m->chunk_count = chunks > 0 ? (uint64_t)chunks : 0;
    m->dataset = qn_str_of(p, (size_t)n);
    if (!left(c)) return QN_OK;
    return qn_fail(c->err, QN_ERR_DATA, "%s: %llu bytes too many behind its end at %llu",
                   c->map->path, (ull)left(c), (ull)c->at);
}

qn_status qn_imatrix_parse_dat(qn_imatrix *m, qn_error *err)
{
    cursor c = {.map = &m->map, .err = err};
    int32_t n = 0;
    const int64_t most = 1 + (int64_t)(m->map.size / LEAST_ENTRY_BYTES);
    qn_status status = take_count(&c, "the number of entries", 1, most, &n);
    if (status) return status;
    m->entries = qn_alloc((size_t)n, sizeof *m->entries);
    if (!m->entries) return qn_fail_memory(err, m->map.path);
    for (int32_t i = 0; !status && i < n; i++) status = take_entry(&c, m);
    return status ? status : take_end(&c, m);
}
