#include "quant/packed_plan.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/convert.h"
#include "formats/packed/packing.h"

typedef unsigned long long ull;

qn_status qn_packed_options_check(const qn_packed_options *o, qn_error *err)
{
    if (o->format == QN_PACK_AWQ && o->bits != 4)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "awq is int4 only; int8 can be compressed-tensors, gptq or mlx");
    if (o->format == QN_PACK_MLX && !o->asymmetric)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "mlx cannot be symmetric: its groups have a scale and a bias (--asym)");
    if (o->format == QN_PACK_MLX && !o->group)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "mlx has no scales by channel; its groups are 32, 64 or 128");
    return QN_OK;
}

/* ---- what a tensor is, by its name ------------------------------------------------------ */

typedef enum {
    NO_WEIGHT, /* not a matrix of real numbers called .weight */
    LINEAR,    /* of a layer of the decoder */
    EMBEDDING,
    HEAD,
    ROUTER,
    EXPERT,
    OUTSIDE, /* a matrix of the decoder that is in no layer */
    TOWER    /* of another network: vision, audio */
} tensor_kind;

typedef struct {
    qn_str last; /* "q_proj" */
    bool in_layer, in_expert, in_tower, in_router;
} path;

static bool is_number(qn_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!isdigit((unsigned char)s.s[i])) return false;
    return s.n > 0;
}

static bool contains(qn_str s, const char *word)
{
    return memmem(s.s, s.n, word, strlen(word)) != NULL;
}

