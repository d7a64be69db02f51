#include "formats/export.h"

#include <stdlib.h>
#include <string.h>

#include "formats/families/family.h"
#include "formats/model_build.h"

/* ---- the exported model ---------------------------------------------------------------- */

/* A stack's expert by itself. */
static const qn_rows *expert_of(qn_model *m, const qn_model_tensor *t, uint64_t expert)
{
    const uint64_t n = t->rows->rows / t->dims[0];
    return qn_rows_select(m->arena, t->rows, 1, expert * n, 1, n);
}

/* How many tensors of the checkpoint it is; 0: it has no such tensor.  Opening
 * has refused unknown ones. */
static uint64_t parts_of(const qn_model *m, const qn_model_tensor *t, const qn_role **role,
                         qn_place *place)
{
    *role = m->family ? qn_family_role(m->family, t->name, true, NULL, place) : NULL;
    if (!m->family) return 1;
    if (!*role || !(*role)->checkpoint) return 0;
    return qn_role_is_stacked(*role) ? t->dims[0] : 1;
}

static qn_status export_tensor(qn_model *m, const qn_model_tensor *t, qn_model_tensor *out,
                               size_t *n, qn_error *err)
{
    char name[160];
    const qn_role *role;
    qn_place place;
    const uint64_t parts = parts_of(m, t, &role, &place);
    for (uint64_t i = 0; i < parts; i++) {
        qn_model_tensor *mine = &out[(*n)++];
        *mine = *t;
        mine->stays_f32 = false;
        if (!role) continue;
        place.expert = i;
        qn_role_name(role->checkpoint, place, name, sizeof name);
        mine->name = qn_arena_strndup(m->arena, name, strlen(name));
        if (!mine->name) return qn_fail_memory(err, "the list of tensors");
        if (qn_role_is_stacked(role)) {
            mine->rank = t->rank - 1;
            memmove(mine->dims, t->dims + 1, mine->rank * sizeof *t->dims);
            mine->rows = expert_of(m, t, i);
            continue;
        }
        const qn_status status =
            qn_model_transform(m, role, t->rank, t->rows, true, &mine->rows, err);
        if (status) return status;
    }
    return QN_OK;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const qn_model_tensor *)left)->name, ((const qn_model_tensor *)right)->name);
}

static qn_status export_tensors(qn_model *m, const qn_model *from, qn_error *err)
{
    size_t n = 0, all = 0;
    const qn_role *role;
    qn_place place;
    for (size_t i = 0; i < from->n_tensors; i++)
        all += (size_t)parts_of(m, &from->tensors[i], &role, &place);
    qn_status status = qn_model_reserve(m, all, err);
    if (status) return status;
    qn_model_tensor *list = qn_alloc(all, sizeof *list);
    if (!list) return qn_fail_memory(err, "the list of tensors");
    for (size_t i = 0; i < from->n_tensors && !status; i++)
        status = export_tensor(m, &from->tensors[i], list, &n, err);
    if (!status) qsort(list, n, sizeof *list, by_name);
    for (size_t i = 0; i < n && !status; i++) status = qn_model_add(m, &list[i], err);
    qn_free(list);
    return status;
}

qn_status qn_export_open(qn_model **out, const qn_model *m, qn_error *err)
{
    qn_status status = QN_OK;
    if (!m->family && !m->generic)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s; --family generic writes the tensors under the names they have",
                       m->not_runnable);
    qn_model *e = qn_alloc(1, sizeof *e);
    if (!e || !(e->arena = qn_arena_new()) || !(e->metadata = qn_metadata_new())) {
        status = qn_fail_memory(err, "the model");
        goto out;
    }
    e->exported = true;
    e->path = m->path;
    e->family = m->family;
    e->architecture = m->architecture;
    e->from_gguf = m->from_gguf;
    e->generic = m->generic;
    e->hparams = m->hparams;
    e->not_runnable = e->no_vocab = "an exported model is only for writing";
    if ((status = export_tensors(e, m, err)) ||
        (status = qn_metadata_set_str(e->metadata, "format", qn_str_z("pt"), err)))
        goto out;
    *out = e;
    e = NULL;
out:
    qn_model_close(e);
    return status;
}
