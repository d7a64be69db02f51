/* The families, and what their tables say about a name. */
#include "formats/families/family.h"

#include <stdio.h>
#include <string.h>

#include "formats/tensor.h"

/* clang-format off */
static const qn_family *const families[] = {
    &qn_family_llama,
    &qn_family_llama4,
    &qn_family_mixtral,
    &qn_family_mistral,
    &qn_family_mistral3,
    &qn_family_mistralsmall3,
    &qn_family_smollm3,
    &qn_family_phi3,
    &qn_family_qwen2,
    &qn_family_qwen2moe,
    &qn_family_qwen3,
    &qn_family_qwen3moe,
    &qn_family_olmo2,
    &qn_family_olmo3,
    &qn_family_granite,
    &qn_family_granitemoe,
    &qn_family_gptoss,
    &qn_family_gemma,
    &qn_family_gemma2,
    &qn_family_gemma3,
    &qn_family_gemma4,
    &qn_family_gemma3n,
    NULL,
};
/* clang-format on */

const qn_family *qn_family_by_name(const char *name)
{
    for (size_t i = 0; families[i]; i++)
        if (!strcmp(families[i]->name, name)) return families[i];
    return NULL;
}

static bool is_marked(const qn_family *f, const qn_metadata *m)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", f->architecture, f->key);
    return qn_metadata_find(m, key) != NULL;
}