static bool names_tower(qn_str s)
{
    static const char *const words[] = {"vision", "visual", "image", "audio", "multi_modal"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (contains(s, words[i])) return true;
    return false;
}

/* The dotted parts of a module's name. */
static path path_of(qn_str module)
{
    path p = {.last = module};
    for (size_t from = 0; from <= module.n;) {
        const char *dot = from < module.n ? memchr(module.s + from, '.', module.n - from) : NULL;
        const size_t end = dot ? (size_t)(dot - module.s) : module.n;
        const qn_str part = qn_str_of(module.s + from, end - from);
        p.in_layer |= from > 0 && is_number(part);
        p.in_tower |= names_tower(part);
        p.in_router |= contains(part, "router");
        p.in_expert |= qn_str_is(part, "experts");
        p.last = part;
        from = end + 1;
    }
    return p;
}

static tensor_kind kind_of(const qn_model_tensor *t, qn_str module)
{
    if (!module.n || t->rank != 2 || !qn_dtype_facts(t->rows->dtype)->is_float || !t->rows->rows ||
        !t->rows->columns)
        return NO_WEIGHT;
    const path p = path_of(module);
    if (p.in_tower) return TOWER;
    if (qn_str_is(p.last, "lm_head")) return HEAD;
    if (contains(p.last, "embed") || qn_str_is(p.last, "wte") || qn_str_is(p.last, "wpe"))
        return EMBEDDING;
    if (p.in_router || qn_str_is(p.last, "gate") || qn_str_is(p.last, "shared_expert_gate"))
        return ROUTER;
    if (!p.in_layer) return OUTSIDE;
    return p.in_expert ? EXPERT : LINEAR;
}

/* ---- the decision ------------------------------------------------------------------------- */

static bool is_default(qn_pack_format f, tensor_kind k)
{
    if (k == LINEAR || k == EXPERT) return true;
    return f == QN_PACK_MLX && (k == EMBEDDING || k == HEAD || k == OUTSIDE);
}

static const char *why_kept(tensor_kind k)
{
    switch (k) {
    case EMBEDDING: return "embedding: kept";
    case HEAD: return "head: kept";
    case ROUTER: return "router: kept";
    case OUTSIDE: return "in no layer: kept";
    case TOWER: return "not of the decoder: kept";
    case NO_WEIGHT:
    case LINEAR:
    case EXPERT: break;
    }
    return "kept";
}

static qn_status keep(qn_packed_entry *e, const char *reason)
{
    e->packed = false;
    e->reason = reason;
    return QN_OK;
}

/* Why something is no candidate at all. */
static const char *why_not_weight(const qn_model_tensor *t)
{
    static const char *const by_rank[] = {"a scalar: kept", "1-D: kept", "no matrix of reals: kept",
                                          "3-D: kept",      "4-D: kept", "5-D: kept"};
    return t->rank < sizeof by_rank / sizeof *by_rank ? by_rank[t->rank] : "kept";
}

static qn_status refuse(const qn_packed_plan *p, const qn_packed_entry *e, const char *what,
                        qn_error *err)
{
    return qn_fail(err, QN_ERR_ARGUMENT, "%s: \"%s\": %s (--ignore leaves it as it is)",
                   p->model->path, e->tensor->name, what);
}

static qn_status decide(qn_packed_plan *p, qn_packed_entry *e, tensor_kind k, qn_error *err)
{
    const qn_packed_options *o = &p->options;
    const qn_model_tensor *t = e->tensor;
    bool ignored = false, included = false;
    if (k == NO_WEIGHT) return keep(e, why_not_weight(t));
    qn_status status = qn_patterns_find(o->ignore, t->name, &ignored, err);
    if (!status) status = qn_patterns_find(o->include, t->name, &included, err);
    if (status) return status;
    if (ignored) return keep(e, "--ignore");
    if (k == HEAD && o->tied) {
        p->tied_head_named |= included;
        return keep(e, "tied to the embedding: kept");
    }
    if (!included && !is_default(o->format, k)) return keep(e, why_kept(k));
    if (k == EMBEDDING && o->format != QN_PACK_MLX) {
        char what[96];
        snprintf(what, sizeof what, "loaders of %s take no packed embedding",
                 qn_pack_format_name(o->format));
        return refuse(p, e, what, err);
    }
    if (k == HEAD && o->format == QN_PACK_AWQ)
        return refuse(p, e, "loaders of awq take no packed head", err);
    if (k == EXPERT && o->format == QN_PACK_MLX)
        return refuse(p, e, "mlx-lm stacks a layer's experts, which is not written yet", err);
    e->packed = true;
    e->reason = included         ? "--include"
                : k == EMBEDDING ? "embedding"
                : k == HEAD      ? "head"
                                 : "linear";
    return QN_OK;
}

/* ---- parts -------------------------------------------------------------------------------- */

unsigned qn_packed_parts(const qn_packed_plan *p, const qn_packed_entry *e,
                         qn_packed_part parts[QN_MOST_PARTS])
{
    const uint64_t out = e->tensor->rows->rows, in = e->tensor->rows->columns;
    const uint64_t groups = in / e->how.group, out_words = qn_packed_words(out, e->how.bits),
                   in_words = qn_packed_words(in, e->how.bits);
    const qn_dtype scale = e->how.scale_dtype;
    unsigned n = 0;
    switch (p->options.format) {
    case QN_PACK_COMPRESSED_TENSORS:
        parts[n++] = (qn_packed_part){QN_PART_CODES, "weight_packed", QN_I32, 2, {out, in_words}};
        parts[n++] = (qn_packed_part){QN_PART_SCALES, "weight_scale", scale, 2, {out, groups}};
        if (e->how.grid == QN_GRID_ZERO_POINT)
            parts[n++] = (qn_packed_part){
                QN_PART_ZEROS, "weight_zero_point", QN_I32, 2, {out_words, groups}};
        parts[n++] = (qn_packed_part){QN_PART_SHAPE, "weight_shape", QN_I64, 1, {2}};
        break;
    case QN_PACK_GPTQ:
    case QN_PACK_AWQ:
        parts[n] = (qn_packed_part){QN_PART_CODES, "qweight", QN_I32, 2, {in_words, out}};
        if (p->options.format == QN_PACK_AWQ) {
            parts[n].dims[0] = in;
            parts[n].dims[1] = out_words;
        }
        n++;
        parts[n++] = (qn_packed_part){QN_PART_ZEROS, "qzeros", QN_I32, 2, {groups, out_words}};
        parts[n++] = (qn_packed_part){QN_PART_SCALES, "scales", scale, 2, {groups, out}};
        if (p->options.format == QN_PACK_GPTQ)
            parts[n++] = (qn_packed_part){QN_PART_INDEX, "g_idx", QN_I32, 1, {in}};
        break;
    case QN_PACK_MLX:
        parts[n++] = (qn_packed_part){QN_PART_CODES, "weight", QN_U32, 2, {out, in_words}};
        parts[n++] = (qn_packed_part){QN_PART_SCALES, "scales", scale, 2, {out, groups}};
        parts[n++] = (qn_packed_part){QN_PART_BIASES, "biases", scale, 2, {out, groups}};
        break;
    }
    return n;
}

static qn_status measure_parts(const qn_packed_plan *p, qn_packed_entry *e, qn_error *err)
{
    qn_packed_part parts[QN_MOST_PARTS];
    const unsigned n = qn_packed_parts(p, e, parts);
    for (unsigned i = 0; i < n; i++) {
        uint64_t bytes;
        const qn_status status = qn_tensor_measure(p->model->path, e->tensor->name, parts[i].dtype,
                                                   parts[i].rank, parts[i].dims, &bytes, err);
        if (status) return status;
        e->bytes += bytes;
    }
    return QN_OK;
}

/* ---- shapes -------------------------------------------------------------------------------- */

/* Words along a dimension must be whole where a loader cannot pad them. */
static qn_status check_multiple(const qn_packed_plan *p, const qn_packed_entry *e, const char *what,
                                uint64_t n, uint64_t of, qn_error *err)
{
    char words[128];
    if (n % of == 0) return QN_OK;
    snprintf(words, sizeof words, "%llu %s are no multiple of %llu, as %s needs them", (ull)n, what,
             (ull)of, qn_pack_format_name(p->options.format));
    return refuse(p, e, words, err);
}

static qn_status check_shape(const qn_packed_plan *p, const qn_packed_entry *e, qn_error *err)
{
    const qn_pack_format f = p->options.format;
    const uint64_t a_word = 32 / e->how.bits;
    const uint64_t rows = e->tensor->rows->rows, columns = e->tensor->rows->columns;
    char words[128];
    if (columns % e->how.group) {
        snprintf(words, sizeof words, "%llu columns are not whole groups of %llu", (ull)columns,
                 (ull)e->how.group);
        return refuse(p, e, words, err);
    }
    qn_status status = QN_OK;
    if (f == QN_PACK_GPTQ || f == QN_PACK_MLX)
        status = check_multiple(p, e, "columns", columns, a_word, err);
    if (!status && (f == QN_PACK_GPTQ || f == QN_PACK_AWQ))
        status = check_multiple(p, e, "rows", rows, a_word, err);
    return status;
}

/* ---- types --------------------------------------------------------------------------------- */

/* As stored; GGUF's floats all take the one type that the converter would
 * choose, those of a packed checkpoint what config.json calls the model's. */
static qn_dtype float_dtype(const qn_packed_plan *p, const qn_model_tensor *t)
{
    const qn_dtype own = t->rows->dtype;
    const bool computed = !t->rows->raw && t->rows->rows && t->rows->columns;
    if (!qn_dtype_facts(own)->is_float) return own;
    if (p->model->from_gguf) return qn_convert_dtype(t, qn_convert_resolve(p->model, QN_OUT_AUTO));
    return computed ? p->options.dtype : own;
}

static qn_dtype scale_dtype(const qn_packed_plan *p, const qn_model_tensor *t)
{
    if (p->options.format == QN_PACK_GPTQ || p->options.format == QN_PACK_AWQ) return QN_F16;
    const qn_dtype own = float_dtype(p, t);
    return own == QN_F16 || own == QN_BF16 ? own : QN_F32;
}

static qn_groupwise how_of(const qn_packed_plan *p, const qn_model_tensor *t)
{
    const qn_packed_options *o = &p->options;
    qn_grid grid = o->asymmetric ? QN_GRID_ZERO_POINT : QN_GRID_SYMMETRIC;
    if (o->format == QN_PACK_MLX) grid = QN_GRID_BIAS;
    if (o->format == QN_PACK_GPTQ && o->asymmetric) grid = QN_GRID_ZERO_FROM_1;
    return (qn_groupwise){.grid = grid,
                          .clip = o->clip,
                          .bits = o->bits,
                          .group = o->group ? o->group : t->rows->columns,
                          .scale_dtype = scale_dtype(p, t)};
}

static qn_status check_source(const qn_packed_plan *p, const qn_packed_entry *e, qn_error *err)
{
    const qn_dtype from = e->tensor->rows->dtype;
    if (qn_dtype_is_blocks(from) && !p->options.allow_requantize)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s: \"%s\" is quantized already, to %s; making it int%u needs "
                       "--allow-requantize",
                       p->model->path, e->tensor->name, qn_dtype_facts(from)->name,
                       p->options.bits);
    if (qn_kernels_best()->decode[from]) return QN_OK;
    return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is %s, which cannot be decoded",
                   p->model->path, e->tensor->name, qn_dtype_facts(from)->name);
}

