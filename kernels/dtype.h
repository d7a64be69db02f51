/* Every encoding of tensor elements the project knows, and the facts about
 * each: one table (dtype.c), sizes by sizeof.  What can be done with an
 * encoding (decode, encode) is in kernels.h. */
#ifndef QN_KERNELS_DTYPE_H
#define QN_KERNELS_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In-memory numbers only: files carry ggml_id or the safetensors name. */
typedef enum {
    QN_F32 = 0,
    QN_F16,
    QN_BF16,
    QN_F64,
    QN_Q4_0,
    QN_Q4_1,
    QN_Q5_0,
    QN_Q5_1,
    QN_Q8_0,
    QN_Q8_1,
    QN_Q2_K,
    QN_Q3_K,
    QN_Q4_K,
    QN_Q5_K,
    QN_Q6_K,
    QN_Q8_K,
    QN_IQ2_XXS,
    QN_IQ2_XS,
    QN_IQ3_XXS,
    QN_IQ1_S,
    QN_IQ4_NL,
    QN_IQ3_S,
    QN_IQ2_S,
    QN_IQ4_XS,
    QN_IQ1_M,
    QN_TQ1_0,
    QN_TQ2_0,
    QN_MXFP4,
    QN_NVFP4,
    QN_Q1_0,
    QN_Q2_0,
    QN_I8,
    QN_I16,
    QN_I32,
    QN_I64,
    QN_U8,
    QN_U16,
    QN_U32,
    QN_U64,
    QN_BOOL,
    QN_F8_E4M3,
    QN_F8_E5M2,
    QN_F8_E8M0,
    QN_F4,
    QN_C64,
    QN_DTYPE_COUNT
} qn_dtype;

/* Facts about one encoding.  A block is block_len elements in block_bytes
 * bytes; rows are whole blocks and never share one. */
typedef struct {
    const char *name;        /* "Q4_K": as on the command line and in reports */
    const char *safetensors; /* name in a safetensors header; NULL: not there */
    int16_t ggml_id;         /* type number in a GGUF file; -1: not there */
    uint16_t block_len;
    uint16_t block_bytes;
    bool is_float; /* its elements are real numbers that can become float32 */
} qn_dtype_info;

/* Never NULL for a valid t. */
const qn_dtype_info *qn_dtype_facts(qn_dtype t);

/* Several elements share bytes, so that one of them alone cannot be written. */
static inline bool qn_dtype_is_blocks(qn_dtype t)
{
    return qn_dtype_facts(t)->block_len > 1;
}

/* Look-ups by name (any case; "Q4_K", "bf16"), by ggml number, by safetensors
 * name (exact).  False, and *out untouched, when there is none. */
bool qn_dtype_by_name(const char *name, qn_dtype *out);
bool qn_dtype_by_ggml(uint32_t id, qn_dtype *out);
bool qn_dtype_by_safetensors(const char *name, qn_dtype *out);

/* Bytes of a row of n elements in *out.  False when n is not a whole number
 * of blocks or the result does not fit: nothing is written then. */
bool qn_dtype_row_bytes(qn_dtype t, uint64_t n, uint64_t *out);

#endif
