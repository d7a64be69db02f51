#include "quant/plan_metadata.h"

#include <string.h>

enum { DEFAULT_ALIGN = 32, LEAST_ALIGN = 8 }; /* of a GGUF file's data */

/* The data's alignment and its key, which agree: llama-quantize copies the key
 * and pads to 32 all the same, which no reader can follow. */
qn_status qn_plan_set_alignment(qn_plan *p, uint64_t asked, qn_error *err)
{
    static const char key[] = "general.alignment";
    bool found = false;
    uint64_t stored = DEFAULT_ALIGN;
    qn_status status = qn_metadata_u64(p->metadata, key, &stored, &found, err);
    if (status) return status;
    uint64_t align = asked ? asked : stored < LEAST_ALIGN ? DEFAULT_ALIGN : stored;
    if (align < LEAST_ALIGN || align > UINT32_MAX || align & (align - 1))
        return qn_fail(err, QN_ERR_ARGUMENT, "alignment %llu: a power of two from %d up is needed",
                       (unsigned long long)align, LEAST_ALIGN);
    p->align = align;
    if (align == stored) return QN_OK;
    if (align != DEFAULT_ALIGN) return qn_metadata_set_u32(p->metadata, key, (uint32_t)align, err);
    if (found) qn_metadata_remove(p->metadata, key);
    return QN_OK;
}

/* What llama-quantize makes of a file's keys: the two that it sets go to the
 * end, those of a split file are gone. */
static qn_status set_quantized_keys(qn_metadata *m, uint32_t file_type, qn_error *err)
{
    static const char *const gone[] = {"general.quantization_version", "general.file_type",
                                       "split.no", "split.count", "split.tensors.count"};
    enum { QUANTIZATION_VERSION = 2 }; /* ggml's GGML_QNT_VERSION */
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) qn_metadata_remove(m, gone[i]);
    qn_status status = qn_metadata_set_u32(m, gone[0], QUANTIZATION_VERSION, err);
    return status ? status : qn_metadata_set_u32(m, gone[1], file_type, err);
}

/* llama-quantize keeps such texts in 128 bytes with a terminator. */
static qn_str cut(const char *s, size_t n)
{
    enum { MOST = 127 };
    return qn_str_of(s, strnlen(s, n < MOST ? n : MOST));
}

/* Appended, also where the key was there already. */
static qn_status append_str(qn_metadata *m, const char *key, qn_str text, qn_error *err)
{
    qn_metadata_remove(m, key);
    return qn_metadata_set_str(m, key, text, err);
}

static qn_status append_u32(qn_metadata *m, const char *key, uint32_t v, qn_error *err)
{
    qn_metadata_remove(m, key);
    return qn_metadata_set_u32(m, key, v, err);
}

static qn_status set_importance_keys(qn_metadata *m, const qn_importance *of, qn_error *err)
{
    qn_status status = append_str(m, "quantize.imatrix.file", cut(of->path.s, of->path.n), err);
    if (!status && of->dataset.n)
        status = append_str(m, "quantize.imatrix.dataset", cut(of->dataset.s, of->dataset.n), err);
    if (!status)
        status =
            append_u32(m, "quantize.imatrix.entries_count", (uint32_t)qn_importance_count(of), err);
    if (!status && of->chunks)
        status = append_u32(m, "quantize.imatrix.chunks_count", (uint32_t)of->chunks, err);
    return status;
}

qn_status qn_plan_set_quantized_metadata(qn_plan *p, const qn_quantize_options *options,
                                         qn_error *err)
{
    qn_status status = QN_OK;
    if (p->model->from_gguf)
        p->metadata = qn_metadata_copy(p->model->metadata);
    else
        status = qn_convert_metadata(p->model, qn_convert_resolve(p->model, QN_OUT_AUTO),
                                     &p->metadata, err);
    if (status) return status;
    if (!p->metadata) return qn_fail_memory(err, "the metadata");
    status = set_quantized_keys(p->metadata, options->mix->file_type, err);
    if (!status && options->importance)
        status = set_importance_keys(p->metadata, options->importance, err);
    return status ? status : qn_plan_set_alignment(p, options->align, err);
}
