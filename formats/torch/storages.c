#include <string.h>

#include "formats/base/sizes.h"
#include "formats/torch/torch.h"

#define STORAGE(name, type)                                    \
    {                                                          \
        "torch", name "Storage", false, QN_TORCH_STORAGE, type \
    }
#define DTYPE(name, type)                          \
    {                                              \
        "torch", name, false, QN_TORCH_DTYPE, type \
    }

/* torch/_utils.py, torch/storage.py: what a checkpoint of tensors names. */
const qn_pickle_global qn_torch_globals[] = {
    {"collections", "OrderedDict", true, QN_TORCH_OTHER, 0},
    {"torch._utils", "_rebuild_tensor", false, QN_TORCH_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", false, QN_TORCH_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v3", false, QN_TORCH_TENSOR_WITH_DTYPE, 0},
    {"torch._utils", "_rebuild_parameter", false, QN_TORCH_PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", false, QN_TORCH_PARAMETER, 0},
    {"torch", "Size", false, QN_TORCH_OTHER, 0},
    {"torch", "device", false, QN_TORCH_OTHER, 0},
    {"torch.storage", "UntypedStorage", false, QN_TORCH_STORAGE, QN_U8},
    STORAGE("Untyped", QN_U8),
    STORAGE("Float", QN_F32),
    STORAGE("Half", QN_F16),
    STORAGE("BFloat16", QN_BF16),
    STORAGE("Double", QN_F64),
    STORAGE("Long", QN_I64),
    STORAGE("Int", QN_I32),
    STORAGE("Short", QN_I16),
    STORAGE("Char", QN_I8),
    STORAGE("Byte", QN_U8),
    STORAGE("Bool", QN_BOOL),
    STORAGE("ComplexFloat", QN_C64),
    DTYPE("float32", QN_F32),
    DTYPE("float16", QN_F16),
    DTYPE("bfloat16", QN_BF16),
    DTYPE("float64", QN_F64),
    DTYPE("int64", QN_I64),
    DTYPE("int32", QN_I32),
    DTYPE("int16", QN_I16),
    DTYPE("int8", QN_I8),
    DTYPE("uint64", QN_U64),
    DTYPE("uint32", QN_U32),
    DTYPE("uint16", QN_U16),
    DTYPE("uint8", QN_U8),
    DTYPE("bool", QN_BOOL),
    DTYPE("complex64", QN_C64),
    DTYPE("float8_e4m3fn", QN_F8_E4M3),
    DTYPE("float8_e5m2", QN_F8_E5M2),
    DTYPE("float8_e8m0fnu", QN_F8_E8M0),
    {0},
};

/* ---- ('storage', type, key, location, elements[, view]) ------------------------------- */

static qn_status fail_id(const qn_torch *t, qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: its pickle names a storage in a way that is not torch's",
                   t->map->path);
}

static bool is_kind(const qn_pickle_value *v, qn_pickle_kind kind)
{
    return v->kind == kind;
}

static bool is_storage_id(const qn_pickle_value *id)
{
    return id->n_items >= 5 && is_kind(id->items[0], QN_PICKLE_TEXT) &&
           qn_str_is(id->items[0]->text, "storage") && is_kind(id->items[1], QN_PICKLE_GLOBAL) &&
           id->items[1]->global->role == QN_TORCH_STORAGE &&
           is_kind(id->items[2], QN_PICKLE_TEXT) && is_kind(id->items[4], QN_PICKLE_INT);
}

/* A view, which only the legacy format writes: (key, first element, elements) of the storage. */
static const qn_pickle_value *view_of(const qn_pickle_value *id)
{
    return id->n_items > 5 && !is_kind(id->items[5], QN_PICKLE_NONE) ? id->items[5] : NULL;
}

static bool is_view(const qn_pickle_value *v)
{
    return is_kind(v, QN_PICKLE_TUPLE) && v->n_items == 3 && is_kind(v->items[1], QN_PICKLE_INT) &&
           v->items[1]->number >= 0 && is_kind(v->items[2], QN_PICKLE_INT) &&
           v->items[2]->number >= 0;
}

static qn_status add_storage(qn_torch *t, qn_str key, qn_dtype dtype, uint64_t bytes, qn_error *err)
{
    if (t->n_storages == t->capacity) {
        const size_t capacity = qn_grow(t->capacity, t->n_storages + 64);
        qn_torch_storage *grown = qn_resize(t->storages, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, t->map->path);
        t->storages = grown;
        t->capacity = capacity;
    }
    if (qn_names_add(t->by_key, key, (uint32_t)t->n_storages, NULL))
        return qn_fail_memory(err, t->map->path);
    t->storages[t->n_storages++] = (qn_torch_storage){.key = key, .dtype = dtype, .bytes = bytes};
    return QN_OK;
}

