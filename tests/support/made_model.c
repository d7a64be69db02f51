#include "tests/support/made_model.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const uint8_t *data;
    uint64_t row_bytes;
} stored;

static const void *stored_raw(const qn_rows *s, uint64_t r)
{
    const stored *st = s->state;
    return st->data ? st->data + r * st->row_bytes : (const void *)"no values";
}

static qn_status stored_decode(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                               float *out, qn_error *err)
{
    (void)err;
    k->decode[s->dtype](stored_raw(s, r0), out, (size_t)((r1 - r0) * s->columns));
    return QN_OK;
}

static void stored_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    ck_assert_uint_le(r0, r1);
    ck_assert_uint_le(r1, s->rows);
}

qn_model *made_model_new(const char *architecture)
{
    qn_model *m = qn_alloc(1, sizeof *m);
    ck_assert_ptr_nonnull(m);
    m->path = "made.gguf";
    m->from_gguf = true;
    m->generic = !strcmp(architecture, "generic");
    m->arena = qn_arena_new();
    m->metadata = qn_metadata_new();
    ck_assert(m->arena && m->metadata);
    m->architecture = qn_arena_strndup(m->arena, architecture, strlen(architecture));
    ck_assert_int_eq(
        qn_metadata_set_str(m->metadata, "general.architecture", qn_str_z(m->architecture), NULL),
        QN_OK);
    return m;
}

void made_model_free(qn_model *m)
{
    qn_metadata_free(m->metadata);
    qn_arena_free(m->arena);
    qn_free(m->tensors);
    qn_free(m);
}

void made_model_number(qn_model *m, const char *key, uint32_t value)
{
    char full[100];
    snprintf(full, sizeof full, "%s.%s", m->architecture, key);
    ck_assert_int_eq(qn_metadata_set_u32(m->metadata, full, value, NULL), QN_OK);
}

void made_model_add(qn_model *m, const char *name, qn_dtype dtype, unsigned rank,
                    const uint64_t *dims, const void *data)
{
    qn_rows *rows = qn_arena_alloc(m->arena, 1, sizeof *rows);
    stored *st = qn_arena_alloc(m->arena, 1, sizeof *st);
    /* room for a power of two, doubled when that is full */
    if (!(m->n_tensors & (m->n_tensors - 1)))
        m->tensors = qn_resize(m->tensors, m->n_tensors ? 2 * m->n_tensors : 1, sizeof *m->tensors);
    ck_assert(rows && st && m->tensors && rank <= QN_MAX_RANK);
    *rows = (qn_rows){.dtype = dtype, .rows = 1, .columns = rank ? dims[rank - 1] : 1, .state = st};
    for (unsigned i = 0; i + 1 < rank; i++) rows->rows *= dims[i];
    ck_assert(qn_dtype_row_bytes(dtype, rows->columns, &st->row_bytes));
    st->data = data;
    rows->source_bytes = rows->rows * st->row_bytes;
    rows->decode = stored_decode;
    rows->raw = stored_raw;
    rows->done = stored_done;
    qn_model_tensor *t = &m->tensors[m->n_tensors++];
    *t = (qn_model_tensor){.rank = rank, .rows = rows};
    t->name = t->source_name = qn_arena_strndup(m->arena, name, strlen(name));
    if (rank) memcpy(t->dims, dims, rank * sizeof *dims);
}
