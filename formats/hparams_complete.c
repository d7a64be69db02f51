/* Hyperparameters that follow from others, and the checks of all. */
#include <math.h>

#include "formats/hparams.h"

/* ---- sizes and rope ---------------------------------------------------------------- */

/* GGUF keeps sizes as u32 and llama.cpp reads them as int32. */
static const uint64_t most = INT32_MAX;

static qn_status check_size(uint64_t v, const char *what, const char *where, qn_error *err)
{
    if (v >= 1 && v <= most) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: %s is %llu, not 1 to %llu", where, what,
                   (unsigned long long)v, (unsigned long long)most);
}

/* 0 and absence are the same to these. */
static qn_status check_optional_real(double v, const char *what, const char *where, qn_error *err)
{
    if (isfinite(v) && v >= 0) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: %s is %g, not a number from 0 up", where, what, v);
}

static qn_status check_real(double v, const char *what, const char *where, qn_error *err)
{
    if (isfinite(v) && v > 0) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: %s is %g, not a positive number", where, what, v);
}

/* The sizes that the file had to give, and those that follow from them. */
static qn_status complete_sizes(qn_hparams *h, const char *where, qn_error *err)
{
    qn_status status;
    if ((status = check_size(h->n_ctx_train, "the context length", where, err)) ||
        (status = check_size(h->hidden, "the hidden size", where, err)) ||
        (status = check_size(h->feed_forward, "the feed-forward size", where, err)) ||
        (status = check_size(h->n_vocab, "the vocabulary's size", where, err)) ||
        (status = check_size(h->n_heads, "the number of attention heads", where, err)))
        return status;
    if (!h->head_dim && h->hidden % h->n_heads)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: hidden size %llu is not a multiple of %llu attention heads, and no "
                       "head size is given",
                       where, (unsigned long long)h->hidden, (unsigned long long)h->n_heads);
    h->has_experts = h->n_experts != 0;
    if (!h->n_kv_heads) h->n_kv_heads = h->n_heads;
    if (!h->n_input_vocab) h->n_input_vocab = h->n_vocab;
    if (!h->head_dim) h->head_dim = h->hidden / h->n_heads;
    if (!h->value_dim) h->value_dim = h->head_dim;
    if (!h->rope_dims && h->rope_partial > 0 && h->rope_partial <= 1 &&
        h->rope_scaling != QN_ROPE_PROPORTIONAL) /* rounded down, but not for float32's sake */
        h->rope_dims = (uint64_t)((double)h->head_dim * h->rope_partial + 1e-4);
    if (!h->rope_dims) h->rope_dims = h->head_dim;
    if (h->rope_partial == 0 && h->rope_dims < h->head_dim) /* as config.json says it */
        h->rope_partial = (double)(float)((double)h->rope_dims / (double)h->head_dim);
    if (h->head_dim_swa && !h->value_dim_swa) h->value_dim_swa = h->head_dim_swa;
    if (h->head_dim_swa && !h->rope_dims_swa) h->rope_dims_swa = h->head_dim_swa;
    if ((status = check_size(h->n_kv_heads, "the number of KV heads", where, err)) ||
        (status = check_size(h->head_dim, "the head size", where, err)) ||
        (status = check_size(h->value_dim, "the size of a head's values", where, err)))
        return status;
    return QN_OK;
}

static qn_status check_factors(const qn_layer_reals *list, const qn_hparams *h, const char *what,
                               const char *where, qn_error *err)
{
    if (list->n != h->rope_dims / 2)
        return qn_fail(err, QN_ERR_DATA, "%s: %u %s, but %llu pairs rotate", where, list->n, what,
                       (unsigned long long)(h->rope_dims / 2));
    for (uint32_t i = 0; i < list->n; i++)
        if (!isfinite(list->of[i]) || !(list->of[i] > 0))
            return qn_fail(err, QN_ERR_DATA, "%s: of the %s number %u is %g", where, what, i,
                           (double)list->of[i]);
    return QN_OK;
}

