#include "formats/metadata.h"

#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/names.h"

/* Values keep the bytes of a little-endian file, and memcpy reads them. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "quern needs a little-endian machine");

/* A key that was seen once keeps its number for good; where its value stands
 * now is position[number].  So removing a value cannot fail. */
typedef struct {
    qn_meta_value value;
    uint32_t number;
} slot;

struct qn_metadata {
    slot *slots; /* in order */
    size_t count, capacity;
    uint32_t *position; /* of a key's number in slots; UINT32_MAX: removed */
    size_t position_capacity;
    qn_names *numbers; /* key -> number */
    qn_arena *arena;   /* keys and bytes that were set */
    const char *where; /* a view; NULL: nameless */
};

qn_metadata *qn_metadata_new(void)
{
    qn_metadata *m = qn_alloc(1, sizeof *m);
    if (!m) return NULL;
    m->numbers = qn_names_new(0);
    m->arena = qn_arena_new();
    if (!m->numbers || !m->arena) {
        qn_metadata_free(m);
        return NULL;
    }
    return m;
}

void qn_metadata_free(qn_metadata *m)
{
    if (!m) return;
    qn_names_free(m->numbers);
    qn_arena_free(m->arena);
    qn_free(m->position);
    qn_free(m->slots);
    qn_free(m);
}

void qn_metadata_set_where(qn_metadata *m, const char *where)
{
    m->where = where;
}

const char *qn_metadata_where(const qn_metadata *m)
{
    return m->where ? m->where : "metadata";
}

size_t qn_metadata_count(const qn_metadata *m)
{
    return m->count;
}

const qn_meta_value *qn_metadata_at(const qn_metadata *m, size_t i)
{
    return i < m->count ? &m->slots[i].value : NULL;
}

static qn_meta_value *find(const qn_metadata *m, qn_str key)
{
    const uint32_t number = qn_names_find(m->numbers, key);
    if (number == UINT32_MAX || m->position[number] == UINT32_MAX) return NULL;
    return &m->slots[m->position[number]].value;
}

const qn_meta_value *qn_metadata_find(const qn_metadata *m, const char *key)
{
    return find(m, qn_str_z(key));
}

/* ---- filling ---------------------------------------------------------------------- */

static bool make_room(qn_metadata *m)
{
    if (m->count == m->capacity) {
        const size_t capacity = qn_grow(m->capacity, m->count + 16);
        slot *grown = qn_resize(m->slots, capacity, sizeof *grown);
        if (!grown) return false;
        m->slots = grown;
        m->capacity = capacity;
    }
    const size_t numbers = qn_names_count(m->numbers);
    if (numbers == m->position_capacity) {
        const size_t capacity = qn_grow(m->position_capacity, numbers + 16);
        uint32_t *grown = qn_resize(m->position, capacity, sizeof *grown);
        if (!grown) return false;
        m->position = grown;
        m->position_capacity = capacity;
    }
    return true;
}

qn_status qn_metadata_add_view(qn_metadata *m, const qn_meta_value *v, qn_error *err)
{
    if (find(m, v->key))
        return qn_fail(err, QN_ERR_DATA, "%s: key \"%.*s\" is there twice", qn_metadata_where(m),
                       (int)v->key.n, v->key.s);
    if (!make_room(m)) return qn_fail_memory(err, "metadata");
    uint32_t number = (uint32_t)qn_names_count(m->numbers);
    bool known;
    if (qn_names_add(m->numbers, v->key, number, &known)) return qn_fail_memory(err, "metadata");
    if (known) number = qn_names_find(m->numbers, v->key);
    m->position[number] = (uint32_t)m->count;
    m->slots[m->count++] = (slot){*v, number};
    return QN_OK;
}

qn_status qn_metadata_set(qn_metadata *m, const char *key, qn_meta_type type, qn_meta_type element,
                          uint64_t count, qn_str bytes, qn_error *err)
{
    char *copy = qn_arena_strndup(m->arena, bytes.s, bytes.n);
    if (!copy) return qn_fail_memory(err, key);
    qn_meta_value v = {.type = type, .element = element, .count = count};
    v.bytes = qn_str_of(copy, bytes.n);
    qn_meta_value *old = find(m, qn_str_z(key));
    if (old) {
        v.key = old->key;
        *old = v;
        return QN_OK;
    }
    const size_t n = strlen(key);
    copy = qn_arena_strndup(m->arena, key, n);
    if (!copy) return qn_fail_memory(err, key);
    v.key = qn_str_of(copy, n);
    return qn_metadata_add_view(m, &v, err);
}

