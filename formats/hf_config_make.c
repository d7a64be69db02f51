/* config.json from hyperparameters: the way back of hf_config.c. */
#include <math.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/hf_config.h"

/* ---- values ------------------------------------------------------------------------------- */

static json_t *layers_value(const qn_parameter *p, const qn_hparams *h)
{
    const qn_layer_counts *list = qn_parameter_list(p, (qn_hparams *)h);
    json_t *array = json_array();
    for (uint32_t i = 0; i < list->n; i++)
        if (list->of[i]) json_array_append_new(array, json_integer(i));
    return array;
}

static json_t *list_value(const qn_parameter *p, const qn_hparams *h)
{
    const qn_layer_counts *list = qn_parameter_list(p, (qn_hparams *)h);
    const bool words = p->kind == QN_FIELD_SLIDES;
    if (!list->n) return json_integer((json_int_t)qn_parameter_count(p, h));
    json_t *array = json_array();
    for (uint32_t i = 0; i < list->n; i++)
        json_array_append_new(
            array, words ? json_string(list->of[i] ? qn_sliding_word(h) : "full_attention")
                         : json_integer(list->of[i]));
    return array;
}

static json_t *sparsity_value(const qn_parameter *p, const qn_hparams *h)
{
    const qn_layer_reals *list = (const qn_layer_reals *)(const void *)((const char *)h + p->list);
    json_t *array = json_array();
    for (uint32_t i = 0; i < list->n; i++)
        json_array_append_new(array, json_real((1.0 + erf((double)list->of[i] / sqrt(2.0))) / 2.0));
    return array;
}

static json_t *reals_value(const qn_parameter *p, const qn_hparams *h)
{
    const qn_layer_reals *list = (const qn_layer_reals *)(const void *)((const char *)h + p->list);
    json_t *array = json_array();
    for (uint32_t i = 0; i < list->n; i++)
        json_array_append_new(array, json_real(qn_json_shortest((double)list->of[i])));
    return array;
}

static json_t *value_of(const qn_parameter *p, const qn_hparams *h)
{
    const bool slides = h->window != 0;
    switch (p->kind) {
    case QN_FIELD_COUNT:
        if (p->field == offsetof(qn_hparams, window) && !slides &&
            (p->config_else == 0 || p->null_is_zero))
            return json_null();
        return json_integer((json_int_t)qn_parameter_count(p, h));
    case QN_FIELD_REAL:
        if (p->whole) return json_integer(llround(qn_parameter_real(p, h)));
        return json_real(qn_json_shortest(qn_parameter_real(p, h)));
    case QN_FIELD_FLAG:
        if (p->field == offsetof(qn_hparams, use_window)) return json_boolean(slides);
        return json_boolean(qn_parameter_flag(p, h));
    case QN_FIELD_NOT_FLAG: return json_boolean(!qn_parameter_flag(p, h));
    case QN_FIELD_REALS: return reals_value(p, h);
    case QN_FIELD_SCALING: return json_string(qn_rope_scaling_name(h->rope_scaling));
    case QN_FIELD_ACTIVATION: return json_string(qn_activation_name(h->activation));
    case QN_FIELD_LAYERS: return layers_value(p, h);
    case QN_FIELD_COUNTS:
    case QN_FIELD_SLIDES: return list_value(p, h);
    case QN_FIELD_SPARSITY: return sparsity_value(p, h);
    }
    return NULL;
}

/* Rope's own keys are left out where they say nothing, and so is what has 0 for
 * "none". */
static bool is_said(const qn_parameter *p, const qn_hparams *h)
{
    if (!p->config[0] || p->in_rope == QN_IN_SLIDING_ROPE) return false;
    if (p->kind == QN_FIELD_REALS) return h->rope_scaling == QN_ROPE_LONGROPE;
    const bool list = p->kind == QN_FIELD_SLIDES || p->kind == QN_FIELD_LAYERS;
    if (list && !qn_parameter_list(p, (qn_hparams *)h)->n) return false;
    if (p->kind == QN_FIELD_COUNT && !p->may_be_zero && !p->null_is_zero &&
        !qn_parameter_count(p, h))
        return false;
    if (!p->in_rope && p->kind == QN_FIELD_REAL) return qn_parameter_real(p, h) != 0;
    if (!p->in_rope) return true;
    /* Proportional rope has no such key; 1 is as good as none. */
    if (h->rope_scaling == QN_ROPE_PROPORTIONAL && p->field == offsetof(qn_hparams, rope_factor))
        return qn_parameter_real(p, h) != 0 && qn_parameter_real(p, h) != 1;
    if (p->kind == QN_FIELD_COUNT) return qn_parameter_count(p, h) != 0;
    if (p->kind == QN_FIELD_NOT_FLAG) return qn_parameter_flag(p, h);
    return p->kind == QN_FIELD_SCALING || qn_parameter_real(p, h) != 0;
}

static json_t *first_word(const char *words)
{
    return json_stringn(words, strcspn(words, "|"));
}

/* Of rope's keys theta stands in the root, in the form that every version reads;
 * without scaling there is no other place, and Phi's original context stands in both. */
static bool is_scaling(const qn_parameter *p, const qn_hparams *h)
{
    return p->in_rope && p->field != offsetof(qn_hparams, rope_theta) &&
           (h->rope_scaling != QN_ROPE_NONE || p->kind == QN_FIELD_SCALING);
}

