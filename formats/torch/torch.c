#include "formats/torch/torch.h"

#include <string.h>

#include "formats/base/sizes.h"
#include "formats/torch/archive.h"

/* A model's pickle holds names and shapes: 200,000 tensors take 60 MB.  Values
 * take up to forty times the bytes they are written in. */
static const uint64_t pickle_limit = 256u << 20;

/* Weights take more than their names: a pickle longer than the file is a bomb, but
 * in a file of next to nothing. */
static const uint64_t pickle_least = 1u << 20;

/* ---- the zip container: ROOT/data.pkl, ROOT/byteorder, ROOT/data/KEY ---------------------- */

typedef struct {
    qn_archive *archive;
    qn_str root; /* with its slash */
    qn_text name;
} zip_file;

static const char *entry_name(zip_file *z, const char *folder, qn_str key)
{
    z->name.n = 0;
    qn_text_add(&z->name, z->root.s, z->root.n);
    qn_text_adds(&z->name, folder);
    qn_text_add(&z->name, key.s, key.n);
    return z->name.failed ? NULL : z->name.s;
}

static qn_status unpack(qn_torch *t, const qn_archive_entry *e, uint8_t **out, qn_error *err)
{
    const zip_file *z = t->container;
    const qn_status status = qn_torch_room(t, e->bytes, out, err);
    return status ? status : qn_archive_read(z->archive, e, *out, err);
}

static qn_status place_entry(qn_torch *t, qn_torch_storage *s, qn_error *err)
{
    zip_file *z = t->container;
    qn_archive_entry e = {0};
    bool found = false;
    uint8_t *copy;
    const char *name = entry_name(z, "data/", s->key);
    if (!name) return qn_fail_memory(err, t->map->path);
    qn_status status = qn_archive_find(z->archive, name, &e, &found, err);
    if (status) return status;
    if (!found || e.bytes != s->bytes)
        return qn_fail(
            err, QN_ERR_DATA,
            found ? "%s: entry %s: %llu bytes, its storage has %llu" : "%s: entry %s is not there",
            t->map->path, name, (unsigned long long)e.bytes, (unsigned long long)s->bytes);
    if (!s->bytes) return QN_OK;
    if (e.stored) {
        status = qn_archive_locate(z->archive, &e, &s->offset, err);
        if (!status) s->data = t->map->data + s->offset;
        return status;
    }
    status = unpack(t, &e, &copy, err);
    s->data = copy;
    s->offset = QN_TORCH_COPY;
    return status;
}

static qn_status read_byte_order(qn_torch *t, qn_error *err)
{
    zip_file *z = t->container;
    qn_archive_entry e;
    bool found;
    char word[8] = {0};
    const char *name = entry_name(z, "byteorder", (qn_str){0});
    if (!name) return qn_fail_memory(err, t->map->path);
    qn_status status = qn_archive_find(z->archive, name, &e, &found, err);
    if (status || !found) return status;
    if (e.bytes < sizeof word && (status = qn_archive_read(z->archive, &e, word, err)))
        return status;
    if (strcmp(word, "little") != 0 && strcmp(word, "big") != 0)
        return qn_fail(err, QN_ERR_DATA, "%s: its byte order is neither little nor big",
                       t->map->path);
    t->big_endian = *word == 'b';
    return QN_OK;
}

/* ROOT/data.pkl into the scratch arena. */
static qn_status read_pickle_entry(qn_torch *t, qn_str *out, qn_error *err)
{
    static const char pickle_name[] = "data.pkl";
    zip_file *z = t->container;
    qn_archive_entry e = {0};
    bool found = false;
    const char *name = qn_archive_find_suffix(z->archive, "/data.pkl");
    if (!name)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: is a zip archive without data.pkl, not a PyTorch checkpoint",
                       t->map->path);
    z->root = qn_str_of(name, strlen(name) - strlen(pickle_name));
    qn_status status = qn_archive_find(z->archive, name, &e, &found, err);
    if (status) return status;
    const uint64_t limit = qn_min_u64(pickle_limit, t->map->size + pickle_least);
    if (!found || e.bytes > limit)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: entry %s: %llu bytes in a file of %llu, at most %llu are read",
                       t->map->path, name, (unsigned long long)e.bytes,
                       (unsigned long long)t->map->size, (unsigned long long)limit);
    char *bytes = qn_arena_alloc(t->scratch, (size_t)e.bytes, 1);
    if (!bytes) return qn_fail_memory(err, t->map->path);
    status = qn_archive_read(z->archive, &e, bytes, err);
    *out = qn_str_of(bytes, (size_t)e.bytes);
    return status;
}

static qn_status read_zip(qn_torch *t, qn_error *err)
{
    zip_file z = {0};
    qn_pickle pickle = {0};
    qn_str bytes = {0};
    t->container = &z;
    t->place = place_entry;
    qn_status status = qn_archive_open(&z.archive, t->map, err);
    if (!status) status = read_pickle_entry(t, &bytes, err);
    if (!status) status = read_byte_order(t, err);
    if (!status)
        status = qn_pickle_parse(&pickle, t->scratch, bytes, qn_torch_globals, t->map->path, err);
    if (!status) status = qn_torch_declare(t, &pickle, err);
    if (!status) status = qn_torch_add_tensors(t, pickle.root, err);
    qn_pickle_free(&pickle);
    qn_text_free(&z.name);
    qn_archive_close(z.archive);
    t->container = NULL;
    return status;
}

/* ---- the format ---------------------------------------------------------------------------- */

static bool is_zip(const uint8_t *head, size_t n)
{
    return n >= 4 && !memcmp(head, "PK\3\4", 4);
}

static int bid(const uint8_t *head, size_t n, const char *path)
{
    (void)path;
    return is_zip(head, n) ? 60 : qn_torch_is_legacy(head, n) ? 90 : 0;
}

static qn_status parse(qn_reader *r, uint32_t file, qn_error *err)
{
    const qn_map *map = &r->files[file];
    qn_torch t = {.r = r, .file = file, .map = map};
    qn_status status = QN_OK;
    t.scratch = qn_arena_new();
    t.by_key = qn_names_new(0);
    r->alignment = 8;
    if (!t.scratch || !t.by_key)
        status = qn_fail_memory(err, map->path);
    else
        status = is_zip(map->data, (size_t)map->size) ? read_zip(&t, err)
                                                      : qn_torch_read_legacy(&t, err);
    qn_free(t.storages);
    qn_names_free(t.by_key);
    qn_arena_free(t.scratch);
    return status;
}

const qn_format qn_format_torch = {.name = "pytorch", .bid = bid, .parse = parse};
