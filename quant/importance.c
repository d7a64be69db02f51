#include "quant/importance.h"

#include <math.h>
#include <string.h>

#include "formats/base/sizes.h"

typedef unsigned long long ull;

/* ---- weights --------------------------------------------------------------------------- */

static void add_part(const qn_importance_entry *e, const qn_imatrix_entry *part, uint64_t first,
                     uint64_t n, float *out)
{
    const float unit = part->counts ? 1.0F : (float)e->call_rows;
    for (uint64_t i = 0; i < n; i++) out[i] += qn_imatrix_value(part, first + i) * unit;
}

static int64_t count_at(const qn_importance_entry *e, uint64_t i)
{
    int64_t sum = 0;
    for (size_t p = 0; p < e->n_parts; p++) {
        const int64_t unit = e->parts[p]->counts ? 1 : (int64_t)e->call_rows;
        sum += qn_imatrix_count(e->parts[p], i) * unit;
    }
    return sum;
}

void qn_importance_weights(const qn_importance_entry *e, uint64_t first, uint64_t n, float *out)
{
    const uint64_t per_count = e->n_values / e->n_counts, end = first + n;
    memset(out, 0, n * sizeof *out);
    for (size_t p = 0; p < e->n_parts; p++) add_part(e, e->parts[p], first, n, out);
    for (uint64_t i = first; i < end;) {
        const uint64_t run_end = qn_min_u64((i / per_count + 1) * per_count, end);
        const int64_t count = count_at(e, i);
        for (; i < run_end; i++) out[i - first] = count > 0 ? out[i - first] / (float)count : 1.0F;
    }
}

/* No file has counted it, so that each weight is 1. */
const qn_importance_entry qn_importance_even = {.n_values = UINT64_MAX, .n_counts = 1};

uint64_t qn_importance_matrices(const qn_importance_entry *e, uint64_t columns)
{
    return e->n_parts ? e->n_values / columns : 1;
}

bool qn_importance_matters(qn_dtype t)
{
    switch (t) {
    case QN_Q4_0:
    case QN_Q4_1:
    case QN_Q5_0:
    case QN_Q5_1:
    case QN_Q2_K:
    case QN_Q3_K:
    case QN_Q4_K:
    case QN_Q5_K:
    case QN_Q6_K:
    case QN_IQ1_S:
    case QN_IQ1_M:
    case QN_IQ2_XXS:
    case QN_IQ2_XS:
    case QN_IQ2_S:
    case QN_IQ3_XXS:
    case QN_IQ3_S:
    case QN_IQ4_NL:
    case QN_IQ4_XS: return true;
    default: return false;
    }
}

/* ---- entries --------------------------------------------------------------------------- */

const qn_importance_entry *qn_importance_find(const qn_importance *m, const char *name)
{
    const uint32_t at = qn_names_find(m->by_name, qn_str_z(name));
    return at == UINT32_MAX || m->entries[at].left_out ? NULL : &m->entries[at];
}

size_t qn_importance_count(const qn_importance *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_entries; i++) n += !m->entries[i].left_out;
    return n;
}

static bool contains_any(const char *name, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(name, words[i])) return true;
    return false;
}

qn_status qn_importance_filter(qn_importance *m, const char *const *words, size_t n, bool include,
                               qn_error *err)
{
    for (size_t i = 0; i < m->n_entries; i++)
        if (contains_any(m->entries[i].name, words, n) != include) m->entries[i].left_out = true;
    if (qn_importance_count(m)) return QN_OK;
    return qn_fail(err, QN_ERR_ARGUMENT, "%s: '%s'%s leaves none of its %zu entries", m->path.s,
                   n ? words[0] : "", n > 1 ? " with the others" : "", m->n_entries);
}

/* ---- merging --------------------------------------------------------------------------- */

static qn_status new_entry(qn_importance *m, const qn_imatrix_entry *part, uint64_t call_rows,
                           qn_error *err)
{
    qn_importance_entry *e = &m->entries[m->n_entries];
    *e = (qn_importance_entry){
        .name = part->name, .n_values = part->n_values, .n_counts = 1, .call_rows = call_rows};
    e->parts = qn_arena_alloc(m->arena, m->n_files, sizeof(const qn_imatrix_entry *));
    if (!e->parts || qn_names_add(m->by_name, qn_str_z(e->name), (uint32_t)m->n_entries, NULL))
        return qn_fail_memory(err, "the importance matrix");
    m->n_entries++;
    return QN_OK;
}

