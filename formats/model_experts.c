/* Experts that a checkpoint has one by one, and GGUF in one tensor. */
#include <string.h>

#include "formats/model_build.h"

/* What a layer has of them. */
typedef struct {
    const qn_tensor **parts; /* [stacked role][expert]; NULL: none so far */
    uint64_t seen;
} layer_experts;

struct qn_stacks {
    uint64_t n_roles; /* stacked ones, in the order of the table */
    uint64_t n_parts; /* of each */
    layer_experts *layers;
};

/* Its number among the stacked roles. */
static uint64_t number_of(const qn_family *f, const qn_role *role)
{
    uint64_t n = 0;
    for (const qn_role *r = f->roles; r < role; r++) n += qn_role_is_stacked(r);
    return n;
}

qn_status qn_stacks_new(qn_model *m, qn_stacks **out, qn_error *err)
{
    qn_stacks *s = qn_arena_alloc(m->arena, 1, sizeof *s);
    if (!s) return qn_fail_memory(err, "the experts");
    const qn_family *f = m->family;
    for (size_t i = 0; f && i < f->n_roles; i++) {
        if (!qn_role_is_stacked(&f->roles[i])) continue;
        s->n_roles++;
        s->n_parts = qn_role_parts(&f->roles[i], &m->hparams);
    }
    if (s->n_roles) {
        s->layers = qn_arena_alloc(m->arena, (size_t)m->hparams.n_layers, sizeof *s->layers);
        if (!s->layers) return qn_fail_memory(err, "the experts");
    }
    *out = s;
    return QN_OK;
}

static qn_status add_stack(qn_model *m, const qn_role *role, uint64_t layer,
                           const qn_tensor *const *tensors, uint64_t n, qn_error *err)
{
    char name[160];
    const qn_rows **parts = qn_arena_alloc(m->arena, (size_t)n, sizeof(void *));
    if (!parts) return qn_fail_memory(err, "the experts");
    for (uint64_t i = 0; i < n; i++) {
        parts[i] = qn_rows_view(m->arena, m->reader, tensors[i]);
        if (!parts[i]) return qn_fail_memory(err, "the experts");
    }
    qn_role_name(role->gguf, (qn_place){.layer = layer}, name, sizeof name);
    qn_model_tensor t = {.name = qn_arena_strndup(m->arena, name, strlen(name)),
                         .source_name = tensors[0]->name,
                         .rows = qn_rows_stack(m->arena, parts, n)};
    t.rank = qn_role_shape(role, &m->hparams, layer, true, t.dims);
    return qn_model_add(m, &t, err);
}

qn_status qn_stacks_add(qn_stacks *s, qn_model *m, const qn_role *role, qn_place place,
                        const qn_tensor *t, qn_error *err)
{
    const uint64_t n = s->n_parts;
    layer_experts *l = &s->layers[place.layer];
    if (!l->parts) l->parts = qn_arena_alloc(m->arena, (size_t)(s->n_roles * n), sizeof(void *));
    if (!l->parts) return qn_fail_memory(err, "the experts");
    const qn_tensor **mine = &l->parts[number_of(m->family, role) * n + place.expert];
    if (*mine)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" and \"%s\" are the same expert", m->path,
                       (*mine)->name, t->name);
    *mine = t;
    qn_status status = QN_OK;
    if (++l->seen < s->n_roles * n) return QN_OK;
    for (size_t i = 0; i < m->family->n_roles && !status; i++) {
        const qn_role *r = &m->family->roles[i];
        if (qn_role_is_stacked(r))
            status = add_stack(m, r, place.layer, l->parts + number_of(m->family, r) * n, n, err);
    }
    return status;
}

uint64_t qn_stacks_missing(const qn_stacks *s, const qn_model *m, const qn_role *role,
                           uint64_t layer)
{
    const layer_experts *l = &s->layers[layer];
    const uint64_t n = s->n_parts;
    const qn_tensor *const *mine = l->parts ? l->parts + number_of(m->family, role) * n : NULL;
    uint64_t i = 0;
    while (mine && i < n && mine[i]) i++;
    return i;
}
