#include "quant/mix_rules.h"

/* ---- places ------------------------------------------------------------------- */

static bool always(uint64_t i, uint64_t n)
{
    (void)i, (void)n;
    return true;
}
static bool first_two(uint64_t i, uint64_t n)
{
    (void)n;
    return i < 2;
}
static bool first_four(uint64_t i, uint64_t n)
{
    (void)n;
    return i < 4;
}
static bool first_eighth(uint64_t i, uint64_t n)
{
    return i < n / 8;
}
static bool first_sixteenth(uint64_t i, uint64_t n)
{
    return i < n / 16;
}
static bool inner(uint64_t i, uint64_t n)
{
    return i >= n / 8 && i < 7 * n / 8;
}

/* Early and late layers lose most, and of the rest every third gets more bits,
 * too: half of the layers in all. */
static bool sensitive(uint64_t i, uint64_t n)
{
    return !inner(i, n) || (i - n / 8) % 3 == 2;
}

/* ---- the rules ---------------------------------------------------------------- */

#define MIX(name) (UINT64_C(1) << QN_MIX_##name)
#define EVERY UINT64_MAX
#define IQ1 (MIX(IQ1_S) | MIX(IQ1_M))
#define IQ2 (MIX(IQ2_XXS) | MIX(IQ2_XS))
#define IQ2_FINE (MIX(IQ2_S) | MIX(IQ2_M))
#define LOW (IQ1 | IQ2 | IQ2_FINE)

enum {
    FALCON = QN_TRAIT_FALCON,
    FOUR_EXPERTS = QN_TRAIT_FOUR_EXPERTS,
    EIGHT_EXPERTS = QN_TRAIT_EIGHT_EXPERTS,
    FOUR_QUERIES = QN_TRAIT_FOUR_QUERIES,
    IMPORTANCE = QN_TRAIT_IMPORTANCE,
};

/* A type for tensors of these mixes, in models with the one traits and without
 * the others, at these places. */
typedef struct {
    qn_dtype dtype;
    uint64_t mixes;
    unsigned with, without;
    bool (*where)(uint64_t i, uint64_t n);
} rule;

/* Of a kind's list the first that fits counts; without one the type is the
 * mix's own. */

/* The head turns one vector into a choice among the whole vocabulary: it is the
 * last tensor to save bits on. */
static const rule head[] = {
    {QN_Q8_0, MIX(MXFP4_MOE), 0, 0, always},
    {QN_Q8_0, EVERY, FALCON, 0, always},
    {QN_Q8_0, EVERY, QN_TRAIT_PART_BLOCKS, 0, always},
    {QN_Q5_K, LOW | MIX(IQ3_XXS), 0, 0, always},
    {QN_Q6_K, ~MIX(Q8_0), 0, 0, always},
};

static const rule embedding[] = {
    {QN_Q2_K, IQ1 | IQ2, 0, 0, always},
    {QN_IQ3_S, IQ2_FINE | MIX(IQ3_XXS), 0, 0, always},
    {QN_Q4_K, MIX(TQ1_0) | MIX(TQ2_0) | MIX(Q2_0), 0, 0, always},
};

static const rule attn_v[] = {
    {QN_Q4_K, LOW, FOUR_QUERIES, 0, always},
    {QN_Q4_K, LOW, FOUR_EXPERTS, 0, always},
    {QN_IQ3_S, IQ2_FINE, 0, 0, always},
    {QN_Q2_K, IQ1 | IQ2, 0, 0, always},
    {QN_Q8_0, EVERY, EIGHT_EXPERTS, 0, always},

    {QN_Q4_K, MIX(Q2_K) | MIX(Q2_K_S) | MIX(IQ3_XXS) | MIX(IQ3_XS) | MIX(IQ3_S), FOUR_QUERIES, 0,
     always},
    {QN_Q3_K, MIX(Q2_K), 0, 0, always},
    {QN_IQ3_S, MIX(IQ3_XXS), 0, IMPORTANCE, always},
    {QN_Q5_K, MIX(Q3_K_M), 0, 0, first_two},
    {QN_Q4_K, MIX(Q3_K_M) | MIX(IQ3_M), 0, 0, always},
    {QN_Q5_K, MIX(Q3_K_L), 0, 0, always},
    {QN_Q5_K, MIX(IQ4_NL) | MIX(IQ4_XS), FOUR_QUERIES, 0, always},
    {QN_Q6_K, MIX(Q4_K_M) | MIX(Q5_K_M), 0, 0, sensitive},
    {QN_Q5_K, MIX(Q4_K_S), 0, 0, first_four},
};

