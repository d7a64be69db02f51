#include "formats/hparams.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/families/family.h"

/* ---- completing and checking ---------------------------------------------------- */

/* GGUF keeps sizes as u32 and llama.cpp reads them as int32. */
static const uint64_t most = INT32_MAX;

static qn_status check_size(uint64_t v, const char *what, const char *where, qn_error *err)
{
    if (v >= 1 && v <= most) return QN_OK;
    qn_fail(err, QN_ERR_DATA, "%s: %s is %llu, not 1 to %llu", where, what, (unsigned long long)v,
            (unsigned long long)most);
    return QN_ERR_DATA;
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
    if ((status = check_size(h->n_layers, "the number of layers", where, err)) ||
        (status = check_size(h->n_ctx_train, "the context length", where, err)) ||
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
    if (!h->n_kv_heads) h->n_kv_heads = h->n_heads;
    if (!h->head_dim) h->head_dim = h->hidden / h->n_heads;
    if (!h->value_dim) h->value_dim = h->head_dim;
    if (!h->rope_dims) h->rope_dims = h->head_dim;
    if ((status = check_size(h->n_kv_heads, "the number of KV heads", where, err)) ||
        (status = check_size(h->head_dim, "the head size", where, err)) ||
        (status = check_size(h->value_dim, "the size of a head's values", where, err)))
        return status;
    if (h->n_heads % h->n_kv_heads)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: %llu attention heads cannot share %llu KV heads evenly", where,
                       (unsigned long long)h->n_heads, (unsigned long long)h->n_kv_heads);
    return QN_OK;
}

static qn_status complete_rope(qn_hparams *h, const char *where, qn_error *err)
{
    qn_status status;
    if ((status = check_real(h->rms_eps, "the norms' epsilon", where, err)) ||
        (status = check_real(h->rope_theta, "rope theta", where, err)))
        return status;
    if (h->head_dim % 2)
        return qn_fail(err, QN_ERR_DATA, "%s: head size %llu is odd: rope turns pairs", where,
                       (unsigned long long)h->head_dim);
    if (h->rope_dims % 2 || h->rope_dims > h->head_dim)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: %llu rotated elements of a head of %llu: an even number up to the "
                       "head size is needed",
                       where, (unsigned long long)h->rope_dims, (unsigned long long)h->head_dim);
    if (h->rope_scaling == QN_ROPE_NONE) return QN_OK;
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
    if (h->rope_scaling != QN_ROPE_LLAMA3 && h->rope_scaling != QN_ROPE_YARN) return QN_OK;
    if (!h->rope_original_ctx) h->rope_original_ctx = h->n_ctx_train;
    return check_size(h->rope_original_ctx, "rope scaling's original context length", where, err);
}

qn_status qn_hparams_complete(qn_hparams *h, const char *where, qn_error *err)
{
    const qn_status status = complete_sizes(h, where, err);
    return status ? status : complete_rope(h, where, err);
}

/* ---- rope scaling by name ----------------------------------------------------------- */

static const char *const scaling_names[] = {
    [QN_ROPE_NONE] = "none", [QN_ROPE_LINEAR] = "linear",   [QN_ROPE_LLAMA3] = "llama3",
    [QN_ROPE_YARN] = "yarn", [QN_ROPE_DYNAMIC] = "dynamic",
};
#define N_SCALINGS (sizeof scaling_names / sizeof *scaling_names)

const char *qn_rope_scaling_name(qn_rope_scaling s)
{
    return (size_t)s < N_SCALINGS ? scaling_names[s] : "unknown";
}

qn_status qn_rope_scaling_by_name(qn_str name, const char *where, qn_rope_scaling *out,
                                  qn_error *err)
{
    for (size_t i = 0; i < N_SCALINGS; i++)
        if (qn_str_is(name, scaling_names[i])) {
            *out = (qn_rope_scaling)i;
            return QN_OK;
        }
    if (qn_str_is(name, "default")) { /* transformers' word */
        *out = QN_ROPE_NONE;
        return QN_OK;
    }
    return qn_fail(err, QN_ERR_UNSUPPORTED,
                   "%s: rope scaling \"%.*s\" is not one of default, linear, dynamic, llama3, yarn",
                   where, (int)name.n, name.s);
}

/* ---- GGUF's keys ----------------------------------------------------------------------- */

static const char *full_key(const qn_family *f, const char *key, char *buf, size_t n)
{
    snprintf(buf, n, "%s.%s", f->architecture, key);
    return buf;
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
        case QN_FIELD_FLAG: status = qn_metadata_bool(m, key, field, &found, err); break;
        case QN_FIELD_SCALING:
            status = qn_metadata_str(m, key, &text, &found, err);
            if (!status && found) status = qn_rope_scaling_by_name(text, where, field, err);
        }
    }
    if (status || found || !p->gguf[0]) return status;
    if (p->gguf_else == QN_REQUIRED)
        return qn_fail(err, QN_ERR_DATA, "%s: key \"%s\" is missing", where,
                       full_key(f, p->gguf[0], key, sizeof key));
    qn_parameter_set(p, p->gguf_else, h);
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
    const qn_status status = qn_hparams_complete(&h, where, err);
    if (!status) *out = h;
    return status;
}

static bool is_written(const qn_parameter *p, const qn_hparams *h)
{
    const bool yarn = h->rope_scaling == QN_ROPE_YARN;
    switch (p->write) {
    case QN_WRITE_NEVER: return false;
    case QN_WRITE_ALWAYS: return true;
    case QN_WRITE_SCALED: return yarn || h->rope_scaling == QN_ROPE_LINEAR;
    case QN_WRITE_YARN: return yarn;
    case QN_WRITE_YARN_SET: return yarn && qn_parameter_real(p, h) != 0;
    }
    return false;
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
    case QN_FIELD_FLAG: return qn_metadata_set_bool(m, key, qn_parameter_flag(p, h), err);
    case QN_FIELD_SCALING:
        return qn_metadata_set_str(m, key, qn_str_z(qn_rope_scaling_name(h->rope_scaling)), err);
    }
    return QN_OK;
}

qn_status qn_hparams_to_metadata(const qn_family *family, const qn_hparams *h, uint32_t file_type,
                                 qn_metadata *m, qn_error *err)
{
    for (size_t i = 0; i < qn_family_n_parameters(family); i++) {
        qn_status status = QN_OK;
        if (i == qn_n_common_parameters)
            status = qn_metadata_set_u32(m, "general.file_type", file_type, err);
        if (!status) status = write_parameter(family, qn_family_parameter(family, i), h, m, err);
        if (status) return status;
    }
    return QN_OK;
}
