#include "quant/mix.h"

#include <strings.h>

/* By size, largest first, as the help prints it; a star: some of its tensors need
 * importance.  The bits are those of the plan for Llama 3 8B. */
static const qn_mix mixes[] = {
    {"F32", QN_MIX_F32, QN_F32, 32, "nothing is lost"},
    {"BF16", QN_MIX_BF16, QN_BF16, 16, "the range of F32, 8 bits of precision"},
    {"F16", QN_MIX_F16, QN_F16, 16, "11 bits of precision, values up to 65504"},
    {"Q8_0", QN_MIX_Q8_0, QN_Q8_0, 8.5, "next to no loss"},
    {"MXFP4_MOE", QN_MIX_MXFP4_MOE, QN_MXFP4, 8.5,
     "experts in MXFP4 (4.25 bits), everything else in Q8_0"},
    {"Q6_K", QN_MIX_Q6_K, QN_Q6_K, 6.56, "hardly any loss"},
    {"Q5_1", QN_MIX_Q5_1, QN_Q5_1, 6.04, "scale and minimum per 32"},
    {"Q5_K_M", QN_MIX_Q5_K_M, QN_Q5_K, 5.7, "Q5_K, half of attn_v and ffn_down in Q6_K"},
    {"Q5_K_S", QN_MIX_Q5_K_S, QN_Q5_K, 5.57, "Q5_K: super-blocks of 256, scale and minimum per 32"},
    {"Q5_0", QN_MIX_Q5_0, QN_Q5_0, 5.57, "scale per 32"},
    {"Q4_1", QN_MIX_Q4_1, QN_Q4_1, 5.1, "scale and minimum per 32"},
    {"Q4_K_M", QN_MIX_Q4_K_M, QN_Q4_K, 4.89,
     "Q4_K, half of attn_v and ffn_down in Q6_K: the usual choice"},
    {"IQ4_NL", QN_MIX_IQ4_NL, QN_IQ4_NL, 4.68, "16 levels, denser near 0, scale per 32"},
    {"Q4_K_S", QN_MIX_Q4_K_S, QN_Q4_K, 4.67, "Q4_K, the first attn_v and ffn_down in Q5_K"},
    {"Q4_0", QN_MIX_Q4_0, QN_Q4_0, 4.64, "scale per 32: the fastest to run"},
    {"IQ4_XS", QN_MIX_IQ4_XS, QN_IQ4_XS, 4.46, "the levels of IQ4_NL in super-blocks of 256"},
    {"Q3_K_L", QN_MIX_Q3_K_L, QN_Q3_K, 4.3, "Q3_K, attn_v, attn_output and ffn_down in Q5_K"},
    {"Q3_K_M", QN_MIX_Q3_K_M, QN_Q3_K, 4, "Q3_K, attn_v, attn_output and ffn_down in Q4_K"},
    {"IQ3_M", QN_MIX_IQ3_M, QN_IQ3_S, 3.76,
     "IQ3_S, attn_v, attn_output and the first ffn_down in Q4_K"},
    {"IQ3_S", QN_MIX_IQ3_S, QN_IQ3_S, 3.66, "points of a lattice of 512 in 4 dimensions"},
    {"Q3_K_S", QN_MIX_Q3_K_S, QN_Q3_K, 3.64, "Q3_K: super-blocks of 256, scale per 16"},
    {"IQ3_XS", QN_MIX_IQ3_XS, QN_IQ3_S, 3.5,
     "IQ3_S, attn_q, attn_k and inner ffn_gate, ffn_up in IQ3_XXS *"},
    {"IQ3_XXS", QN_MIX_IQ3_XXS, QN_IQ3_XXS, 3.25,
     "a lattice of 256 in 4 dimensions, attn_q, attn_k in IQ2_S *"},
    {"Q2_K", QN_MIX_Q2_K, QN_Q2_K, 3.16, "Q2_K, attn_v, attn_output and ffn_down in Q3_K or Q4_K"},
    {"Q2_K_S", QN_MIX_Q2_K_S, QN_Q2_K, 2.97, "Q2_K, the first ffn_down in Q4_K *"},
    {"IQ2_M", QN_MIX_IQ2_M, QN_IQ2_S, 2.93, "IQ2_S, attn_v, attn_output in Q4_K, IQ3_S *"},
    {"IQ2_S", QN_MIX_IQ2_S, QN_IQ2_XS, 2.74, "IQ2_XS, attn_v, attn_output in Q4_K, IQ3_S *"},
    {"Q2_0", QN_MIX_Q2_0, QN_Q2_0, 2.68, "-1, 0, 1 or 2 times a scale per 64"},
    {"IQ2_XS", QN_MIX_IQ2_XS, QN_IQ2_XS, 2.59, "a lattice of 512 in 8 dimensions *"},
    {"TQ2_0", QN_MIX_TQ2_0, QN_TQ2_0, 2.52, "-1, 0 or 1 times a scale: for weights that are so"},
    {"IQ2_XXS", QN_MIX_IQ2_XXS, QN_IQ2_XXS, 2.38, "a lattice of 256 in 8 dimensions *"},
    {"TQ1_0", QN_MIX_TQ1_0, QN_TQ1_0, 2.19, "likewise, five weights in a byte"},
    {"IQ1_M", QN_MIX_IQ1_M, QN_IQ1_M, 2.15, "a lattice of 2048 in 8 dimensions, scale per 16 *"},
    {"IQ1_S", QN_MIX_IQ1_S, QN_IQ1_S, 2, "a lattice of 2048 in 8 dimensions, scale per 32 *"},
    {"Q1_0", QN_MIX_Q1_0, QN_Q1_0, 1.48, "a sign times a scale per 128"},
    {"COPY", QN_MIX_COPY, QN_F32, 0, "every tensor stays what it is"},
};

static const struct {
    const char *name, *means;
} aliases[] = {
    {"Q5_K", "Q5_K_M"},
    {"Q4_K", "Q4_K_M"},
    {"Q3_K", "Q3_K_M"},
};

enum { N_MIXES = sizeof mixes / sizeof *mixes, N_ALIASES = sizeof aliases / sizeof *aliases };

const qn_mix *qn_mix_at(size_t i)
{
    return i < N_MIXES ? &mixes[i] : NULL;
}

const qn_mix *qn_mix_by_name(const char *name)
{
    for (size_t i = 0; i < N_ALIASES; i++)
        if (!strcasecmp(name, aliases[i].name)) name = aliases[i].means;
    for (size_t i = 0; i < N_MIXES; i++)
        if (!strcasecmp(name, mixes[i].name)) return &mixes[i];
    return NULL;
}
