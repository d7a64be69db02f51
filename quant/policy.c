#include "quant/policy.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What a tensor is by its name; broad on purpose: one word for the same place
 * in all architectures. */
typedef enum {
    OUTPUT,
    EMBEDDING,
    ATTN_V, /* and whatever holds values among others */
    ATTN_K,
    ATTN_Q,
    ATTN_OUTPUT,
    FFN_UP,
    FFN_GATE,
    FFN_DOWN,
    OTHER
} category;

static const char *const category_names[] = {
    [OUTPUT] = "output",     [EMBEDDING] = "token embedding",
    [ATTN_V] = "attn_v",     [ATTN_K] = "attn_k",
    [ATTN_Q] = "attn_q",     [ATTN_OUTPUT] = "attn_output",
    [FFN_UP] = "ffn_up",     [FFN_GATE] = "ffn_gate",
    [FFN_DOWN] = "ffn_down", [OTHER] = "other",
};

typedef enum { IS, CONTAINS } match_kind;

static bool matches(const char *name, match_kind kind, const char *text)
{
    return kind == IS ? !strcmp(name, text) : strstr(name, text) != NULL;
}

static category category_of(const char *name)
{
    static const struct {
        const char *text;
        match_kind kind;
        category what;
    } names[] = {
        {"output.weight", IS, OUTPUT},
        {"token_embd.weight", IS, EMBEDDING},
        {"per_layer_token_embd.weight", IS, EMBEDDING},
        {"attn_qkv.weight", CONTAINS, ATTN_V},
        {"attn_kv_b.weight", CONTAINS, ATTN_V},
        {"attn_v.weight", CONTAINS, ATTN_V},
        {"attn_k.weight", CONTAINS, ATTN_K},
        {"attn_q.weight", CONTAINS, ATTN_Q},
        {"attn_output.weight", CONTAINS, ATTN_OUTPUT},
        {"ffn_up", CONTAINS, FFN_UP},
        {"ffn_gate", CONTAINS, FFN_GATE},
        {"ffn_down", CONTAINS, FFN_DOWN},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (matches(name, names[i].kind, names[i].text)) return names[i].what;
    return OTHER;
}

/* ---- what is left alone ------------------------------------------------------- */

static const struct {
    match_kind kind;
    const char *text, *why;
} kept_names[] = {
    {CONTAINS, "_norm.weight", "norm"},
    {CONTAINS, "ffn_gate_inp.weight", "router"},
    {CONTAINS, "ffn_gate_tid2eid.weight", "routing table"},
    {CONTAINS, "altup", "small"},
    {CONTAINS, "laurel", "small"},
    {CONTAINS, "per_layer_model_proj", "small"},
    {IS, "position_embd.weight", "positions"},
    {IS, "token_types.weight", "token types"},
    {CONTAINS, "ssm_conv1d", "convolution"},
    {CONTAINS, "shortconv.conv.weight", "convolution"},
    {CONTAINS, "indexer.k_proj.weight", "small"},
    {CONTAINS, "indexer.q_proj.weight", "small"},
    {CONTAINS, "attn_rel_b.weight", "positions"},
    {CONTAINS, ".position_embd", "positions"},
    {CONTAINS, "sam.pos_embd", "positions"},
    {CONTAINS, "sam.neck.", "image encoder"},
    {CONTAINS, "sam.net_", "image encoder"},
    {CONTAINS, ".rel_pos", "positions"},
    {CONTAINS, ".patch_embd", "image patches"},
    {CONTAINS, ".patch_merger", "image patches"},
    {CONTAINS, "a.rvq.codebook", "codebook"},
    {CONTAINS, "mm.a.code_embd", "codebook"},
    {CONTAINS, "time_mix_first.weight", "small"},
    {CONTAINS, "time_mix_w0.weight", "small"},
    {CONTAINS, "time_mix_w1.weight", "small"},
    {CONTAINS, "time_mix_w2.weight", "small"},
    {CONTAINS, "time_mix_v0.weight", "small"},
    {CONTAINS, "time_mix_v1.weight", "small"},
    {CONTAINS, "time_mix_v2.weight", "small"},
    {CONTAINS, "time_mix_a0.weight", "small"},
    {CONTAINS, "time_mix_a1.weight", "small"},
    {CONTAINS, "time_mix_a2.weight", "small"},
    {CONTAINS, "time_mix_g1.weight", "small"},
    {CONTAINS, "time_mix_g2.weight", "small"},
    {CONTAINS, "time_mix_decay_w1.weight", "small"},
    {CONTAINS, "time_mix_decay_w2.weight", "small"},
    {CONTAINS, "time_mix_lerp_fused.weight", "small"},
};

/* GGUF drops outer dimensions of size 1: [1, 4096] is a vector. */
static bool is_vector(const qn_model_tensor *t)
{
    for (unsigned i = 0; i + 1 < t->rank; i++)
        if (t->dims[i] != 1) return false;
    return true;
}

/* Why a tensor is not quantized, or NULL. */
static const char *why_kept(const qn_policy *p, const qn_model_tensor *t)
{
    static const char suffix[] = "weight";
    if (p->options->mix->file_type == QN_MIX_COPY) return "copy";
    if (!qn_dtype_facts(t->rows->dtype)->is_float) return qn_dtype_facts(t->rows->dtype)->name;
    if (is_vector(t)) return "1-D";
    if (p->generic) return NULL;
    size_t n = strlen(t->name);
    if (n < sizeof suffix - 1 || strcmp(t->name + n - (sizeof suffix - 1), suffix) != 0)
        return "not a weight";
    if (p->options->leave_output_tensor && category_of(t->name) == OUTPUT) return "output";
    for (size_t i = 0; i < sizeof kept_names / sizeof *kept_names; i++)
        if (matches(t->name, kept_names[i].kind, kept_names[i].text)) return kept_names[i].why;
    return NULL;
}

/* ---- the mixes ---------------------------------------------------------------- */

/* Early and late layers lose most, and of the rest every third gets more bits,
 * too: half of the layers in all. */
static bool is_sensitive(uint64_t i, uint64_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static bool always(uint64_t i, uint64_t n)
{
    (void)i, (void)n;
    return true;
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

/* Which models a rule speaks of, as bits. */
enum {
    FALCON = 1,
    NOT_FALCON = 2,
    EIGHT_EXPERTS = 4,
};

#define MIX(number) (UINT64_C(1) << (number))
enum { Q4_K_S = 14, Q4_K_M = 15, Q5_K_M = 17 };
#define EVERY_MIX UINT64_MAX

/* The first row that fits gives the type; without one it stays the mix's own. */
static const struct {
    category what;
    unsigned models;
    uint64_t mixes; /* by file type number */
    bool (*where)(uint64_t i, uint64_t n);
    qn_dtype dtype;
} rules[] = {
    {ATTN_V, EIGHT_EXPERTS, EVERY_MIX, always, QN_Q8_0},
    {ATTN_V, 0, MIX(Q4_K_M) | MIX(Q5_K_M), is_sensitive, QN_Q6_K},
    {ATTN_V, 0, MIX(Q4_K_S), first_four, QN_Q5_K},

    {ATTN_K, EIGHT_EXPERTS, EVERY_MIX, always, QN_Q8_0},

    {ATTN_OUTPUT, NOT_FALCON | EIGHT_EXPERTS, MIX(Q4_K_S) | MIX(Q4_K_M), always, QN_Q5_K},

    {FFN_DOWN, FALCON, MIX(Q4_K_M), first_sixteenth, QN_Q6_K},
    {FFN_DOWN, FALCON, MIX(Q4_K_M), is_sensitive, QN_Q5_K},
    {FFN_DOWN, NOT_FALCON, MIX(Q4_K_M), is_sensitive, QN_Q6_K},
    {FFN_DOWN, 0, MIX(Q5_K_M), is_sensitive, QN_Q6_K},
    {FFN_DOWN, NOT_FALCON, MIX(Q4_K_S), first_eighth, QN_Q5_K},
};

static qn_dtype by_rules(const qn_policy *p, category what, uint64_t i, uint64_t n, qn_dtype dtype)
{
    unsigned model =
        (p->falcon ? FALCON : NOT_FALCON) | (p->experts == 8 ? (unsigned)EIGHT_EXPERTS : 0);
    uint64_t mix = MIX(p->options->mix->file_type);
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
        if (rules[r].what == what && !(rules[r].models & ~model) && rules[r].mixes & mix &&
            rules[r].where(i, n))
            return rules[r].dtype;
    return dtype;
}

/* The head turns one vector into a choice among the whole vocabulary: it is
 * the last tensor to save bits on.  (llama-quantize gives rows that are not
 * whole blocks Q8_0 here; fitting_type makes the same of Q6_K.) */
static qn_dtype head_type(const qn_policy *p, qn_dtype dtype)
{
    if (p->options->output_type) return *p->options->output_type;
    return p->falcon || dtype == QN_Q8_0 ? QN_Q8_0 : QN_Q6_K;
}

static qn_dtype attn_v_type(qn_policy *p, qn_dtype dtype)
{
    dtype = by_rules(p, ATTN_V, p->i_attn_v++, p->n_attn_v, dtype);
    return p->is_70b && dtype == QN_Q4_K ? QN_Q5_K : dtype;
}

/* Experts of a layer may lie anywhere in the file, so with experts the layer's
 * number counts instead of the order. */
static qn_dtype ffn_down_type(qn_policy *p, const char *name, qn_dtype dtype)
{
    int64_t block = qn_policy_block(name);
    uint64_t i = p->i_ffn_down++;
    return by_rules(p, FFN_DOWN, p->experts > 1 && block >= 0 ? (uint64_t)block : i, p->layers,
                    dtype);
}

/* The type the mix asks for, whatever the row's length. */
static qn_dtype mixed_type(qn_policy *p, category what, const char *name)
{
    qn_dtype dtype = p->options->mix->dtype;
    if (p->options->pure) return dtype;
    if (what == OUTPUT || (what == EMBEDDING && p->tied)) return head_type(p, dtype);
    if (what == ATTN_V) return attn_v_type(p, dtype);
    if (what == FFN_DOWN) return ffn_down_type(p, name, dtype);
    return by_rules(p, what, 0, 0, dtype);
}

/* ---- rows that are not whole blocks ------------------------------------------- */

/* The type of 32-blocks that takes over when rows are not whole blocks of
 * 256; F16 for rows that are not whole blocks at all. */
static qn_dtype fitting_type(qn_dtype dtype, uint64_t columns)
{
    static const struct {
        qn_dtype from, to;
    } instead[] = {{QN_Q4_K, QN_Q5_0}, {QN_Q5_K, QN_Q5_1}, {QN_Q6_K, QN_Q8_0}};

    if (columns % qn_dtype_facts(dtype)->block_len == 0) return dtype;
    for (size_t i = 0; i < sizeof instead / sizeof *instead; i++)
        if (instead[i].from == dtype && columns % qn_dtype_facts(instead[i].to)->block_len == 0)
            return instead[i].to;
    return QN_F16;
}

/* ---- one decision ------------------------------------------------------------- */

static void set(qn_plan_entry *e, qn_dtype dtype, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void set(qn_plan_entry *e, qn_dtype dtype, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->reason, sizeof e->reason, fmt, args);
    va_end(args);
    e->dtype = dtype;
    e->fallback = false;
}

/* A type the user named for tensors of this kind, or NULL.  The per-layer
 * embeddings are large enough for a rule of their own to count. */
static const qn_dtype *named_type(const qn_quantize_options *o, category what,
                                  const qn_plan_entry *e)
{
    if (what == OUTPUT) return o->output_type;
    if (what != EMBEDDING) return NULL;
    const bool per_layer = !strcmp(e->tensor->name, "per_layer_token_embd.weight");
    return per_layer && e->rule ? NULL : o->embedding_type;
}

static void decide_by_mix(qn_policy *p, qn_plan_entry *e, category what)
{
    const qn_mix *mix = p->options->mix;
    uint64_t columns = e->tensor->dims[e->tensor->rank - 1];
    qn_dtype wanted = e->rule ? e->rule->dtype : mixed_type(p, what, e->tensor->name);
    qn_dtype got = fitting_type(wanted, columns);
    const char *name = qn_dtype_facts(got)->name;
    if (got != wanted) {
        set(e, got, "%llu columns: %s instead of %s", (unsigned long long)columns, name,
            qn_dtype_facts(wanted)->name);
        e->fallback = true;
    } else if (e->rule) {
        set(e, got, "asked for: '%s'", e->rule->pattern);
    } else if (got == mix->dtype) {
        set(e, got, "%s: %s", p->options->pure ? "pure" : "mix", name);
    } else {
        set(e, got, "mix: %s", category_names[what]);
    }
}

void qn_policy_decide(qn_policy *p, qn_plan_entry *e, qn_dtype kept)
{
    const qn_quantize_options *o = p->options;
    const char *why = why_kept(p, e->tensor);
    category what = p->generic ? OTHER : category_of(e->tensor->name);
    const qn_dtype *named = named_type(o, what, e);
    if (why)
        set(e, kept, "%s: kept", why);
    else if (named)
        set(e, *named, "asked for: %s", category_names[what]);
    else if (qn_dtype_facts(o->mix->dtype)->block_len == 1)
        set(e, o->mix->dtype, "all: %s", o->mix->name);
    else
        decide_by_mix(p, e, what);
}

/* ---- what the rules ask of the model ------------------------------------------ */

int64_t qn_policy_block(const char *name)
{
    static const char prefix[] = "blk.";
    int64_t n = 0;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return -1;
    const char *digits = name + sizeof prefix - 1, *s = digits;
    for (; *s >= '0' && *s <= '9'; s++)
        if (n < INT32_MAX) n = n * 10 + (*s - '0');
    return s == digits ? -1 : n;
}

/* ARCHITECTURE.KEY, its first element where it is an array (one number a
 * layer); *out stays where the key is absent. */
static qn_status number_of(const qn_model *m, const qn_metadata *overrides, const char *key,
                           uint64_t *out, qn_error *err)
{
    char full[160];
    double v;
    snprintf(full, sizeof full, "%s.%s", m->architecture, key);
    const qn_meta_value *value = overrides ? qn_metadata_find(overrides, full) : NULL;
    if (!value) value = qn_metadata_find(m->metadata, full);
    if (!value) return QN_OK;
    qn_status status = qn_meta_number(value, 0, &v, err);
    if (status) return status;
    if (!(v >= 0 && v <= UINT32_MAX))
        return qn_fail(err, QN_ERR_DATA, "%s: %s is %g", m->path, full, v);
    *out = (uint64_t)v;
    return QN_OK;
}

/* llama.cpp's LLM_TYPE_70B, the only size that its rules know. */
static bool is_70b(const char *architecture, uint64_t layers, uint64_t heads, uint64_t kv_heads)
{
    static const struct {
        const char *architecture;
        uint64_t layers;
        bool grouped;
    } sizes[] = {
        {"llama", 80, true}, {"qwen2", 80, false}, {"deci", 80, false},
        {"olmo", 80, false}, {"jais2", 68, false},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!strcmp(architecture, sizes[i].architecture) && layers == sizes[i].layers)
            return !sizes[i].grouped || heads != kv_heads;
    return false;
}

qn_status qn_policy_init(qn_policy *p, const qn_model *m, const qn_quantize_options *options,
                         qn_error *err)
{
    qn_policy made = {.options = options, .tied = true};
    made.generic = m->generic;
    made.has_importance = options->importance != NULL;
    made.falcon = !strcmp(m->architecture, "falcon");
    for (size_t i = 0; i < m->n_tensors; i++) {
        category what = category_of(m->tensors[i].name);
        int64_t block = qn_policy_block(m->tensors[i].name);
        if (what == ATTN_V) made.n_attn_v++;
        if (what == OUTPUT) made.tied = false;
        if (block >= (int64_t)made.layers) made.layers = (uint64_t)block + 1;
    }

    uint64_t heads = 0;
    const qn_metadata *other = options->overrides;
    qn_status status = number_of(m, other, "block_count", &made.layers, err);
    if (!status) status = number_of(m, other, "expert_count", &made.experts, err);
    if (!status) status = number_of(m, other, "attention.head_count", &heads, err);
    uint64_t kv_heads = heads;
    if (!status) status = number_of(m, other, "attention.head_count_kv", &kv_heads, err);
    if (status) return status;
    made.is_70b = is_70b(m->architecture, made.layers, heads, kv_heads);
    *p = made;
    return QN_OK;
}
