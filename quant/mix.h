/* What llama-quantize calls a type: a mix of tensor types with a name and a
 * number.  Which tensor gets which type is in mix_rules.h. */
#ifndef QN_QUANT_MIX_H
#define QN_QUANT_MIX_H

#include "kernels/dtype.h"

/* general.file_type in a GGUF file: llama.cpp's include/llama.h, enum llama_ftype.
 * 4 to 6 and 33 to 35 are retired; 39 (NVFP4) cannot be asked for there. */
enum {
    QN_MIX_F32 = 0,
    QN_MIX_F16 = 1,
    QN_MIX_Q4_0 = 2,
    QN_MIX_Q4_1 = 3,
    QN_MIX_Q8_0 = 7,
    QN_MIX_Q5_0 = 8,
    QN_MIX_Q5_1 = 9,
    QN_MIX_Q2_K = 10,
    QN_MIX_Q3_K_S = 11,
    QN_MIX_Q3_K_M = 12,
    QN_MIX_Q3_K_L = 13,
    QN_MIX_Q4_K_S = 14,
    QN_MIX_Q4_K_M = 15,
    QN_MIX_Q5_K_S = 16,
    QN_MIX_Q5_K_M = 17,
    QN_MIX_Q6_K = 18,
    QN_MIX_IQ2_XXS = 19,
    QN_MIX_IQ2_XS = 20,
    QN_MIX_Q2_K_S = 21,
    QN_MIX_IQ3_XS = 22,
    QN_MIX_IQ3_XXS = 23,
    QN_MIX_IQ1_S = 24,
    QN_MIX_IQ4_NL = 25,
    QN_MIX_IQ3_S = 26,
    QN_MIX_IQ3_M = 27,
    QN_MIX_IQ2_S = 28,
    QN_MIX_IQ2_M = 29,
    QN_MIX_IQ4_XS = 30,
    QN_MIX_IQ1_M = 31,
    QN_MIX_BF16 = 32,
    QN_MIX_TQ1_0 = 36,
    QN_MIX_TQ2_0 = 37,
    QN_MIX_MXFP4_MOE = 38,
    QN_MIX_Q1_0 = 40,
    QN_MIX_Q2_0 = 41
};

/* The mix COPY: every tensor stays what it is, and so does the number. */
#define QN_MIX_COPY UINT32_MAX

typedef struct {
    const char *name;   /* "Q4_K_M" */
    uint32_t file_type; /* as above */
    qn_dtype dtype;     /* of tensors without a rule */
    double bits;        /* a weight of Llama 3 8B takes, all tensors counted; COPY: 0 */
    const char *help;
} qn_mix;

/* By name in any case, llama-quantize's aliases included ("Q4_K" is Q4_K_M);
 * NULL: unknown. */
const qn_mix *qn_mix_by_name(const char *name);
const qn_mix *qn_mix_at(size_t i); /* NULL past the last: for help and errors */

#endif
