/* Hyperparameters from GGUF's keys and to them, by the family's table. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/families/family.h"

static const char *full_key(const qn_family *f, const char *key, char *buf, size_t n)
{
    snprintf(buf, n, "%s.%s", f->architecture, key);
    return buf;
}

/* A number for all layers, or an array with one for each. */
static qn_status read_counts(const qn_parameter *p, const qn_metadata *m, const char *key,
                             const char *where, qn_hparams *h, bool *found, qn_error *err)
{
    const qn_meta_value *v = qn_metadata_find(m, key);
    *found = v != NULL;
    if (!v || v->type != QN_META_ARRAY)
        return qn_metadata_u64(m, key, (void *)((char *)h + p->field), found, err);
    qn_layer_counts *list = qn_parameter_list(p, h);
    if (v->count < 1 || v->count > QN_MAX_LAYERS)
        return qn_fail(err, QN_ERR_DATA, "%s: key \"%s\" lists %llu layers, not 1 to %d", where,
                       key, (unsigned long long)v->count, QN_MAX_LAYERS);
    for (uint64_t i = 0; i < v->count; i++) {
        double x;
        const qn_status status = qn_meta_number(v, i, &x, err);
        if (status) return status;
        if (!(x >= 0 && x <= INT32_MAX) || x != floor(x))
            return qn_fail(err, QN_ERR_DATA, "%s: key \"%s\"[%llu] is %g", where, key,
                           (unsigned long long)i, x);
        list->of[i] = (uint32_t)x;
    }
    list->n = (uint32_t)v->count;
    return QN_OK;
}

static qn_status read_sparsity(const qn_parameter *p, const qn_metadata *m, const char *key,
                               const char *where, qn_hparams *h, bool *found, qn_error *err)
{
    const qn_meta_value *v = qn_metadata_find(m, key);
    qn_layer_reals *list = (qn_layer_reals *)(void *)((char *)h + p->list);
    *found = v != NULL;
    if (!v) return QN_OK;
    if (v->type != QN_META_ARRAY || v->count < 1 || v->count > QN_MAX_LAYERS)
        return qn_fail(err, QN_ERR_DATA, "%s: key \"%s\" is no list of 1 to %d layers", where, key,
                       QN_MAX_LAYERS);
    for (uint64_t i = 0; i < v->count; i++) {
        double x;
        const qn_status status = qn_meta_number(v, i, &x, err);
        if (status) return status;
        if (isnan(x)) return qn_fail(err, QN_ERR_DATA, "%s: key \"%s\" holds NaN", where, key);
        list->of[i] = (float)x;
    }
    list->n = (uint32_t)v->count;
    return QN_OK;
}

static qn_status read_parameter(const qn_family *f, const qn_parameter *p, const qn_metadata *m,
                                const char *where, qn_hparams *h, qn_error *err)
{
    void *field = (char *)h + p->field;
    char key[128] = "";
    bool found = false;
    double real = 0;
    qn_status status = QN_OK;
    for (size_t i = 0; i < 2 && p->gguf[i] && !found && !status; i++) {
        full_key(f, p->gguf[i], key, sizeof key);
        qn_str text;
        switch (p->kind) {
        case QN_FIELD_COUNT: status = qn_metadata_u64(m, key, field, &found, err); break;
        case QN_FIELD_REAL:
            status = qn_metadata_f64(m, key, &real, &found, err);
            if (!status && found) qn_parameter_set(p, real, h);
            break;
        case QN_FIELD_FLAG:
        case QN_FIELD_NOT_FLAG: status = qn_metadata_bool(m, key, field, &found, err); break;
        case QN_FIELD_REALS:
        case QN_FIELD_LAYERS: break;
        case QN_FIELD_SCALING:
            status = qn_metadata_str(m, key, &text, &found, err);
            if (!status && found) status = qn_rope_scaling_by_name(text, where, field, err);
            break;
        case QN_FIELD_ACTIVATION:
            status = qn_metadata_str(m, key, &text, &found, err);
            if (!status && found) status = qn_activation_by_name(text, where, field, err);
            break;
        case QN_FIELD_COUNTS:
        case QN_FIELD_SLIDES: status = read_counts(p, m, key, where, h, &found, err); break;
        case QN_FIELD_SPARSITY: status = read_sparsity(p, m, key, where, h, &found, err); break;
        }
    }
    if (status || found) return status;
    if (p->gguf_else == QN_REQUIRED)
        return qn_fail(err, QN_ERR_DATA, "%s: key \"%s\" is missing", where,
                       full_key(f, p->gguf[0], key, sizeof key));
    if (p->gguf_else != 0) qn_parameter_set(p, p->gguf_else, h);
    return QN_OK;
}