static qn_status add_to_entry(qn_importance_entry *e, const qn_imatrix *file,
                              const qn_imatrix_entry *part, qn_error *err)
{
    if (part->n_values != e->n_values)
        return qn_fail(err, QN_ERR_DATA, "%s: entry %s has %llu values, in the files before %llu",
                       file->map.path, e->name, (ull)part->n_values, (ull)e->n_values);
    if (part->n_counts != 1 && e->n_counts != 1 && part->n_counts != e->n_counts)
        return qn_fail(err, QN_ERR_DATA, "%s: entry %s has %llu counts, in the files before %llu",
                       file->map.path, e->name, (ull)part->n_counts, (ull)e->n_counts);
    if (part->n_counts > e->n_counts) e->n_counts = part->n_counts;
    e->parts[e->n_parts++] = part;
    return QN_OK;
}

static qn_status add_file(qn_importance *m, const qn_imatrix *file, uint64_t call_rows,
                          qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i < file->n_entries; i++) {
        const qn_imatrix_entry *part = &file->entries[i];
        uint32_t at = qn_names_find(m->by_name, qn_str_z(part->name));
        if (at == UINT32_MAX) {
            at = (uint32_t)m->n_entries;
            status = new_entry(m, part, call_rows, err);
        }
        if (!status) status = add_to_entry(&m->entries[at], file, part, err);
    }
    m->chunks += file->chunk_count;
    if (!m->dataset.n) m->dataset = file->dataset;
    return status;
}

/* Each file's values are finite; their sum may not be. */
static qn_status check_sums(const qn_importance *m, qn_error *err)
{
    enum { AT_ONCE = 1024 };
    float w[AT_ONCE];
    for (size_t i = 0; i < m->n_entries; i++) {
        const qn_importance_entry *e = &m->entries[i];
        for (uint64_t j = 0; j < e->n_values; j += AT_ONCE) {
            const uint64_t n = qn_min_u64(AT_ONCE, e->n_values - j);
            qn_importance_weights(e, j, n, w);
            for (uint64_t k = 0; k < n; k++)
                if (!isfinite(w[k]))
                    return qn_fail(err, QN_ERR_DATA, "%s: the values of entry %s are too large",
                                   m->path.s, e->name);
        }
    }
    return QN_OK;
}

static qn_status open_files(qn_importance *m, const char *const *paths, size_t n, qn_error *err)
{
    for (; m->n_files < n; m->n_files++) {
        const qn_status status = qn_imatrix_open(&m->files[m->n_files], paths[m->n_files], err);
        if (status) return status;
        if (m->n_files) qn_text_adds(&m->path, ",");
        qn_text_adds(&m->path, paths[m->n_files]);
    }
    return m->path.failed ? qn_fail_memory(err, "the importance matrix") : QN_OK;
}

static qn_status merge(qn_importance *m, qn_error *err)
{
    uint64_t call_rows = 1;
    size_t most = 0;
    qn_status status = QN_OK;
    for (size_t f = m->n_files; f-- > 0;) {
        most += m->files[f]->n_entries;
        if (m->files[f]->chunk_size) call_rows = m->files[f]->chunk_size;
    }
    m->entries = qn_alloc(most, sizeof *m->entries);
    if (!m->entries) return qn_fail_memory(err, "the importance matrix");
    for (size_t f = 0; !status && f < m->n_files; f++)
        status = add_file(m, m->files[f], call_rows, err);
    return status ? status : check_sums(m, err);
}

qn_status qn_importance_open(qn_importance **out, const char *const *paths, size_t n_paths,
                             qn_error *err)
{
    qn_status status;
    if (n_paths > QN_IMPORTANCE_MAX_FILES)
        return qn_fail(err, QN_ERR_ARGUMENT, "%zu importance matrices; at most %d can be merged",
                       n_paths, QN_IMPORTANCE_MAX_FILES);
    qn_importance *m = qn_alloc(1, sizeof *m);
    if (!m) return qn_fail_memory(err, "the importance matrix");
    m->files = qn_alloc(n_paths, sizeof(qn_imatrix *));
    m->by_name = qn_names_new(0);
    m->arena = qn_arena_new();
    if (!m->files || !m->by_name || !m->arena) {
        status = qn_fail_memory(err, "the importance matrix");
        goto out;
    }
    if ((status = open_files(m, paths, n_paths, err))) goto out;
    if ((status = merge(m, err))) goto out;
    *out = m;
    m = NULL;
out:
    qn_importance_close(m);
    return status;
}

void qn_importance_close(qn_importance *m)
{
    if (!m) return;
    for (size_t f = 0; f < m->n_files; f++) qn_imatrix_close(m->files[f]);
    qn_text_free(&m->path);
    qn_arena_free(m->arena);
    qn_names_free(m->by_name);
    qn_free(m->entries);
    qn_free(m->files);
    qn_free(m);
}