/* transformers, _compute_longrope_parameters. */
static qn_status complete_longrope(qn_hparams *h, const char *where, qn_error *err)
{
    qn_status status;
    if ((status = check_size(h->rope_original_ctx, "rope scaling's original context length", where,
                             err)) ||
        (status = check_factors(&h->long_factors, h, "long factors", where, err)) ||
        (status = check_factors(&h->short_factors, h, "short factors", where, err)))
        return status;
    h->yarn_attn_factor = 0; /* the same key of config.json */
    const double ratio = (double)h->n_ctx_train / (double)h->rope_original_ctx;
    if (h->rope_factor == 0) h->rope_factor = (double)(float)ratio;
    if (h->longrope_factor == 0)
        h->longrope_factor =
            ratio > 1 ? (double)(float)sqrt(1 + log(ratio) / log((double)h->rope_original_ctx)) : 1;
    return check_real(h->longrope_factor, "rope scaling's attention_factor", where, err);
}

static qn_status complete_mscale(qn_hparams *h, const char *where, qn_error *err)
{
    qn_status status;
    if ((status = check_optional_real(h->yarn_mscale, "rope scaling's mscale", where, err)) ||
        (status =
             check_optional_real(h->yarn_mscale_all, "rope scaling's mscale_all_dim", where, err)))
        return status;
    if (h->yarn_mscale_keys || h->yarn_attn_factor > 0 || !(h->yarn_mscale > 0) ||
        !(h->yarn_mscale_all > 0) || !(h->rope_factor > 1))
        return QN_OK;
    const double tenth = 0.1 * log(h->rope_factor);
    h->yarn_attn_factor =
        (double)(float)((tenth * h->yarn_mscale + 1) / (tenth * h->yarn_mscale_all + 1));
    return QN_OK;
}

static qn_status complete_rope(qn_hparams *h, const char *where, qn_error *err)
{
    qn_status status;
    if ((status = check_real(h->rms_eps, "the norms' epsilon", where, err)) ||
        (status = check_real(h->rope_theta, "rope theta", where, err)))
        return status;
    if (!(h->rope_partial >= 0 && h->rope_partial <= 1))
        return qn_fail(err, QN_ERR_DATA, "%s: rope turns %g of a head, not 0 to 1", where,
                       h->rope_partial);
    if (h->rope_scaling == QN_ROPE_NONE) return QN_OK;
    if (h->rope_scaling == QN_ROPE_PROPORTIONAL) {
        if (h->rope_factor == 0) h->rope_factor = 1;
        if (!(h->rope_partial > 0 && h->rope_partial <= 1))
            return qn_fail(err, QN_ERR_DATA,
                           "%s: proportional rope turns %g of the pairs, not above 0 to 1", where,
                           h->rope_partial);
    }
    if (h->rope_scaling == QN_ROPE_LONGROPE && (status = complete_longrope(h, where, err)))
        return status;
    if ((status = check_real(h->rope_factor, "the rope scaling factor", where, err))) return status;
    if (h->rope_scaling == QN_ROPE_LLAMA3 &&
        ((status = check_real(h->rope_low_freq, "rope scaling's low_freq_factor", where, err)) ||
         (status = check_real(h->rope_high_freq, "rope scaling's high_freq_factor", where, err))))
        return status;
    if (h->rope_scaling == QN_ROPE_YARN &&
        (!(h->yarn_beta_fast >= 0) || !(h->yarn_beta_slow >= 0) || !(h->yarn_attn_factor >= 0)))
        return qn_fail(err, QN_ERR_DATA,
                       "%s: yarn's beta_fast %g, beta_slow %g, factor %g: "
                       "none may be negative",
                       where, h->yarn_beta_fast, h->yarn_beta_slow, h->yarn_attn_factor);
    if (h->rope_scaling == QN_ROPE_YARN && (status = complete_mscale(h, where, err))) return status;
    if (h->rope_scaling != QN_ROPE_LLAMA3 && h->rope_scaling != QN_ROPE_YARN) return QN_OK;
    if (!h->rope_original_ctx) h->rope_original_ctx = h->n_ctx_train;
    return check_size(h->rope_original_ctx, "rope scaling's original context length", where, err);
}

/* ---- layers that differ ----------------------------------------------------------- */

static qn_status check_list(const qn_layer_counts *list, const qn_hparams *h, const char *what,
                            const char *where, qn_error *err)
{
    if (list->n == 0 || list->n == h->n_layers) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: %s are listed for %u layers, but there are %llu", where,
                   what, list->n, (unsigned long long)h->n_layers);
}

/* The sizes in per_layer_config belong to the kinds of layers, since GGUF has
 * one for each kind. */
