/* The families, and what their tables say about a name. */
#include "formats/families/family.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
static const qn_family *const families[] = {
    &qn_family_llama,
    &qn_family_gemma,
    &qn_family_gemma2,
    &qn_family_gemma3,
    &qn_family_gemma4,
    NULL,
};
/* clang-format on */

const qn_family *qn_family_by_name(const char *name)
{
    for (size_t i = 0; families[i]; i++)
        if (!strcmp(families[i]->name, name)) return families[i];
    return NULL;
}

const qn_family *qn_family_by_architecture(const char *name)
{
    for (size_t i = 0; families[i]; i++)
        if (!strcmp(families[i]->architecture, name)) return families[i];
    return NULL;
}

static bool holds(const char *const *list, const char *name)
{
    for (; *list; list++)
        if (!strcmp(*list, name)) return true;
    return false;
}

const qn_family *qn_family_by_class(const char *name)
{
    for (size_t i = 0; families[i]; i++)
        if (holds(families[i]->classes, name)) return families[i];
    return NULL;
}

const qn_family *qn_family_by_model_type(const char *name)
{
    for (size_t i = 0; families[i]; i++)
        if (holds(families[i]->model_types, name)) return families[i];
    return NULL;
}

const char *qn_family_names(char *buf, size_t n)
{
    size_t used = 0;
    buf[0] = '\0';
    for (size_t i = 0; families[i] && used < n; i++)
        used += (size_t)snprintf(buf + used, n - used, "%s, ", families[i]->name);
    if (used < n) snprintf(buf + used, n - used, "generic");
    return buf;
}

/* A layer's number as names spell it: decimal, no leading zero, fits. */
static const char *layer_number(const char *s, uint64_t *layer)
{
    if (*s == '0' && s[1] >= '0' && s[1] <= '9') return NULL;
    const char *p = s;
    uint64_t v = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (p - s == 9) return NULL;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    if (p == s) return NULL;
    *layer = v;
    return p;
}

static bool matches(const char *pattern, const char *name, uint64_t *layer)
{
    const char *hole = strchr(pattern, '%');
    if (!hole) {
        *layer = 0;
        return !strcmp(pattern, name);
    }
    if (strncmp(pattern, name, (size_t)(hole - pattern)) != 0) return false;
    const char *rest = layer_number(name + (hole - pattern), layer);
    return rest && !strcmp(hole + 1, rest);
}

static bool begins(const char *name, const char *with)
{
    return !strncmp(name, with, strlen(with));
}

/* The name as the roles have it; buf for one that is put together. */
static const char *plain_name(const qn_family *f, const char *name, char *buf, size_t n)
{
    for (size_t i = 0; i < f->n_prefixes; i++)
        if (begins(name, f->prefixes[i].from)) {
            snprintf(buf, n, "%s%s", f->prefixes[i].to, name + strlen(f->prefixes[i].from));
            return buf;
        }
    return name;
}

const qn_role *qn_family_role(const qn_family *f, const char *name, bool is_gguf, uint64_t *layer)
{
    char buf[160];
    if (!is_gguf) name = plain_name(f, name, buf, sizeof buf);
    for (size_t i = 0; i < f->n_roles; i++) {
        const qn_role *r = &f->roles[i];
        const char *pattern = is_gguf ? r->gguf : r->checkpoint;
        if (pattern && matches(pattern, name, layer)) return r;
    }
    return NULL;
}

bool qn_family_is_tower(const qn_family *f, const char *name)
{
    for (const char *const *tower = f->towers; tower && *tower; tower++)
        if (begins(name, *tower)) return true;
    return false;
}

bool qn_family_ignores(const qn_family *f, const char *name)
{
    const size_t n = strlen(name);
    for (const char *const *end = f->ignored; *end; end++) {
        const size_t k = strlen(*end);
        if (n >= k && !strcmp(name + n - k, *end)) return true;
    }
    return false;
}

const char *qn_role_name(const char *pattern, uint64_t layer, char *buf, size_t n)
{
    const char *hole = strchr(pattern, '%');
    if (hole)
        snprintf(buf, n, "%.*s%llu%s", (int)(hole - pattern), pattern, (unsigned long long)layer,
                 hole + 1);
    else
        snprintf(buf, n, "%s", pattern);
    return buf;
}

bool qn_role_is_layered(const qn_role *role)
{
    return strchr(role->gguf, '%') != NULL;
}

