#include "quant/policy.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
    if (p->options->mix->file_type == QN_MIX_COPY) return "copy";
    if (!qn_dtype_facts(t->rows->dtype)->is_float) return qn_dtype_facts(t->rows->dtype)->name;
    if (is_vector(t)) return "1-D";
    if (p->generic) return NULL;
    if (p->options->leave_output_tensor && qn_tensor_kind_of(t->name) == QN_KIND_OUTPUT)
        return "output";
    return qn_tensor_name_kept(t->name, p->architecture);
}

/* ---- the mixes ---------------------------------------------------------------- */

static uint64_t columns_of(const qn_model_tensor *t)
{
    return t->dims[t->rank - 1];
}

static unsigned traits_of(const qn_policy *p, const qn_model_tensor *t, qn_tensor_kind kind)
{
    const uint64_t block_len = qn_dtype_facts(p->options->mix->dtype)->block_len;
    unsigned traits = p->traits;
    if (kind == QN_KIND_OUTPUT || (kind == QN_KIND_EMBEDDING && p->tied)) traits |= QN_TRAIT_HEAD;
    if (t->rank > 2 && t->dims[t->rank - 3] > 1) traits |= QN_TRAIT_MATRICES;
    if (columns_of(t) % block_len != 0) traits |= QN_TRAIT_PART_BLOCKS;
    return traits;
}

/* Experts of a layer may lie anywhere in the file, so with experts the layer's
 * number counts instead of the order. */
static uint64_t place_of(const qn_policy *p, const char *name, uint64_t i)
{
    const int64_t block = qn_policy_block(name);
    return p->experts > 1 && block >= 0 && !qn_mix_is_low(p->options->mix) ? (uint64_t)block : i;
}

/* The type the mix asks for, whatever the row's length. */
static qn_dtype mixed_type(qn_policy *p, const qn_model_tensor *t, qn_tensor_kind kind)
{
    const qn_quantize_options *o = p->options;
    const unsigned traits = traits_of(p, t, kind);
    if (o->pure) return o->mix->dtype;
    if (traits & QN_TRAIT_HEAD && o->output_type) return *o->output_type;
    const uint64_t i = p->seen[kind]++;
    if (kind == QN_KIND_ATTN_V) return qn_mix_rule(o->mix, kind, traits, i, p->n_attn_v);
    return qn_mix_rule(o->mix, kind, traits, place_of(p, t->name, i), p->layers);
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
static const qn_dtype *named_type(const qn_quantize_options *o, qn_tensor_kind kind,
                                  const qn_plan_entry *e)
{
    if (kind == QN_KIND_OUTPUT) return o->output_type;
    if (kind != QN_KIND_EMBEDDING) return NULL;
    const bool per_layer = !strcmp(e->tensor->name, "per_layer_token_embd.weight");
    return per_layer && e->rule ? NULL : o->embedding_type;
}

static void decide_by_mix(qn_policy *p, qn_plan_entry *e, qn_tensor_kind kind)
{
    const qn_mix *mix = p->options->mix;
    const uint64_t columns = columns_of(e->tensor);
    const qn_dtype wanted = e->rule ? e->rule->dtype : mixed_type(p, e->tensor, kind);
    const qn_dtype got = qn_fitting_type(wanted, columns);
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
        set(e, got, "mix: %s", qn_tensor_kind_name(kind));
    }
}

void qn_policy_decide(qn_policy *p, qn_plan_entry *e, qn_dtype kept)
{
    const qn_quantize_options *o = p->options;
    const char *why = why_kept(p, e->tensor);
    const qn_tensor_kind kind = p->generic ? QN_KIND_OTHER : qn_tensor_kind_of(e->tensor->name);
    const qn_dtype *named = named_type(o, kind, e);
    if (why)
        set(e, kept, "%s: kept", why);
    else if (named)
        set(e, *named, "asked for: %s", qn_tensor_kind_name(kind));
    else if (!qn_dtype_is_blocks(o->mix->dtype))
        set(e, o->mix->dtype, "all: %s", o->mix->name);
    else
        decide_by_mix(p, e, kind);
    e->needs_importance = !why && qn_needs_importance(o->mix, kind, e->dtype);
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
        {"llama", 80, true}, {"llama-embed", 80, true}, {"qwen2", 80, false},
        {"deci", 80, false}, {"olmo", 80, false},       {"jais2", 68, false},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!strcmp(architecture, sizes[i].architecture) && layers == sizes[i].layers)
            return !sizes[i].grouped || heads != kv_heads;
    return false;
}

static unsigned traits_of_architecture(const char *name)
{
    if (!strcmp(name, "falcon")) return QN_TRAIT_FALCON;
    if (!strcmp(name, "bailingmoe3")) return QN_TRAIT_BAILINGMOE3;
    if (!strcmp(name, "glm5-next")) return QN_TRAIT_GLM5_NEXT;
    return 0;
}

static void look_at_tensors(qn_policy *p, const qn_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const qn_tensor_kind kind = qn_tensor_kind_of(m->tensors[i].name);
        const int64_t block = qn_policy_block(m->tensors[i].name);
        if (kind == QN_KIND_ATTN_V) p->n_attn_v++;
        if (kind == QN_KIND_OUTPUT) p->tied = false;
        if (block >= (int64_t)p->layers) p->layers = (uint64_t)block + 1;
    }
}

qn_status qn_policy_init(qn_policy *p, const qn_model *m, const qn_quantize_options *options,
                         qn_error *err)
{
    qn_policy made = {
        .options = options, .architecture = m->architecture, .generic = m->generic, .tied = true};
    look_at_tensors(&made, m);

    uint64_t heads = 0;
    const qn_metadata *other = options->overrides;
    qn_status status = number_of(m, other, "block_count", &made.layers, err);
    if (!status) status = number_of(m, other, "expert_count", &made.experts, err);
    if (!status) status = number_of(m, other, "attention.head_count", &heads, err);
    uint64_t kv_heads = heads;
    if (!status) status = number_of(m, other, "attention.head_count_kv", &kv_heads, err);
    if (status) return status;

    made.traits = traits_of_architecture(m->architecture);
    if (made.experts >= 4) made.traits |= QN_TRAIT_FOUR_EXPERTS;
    if (made.experts == 8) made.traits |= QN_TRAIT_EIGHT_EXPERTS;
    if (kv_heads && heads / kv_heads >= 4) made.traits |= QN_TRAIT_FOUR_QUERIES;
    if (is_70b(m->architecture, made.layers, heads, kv_heads)) made.traits |= QN_TRAIT_70B;
    if (options->importance) made.traits |= QN_TRAIT_IMPORTANCE;
    *p = made;
    return QN_OK;
}