/* llama.cpp takes a factor without a type as linear scaling, and linear
 * scaling without a factor as none. */
static void settle_scaling(const qn_family *f, const qn_metadata *m, qn_hparams *h)
{
    char key[128];
    const bool typed = qn_metadata_find(m, full_key(f, "rope.scaling.type", key, sizeof key));
    if (!typed && h->rope_factor != 0) h->rope_scaling = QN_ROPE_LINEAR;
    if (h->rope_scaling == QN_ROPE_LINEAR && (h->rope_factor == 0 || h->rope_factor == 1))
        h->rope_scaling = QN_ROPE_NONE;
    if (h->rope_scaling == QN_ROPE_NONE) h->rope_factor = 0;
}

/* What llama.cpp takes for granted in a way that no row can say (llama4.cpp). */
static void settle_llama4(const qn_family *f, const qn_metadata *m, qn_hparams *h)
{
    char key[128];
    if (h->no_norm_at_experts && h->n_experts == h->no_norm_at_experts &&
        !qn_metadata_find(m, full_key(f, "attention.norm_behind_rope", key, sizeof key)))
        h->norm_behind_rope = false;
    if (h->window_is_chunk && !h->window &&
        !qn_metadata_find(m, full_key(f, "rope.layers", key, sizeof key)))
        h->no_rope_period = h->n_layers + 1; /* beyond the last */
}

qn_status qn_hparams_from_metadata(const qn_family *family, const qn_metadata *m, const char *where,
                                   uint64_t embedding_rows, qn_hparams *out, qn_error *err)
{
    qn_hparams h = {0};
    for (size_t i = 0; i < qn_family_n_parameters(family); i++) {
        const qn_status status =
            read_parameter(family, qn_family_parameter(family, i), m, where, &h, err);
        if (status) return status;
    }
    if (!h.n_vocab) {
        const qn_meta_value *tokens = qn_metadata_find(m, "tokenizer.ggml.tokens");
        h.n_vocab = tokens ? tokens->count : embedding_rows;
    }
    settle_scaling(family, m, &h);
    settle_llama4(family, m, &h);
    const qn_status status = qn_hparams_complete(&h, where, err);
    if (!status) *out = h;
    return status;
}

static bool any_slides(const qn_hparams *h)
{
    for (uint64_t i = 0; i < h->n_layers; i++)
        if (qn_hparams_layer(h, i).slides) return true;
    return false;
}

static bool turns_by(const qn_hparams *h, uint64_t period)
{
    for (uint64_t i = 0; i < h->n_layers; i++)
        if (qn_hparams_layer(h, i).turns != (!period || (i + 1) % period != 0)) return false;
    return true;
}

static bool slides_by(const qn_hparams *h, uint64_t period)
{
    for (uint64_t i = 0; i < h->n_layers; i++)
        if (qn_hparams_layer(h, i).slides != (!period || (i + 1) % period != 0)) return false;
    return true;
}

