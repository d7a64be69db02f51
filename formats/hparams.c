#include "formats/hparams.h"

#include <math.h>

/* ---- layers --------------------------------------------------------------------------- */

uint64_t qn_layer_count(const qn_layer_counts *list, uint64_t layer, uint64_t otherwise)
{
    return layer < list->n ? list->of[layer] : otherwise;
}

static uint64_t or_else(uint64_t v, uint64_t otherwise)
{
    return v ? v : otherwise;
}

static bool slides(const qn_hparams *h, uint64_t layer)
{
    return h->window && qn_layer_count(&h->slides, layer, 0);
}

uint64_t qn_hparams_kv_layer(const qn_hparams *h, uint64_t layer)
{
    const uint64_t own = h->n_shared_kv < h->n_layers ? h->n_layers - h->n_shared_kv : 0;
    if (layer < own) return layer;
    for (uint64_t i = own; i-- > 0;)
        if (slides(h, i) == slides(h, layer)) return i;
    return h->n_layers;
}

qn_layer_sizes qn_hparams_layer(const qn_hparams *h, uint64_t layer)
{
    const bool slide = slides(h, layer);
    return (qn_layer_sizes){
        .slides = slide,
        .turns = qn_layer_count(&h->turns, layer, 1) != 0,
        .routed = h->n_experts && qn_layer_count(&h->routed, layer, 1),
        .window = slide ? h->window : 0,
        .n_kv_heads = qn_layer_count(&h->n_kv_heads_of, layer, h->n_kv_heads),
        .head_dim = slide ? or_else(h->head_dim_swa, h->head_dim) : h->head_dim,
        .value_dim = slide ? or_else(h->value_dim_swa, h->value_dim) : h->value_dim,
        .rope_dims = slide ? or_else(h->rope_dims_swa, h->rope_dims) : h->rope_dims,
        .feed_forward = qn_layer_count(&h->feed_forward_of, layer, h->feed_forward),
    };
}

double qn_hparams_usual_scale(const qn_hparams *h)
{
    const uint64_t size =
        h->n_layers == h->scale_by_hidden_at ? h->hidden / h->n_heads : h->head_dim;
    return (double)(float)(1.0 / sqrt((double)size));
}

/* ---- names ---------------------------------------------------------------------------- */

static const char *const scaling_names[] = {
    [QN_ROPE_NONE] = "none",         [QN_ROPE_LINEAR] = "linear",
    [QN_ROPE_LLAMA3] = "llama3",     [QN_ROPE_YARN] = "yarn",
    [QN_ROPE_LONGROPE] = "longrope", [QN_ROPE_PROPORTIONAL] = "proportional",
    [QN_ROPE_DYNAMIC] = "dynamic",
};
#define N_SCALINGS (sizeof scaling_names / sizeof *scaling_names)

const char *qn_rope_scaling_name(qn_rope_scaling s)
{
    return (size_t)s < N_SCALINGS ? scaling_names[s] : "unknown";
}

const char *qn_sliding_word(const qn_hparams *h)
{
    return h->window_is_chunk ? "chunked_attention" : "sliding_attention";
}

static const char *const activation_names[] = {
    [QN_SILU] = "silu",
    [QN_GELU_TANH] = "gelu_pytorch_tanh",
};
#define N_ACTIVATIONS (sizeof activation_names / sizeof *activation_names)

const char *qn_activation_name(qn_activation a)
{
    return (size_t)a < N_ACTIVATIONS ? activation_names[a] : "unknown";
}

qn_status qn_activation_by_name(qn_str name, const char *where, qn_activation *out, qn_error *err)
{
    for (size_t i = 0; i < N_ACTIVATIONS; i++)
        if (qn_str_is(name, activation_names[i])) {
            *out = (qn_activation)i;
            return QN_OK;
        }
    return qn_fail(err, QN_ERR_UNSUPPORTED,
                   "%s: the activation is \"%.*s\"; silu and gelu_pytorch_tanh are supported",
                   where, (int)name.n, name.s);
}

qn_status qn_rope_scaling_by_name(qn_str name, const char *where, qn_rope_scaling *out,
                                  qn_error *err)
{
    for (size_t i = 0; i < N_SCALINGS; i++)
        if (qn_str_is(name, scaling_names[i])) {
            *out = (qn_rope_scaling)i;
            return QN_OK;
        }
    if (qn_str_is(name, "su")) { /* Phi-3's first word for it */
        *out = QN_ROPE_LONGROPE;
        return QN_OK;
    }
    if (qn_str_is(name, "default")) { /* transformers' word */
        *out = QN_ROPE_NONE;
        return QN_OK;
    }
    return qn_fail(
        err, QN_ERR_UNSUPPORTED,
        "%s: rope scaling \"%.*s\" is not one of default, linear, dynamic, llama3, yarn, longrope, "
        "proportional",
        where, (int)name.n, name.s);
}
