#include "quant/plan_metadata.h"

#include <string.h>

#include "formats/base/alloc.h"
#include "formats/gguf_split.h"

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

/* As if the key had not been there. */
static qn_status append_u32(qn_metadata *m, const char *key, uint32_t v, qn_error *err)
{
    qn_metadata_remove(m, key);
    return qn_metadata_set_u32(m, key, v, err);
}

static qn_status append_str(qn_metadata *m, const char *key, qn_str text, qn_error *err)
{
    qn_metadata_remove(m, key);
    return qn_metadata_set_str(m, key, text, err);
}

/* What llama.cpp takes a file without general.file_type for: the mix named as
 * most of its tensors' type, marked as a guess. */
static uint32_t guessed_file_type(const qn_plan *p)
{
    enum { GUESSED = 1024 };
    size_t counts[QN_DTYPE_COUNT] = {0};
    qn_dtype most = QN_F32;
    for (size_t i = 0; i < p->n; i++) {
        const qn_dtype t = p->entries[i].tensor->rows->dtype;
        if (++counts[t] > counts[most]) most = t;
    }
    const qn_mix *mix = qn_mix_by_name(qn_dtype_facts(most)->name);
    return GUESSED | (mix ? mix->file_type : 0);
}

/* Of the mix, or for COPY of the source. */
static qn_status file_type_of(const qn_plan *p, const qn_mix *mix, uint32_t *out, qn_error *err)
{
    uint64_t stored = 0;
    bool found = false;
    *out = mix->file_type;
    if (mix->file_type != QN_MIX_COPY) return QN_OK;
    const qn_status status =
        qn_metadata_u64(p->metadata, "general.file_type", &stored, &found, err);
    *out = found ? (uint32_t)stored : guessed_file_type(p);
    return status;
}

/* What llama-quantize makes of a file's keys: the two that it sets go to the
 * end, those of a split file are gone. */
static qn_status set_quantized_keys(qn_metadata *m, uint32_t file_type, qn_error *err)
{
    enum { QUANTIZATION_VERSION = 2 }; /* ggml's GGML_QNT_VERSION */
    qn_gguf_split_remove(m);
    const qn_status status =
        append_u32(m, "general.quantization_version", QUANTIZATION_VERSION, err);
    return status ? status : append_u32(m, "general.file_type", file_type, err);
}

static qn_status set_overrides(qn_metadata *m, const qn_metadata *overrides, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i < qn_metadata_count(overrides); i++) {
        const qn_meta_value *v = qn_metadata_at(overrides, i);
        char *key = qn_strndup(v->key.s, v->key.n);
        if (!key) return qn_fail_memory(err, "the metadata");
        qn_metadata_remove(m, key);
        status = qn_metadata_set(m, key, v->type, v->element, v->count, v->bytes, err);
        qn_free(key);
    }
    return status;
}

/* llama-quantize keeps such texts in 128 bytes with a terminator. */
static qn_str cut(const char *s, size_t n)
{
    enum { MOST = 127 };
    return qn_str_of(s, strnlen(s, n < MOST ? n : MOST));
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

/* A copy for the output. */
static qn_status source_metadata(const qn_model *m, qn_metadata **out, qn_error *err)
{
    if (!m->from_gguf) return qn_convert_metadata(m, qn_convert_resolve(m, QN_OUT_AUTO), out, err);
    *out = qn_metadata_copy(m->metadata);
    return *out ? QN_OK : qn_fail_memory(err, "the metadata");
}

qn_status qn_plan_set_quantized_metadata(qn_plan *p, const qn_quantize_options *options,
                                         qn_error *err)
{
    uint32_t file_type = 0;
    qn_status status = source_metadata(p->model, &p->metadata, err);
    if (!status) status = file_type_of(p, options->mix, &file_type, err);
    if (!status) status = set_quantized_keys(p->metadata, file_type, err);
    if (!status && options->overrides) status = set_overrides(p->metadata, options->overrides, err);
    if (!status && options->importance)
        status = set_importance_keys(p->metadata, options->importance, err);
    return status ? status : qn_plan_set_alignment(p, options->align, err);
}
