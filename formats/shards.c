#include "formats/shards.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/json.h"

/* An index of 200,000 tensors takes 20 MB. */
static const size_t index_limit = 100u * 1000 * 1000;

/* Longer values in it have no business there. */
static const size_t value_limit = 64u * 1024;

/* ---- parsing -------------------------------------------------------------------------- */

typedef struct {
    qn_shards *shards;
    qn_names *by_file; /* name -> index into files, in order of appearance */
    size_t file_capacity;
    const char *where;
} parser;

static qn_status check_file_name(const parser *p, const char *tensor, const json_t *v,
                                 qn_error *err)
{
    if (!json_is_string(v))
        return qn_fail(err, QN_ERR_DATA, "%s: tensor %s: its file is not a string", p->where,
                       tensor);
    const char *name = json_string_value(v);
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
        return qn_fail(err, QN_ERR_DATA,
                       "%s: tensor %s: '%s' is not the plain name of a file beside the index",
                       p->where, tensor, name);
    return QN_OK;
}

/* The file's number, a new one when it was not seen before. */
static qn_status number_file(parser *p, const char *name, const char *tensor, size_t *out,
                             qn_error *err)
{
    qn_shards *s = p->shards;
    const uint32_t known = qn_names_find(p->by_file, qn_str_z(name));
    if (known != UINT32_MAX) {
        *out = known;
        return QN_OK;
    }
    if (s->n_files == p->file_capacity) {
        const size_t capacity = qn_grow(p->file_capacity, s->n_files + 16);
        qn_shard *grown = qn_resize(s->files, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, p->where);
        s->files = grown;
        p->file_capacity = capacity;
    }
    const char *copy = qn_arena_strndup(s->arena, name, strlen(name));
    if (!copy || qn_names_add(p->by_file, qn_str_z(copy), (uint32_t)s->n_files, NULL))
        return qn_fail_memory(err, p->where);
    s->files[s->n_files] = (qn_shard){.name = copy, .first_tensor = tensor};
    *out = s->n_files++;
    return QN_OK;
}

static qn_status add_entry(parser *p, const qn_text *key, const json_t *v, qn_error *err)
{
    qn_shards *s = p->shards;
    size_t file = 0;
    bool present;
    qn_status status = check_file_name(p, key->s, v, err);
    if (status) return status;
    if (s->n_entries == s->capacity) {
        const size_t capacity = qn_grow(s->capacity, s->n_entries + 64);
        qn_shard_entry *grown = qn_resize(s->entries, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, p->where);
        s->entries = grown;
        s->capacity = capacity;
    }
    const char *tensor = qn_arena_strndup(s->arena, key->s, key->n);
    if (!tensor || qn_names_add(s->by_tensor, qn_str_z(tensor), (uint32_t)s->n_entries, &present))
        return qn_fail_memory(err, p->where);
    if (present)
        return qn_fail(err, QN_ERR_DATA, "%s: tensor %s is listed twice", p->where, tensor);
    if ((status = number_file(p, json_string_value(v), tensor, &file, err))) return status;
    s->entries[s->n_entries++] = (qn_shard_entry){tensor, file};
    return QN_OK;
}

static qn_status parse_weight_map(parser *p, qn_json_walk *w, qn_text *key, qn_error *err)
{
    bool more = false;
    qn_status status = qn_json_walk_enter(w, err);
    while (!status && !(status = qn_json_walk_key(w, key, &more, err)) && more) {
        json_t *v;
        if ((status = qn_json_walk_value(w, value_limit, &v, err))) break;
        status = add_entry(p, key, v, err);
        json_decref(v);
    }
    return status;
}

static qn_status parse_members(parser *p, const char *text, size_t n, qn_error *err)
{
    qn_json_walk w;
    qn_text key = {0};
    bool more = false, mapped = false;
    qn_status status = qn_json_walk_open(&w, text, n, p->where, err);
    while (!status && !(status = qn_json_walk_key(&w, &key, &more, err)) && more) {
        if (!strcmp(key.s, "weight_map")) {
            status = mapped ? qn_fail(err, QN_ERR_DATA, "%s: weight_map is there twice", p->where)
                            : parse_weight_map(p, &w, &key, err);
            mapped = true;
        } else {
            json_t *v = NULL;
            status = qn_json_walk_value(&w, value_limit, &v, err);
            json_decref(v);
        }
    }
    if (!status) status = qn_json_walk_end(&w, err);
    if (!status && p->shards->n_entries == 0)
        status = qn_fail(err, QN_ERR_DATA, "%s: its weight_map %s", p->where,
                         mapped ? "is empty" : "is missing");
    qn_text_free(&key);
    return status;
}

/* ---- files in order of their names ------------------------------------------------------ */

typedef struct {
    qn_shard file;
    size_t seen; /* its number in order of appearance */
} numbered;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const numbered *)a)->file.name, ((const numbered *)b)->file.name);
}

