/* Embedding and head, which adapters may give another number of rows, or the head
 * rows of its own where it was the embedding.
 *
 * PEFT loads an adapter into a model that was resized and, in memory, has two
 * tensors or one.  Of a tied model they stay one, whatever is added to either,
 * until one of them alone is saved with the adapter (modules_to_save), or both
 * with other values: then the head is what was saved, or else the embedding as it
 * was before. */
#include <string.h>

#include "formats/lora/adapter.h"

typedef unsigned long long ull;

static bool is_head(qn_str module)
{
    return qn_str_ends(module, "lm_head");
}

bool qn_adapter_is_vocabulary(const qn_adapter *a, const qn_lora_part *p, const qn_tensor *base)
{
    return !strcmp(p->parameter, "weight") &&
           (is_head(p->module) || base == qn_lora_embedding(a->targets));
}

/* ---- a head of its own ------------------------------------------------------------------ */

/* What the adapter has in the place of the embedding and the head; NULL: nothing. */
static void find_saved(const qn_adapter *a, const qn_tensor *embedding, const qn_tensor **own,
                       const qn_tensor **head)
{
    *own = *head = NULL;
    for (size_t i = 0; i < a->reader->n_tensors; i++) {
        const qn_lora_part p = qn_adapter_part(a, &a->reader->tensors[i]);
        if (p.kind != QN_LORA_WHOLE || strcmp(p.parameter, "weight") != 0) continue;
        if (is_head(p.module))
            *head = p.tensor;
        else if (qn_lora_target(a->targets, p.module, "weight") == embedding)
            *own = p.tensor;
    }
}

/* The merge of `head` becomes what the embedding's is. */
static qn_status copy_merge(const qn_adapter *a, const qn_tensor *embedding, const qn_tensor *head,
                            qn_error *err)
{
    const struct qn_lora_merge *from = qn_adapter_merge(a, embedding);
    struct qn_lora_merge *to = qn_adapter_merge(a, head);
    if (!from || !to) return qn_fail_memory(err, qn_adapter_path(a));
    to->reader = from->reader;
    to->base = from->base;
    qn_status status = QN_OK;
    for (const qn_lora_change *c = from->changes; c && !status; c = c->next)
        status = qn_adapter_note(a, head, c, err);
    return status;
}

qn_status qn_adapter_untie(const qn_adapter *a, qn_error *err)
{
    const qn_tensor *own, *head, *embedding = qn_lora_embedding(a->targets);
    if (!a->targets->tied || !embedding) return QN_OK;
    find_saved(a, embedding, &own, &head);
    if (!own && !head) return QN_OK;
    const qn_tensor *now = qn_adapter_now(a, embedding);
    if (qn_lora_same_tensor(own ? own : now, head ? head : now)) return QN_OK;
    const size_t at = (size_t)(embedding - a->targets->reader->tensors);
    const qn_tensor *added;
    const qn_status status = qn_lora_add_head(a->targets, embedding, &added, err);
    return status ? status : copy_merge(a, &a->targets->reader->tensors[at], added, err);
}

/* ---- another number of rows --------------------------------------------------------------- */

qn_status qn_adapter_check_vocabulary(const qn_adapter *a, qn_error *err)
{
    const qn_tensor *embedding = qn_lora_embedding(a->targets);
    const qn_tensor *head = a->targets->tied ? NULL : qn_lora_head(a->targets);
    if (!embedding || !head) return QN_OK;
    const qn_tensor *e = qn_adapter_now(a, embedding), *h = qn_adapter_now(a, head);
    const bool resized = e->dims[0] != embedding->dims[0] || h->dims[0] != head->dims[0];
    if (!resized || e->dims[0] == h->dims[0]) return QN_OK;
    return qn_fail(err, QN_ERR_DATA,
                   "%s: resizes the vocabulary, but the embedding has %llu rows and the head %llu: "
                   "what the others are, the adapter does not say",
                   qn_adapter_path(a), (ull)e->dims[0], (ull)h->dims[0]);
}
