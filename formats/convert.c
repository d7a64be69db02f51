#include "formats/convert.h"

#include <string.h>

#include "formats/gguf_split.h"

/* As it lies in the file, whatever adapters make of it. */
static qn_dtype stored_dtype(const qn_model *m, const qn_model_tensor *t)
{
    const qn_tensor *source =
        m->reader && t->source_name ? qn_reader_find(m->reader, t->source_name) : NULL;
    return source && source->lora ? source->dtype : t->rows->dtype;
}

qn_outtype qn_convert_resolve(const qn_model *m, qn_outtype t)
{
    if (t != QN_OUT_AUTO) return t;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (m->tensors[i].rank < 2) continue;
        const qn_dtype dtype = stored_dtype(m, &m->tensors[i]);
        if (dtype == QN_BF16) return QN_OUT_BF16;
        if (dtype == QN_F16) return QN_OUT_F16;
    }
    return QN_OUT_F16;
}

/* Besides one-dimensional tensors and what doesn't end in .weight: what
 * runtimes read as F32 only (conversion/base.py, prepare_tensors).  Without
 * "blk.N." and ".weight". */
static const char *const always_f32[] = {
    "ffn_gate_inp",
    "ffn_gate_inp_shexp",
    "position_embd",
    "token_types",
    "ssm_conv1d",
    "shortconv.conv",
    "time_mix_first",
    "time_mix_w1",
    "time_mix_w2",
    "time_mix_decay_w1",
    "time_mix_decay_w2",
    "time_mix_lerp_fused",
    "norm1",
    "norm2",
    "v.position_embd",
    "a.position_embd",
    "altup_correct_coef",
    "altup_predict_coef",
    "ssm_conv1d_q",
    "ssm_conv1d_k",
    "ssm_conv1d_v",
    "indexer.proj",
};

/* "ffn_gate_inp.weight" of "blk.12.ffn_gate_inp.weight". */
static const char *behind_block(const char *name)
{
    const char *p = !strncmp(name, "blk.", 4) ? name + 4 : NULL;
    if (!p && !strncmp(name, "posnet.", 7)) p = name + 7;
    if (!p) return name;
    const size_t digits = strspn(p, "0123456789");
    return digits && p[digits] == '.' ? p + digits + 1 : name;
}

bool qn_convert_stays_f32(const char *name, unsigned rank)
{
    const qn_str s = qn_str_z(name);
    if (rank <= 1 || qn_str_ends(s, "_norm.weight")) return true;
    if (!qn_str_ends(s, ".weight") && !qn_str_ends(s, ".lora_a") && !qn_str_ends(s, ".lora_b"))
        return true;
    const char *rest = behind_block(name);
    const qn_str stem = qn_str_of(rest, strlen(rest) - strlen(".weight"));
    for (size_t i = 0; i < sizeof always_f32 / sizeof *always_f32; i++)
        if (qn_str_is(stem, always_f32[i])) return true;
    return false;
}

static qn_dtype main_dtype(qn_outtype t)
{
    switch (t) {
    case QN_OUT_F32: return QN_F32;
    case QN_OUT_BF16: return QN_BF16;
    case QN_OUT_Q8_0: return QN_Q8_0;
    case QN_OUT_AUTO:
    case QN_OUT_F16: return QN_F16;
    }
    return QN_F16;
}

qn_dtype qn_convert_dtype(const qn_model_tensor *t, qn_outtype outtype)
{
    uint64_t bytes;
    if (t->stays_f32) return QN_F32;
    if (t->rows->repack) return t->rows->blocks;
    const qn_dtype dtype = main_dtype(outtype);
    return qn_dtype_row_bytes(dtype, t->rows->columns, &bytes) ? dtype : QN_F16;
}

/* llama.cpp's include/llama.h, enum llama_ftype. */
uint32_t qn_convert_file_type(const qn_model *m, qn_outtype t)
{
    for (size_t i = 0; i < m->n_tensors && t != QN_OUT_Q8_0; i++)
        if (m->tensors[i].rows->repack && m->tensors[i].rows->blocks == QN_MXFP4) return 38;
    switch (t) {
    case QN_OUT_F32: return 0;
    case QN_OUT_Q8_0: return 7;
    case QN_OUT_BF16: return 32;
    case QN_OUT_AUTO:
    case QN_OUT_F16: return 1;
    }
    return 1;
}

qn_status qn_convert_metadata(const qn_model *m, qn_outtype t, qn_metadata **out, qn_error *err)
{
    enum { QUANTIZATION_VERSION = 2 }; /* ggml's GGML_QNT_VERSION */
    qn_status status = QN_OK;
    qn_metadata *copy = qn_metadata_copy(m->metadata);
    if (!copy) return qn_fail_memory(err, "the metadata");
    qn_gguf_split_remove(copy);
    if (!m->exported)
        (void)((status = qn_metadata_set_u32(copy, "general.file_type", qn_convert_file_type(m, t),
                                             err)) ||
               (status = qn_metadata_set_u32(copy, "general.quantization_version",
                                             QUANTIZATION_VERSION, err)));
    if (status)
        qn_metadata_free(copy);
    else
        *out = copy;
    return status;
}
