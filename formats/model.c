#include "formats/model.h"

#include <string.h>

#include "formats/convert.h"
#include "formats/model_build.h"

/* ---- opening and closing ------------------------------------------------------------ */

qn_status qn_model_open(qn_model **out, const char *path, const qn_model_options *options,
                        qn_error *err)
{
    static const qn_model_options defaults;
    if (!options) options = &defaults;
    const qn_family *asked;
    qn_status status = qn_family_asked_for(options->family, &asked, err);
    if (status) return status;
    qn_model *m = qn_alloc(1, sizeof *m);
    if (!m || !(m->arena = qn_arena_new()) ||
        !(m->path = qn_arena_strndup(m->arena, path, strlen(path)))) {
        status = qn_fail_memory(err, "the model");
        goto out;
    }
    if ((status = qn_reader_open(&m->reader, path, err))) goto out;
    m->from_gguf = m->reader->gguf_version != 0;
    if (m->from_gguf && options->n_adapters) {
        status = qn_fail(err, QN_ERR_UNSUPPORTED,
                         "%s: a GGUF file; PEFT's adapters are merged into checkpoints", path);
        goto out;
    }
    status = m->from_gguf ? qn_model_fill_gguf(m, options, err)
                          : qn_model_fill_checkpoint(m, options, err);
    if (status) goto out;
    *out = m;
    m = NULL;
out:
    qn_model_close(m);
    return status;
}

void qn_model_close(qn_model *m)
{
    if (!m) return;
    qn_vocab_free(m->vocab);
    if (!m->reader || m->metadata != m->reader->metadata) qn_metadata_free(m->metadata);
    qn_names_free(m->by_name);
    qn_free(m->tensors);
    qn_arena_free(m->arena);
    qn_lora_close(m->lora);
    qn_reader_close(m->reader);
    qn_free(m);
}

const qn_model_tensor *qn_model_find(const qn_model *m, const char *name)
{
    const uint32_t i = qn_names_find(m->by_name, qn_str_z(name));
    return i == UINT32_MAX ? NULL : &m->tensors[i];
}

/* ---- building --------------------------------------------------------------------------- */

qn_status qn_model_reserve(qn_model *m, size_t n, qn_error *err)
{
    m->tensors = qn_alloc(n, sizeof *m->tensors);
    m->by_name = qn_names_new(n);
    return m->tensors && m->by_name ? QN_OK : qn_fail_memory(err, "the list of tensors");
}

qn_status qn_model_add(qn_model *m, const qn_model_tensor *t, qn_error *err)
{
    bool present = false;
    if (!t->rows || !t->name) return qn_fail_memory(err, "the list of tensors");
    const qn_status status =
        qn_names_add(m->by_name, qn_str_z(t->name), (uint32_t)m->n_tensors, &present);
    if (status) return status;
    if (present)
        return qn_fail(err, QN_ERR_DATA, "%s: two tensors become \"%s\"", m->path, t->name);
    qn_model_tensor *mine = &m->tensors[m->n_tensors++];
    *mine = *t;
    if (!m->exported) /* generic: names that don't speak GGUF's language */
        mine->stays_f32 = strcmp(m->architecture, "generic") != 0
                              ? qn_convert_stays_f32(t->name, t->rank)
                              : t->rank <= 1;
    return QN_OK;
}

qn_model_tensor qn_model_tensor_of(const qn_tensor *t, const char *name, const qn_rows *rows)
{
    qn_model_tensor r = {.name = name, .source_name = t->name, .rank = t->rank, .rows = rows};
    memcpy(r.dims, t->dims, sizeof r.dims);
    return r;
}

qn_status qn_model_check_shape(const qn_model *m, const qn_role *role, uint64_t layer,
                               const qn_tensor *t, const char *source, qn_error *err)
{
    char has[96], wants[96], words[96];
    uint64_t dims[QN_ROLE_RANK];
    const unsigned rank = qn_role_shape(role, &m->hparams, layer, m->from_gguf, dims);
    if (t->rank == rank && !memcmp(t->dims, dims, rank * sizeof *dims)) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": shape %s, but %s says %s (%s)",
                   m->reader->files[t->file].path, t->name,
                   qn_shape_text(t->dims, t->rank, has, sizeof has), source,
                   qn_shape_text(dims, rank, wants, sizeof wants),
                   qn_role_shape_words(role, m->from_gguf, words, sizeof words));
}

/* Writes what the transform makes of a row of n elements. */
typedef void (*vector_fn)(const float *from, uint64_t n, uint64_t number, float *to);