static qn_status set_lone(qn_metadata *m, const char *key, qn_meta_type type, const void *value,
                          size_t n, qn_error *err)
{
    return qn_metadata_set(m, key, type, type, 1, qn_str_of(value, n), err);
}

qn_status qn_metadata_set_u32(qn_metadata *m, const char *key, uint32_t v, qn_error *err)
{
    return set_lone(m, key, QN_META_U32, &v, sizeof v, err);
}

qn_status qn_metadata_set_u64(qn_metadata *m, const char *key, uint64_t v, qn_error *err)
{
    return set_lone(m, key, QN_META_U64, &v, sizeof v, err);
}

qn_status qn_metadata_set_f32(qn_metadata *m, const char *key, float v, qn_error *err)
{
    return set_lone(m, key, QN_META_F32, &v, sizeof v, err);
}

qn_status qn_metadata_set_bool(qn_metadata *m, const char *key, bool v, qn_error *err)
{
    const uint8_t byte = v;
    return set_lone(m, key, QN_META_BOOL, &byte, 1, err);
}

static void add_string(qn_text *t, qn_str s)
{
    const uint64_t n = s.n;
    qn_text_add(t, (const char *)&n, sizeof n);
    qn_text_add(t, s.s, s.n);
}

static qn_status set_strings(qn_metadata *m, const char *key, qn_meta_type type, const qn_str *v,
                             uint64_t n, qn_error *err)
{
    qn_text bytes = {0};
    for (uint64_t i = 0; i < n; i++) add_string(&bytes, v[i]);
    const qn_status status = bytes.failed ? qn_fail_memory(err, key)
                                          : qn_metadata_set(m, key, type, QN_META_STRING, n,
                                                            qn_str_of(bytes.s, bytes.n), err);
    qn_text_free(&bytes);
    return status;
}

qn_status qn_metadata_set_str(qn_metadata *m, const char *key, qn_str v, qn_error *err)
{
    return set_strings(m, key, QN_META_STRING, &v, 1, err);
}

qn_status qn_metadata_set_strs(qn_metadata *m, const char *key, const qn_str *v, uint64_t n,
                               qn_error *err)
{
    return set_strings(m, key, QN_META_ARRAY, v, n, err);
}

qn_status qn_metadata_set_f32s(qn_metadata *m, const char *key, const float *v, uint64_t n,
                               qn_error *err)
{
    return qn_metadata_set(m, key, QN_META_ARRAY, QN_META_F32, n,
                           qn_str_of((const char *)v, (size_t)n * sizeof *v), err);
}

qn_status qn_metadata_set_i32s(qn_metadata *m, const char *key, const int32_t *v, uint64_t n,
                               qn_error *err)
{
    return qn_metadata_set(m, key, QN_META_ARRAY, QN_META_I32, n,
                           qn_str_of((const char *)v, (size_t)n * sizeof *v), err);
}

qn_metadata *qn_metadata_copy(const qn_metadata *m)
{
    qn_metadata *copy = qn_metadata_new();
    for (size_t i = 0; copy && i < m->count; i++) {
        qn_meta_value v = m->slots[i].value;
        v.key.s = qn_arena_strndup(copy->arena, v.key.s, v.key.n);
        v.bytes.s = qn_arena_strndup(copy->arena, v.bytes.s, v.bytes.n);
        if (!v.key.s || !v.bytes.s || qn_metadata_add_view(copy, &v, NULL)) {
            qn_metadata_free(copy);
            return NULL;
        }
    }
    return copy;
}

void qn_metadata_remove(qn_metadata *m, const char *key)
{
    const uint32_t number = qn_names_find(m->numbers, qn_str_z(key));
    if (number == UINT32_MAX || m->position[number] == UINT32_MAX) return;
    const size_t at = m->position[number];
    m->position[number] = UINT32_MAX;
    m->count--;
    memmove(&m->slots[at], &m->slots[at + 1], (m->count - at) * sizeof *m->slots);
    for (size_t i = at; i < m->count; i++) m->position[m->slots[i].number] = (uint32_t)i;
}
