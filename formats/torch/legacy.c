/* torch.save before 1.6: five pickles (magic, protocol, machine, object, keys
 * of the storages in order), then each storage: its count of elements as an
 * int64, its bytes (torch/serialization.py, _legacy_save). */
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/torch/torch.h"

/* 0x1950a86a20f9469cfc6c as a pickle's LONG1 */
static const uint8_t magic[] = {0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

bool qn_torch_is_legacy(const uint8_t *head, size_t n)
{
    return n > 2 && head[0] == 0x80 && memmem(head, n, magic, sizeof magic) != NULL;
}

typedef struct {
    qn_torch *t;
    uint64_t at;
    qn_error *err;
} stream;

static qn_status next_pickle(stream *s, qn_pickle *out)
{
    const qn_torch *t = s->t;
    const qn_str rest =
        qn_str_of((const char *)t->map->data + s->at, (size_t)(t->map->size - s->at));
    const qn_status status =
        qn_pickle_parse(out, t->scratch, rest, qn_torch_globals, t->map->path, s->err);
    s->at += out->used;
    return status;
}

/* A pickle that names no storages and whose root is of that kind. */
static qn_status next_value(stream *s, qn_pickle_kind kind, const char *what,
                            const qn_pickle_value **out)
{
    qn_pickle pickle;
    qn_status status = next_pickle(s, &pickle);
    if (status) return status;
    if (pickle.root->kind != kind)
        status = qn_fail(s->err, QN_ERR_DATA, "%s: its %s is not what torch writes",
                         s->t->map->path, what);
    *out = pickle.root;
    qn_pickle_free(&pickle);
    return status;
}

static qn_status check_protocol(const stream *s, const qn_pickle_value *v)
{
    if (v->number == 1001) return QN_OK;
    return qn_fail(s->err, QN_ERR_UNSUPPORTED, "%s: protocol %lld of torch.save; 1001 is read",
                   s->t->map->path, (long long)v->number);
}

static qn_status place_next(stream *s, const qn_pickle_value *key)
{
    qn_torch *t = s->t;
    const char *path = t->map->path;
    const uint32_t at =
        key->kind == QN_PICKLE_TEXT ? qn_names_find(t->by_key, key->text) : UINT32_MAX;
    if (at == UINT32_MAX)
        return qn_fail(s->err, QN_ERR_DATA, "%s: lists a storage that no tensor uses", path);
    qn_torch_storage *storage = &t->storages[at];
    const uint64_t width = qn_dtype_facts(storage->dtype)->block_bytes;
    const uint64_t rest = t->map->size - s->at;
    uint64_t elements = 0;
    if (rest >= sizeof elements) memcpy(&elements, t->map->data + s->at, sizeof elements);
    if (t->big_endian) elements = __builtin_bswap64(elements);
    if (rest < sizeof elements || elements != storage->bytes / width ||
        storage->bytes > rest - sizeof elements)
        return qn_fail(s->err, QN_ERR_DATA,
                       "%s: storage %.*s: %llu elements where %llu were named, %llu bytes left in "
                       "the file",
                       path, (int)key->text.n, key->text.s, (unsigned long long)elements,
                       (unsigned long long)(storage->bytes / width), (unsigned long long)rest);
    s->at += sizeof elements;
    storage->offset = s->at;
    storage->data = storage->bytes ? t->map->data + s->at : NULL;
    s->at += storage->bytes;
    return QN_OK;
}

/* A storage that the list of keys left out. */
static qn_status check_place(qn_torch *t, qn_torch_storage *s, qn_error *err)
{
    if (s->offset) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: storage %.*s is not in the file", t->map->path,
                   (int)s->key.n, s->key.s);
}

static qn_status read_head(stream *s)
{
    const qn_pickle_value *v;
    qn_status status = next_value(s, QN_PICKLE_LONG, "magic number", &v);
    if (!status) status = next_value(s, QN_PICKLE_INT, "protocol", &v);
    if (!status) status = check_protocol(s, v);
    if (!status) status = next_value(s, QN_PICKLE_DICT, "machine description", &v);
    if (status) return status;
    const qn_pickle_value *little = qn_pickle_member(v, "little_endian");
    s->t->big_endian = little && little->kind == QN_PICKLE_BOOL && !little->number;
    return QN_OK;
}

qn_status qn_torch_read_legacy(qn_torch *t, qn_error *err)
{
    stream s = {.t = t, .err = err};
    qn_pickle object = {0};
    const qn_pickle_value *keys = NULL;
    qn_status status = read_head(&s);
    if (!status) status = next_pickle(&s, &object);
    if (!status) status = qn_torch_declare(t, &object, err);
    if (!status) status = next_value(&s, QN_PICKLE_LIST, "list of storages", &keys);
    for (size_t i = 0; !status && i < keys->n_items; i++) status = place_next(&s, keys->items[i]);
    t->place = check_place;
    if (!status) status = qn_torch_add_tensors(t, object.root, err);
    qn_pickle_free(&object);
    return status;
}