static bool is_in_root(const qn_family *f, const qn_parameter *p, const qn_hparams *h)
{
    const bool own = p >= f->parameters && p < f->parameters + f->n_parameters;
    return !is_scaling(p, h) || (own && p->field == offsetof(qn_hparams, rope_original_ctx));
}

static int fill(json_t *o, json_t *rope, const qn_family *f, const qn_hparams *h)
{
    int bad = 0;
    for (size_t i = 0; i < qn_family_n_parameters(f); i++) {
        const qn_parameter *p = qn_family_parameter(f, i);
        if (!is_said(p, h)) continue;
        if (is_scaling(p, h)) bad |= json_object_set_new(rope, p->config[0], value_of(p, h));
        if (is_in_root(f, p, h)) bad |= json_object_set_new(o, p->config[0], value_of(p, h));
    }
    for (size_t i = 0; i < f->n_conditions; i++)
        if (f->conditions[i].text && !f->conditions[i].unsaid)
            bad |= json_object_set_new(o, f->conditions[i].key, first_word(f->conditions[i].text));
    return bad;
}

/* Rope by kind of layer, as transformers 5 has it: full's, and theta in both. */
static int nest_rope(json_t *o, const json_t *full, const qn_hparams *h)
{
    json_t *parameters =
        json_pack("{s:O,s:{s:s,s:f}}", "full_attention", full, "sliding_attention", "rope_type",
                  "default", "rope_theta", qn_json_shortest(h->rope_theta_swa));
    json_t *mine = json_object_get(parameters, "full_attention");
    int bad = !parameters;
    if (h->rope_scaling == QN_ROPE_NONE)
        bad |= json_object_set_new(mine, "rope_type", json_string("default"));
    bad |= json_object_set_new(mine, "rope_theta", json_real(qn_json_shortest(h->rope_theta)));
    return bad | json_object_set_new(o, "rope_parameters", parameters);
}

/* ---- lists as the numbers that a class takes ---------------------------------------------- */

static bool has_key(const qn_family *f, const char *key)
{
    for (size_t i = 0; i < f->n_parameters; i++)
        if (f->parameters[i].config[0] && !strcmp(f->parameters[i].config[0], key)) return true;
    return false;
}

/* Widths that use_double_wide_mlp gives. */
static qn_status fold_widths(const qn_family *f, qn_hparams *h, const char *where, qn_error *err)
{
    qn_layer_counts *list = &h->feed_forward_of;
    const uint64_t own = h->n_layers - h->n_shared_kv, width = list->of[0];
    bool same = true, wide = true;
    if (!list->n || !has_key(f, "use_double_wide_mlp")) return QN_OK;
    for (uint64_t i = 0; i < list->n; i++) {
        same &= list->of[i] == width;
        wide &= list->of[i] == width * (i < own ? 1 : 2);
    }
    if (!same && !wide)
        return qn_fail(
            err, QN_ERR_UNSUPPORTED,
            "%s: config.json of %s cannot say these widths of MLPs: %llu, and twice that "
            "in the last %llu layers only",
            where, f->name, (unsigned long long)width, (unsigned long long)h->n_shared_kv);
    h->feed_forward = width;
    h->wide_shared_mlp = !same;
    list->n = 0;
    return QN_OK;
}

/* One number of KV heads, and where keys are values another in full layers. */
static qn_status fold_kv_heads(const qn_family *f, qn_hparams *h, const char *where, qn_error *err)
{
    qn_layer_counts *list = &h->n_kv_heads_of;
    bool good = true, same = true;
    if (!list->n || !has_key(f, "num_global_key_value_heads")) return QN_OK;
    for (uint64_t i = 0; i < list->n; i++) {
        good &= list->of[i] == (h->slides.of[i] ? h->n_kv_heads : h->n_kv_heads_full);
        same &= list->of[i] == list->of[0];
    }
    if (!good || (!same && !h->value_is_key))
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: config.json of %s cannot say these KV heads by layer", where, f->name);
    if (!h->value_is_key) h->n_kv_heads_full = 0;
    list->n = 0;
    return QN_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

qn_status qn_hf_config_make(const qn_family *family, const qn_hparams *of, const char *where,
                            const char *dtype, json_t **out, qn_error *err)
{
    qn_hparams *h = qn_alloc(1, sizeof *h);
    json_t *o = json_object(), *rope = json_object();
    int bad = !h || !o || !rope;
    qn_status status = QN_OK;
    if (bad) goto out;
    *h = *of;
    if ((status = fold_widths(family, h, where, err)) ||
        (status = fold_kv_heads(family, h, where, err)))
        goto out;
    const size_t class = h->shared_feed_forward ? family->shared_class : 0;
    bad |= json_object_set_new(o, "architectures", json_pack("[s]", family->classes[class]));
    bad |= json_object_set_new(o, "model_type", json_string(family->model_types[class]));
    bad |= json_object_set_new(o, "torch_dtype", json_string(dtype));
    bad |= fill(o, rope, family, h);
    if (h->window && h->rope_theta_swa != 0)
        bad |= nest_rope(o, rope, h);
    else if (h->rope_scaling == QN_ROPE_NONE)
        bad |= json_object_set_new(o, "rope_scaling", json_null());
    else
        bad |= json_object_set(o, "rope_scaling", rope);
out:
    if (bad) status = qn_fail_memory(err, "config.json");
    json_decref(rope);
    qn_free(h);
    if (status)
        json_decref(o);
    else
        *out = o;
    return status;
}
