#include "formats/reader.h"

#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"
#include "formats/gguf_split.h"
#include "formats/shards.h"

static const qn_format *const formats[] = {&qn_format_gguf, &qn_format_safetensors,
                                           &qn_format_torch, NULL};

/* ---- what a file is ----------------------------------------------------------------- */

/* Files that people give us by mistake, by their first bytes. */
static const struct {
    const char *head;
    size_t n;
    const char *words;
} foreign[] = {
    {"version https://git-lfs", 23,
     "a Git LFS pointer, not the file itself (git lfs pull fetches it)"},
    {"\x80\2", 2, "a Python pickle, but not one of torch.save's files"},
    {"\x80\4", 2, "a Python pickle, but not one of torch.save's files"},
    {"lmgg", 4, "a GGML file from before GGUF; llama.cpp's converters make GGUF of it"},
    {"fmgg", 4, "a GGMF file from before GGUF; llama.cpp's converters make GGUF of it"},
    {"tjgg", 4, "a GGJT file from before GGUF; llama.cpp's converters make GGUF of it"},
    {"FUGG", 4, "a GGUF file with its bytes in big-endian order, which is not read"},
    {"\x89HDF", 4, "an HDF5 file, which is not read"},
    {"<!DOCTYPE", 9, "a web page, not a model"},
    {"<html", 5, "a web page, not a model"},
};

static qn_status refuse_foreign(const qn_map *m, qn_error *err)
{
    if (m->size == 0) return qn_fail(err, QN_ERR_DATA, "%s: is empty", m->path);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (m->size >= foreign[i].n && !memcmp(m->data, foreign[i].head, foreign[i].n))
            return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: is %s", m->path, foreign[i].words);
    return QN_OK;
}

/* A bid that rests on more than the name of the file. */
enum { CONTENT_BID = 50 };

static qn_status recognize(const qn_map *m, const qn_format **out, qn_error *err)
{
    const qn_format *best = NULL;
    int best_bid = 0;
    for (int i = 0; formats[i]; i++) {
        const int bid = formats[i]->bid(m->data, (size_t)qn_min_u64(m->size, 64), m->path);
        if (bid > best_bid) {
            best_bid = bid;
            best = formats[i];
        }
    }
    /* Two bytes may mean little: a safetensors header of 640 bytes begins as a
     * pickle does. */
    const qn_status status = best_bid < CONTENT_BID ? refuse_foreign(m, err) : QN_OK;
    if (status) return status;
    if (!best)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: is neither GGUF, safetensors nor a PyTorch checkpoint", m->path);
    *out = best;
    return QN_OK;
}

/* ---- tensors ------------------------------------------------------------------------ */

static qn_status check_facts(const qn_reader *r, const qn_tensor *t, qn_error *err)
{
    const qn_map *m = &r->files[t->file];
    uint64_t bytes;
    if (!*t->name) return qn_fail(err, QN_ERR_DATA, "%s: a tensor without a name", m->path);
    if (!qn_utf8_valid(qn_str_z(t->name)))
        return qn_fail(err, QN_ERR_DATA, "%s: tensor %s: its name is not UTF-8", m->path, t->name);
    const qn_status status =
        qn_tensor_measure(m->path, t->name, t->dtype, t->rank, t->dims, &bytes, err);
    if (status) return status;
    if (bytes != t->bytes) {
        char shape[256];
        return qn_fail(err, QN_ERR_DATA,
                       "%s: tensor %s: %s %s takes %llu bytes, the header gives it %llu", m->path,
                       t->name, qn_dtype_facts(t->dtype)->name,
                       qn_shape_text(t->dims, t->rank, shape, sizeof shape),
                       (unsigned long long)bytes, (unsigned long long)t->bytes);
    }
    return QN_OK;
}

static qn_status check_tensor(const qn_reader *r, const qn_tensor *t, qn_error *err)
{
    const qn_map *m = &r->files[t->file];
    const qn_status status = check_facts(r, t, err);
    if (status) return status;
    if (t->offset > m->size || t->bytes > m->size - t->offset)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: tensor %s: its %llu bytes at %llu end behind the file's %llu (is the "
                       "file truncated?)",
                       m->path, t->name, (unsigned long long)t->bytes,
                       (unsigned long long)t->offset, (unsigned long long)m->size);
    return QN_OK;
}

static qn_status append(qn_reader *r, const qn_tensor *t, qn_error *err)
{
    const char *path = r->files[t->file].path;
    const uint32_t other = qn_names_find(r->by_name, qn_str_z(t->name));
    if (other != UINT32_MAX)
        return qn_fail(err, QN_ERR_DATA, "%s: tensor %s is there twice; the other one is in %s",
                       path, t->name, r->files[r->tensors[other].file].path);
    if (r->n_tensors == r->capacity) {
        const size_t capacity = qn_grow(r->capacity, r->n_tensors + 64);
        qn_tensor *grown = qn_resize(r->tensors, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, path);
        r->tensors = grown;
        r->capacity = capacity;
    }
    if (qn_names_add(r->by_name, qn_str_z(t->name), (uint32_t)r->n_tensors, NULL))
        return qn_fail_memory(err, path);
    r->tensors[r->n_tensors++] = *t;
    return QN_OK;
}

