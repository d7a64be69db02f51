#include "formats/lora/targets.h"

#include <stdio.h>
#include <string.h>

enum { NAME = 256 };

/* ---- by role -------------------------------------------------------------------------- */

/* What a tensor is in its family, as one name; NULL: nothing. */
static const char *role_key(const qn_family *f, const char *name, char buf[NAME])
{
    qn_place place;
    char gguf[NAME - 32];
    const qn_role *role = qn_family_role(f, name, false, NULL, &place);
    if (!role) return NULL;
    qn_role_name(role->gguf, place, gguf, sizeof gguf);
    if (!qn_role_is_stacked(role))
        snprintf(buf, NAME, "%s", gguf);
    else
        snprintf(buf, NAME, "%s#%llu", gguf, (unsigned long long)place.expert);
    return buf;
}

static qn_status index_roles(qn_lora_targets *t, qn_error *err)
{
    char key[NAME];
    qn_status status = QN_OK;
    for (size_t i = 0; i < t->reader->n_tensors && !status; i++) {
        if (!role_key(t->family, t->reader->tensors[i].name, key)) continue;
        const char *copy = qn_arena_strndup(t->arena, key, strlen(key));
        status = copy ? qn_names_add(t->by_role, qn_str_z(copy), (uint32_t)i, NULL)
                      : qn_fail_memory(err, "the names of tensors");
    }
    return status;
}

qn_status qn_lora_targets_open(qn_lora_targets *t, qn_reader *r, const qn_family *family, bool tied,
                               qn_error *err)
{
    qn_lora_targets mine = {.reader = r, .family = family, .tied = tied};
    qn_status status = QN_OK;
    mine.by_role = qn_names_new(r->n_tensors);
    mine.arena = qn_arena_new();
    if (!mine.by_role || !mine.arena) status = qn_fail_memory(err, "the names of tensors");
    if (!status && family) status = index_roles(&mine, err);
    if (status)
        qn_lora_targets_close(&mine);
    else
        *t = mine;
    return status;
}

void qn_lora_targets_close(qn_lora_targets *t)
{
    qn_names_free(t->by_role);
    if (t->arena) qn_arena_free(t->arena);
    *t = (qn_lora_targets){0};
}

static qn_tensor *tensor_at(const qn_lora_targets *t, uint32_t i)
{
    return i == UINT32_MAX ? NULL : &t->reader->tensors[i];
}

static qn_tensor *find(const qn_lora_targets *t, const char *name)
{
    char key[NAME];
    qn_tensor *found = tensor_at(t, qn_names_find(t->reader->by_name, qn_str_z(name)));
    if (found || !t->family || !role_key(t->family, name, key)) return found;
    return tensor_at(t, qn_names_find(t->by_role, qn_str_z(key)));
}

/* ---- other names ------------------------------------------------------------------------- */

/* transformers 5 calls Mixtral's experts and their router mlp, its checkpoints
 * block_sparse_moe. */
static qn_tensor *find_sparse(const qn_lora_targets *t, const char *name)
{
    static const char *const module = ".mlp.";
    char other[NAME];
    const char *at = strstr(name, module);
    if (!at) return NULL;
    snprintf(other, sizeof other, "%.*s.block_sparse_moe.%s", (int)(at - name), name,
             at + strlen(module));
    return find(t, other);
}

/* The embedding, for a head that is tied to it. */
static qn_tensor *find_tied(const qn_lora_targets *t, const char *name)
{
    char other[NAME];
    const qn_str s = qn_str_z(name);
    static const char *const head = "lm_head.weight";
    if (!t->tied || !qn_str_ends(s, head)) return NULL;
    const int before = (int)(s.n - strlen(head));
    snprintf(other, sizeof other, "%.*smodel.embed_tokens.weight", before, name);
    qn_tensor *found = find(t, other);
    if (found || !before) return found;
    snprintf(other, sizeof other, "%.*sembed_tokens.weight", before, name);
    return find(t, other);
}

qn_tensor *qn_lora_target(const qn_lora_targets *t, qn_str module, const char *parameter)
{
    char name[NAME];
    const int n = snprintf(name, sizeof name, "%.*s%s%s", (int)module.n, module.s,
                           module.n ? "." : "", parameter);
    if (n < 0 || (size_t)n >= sizeof name) return NULL;
    qn_tensor *found = find(t, name);
    if (!found) found = find_sparse(t, name);
    return found ? found : find_tied(t, name);
}

qn_tensor *qn_lora_expert_target(const qn_lora_targets *t, qn_str module, uint64_t expert,
                                 qn_lora_expert_part part)
{
    static const char *const names[][2] = {[QN_EXPERT_GATE] = {"gate_proj.weight", "w1.weight"},
                                           [QN_EXPERT_UP] = {"up_proj.weight", "w3.weight"},
                                           [QN_EXPERT_DOWN] = {"down_proj.weight", "w2.weight"}};
    qn_tensor *found = NULL;
    for (size_t i = 0; i < 2 && !found; i++) {
        char parameter[64];
        snprintf(parameter, sizeof parameter, "%llu.%s", (unsigned long long)expert,
                 names[part][i]);
        found = qn_lora_target(t, module, parameter);
    }
    return found;
}