/* ---- the plan ------------------------------------------------------------------------------- */

static size_t source_file(const qn_reader *r, const qn_model_tensor *t)
{
    const qn_tensor *source = t->source_name ? qn_reader_find(r, t->source_name) : NULL;
    return source ? source->file : 0;
}

qn_str qn_packed_module(const qn_packed_entry *e)
{
    const qn_str name = qn_str_z(e->tensor->name);
    const size_t suffix = strlen(".weight");
    return qn_str_ends(name, ".weight") ? qn_str_of(name.s, name.n - suffix) : (qn_str){0};
}

static bool is_stack(const qn_model_tensor *t)
{
    const path where = path_of(qn_str_z(t->name));
    return t->rank == 3 && qn_dtype_facts(t->rows->dtype)->is_float && where.in_layer &&
           !where.in_tower;
}

static qn_status fill(qn_packed_plan *p, qn_packed_entry *e, qn_error *err)
{
    const qn_model_tensor *t = e->tensor;
    const qn_str module = qn_packed_module(e);
    const tensor_kind k = kind_of(t, module);
    e->linear = module.n && t->rank >= 2 && k != EMBEDDING;
    e->head = k == HEAD;
    qn_status status = decide(p, e, k, err);
    if (status) return status;
    if (!e->packed) {
        e->dtype = float_dtype(p, t);
        status =
            qn_tensor_measure(p->model->path, t->name, e->dtype, t->rank, t->dims, &e->bytes, err);
        if (status || !is_stack(t)) return status;
        e->reason = "stacked: kept";
        p->n_stacked++;
        p->stacked_bytes += e->bytes;
        return QN_OK;
    }
    p->n_packed++;
    e->how = how_of(p, t);
    if ((status = check_source(p, e, err)) || (status = check_shape(p, e, err))) return status;
    return measure_parts(p, e, err);
}

