/* The mixes: which type a tensor of a kind gets, as a table of llama-quantize's
 * rules.  Source of the facts: llama.cpp src/llama-quant.cpp,
 * llama_tensor_get_type_impl and tensor_type_fallback. */
#ifndef QN_QUANT_MIX_RULES_H
#define QN_QUANT_MIX_RULES_H

#include "quant/mix.h"
#include "quant/tensor_kind.h"

/* What rules ask of a model ... */
enum {
    QN_TRAIT_FALCON = 1 << 0,
    QN_TRAIT_BAILINGMOE3 = 1 << 1,
    QN_TRAIT_GLM5_NEXT = 1 << 2,
    QN_TRAIT_FOUR_EXPERTS = 1 << 3,  /* or more */
    QN_TRAIT_EIGHT_EXPERTS = 1 << 4, /* exactly */
    QN_TRAIT_FOUR_QUERIES = 1 << 5,  /* or more share a key and a value head */
    QN_TRAIT_70B = 1 << 6,           /* llama.cpp's LLM_TYPE_70B */
    QN_TRAIT_IMPORTANCE = 1 << 7,    /* a matrix was given, whatever is in it */
    /* ... and of a tensor */
    QN_TRAIT_HEAD = 1 << 8,        /* output.weight, or the token embedding in its place */
    QN_TRAIT_MATRICES = 1 << 9,    /* several side by side: experts */
    QN_TRAIT_PART_BLOCKS = 1 << 10 /* rows are not whole blocks of the mix's type */
};

/* i of n: the tensor's place among its kind, or its layer. */
qn_dtype qn_mix_rule(const qn_mix *mix, qn_tensor_kind kind, unsigned traits, uint64_t i,
                     uint64_t n);

/* Of the six mixes below 3 bits named IQ1 and IQ2, whose ffn_down are counted in
 * the order of the file even where there are experts. */
bool qn_mix_is_low(const qn_mix *mix);

/* The type of smaller blocks that takes over in rows that are not whole blocks;
 * F16 where those do not fit either.  Types for which llama-quantize gives up
 * (Q1_0, NVFP4) become Q4_0. */
qn_dtype qn_fitting_type(qn_dtype t, uint64_t columns);

/* Whether this type is worthless for a tensor of this kind without importance:
 * llama-quantize refuses it then. */
bool qn_needs_importance(const qn_mix *mix, qn_tensor_kind kind, qn_dtype t);

#endif
