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

static const char embedding_name[] = "embed_tokens.weight", head_name[] = "lm_head.weight";

/* The tensor in that role, or without a family one with that end of a name. */
static uint32_t find_end(const qn_lora_targets *t, const char *role, const char *end)
{
    if (t->family) return qn_names_find(t->by_role, qn_str_z(role));
    for (size_t i = 0; i < t->reader->n_tensors; i++) {
        const qn_str name = qn_str_z(t->reader->tensors[i].name);
        const size_t before = name.n - strlen(end);
        if (qn_str_ends(name, end) && (!before || name.s[before - 1] == '.')) return (uint32_t)i;
    }
    return UINT32_MAX;
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
    if (!status) {
        mine.embedding = find_end(&mine, "token_embd.weight", embedding_name);
        mine.head = find_end(&mine, "output.weight", head_name);
    }
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

/* ---- embedding and head ------------------------------------------------------------------ */

qn_tensor *qn_lora_embedding(const qn_lora_targets *t)
{
    return tensor_at(t, t->embedding);
}

qn_tensor *qn_lora_head(const qn_lora_targets *t)
{
    return tensor_at(t, t->head);
}

qn_status qn_lora_add_head(qn_lora_targets *t, const qn_tensor *embedding, const qn_tensor **out,
                           qn_error *err)
{
    qn_tensor head = *embedding;
    char key[NAME];
    qn_status status = QN_OK;
    t->tied = false;
    if ((*out = qn_lora_head(t))) return QN_OK;
    head.name = head_name;
    qn_tensor plain = head; /* a packed one's bytes are not those of its shape */
    status = qn_tensor_measure(t->reader->files[head.file].path, head.name, head.dtype, head.rank,
                               head.dims, &plain.bytes, err);
    if (!status) status = qn_reader_add_at(t->reader, &plain, err);
    if (status) return status;
    const uint32_t at = (uint32_t)t->reader->n_tensors - 1;
    t->reader->tensors[at] = head;
    t->head = at;
    *out = &t->reader->tensors[at];
    if (!t->family || !role_key(t->family, head_name, key)) return QN_OK;
    const char *copy = qn_arena_strndup(t->arena, key, strlen(key));
    return copy ? qn_names_add(t->by_role, qn_str_z(copy), at, NULL)
                : qn_fail_memory(err, "the names of tensors");
}

qn_tensor *qn_lora_target(const qn_lora_targets *t, qn_str module, const char *parameter)
{
    char name[NAME];
    const int n = snprintf(name, sizeof name, "%.*s%s%s", (int)module.n, module.s,
                           module.n ? "." : "", parameter);
    if (n < 0 || (size_t)n >= sizeof name) return NULL;
    if (t->tied && qn_str_ends(qn_str_z(name), head_name)) return qn_lora_embedding(t);
    qn_tensor *found = find(t, name);
    return found ? found : find_sparse(t, name);
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
