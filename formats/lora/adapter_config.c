#include "formats/lora/adapter_config.h"

#include <math.h>
#include <string.h>

#include "formats/base/alloc.h"

enum { MOST_CONFIG = 64 << 20 };

/* ---- what is more than LoRA --------------------------------------------------------- */

/* Initializations that take something away from the base's weights: what was saved
 * fits that other base only. */
static const char *const other_base[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};

/* "..._config" fields that only say how A and B began. */
static const char *const beginnings[] = {"loftq_config", "eva_config", "corda_config",
                                         "lora_ga_config", "runtime_config"};

/* Fields that are null unless they change what the adapter computes. */
static const char *const more[] = {"alora_invocation_tokens", "layer_replication"};

/* "use_..." fields that we know. */
static const char *const known[] = {"use_rslora", "use_dora"};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static bool is_one_of(const char *word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(word, list[i])) return true;
    return false;
}

static bool is_set(const json_t *v)
{
    if (json_is_object(v)) return json_object_size(v) > 0;
    if (json_is_array(v)) return json_array_size(v) > 0;
    return !json_is_null(v) && !json_is_false(v);
}

/* Whether a field that is set makes another adapter of it: use_dora, kasa_config ... */
static bool is_more(const char *key)
{
    const bool uses = !strncmp(key, "use_", strlen("use_")) && !is_one_of(key, known, COUNT(known));
    const bool configures = qn_str_ends(qn_str_z(key), "_config");
    return uses || is_one_of(key, more, COUNT(more)) ||
           (configures && !is_one_of(key, beginnings, COUNT(beginnings)));
}

static qn_status refuse_more(const qn_lora_config *c, qn_error *err)
{
    const char *key;
    json_t *v;
    json_object_foreach(c->root, key, v) if (is_set(v) && is_more(key)) return qn_fail(
        err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is set: only LoRA, rsLoRA and DoRA are merged",
        c->where, key);
    const char *init = json_string_value(json_object_get(c->root, "init_lora_weights"));
    for (size_t i = 0; init && i < COUNT(other_base); i++)
        if (!strncmp(init, other_base[i], strlen(other_base[i])))
            return qn_fail(err, QN_ERR_UNSUPPORTED,
                           "%s: init_lora_weights \"%s\" changed the base's weights; save the "
                           "adapter with PEFT's conversion to LoRA",
                           c->where, init);
    return QN_OK;
}

static qn_status check_type(const qn_lora_config *c, qn_error *err)
{
    qn_str type;
    const qn_status status = qn_json_str(c->root, "peft_type", c->where, &type, NULL, err);
    if (status || qn_str_is(type, "LORA")) return status;
    return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: peft_type is \"%.*s\": only LORA is merged",
                   c->where, (int)type.n, type.s);
}

/* ---- numbers -------------------------------------------------------------------------- */

static qn_status check_rank(const qn_lora_config *c, const char *key, double rank, qn_error *err)
{
    enum { MOST = 1 << 30 };
    if (rank >= 1 && rank <= MOST && rank == floor(rank)) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": a rank of %g", c->where, key, rank);
}

static qn_status check_alpha(const qn_lora_config *c, const char *key, double alpha, qn_error *err)
{
    if (isfinite(alpha)) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": an alpha of %g", c->where, key, alpha);
}

typedef qn_status (*check_fn)(const qn_lora_config *c, const char *key, double v, qn_error *err);

static qn_status read_number(const qn_lora_config *c, const char *key, check_fn check, double *out,
                             qn_error *err)
{
    const qn_status status = qn_json_f64(c->root, key, c->where, out, NULL, err);
    return status ? status : check(c, key, *out, err);
}

/* peft/utils/other.py, get_pattern_key. */
static qn_status compile(const qn_lora_config *c, const char *key, qn_regex **out, qn_error *err)
{
    qn_text text = {0};
    qn_error why = {0};
    qn_text_addf(&text, "^(?:.*\\.)?(?:%s)$", key);
    qn_status status = text.failed ? qn_fail_memory(err, c->where)
                                   : qn_regex_new(out, text.s, QN_REGEX_ECMASCRIPT, &why);
    if (!text.failed && status)
        status = qn_fail(err, QN_ERR_DATA, "%s: pattern \"%s\": %s", c->where, key, why.message);
    qn_text_free(&text);
    return status;
}

static qn_status read_patterns(const qn_lora_config *c, const char *field, check_fn check,
                               qn_lora_patterns *out, qn_error *err)
{
    const json_t *o = json_object_get(c->root, field);
    const char *key;
    json_t *v;
    qn_status status = QN_OK;
    if (!o || json_is_null(o)) return QN_OK;
    if (!json_is_object(o))
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is no object", c->where, field);
    out->of = qn_alloc(json_object_size(o), sizeof *out->of);
    if (!out->of) return qn_fail_memory(err, c->where);
    json_object_foreach((json_t *)o, key, v)
    {
        qn_lora_pattern *p = &out->of[out->n];
        if ((status = qn_json_f64(o, key, c->where, &p->value, NULL, err)) ||
            (status = check(c, key, p->value, err)) || (status = compile(c, key, &p->regex, err)))
            return status;
        out->n++;
    }
    return QN_OK;
}

