#include "formats/lora/adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/sizes.h"

typedef unsigned long long ull;

/* ---- names ------------------------------------------------------------------------------ */

static const struct {
    const char *suffix;
    qn_lora_part_kind kind;
    const char *parameter;
} suffixes[] = {
    {".lora_A.weight", QN_LORA_A, "weight"},
    {".lora_B.weight", QN_LORA_B, "weight"},
    {".lora_B.bias", QN_LORA_B_BIAS, "bias"},
    {".lora_magnitude_vector", QN_LORA_MAGNITUDE, "weight"},
    {".lora_embedding_A", QN_LORA_EMBEDDING_A, "weight"},
    {".lora_embedding_B", QN_LORA_EMBEDDING_B, "weight"},
    {".token_adapter.trainable_tokens_delta", QN_LORA_TOKENS, "weight"},
    {".token_adapter.base_layer.weight", QN_LORA_BASE_LAYER, "weight"},
    {".base_layer.weight", QN_LORA_BASE_LAYER, "weight"},
    {".base_layer.bias", QN_LORA_BASE_LAYER, "bias"},
    {".modules_to_save.weight", QN_LORA_COPY, "weight"},
    {".modules_to_save.bias", QN_LORA_COPY, "bias"},
    {".original_module.weight", QN_LORA_COPY, "weight"},
    {".original_module.bias", QN_LORA_COPY, "bias"},
};

/* "X.lora_B.weight" for "X.lora_A.weight"; NULL: there is none. */
static const qn_tensor *partner(const qn_adapter *a, const qn_lora_part *p, const char *suffix)
{
    qn_text name = {0};
    qn_text_add(&name, p->tensor->name, strlen(p->tensor->name) - strlen(p->suffix));
    qn_text_adds(&name, suffix);
    const qn_tensor *found = name.failed ? NULL : qn_reader_find(a->reader, name.s);
    qn_text_free(&name);
    return found;
}

qn_lora_part qn_adapter_part(const qn_adapter *a, const qn_tensor *t)
{
    static const char *const prefix = "base_model.model.";
    const size_t skip = qn_str_starts(qn_str_z(t->name), prefix) ? strlen(prefix) : 0;
    qn_lora_part p = {.tensor = t, .module = qn_str_z(t->name + skip)};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (!qn_str_ends(p.module, suffixes[i].suffix)) continue;
        p.kind = suffixes[i].kind;
        p.suffix = suffixes[i].suffix;
        p.parameter = suffixes[i].parameter;
        p.module.n -= strlen(p.suffix);
        if (p.kind == QN_LORA_COPY && !partner(a, &p, strrchr(p.suffix, '.')))
            p.kind = QN_LORA_UNKNOWN;
        return p;
    }
    const char *dot = strrchr(p.module.s, '.');
    p.kind = strstr(p.module.s, "lora_") ? QN_LORA_UNKNOWN : QN_LORA_WHOLE;
    p.parameter = dot ? dot + 1 : p.module.s;
    p.module.n = dot ? (size_t)(dot - p.module.s) : 0;
    return p;
}

/* Parameters of one module are wrapped one in the other: "X.base_layer.lora_A". */
static qn_str without_wrapping(qn_str module)
{
    static const char *const wrapped = ".base_layer";
    while (qn_str_ends(module, wrapped)) module.n -= strlen(wrapped);
    return module;
}

/* ---- faults ------------------------------------------------------------------------------- */

const char *qn_adapter_path(const qn_adapter *a)
{
    return a->reader->files[0].path;
}

qn_status qn_adapter_no_place(const qn_adapter *a, const qn_tensor *t, qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" belongs to no tensor of %s", qn_adapter_path(a),
                   t->name, a->targets->reader->files[0].path);
}

qn_status qn_adapter_wrong_shape(const qn_adapter *a, const qn_tensor *t, const qn_tensor *base,
                                 qn_error *err)
{
    char has[96], wants[96];
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": shape %s does not fit the base's \"%s\", %s",
                   qn_adapter_path(a), t->name, qn_shape_text(t->dims, t->rank, has, sizeof has),
                   base->name, qn_shape_text(base->dims, base->rank, wants, sizeof wants));
}

static qn_status wrong_rank(const qn_adapter *a, const qn_tensor *t, uint64_t has, uint64_t wants,
                            qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" has rank %llu, adapter_config.json says %llu",
                   qn_adapter_path(a), t->name, (ull)has, (ull)wants);
}

