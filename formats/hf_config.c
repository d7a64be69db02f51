#include "formats/hf_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"

/* ---- opening ----------------------------------------------------------------------- */

enum { MOST_BYTES = 64 << 20 }; /* of a config.json */

static const json_t *object(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_object(v) ? v : NULL;
}

static const json_t *rope_of(const json_t *o)
{
    const json_t *rope = object(o, "rope_parameters");
    return rope ? rope : object(o, "rope_scaling");
}

qn_status qn_hf_config_open(qn_hf_config **out, const char *dir, qn_error *err)
{
    qn_status status = QN_OK;
    qn_hf_config *c = qn_alloc(1, sizeof *c);
    if (!c || !(c->path = qn_path_join(dir, "config.json"))) {
        status = qn_fail_memory(err, "config.json");
        goto out;
    }
    if ((status = qn_json_load(c->path, MOST_BYTES, &c->root, err))) goto out;
    if (!json_is_object(c->root)) {
        status = qn_fail(err, QN_ERR_DATA, "%s: not a JSON object", c->path);
        goto out;
    }
    c->text = object(c->root, "text_config");
    if (!c->text) c->text = c->root;
    c->rope = rope_of(c->text);
    if (!c->rope) c->rope = rope_of(c->root);
    if (object(c->rope, "full_attention") || object(c->rope, "sliding_attention")) {
        c->sliding_rope = object(c->rope, "sliding_attention");
        c->rope = object(c->rope, "full_attention");
    }
    *out = c;
    c = NULL;
out:
    qn_hf_config_close(c);
    return status;
}

void qn_hf_config_close(qn_hf_config *c)
{
    if (!c) return;
    if (c->root) json_decref(c->root);
    qn_free(c->path);
    qn_free(c);
}

/* ---- which family ------------------------------------------------------------------- */

qn_status qn_hf_config_family(const qn_hf_config *c, const qn_family **out, qn_error *err)
{
    char known[512];
    const json_t *classes = json_object_get(c->root, "architectures");
    const char *class = json_string_value(json_array_get(classes, 0));
    const char *type = json_string_value(json_object_get(c->root, "model_type"));
    const qn_family *f = NULL;
    if (class)
        f = qn_family_by_class(class);
    else if (type)
        f = qn_family_by_model_type(type);
    else
        return qn_fail(err, QN_ERR_DATA,
                       "%s: neither \"architectures\" nor \"model_type\" says what model this is; "
                       "--family can (%s)",
                       c->path, qn_family_names(known, sizeof known));
    if (!f)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: architecture %s is not known; --family reads it as one that is, or "
                       "with its tensors' own names (%s)",
                       c->path, class ? class : type, qn_family_names(known, sizeof known));
    *out = f;
    return QN_OK;
}

/* ---- hyperparameters ----------------------------------------------------------------- */

static bool has(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return v && !json_is_null(v);
}

/* The object that has key, or NULL. */
static const json_t *holder(const qn_hf_config *c, const char *key, qn_rope_place in_rope)
{
    if (in_rope == QN_IN_SLIDING_ROPE) return has(c->sliding_rope, key) ? c->sliding_rope : NULL;
    if (in_rope && has(c->rope, key)) return c->rope;
    if (has(c->text, key)) return c->text;
    return has(c->root, key) ? c->root : NULL;
}

/* One element of a list: a number, or the kind of a layer. */
static bool read_element(const json_t *v, const qn_hparams *h, uint32_t *out)
{
    const char *word = json_string_value(v);
    if (word) {
        *out = !strcmp(word, qn_sliding_word(h));
        return *out || !strcmp(word, "full_attention");
    }
    const json_int_t n = json_integer_value(v);
    *out = (uint32_t)n;
    return json_is_integer(v) && n >= 0 && n <= INT32_MAX;
}

static qn_status read_counts(const qn_hf_config *c, const qn_parameter *p, const json_t *o,
                             const char *key, qn_hparams *h, qn_error *err)
{
    const json_t *v = json_object_get(o, key);
    const size_t n = json_array_size(v);
    qn_layer_counts *list = qn_parameter_list(p, h);
    if (!json_is_array(v))
        return qn_json_u64(o, key, c->path, (void *)((char *)h + p->field), NULL, err);
    if (n < 1 || n > QN_MAX_LAYERS)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" lists %zu layers, not 1 to %d", c->path, key,
                       n, QN_MAX_LAYERS);
    for (size_t i = 0; i < n; i++)
        if (!read_element(json_array_get(v, i), h, &list->of[i])) {
            char *said = json_dumps(json_array_get(v, i), JSON_ENCODE_ANY | JSON_COMPACT);
            const qn_status status =
                qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\"[%zu] is %.80s, which is not known",
                        c->path, key, i, said ? said : "?");
            free(said); /* jansson's own */
            return status;
        }
    list->n = (uint32_t)n;
    return QN_OK;
}

