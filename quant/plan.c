#include "formats/base/alloc.h"
#include "quant/plan_metadata.h"
#include "quant/policy.h"
#include "quant/split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static qn_plan *plan_new(const qn_model *m)
{
    qn_plan *p = qn_alloc(1, sizeof *p);
    if (!p) return NULL;
    p->model = m;
    p->n = m->n_tensors;
    p->n_parts = 1;
    p->entries = qn_alloc(p->n, sizeof *p->entries);
    if (p->entries) return p;
    qn_plan_free(p);
    return NULL;
}

void qn_plan_free(qn_plan *p)
{
    if (!p) return;
    for (size_t i = 0; p->more_metadata && i + 1 < p->n_parts; i++)
        qn_metadata_free(p->more_metadata[i]);
    qn_free(p->more_metadata);
    qn_metadata_free(p->metadata);
    qn_free(p->entries);
    qn_free(p);
}

/* ---- order -------------------------------------------------------------------- */

typedef struct {
    const qn_model_tensor *tensor;
    int64_t block;
    uint32_t file;
} ordered;

/* llama.cpp's order: what belongs to no block first, then by block and name. */
static int by_block_and_name(const void *left, const void *right)
{
    const ordered *a = left, *b = right;
    if (a->block != b->block) return a->block < b->block ? -1 : 1;
    return strcmp(a->tensor->name, b->tensor->name);
}

/* By file, in each as they lie in the model (which is one array). */
static int by_file(const void *left, const void *right)
{
    const ordered *a = left, *b = right;
    if (a->file != b->file) return a->file < b->file ? -1 : 1;
    return a->tensor < b->tensor ? -1 : a->tensor > b->tensor;
}

static qn_status fill_in_file_order(qn_plan *p, bool keep_split, qn_error *err)
{
    ordered *order = qn_alloc(p->n, sizeof *order);
    if (!order) return qn_fail_memory(err, "the order of the tensors");
    for (size_t i = 0; i < p->n; i++) {
        const qn_model_tensor *t = &p->model->tensors[i];
        order[i] = (ordered){.tensor = t, .block = qn_policy_block(t->name)};
        if (keep_split) order[i].file = qn_source_file(p->model, t);
    }
    qsort(order, p->n, sizeof *order, keep_split ? by_file : by_block_and_name);
    for (size_t i = 0; i < p->n; i++) p->entries[i].tensor = order[i].tensor;
    qn_free(order);
    return QN_OK;
}

/* ---- checks ------------------------------------------------------------------- */

static bool has_raw(const qn_rows *r)
{
    return !r->rows || !r->columns || (r->raw && r->raw(r, 0));
}

/* What the pipeline and the writer would refuse later, said before any work. */
static qn_status check_entry(const qn_plan *p, qn_plan_entry *e, qn_error *err)
{
    const qn_model_tensor *t = e->tensor;
    const qn_dtype_info *from = qn_dtype_facts(t->rows->dtype), *to = qn_dtype_facts(e->dtype);
    const qn_kernels *k = qn_kernels_best();
    uint64_t row_bytes;

    e->repack = t->rows->repack && e->dtype == t->rows->blocks;
    e->copy = e->repack || (e->dtype == t->rows->dtype && has_raw(t->rows));
    if (p->model->exported ? !to->safetensors : to->ggml_id < 0)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is %s, a type that %s does not have",
                       p->model->path, t->name, to->name,
                       p->model->exported ? "safetensors" : "GGUF");
    if (!qn_dtype_row_bytes(e->dtype, t->rows->columns, &row_bytes))
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s: \"%s\": %llu columns are not whole blocks of %s (%u)", p->model->path,
                       t->name, (unsigned long long)t->rows->columns, to->name, to->block_len);
    if (!e->copy && !k->decode[t->rows->dtype])
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is %s, which cannot be decoded",
                       p->model->path, t->name, from->name);
    if (!e->copy && !k->encode[e->dtype])
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\": %s cannot be encoded", p->model->path,
                       t->name, to->name);
    return QN_OK;
}

static qn_status check_requantize(const qn_plan *p, const qn_plan_entry *e, qn_error *err)
{
    qn_dtype from = e->tensor->rows->dtype;
    if (!qn_dtype_is_blocks(from) || from == e->dtype) return QN_OK;
    return qn_fail(err, QN_ERR_ARGUMENT,
                   "%s: \"%s\" is quantized already, to %s; making it %s needs "
                   "--allow-requantize",
                   p->model->path, e->tensor->name, qn_dtype_facts(from)->name,
                   qn_dtype_facts(e->dtype)->name);
}

/* ---- importance --------------------------------------------------------------- */

/* llama-imatrix has no data of them, old files data of another size. */
static bool is_embedding(const char *name)
{
    return !strcmp(name, "token_embd.weight") || !strcmp(name, "per_layer_token_embd.weight");
}

/* Columns of all matrices of a tensor, of which the last two dimensions make one. */
static uint64_t importance_size(const qn_model_tensor *t)
{
    uint64_t n = t->rows->columns;
    for (unsigned i = 0; i + 2 < t->rank; i++) n *= t->dims[i];
    return n;
}

