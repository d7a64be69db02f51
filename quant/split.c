#include "quant/split.h"

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"
#include "formats/gguf_split.h"

uint32_t qn_source_file(const qn_model *m, const qn_model_tensor *t)
{
    const qn_tensor *source = t->source_name ? qn_reader_find(m->reader, t->source_name) : NULL;
    return source ? source->file : 0;
}

/* Consecutive numbers, whatever files of the source have tensors at all. */
static size_t keep_parts(qn_plan *p)
{
    size_t part = 0;
    for (size_t i = 1; i < p->n; i++) {
        part += qn_source_file(p->model, p->entries[i].tensor) !=
                qn_source_file(p->model, p->entries[i - 1].tensor);
        p->entries[i].part = part;
    }
    return part + 1;
}

/* As far as they can be counted. */
static uint64_t padded_bytes(const qn_plan_entry *e, uint64_t align)
{
    uint64_t row_bytes = 0, bytes = 0;
    qn_dtype_row_bytes(e->dtype, e->tensor->rows->columns, &row_bytes);
    if (!qn_mul_u64(row_bytes, e->tensor->rows->rows, &bytes) ||
        !qn_align_u64(bytes, align, &bytes))
        return UINT64_MAX;
    return bytes;
}

static size_t cut_parts(qn_plan *p, const qn_split_options *o, uint64_t align)
{
    size_t part = 0;
    uint64_t bytes = 0, tensors = 0;
    for (size_t i = 0; i < p->n; i++) {
        const uint64_t more = padded_bytes(&p->entries[i], align);
        const bool too_large =
            o->max_bytes && more > o->max_bytes - qn_min_u64(bytes, o->max_bytes);
        const bool too_many = o->max_tensors && tensors == o->max_tensors;
        if (tensors && (too_large || too_many)) {
            part++;
            bytes = tensors = 0;
        }
        bytes = more > UINT64_MAX - bytes ? UINT64_MAX : bytes + more;
        tensors++;
        p->entries[i].part = part;
    }
    return part + 1;
}

/* Readers find a part's alignment in that part. */
static qn_status set_part_keys(qn_plan *p, size_t part, qn_error *err)
{
    enum { DEFAULT_ALIGN = 32 };
    const qn_gguf_split split = {.no = part, .count = p->n_parts, .tensors = p->n};
    qn_metadata *m = part ? qn_metadata_new() : p->metadata;
    qn_status status = QN_OK;
    if (!m) return qn_fail_memory(err, "the metadata");
    if (part) p->more_metadata[part - 1] = m;
    if (part && p->align != DEFAULT_ALIGN)
        status = qn_metadata_set_u32(m, "general.alignment", (uint32_t)p->align, err);
    return status ? status : qn_gguf_split_write(m, &split, err);
}

static qn_status set_parts(qn_plan *p, size_t n, qn_error *err)
{
    p->n_parts = n;
    p->more_metadata = qn_alloc(n - 1, sizeof(qn_metadata *));
    return p->more_metadata ? QN_OK : qn_fail_memory(err, "the metadata");
}

qn_status qn_plan_split(qn_plan *p, const qn_split_options *options, qn_error *err)
{
    qn_status status = QN_OK;
    size_t n = 1;
    if (options->keep)
        n = keep_parts(p);
    else if (options->max_bytes || options->max_tensors)
        n = cut_parts(p, options, p->align);
    if (n > QN_GGUF_MAX_PARTS || p->n > INT32_MAX)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s: would be split into %zu files, GGUF counts up to %d", p->model->path, n,
                       QN_GGUF_MAX_PARTS);
    if (n == 1) return QN_OK;
    if ((status = set_parts(p, n, err))) return status;
    for (size_t part = 0; part < n && !status; part++) status = set_part_keys(p, part, err);
    return status;
}

qn_status qn_plan_shard(qn_plan *p, uint64_t max_bytes, qn_error *err)
{
    const qn_split_options options = {.max_bytes = max_bytes};
    const size_t n = cut_parts(p, &options, 1);
    const qn_status status = n == 1 ? QN_OK : set_parts(p, n, err);
    for (size_t part = 1; part < n && !status; part++)
        if (!(p->more_metadata[part - 1] = qn_metadata_copy(p->metadata)))
            return qn_fail_memory(err, "the metadata");
    return status;
}