/* Numbers of layers become flags; transformers does not mind numbers beyond the last. */
static qn_status read_layers(const qn_hf_config *c, const qn_parameter *p, const json_t *o,
                             const char *key, qn_hparams *h, qn_error *err)
{
    const json_t *v = json_object_get(o, key);
    const size_t n = json_array_size(v);
    qn_layer_counts *list = qn_parameter_list(p, h);
    if (!json_is_array(v) || h->n_layers > QN_MAX_LAYERS)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is no list of numbers below %d", c->path, key,
                       QN_MAX_LAYERS);
    list->n = (uint32_t)h->n_layers;
    for (size_t i = 0; i < n; i++) {
        const json_int_t layer = json_integer_value(json_array_get(v, i));
        if (!json_is_integer(json_array_get(v, i)) || layer < 0)
            return qn_fail(err, QN_ERR_DATA, "%s: \"%s\"[%zu] is no layer's number", c->path, key,
                           i);
        if ((uint64_t)layer < h->n_layers) list->of[layer] = 1;
    }
    return QN_OK;
}

/* The quantile of a standard normal distribution, as torch's icdf gives it in
 * float32: the error function's inverse, rounded, by the root of 2. */
static float normal_quantile(float p)
{
    const double y = (double)(2.0F * p - 1.0F);
    double low = 0.0, high = 6.0; /* beyond, the error function is 1 */
    if (y <= -1.0) return -INFINITY;
    for (int i = 0; i < 100; i++) {
        const double middle = (low + high) / 2.0;
        if (erf(middle) < fabs(y))
            low = middle;
        else
            high = middle;
    }
    return copysignf((float)low, (float)y) * (float)sqrt(2.0);
}

static qn_status read_sparsity(const qn_hf_config *c, const qn_parameter *p, const json_t *o,
                               const char *key, qn_hparams *h, qn_error *err)
{
    const json_t *v = json_object_get(o, key);
    const size_t n = json_array_size(v);
    qn_layer_reals *list = (qn_layer_reals *)(void *)((char *)h + p->list);
    if (n < 1 || n > QN_MAX_LAYERS)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" lists %zu layers, not 1 to %d", c->path, key,
                       n, QN_MAX_LAYERS);
    for (size_t i = 0; i < n; i++) {
        const double share = json_number_value(json_array_get(v, i));
        if (!json_is_number(json_array_get(v, i)) || !(share >= 0 && share < 1))
            return qn_fail(err, QN_ERR_DATA, "%s: \"%s\"[%zu] is not a number from 0 to below 1",
                           c->path, key, i);
        list->of[i] = normal_quantile((float)share);
    }
    list->n = (uint32_t)n;
    return QN_OK;
}

static qn_status read_reals(const qn_hf_config *c, const qn_parameter *p, const json_t *o,
                            const char *key, qn_hparams *h, qn_error *err)
{
    const json_t *v = json_object_get(o, key);
    const size_t n = json_array_size(v);
    qn_layer_reals *list = (qn_layer_reals *)(void *)((char *)h + p->list);
    if (!json_is_array(v) || n < 1 || n > QN_MAX_LAYERS)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is no list of 1 to %d numbers", c->path, key,
                       QN_MAX_LAYERS);
    for (size_t i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(v, i)))
            return qn_fail(err, QN_ERR_DATA, "%s: \"%s\"[%zu] is no number", c->path, key, i);
        list->of[i] = (float)json_number_value(json_array_get(v, i));
    }
    list->n = (uint32_t)n;
    return QN_OK;
}

/* A number is a flag as Python has it: Llama 4's first configurations have 4 for true. */
static qn_status read_flag(const qn_hf_config *c, const qn_parameter *p, const json_t *o,
                           const char *key, qn_hparams *h, qn_error *err)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v))
        return qn_json_bool(o, key, c->path, (void *)((char *)h + p->field), NULL, err);
    qn_parameter_set(p, json_integer_value(v) != 0, h);
    return QN_OK;
}