qn_status qn_adapter_check_ranks(const qn_adapter *a, const qn_tensor *first,
                                 const qn_tensor *second, uint64_t rank, uint64_t parts,
                                 qn_error *err)
{
    char shape[96];
    for (int i = 0; i < 2; i++) {
        const qn_tensor *t = i ? second : first;
        if (t->rank != 2)
            return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": shape %s is no matrix's",
                           qn_adapter_path(a), t->name,
                           qn_shape_text(t->dims, t->rank, shape, sizeof shape));
        if (t->dims[i] / parts != rank || t->dims[i] % parts)
            return wrong_rank(a, t, t->dims[i] / parts, rank, err);
    }
    return QN_OK;
}

/* ---- notes --------------------------------------------------------------------------------- */

struct qn_lora_merge *qn_adapter_merge(const qn_adapter *a, const qn_tensor *t)
{
    struct qn_lora_merge **m = &a->merges[t - a->targets->reader->tensors];
    if (*m) return *m;
    *m = qn_arena_alloc(a->arena, 1, sizeof **m);
    if (*m) **m = (struct qn_lora_merge){.reader = a->targets->reader, .base = *t};
    return *m;
}

const qn_tensor *qn_adapter_now(const qn_adapter *a, const qn_tensor *t)
{
    const struct qn_lora_merge *m = a->merges[t - a->targets->reader->tensors];
    return m ? &m->base : t;
}

qn_status qn_adapter_note(const qn_adapter *a, const qn_tensor *t, const qn_lora_change *change,
                          qn_error *err)
{
    qn_lora_change *mine = qn_arena_alloc(a->arena, 1, sizeof *mine);
    struct qn_lora_merge *m = qn_adapter_merge(a, t);
    if (!mine || !m) return qn_fail_memory(err, qn_adapter_path(a));
    if (!isfinite(change->scale))
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is scaled by %g", qn_adapter_path(a), t->name,
                       change->scale);
    if (change->magnitude && m->n_magnitudes++ == QN_LORA_MOST_MAGNITUDES)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: more than %d DoRA adapters of \"%s\"",
                       qn_adapter_path(a), QN_LORA_MOST_MAGNITUDES, t->name);
    *mine = *change;
    if (m->last)
        m->last->next = mine;
    else
        m->changes = mine;
    m->last = mine;
    return QN_OK;
}

/* ---- whole tensors -------------------------------------------------------------------------- */

static bool same_shape(const qn_tensor *a, const qn_tensor *b)
{
    return a->rank == b->rank && !memcmp(a->dims, b->dims, a->rank * sizeof *a->dims);
}

bool qn_lora_same_tensor(const qn_tensor *a, const qn_tensor *b)
{
    return a->dtype == b->dtype && !b->packed && same_shape(a, b) &&
           (!a->bytes || !memcmp(a->data, b->data, (size_t)a->bytes));
}

qn_status qn_adapter_replace(const qn_adapter *a, const qn_lora_part *p, qn_error *err)
{
    const qn_tensor *base = qn_lora_target(a->targets, p->module, p->parameter);
    if (!base) return qn_adapter_no_place(a, p->tensor, err);
    const bool resizes = qn_adapter_is_vocabulary(a, p, base) && p->tensor->rank == 2 &&
                         base->rank == 2 && p->tensor->dims[1] == base->dims[1];
    if (!resizes && !same_shape(p->tensor, base))
        return qn_adapter_wrong_shape(a, p->tensor, base, err);
    if (qn_lora_same_tensor(p->tensor, qn_adapter_now(a, base))) return QN_OK;
    struct qn_lora_merge *m = qn_adapter_merge(a, base);
    if (!m) return qn_fail_memory(err, qn_adapter_path(a));
    if (m->changes || m->reader == a->reader)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: \"%s\" would take the place of what is changed or replaced already",
                       qn_adapter_path(a), p->tensor->name);
    m->reader = a->reader;
    m->base = *p->tensor;
    return QN_OK;
}

/* ---- sums -------------------------------------------------------------------------------------- */

static qn_lora_factor by_row(const qn_tensor *t)
{
    return (qn_lora_factor){.tensor = t, .step = t->dims[1], .rank_step = 1};
}

static qn_lora_factor by_column(const qn_tensor *t)
{
    return (qn_lora_factor){.tensor = t, .step = 1, .rank_step = t->dims[1]};
}