static double value_of(const qn_parameter *p, const qn_hparams *h)
{
    if (p->kind == QN_FIELD_REAL) return qn_parameter_real(p, h);
    const bool is_flag = p->kind == QN_FIELD_FLAG || p->kind == QN_FIELD_NOT_FLAG;
    return is_flag ? qn_parameter_flag(p, h) : (double)qn_parameter_count(p, h);
}

/* Where windows are chunks and no layer has one, runtimes give every layer rope. */
static uint64_t usual_turns(const qn_parameter *p, const qn_hparams *h)
{
    return h->window_is_chunk && !h->window ? 0 : (uint64_t)p->gguf_else;
}

static bool is_written(const qn_parameter *p, const qn_hparams *h)
{
    const bool yarn = h->rope_scaling == QN_ROPE_YARN;
    switch (p->write) {
    case QN_WRITE_NEVER: return false;
    case QN_WRITE_ALWAYS: return true;
    case QN_WRITE_SCALED: return yarn || h->rope_scaling == QN_ROPE_LINEAR;
    case QN_WRITE_YARN: return yarn;
    case QN_WRITE_YARN_SET: return yarn && value_of(p, h) != 0;
    case QN_WRITE_YARN_UNUSUAL: return yarn && value_of(p, h) != p->gguf_else;
    case QN_WRITE_SET: return value_of(p, h) != 0;
    case QN_WRITE_UNUSUAL: return value_of(p, h) != p->gguf_else;
    case QN_WRITE_SLIDING: return any_slides(h);
    case QN_WRITE_LONGROPE: return h->rope_scaling == QN_ROPE_LONGROPE;
    case QN_WRITE_UNUSUAL_TURNS: return !turns_by(h, usual_turns(p, h));
    case QN_WRITE_UNUSUAL_SLIDES: return any_slides(h) && !slides_by(h, (uint64_t)p->gguf_else);
    case QN_WRITE_UNUSUAL_SCALE:
        return h->attention_scale != 0 && h->attention_scale != qn_hparams_usual_scale(h);
    case QN_WRITE_UNUSUAL_NORM:
        return h->norm_behind_rope != (h->n_experts != h->no_norm_at_experts);
    }
    return false;
}

static qn_status write_counts(const qn_parameter *p, const qn_hparams *h, const char *key,
                              qn_metadata *m, qn_error *err)
{
    const qn_layer_counts *list = qn_parameter_list(p, (qn_hparams *)h);
    int32_t numbers[QN_MAX_LAYERS];
    uint8_t flags[QN_MAX_LAYERS];
    for (uint32_t i = 0; i < list->n; i++) {
        numbers[i] = (int32_t)list->of[i];
        flags[i] = list->of[i] != 0;
    }
    if (p->kind == QN_FIELD_SLIDES)
        return qn_metadata_set(m, key, QN_META_ARRAY, QN_META_BOOL, list->n,
                               qn_str_of((const char *)flags, list->n), err);
    if (list->n) return qn_metadata_set_i32s(m, key, numbers, list->n, err);
    return qn_metadata_set_u32(m, key, (uint32_t)qn_parameter_count(p, h), err);
}

static qn_status write_sparsity(const qn_parameter *p, const qn_hparams *h, const char *key,
                                qn_metadata *m, qn_error *err)
{
    const qn_layer_reals *list = (const qn_layer_reals *)(const void *)((const char *)h + p->list);
    return qn_metadata_set_f32s(m, key, list->of, list->n, err);
}

