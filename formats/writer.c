#include "formats/writer.h"

#include <assert.h>
#include <string.h>

#include "formats/base/outfile.h"
#include "formats/base/sizes.h"
#include "formats/writer_ops.h"

/* One file. */
typedef struct {
    char *path;
    const qn_metadata *metadata;
    size_t first; /* of its tensors */
    qn_text header;
    uint64_t bytes;
    atomic_ullong awaited; /* bytes of its tensors that have not arrived */
    qn_outfile *file;
} part;

struct qn_writer {
    const qn_writer_ops *ops;
    uint64_t align;
    bool force, planned, begun;
    part *parts;
    size_t n_parts, parts_capacity;
    qn_writer_tensor *tensors;
    size_t n_tensors, capacity;
    qn_names *by_name;
    qn_arena *arena; /* the tensors' names */
};

static const char *last_path(const qn_writer *w)
{
    return w->parts[w->n_parts - 1].path;
}

static void release(qn_writer *w)
{
    if (!w) return;
    for (size_t i = 0; i < w->n_parts; i++) {
        qn_outfile_abandon(w->parts[i].file);
        qn_text_free(&w->parts[i].header);
        qn_free(w->parts[i].path);
    }
    qn_free(w->parts);
    qn_free(w->tensors);
    qn_names_free(w->by_name);
    qn_arena_free(w->arena);
    qn_free(w);
}

qn_status qn_writer_part(qn_writer *w, const char *path, const qn_metadata *metadata, qn_error *err)
{
    assert(!w->planned);
    if (w->n_parts == w->parts_capacity) {
        const size_t capacity = qn_grow(w->parts_capacity, w->n_parts + 1);
        part *grown = qn_resize(w->parts, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, path);
        w->parts = grown;
        w->parts_capacity = capacity;
    }
    char *copy = qn_strdup(path);
    if (!copy) return qn_fail_memory(err, path);
    w->parts[w->n_parts++] = (part){.path = copy, .metadata = metadata, .first = w->n_tensors};
    return QN_OK;
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
    w->align = align;
    w->by_name = qn_names_new(0);
    w->arena = qn_arena_new();
    const qn_status status =
        w->by_name && w->arena ? qn_writer_part(w, path, metadata, err) : qn_fail_memory(err, path);
    if (status)
        release(w);
    else
        *out = w;
    return status;
}

static qn_status make_room(qn_writer *w, qn_error *err)
{
    if (w->n_tensors < w->capacity) return QN_OK;
    const size_t capacity = qn_grow(w->capacity, w->n_tensors + 64);
    qn_writer_tensor *grown = qn_resize(w->tensors, capacity, sizeof *grown);
    if (!grown) return qn_fail_memory(err, last_path(w));
    w->tensors = grown;
    w->capacity = capacity;
    return QN_OK;
}

qn_status qn_writer_declare(qn_writer *w, const char *name, qn_dtype dtype, unsigned rank,
                            const uint64_t *dims, qn_error *err)
{
    assert(!w->planned);
    qn_writer_tensor t = {.dtype = dtype, .rank = rank, .part = w->n_parts - 1};
    qn_status status = qn_tensor_measure(last_path(w), name, dtype, rank, dims, &t.bytes, err);
    if (status) return status;
    if (rank) memcpy(t.dims, dims, rank * sizeof *dims);
    if (qn_names_find(w->by_name, qn_str_z(name)) != UINT32_MAX)
        return qn_fail(err, QN_ERR_DATA, "%s: tensor %s would be there twice", last_path(w), name);
    t.name = qn_arena_strndup(w->arena, name, strlen(name));
    if (!t.name) return qn_fail_memory(err, last_path(w));
    if ((status = w->ops->check(last_path(w), &t, err))) return status;
    if ((status = make_room(w, err))) return status;
    if (qn_names_add(w->by_name, qn_str_z(t.name), (uint32_t)w->n_tensors, NULL))
        return qn_fail_memory(err, last_path(w));
    w->tensors[w->n_tensors++] = t;
    return QN_OK;
}

static qn_status plan_part(qn_writer *w, size_t i, qn_error *err)
{
    part *p = &w->parts[i];
    const size_t end = i + 1 < w->n_parts ? w->parts[i + 1].first : w->n_tensors;
    const qn_writer_contents contents = {.path = p->path,
                                         .metadata = p->metadata,
                                         .align = w->align,
                                         .tensors = w->tensors + p->first,
                                         .n_tensors = end - p->first};
    const qn_status status = w->ops->plan(&contents, &p->header, &p->bytes, err);
    if (status) return status;
    if (p->header.failed) return qn_fail_memory(err, p->path);
    for (size_t j = p->first; j < end; j++) p->awaited += w->tensors[j].bytes;
    if (p->bytes > INT64_MAX)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: would be %llu bytes, more than a file can have", p->path,
                       (unsigned long long)p->bytes);
    return QN_OK;
}

