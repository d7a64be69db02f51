#include "formats/imatrix.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/sizes.h"

typedef unsigned long long ull;

static const char sums_suffix[] = ".in_sum2", counts_suffix[] = ".counts";

/* Counts are whole numbers in a float; beyond this they could not be. */
static const float MOST_COUNT = 0x1p53F;

/* Tokens: no context is longer, and sums of counts stay far from 63 bits. */
static const uint64_t MOST_CHUNK = UINT64_C(1) << 24;

static float float_at(const void *floats, uint64_t i)
{
    float f;
    memcpy(&f, (const uint8_t *)floats + i * sizeof f, sizeof f);
    return f;
}

double qn_imatrix_exact(const void *doubles, uint64_t i)
{
    double d;
    memcpy(&d, (const uint8_t *)doubles + i * sizeof d, sizeof d);
    return d;
}

float qn_imatrix_value(const qn_imatrix_entry *e, uint64_t i)
{
    return float_at(e->values, i);
}

int64_t qn_imatrix_count(const qn_imatrix_entry *e, uint64_t i)
{
    if (!e->counts) return e->calls;
    return llroundf(float_at(e->counts, i / (e->n_values / e->n_counts)));
}

const qn_imatrix_entry *qn_imatrix_find(const qn_imatrix *m, const char *name)
{
    const uint32_t at = qn_names_find(m->by_name, qn_str_z(name));
    return at == UINT32_MAX ? NULL : &m->entries[at];
}

/* ---- entries --------------------------------------------------------------------------- */

static qn_status check_entry(const qn_imatrix *m, const qn_imatrix_entry *e, qn_error *err)
{
    if (!e->n_values || !e->n_counts || e->n_values % e->n_counts)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: entry %s: %llu values cannot be of %llu matrices of equal size",
                       m->map.path, e->name, (ull)e->n_values, (ull)e->n_counts);
    for (uint64_t i = 0; i < e->n_values; i++) {
        const float v = qn_imatrix_value(e, i);
        if (!isfinite(v) || v < 0)
            return qn_fail(err, QN_ERR_DATA,
                           "%s: entry %s: value %llu is %g, which no sum of squares can be",
                           m->map.path, e->name, (ull)i, (double)v);
    }
    for (uint64_t i = 0; e->counts && i < e->n_counts; i++) {
        const float count = float_at(e->counts, i);
        if (!(count >= 0 && count <= MOST_COUNT))
            return qn_fail(err, QN_ERR_DATA,
                           "%s: entry %s: count %llu is %g, which no count can be", m->map.path,
                           e->name, (ull)i, (double)count);
    }
    return QN_OK;
}

qn_status qn_imatrix_add(qn_imatrix *m, const qn_imatrix_entry *e, qn_error *err)
{
    bool present = false;
    const qn_status status = check_entry(m, e, err);
    if (status) return status;
    if (qn_names_add(m->by_name, qn_str_z(e->name), (uint32_t)m->n_entries, &present))
        return qn_fail_memory(err, m->map.path);
    if (present)
        return qn_fail(err, QN_ERR_DATA, "%s: entry %s is there twice", m->map.path, e->name);
    m->entries[m->n_entries++] = *e;
    return QN_OK;
}

/* ---- GGUF ------------------------------------------------------------------------------ */

static qn_status find_counts(const qn_imatrix *m, const qn_tensor *sums, qn_imatrix_entry *e,
                             qn_error *err)
{
    char name[256];
    snprintf(name, sizeof name, "%s%s", e->name, counts_suffix);
    const qn_tensor *counts = qn_reader_find(m->reader, name);
    if (!counts)
        return qn_fail(err, QN_ERR_DATA, "%s: tensor %s is there without %s", m->map.path,
                       sums->name, name);
    if (sums->dtype != QN_F32 || counts->dtype != QN_F32)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: entry %s: sums are %s and counts %s, both must be F32", m->map.path,
                       e->name, qn_dtype_facts(sums->dtype)->name,
                       qn_dtype_facts(counts->dtype)->name);
    e->values = sums->data;
    e->n_values = qn_tensor_elements(sums);
    e->counts = counts->data;
    e->n_counts = qn_tensor_elements(counts);
    return QN_OK;
}

/* What an unfinished file has more of an entry: NAME.what, n doubles up to most. */
static qn_status find_exact(const qn_imatrix *m, const char *entry, const char *what, uint64_t n,
                            double most, const void **out, qn_error *err)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", entry, what);
    const qn_tensor *t = qn_reader_find(m->reader, name);
    if (!t) return QN_OK;
    if (t->dtype != QN_F64 || qn_tensor_elements(t) != n)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: %s holds %llu values of type %s, expected %llu of F64", m->map.path,
                       name, (ull)qn_tensor_elements(t), qn_dtype_facts(t->dtype)->name, (ull)n);
    for (uint64_t i = 0; i < n; i++) {
        const double v = qn_imatrix_exact(t->data, i);
        if (!(v >= 0.0 && v <= most))
            return qn_fail(err, QN_ERR_DATA, "%s: %s: value %llu is %g", m->map.path, name, (ull)i,
                           v);
    }
    *out = t->data;
    return QN_OK;
}

