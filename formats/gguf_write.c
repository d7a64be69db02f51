/* Writing GGUF version 3, byte for byte as gguf-py and ggml do
 * (docs/formats/gguf.md). */
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/gguf.h"

static qn_status check(const char *path, const qn_writer_tensor *t, qn_error *err)
{
    const qn_dtype_info *facts = qn_dtype_facts(t->dtype);
    const size_t n = strlen(t->name);
    if (n == 0 || n > QN_GGUF_MAX_NAME)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: tensor %s: a name of %zu bytes, GGUF's readers take 1 to %d", path,
                       t->name, n, QN_GGUF_MAX_NAME);
    if (t->rank > QN_GGUF_MAX_RANK)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: tensor %s: %u dimensions, GGUF has at most %d",
                       path, t->name, t->rank, QN_GGUF_MAX_RANK);
    if (facts->ggml_id < 0)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: tensor %s: GGUF has no type %s", path, t->name,
                       facts->name);
    return QN_OK;
}

/* A key that says one thing and data that lie otherwise would be unreadable. */
static qn_status check_alignment(const qn_writer_contents *c, qn_error *err)
{
    uint64_t said = QN_GGUF_ALIGNMENT;
    bool found;
    qn_status status = QN_OK;
    if (c->metadata) status = qn_metadata_u64(c->metadata, "general.alignment", &said, &found, err);
    if (!status && said != c->align)
        status = qn_fail(err, QN_ERR_ARGUMENT,
                         "%s: general.alignment is %llu, the tensors are to be aligned to %llu",
                         c->path, (unsigned long long)said, (unsigned long long)c->align);
    return status;
}

static void add_u32(qn_text *t, uint32_t v)
{
    qn_text_add(t, (const char *)&v, sizeof v);
}

static void add_u64(qn_text *t, uint64_t v)
{
    qn_text_add(t, (const char *)&v, sizeof v);
}

static void add_string(qn_text *t, const char *s, size_t n)
{
    add_u64(t, n);
    qn_text_add(t, s, n);
}

static void add_value(qn_text *t, const qn_meta_value *v)
{
    add_string(t, v->key.s, v->key.n);
    add_u32(t, v->type);
    if (v->type == QN_META_ARRAY) {
        add_u32(t, v->element);
        add_u64(t, v->count);
    }
    qn_text_add(t, v->bytes.s, v->bytes.n);
}

static void add_tensor(qn_text *t, const qn_writer_tensor *tensor)
{
    add_string(t, tensor->name, strlen(tensor->name));
    add_u32(t, tensor->rank ? tensor->rank : 1); /* a scalar is a row of one */
    for (unsigned i = tensor->rank; i > 0; i--) add_u64(t, tensor->dims[i - 1]);
    if (tensor->rank == 0) add_u64(t, 1);
    add_u32(t, (uint32_t)qn_dtype_facts(tensor->dtype)->ggml_id);
    add_u64(t, tensor->offset);
}

/* Offsets from the start of the data; *end is where it ends, padding and all. */
static bool lay_out(const qn_writer_contents *c, uint64_t *end)
{
    uint64_t at = 0;
    for (size_t i = 0; i < c->n_tensors; i++) {
        c->tensors[i].offset = at;
        if (!qn_add_u64(at, c->tensors[i].bytes, &at) || !qn_align_u64(at, c->align, &at))
            return false;
    }
    *end = at;
    return true;
}

static qn_status plan(const qn_writer_contents *c, qn_text *header, uint64_t *total_bytes,
                      qn_error *err)
{
    uint64_t data_bytes = 0, start = 0;
    const size_t n_keys = c->metadata ? qn_metadata_count(c->metadata) : 0;
    const qn_status status = check_alignment(c, err);
    if (status) return status;
    bool fits = lay_out(c, &data_bytes);
    if (fits) {
        qn_text_add(header, "GGUF", 4);
        add_u32(header, QN_GGUF_VERSION);
        add_u64(header, c->n_tensors);
        add_u64(header, n_keys);
        for (size_t i = 0; i < n_keys; i++) add_value(header, qn_metadata_at(c->metadata, i));
        for (size_t i = 0; i < c->n_tensors; i++) add_tensor(header, &c->tensors[i]);
        fits =
            qn_align_u64(header->n, c->align, &start) && qn_add_u64(start, data_bytes, total_bytes);
    }
    if (!fits) return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: would be too large", c->path);
    for (size_t i = 0; i < c->n_tensors; i++) c->tensors[i].offset += start;
    return QN_OK;
}

const qn_writer_ops qn_gguf_writer = {
    .default_align = QN_GGUF_ALIGNMENT,
    .check = check,
    .plan = plan,
};