static const rule attn_k[] = {
    {QN_Q4_K, LOW, EIGHT_EXPERTS, 0, always},
    {QN_Q8_0, ~LOW, EIGHT_EXPERTS, 0, always},
    {QN_IQ3_XXS, MIX(IQ3_XS), 0, 0, always},
    {QN_IQ2_S, MIX(IQ3_XXS), 0, 0, always},
};

static const rule attn_q[] = {
    {QN_IQ3_XXS, MIX(IQ3_XS), 0, 0, always},
    {QN_IQ2_S, MIX(IQ3_XXS), 0, 0, always},
};

static const rule attn_output[] = {
    {QN_Q5_K, LOW, EIGHT_EXPERTS, 0, always},
    {QN_IQ2_XXS, IQ1, 0, 0, always},
    {QN_IQ3_S, IQ2_FINE, 0, 0, always},

    {QN_Q5_K,
     MIX(Q2_K) | MIX(IQ3_XS) | MIX(IQ3_XXS) | MIX(Q3_K_S) | MIX(Q3_K_M) | MIX(IQ4_NL) |
         MIX(Q4_K_S) | MIX(Q4_K_M) | MIX(IQ3_S) | MIX(IQ3_M) | MIX(IQ4_XS),
     EIGHT_EXPERTS, FALCON, always},
    {QN_Q3_K, MIX(Q2_K), 0, FALCON | EIGHT_EXPERTS, always},
    {QN_IQ3_S, MIX(IQ3_XXS), 0, FALCON | EIGHT_EXPERTS, always},
    {QN_Q4_K, MIX(Q3_K_M) | MIX(IQ3_M), 0, FALCON | EIGHT_EXPERTS, always},
    {QN_Q5_K, MIX(Q3_K_L), 0, FALCON | EIGHT_EXPERTS, always},
    {QN_Q4_K, MIX(Q3_K_L), FALCON, 0, always},
};

static const rule ffn_down[] = {
    {QN_IQ3_S, IQ2_FINE, 0, 0, first_eighth},
    {QN_Q2_K, IQ1 | IQ2, 0, 0, first_eighth},

    {QN_Q3_K, MIX(Q2_K), 0, 0, always},
    {QN_Q4_K, MIX(Q2_K_S), 0, 0, first_eighth},
    {QN_Q4_K, MIX(IQ3_XXS), 0, IMPORTANCE, first_eighth},
    {QN_Q3_K, MIX(IQ3_XXS), 0, IMPORTANCE, always},
    {QN_Q5_K, MIX(Q3_K_M), 0, 0, first_sixteenth},
    {QN_Q4_K, MIX(Q3_K_M), 0, FALCON, always},
    {QN_Q4_K, MIX(Q3_K_M), FALCON, 0, sensitive},
    {QN_Q4_K, MIX(IQ3_M), 0, 0, first_eighth},
    {QN_Q4_K, MIX(IQ3_M), EIGHT_EXPERTS, 0, sensitive},
    {QN_Q4_K, MIX(Q3_K_L), FALCON, 0, always},
    {QN_Q5_K, MIX(Q3_K_L), 0, 0, always},
    {QN_Q6_K, MIX(Q4_K_M), FALCON, 0, first_sixteenth},
    {QN_Q5_K, MIX(Q4_K_M), FALCON, 0, sensitive},
    {QN_Q6_K, MIX(Q4_K_M), 0, FALCON, sensitive},
    {QN_Q5_K, MIX(IQ4_NL) | MIX(IQ4_XS), 0, IMPORTANCE, first_eighth},
    {QN_Q6_K, MIX(Q5_K_M), 0, 0, sensitive},
    {QN_Q5_K, MIX(Q4_K_S), 0, FALCON, first_eighth},
    /* importance can lead 4 and 5 bits astray there */
    {QN_Q4_1, MIX(Q4_0), IMPORTANCE, 0, first_eighth},
    {QN_Q5_1, MIX(Q5_0), IMPORTANCE, 0, first_eighth},
};

static const rule ffn_in[] = {
    {QN_IQ3_XXS, MIX(IQ3_XS), 0, 0, inner},
};

static const rule low_rank_q[] = {
    {QN_Q8_0, EVERY, QN_TRAIT_GLM5_NEXT, 0, always},
};

typedef struct {
    const rule *at;
    size_t n;
} rules;

#define RULES(list)                         \
    {                                       \
        list, sizeof(list) / sizeof *(list) \
    }