static qn_status sort_files(qn_shards *s, const char *where, qn_error *err)
{
    numbered *order = qn_alloc(s->n_files, sizeof *order);
    size_t *place = qn_alloc(s->n_files, sizeof *place);
    qn_status status = QN_OK;
    if (!order || !place) {
        status = qn_fail_memory(err, where);
        goto out;
    }
    for (size_t i = 0; i < s->n_files; i++) order[i] = (numbered){s->files[i], i};
    qsort(order, s->n_files, sizeof *order, by_name);
    for (size_t i = 0; i < s->n_files; i++) {
        s->files[i] = order[i].file;
        place[order[i].seen] = i;
    }
    for (size_t i = 0; i < s->n_entries; i++) s->entries[i].file = place[s->entries[i].file];
out:
    qn_free(place);
    qn_free(order);
    return status;
}

qn_status qn_shards_parse(qn_shards **out, const char *text, size_t n, const char *where,
                          qn_error *err)
{
    if (n > index_limit)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %zu bytes, at most %zu are read", where, n,
                       index_limit);
    parser p = {.where = where, .by_file = qn_names_new(0)};
    qn_shards *s = p.shards = qn_alloc(1, sizeof *s);
    qn_status status = QN_OK;
    if (!s || !p.by_file) {
        status = qn_fail_memory(err, where);
        goto out;
    }
    s->arena = qn_arena_new();
    s->by_tensor = qn_names_new(0);
    if (!s->arena || !s->by_tensor) {
        status = qn_fail_memory(err, where);
        goto out;
    }
    if ((status = parse_members(&p, text, n, err))) goto out;
    if ((status = sort_files(s, where, err))) goto out;
    *out = s;
    s = NULL;
out:
    qn_shards_free(s);
    qn_names_free(p.by_file);
    return status;
}

void qn_shards_free(qn_shards *s)
{
    if (!s) return;
    qn_names_free(s->by_tensor);
    qn_arena_free(s->arena);
    qn_free(s->entries);
    qn_free(s->files);
    qn_free(s);
}

/* ---- checking --------------------------------------------------------------------------- */

qn_status qn_shards_check(const qn_shards *s, const qn_reader *r, const char *where, qn_error *err)
{
    for (size_t i = 0; i < r->n_tensors; i++) {
        const qn_tensor *t = &r->tensors[i];
        const uint32_t at = qn_names_find(s->by_tensor, qn_str_z(t->name));
        if (at == UINT32_MAX)
            return qn_fail(err, QN_ERR_DATA, "%s: does not list tensor %s, which %s holds", where,
                           t->name, s->files[t->file].name);
        if (s->entries[at].file != t->file)
            return qn_fail(err, QN_ERR_DATA, "%s: puts tensor %s in %s, but it is in %s", where,
                           t->name, s->files[s->entries[at].file].name, s->files[t->file].name);
    }
    for (size_t i = 0; i < s->n_entries; i++)
        if (!qn_reader_find(r, s->entries[i].tensor))
            return qn_fail(err, QN_ERR_DATA, "%s: puts tensor %s in %s, which does not hold it",
                           where, s->entries[i].tensor, s->files[s->entries[i].file].name);
    return QN_OK;
}

/* ---- a directory without a checkpoint ------------------------------------------------------ */

static const struct {
    const char *suffix, *words;
} instead[] = {
    {".gguf", "give the file itself"},
    {".safetensors", "give the file itself"},
    {".bin", "give the file itself"},
    {".pt", "give the file itself"},
    {".pth", "give the file itself"},
    {".h5", "TensorFlow checkpoints are not read"},
    {".msgpack", "Flax checkpoints are not read"},
};

enum { N_INSTEAD = sizeof instead / sizeof *instead };

/* The first name with each suffix, in the alphabet's order. */
static void look_around(const char *directory, char names[N_INSTEAD][256])
{
    DIR *d = opendir(directory);
    if (!d) return;
    for (const struct dirent *e; (e = readdir(d));)
        for (int i = 0; i < N_INSTEAD; i++)
            if (qn_str_ends(qn_str_z(e->d_name), instead[i].suffix) &&
                (!*names[i] || strcmp(e->d_name, names[i]) < 0))
                memcpy(names[i], e->d_name, strlen(e->d_name) + 1);
    closedir(d);
}

qn_status qn_shards_missing(const char *directory, qn_error *err)
{
    char names[N_INSTEAD][256] = {{0}};
    look_around(directory, names);
    for (int i = 0; i < N_INSTEAD; i++)
        if (*names[i])
            return qn_fail(
                err, QN_ERR_UNSUPPORTED,
                "%s: holds no model.safetensors, pytorch_model.bin or index of shards, only "
                "%s (%s)",
                directory, names[i], instead[i].words);
    return qn_fail(err, QN_ERR_DATA,
                   "%s: holds no model.safetensors, pytorch_model.bin or index of shards",
                   directory);
}
