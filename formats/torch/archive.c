#include "formats/torch/archive.h"

#include <string.h>
#include <zip.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"

/* Deflate's best: 258 bytes for a bit of literal and a bit of distance. */
enum { DEFLATE_MOST = 1032 };

/* What libzip reads from: the mapped file.  It tells where it read last, which
 * is how we learn where an entry's data begins (libzip has no call for it). */
struct qn_archive {
    const qn_map *map;
    zip_t *zip;
    uint64_t at, last_read;
    zip_error_t error;
};

static zip_int64_t source_read(qn_archive *a, void *data, zip_uint64_t length)
{
    const uint64_t n = qn_min_u64(length, a->map->size - a->at);
    a->last_read = a->at;
    if (n) memcpy(data, a->map->data + a->at, (size_t)n);
    a->at += n;
    return (zip_int64_t)n;
}

static zip_int64_t source_stat(const qn_archive *a, void *data)
{
    zip_stat_t *st = data;
    zip_stat_init(st);
    st->valid = ZIP_STAT_SIZE;
    st->size = a->map->size;
    return sizeof *st;
}

static zip_int64_t source(void *state, void *data, zip_uint64_t length, zip_source_cmd_t command)
{
    qn_archive *a = state;
    zip_int64_t to;
    switch (command) {
    case ZIP_SOURCE_OPEN: a->at = 0; return 0;
    case ZIP_SOURCE_READ: return source_read(a, data, length);
    case ZIP_SOURCE_CLOSE: return 0;
    case ZIP_SOURCE_STAT: return source_stat(a, data);
    case ZIP_SOURCE_SEEK:
        to = zip_source_seek_compute_offset(a->at, a->map->size, data, length, &a->error);
        if (to < 0) return -1;
        a->at = (uint64_t)to;
        return 0;
    case ZIP_SOURCE_TELL: return (zip_int64_t)a->at;
    case ZIP_SOURCE_ERROR: return zip_error_to_data(&a->error, data, length);
    case ZIP_SOURCE_FREE: return 0;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
                                              ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, -1);
    default: zip_error_set(&a->error, ZIP_ER_OPNOTSUPP, 0); return -1;
    }
}

static qn_status fail_zip(const qn_archive *a, const char *words, zip_error_t *error, qn_error *err)
{
    const qn_status status = zip_error_code_zip(error) == ZIP_ER_MEMORY
                                 ? qn_fail_memory(err, a->map->path)
                                 : qn_fail(err, QN_ERR_DATA, "%s: %s: %s (is it truncated?)",
                                           a->map->path, words, zip_error_strerror(error));
    zip_error_fini(error);
    return status;
}

qn_status qn_archive_open(qn_archive **out, const qn_map *map, qn_error *err)
{
    zip_error_t error;
    qn_archive *a = qn_alloc(1, sizeof *a);
    if (!a) return qn_fail_memory(err, map->path);
    a->map = map;
    zip_error_init(&a->error);
    zip_error_init(&error);
    zip_source_t *s = zip_source_function_create(source, a, &error);
    a->zip = s ? zip_open_from_source(s, ZIP_RDONLY, &error) : NULL;
    if (!a->zip) {
        const qn_status status = fail_zip(a, "is no whole zip archive", &error, err);
        zip_source_free(s);
        qn_archive_close(a);
        return status;
    }
    zip_error_fini(&error);
    *out = a;
    return QN_OK;
}

void qn_archive_close(qn_archive *a)
{
    if (!a) return;
    if (a->zip) zip_discard(a->zip);
    zip_error_fini(&a->error);
    qn_free(a);
}

const char *qn_archive_find_suffix(const qn_archive *a, const char *suffix)
{
    const zip_int64_t n = zip_get_num_entries(a->zip, 0);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(a->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        if (name && qn_str_ends(qn_str_z(name), suffix)) return name;
    }
    return NULL;
}

qn_status qn_archive_find(const qn_archive *a, const char *name, qn_archive_entry *out, bool *found,
                          qn_error *err)
{
    zip_stat_t st;
    const char *path = a->map->path;
    const zip_int64_t index = zip_name_locate(a->zip, name, ZIP_FL_ENC_RAW);
    *found = index >= 0;
    if (!*found) return QN_OK;
    zip_stat_init(&st);
    if (zip_stat_index(a->zip, (zip_uint64_t)index, 0, &st) != 0)
        return qn_fail(err, QN_ERR_DATA, "%s: entry %s: its directory cannot be read", path, name);
    if (st.encryption_method != ZIP_EM_NONE)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: entry %s is encrypted", path, name);
    if (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: entry %s is compressed by method %u; stored and deflated ones are read",
                       path, name, (unsigned)st.comp_method);
    const bool stored = st.comp_method == ZIP_CM_STORE;
    if (st.comp_size > a->map->size || st.size / (stored ? 1 : DEFLATE_MOST) > st.comp_size)
        return qn_fail(err, QN_ERR_DATA, "%s: entry %s: %llu bytes out of %llu, in a file of %llu",
                       path, name, (unsigned long long)st.size, (unsigned long long)st.comp_size,
                       (unsigned long long)a->map->size);
    *out = (qn_archive_entry){.index = (uint64_t)index, .bytes = st.size, .stored = stored};
    return QN_OK;
}

/* n bytes of the entry; with `whole`, the end must follow and the checksum agree. */
static qn_status read_entry(qn_archive *a, const qn_archive_entry *e, void *out, uint64_t n,
                            bool whole, qn_error *err)
{
    uint8_t beyond;
    zip_file_t *f = zip_fopen_index(a->zip, e->index, 0);
    if (!f) return fail_zip(a, "an entry cannot be read", zip_get_error(a->zip), err);
    zip_int64_t got = 1;
    uint64_t done = 0;
    for (; done < n && got > 0; done += got > 0 ? (uint64_t)got : 0)
        got = zip_fread(f, (uint8_t *)out + done, n - done);
    /* the checksum is compared where the end is seen */
    if (whole && got >= 0 && done == n) got = zip_fread(f, &beyond, 1) ? -1 : 1;
    qn_status status = QN_OK;
    if (got < 0 || done != n)
        status = qn_fail(err, QN_ERR_DATA, "%s: entry %s cannot be read: %s (is the file damaged?)",
                         a->map->path, zip_get_name(a->zip, e->index, ZIP_FL_ENC_RAW),
                         zip_file_strerror(f));
    zip_fclose(f);
    return status;
}

qn_status qn_archive_read(qn_archive *a, const qn_archive_entry *e, void *out, qn_error *err)
{
    return read_entry(a, e, out, e->bytes, true, err);
}

qn_status qn_archive_locate(qn_archive *a, const qn_archive_entry *e, uint64_t *offset,
                            qn_error *err)
{
    uint8_t first;
    const qn_status status = read_entry(a, e, &first, 1, false, err);
    if (status) return status;
    *offset = a->last_read;
    if (*offset > a->map->size || e->bytes > a->map->size - *offset)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: entry %s: its %llu bytes at %llu end behind the file's %llu",
                       a->map->path, zip_get_name(a->zip, e->index, ZIP_FL_ENC_RAW),
                       (unsigned long long)e->bytes, (unsigned long long)*offset,
                       (unsigned long long)a->map->size);
    return QN_OK;
}
