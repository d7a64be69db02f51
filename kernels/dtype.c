#include "kernels/dtype.h"

#include <string.h>
#include <strings.h>

#include "kernels/blocks.h"

/* ggml_id: enum ggml_type in ggml.h; safetensors: Dtype in the safetensors
 * library's tensor.rs. */
static const qn_dtype_info facts[QN_DTYPE_COUNT] = {
    /* clang-format off */
    [QN_F32] = {"F32", "F32", 0, 1, sizeof(float), true},
    [QN_F16] = {"F16", "F16", 1, 1, sizeof(qn_half), true},
    [QN_BF16] = {"BF16", "BF16", 30, 1, sizeof(qn_bfloat16), true},
    [QN_F64] = {"F64", "F64", 28, 1, sizeof(double), true},
    [QN_Q4_0] = {"Q4_0", NULL, 2, 32, sizeof(qn_block_q4_0), true},
    [QN_Q4_1] = {"Q4_1", NULL, 3, 32, sizeof(qn_block_q4_1), true},
    [QN_Q5_0] = {"Q5_0", NULL, 6, 32, sizeof(qn_block_q5_0), true},
    [QN_Q5_1] = {"Q5_1", NULL, 7, 32, sizeof(qn_block_q5_1), true},
    [QN_Q8_0] = {"Q8_0", NULL, 8, 32, sizeof(qn_block_q8_0), true},
    [QN_Q8_1] = {"Q8_1", NULL, 9, 32, sizeof(qn_block_q8_1), true},
    [QN_Q2_K] = {"Q2_K", NULL, 10, 256, sizeof(qn_block_q2_k), true},
    [QN_Q3_K] = {"Q3_K", NULL, 11, 256, sizeof(qn_block_q3_k), true},
    [QN_Q4_K] = {"Q4_K", NULL, 12, 256, sizeof(qn_block_q4_k), true},
    [QN_Q5_K] = {"Q5_K", NULL, 13, 256, sizeof(qn_block_q5_k), true},
    [QN_Q6_K] = {"Q6_K", NULL, 14, 256, sizeof(qn_block_q6_k), true},
    [QN_Q8_K] = {"Q8_K", NULL, 15, 256, sizeof(qn_block_q8_k), true},
    [QN_IQ2_XXS] = {"IQ2_XXS", NULL, 16, 256, sizeof(qn_block_iq2_xxs), true},
    [QN_IQ2_XS] = {"IQ2_XS", NULL, 17, 256, sizeof(qn_block_iq2_xs), true},
    [QN_IQ3_XXS] = {"IQ3_XXS", NULL, 18, 256, sizeof(qn_block_iq3_xxs), true},
    [QN_IQ1_S] = {"IQ1_S", NULL, 19, 256, sizeof(qn_block_iq1_s), true},
    [QN_IQ4_NL] = {"IQ4_NL", NULL, 20, 32, sizeof(qn_block_iq4_nl), true},
    [QN_IQ3_S] = {"IQ3_S", NULL, 21, 256, sizeof(qn_block_iq3_s), true},
    [QN_IQ2_S] = {"IQ2_S", NULL, 22, 256, sizeof(qn_block_iq2_s), true},
    [QN_IQ4_XS] = {"IQ4_XS", NULL, 23, 256, sizeof(qn_block_iq4_xs), true},
    [QN_IQ1_M] = {"IQ1_M", NULL, 29, 256, sizeof(qn_block_iq1_m), true},
    [QN_TQ1_0] = {"TQ1_0", NULL, 34, 256, sizeof(qn_block_tq1_0), true},
    [QN_TQ2_0] = {"TQ2_0", NULL, 35, 256, sizeof(qn_block_tq2_0), true},
    [QN_MXFP4] = {"MXFP4", NULL, 39, 32, sizeof(qn_block_mxfp4), true},
    [QN_NVFP4] = {"NVFP4", NULL, 40, 64, sizeof(qn_block_nvfp4), true},
    [QN_Q1_0] = {"Q1_0", NULL, 41, 128, sizeof(qn_block_q1_0), true},
    [QN_Q2_0] = {"Q2_0", NULL, 42, 64, sizeof(qn_block_q2_0), true},
    [QN_I8] = {"I8", "I8", 24, 1, sizeof(int8_t), false},
    [QN_I16] = {"I16", "I16", 25, 1, sizeof(int16_t), false},
    [QN_I32] = {"I32", "I32", 26, 1, sizeof(int32_t), false},
    [QN_I64] = {"I64", "I64", 27, 1, sizeof(int64_t), false},
    [QN_U8] = {"U8", "U8", -1, 1, sizeof(uint8_t), false},
    [QN_U16] = {"U16", "U16", -1, 1, sizeof(uint16_t), false},
    [QN_U32] = {"U32", "U32", -1, 1, sizeof(uint32_t), false},
    [QN_U64] = {"U64", "U64", -1, 1, sizeof(uint64_t), false},
    [QN_BOOL] = {"BOOL", "BOOL", -1, 1, sizeof(uint8_t), false},
    [QN_F8_E4M3] = {"F8_E4M3", "F8_E4M3", -1, 1, sizeof(uint8_t), true},
    [QN_F8_E5M2] = {"F8_E5M2", "F8_E5M2", -1, 1, sizeof(uint8_t), true},
    [QN_F8_E8M0] = {"F8_E8M0", "F8_E8M0", -1, 1, sizeof(uint8_t), true},
    [QN_F4] = {"F4", "F4", -1, 2, sizeof(uint8_t), true},
    [QN_C64] = {"C64", "C64", -1, 1, sizeof(float[2]), false},
    /* clang-format on */
};

const qn_dtype_info *qn_dtype_facts(qn_dtype t)
{
    return &facts[t];
}

bool qn_dtype_by_name(const char *name, qn_dtype *out)
{
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        if (strcasecmp(facts[t].name, name) != 0) continue;
        *out = (qn_dtype)t;
        return true;
    }
    return false;
}

bool qn_dtype_by_ggml(uint32_t id, qn_dtype *out)
{
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        if (facts[t].ggml_id < 0 || (uint32_t)facts[t].ggml_id != id) continue;
        *out = (qn_dtype)t;
        return true;
    }
    return false;
}

bool qn_dtype_by_safetensors(const char *name, qn_dtype *out)
{
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        if (!facts[t].safetensors || strcmp(facts[t].safetensors, name) != 0) continue;
        *out = (qn_dtype)t;
        return true;
    }
    return false;
}

bool qn_dtype_row_bytes(qn_dtype t, uint64_t n, uint64_t *out)
{
    const uint64_t blocks = n / facts[t].block_len;
    if (n % facts[t].block_len != 0 || blocks > UINT64_MAX / facts[t].block_bytes) return false;
    *out = blocks * facts[t].block_bytes;
    return true;
}