static qn_status declare(qn_torch *t, const qn_pickle_value *id, qn_error *err)
{
    if (!is_storage_id(id)) return fail_id(t, err);
    const qn_dtype dtype = (qn_dtype)id->items[1]->global->detail;
    const qn_str key = id->items[2]->text;
    const int64_t elements = id->items[4]->number;
    uint64_t bytes;
    if (memchr(key.s, 0, key.n) || key.n > 200) return fail_id(t, err);
    if (elements < 0 || !qn_mul_u64((uint64_t)elements, qn_dtype_facts(dtype)->block_bytes, &bytes))
        return qn_fail(err, QN_ERR_DATA, "%s: storage %.*s is said to have %lld elements",
                       t->map->path, (int)key.n, key.s, (long long)elements);
    const uint32_t known = qn_names_find(t->by_key, key);
    if (known == UINT32_MAX) return add_storage(t, key, dtype, bytes, err);
    if (t->storages[known].dtype != dtype)
        return qn_fail(err, QN_ERR_DATA, "%s: storage %.*s is said to hold %s and then %s",
                       t->map->path, (int)key.n, key.s,
                       qn_dtype_facts(t->storages[known].dtype)->name, qn_dtype_facts(dtype)->name);
    if (t->storages[known].bytes != bytes)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: storage %.*s is said to have %llu bytes and then %llu", t->map->path,
                       (int)key.n, key.s, (unsigned long long)t->storages[known].bytes,
                       (unsigned long long)bytes);
    return QN_OK;
}

qn_status qn_torch_declare(qn_torch *t, const qn_pickle *pickle, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i < pickle->n_storages; i++)
        status = declare(t, pickle->storages[i], err);
    return status;
}

/* ---- bytes ------------------------------------------------------------------------------ */

/* n bytes of such elements, the order of each one's swapped in place. */
static void swap(uint8_t *bytes, uint64_t n, qn_dtype dtype)
{
    /* a complex number is two */
    const unsigned width = dtype == QN_C64 ? 4 : qn_dtype_facts(dtype)->block_bytes;
    for (uint64_t at = 0; at + width <= n; at += width)
        for (unsigned i = 0; i < width / 2; i++) {
            const uint8_t low = bytes[at + i];
            bytes[at + i] = bytes[at + width - 1 - i];
            bytes[at + width - 1 - i] = low;
        }
}

qn_status qn_torch_room(qn_torch *t, uint64_t n, uint8_t **out, qn_error *err)
{
    /* weights deflate to a half, perhaps with as many zeros again */
    enum { DEFLATED = 16, LEAST = 16 << 20 };
    const uint64_t limit = LEAST + DEFLATED * t->map->size;
    if (n > limit || t->unpacked > limit - n)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: storages unpacked to more than %llu bytes, out of a file of %llu",
                       t->map->path, (unsigned long long)limit, (unsigned long long)t->map->size);
    t->unpacked += n;
    *out = qn_arena_alloc(t->r->arena, (size_t)n, 1);
    return *out ? QN_OK : qn_fail_memory(err, t->map->path);
}

/* A storage of the other byte order is copied once and turned round. */
static qn_status turn(qn_torch *t, qn_torch_storage *s, qn_error *err)
{
    uint8_t *copy;
    const qn_status status = qn_torch_room(t, s->bytes, &copy, err);
    if (status) return status;
    memcpy(copy, s->data, (size_t)s->bytes);
    swap(copy, s->bytes, s->dtype);
    s->data = copy;
    s->offset = QN_TORCH_COPY;
    return QN_OK;
}

static qn_status place(qn_torch *t, qn_torch_storage *s, qn_error *err)
{
    if (s->placed) return QN_OK;
    qn_status status = t->place(t, s, err);
    if (!status && t->big_endian && s->bytes && qn_dtype_facts(s->dtype)->block_bytes > 1)
        status = turn(t, s, err);
    s->placed = !status;
    return status;
}

qn_status qn_torch_storage_of(qn_torch *t, const qn_pickle_value *id, const qn_torch_storage **out,
                              uint64_t *first, uint64_t *bytes, qn_error *err)
{
    qn_torch_storage *s = &t->storages[qn_names_find(t->by_key, id->items[2]->text)];
    const qn_pickle_value *view = view_of(id);
    const qn_status status = place(t, s, err);
    if (status) return status;
    *out = s;
    *first = 0;
    *bytes = s->bytes;
    if (!view) return QN_OK;
    if (!is_view(view)) return fail_id(t, err);
    const uint64_t begin = (uint64_t)view->items[1]->number, n = (uint64_t)view->items[2]->number;
    const uint64_t width = qn_dtype_facts(s->dtype)->block_bytes, elements = s->bytes / width;
    if (begin > elements || n > elements - begin)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: a view of storage %.*s: %llu elements from %llu of %llu", t->map->path,
                       (int)s->key.n, s->key.s, (unsigned long long)n, (unsigned long long)begin,
                       (unsigned long long)elements);
    *first = begin * width;
    *bytes = n * width;
    return QN_OK;
}
