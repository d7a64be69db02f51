#include "formats/export.h"

#include <stdio.h>
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

/* The way in which plain numbers stand transposed, where packed ones are as they
 * are; NULL: there is none. */
static const qn_role *transposed_role(const qn_family *f, const char *name)
{
    qn_place place;
    const qn_role *r = qn_family_role(f, name, true, NULL, &place);
    while (r && !qn_cut_of(r->transform).transposed) r = qn_family_role(f, name, true, r, &place);
    return r;
}

static bool stays_packed(const qn_family *f, const qn_model_tensor *t)
{
    qn_place place;
    const qn_role *first = qn_family_role(f, t->name, true, NULL, &place);
    return t->rows->dtype == QN_MXFP4 && t->rows->raw && transposed_role(f, t->name) &&
           !qn_cut_of(first->transform).transposed;
}

bool qn_export_has_packed(const qn_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->family && stays_packed(m->family, &m->tensors[i])) return true;
    return false;
}

/* The role whose name the tensor gets. */
static const qn_role *role_of(const qn_model *m, const qn_model_tensor *t, qn_place *place)
{
    const qn_role *first = qn_family_role(m->family, t->name, true, NULL, place);
    const qn_role *transposed = transposed_role(m->family, t->name);
    return transposed && !stays_packed(m->family, t) ? transposed : first;
}

/* How many tensors of the checkpoint it is; 0: it has no such tensor, or it goes
 * into another's.  Opening has refused unknown ones. */
static uint64_t parts_of(const qn_model *m, const qn_model_tensor *t, const qn_role **role,
                         qn_place *place)
{
    *role = m->family ? role_of(m, t, place) : NULL;
    if (!m->family) return 1;
    if (!*role || !(*role)->checkpoint || qn_cut_of((*role)->transform).second) return 0;
    if (stays_packed(m->family, t)) return 2;
    return qn_role_is_stacked(*role) ? t->dims[0] : 1;
}

/* The tensor that has the other part of what the role's name stands for. */
static qn_status other_part(const qn_model *from, const qn_role *role, qn_place place,
                            const qn_rows **out, qn_error *err)
{
    char name[160] = "";
    const qn_model_tensor *t = NULL;
    for (size_t i = 0; i < from->family->n_roles && !t; i++) {
        const qn_role *r = &from->family->roles[i];
        if (!r->checkpoint || strcmp(r->checkpoint, role->checkpoint) != 0 ||
            !qn_cut_of(r->transform).second)
            continue;
        qn_role_name(r->gguf, place, name, sizeof name);
        t = qn_model_find(from, name);
    }
    if (!t)
        return qn_fail(err, QN_ERR_DATA, "%s: no tensor \"%s\" for %s", from->path, name,
                       role->checkpoint);
    *out = t->rows;
    return QN_OK;
}

/* A fused tensor of the checkpoint out of its parts. */
static qn_status fuse(qn_model *m, const qn_model *from, const qn_role *role, qn_place place,
                      const qn_model_tensor *t, qn_model_tensor *mine, qn_error *err)
{
    const qn_cut cut = qn_cut_of(role->transform);
    const uint64_t groups = t->rank > 2 ? m->hparams.n_experts : 1;
    const qn_rows *rows = t->rows, *other;
    qn_status status = cut.is_cut ? other_part(from, role, place, &other, err) : QN_OK;
    if (status) return status;
    if (cut.is_cut && (other->rows != rows->rows || other->columns != rows->columns))
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" and its other part differ in shape",
                       from->path, t->name);
    if (cut.is_cut)
        rows = cut.columns ? qn_rows_alternate(m->arena, rows, other)
                           : qn_rows_join(m->arena, rows, other, groups, cut.alternating);
    if (rows && cut.transposed && !qn_rows_are_plain(rows))
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: \"%s\" is stored as %s; a checkpoint has it transposed, which takes "
                       "plain numbers",
                       from->path, t->name, qn_dtype_facts(t->rows->dtype)->name);
    if (rows && cut.transposed)
        rows = qn_rows_transpose(m->arena, rows, groups, 0, 1, rows->columns);
    mine->rank = qn_role_shape(role, &m->hparams, place.layer, false, mine->dims);
    mine->rows = rows;
    return rows ? QN_OK : qn_fail_memory(err, "the list of tensors");
}

/* "...gate_up_proj.weight" in MXFP4: its codes, then its scales. */
static qn_status unpack(qn_model *m, uint64_t part, qn_model_tensor *mine, qn_error *err)
{
    const uint64_t blocks = mine->rows->columns / 32;
    const size_t stem = strlen(mine->name) - strlen(".weight");
    char name[160];
    snprintf(name, sizeof name, "%.*s%s", (int)stem, mine->name, part ? "_scales" : "_blocks");
    mine->name = qn_arena_strndup(m->arena, name, strlen(name));
    mine->dims[mine->rank - 1] = blocks;
    if (!part) mine->dims[mine->rank++] = 16;
    mine->rows = part ? qn_rows_mxfp4_scales(m->arena, mine->rows)
                      : qn_rows_mxfp4_codes(m->arena, mine->rows);
    return mine->name && mine->rows ? QN_OK : qn_fail_memory(err, "the list of tensors");
}

static qn_status export_tensor(qn_model *m, const qn_model *from, const qn_model_tensor *t,
                               qn_model_tensor *out, size_t *n, qn_error *err)
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
        const qn_cut cut = qn_cut_of(role->transform);
        qn_status status =
            cut.is_cut || cut.transposed
                ? fuse(m, from, role, place, t, mine, err)
                : qn_model_transform(m, role, t->rank, t->rows, true, &mine->rows, err);
        if (!status && stays_packed(m->family, t)) status = unpack(m, i, mine, err);
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
        status = export_tensor(m, from, &from->tensors[i], list, &n, err);
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