static qn_status find_exacts(const qn_imatrix *m, qn_imatrix_entry *e, qn_error *err)
{
    qn_status status = find_exact(m, e->name, "sums", e->n_values, DBL_MAX, &e->sums, err);
    if (!status) status = find_exact(m, e->name, "rows", e->n_counts, 0x1p53, &e->rows, err);
    if (!status && !e->sums != !e->rows)
        status = qn_fail(err, QN_ERR_DATA, "%s: of %s.sums and %s.rows only one is there",
                         m->map.path, e->name, e->name);
    return status;
}

static qn_status check_has_sums(const qn_imatrix *m, const qn_tensor *counts, qn_error *err)
{
    char name[256];
    const size_t stem = strlen(counts->name) - (sizeof counts_suffix - 1);
    snprintf(name, sizeof name, "%.*s%s", (int)stem, counts->name, sums_suffix);
    if (qn_reader_find(m->reader, name)) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: tensor %s is there without %s", m->map.path, counts->name,
                   name);
}

static qn_status add_entries(qn_imatrix *m, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i < m->reader->n_tensors; i++) {
        const qn_tensor *t = &m->reader->tensors[i];
        qn_imatrix_entry e = {0};
        if (qn_str_ends(qn_str_z(t->name), counts_suffix)) status = check_has_sums(m, t, err);
        if (!qn_str_ends(qn_str_z(t->name), sums_suffix)) continue;
        e.name = qn_arena_strndup(m->arena, t->name, strlen(t->name) - (sizeof sums_suffix - 1));
        if (!e.name) return qn_fail_memory(err, m->map.path);
        if (!status) status = find_counts(m, t, &e, err);
        if (!status) status = find_exacts(m, &e, err);
        if (!status) status = qn_imatrix_add(m, &e, err);
    }
    return status;
}

static qn_status read_dataset(qn_imatrix *m, qn_error *err)
{
    static const char key[] = "imatrix.datasets";
    const qn_meta_value *v = qn_metadata_find(m->reader->metadata, key);
    if (!v || v->type != QN_META_ARRAY || v->element != QN_META_STRING)
        return qn_fail(err, QN_ERR_DATA, "%s: %s %s", m->map.path, key,
                       v ? "is not an array of strings"
                         : "is missing: is this an importance matrix?");
    m->datasets = v->bytes;
    qn_str cursor = v->bytes;
    qn_meta_next_string(&cursor, &m->dataset);
    return QN_OK;
}

static qn_status parse_gguf(qn_imatrix *m, qn_error *err)
{
    qn_status status =
        qn_reader_open_memory(&m->reader, m->map.data, (size_t)m->map.size, m->map.path, err);
    if (status) return status;
    const qn_metadata *keys = m->reader->metadata;
    m->entries = qn_alloc(m->reader->n_tensors, sizeof *m->entries);
    if (!m->entries) return qn_fail_memory(err, m->map.path);
    if ((status = read_dataset(m, err))) return status;
    if ((status = qn_metadata_u64(keys, "imatrix.chunk_count", &m->chunk_count, NULL, err)))
        return status;
    if ((status = qn_metadata_u64(keys, "imatrix.chunk_size", &m->chunk_size, NULL, err)))
        return status;
    if (m->chunk_count > INT32_MAX || !m->chunk_size || m->chunk_size > MOST_CHUNK)
        return qn_fail(err, QN_ERR_DATA, "%s: cannot be %llu chunks of %llu tokens", m->map.path,
                       (ull)m->chunk_count, (ull)m->chunk_size);
    return add_entries(m, err);
}

/* ---- opening --------------------------------------------------------------------------- */

static qn_status fill(qn_imatrix *m, qn_error *err)
{
    m->by_name = qn_names_new(0);
    m->arena = qn_arena_new();
    if (!m->by_name || !m->arena) return qn_fail_memory(err, m->map.path);
    const bool is_gguf = m->map.size >= 4 && !memcmp(m->map.data, "GGUF", 4);
    const qn_status status = is_gguf ? parse_gguf(m, err) : qn_imatrix_parse_dat(m, err);
    if (status || m->n_entries) return status;
    return qn_fail(err, QN_ERR_DATA, "%s: holds no importance of any tensor", m->map.path);
}

/* Takes map over, whatever happens. */
static qn_status open_map(qn_imatrix **out, qn_map *map, qn_error *err)
{
    qn_imatrix *m = qn_alloc(1, sizeof *m);
    if (!m) {
        const qn_status status = qn_fail_memory(err, map->path);
        qn_map_close(map);
        return status;
    }
    m->map = *map;
    const qn_status status = fill(m, err);
    if (status)
        qn_imatrix_close(m);
    else
        *out = m;
    return status;
}

qn_status qn_imatrix_open(qn_imatrix **out, const char *path, qn_error *err)
{
    qn_map map;
    const qn_status status = qn_map_open(&map, path, err);
    return status ? status : open_map(out, &map, err);
}

qn_status qn_imatrix_open_memory(qn_imatrix **out, const void *bytes, size_t n, const char *name,
                                 qn_error *err)
{
    qn_map map = {.data = bytes, .size = n, .path = qn_strdup(name)};
    return map.path ? open_map(out, &map, err) : qn_fail_memory(err, name);
}

void qn_imatrix_close(qn_imatrix *m)
{
    if (!m) return;
    qn_reader_close(m->reader);
    qn_names_free(m->by_name);
    qn_arena_free(m->arena);
    qn_free(m->entries);
    qn_map_close(&m->map);
    qn_free(m);
}