static qn_status settle_head_sizes(qn_hparams *h, const char *where, qn_error *err)
{
    if (!h->head_dim_of.n) return QN_OK;
    uint64_t of_kind[2] = {0, 0}; /* full, sliding */
    for (uint64_t i = 0; i < h->n_layers; i++) {
        const uint32_t slides = h->window && h->slides.of[i], said = h->head_dim_of.of[i];
        const uint64_t base = slides && h->head_dim_swa ? h->head_dim_swa : h->head_dim;
        const uint64_t mine = said ? said : base;
        if (of_kind[slides] && of_kind[slides] != mine)
            return qn_fail(err, QN_ERR_UNSUPPORTED,
                           "%s: layer %llu has heads of %llu elements, another %s layer of %llu",
                           where, (unsigned long long)i, (unsigned long long)mine,
                           slides ? "sliding" : "full", (unsigned long long)of_kind[slides]);
        of_kind[slides] = mine;
    }
    if (of_kind[0]) h->head_dim = of_kind[0];
    if (of_kind[1]) h->head_dim_swa = of_kind[1];
    if (!of_kind[0]) h->head_dim = of_kind[1];
    h->head_dim_of.n = 0;
    return QN_OK;
}

static qn_status settle_turns(qn_hparams *h, const char *where, qn_error *err)
{
    if (!h->turns.n && h->no_rope_period) {
        h->turns.n = (uint32_t)h->n_layers;
        for (uint64_t i = 0; i < h->n_layers; i++)
            h->turns.of[i] = (i + 1) % h->no_rope_period != 0;
    }
    return check_list(&h->turns, h, "layers with rope", where, err);
}

static bool any(const qn_layer_counts *list)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (list->of[i]) return true;
    return false;
}

static void settle_routed(qn_hparams *h)
{
    if (h->routed.n || (h->routed_period <= 1 && !any(&h->dense))) return;
    const uint64_t period = h->routed_period ? h->routed_period : 1;
    h->routed.n = (uint32_t)h->n_layers;
    for (uint64_t i = 0; i < h->n_layers; i++)
        h->routed.of[i] = (i + 1) % period == 0 && !qn_layer_count(&h->dense, i, 0);
}

static qn_status settle_windows(qn_hparams *h, const char *where, qn_error *err)
{
    if (h->window > most)
        return qn_fail(err, QN_ERR_DATA, "%s: the sliding window is %llu, not 0 to %llu", where,
                       (unsigned long long)h->window, (unsigned long long)most);
    const qn_status status = check_list(&h->slides, h, "sliding layers", where, err);
    if (status) return status;
    if (h->window_by_flag && !h->use_window) h->window = h->slides.n = 0;
    if (!h->slides.n && h->window) {
        h->slides.n = (uint32_t)h->n_layers;
        for (uint64_t i = 0; i < h->n_layers; i++)
            h->slides.of[i] = h->window_from ? i >= h->window_from
                              : h->window_is_chunk && !h->window_period
                                  ? qn_layer_count(&h->turns, i, 1)
                                  : !h->window_period || (i + 1) % h->window_period != 0;
    }
    if (h->window_is_chunk && !any(&h->slides)) h->window = h->slides.n = 0;
    if (h->last_is_full && h->slides.n == h->n_layers) h->slides.of[h->n_layers - 1] = 0;
    for (uint32_t i = 0; i < h->slides.n; i++)
        if (h->slides.of[i] && !h->window)
            return qn_fail(err, QN_ERR_DATA, "%s: layer %u slides, but the window is 0", where, i);
    return QN_OK;
}

