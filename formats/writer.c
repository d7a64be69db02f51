#include "formats/writer.h"

#include <assert.h>
#include <string.h>

#include "formats/base/outfile.h"
#include "formats/base/sizes.h"
#include "formats/writer_ops.h"

struct qn_writer {
    const qn_writer_ops *ops;
    char *path;
    bool force, planned;
    qn_writer_contents contents;
    size_t capacity;
    qn_names *by_name;
    qn_arena *arena; /* the tensors' names */
    qn_text header;
    uint64_t total_bytes;
    qn_outfile *file;
};

static void release(qn_writer *w)
{
    if (!w) return;
    qn_outfile_abandon(w->file);
    qn_text_free(&w->header);
    qn_free(w->contents.tensors);
    qn_names_free(w->by_name);
    qn_arena_free(w->arena);
    qn_free(w->path);
    qn_free(w);
}

qn_status qn_writer_create(qn_writer **out, const qn_format *format, const char *path, bool force,
                           const qn_metadata *metadata, uint64_t align, qn_error *err)
{
    if (!format->writer)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %s cannot be written", path, format->name);
    if (align == 0) align = format->writer->default_align;
    if (align < 8 || (align & (align - 1)) || align > UINT32_MAX)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s: an alignment of %llu; it must be a power of two from 8 to 2^31", path,
                       (unsigned long long)align);
    qn_writer *w = qn_alloc(1, sizeof *w);
    if (!w) return qn_fail_memory(err, path);
    w->ops = format->writer;
    w->force = force;
    w->path = qn_strdup(path);
    w->by_name = qn_names_new(0);
    w->arena = qn_arena_new();
    w->contents = (qn_writer_contents){.path = w->path, .metadata = metadata, .align = align};
    if (!w->path || !w->by_name || !w->arena) {
        release(w);
        return qn_fail_memory(err, path);
    }
    *out = w;
    return QN_OK;
}

static qn_status make_room(qn_writer *w, qn_error *err)
{
    if (w->contents.n_tensors < w->capacity) return QN_OK;
    const size_t capacity = qn_grow(w->capacity, w->contents.n_tensors + 64);
    qn_writer_tensor *grown = qn_resize(w->contents.tensors, capacity, sizeof *grown);
    if (!grown) return qn_fail_memory(err, w->path);
    w->contents.tensors = grown;
    w->capacity = capacity;
    return QN_OK;
}

qn_status qn_writer_declare(qn_writer *w, const char *name, qn_dtype dtype, unsigned rank,
                            const uint64_t *dims, qn_error *err)
{
    assert(!w->planned);
    qn_writer_tensor t = {.dtype = dtype, .rank = rank};
    qn_status status = qn_tensor_measure(w->path, name, dtype, rank, dims, &t.bytes, err);
    if (status) return status;
    if (rank) memcpy(t.dims, dims, rank * sizeof *dims);
    if (qn_names_find(w->by_name, qn_str_z(name)) != UINT32_MAX)
        return qn_fail(err, QN_ERR_DATA, "%s: tensor %s would be there twice", w->path, name);
    t.name = qn_arena_strndup(w->arena, name, strlen(name));
    if (!t.name) return qn_fail_memory(err, w->path);
    if ((status = w->ops->check(w->path, &t, err))) return status;
    if ((status = make_room(w, err))) return status;
    if (qn_names_add(w->by_name, qn_str_z(t.name), (uint32_t)w->contents.n_tensors, NULL))
        return qn_fail_memory(err, w->path);
    w->contents.tensors[w->contents.n_tensors++] = t;
    return QN_OK;
}

qn_status qn_writer_plan(qn_writer *w, uint64_t *total_bytes, qn_error *err)
{
    assert(!w->planned);
    uint64_t total = 0;
    const qn_status status = w->ops->plan(&w->contents, &w->header, &total, err);
    if (status) return status;
    if (w->header.failed) return qn_fail_memory(err, w->path);
    if (total > INT64_MAX)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: would be %llu bytes, more than a file can have", w->path,
                       (unsigned long long)total);
    w->planned = true;
    w->total_bytes = *total_bytes = total;
    return QN_OK;
}

qn_status qn_writer_begin(qn_writer *w, qn_error *err)
{
    assert(w->planned && !w->file);
    qn_status status = qn_outfile_create(&w->file, w->path, w->force, err);
    if (!status) status = qn_outfile_reserve(w->file, w->total_bytes, err);
    if (!status) status = qn_outfile_write(w->file, 0, w->header.s, w->header.n, err);
    qn_text_free(&w->header);
    return status;
}

qn_status qn_writer_put(qn_writer *w, size_t tensor, uint64_t offset, const void *bytes, uint64_t n,
                        qn_error *err)
{
    assert(w->file && tensor < w->contents.n_tensors);
    qn_writer_tensor *t = &w->contents.tensors[tensor];
    assert(offset <= t->bytes && n <= t->bytes - offset);
    const qn_status status = qn_outfile_write(w->file, t->offset + offset, bytes, n, err);
    if (!status) atomic_fetch_add(&t->put, n);
    return status;
}

void qn_writer_flush(qn_writer *w, size_t tensor)
{
    const qn_writer_tensor *t = &w->contents.tensors[tensor];
    qn_outfile_flush(w->file, t->offset, t->bytes);
}

qn_status qn_writer_commit(qn_writer *w, qn_error *err)
{
    assert(w->file);
    qn_status status = QN_OK;
    for (size_t i = 0; i < w->contents.n_tensors; i++) {
        const qn_writer_tensor *t = &w->contents.tensors[i];
        if (t->put == t->bytes) continue;
        status =
            qn_fail(err, QN_ERR_DATA, "%s: tensor %s: %llu of its %llu bytes were written", w->path,
                    t->name, (unsigned long long)t->put, (unsigned long long)t->bytes);
        goto out;
    }
    status = qn_outfile_commit(w->file, err);
    w->file = NULL;
out:
    release(w);
    return status;
}

void qn_writer_abandon(qn_writer *w)
{
    release(w);
}

uint64_t qn_writer_tensor_offset(const qn_writer *w, size_t tensor)
{
    return w->contents.tensors[tensor].offset;
}

uint64_t qn_writer_tensor_bytes(const qn_writer *w, size_t tensor)
{
    return w->contents.tensors[tensor].bytes;
}
