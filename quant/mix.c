#include "quant/plan.h"

#include <strings.h>

/* Names and numbers are llama.cpp's (include/llama.h, enum llama_ftype); the
 * order is by size, largest first, as the help prints it. */
static const qn_mix mixes[] = {
    {"F32", 0, QN_F32, "32 bits: nothing is lost"},
    {"BF16", 32, QN_BF16, "16 bits: the range of F32, 8 bits of precision"},
    {"F16", 1, QN_F16, "16 bits: 11 bits of precision, values up to 65504"},
    {"Q8_0", 7, QN_Q8_0, "8.5 bits: next to no loss"},
    {"Q6_K", 18, QN_Q6_K, "6.6 bits: hardly any loss"},
    {"Q5_1", 9, QN_Q5_1, "6 bits: scale and minimum per 32"},
    {"Q5_K_M", 17, QN_Q5_K, "5.5 bits, half of attn_v and ffn_down in Q6_K"},
    {"Q5_K_S", 16, QN_Q5_K, "5.5 bits"},
    {"Q5_0", 8, QN_Q5_0, "5.5 bits: scale per 32"},
    {"Q4_1", 3, QN_Q4_1, "5 bits: scale and minimum per 32"},
    {"Q4_K_M", 15, QN_Q4_K, "4.5 bits, half of attn_v and ffn_down in Q6_K: the usual choice"},
    {"Q4_K_S", 14, QN_Q4_K, "4.5 bits, the first attn_v and ffn_down in Q5_K"},
    {"Q4_0", 2, QN_Q4_0, "4.5 bits: scale per 32, the fastest to run"},
    {"COPY", QN_MIX_COPY, QN_F32, "every tensor stays what it is"},
};

static const struct {
    const char *name, *means;
} aliases[] = {
    {"Q5_K", "Q5_K_M"},
    {"Q4_K", "Q4_K_M"},
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
