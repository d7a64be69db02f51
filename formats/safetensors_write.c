/* Writing safetensors as the official library does: its order of data, its
 * spelling of the header (docs/formats/safetensors.md). */
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/json.h"
#include "formats/base/sizes.h"
#include "formats/safetensors.h"

/* The official library's list of types, from the last written to the first
 * (safetensors/src/tensor.rs, enum Dtype: sorted by alignment). */
static const qn_dtype written_last_to_first[] = {
    QN_BOOL, QN_F4,   QN_U8,  QN_I8,  QN_F8_E5M2, QN_F8_E4M3, QN_F8_E8M0, QN_I16, QN_U16,
    QN_F16,  QN_BF16, QN_I32, QN_U32, QN_F32,     QN_C64,     QN_F64,     QN_I64, QN_U64,
};

static int place_of(qn_dtype t)
{
    const int n = sizeof written_last_to_first / sizeof *written_last_to_first;
    for (int i = 0; i < n; i++)
        if (written_last_to_first[i] == t) return i;
    return -1;
}

static qn_status check(const char *path, const qn_writer_tensor *t, qn_error *err)
{
    if (place_of(t->dtype) < 0)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: tensor %s: safetensors has no type %s", path,
                       t->name, qn_dtype_facts(t->dtype)->name);
    if (!*t->name || !strcmp(t->name, "__metadata__"))
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: safetensors cannot hold a tensor named '%s'",
                       path, t->name);
    return QN_OK;
}

static int in_order(const void *a, const void *b)
{
    const qn_writer_tensor *x = *(qn_writer_tensor *const *)a, *y = *(qn_writer_tensor *const *)b;
    const int difference = place_of(y->dtype) - place_of(x->dtype);
    return difference ? difference : strcmp(x->name, y->name);
}

/* ---- the header's text ------------------------------------------------------------------- */

static qn_status add_metadata(qn_text *t, const qn_writer_contents *c, qn_error *err)
{
    qn_text_adds(t, "\"__metadata__\":{");
    if (!c->metadata) qn_text_adds(t, "\"format\":\"pt\"");
    const size_t n = c->metadata ? qn_metadata_count(c->metadata) : 0;
    for (size_t i = 0; i < n; i++) {
        const qn_meta_value *v = qn_metadata_at(c->metadata, i);
        qn_str cursor = v->bytes, value;
        if (v->type != QN_META_STRING || !qn_meta_next_string(&cursor, &value))
            return qn_fail(err, QN_ERR_ARGUMENT,
                           "%s: metadata \"%.*s\" is of type %s, safetensors holds strings only",
                           c->path, (int)v->key.n, v->key.s, qn_meta_type_name(v->type));
        if (i) qn_text_adds(t, ",");
        qn_json_add_string(t, v->key);
        qn_text_adds(t, ":");
        qn_json_add_string(t, value);
    }
    qn_text_adds(t, "}");
    return QN_OK;
}

static void add_tensor(qn_text *t, const qn_writer_tensor *tensor)
{
    const uint64_t end = tensor->offset + tensor->bytes;
    qn_text_adds(t, ",");
    qn_json_add_string(t, qn_str_z(tensor->name));
    qn_text_addf(t, ":{\"dtype\":\"%s\",\"shape\":[", qn_dtype_facts(tensor->dtype)->safetensors);
    for (unsigned i = 0; i < tensor->rank; i++)
        qn_text_addf(t, "%s%llu", i ? "," : "", (unsigned long long)tensor->dims[i]);
    qn_text_addf(t, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)tensor->offset,
                 (unsigned long long)end);
}

/* ---- the plan ------------------------------------------------------------------------------ */

static qn_status add_header(qn_text *header, const qn_writer_contents *c,
                            qn_writer_tensor *const *order, qn_error *err)
{
    static const char placeholder[8] = {0};
    qn_text_add(header, placeholder, sizeof placeholder);
    qn_text_adds(header, "{");
    const qn_status status = add_metadata(header, c, err);
    if (status) return status;
    for (size_t i = 0; i < c->n_tensors; i++) add_tensor(header, order[i]);
    qn_text_adds(header, "}");
    while (!header->failed && header->n % c->align) qn_text_adds(header, " ");
    if (header->failed) return qn_fail_memory(err, c->path);
    const uint64_t n = header->n - sizeof placeholder;
    if (n > QN_SAFETENSORS_MAX_HEADER)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: a header of %llu bytes, readers take %d",
                       c->path, (unsigned long long)n, QN_SAFETENSORS_MAX_HEADER);
    memcpy(header->s, &n, sizeof n);
    return QN_OK;
}

static qn_status plan(const qn_writer_contents *c, qn_text *header, uint64_t *total_bytes,
                      qn_error *err)
{
    qn_writer_tensor **order = qn_alloc(c->n_tensors, sizeof(qn_writer_tensor *));
    if (!order) return qn_fail_memory(err, c->path);
    for (size_t i = 0; i < c->n_tensors; i++) order[i] = &c->tensors[i];
    qsort(order, c->n_tensors, sizeof(qn_writer_tensor *), in_order);
    qn_status status = QN_OK;
    uint64_t at = 0;
    for (size_t i = 0; !status && i < c->n_tensors; i++) {
        order[i]->offset = at;
        if (!qn_add_u64(at, order[i]->bytes, &at) || at > INT64_MAX)
            status = qn_fail(err, QN_ERR_UNSUPPORTED, "%s: would be too large", c->path);
    }
    if (!status) status = add_header(header, c, order, err);
    if (!status) {
        for (size_t i = 0; i < c->n_tensors; i++) c->tensors[i].offset += header->n;
        *total_bytes = at + header->n;
    }
    qn_free(order);
    return status;
}

const qn_writer_ops qn_safetensors_writer = {
    .default_align = QN_SAFETENSORS_ALIGNMENT,
    .check = check,
    .plan = plan,
};