static qn_status read_value(const qn_hf_config *c, const qn_parameter *p, const json_t *o,
                            const char *key, qn_hparams *h, qn_error *err)
{
    void *field = (char *)h + p->field;
    qn_status status = QN_OK;
    qn_str text;
    double real;
    switch (p->kind) {
    case QN_FIELD_COUNT: return qn_json_u64(o, key, c->path, field, NULL, err);
    case QN_FIELD_FLAG: return read_flag(c, p, o, key, h, err);
    case QN_FIELD_NOT_FLAG:
        status = qn_json_bool(o, key, c->path, field, NULL, err);
        if (!status) qn_parameter_set(p, !qn_parameter_flag(p, h), h);
        return status;
    case QN_FIELD_REAL:
        status = qn_json_f64(o, key, c->path, &real, NULL, err);
        if (!status) qn_parameter_set(p, real, h);
        return status;
    case QN_FIELD_REALS: return read_reals(c, p, o, key, h, err);
    case QN_FIELD_LAYERS: return read_layers(c, p, o, key, h, err);
    case QN_FIELD_SCALING:
        status = qn_json_str(o, key, c->path, &text, NULL, err);
        return status ? status : qn_rope_scaling_by_name(text, c->path, field, err);
    case QN_FIELD_ACTIVATION:
        status = qn_json_str(o, key, c->path, &text, NULL, err);
        return status ? status : qn_activation_by_name(text, c->path, field, err);
    case QN_FIELD_COUNTS:
    case QN_FIELD_SLIDES: return read_counts(c, p, o, key, h, err);
    case QN_FIELD_SPARSITY: return read_sparsity(c, p, o, key, h, err);
    }
    return status;
}

static qn_status read_parameter(const qn_hf_config *c, const qn_parameter *p, qn_hparams *h,
                                qn_error *err)
{
    for (size_t i = 0; i < QN_CONFIG_NAMES && p->config[i]; i++) {
        const json_t *o = p->root_first && has(c->root, p->config[i])
                              ? c->root
                              : holder(c, p->config[i], p->in_rope);
        if (!o) continue;
        const qn_status status = read_value(c, p, o, p->config[i], h, err);
        if (status) return status;
        /* 0 would be taken for "not said" */
        const bool counts = p->kind == QN_FIELD_COUNT ||
                            (p->kind == QN_FIELD_COUNTS && !qn_parameter_list(p, h)->n);
        if (counts && !p->may_be_zero && !qn_parameter_count(p, h))
            return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is 0", c->path, p->config[i]);
        return QN_OK;
    }
    if (p->config_else == QN_REQUIRED)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is missing", c->path, p->config[0]);
    if (p->null_is_zero && json_is_null(json_object_get(c->text, p->config[0]))) return QN_OK;
    if (p->config_else != 0) qn_parameter_set(p, p->config_else, h);
    return QN_OK;
}

/* ---- per_layer_config -------------------------------------------------------------------- */

/* The list that an override goes to, each layer in it first as it is without:
 * 0 for the head size, which the kind of layer decides. */
static qn_layer_counts *list_of(const char *key, qn_hparams *h)
{
    static const struct {
        const char *key;
        size_t list, base;
    } known[] = {
        {"head_dim", offsetof(qn_hparams, head_dim_of), 0},
        {"num_key_value_heads", offsetof(qn_hparams, n_kv_heads_of),
         offsetof(qn_hparams, n_kv_heads)},
        {"intermediate_size", offsetof(qn_hparams, feed_forward_of),
         offsetof(qn_hparams, feed_forward)},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].key, key) != 0) continue;
        qn_layer_counts *list = (qn_layer_counts *)(void *)((char *)h + known[i].list);
        const uint64_t base =
            known[i].base ? *(const uint64_t *)(const void *)((char *)h + known[i].base) : 0;
        while (list->n < h->n_layers) list->of[list->n++] = (uint32_t)base;
        return list;
    }
    return NULL;
}