qn_status qn_reader_add(qn_reader *r, const qn_tensor *t, qn_error *err)
{
    qn_tensor mapped = *t;
    const qn_status status = check_tensor(r, t, err);
    if (status) return status;
    mapped.data = t->bytes ? r->files[t->file].data + t->offset : NULL;
    return append(r, &mapped, err);
}

qn_status qn_reader_add_at(qn_reader *r, const qn_tensor *t, qn_error *err)
{
    const qn_status status = check_facts(r, t, err);
    return status ? status : append(r, t, err);
}

const qn_tensor *qn_reader_find(const qn_reader *r, const char *name)
{
    const uint32_t at = qn_names_find(r->by_name, qn_str_z(name));
    return at == UINT32_MAX ? NULL : &r->tensors[at];
}

/* ---- opening ------------------------------------------------------------------------ */

static qn_status new_reader(qn_reader **out, size_t n_files, const char *path, qn_error *err)
{
    qn_reader *r = qn_alloc(1, sizeof *r);
    if (!r) return qn_fail_memory(err, path);
    r->files = qn_alloc(n_files, sizeof *r->files);
    r->metadata = qn_metadata_new();
    r->by_name = qn_names_new(0);
    r->arena = qn_arena_new();
    if (!r->files || !r->metadata || !r->by_name || !r->arena) {
        qn_reader_close(r);
        return qn_fail_memory(err, path);
    }
    *out = r;
    return QN_OK;
}

/* Parses the file that was just put at the end of r->files. */
static qn_status parse_last(qn_reader *r, qn_error *err)
{
    const uint32_t file = (uint32_t)r->n_files - 1;
    const qn_format *format;
    const qn_status status = recognize(&r->files[file], &format, err);
    if (status) return status;
    if (r->format && r->format != format)
        return qn_fail(err, QN_ERR_DATA, "%s: is %s, the shards before it are %s",
                       r->files[file].path, format->name, r->format->name);
    r->format = format;
    if (file == 0) qn_metadata_set_where(r->metadata, r->files[0].path);
    return format->parse(r, file, err);
}

static qn_status add_file(qn_reader *r, const char *path, qn_error *err)
{
    const qn_status status = qn_map_open(&r->files[r->n_files], path, err);
    if (status) return status;
    r->n_files++;
    return parse_last(r, err);
}

/* ---- parts of a split model ----------------------------------------------------------- */

static qn_status add_part(qn_reader *r, const char *path, size_t prefix, uint64_t no,
                          uint64_t count, qn_error *err)
{
    char *part = qn_gguf_part_path(path, prefix, no, count);
    if (!part) return qn_fail_memory(err, path);
    const qn_status status =
        qn_path_exists(part)
            ? add_file(r, part, err)
            : qn_fail(err, QN_ERR_DATA, "%s: is not there: part %llu of the %llu of this model",
                      part, (unsigned long long)no + 1, (unsigned long long)count);
    qn_free(part);
    return status;
}

/* *r, which holds what path names: a part that is not the first gives way to it. */
static qn_status begin_with_first(qn_reader **r, const char *path, size_t prefix,
                                  qn_gguf_split *split, qn_error *err)
{
    const qn_gguf_split named = *split;
    if (!named.no) return QN_OK;
    qn_reader_close(*r);
    *r = NULL;
    qn_status status = new_reader(r, 1, path, err);
    if (!status) status = add_part(*r, path, prefix, 0, named.count, err);
    if (!status && (*r)->gguf_version) status = qn_gguf_split_read((*r)->metadata, split, err);
    if (status || ((*r)->gguf_version && split->no == 0 && split->count == named.count))
        return status;
    return qn_fail(err, QN_ERR_DATA, "%s: is not part 1 of %llu by its keys", (*r)->files[0].path,
                   (unsigned long long)named.count);
}

static qn_status add_parts(qn_reader **r, const char *path, qn_error *err)
{
    qn_gguf_split split;
    qn_status status = qn_gguf_split_read((*r)->metadata, &split, err);
    if (status || split.count == 1) return status;
    const size_t prefix = qn_gguf_part_prefix(path, split.no, split.count);
    if (!prefix)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: is part %llu of %llu, but not named NAME-%05llu-of-%05llu.gguf, so the "
                       "others cannot be found",
                       path, (unsigned long long)split.no + 1, (unsigned long long)split.count,
                       (unsigned long long)split.no + 1, (unsigned long long)split.count);
    if ((status = begin_with_first(r, path, prefix, &split, err))) return status;
    qn_map *grown = qn_resize((*r)->files, (size_t)split.count, sizeof *grown);
    if (!grown) return qn_fail_memory(err, path);
    (*r)->files = grown;
    for (uint64_t i = 1; !status && i < split.count; i++)
        status = add_part(*r, path, prefix, i, split.count, err);
    if (!status && split.tensors != UINT64_MAX && split.tensors != (*r)->n_tensors)
        status = qn_fail(err, QN_ERR_DATA,
                         "%s: split.tensors.count is %llu, but its %llu parts hold %zu tensors",
                         path, (unsigned long long)split.tensors, (unsigned long long)split.count,
                         (*r)->n_tensors);
    return status;
}

