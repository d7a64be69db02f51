/* What a role says: names, shapes on both sides, in which layers it has a tensor. */
#include "formats/families/family.h"

#include <stdio.h>
#include <string.h>

#include "formats/tensor.h"

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

/* For messages. */
/* clang-format off */
static const char *const dim_words[] = {
    [QN_NO_DIM] = "",
    [QN_VOCAB] = "vocabulary",
    [QN_HIDDEN] = "hidden size",
    [QN_FEED_FORWARD] = "feed-forward size",
    [QN_QUERIES] = "heads x head size",
    [QN_KEYS] = "KV heads x head size",
    [QN_VALUES] = "KV heads x value size",
    [QN_ATTENTION] = "heads x value size",
    [QN_ROPE_PAIRS] = "rotated elements / 2",
    [QN_HEAD] = "head size",
    [QN_HEADS] = "heads",
    [QN_LAYER_INPUT] = "input size of a layer",
    [QN_ALL_INPUTS] = "layers x input size of a layer",
    [QN_INPUT_VOCAB] = "vocabulary of the layers' inputs",
    [QN_QUERIES_KEYS_VALUES] = "heads, KV heads and KV heads x head size",
    [QN_GATE_UP] = "2 x feed-forward size",
    [QN_EXPERTS] = "experts",
    [QN_EXPERT_WIDTH] = "expert's width",
    [QN_EXPERT_GATE_UP] = "2 x expert's width",
    [QN_SHARED_WIDTH] = "shared expert's width",
    [QN_OTHER_STREAMS] = "streams but the first",
    [QN_STREAMS] = "streams",
    [QN_STREAMS_SQUARED] = "streams x streams",
    [QN_LAUREL] = "laurel rank",
    [QN_ONE] = "1",
};
/* clang-format on */

/* clang-format off */
static const qn_cut cuts[] = {
    [QN_FIRST_HALF] = {.is_cut = true},
    [QN_SECOND_HALF] = {.is_cut = true, .second = true},
    [QN_EVEN_ROWS] = {.is_cut = true, .alternating = true},
    [QN_ODD_ROWS] = {.is_cut = true, .alternating = true, .second = true},
    [QN_EVEN_COLUMNS] = {.is_cut = true, .columns = true, .alternating = true},
    [QN_ODD_COLUMNS] = {.is_cut = true, .columns = true, .alternating = true, .second = true},
    [QN_TRANSPOSED] = {.transposed = true},
    [QN_TRANSPOSED_EVEN] = {.is_cut = true, .alternating = true, .transposed = true},
    [QN_TRANSPOSED_ODD] = {.is_cut = true, .alternating = true, .second = true, .transposed = true},
    [QN_TRANSPOSED_FIRST] = {.is_cut = true, .transposed = true},
    [QN_TRANSPOSED_SECOND] = {.is_cut = true, .second = true, .transposed = true},
    [QN_PAD_VOCAB] = {0}, /* the last, so that each has a row */
};
/* clang-format on */

qn_cut qn_cut_of(qn_transform t)
{
    return cuts[t];
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
                                 dim_words[role->shape[from]]);
    }
    return buf;
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

bool qn_role_needed(const qn_role *role, const qn_hparams *h, uint64_t layer)
{
    switch (role->need) {
    case QN_OPTIONAL: return false;
    case QN_IF_UNTIED: return !h->tied;
    case QN_IF_OWN_KEYS:
    case QN_IF_OWN_VALUES:
        return qn_hparams_kv_layer(h, layer) == layer && qn_role_allowed(role, h, layer);
    default: return qn_role_allowed(role, h, layer);
    }
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