/* DoRA: the magnitudes [to] beside A and B; NULL where the adapter has none. */
static qn_status find_magnitude(const qn_adapter *a, const qn_lora_part *p, const qn_tensor *base,
                                bool transposed, const qn_tensor **out, qn_error *err)
{
    *out = NULL;
    if (!a->config.dora) return QN_OK;
    if (transposed)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: \"%s\": DoRA of an embedding, whose columns it scales",
                       qn_adapter_path(a), p->tensor->name);
    const qn_tensor *t = partner(a, p, ".lora_magnitude_vector");
    if (!t)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" has no lora_magnitude_vector beside it",
                       qn_adapter_path(a), p->tensor->name);
    if (t->rank != 1 || t->dims[0] != base->dims[0]) return qn_adapter_wrong_shape(a, t, base, err);
    *out = t;
    return QN_OK;
}

/* first [rank, from], second [to, rank]: of a matrix [to, from], or [from, to] where
 * it is transposed. */
static qn_status add_pair(const qn_adapter *a, const qn_lora_part *p, const qn_tensor *second,
                          const qn_tensor *base, bool transposed, qn_error *err)
{
    const qn_tensor *first = p->tensor, *now = qn_adapter_now(a, base);
    qn_lora_change c = {0};
    qn_status status =
        qn_lora_config_scaling(&a->config, p->module, p->parameter, &c.rank, &c.scale, err);
    if (!status) status = qn_adapter_check_ranks(a, first, second, c.rank, 1, err);
    if (status) return status;
    if (now->rank != 2 || first->dims[1] != now->dims[!transposed])
        return qn_adapter_wrong_shape(a, first, now, err);
    if (second->dims[0] != now->dims[transposed])
        return qn_adapter_wrong_shape(a, second, now, err);
    status = find_magnitude(a, p, now, transposed, &c.magnitude, err);
    if (status) return status;
    c.scale *= a->scale;
    c.left = transposed ? by_column(first) : by_row(second);
    c.right = transposed ? by_row(second) : by_column(first);
    return qn_adapter_note(a, base, &c, err);
}

/* transformers' Conv1D has its weights [in, out]; PEFT takes fan_in_fan_out for it
 * alone.  No family that we know has one. */
static bool is_conv1d(const qn_adapter *a, const qn_tensor *base, const qn_tensor *first)
{
    return a->config.fan_in_fan_out && !a->targets->family && base->rank == 2 &&
           first->dims[1] == base->dims[0];
}

static qn_status need_partner(const qn_adapter *a, const qn_lora_part *p, const char *suffix,
                              qn_error *err)
{
    if (partner(a, p, suffix)) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" has no %s beside it", qn_adapter_path(a),
                   p->tensor->name, suffix + 1);
}

/* A magnitude belongs to A and B, and to a configuration that asks for it. */
static qn_status check_magnitude(const qn_adapter *a, const qn_lora_part *p, qn_error *err)
{
    if (!a->config.dora)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: \"%s\" is DoRA's, but adapter_config.json does not say use_dora",
                       qn_adapter_path(a), p->tensor->name);
    return need_partner(a, p, ".lora_A.weight", err);
}

static qn_status add_linear(const qn_adapter *a, const qn_lora_part *p, qn_error *err)
{
    qn_lora_part inner = *p;
    const qn_tensor *second = partner(a, p, ".lora_B.weight");
    inner.module = without_wrapping(p->module);
    if (!second)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" has no lora_B beside it", qn_adapter_path(a),
                       p->tensor->name);
    const qn_tensor *base = qn_lora_target(a->targets, inner.module, p->parameter);
    if (!base) return qn_adapter_experts(a, inner.module, p->tensor, second, err);
    return add_pair(a, &inner, second, base, is_conv1d(a, base, p->tensor), err);
}

static qn_status add_embedding(const qn_adapter *a, const qn_lora_part *p, qn_error *err)
{
    const qn_tensor *second = partner(a, p, ".lora_embedding_B");
    const qn_tensor *base = qn_lora_target(a->targets, p->module, p->parameter);
    if (!second)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" has no lora_embedding_B beside it",
                       qn_adapter_path(a), p->tensor->name);
    if (!base) return qn_adapter_no_place(a, p->tensor, err);
    return add_pair(a, p, second, base, true, err);
}

