#include "formats/lora/lora.h"

#include <math.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/lora/adapter.h"

typedef unsigned long long ull;

struct qn_lora {
    qn_reader **readers; /* of the adapters, whose files the rows read */
    size_t n;
    struct qn_lora_merge **merges; /* of each tensor of the base, while they are made */
    qn_arena *arena;
};

/* ---- one adapter ---------------------------------------------------------------------- */

/* The first of the files in which PEFT looks for them. */
static qn_status find_weights(const char *directory, char **out, qn_error *err)
{
    static const char *const names[] = {"adapter_model.safetensors", "adapter_model.bin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = qn_path_join(directory, names[i]);
        if (!path) return qn_fail_memory(err, directory);
        if (qn_path_exists(path)) {
            *out = path;
            return QN_OK;
        }
        qn_free(path);
    }
    return qn_fail(err, QN_ERR_DATA, "%s: neither %s nor %s is there", directory, names[0],
                   names[1]);
}

static qn_status open_weights(const char *directory, qn_reader **out, qn_error *err)
{
    char *path;
    qn_status status = find_weights(directory, &path, err);
    if (status) return status;
    status = qn_reader_open(out, path, err);
    if (!status && (*out)->gguf_version)
        status = qn_fail(err, QN_ERR_UNSUPPORTED, "%s: a GGUF file, not PEFT's", path);
    if (!status && !(*out)->n_tensors)
        status = qn_fail(err, QN_ERR_DATA, "%s: has no tensors", path);
    qn_free(path);
    return status;
}

/* Real numbers, all of them finite. */
static qn_status check_values(const qn_adapter *a, const qn_tensor *t, qn_error *err)
{
    enum { PIECE = 4096 };
    float values[PIECE];
    const qn_kernels *k = qn_kernels_best();
    const uint64_t n = qn_tensor_elements(t), bytes = qn_dtype_facts(t->dtype)->block_bytes;
    if (t->dtype != QN_F32 && t->dtype != QN_F16 && t->dtype != QN_BF16)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is %s; adapters are F32, F16 or BF16",
                       qn_adapter_path(a), t->name, qn_dtype_facts(t->dtype)->name);
    for (uint64_t i = 0; i < n; i += PIECE) {
        const size_t piece = (size_t)qn_min_u64(PIECE, n - i);
        k->decode[t->dtype]((const uint8_t *)t->data + i * bytes, values, piece);
        if (!k->finite(values, piece))
            return qn_fail(err, QN_ERR_DATA,
                           "%s: \"%s\" has a NaN or an infinity among elements %llu to %llu",
                           qn_adapter_path(a), t->name, (ull)i, (ull)(i + piece - 1));
    }
    return QN_OK;
}

/* What takes a tensor's place first: the sums are added to that. */
static qn_status take_tensors(const qn_adapter *a, qn_error *err)
{
    qn_status status = QN_OK;
    const qn_reader *r = a->reader;
    for (size_t i = 0; i < r->n_tensors && !status; i++)
        status = check_values(a, &r->tensors[i], err);
    if (!status) status = qn_adapter_untie(a, err);
    for (size_t i = 0; i < r->n_tensors && !status; i++) {
        const qn_lora_part p = qn_adapter_part(a, &r->tensors[i]);
        if (p.kind == QN_LORA_WHOLE || p.kind == QN_LORA_BASE_LAYER)
            status = qn_adapter_replace(a, &p, err);
    }
    for (size_t i = 0; i < r->n_tensors && !status; i++) {
        const qn_lora_part p = qn_adapter_part(a, &r->tensors[i]);
        status = qn_adapter_change(a, &p, err);
    }
    return status;
}

static qn_status merge_one(qn_lora *l, qn_lora_targets *targets, const qn_lora_request *q,
                           qn_error *err)
{
    qn_adapter a = {.targets = targets, .merges = l->merges, .arena = l->arena, .scale = q->scale};
    qn_reader *r = NULL;
    if (!isfinite(q->scale))
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: a scale of %g", q->directory, q->scale);
    qn_status status = qn_lora_config_open(&a.config, q->directory, err);
    if (status) return status;
    status = open_weights(q->directory, &r, err);
    if (r) l->readers[l->n++] = r;
    a.reader = r;
    if (!status) status = take_tensors(&a, err);
    if (!status) status = qn_adapter_check_vocabulary(&a, err);
    qn_lora_config_close(&a.config);
    return status;
}

/* ---- all of them ------------------------------------------------------------------------- */

/* A head that the checkpoint has although it is the embedding becomes what that does. */
static void finish(const qn_lora *l, const qn_lora_targets *t, qn_lora_vocabulary *v)
{
    const qn_tensor *embedding = qn_lora_embedding(t), *head = qn_lora_head(t);
    const size_t e = embedding ? (size_t)(embedding - t->reader->tensors) : 0;
    if (t->tied && embedding && head) l->merges[head - t->reader->tensors] = l->merges[e];
    if (embedding && l->merges[e] && l->merges[e]->base.dims[0] != embedding->dims[0])
        v->n_vocab = l->merges[e]->base.dims[0];
    v->untied = v->tied && !t->tied;
    v->tied = t->tied;
    for (size_t i = 0; i < t->reader->n_tensors; i++) {
        qn_tensor *mine = &t->reader->tensors[i];
        if (!(mine->lora = l->merges[i])) continue;
        memcpy(mine->dims, l->merges[i]->base.dims, sizeof mine->dims);
    }
}

static qn_status merge_all(qn_lora *l, qn_reader *r, const qn_lora_request *adapters, size_t n,
                           const qn_family *family, qn_lora_vocabulary *v, qn_error *err)
{
    qn_lora_targets targets;
    qn_status status = qn_lora_targets_open(&targets, r, family, v->tied, err);
    if (status) return status;
    for (size_t i = 0; i < n && !status; i++) status = merge_one(l, &targets, &adapters[i], err);
    if (!status) finish(l, &targets, v);
    qn_lora_targets_close(&targets);
    return status;
}

qn_status qn_lora_merge(qn_lora **out, qn_reader *r, const qn_lora_request *adapters, size_t n,
                        const qn_family *family, qn_lora_vocabulary *v, qn_error *err)
{
    qn_lora *l = qn_alloc(1, sizeof *l);
    if (!l) return qn_fail_memory(err, "the adapters");
    l->readers = qn_alloc(n, sizeof(qn_reader *));
    l->merges = qn_alloc(r->n_tensors + 1, sizeof(struct qn_lora_merge *)); /* and a head */
    l->arena = qn_arena_new();
    const qn_status status = l->readers && l->merges && l->arena
                                 ? merge_all(l, r, adapters, n, family, v, err)
                                 : qn_fail_memory(err, "the adapters");
    if (status)
        qn_lora_close(l);
    else
        *out = l;
    return status;
}

const char *qn_lora_tokenizer(const qn_lora_request *adapters, size_t n)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    const char *found = NULL;
    for (size_t i = 0; i < 2 * n; i++) {
        char *path = qn_path_join(adapters[i / 2].directory, names[i % 2]);
        if (path && qn_path_exists(path)) found = adapters[i / 2].directory;
        qn_free(path);
    }
    return found;
}

void qn_lora_close(qn_lora *l)
{
    if (!l) return;
    for (size_t i = 0; l->readers && i < l->n; i++) qn_reader_close(l->readers[i]);
    qn_free(l->readers);
    qn_free(l->merges);
    if (l->arena) qn_arena_free(l->arena);
    qn_free(l);
}