static void interleave(const float *from, uint64_t n, uint64_t heads, float *to)
{
    const uint64_t group = n / heads;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t j = i % group;
        to[i] = from[i - j + j / 2 + j % 2 * (group / 2)];
    }
}

static void deinterleave(const float *from, uint64_t n, uint64_t heads, float *to)
{
    const uint64_t group = n / heads;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t j = i % group;
        to[i - j + j / 2 + j % 2 * (group / 2)] = from[i];
    }
}

static void add_one(const float *from, uint64_t n, uint64_t unused, float *to)
{
    (void)unused;
    for (uint64_t i = 0; i < n; i++) to[i] = from[i] + 1.0F;
}

static void subtract_one(const float *from, uint64_t n, uint64_t unused, float *to)
{
    (void)unused;
    for (uint64_t i = 0; i < n; i++) to[i] = from[i] - 1.0F;
}

static qn_status make_vector(qn_model *m, const qn_rows *below, vector_fn make, uint64_t number,
                             const qn_rows **out, qn_error *err)
{
    const uint64_t n = below->columns;
    qn_status status = QN_OK;
    float *from = qn_alloc(n, sizeof *from), *to = qn_alloc(n, sizeof *to);
    if (!from || !to) {
        status = qn_fail_memory(err, "a vector");
        goto out;
    }
    if ((status = below->decode(below, qn_kernels_best(), 0, 1, from, err))) goto out;
    make(from, n, number, to);
    *out = qn_rows_values(m->arena, to, 1, n);
out:
    qn_free(from);
    qn_free(to);
    return status;
}

static qn_status permute(qn_model *m, uint64_t heads, unsigned rank, const qn_rows *below,
                         bool undo, const qn_rows **out, qn_error *err)
{
    if (rank == 1) return make_vector(m, below, undo ? deinterleave : interleave, heads, out, err);
    *out =
        undo ? qn_rows_unpermute(m->arena, below, heads) : qn_rows_permute(m->arena, below, heads);
    return QN_OK;
}

/* groups: experts, or 1. */
static qn_status cut_out(qn_model *m, qn_cut cut, uint64_t groups, const qn_rows *below,
                         const qn_rows **out, qn_error *err)
{
    const bool by_columns = cut.columns || cut.transposed;
    if (by_columns && !qn_rows_are_plain(below))
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: a matrix that stands transposed or has two in each row is packed",
                       m->path);
    const uint64_t all = by_columns ? below->columns : below->rows / groups;
    const uint64_t count = cut.is_cut ? all / 2 : all;
    const uint64_t step = cut.is_cut && cut.alternating ? 2 : 1;
    const uint64_t first = !cut.second ? 0 : cut.alternating ? 1 : count;
    if (cut.transposed)
        *out = qn_rows_transpose(m->arena, below, groups, first, step, count);
    else if (cut.columns)
        *out = qn_rows_columns(m->arena, below, first, step, count);
    else
        *out = qn_rows_select(m->arena, below, groups, first, step, count);
    return QN_OK;
}

qn_status qn_model_transform(qn_model *m, const qn_role *role, unsigned rank, const qn_rows *below,
                             bool undo, const qn_rows **out, qn_error *err)
{
    *out = below;
    if (!below) return QN_OK;
    switch (role->transform) {
    case QN_PERMUTE_Q: return permute(m, m->hparams.n_heads, rank, below, undo, out, err);
    case QN_PERMUTE_K: return permute(m, m->hparams.n_kv_heads, rank, below, undo, out, err);
    case QN_PLUS_ONE: return make_vector(m, below, undo ? subtract_one : add_one, 0, out, err);
    case QN_FIRST_HALF:
    case QN_SECOND_HALF:
    case QN_EVEN_ROWS:
    case QN_ODD_ROWS:
    case QN_EVEN_COLUMNS:
    case QN_ODD_COLUMNS:
    case QN_TRANSPOSED:
    case QN_TRANSPOSED_EVEN:
    case QN_TRANSPOSED_ODD:
    case QN_TRANSPOSED_FIRST:
    case QN_TRANSPOSED_SECOND:
        return cut_out(m, qn_cut_of(role->transform), rank > 2 ? m->hparams.n_experts : 1, below,
                       out, err);
    case QN_PAD_VOCAB:
        if (!undo) *out = qn_rows_pad(m->arena, below, m->hparams.n_vocab);
        return QN_OK;
    case QN_LONG_FACTORS:
    case QN_SHORT_FACTORS:
    case QN_AS_IS:
    case QN_ROPE_DIVISORS: break;
    }
    return QN_OK;
}

const char *qn_model_note(qn_model *m, const char *line)
{
    const char *note = qn_arena_strndup(m->arena, line, strlen(line));
    return note ? note : "out of memory";
}