static int by_shard(const void *left, const void *right)
{
    const qn_packed_entry *a = left, *b = right;
    if (a->shard != b->shard) return a->shard < b->shard ? -1 : 1;
    return a->tensor < b->tensor ? -1 : a->tensor > b->tensor; /* all of one array */
}

/* Files of the source without tensors leave no gap in the numbers. */
static void number_shards(qn_packed_plan *p)
{
    size_t file = SIZE_MAX;
    qsort(p->entries, p->n, sizeof *p->entries, by_shard);
    for (size_t i = 0; i < p->n; i++) {
        p->n_shards += p->entries[i].shard != file;
        file = p->entries[i].shard;
        p->entries[i].shard = p->n_shards - 1;
    }
}

/* In the same order; a weight's parts stay together. */
static void cut_shards(qn_packed_plan *p)
{
    uint64_t bytes = 0;
    size_t shard = 0;
    for (size_t i = 0; i < p->n; i++) {
        const uint64_t more = p->entries[i].bytes;
        if (bytes &&
            more > p->options.max_shard_bytes - qn_min_u64(bytes, p->options.max_shard_bytes)) {
            shard++;
            bytes = 0;
        }
        bytes += more;
        p->entries[i].shard = shard;
    }
    p->n_shards = shard + 1;
}

qn_status qn_packed_plan_new(qn_packed_plan **out, const qn_model *m,
                             const qn_packed_options *options, qn_error *err)
{
    qn_status status = qn_packed_options_check(options, err);
    if (status) return status;
    qn_packed_plan *p = qn_alloc(1, sizeof *p);
    if (!p || !(p->entries = qn_alloc(m->n_tensors, sizeof *p->entries))) {
        status = qn_fail_memory(err, "the plan");
        goto out;
    }
    p->model = m;
    p->options = *options;
    p->n = m->n_tensors;
    for (size_t i = 0; i < p->n && !status; i++) {
        p->entries[i].tensor = &m->tensors[i];
        p->entries[i].shard = source_file(options->source, &m->tensors[i]);
        status = fill(p, &p->entries[i], err);
    }
    if (status) goto out;
    number_shards(p);
    if (p->options.max_shard_bytes) cut_shards(p);
    if (!p->n_packed) {
        status = qn_fail(err, QN_ERR_ARGUMENT, "%s: none of its %zu tensors is to be quantized",
                         m->path, p->n);
        goto out;
    }
    *out = p;
    p = NULL;
out:
    qn_packed_plan_free(p);
    return status;
}

void qn_packed_plan_free(qn_packed_plan *p)
{
    if (!p) return;
    qn_free(p->entries);
    qn_free(p);
}