const qn_family *qn_family_of_gguf(const char *architecture, const qn_metadata *m)
{
    const qn_family *plain = NULL;
    for (size_t i = 0; families[i]; i++) {
        if (strcmp(families[i]->architecture, architecture) != 0) continue;
        if (!families[i]->key)
            plain = families[i];
        else if (is_marked(families[i], m))
            return families[i];
    }
    return plain;
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

qn_status qn_family_asked_for(const char *name, const qn_family **out, qn_error *err)
{
    char known[512];
    *out = name ? qn_family_by_name(name) : NULL;
    if (*out || !name || !strcmp(name, "generic")) return QN_OK;
    return qn_fail(err, QN_ERR_ARGUMENT, "no family is called \"%s\"; there are %s", name,
                   qn_family_names(known, sizeof known));
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

/* A layer's or expert's number as names spell it: decimal, no leading zero, fits. */
static const char *number_in(const char *s, uint64_t *number)
{
    if (*s == '0' && s[1] >= '0' && s[1] <= '9') return NULL;
    const char *p = s;
    uint64_t v = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (p - s == 9) return NULL;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    if (p == s) return NULL;
    *number = v;
    return p;
}

static bool matches(const char *pattern, const char *name, qn_place *place)
{
    *place = (qn_place){0};
    for (; *pattern; pattern++) {
        if (*pattern == '%' || *pattern == '#') {
            name = number_in(name, *pattern == '%' ? &place->layer : &place->expert);
            if (!name) return false;
        } else if (*name++ != *pattern) {
            return false;
        }
    }
    return !*name;
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

const qn_role *qn_family_role(const qn_family *f, const char *name, bool is_gguf,
                              const qn_role *after, qn_place *place)
{
    char buf[160];
    if (!is_gguf) name = plain_name(f, name, buf, sizeof buf);
    for (const qn_role *r = after ? after + 1 : f->roles; r < f->roles + f->n_roles; r++) {
        const char *pattern = is_gguf ? r->gguf : r->checkpoint;
        if (pattern && matches(pattern, name, place)) return r;
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

const char *qn_role_name(const char *pattern, qn_place place, char *buf, size_t n)
{
    size_t used = 0;
    for (; *pattern && used + 1 < n; pattern++) {
        const uint64_t number = *pattern == '%' ? place.layer : place.expert;
        if (*pattern == '%' || *pattern == '#')
            used += (size_t)snprintf(buf + used, n - used, "%llu", (unsigned long long)number);
        else
            buf[used++] = *pattern;
    }
    buf[used < n ? used : n - 1] = '\0';
    return buf;
}

bool qn_role_is_layered(const qn_role *role)
{
    return strchr(role->gguf, '%') != NULL;
}

bool qn_role_is_stacked(const qn_role *role)
{
    return role->checkpoint && strchr(role->checkpoint, '#') != NULL;
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
    case QN_HEADS: return h->n_heads;
    case QN_LAYER_INPUT: return h->layer_input;
    case QN_ALL_INPUTS: return h->layer_input * h->n_layers;
    case QN_INPUT_VOCAB: return h->n_input_vocab;
    case QN_QUERIES_KEYS_VALUES:
        return h->n_heads * l.head_dim + l.n_kv_heads * (l.head_dim + l.value_dim);
    case QN_GATE_UP: return 2 * l.feed_forward;
    case QN_EXPERTS: return h->n_experts;
    case QN_EXPERT_WIDTH: return h->expert_feed_forward;
    case QN_EXPERT_GATE_UP: return 2 * h->expert_feed_forward;
    case QN_SHARED_WIDTH: return h->shared_feed_forward;
    case QN_OTHER_STREAMS: return QN_N_STREAMS - 1;
    case QN_STREAMS: return QN_N_STREAMS;
    case QN_STREAMS_SQUARED: return QN_N_STREAMS * QN_N_STREAMS;
    case QN_LAUREL: return h->laurel_rank;
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
    case QN_HEADS: return "heads";
    case QN_LAYER_INPUT: return "input size of a layer";
    case QN_ALL_INPUTS: return "layers x input size of a layer";
    case QN_INPUT_VOCAB: return "vocabulary of the layers' inputs";
    case QN_QUERIES_KEYS_VALUES: return "heads, KV heads and KV heads x head size";
    case QN_GATE_UP: return "2 x feed-forward size";
    case QN_EXPERTS: return "experts";
    case QN_EXPERT_WIDTH: return "expert's width";
    case QN_EXPERT_GATE_UP: return "2 x expert's width";
    case QN_SHARED_WIDTH: return "shared expert's width";
    case QN_OTHER_STREAMS: return "streams but the first";
    case QN_STREAMS: return "streams";
    case QN_STREAMS_SQUARED: return "streams x streams";
    case QN_LAUREL: return "laurel rank";
    case QN_ONE: return "1";
    }
    return "";
}

qn_cut qn_cut_of(qn_transform t)
{
    switch (t) {
    case QN_FIRST_HALF: return (qn_cut){.is_cut = true};
    case QN_SECOND_HALF: return (qn_cut){.is_cut = true, .second = true};
    case QN_EVEN_ROWS: return (qn_cut){.is_cut = true, .alternating = true};
    case QN_ODD_ROWS: return (qn_cut){.is_cut = true, .alternating = true, .second = true};
    case QN_EVEN_COLUMNS: return (qn_cut){.is_cut = true, .columns = true, .alternating = true};
    case QN_ODD_COLUMNS:
        return (qn_cut){.is_cut = true, .columns = true, .alternating = true, .second = true};
    case QN_TRANSPOSED: return (qn_cut){.transposed = true};
    case QN_TRANSPOSED_EVEN:
        return (qn_cut){.is_cut = true, .alternating = true, .transposed = true};
    case QN_TRANSPOSED_ODD:
        return (qn_cut){.is_cut = true, .alternating = true, .second = true, .transposed = true};
    case QN_TRANSPOSED_FIRST: return (qn_cut){.is_cut = true, .transposed = true};
    case QN_TRANSPOSED_SECOND: return (qn_cut){.is_cut = true, .second = true, .transposed = true};
    default: return (qn_cut){0};
    }
}

/* Which size of the GGUF shape is twice as large in the checkpoint; rank: none. */
static unsigned doubled(qn_cut cut, unsigned rank)
{
    if (!cut.is_cut || rank < 2) return rank;
    return cut.columns ? rank - 1 : rank - 2;
}

uint64_t qn_role_parts(const qn_role *role, const qn_hparams *h)
{
    return dim_size(role->shape[0], h, 0);
}

unsigned qn_role_shape(const qn_role *role, const qn_hparams *h, uint64_t layer, bool is_gguf,
                       uint64_t dims[QN_ROLE_RANK])
{
    unsigned rank = 0;
    for (unsigned i = !is_gguf && qn_role_is_stacked(role); i < QN_ROLE_RANK && role->shape[i]; i++)
        dims[rank++] = dim_size(role->shape[i], h, layer);
    const qn_cut cut = qn_cut_of(role->transform);
    if (!is_gguf && doubled(cut, rank) < rank) dims[doubled(cut, rank)] *= 2;
    if (!is_gguf && rank >= 2 && cut.transposed) {
        const uint64_t rows = dims[rank - 2];
        dims[rank - 2] = dims[rank - 1];
        dims[rank - 1] = rows;
    }
    if (is_gguf && role->transform == QN_PAD_VOCAB) dims[0] = h->n_vocab;
    return rank;
}

const char *qn_role_shape_words(const qn_role *role, bool is_gguf, char *buf, size_t n)
{
    size_t used = 0;
    const qn_cut cut = qn_cut_of(role->transform);
    const unsigned first = !is_gguf && qn_role_is_stacked(role);
    unsigned rank = first;
    while (rank < QN_ROLE_RANK && role->shape[rank]) rank++;
    buf[0] = '\0';
    for (unsigned i = first; i < rank && used < n; i++) {
        const bool turned = !is_gguf && cut.transposed && i + 2 >= rank;
        const unsigned from = turned ? 2 * rank - 3 - i : i; /* the last two change places */
        used += (size_t)snprintf(buf + used, n - used, "%s%s%s", i > first ? ", " : "",
                                 !is_gguf && from == doubled(cut, rank) ? "2 x " : "",
                                 dim_words(role->shape[from]));
    }
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
    case QN_IF_EXPERTS: return h->n_experts != 0;
    case QN_IF_ROUTED: return qn_hparams_layer(h, layer).routed;
    case QN_IF_DENSE: return !qn_hparams_layer(h, layer).routed;
    case QN_IF_SHARED: return h->shared_feed_forward != 0;
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
    case QN_IF_EXPERTS: return h->n_experts != 0;
    case QN_IF_ROUTED: return qn_hparams_layer(h, layer).routed;
    case QN_IF_DENSE: return !qn_hparams_layer(h, layer).routed;
    case QN_IF_SHARED: return h->shared_feed_forward != 0;
    }
    return true;
}

static qn_status check_filled(const qn_role *role, const qn_hparams *h, uint64_t layer,
                              const char *where, qn_error *err)
{
    char name[160], shape[256];
    uint64_t dims[QN_ROLE_RANK];
    const unsigned rank = qn_role_shape(role, h, layer, true, dims);
    for (unsigned i = 0; i < rank; i++)
        if (!dims[i])
            return qn_fail(err, QN_ERR_DATA, "%s: tensor \"%s\" would be empty: %s", where,
                           qn_role_name(role->gguf, (qn_place){.layer = layer}, name, sizeof name),
                           qn_shape_text(dims, rank, shape, sizeof shape));
    return QN_OK;
}

qn_status qn_family_check_sizes(const qn_family *f, const qn_hparams *h, const char *where,
                                qn_error *err)
{
    qn_status status = QN_OK;
    for (uint64_t layer = 0; layer < h->n_layers; layer++)
        for (size_t i = 0; i < f->n_roles && !status; i++)
            if (qn_role_needed(&f->roles[i], h, layer))
                status = check_filled(&f->roles[i], h, layer, where, err);
    return status;
}