/* lora_bias: B has a bias, which is scaled as B A is. */
static qn_status add_bias(const qn_adapter *a, const qn_lora_part *p, qn_error *err)
{
    const qn_tensor *base = qn_lora_target(a->targets, p->module, p->parameter);
    qn_lora_change c = {.right = {.tensor = p->tensor, .step = 1}};
    if (!base || !partner(a, p, ".lora_A.weight")) return qn_adapter_no_place(a, p->tensor, err);
    if (base->rank != 1 || !same_shape(p->tensor, base))
        return qn_adapter_wrong_shape(a, p->tensor, base, err);
    const qn_status status =
        qn_lora_config_scaling(&a->config, p->module, "weight", &c.rank, &c.scale, err);
    if (status) return status;
    c.rank = 1;
    c.scale *= a->scale;
    return qn_adapter_note(a, base, &c, err);
}

/* ---- rows of some tokens ----------------------------------------------------------------------- */

static int by_token(const void *left, const void *right)
{
    const uint64_t a = ((const qn_lora_token *)left)->token,
                   b = ((const qn_lora_token *)right)->token;
    return a < b ? -1 : a > b;
}

static qn_status read_tokens(const qn_adapter *a, const qn_lora_part *p, const json_t *list,
                             uint64_t n_vocab, qn_lora_token *out, qn_error *err)
{
    const size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        const json_int_t id = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || id < 0 || (uint64_t)id >= n_vocab)
            return qn_fail(err, QN_ERR_DATA,
                           "%s: trainable_token_indices: entry %zu is no token of %llu",
                           a->config.where, i, (ull)n_vocab);
        out[i] = (qn_lora_token){(uint64_t)id, i};
    }
    qsort(out, n, sizeof *out, by_token);
    for (size_t i = 1; i < n; i++)
        if (out[i].token == out[i - 1].token)
            return qn_fail(err, QN_ERR_DATA, "%s: trainable_token_indices: token %llu twice (%s)",
                           a->config.where, (ull)out[i].token, p->tensor->name);
    return QN_OK;
}

static qn_status add_tokens(const qn_adapter *a, const qn_lora_part *p, qn_error *err)
{
    const qn_tensor *base = qn_lora_target(a->targets, p->module, p->parameter);
    const json_t *list = qn_lora_config_tokens(&a->config, p->module);
    const size_t n = json_array_size(list);
    if (!base) return qn_adapter_no_place(a, p->tensor, err);
    if (!list || p->tensor->rank != 2 || p->tensor->dims[0] != n)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: \"%s\" has %llu rows, trainable_token_indices %zu tokens",
                       qn_adapter_path(a), p->tensor->name,
                       (ull)(p->tensor->rank ? p->tensor->dims[0] : 0), n);
    const qn_tensor *now = qn_adapter_now(a, base);
    if (now->rank != 2 || p->tensor->dims[1] != now->dims[1])
        return qn_adapter_wrong_shape(a, p->tensor, now, err);
    qn_lora_token *tokens = qn_arena_alloc(a->arena, n, sizeof *tokens);
    if (!tokens) return qn_fail_memory(err, qn_adapter_path(a));
    const qn_status status = read_tokens(a, p, list, now->dims[0], tokens, err);
    if (status) return status;
    const qn_lora_change c = {.right = by_column(p->tensor), .tokens = tokens, .n_tokens = n};
    return qn_adapter_note(a, base, &c, err);
}

/* ---- any ------------------------------------------------------------------------------------------ */

qn_status qn_adapter_change(const qn_adapter *a, const qn_lora_part *p, qn_error *err)
{
    switch (p->kind) {
    case QN_LORA_A: return add_linear(a, p, err);
    case QN_LORA_B: return need_partner(a, p, ".lora_A.weight", err);
    case QN_LORA_B_BIAS: return add_bias(a, p, err);
    case QN_LORA_MAGNITUDE: return check_magnitude(a, p, err);
    case QN_LORA_EMBEDDING_A: return add_embedding(a, p, err);
    case QN_LORA_EMBEDDING_B: return need_partner(a, p, ".lora_embedding_A", err);
    case QN_LORA_TOKENS: return add_tokens(a, p, err);
    case QN_LORA_UNKNOWN:
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is no part of plain LoRA",
                       qn_adapter_path(a), p->tensor->name);
    case QN_LORA_WHOLE:
    case QN_LORA_COPY:
    case QN_LORA_BASE_LAYER: break;
    }
    return QN_OK;
}