/* The products cannot overflow: qn_hparams_complete keeps each factor below
 * 2^31. */
static uint64_t dim_size(qn_dim d, const qn_hparams *h, uint64_t layer)
{
    const qn_layer_sizes l = qn_hparams_layer(h, layer);
    switch (d) {
    case QN_NO_DIM: return 0;
    case QN_VOCAB: return h->n_vocab;
    case QN_HIDDEN: return h->hidden;
    case QN_FEED_FORWARD: return l.feed_forward;
    case QN_QUERIES: return h->n_heads * l.head_dim;
    case QN_KEYS: return l.n_kv_heads * l.head_dim;
    case QN_VALUES: return l.n_kv_heads * l.value_dim;
    case QN_ATTENTION: return h->n_heads * l.value_dim;
    case QN_ROPE_PAIRS: return h->rope_dims / 2;
    case QN_HEAD: return l.head_dim;
    case QN_LAYER_INPUT: return h->layer_input;
    case QN_ALL_INPUTS: return h->layer_input * h->n_layers;
    case QN_INPUT_VOCAB: return h->n_input_vocab;
    case QN_ONE: return 1;
    }
    return 0;
}

static const char *dim_words(qn_dim d)
{
    switch (d) {
    case QN_NO_DIM: return "";
    case QN_VOCAB: return "vocabulary";
    case QN_HIDDEN: return "hidden size";
    case QN_FEED_FORWARD: return "feed-forward size";
    case QN_QUERIES: return "heads x head size";
    case QN_KEYS: return "KV heads x head size";
    case QN_VALUES: return "KV heads x value size";
    case QN_ATTENTION: return "heads x value size";
    case QN_ROPE_PAIRS: return "rotated elements / 2";
    case QN_HEAD: return "head size";
    case QN_LAYER_INPUT: return "input size of a layer";
    case QN_ALL_INPUTS: return "layers x input size of a layer";
    case QN_INPUT_VOCAB: return "vocabulary of the layers' inputs";
    case QN_ONE: return "1";
    }
    return "";
}

unsigned qn_role_shape(const qn_role *role, const qn_hparams *h, uint64_t layer,
                       uint64_t dims[QN_ROLE_RANK])
{
    unsigned rank = 0;
    while (rank < QN_ROLE_RANK && role->shape[rank] != QN_NO_DIM) {
        dims[rank] = dim_size(role->shape[rank], h, layer);
        rank++;
    }
    return rank;
}

const char *qn_role_shape_words(const qn_role *role, char *buf, size_t n)
{
    size_t used = 0;
    buf[0] = '\0';
    for (unsigned i = 0; i < QN_ROLE_RANK && role->shape[i] && used < n; i++)
        used += (size_t)snprintf(buf + used, n - used, "%s%s", i ? ", " : "",
                                 dim_words(role->shape[i]));
    return buf;
}

bool qn_role_needed(const qn_role *role, const qn_hparams *h, uint64_t layer)
{
    switch (role->need) {
    case QN_NEEDED: return true;
    case QN_OPTIONAL: return false;
    case QN_IF_UNTIED:
    case QN_ONLY_UNTIED: return !h->tied;
    case QN_IF_OWN_KEYS: return qn_hparams_kv_layer(h, layer) == layer;
    case QN_IF_OWN_VALUES:
        return qn_hparams_kv_layer(h, layer) == layer && qn_role_allowed(role, h, layer);
    case QN_IF_LAYER_INPUTS: return h->layer_input != 0;
    case QN_IF_ATTENTION_BIAS: return h->attention_bias;
    case QN_IF_MLP_BIAS: return h->mlp_bias;
    }
    return true;
}

bool qn_role_allowed(const qn_role *role, const qn_hparams *h, uint64_t layer)
{
    switch (role->need) {
    case QN_NEEDED:
    case QN_OPTIONAL:
    case QN_IF_UNTIED:
    case QN_IF_OWN_KEYS: return true;
    case QN_ONLY_UNTIED: return !h->tied;
    case QN_IF_OWN_VALUES: return !h->value_is_key || qn_hparams_layer(h, layer).slides;
    case QN_IF_LAYER_INPUTS: return h->layer_input != 0;
    case QN_IF_ATTENTION_BIAS: return h->attention_bias;
    case QN_IF_MLP_BIAS: return h->mlp_bias;
    }
    return true;
}
