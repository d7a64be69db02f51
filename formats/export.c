#include "formats/export.h"

#include <stdlib.h>
#include <string.h>

#include "formats/families/family.h"
#include "formats/model_build.h"

/* ---- the exported model ---------------------------------------------------------------- */

/* *name NULL, with QN_OK: the checkpoint has no such tensor. */
static qn_status export_tensor(qn_model *m, const qn_model_tensor *t, qn_model_tensor *out,
                               qn_error *err)
{
    char name[160];
    qn_place place;
    *out = *t;
    out->stays_f32 = false;
    if (!m->family) return QN_OK;
    const qn_role *role = qn_family_role(m->family, t->name, true, NULL, &place);
    out->name = NULL;
    if (!role || !role->checkpoint) return QN_OK; /* opening has refused unknown ones */
    if (qn_role_is_stacked(role))
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "tensor \"%s\": stacked experts cannot be taken apart again", t->name);
    qn_role_name(role->checkpoint, place, name, sizeof name);
    out->name = qn_arena_strndup(m->arena, name, strlen(name));
    if (!out->name) return qn_fail_memory(err, "the list of tensors");
    return qn_model_transform(m, role, t->rank, t->rows, true, &out->rows, err);
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const qn_model_tensor *)left)->name, ((const qn_model_tensor *)right)->name);
}

static qn_status export_tensors(qn_model *m, const qn_model *from, qn_error *err)
{
    size_t n = 0;
    qn_status status = qn_model_reserve(m, from->n_tensors, err);
    if (status) return status;
    qn_model_tensor *list = qn_alloc(from->n_tensors, sizeof *list);
    if (!list) return qn_fail_memory(err, "the list of tensors");
    for (size_t i = 0; i < from->n_tensors && !status; i++) {
        status = export_tensor(m, &from->tensors[i], &list[n], err);
        n += !status && list[n].name;
    }
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
    if (m->from_gguf && m->family && m->family->no_config)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: a %s model cannot become a checkpoint again: its config.json is not "
                       "written; --family generic writes the tensors under the names they have",
                       m->path, m->family->name);
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