qn_status qn_writer_plan(qn_writer *w, uint64_t *total_bytes, qn_error *err)
{
    assert(!w->planned);
    uint64_t total = 0;
    for (size_t i = 0; i < w->n_parts; i++) {
        const qn_status status = plan_part(w, i, err);
        if (status) return status;
        if (!qn_add_u64(total, w->parts[i].bytes, &total))
            return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: would be too large", w->parts[0].path);
    }
    w->planned = true;
    *total_bytes = total;
    return QN_OK;
}

qn_status qn_writer_begin(qn_writer *w, qn_error *err)
{
    assert(w->planned && !w->begun);
    qn_status status = QN_OK;
    w->begun = true;
    for (size_t i = 0; i < w->n_parts && !status; i++) {
        part *p = &w->parts[i];
        status = qn_outfile_create(&p->file, p->path, w->force, err);
        if (!status) status = qn_outfile_reserve(p->file, p->bytes, err);
        if (!status) status = qn_outfile_write(p->file, 0, p->header.s, p->header.n, err);
        qn_text_free(&p->header);
        if (!status) qn_outfile_rest(p->file);
    }
    return status;
}

qn_status qn_writer_put(qn_writer *w, size_t tensor, uint64_t offset, const void *bytes, uint64_t n,
                        qn_error *err)
{
    assert(w->begun && tensor < w->n_tensors);
    qn_writer_tensor *t = &w->tensors[tensor];
    assert(offset <= t->bytes && n <= t->bytes - offset);
    part *p = &w->parts[t->part];
    const qn_status status = qn_outfile_write(p->file, t->offset + offset, bytes, n, err);
    if (status) return status;
    atomic_fetch_add(&t->put, n);
    if (atomic_fetch_sub(&p->awaited, n) == n) qn_outfile_rest(p->file);
    return QN_OK;
}

void qn_writer_flush(qn_writer *w, size_t tensor)
{
    const qn_writer_tensor *t = &w->tensors[tensor];
    qn_outfile_flush(w->parts[t->part].file, t->offset, t->bytes);
}

/* ---- committing ---------------------------------------------------------------- */

static qn_status check_complete(const qn_writer *w, qn_error *err)
{
    assert(w->begun);
    for (size_t i = 0; i < w->n_tensors; i++) {
        const qn_writer_tensor *t = &w->tensors[i];
        if (t->put != t->bytes)
            return qn_fail(err, QN_ERR_DATA, "%s: tensor %s: %llu of its %llu bytes were written",
                           w->parts[t->part].path, t->name, (unsigned long long)t->put,
                           (unsigned long long)t->bytes);
    }
    return QN_OK;
}

/* The files are no longer the writers'. */
static size_t take_files(qn_writer *const *writers, size_t n, qn_outfile **files)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < writers[i]->n_parts; j++) {
            files[count++] = writers[i]->parts[j].file;
            writers[i]->parts[j].file = NULL;
        }
    return count;
}

qn_status qn_writer_commit_all(qn_writer *const *writers, size_t n, qn_error *err)
{
    qn_status status = QN_OK;
    size_t n_files = 0;
    qn_outfile **files = NULL;
    for (size_t i = 0; i < n && !status; i++) {
        status = check_complete(writers[i], err);
        n_files += writers[i]->n_parts;
    }
    if (status) goto out;
    if (!(files = qn_alloc(n_files, sizeof(qn_outfile *)))) {
        status = qn_fail_memory(err, "the list of outputs");
        goto out;
    }
    status = qn_outfile_commit_all(files, take_files(writers, n, files), err);
out:
    qn_free(files);
    for (size_t i = 0; i < n; i++) release(writers[i]);
    return status;
}

qn_status qn_writer_commit(qn_writer *w, qn_error *err)
{
    return qn_writer_commit_all(&w, 1, err);
}

void qn_writer_abandon(qn_writer *w)
{
    release(w);
}

uint64_t qn_writer_tensor_offset(const qn_writer *w, size_t tensor)
{
    return w->tensors[tensor].offset;
}

uint64_t qn_writer_tensor_bytes(const qn_writer *w, size_t tensor)
{
    return w->tensors[tensor].bytes;
}