static qn_status check_layer(const qn_hparams *h, uint64_t i, const char *where, qn_error *err)
{
    const qn_layer_sizes l = qn_hparams_layer(h, i);
    qn_status status;
    if ((status = check_size(l.feed_forward, "a layer's feed-forward size", where, err)) ||
        (status = check_size(l.n_kv_heads, "a layer's number of KV heads", where, err)) ||
        (status = check_size(l.head_dim, "the head size", where, err)) ||
        (status = check_size(l.value_dim, "the size of a head's values", where, err)))
        return status;
    if (qn_hparams_kv_layer(h, i) == h->n_layers)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: of %llu layers the last %llu share keys and values, but layer %llu has "
                       "none of its kind to share with",
                       where, (unsigned long long)h->n_layers, (unsigned long long)h->n_shared_kv,
                       (unsigned long long)i);
    const qn_layer_sizes donor = qn_hparams_layer(h, qn_hparams_kv_layer(h, i));
    if (l.n_kv_heads != donor.n_kv_heads || l.head_dim != donor.head_dim ||
        l.value_dim != donor.value_dim)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: layer %llu has %llu KV heads of %llu, the layer whose keys it shares "
                       "%llu of %llu",
                       where, (unsigned long long)i, (unsigned long long)l.n_kv_heads,
                       (unsigned long long)l.head_dim, (unsigned long long)donor.n_kv_heads,
                       (unsigned long long)donor.head_dim);
    if (h->n_heads % l.n_kv_heads)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: %llu attention heads cannot share %llu KV heads evenly", where,
                       (unsigned long long)h->n_heads, (unsigned long long)l.n_kv_heads);
    if (l.head_dim % 2)
        return qn_fail(err, QN_ERR_DATA, "%s: head size %llu is odd: rope turns pairs", where,
                       (unsigned long long)l.head_dim);
    if (l.rope_dims % 2 || l.rope_dims > l.head_dim)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: %llu rotated elements of a head of %llu: an even number up to the "
                       "head size is needed",
                       where, (unsigned long long)l.rope_dims, (unsigned long long)l.head_dim);
    return QN_OK;
}

/* KV heads of full layers as a list, and back. */
static void settle_kv_heads(qn_hparams *h)
{
    qn_layer_counts *list = &h->n_kv_heads_of;
    if (!list->n && h->value_is_key && h->n_kv_heads_full)
        for (; list->n < h->n_layers; list->n++)
            list->of[list->n] =
                (uint32_t)(h->slides.of[list->n] ? h->n_kv_heads : h->n_kv_heads_full);
    for (uint32_t i = list->n; i-- > 0;) {
        if (h->slides.n && !h->slides.of[i])
            h->n_kv_heads_full = list->of[i];
        else
            h->n_kv_heads = list->of[i];
    }
    if (list->n && !h->n_kv_heads) h->n_kv_heads = list->of[0];
    if (!list->n) h->n_kv_heads_full = 0;
}

static void settle_widths(qn_hparams *h)
{
    qn_layer_counts *list = &h->feed_forward_of;
    if (list->n && !h->feed_forward) h->feed_forward = list->of[0];
    if (!h->wide_shared_mlp) return;
    for (uint64_t i = 0; i < h->n_layers; i++)
        list->of[i] = (uint32_t)(h->feed_forward * (i + h->n_shared_kv < h->n_layers ? 1 : 2));
    list->n = (uint32_t)h->n_layers;
}

static qn_status complete_layers(qn_hparams *h, const char *where, qn_error *err)
{
    qn_status status;
    if (h->n_layers < 1 || h->n_layers > QN_MAX_LAYERS)
        return qn_fail(err, QN_ERR_DATA, "%s: the number of layers is %llu, not 1 to %d", where,
                       (unsigned long long)h->n_layers, QN_MAX_LAYERS);
    if ((status = check_list(&h->feed_forward_of, h, "feed-forward sizes", where, err)) ||
        (status = check_list(&h->n_kv_heads_of, h, "KV heads", where, err)) ||
        (status = settle_turns(h, where, err)) || (status = settle_windows(h, where, err)) ||
        (status = check_list(&h->routed, h, "layers with experts", where, err)) ||
        (status = check_list(&h->dense, h, "layers without experts", where, err)))
        return status;
    settle_routed(h);
    if (h->feed_forward > most || h->n_kv_heads > most || h->n_kv_heads_full > most ||
        h->layer_input > most || h->n_input_vocab > most)
        return qn_fail(err, QN_ERR_DATA, "%s: a size is above %llu", where,
                       (unsigned long long)most);
    if (h->sparsity.n && h->sparsity.n != h->n_layers)
        return qn_fail(err, QN_ERR_DATA, "%s: sparsity is listed for %u layers, but there are %llu",
                       where, h->sparsity.n, (unsigned long long)h->n_layers);
    if (h->active_stream || (h->n_streams && h->n_streams != QN_N_STREAMS) || h->laurel_rank > most)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %llu residual streams, laurel rank %llu",
                       where, (unsigned long long)h->n_streams, (unsigned long long)h->laurel_rank);
    settle_kv_heads(h);
    settle_widths(h);
    return settle_head_sizes(h, where, err);
}