static qn_status open_file(qn_reader **out, const char *path, qn_error *err)
{
    qn_reader *r;
    qn_status status = new_reader(&r, 1, path, err);
    if (status) return status;
    status = add_file(r, path, err);
    if (!status && r->gguf_version) status = add_parts(&r, path, err);
    if (status)
        qn_reader_close(r);
    else
        *out = r;
    return status;
}

/* ---- shards of a checkpoint ------------------------------------------------------------ */

static qn_status add_shard(qn_reader *r, const char *directory, const qn_shards *shards, size_t i,
                           const char *index, qn_error *err)
{
    char *path = qn_path_join(directory, shards->files[i].name);
    if (!path) return qn_fail_memory(err, index);
    const qn_status status =
        qn_path_exists(path)
            ? add_file(r, path, err)
            : qn_fail(err, QN_ERR_DATA, "%s: tensor %s is said to be in %s, which is not there",
                      index, shards->files[i].first_tensor, shards->files[i].name);
    qn_free(path);
    return status;
}

static qn_status open_shards(qn_reader **out, const char *directory, const char *index,
                             qn_error *err)
{
    qn_map text = {0};
    qn_shards *shards = NULL;
    qn_reader *r = NULL;
    qn_status status = qn_map_open(&text, index, err);
    if (status) return status;
    status = qn_shards_parse(&shards, (const char *)text.data, (size_t)text.size, index, err);
    if (!status) status = new_reader(&r, shards->n_files, index, err);
    for (size_t i = 0; !status && i < shards->n_files; i++)
        status = add_shard(r, directory, shards, i, index, err);
    if (!status) status = qn_shards_check(shards, r, index, err);
    if (!status) {
        *out = r;
        r = NULL;
    }
    qn_reader_close(r);
    qn_shards_free(shards);
    qn_map_close(&text);
    return status;
}

/* What a directory holds, in transformers' order of preference. */
static const struct {
    const char *name;
    bool is_index;
} checkpoints[] = {
    {"model.safetensors", false},
    {"model.safetensors.index.json", true},
    {"pytorch_model.bin", false},
    {"pytorch_model.bin.index.json", true},
};

static qn_status open_directory(qn_reader **out, const char *directory, qn_error *err)
{
    for (size_t i = 0; i < sizeof checkpoints / sizeof *checkpoints; i++) {
        char *path = qn_path_join(directory, checkpoints[i].name);
        if (!path) return qn_fail_memory(err, directory);
        const bool there = qn_path_exists(path);
        const qn_status status = !there                    ? QN_OK
                                 : checkpoints[i].is_index ? open_shards(out, directory, path, err)
                                                           : open_file(out, path, err);
        qn_free(path);
        if (there) return status;
    }
    return qn_shards_missing(directory, err);
}

qn_status qn_reader_open(qn_reader **out, const char *path, qn_error *err)
{
    return qn_path_is_dir(path) ? open_directory(out, path, err) : open_file(out, path, err);
}

/* A part alone would pass for a whole model with tensors missing. */
static qn_status refuse_parts(const qn_reader *r, qn_error *err)
{
    qn_gguf_split split;
    const qn_status status = qn_gguf_split_read(r->metadata, &split, err);
    if (status || split.count == 1) return status;
    return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: is part %llu of %llu, without the others",
                   r->files[0].path, (unsigned long long)split.no + 1,
                   (unsigned long long)split.count);
}

qn_status qn_reader_open_memory(qn_reader **out, const void *bytes, size_t n, const char *name,
                                qn_error *err)
{
    qn_reader *r;
    qn_status status = new_reader(&r, 1, name, err);
    if (status) return status;
    r->files[0] = (qn_map){.data = bytes, .size = n, .path = qn_strdup(name)};
    r->n_files = 1;
    status = r->files[0].path ? parse_last(r, err) : qn_fail_memory(err, name);
    if (!status && r->gguf_version) status = refuse_parts(r, err);
    if (status)
        qn_reader_close(r);
    else
        *out = r;
    return status;
}

void qn_reader_close(qn_reader *r)
{
    if (!r) return;
    for (size_t i = 0; i < r->n_files; i++) qn_map_close(&r->files[i]);
    qn_metadata_free(r->metadata);
    qn_names_free(r->by_name);
    qn_arena_free(r->arena);
    qn_free(r->tensors);
    qn_free(r->files);
    qn_free(r);
}