static qn_status refuse_without(const qn_plan *p, const qn_plan_entry *e, qn_error *err)
{
    return qn_fail(err, QN_ERR_ARGUMENT,
                   "%s: \"%s\": %s needs an importance matrix: make one with llama-imatrix and "
                   "give it with --imatrix",
                   p->model->path, e->tensor->name, qn_dtype_facts(e->dtype)->name);
}

static qn_status bind_importance(const qn_plan *p, qn_plan_entry *e,
                                 const qn_quantize_options *options, qn_error *err)
{
    const qn_model_tensor *t = e->tensor;
    const qn_importance *importance = options->importance;
    if (e->dtype == t->rows->dtype) return QN_OK;
    if (!importance)
        return e->needs_importance && !options->dry_run ? refuse_without(p, e, err) : QN_OK;
    const qn_importance_entry *found = qn_importance_find(importance, t->name);
    const uint64_t size = importance_size(t);
    if (found && found->n_values != size) {
        if (!is_embedding(t->name))
            return qn_fail(err, QN_ERR_ARGUMENT,
                           "%s: \"%s\" has %llu columns in all, %s has values for %llu: it is of "
                           "another model (--exclude-weights leaves entries out)",
                           p->model->path, t->name, (unsigned long long)size, importance->path.s,
                           (unsigned long long)found->n_values);
        found = NULL;
    }
    if (!qn_importance_matters(e->dtype)) return QN_OK;
    e->importance = found || !e->needs_importance ? found : &qn_importance_even;
    e->lacks_importance = !found;
    return QN_OK;
}

/* ---- the two plans ------------------------------------------------------------ */

/* What a tensor is in the file that llama-quantize would have read. */
static qn_dtype stored_type(const qn_model *m, const qn_model_tensor *t, qn_outtype automatic)
{
    if (m->from_gguf || !qn_dtype_facts(t->rows->dtype)->is_float) return t->rows->dtype;
    return qn_convert_dtype(t, automatic);
}

static qn_status decide_all(qn_plan *p, const qn_quantize_options *options, qn_error *err)
{
    qn_policy policy;
    qn_outtype automatic = qn_convert_resolve(p->model, QN_OUT_AUTO);
    qn_status status = qn_policy_init(&policy, p->model, options, err);
    for (size_t i = 0; !status && i < p->n; i++) {
        qn_plan_entry *e = &p->entries[i];
        if (options->rules)
            status = qn_type_rules_find(options->rules, e->tensor->name, p->model->generic,
                                        &e->rule, err);
        if (status) break;
        qn_policy_decide(&policy, e, stored_type(p->model, e->tensor, automatic));
        status = check_entry(p, e, err);
        if (!status && !options->allow_requantize) status = check_requantize(p, e, err);
        if (!status) status = bind_importance(p, e, options, err);
    }
    return status;
}

qn_status qn_plan_quantize(qn_plan **out, const qn_model *m, const qn_quantize_options *options,
                           qn_error *err)
{
    qn_status status;
    qn_plan *p = plan_new(m);
    if (!p) return qn_fail_memory(err, "the plan");
    if ((status = fill_in_file_order(p, options->keep_split, err))) goto out;
    if ((status = decide_all(p, options, err))) goto out;
    if ((status = qn_plan_set_quantized_metadata(p, options, err))) goto out;
    *out = p;
    p = NULL;
out:
    qn_plan_free(p);
    return status;
}

static void decide_converted(qn_plan_entry *e, qn_outtype outtype)
{
    static const qn_dtype types[] = {[QN_OUT_F32] = QN_F32,
                                     [QN_OUT_F16] = QN_F16,
                                     [QN_OUT_BF16] = QN_BF16,
                                     [QN_OUT_Q8_0] = QN_Q8_0};
    const qn_rows *rows = e->tensor->rows;
    bool is_number = qn_dtype_facts(rows->dtype)->is_float;
    e->dtype = is_number ? qn_convert_dtype(e->tensor, outtype) : rows->dtype;
    e->fallback = is_number && outtype == QN_OUT_Q8_0 && e->dtype == QN_F16;
    const char *name = qn_dtype_facts(e->dtype)->name;
    if (e->fallback)
        snprintf(e->reason, sizeof e->reason, "%llu columns: F16 instead of Q8_0",
                 (unsigned long long)rows->columns);
    else
        snprintf(e->reason, sizeof e->reason, "%s: %s",
                 e->dtype == types[outtype] ? "outtype" : "kept", name);
}

qn_status qn_plan_convert(qn_plan **out, const qn_model *m, qn_outtype outtype, uint64_t align,
                          qn_error *err)
{
    qn_status status;
    qn_plan *p = plan_new(m);
    if (!p) return qn_fail_memory(err, "the plan");
    outtype = qn_convert_resolve(m, outtype);
    for (size_t i = 0; i < p->n; i++) {
        p->entries[i].tensor = &m->tensors[i];
        decide_converted(&p->entries[i], outtype);
        if ((status = check_entry(p, &p->entries[i], err))) goto out;
    }
    if ((status = qn_convert_metadata(m, outtype, &p->metadata, err))) goto out;
    if ((status = qn_plan_set_alignment(p, align, err))) goto out;
    *out = p;
    p = NULL;
out:
    qn_plan_free(p);
    return status;
}