static qn_status check_experts(qn_hparams *h, const char *where, qn_error *err)
{
    if (h->n_experts > QN_MAX_EXPERTS)
        return qn_fail(err, QN_ERR_DATA, "%s: %llu experts, more than %d", where,
                       (unsigned long long)h->n_experts, QN_MAX_EXPERTS);
    if (h->shared_feed_forward > most)
        return qn_fail(err, QN_ERR_DATA, "%s: the shared expert's width is %llu, not 0 to %llu",
                       where, (unsigned long long)h->shared_feed_forward, (unsigned long long)most);
    if (!h->n_experts) return QN_OK;
    if (h->n_experts_used < 1 || h->n_experts_used > h->n_experts)
        return qn_fail(err, QN_ERR_DATA, "%s: a token uses %llu of %llu experts", where,
                       (unsigned long long)h->n_experts_used, (unsigned long long)h->n_experts);
    if (!h->expert_feed_forward) h->expert_feed_forward = h->feed_forward;
    return check_size(h->expert_feed_forward, "an expert's width", where, err);
}

static qn_status complete_temperature(qn_hparams *h, const char *where, qn_error *err)
{
    const qn_status status =
        check_optional_real(h->temperature_scale, "the attention's temperature scale", where, err);
    if (h->temperature_by_flag && !h->use_temperature) h->temperature_scale = 0;
    h->use_temperature = h->temperature_scale != 0;
    if (status || h->temperature_scale == 0) return status;
    if (!h->temperature_length && h->rope_scaling != QN_ROPE_YARN)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: attention temperature by the original context of yarn, but rope is %s",
                       where, qn_rope_scaling_name(h->rope_scaling));
    if (!h->temperature_length) h->temperature_length = h->rope_original_ctx;
    return check_size(h->temperature_length, "the attention's temperature length", where, err);
}

static qn_status check_scales(qn_hparams *h, const char *where, qn_error *err)
{
    qn_status status;
    if ((status = check_optional_real(h->query_scalar, "query_pre_attn_scalar", where, err)))
        return status;
    if (!h->attention_scale && h->query_scalar > 0)
        h->attention_scale = (double)(float)(1.0 / sqrt(h->query_scalar));
    if (!h->attention_scale && h->n_layers == h->scale_by_hidden_at)
        h->attention_scale = qn_hparams_usual_scale(h);
    if (!h->query_scalar) { /* for whoever writes a config.json */
        const double scale =
            h->attention_scale > 0 ? h->attention_scale : qn_hparams_usual_scale(h);
        h->query_scalar = (double)(float)(1.0 / (scale * scale));
    }
    if (h->embedding_by_size) h->embedding_scale = (double)(float)sqrt((double)h->hidden);
    if ((status = check_optional_real(h->embedding_scale, "the embeddings' scale", where, err)) ||
        (status = check_optional_real(h->swiglu_alpha, "swiglu_alpha", where, err)) ||
        (status = check_optional_real(h->swiglu_limit, "swiglu_limit", where, err)) ||
        (status = check_optional_real(h->residual_scale, "the branches' scale", where, err)) ||
        (status = check_optional_real(h->logit_divisor, "the logits' divisor", where, err)) ||
        (status = check_optional_real(h->attention_scale, "the attention scale", where, err)) ||
        (status = check_optional_real(h->attention_cap, "the attention scores' cap", where, err)) ||
        (status = check_optional_real(h->rope_theta_swa, "sliding layers' rope theta", where, err)))
        return status;
    return check_optional_real(h->final_cap, "the logits' cap", where, err);
}

qn_status qn_hparams_complete(qn_hparams *h, const char *where, qn_error *err)
{
    qn_status status;
    if ((status = complete_layers(h, where, err)) || (status = complete_sizes(h, where, err)) ||
        (status = complete_rope(h, where, err)) || (status = check_scales(h, where, err)) ||
        (status = complete_temperature(h, where, err)) || (status = check_experts(h, where, err)))
        return status;
    for (uint64_t i = 0; i < h->n_layers; i++)
        if ((status = check_layer(h, i, where, err))) return status;
    return QN_OK;
}