static qn_status write_parameter(const qn_family *f, const qn_parameter *p, const qn_hparams *h,
                                 qn_metadata *m, qn_error *err)
{
    char key[128];
    if (!is_written(p, h)) return QN_OK;
    full_key(f, p->gguf[0], key, sizeof key);
    switch (p->kind) {
    case QN_FIELD_COUNT:
        return qn_metadata_set_u32(m, key, (uint32_t)qn_parameter_count(p, h), err);
    case QN_FIELD_REAL: return qn_metadata_set_f32(m, key, (float)qn_parameter_real(p, h), err);
    case QN_FIELD_FLAG:
    case QN_FIELD_NOT_FLAG: return qn_metadata_set_bool(m, key, qn_parameter_flag(p, h), err);
    case QN_FIELD_REALS:
    case QN_FIELD_LAYERS: return QN_OK;
    case QN_FIELD_SCALING:
        return qn_metadata_set_str(m, key, qn_str_z(qn_rope_scaling_name(h->rope_scaling)), err);
    case QN_FIELD_ACTIVATION:
        return qn_metadata_set_str(m, key, qn_str_z(qn_activation_name(h->activation)), err);
    case QN_FIELD_COUNTS:
    case QN_FIELD_SLIDES: return write_counts(p, h, key, m, err);
    case QN_FIELD_SPARSITY: return write_sparsity(p, h, key, m, err);
    }
    return QN_OK;
}

static bool is_called(const qn_parameter *p, const char *key)
{
    return p->gguf[0] && !strcmp(p->gguf[0], key);
}

static bool is_listed(const qn_family *f, const qn_parameter *p)
{
    for (const char *const *key = f->common_keys; key && *key; key++)
        if (is_called(p, *key)) return true;
    return false;
}

/* A common key that the converter leaves out for this family: written where
 * runtimes would take another value without it. */
static bool is_missed(const qn_parameter *p, const qn_hparams *h)
{
    if (!p->gguf[0] || !is_written(p, h)) return false;
    if (p->field == offsetof(qn_hparams, head_dim) || p->field == offsetof(qn_hparams, value_dim))
        return qn_parameter_count(p, h) * h->n_heads != h->hidden;
    return p->kind == QN_FIELD_REAL && qn_parameter_real(p, h) != p->gguf_else;
}

static qn_status write_common(const qn_family *f, const qn_hparams *h, qn_metadata *m,
                              qn_error *err)
{
    qn_status status = QN_OK;
    if (!f->common_keys) {
        for (size_t i = 0; i < qn_n_common_parameters && !status; i++)
            status = write_parameter(f, &qn_common_parameters[i], h, m, err);
        return status;
    }
    for (const char *const *key = f->common_keys; *key && !status; key++) {
        bool own = false;
        for (size_t i = 0; i < f->n_parameters && !status; i++)
            if (is_called(&f->parameters[i], *key)) {
                own = true;
                status = write_parameter(f, &f->parameters[i], h, m, err);
            }
        for (size_t i = 0; i < qn_n_common_parameters && !own && !status; i++)
            if (is_called(&qn_common_parameters[i], *key))
                status = write_parameter(f, &qn_common_parameters[i], h, m, err);
    }
    return status;
}

static qn_status write_missed(const qn_family *f, const qn_hparams *h, qn_metadata *m,
                              qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; f->common_keys && i < qn_n_common_parameters && !status; i++) {
        const qn_parameter *p = &qn_common_parameters[i];
        if (!is_listed(f, p) && is_missed(p, h)) status = write_parameter(f, p, h, m, err);
    }
    return status;
}

qn_status qn_hparams_to_metadata(const qn_family *family, const qn_hparams *h, uint32_t file_type,
                                 qn_metadata *m, qn_error *err)
{
    qn_status status;
    if ((status = write_common(family, h, m, err)) ||
        (status = qn_metadata_set_u32(m, "general.file_type", file_type, err)))
        return status;
    for (size_t i = 0; i < family->n_parameters; i++) {
        const qn_parameter *p = &family->parameters[i];
        if (p->first || is_listed(family, p)) continue;
        if ((status = write_parameter(family, p, h, m, err))) return status;
    }
    return write_missed(family, h, m, err);
}

qn_status qn_hparams_first_metadata(const qn_family *family, const qn_hparams *h, qn_metadata *m,
                                    qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < family->n_parameters && !status; i++)
        if (family->parameters[i].first)
            status = write_parameter(family, &family->parameters[i], h, m, err);
    return status;
}