static qn_status read_override(const qn_hf_config *c, const char *layer, const json_t *o,
                               qn_hparams *h, qn_error *err)
{
    const char *key;
    json_t *v;
    char *end;
    const unsigned long long number = strtoull(layer, &end, 10);
    if (end == layer || *end || number >= h->n_layers || !json_is_object(o))
        return qn_fail(err, QN_ERR_DATA,
                       "%s: \"per_layer_config\": \"%.20s\" is none of %llu layers", c->path, layer,
                       (unsigned long long)h->n_layers);
    json_object_foreach((json_t *)o, key, v)
    {
        qn_layer_counts *list = list_of(key, h);
        const json_int_t n = json_integer_value(v);
        if (!list)
            return qn_fail(err, QN_ERR_UNSUPPORTED,
                           "%s: \"per_layer_config\": \"%.40s\" of layer %llu is not known",
                           c->path, key, number);
        if (!json_is_integer(v) || n < 1 || n > INT32_MAX)
            return qn_fail(err, QN_ERR_DATA,
                           "%s: \"per_layer_config\": \"%.40s\" of layer %llu is not a size",
                           c->path, key, number);
        list->of[number] = (uint32_t)n;
    }
    return QN_OK;
}

static qn_status read_overrides(const qn_hf_config *c, qn_hparams *h, qn_error *err)
{
    const char *layer;
    json_t *o;
    if (!has(c->text, "per_layer_config") || h->n_layers > QN_MAX_LAYERS) return QN_OK;
    /* Then it says everything: layers that it does not name are as the plain keys
     * have them, whatever their kind. */
    const json_int_t head_dim = json_integer_value(json_object_get(c->text, "head_dim"));
    h->n_kv_heads_full = 0;
    if (head_dim > 0 && head_dim <= INT32_MAX)
        for (; h->head_dim_of.n < h->n_layers; h->head_dim_of.n++)
            h->head_dim_of.of[h->head_dim_of.n] = (uint32_t)head_dim;
    json_object_foreach(json_object_get(c->text, "per_layer_config"), layer, o)
    {
        const qn_status status = read_override(c, layer, o, h, err);
        if (status) return status;
    }
    return QN_OK;
}

/* ---- conditions --------------------------------------------------------------------------- */

/* Sliding layers of a rope of their own rotate plainly. */
static qn_status check_sliding_rope(const qn_hf_config *c, qn_error *err)
{
    const char *type = json_string_value(json_object_get(c->sliding_rope, "rope_type"));
    if (!type || !strcmp(type, "default")) return QN_OK;
    return qn_fail(err, QN_ERR_UNSUPPORTED,
                   "%s: sliding layers have rope type \"%.40s\"; only \"default\" is supported",
                   c->path, type);
}

/* words: with | between them. */
static bool is_one_of(const char *word, const char *words)
{
    const size_t n = strlen(word);
    for (const char *p = words; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (!strncmp(p, word, n) && (p[n] == '\0' || p[n] == '|')) return true;
    return false;
}

static qn_status check_condition(const qn_hf_config *c, const qn_condition *k, qn_error *err)
{
    const json_t *o = holder(c, k->key, QN_IN_ROPE);
    if (!o) return QN_OK;
    const json_t *v = json_object_get(o, k->key);
    if (k->text) {
        const char *s = json_string_value(v);
        if (s && is_one_of(s, k->text)) return QN_OK;
    } else if ((json_is_array(v) && !json_array_size(v) && k->number == 0) ||
               (json_is_number(v) && json_number_value(v) == k->number) ||
               (json_is_boolean(v) && json_boolean_value(v) == (k->number != 0))) {
        return QN_OK;
    }
    char *said = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    const qn_status status =
        k->text ? qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is %.80s; only \"%s\" is supported",
                          c->path, k->key, said ? said : "?", k->text)
                : qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is %.80s; only %g is supported",
                          c->path, k->key, said ? said : "?", k->number);
    free(said); /* jansson's own */
    return status;
}

qn_status qn_hf_config_hparams(const qn_hf_config *c, const qn_family *family, qn_hparams *out,
                               qn_error *err)
{
    qn_hparams h = {0};
    qn_status status = QN_OK;
    for (size_t i = 0; i < family->n_conditions; i++)
        if ((status = check_condition(c, &family->conditions[i], err))) return status;
    for (size_t i = 0; i < qn_family_n_parameters(family); i++)
        if ((status = read_parameter(c, qn_family_parameter(family, i), &h, err))) return status;
    if ((status = check_sliding_rope(c, err)) || (status = read_overrides(c, &h, err)) ||
        (status = qn_hparams_complete(&h, c->path, err)))
        return status;
    *out = h;
    return QN_OK;
}