static const rules of_head = RULES(head);
static const rules of_kind[QN_KIND_COUNT] = {
    [QN_KIND_EMBEDDING] = RULES(embedding),     [QN_KIND_ATTN_V] = RULES(attn_v),
    [QN_KIND_ATTN_K] = RULES(attn_k),           [QN_KIND_ATTN_Q] = RULES(attn_q),
    [QN_KIND_ATTN_OUTPUT] = RULES(attn_output), [QN_KIND_FFN_UP] = RULES(ffn_in),
    [QN_KIND_FFN_GATE] = RULES(ffn_in),         [QN_KIND_FFN_DOWN] = RULES(ffn_down),
    [QN_KIND_LOW_RANK_Q] = RULES(low_rank_q),
};

static qn_dtype by_rules(rules list, const qn_mix *mix, unsigned traits, uint64_t i, uint64_t n)
{
    for (const rule *r = list.at; r < list.at + list.n; r++)
        if (r->mixes >> mix->file_type & 1 && !(r->with & ~traits) && !(r->without & traits) &&
            r->where(i, n))
            return r->dtype;
    return mix->dtype;
}

/* Experts are matrices side by side in one tensor; but so are other projections
 * of bailingmoe3, where the names decide. */
static qn_dtype mxfp4_moe(qn_tensor_kind kind, unsigned traits)
{
    const bool ffn = kind == QN_KIND_FFN_UP || kind == QN_KIND_FFN_GATE || kind == QN_KIND_FFN_DOWN;
    const bool experts = traits & QN_TRAIT_MATRICES && (ffn || !(traits & QN_TRAIT_BAILINGMOE3));
    return experts ? QN_MXFP4 : QN_Q8_0;
}

bool qn_mix_is_low(const qn_mix *mix)
{
    return (LOW) >> mix->file_type & 1;
}

qn_dtype qn_mix_rule(const qn_mix *mix, qn_tensor_kind kind, unsigned traits, uint64_t i,
                     uint64_t n)
{
    if (traits & QN_TRAIT_HEAD) return by_rules(of_head, mix, traits, 0, 0);
    if (mix->file_type == QN_MIX_MXFP4_MOE) return mxfp4_moe(kind, traits);
    const qn_dtype t = by_rules(of_kind[kind], mix, traits, i, n);
    /* Eight query heads share a value head there: attn_v is small. */
    if (kind == QN_KIND_ATTN_V && traits & QN_TRAIT_70B && !qn_mix_is_low(mix) &&
        (t == QN_Q3_K || t == QN_Q4_K))
        return QN_Q5_K;
    return t;
}

/* ---- rows that are not whole blocks ------------------------------------------- */

static qn_dtype smaller_blocks(qn_dtype t)
{
    switch (t) {
    case QN_IQ1_S:
    case QN_IQ1_M:
    case QN_IQ2_XXS:
    case QN_IQ2_XS:
    case QN_IQ2_S:
    case QN_IQ3_XXS:
    case QN_IQ3_S:
    case QN_IQ4_XS: return QN_IQ4_NL;
    case QN_Q1_0:
    case QN_Q2_0:
    case QN_NVFP4:
    case QN_Q2_K:
    case QN_Q3_K:
    case QN_TQ1_0:
    case QN_TQ2_0: return QN_Q4_0;
    case QN_Q4_K: return QN_Q5_0;
    case QN_Q5_K: return QN_Q5_1;
    case QN_Q6_K: return QN_Q8_0;
    default: return QN_F16;
    }
}

static bool fits(qn_dtype t, uint64_t columns)
{
    return columns % qn_dtype_facts(t)->block_len == 0;
}

qn_dtype qn_fitting_type(qn_dtype t, uint64_t columns)
{
    if (fits(t, columns)) return t;
    t = smaller_blocks(t);
    return fits(t, columns) ? t : QN_F16;
}

/* ---- importance --------------------------------------------------------------- */

bool qn_needs_importance(const qn_mix *mix, qn_tensor_kind kind, qn_dtype t)
{
    if (kind == QN_KIND_OUTPUT || kind == QN_KIND_EMBEDDING) return false;
    switch (t) {
    case QN_IQ1_S:
    case QN_IQ1_M:
    case QN_IQ2_XXS:
    case QN_IQ2_XS:
    case QN_IQ2_S:
    case QN_IQ3_XXS: return true;
    case QN_Q2_K: return mix->file_type == QN_MIX_Q2_K_S;
    default: return false;
    }
}