static void free_patterns(qn_lora_patterns *p)
{
    for (size_t i = 0; i < p->n; i++) qn_regex_free(p->of[i].regex);
    qn_free(p->of);
}

/* ---- opening ---------------------------------------------------------------------------- */

static qn_status read_all(qn_lora_config *c, qn_error *err)
{
    bool found;
    qn_status status;
    if (!json_is_object(c->root))
        return qn_fail(err, QN_ERR_DATA, "%s: not a JSON object", c->where);
    if ((status = check_type(c, err)) || (status = refuse_more(c, err)) ||
        (status = read_number(c, "r", check_rank, &c->rank, err)) ||
        (status = read_number(c, "lora_alpha", check_alpha, &c->alpha, err)) ||
        (status = qn_json_bool(c->root, "use_rslora", c->where, &c->rslora, &found, err)) ||
        (status = qn_json_bool(c->root, "use_dora", c->where, &c->dora, &found, err)) ||
        (status =
             qn_json_bool(c->root, "fan_in_fan_out", c->where, &c->fan_in_fan_out, &found, err)) ||
        (status = read_patterns(c, "rank_pattern", check_rank, &c->ranks, err)))
        return status;
    return read_patterns(c, "alpha_pattern", check_alpha, &c->alphas, err);
}

qn_status qn_lora_config_open(qn_lora_config *c, const char *directory, qn_error *err)
{
    qn_lora_config mine = {.where = qn_path_join(directory, "adapter_config.json")};
    qn_status status = QN_OK;
    if (!mine.where)
        status = qn_fail_memory(err, directory);
    else if (!qn_path_exists(mine.where))
        status = qn_fail(err, QN_ERR_DATA, "%s: is not there: %s is no adapter of PEFT's",
                         mine.where, directory);
    if (!status) status = qn_json_load(mine.where, MOST_CONFIG, &mine.root, err);
    if (!status) status = read_all(&mine, err);
    if (status)
        qn_lora_config_close(&mine);
    else
        *c = mine;
    return status;
}

void qn_lora_config_close(qn_lora_config *c)
{
    free_patterns(&c->ranks);
    free_patterns(&c->alphas);
    if (c->root) json_decref(c->root);
    qn_free(c->where);
    *c = (qn_lora_config){0};
}

/* ---- asking ------------------------------------------------------------------------------ */

static qn_status value_for(const qn_lora_patterns *p, qn_str module, double *out, bool *found,
                           qn_error *err)
{
    size_t start, end;
    *found = false;
    for (size_t i = 0; i < p->n; i++) {
        const qn_status status = qn_regex_find(p->of[i].regex, module, 0, &start, &end, found, err);
        if (status) return status;
        if (!*found) continue;
        *out = p->of[i].value;
        return QN_OK;
    }
    return QN_OK;
}

/* By the module's name, or else by the parameter's. */
static qn_status pattern_value(const qn_lora_patterns *p, qn_str module, const char *parameter,
                               double *out, qn_error *err)
{
    qn_text name = {0};
    bool found;
    qn_status status = value_for(p, module, out, &found, err);
    if (status || found || !p->n) return status;
    qn_text_addf(&name, "%.*s.%s", (int)module.n, module.s, parameter);
    status = name.failed ? qn_fail_memory(err, "an adapter")
                         : value_for(p, qn_str_of(name.s, name.n), out, &found, err);
    qn_text_free(&name);
    return status;
}

qn_status qn_lora_config_scaling(const qn_lora_config *c, qn_str module, const char *parameter,
                                 uint64_t *rank, double *scaling, qn_error *err)
{
    double r = c->rank, alpha = c->alpha;
    qn_status status = pattern_value(&c->ranks, module, parameter, &r, err);
    if (!status) status = pattern_value(&c->alphas, module, parameter, &alpha, err);
    if (status) return status;
    *rank = (uint64_t)r;
    *scaling = alpha / (c->rslora ? sqrt(r) : r);
    return QN_OK;
}

const json_t *qn_lora_config_tokens(const qn_lora_config *c, qn_str module)
{
    const json_t *all = json_object_get(c->root, "trainable_token_indices");
    const char *key;
    json_t *v;
    if (json_is_array(all)) return all;
    json_object_foreach((json_t *)all, key, v)
    {
        const size_t n = strlen(key);
        if (module.n >= n && !memcmp(module.s + module.n - n, key, n) &&
            (module.n == n || module.s[module.n - n - 1] == '.') && json_is_array(v))
            return v;
    }
    return NULL;
}
