/* What a tensor is for, by its name in a GGUF file: one word for the same place
 * in all architectures, which is what the mixes' rules ask.
 *
 * Source of the names: llama.cpp src/llama-quant.cpp, tensor_get_category and
 * tensor_allows_quantization. */
#ifndef QN_QUANT_TENSOR_KIND_H
#define QN_QUANT_TENSOR_KIND_H

typedef enum {
    QN_KIND_OTHER = 0,
    QN_KIND_OUTPUT,
    QN_KIND_EMBEDDING,
    QN_KIND_ATTN_V, /* and whatever holds values among others */
    QN_KIND_ATTN_K,
    QN_KIND_ATTN_Q,
    QN_KIND_ATTN_OUTPUT,
    QN_KIND_FFN_UP,
    QN_KIND_FFN_GATE,
    QN_KIND_FFN_DOWN,
    QN_KIND_LOW_RANK_Q, /* DeepSeek's attn_q_a and attn_q_b, and what joins an extra head */
    QN_KIND_COUNT
} qn_tensor_kind;

qn_tensor_kind qn_tensor_kind_of(const char *name);
const char *qn_tensor_kind_name(qn_tensor_kind kind); /* "attn_v" */

/* Why a matrix of this name is never quantized ("norm", "router"), or NULL. */
const char *qn_tensor_name_kept(const char *name, const char *architecture);

#endif
