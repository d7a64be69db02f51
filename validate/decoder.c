#include "validate/decoder.h"

#include <omp.h>
#include <stdio.h>

#include "validate/rope.h"
#include "validate/weights.h"

static qn_status find(const qn_decoder *d, const char *name, uint64_t rows, uint64_t columns,
                      const qn_rows **out, qn_error *err)
{
    const qn_model_tensor *t = qn_model_find(d->model, name);
    if (!t) return qn_fail(err, QN_ERR_DATA, "%s: no tensor \"%s\"", d->model->path, name);
    if (t->rows->rows != rows || t->rows->columns != columns)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is %llu x %llu, expected %llu x %llu",
                       d->model->path, name, (unsigned long long)t->rows->rows,
                       (unsigned long long)t->rows->columns, (unsigned long long)rows,
                       (unsigned long long)columns);
    *out = t->rows;
    return QN_OK;
}

static qn_status find_vector(const qn_decoder *d, const char *name, uint64_t n, const float **out,
                             qn_error *err)
{
    const qn_rows *rows;
    qn_status status = find(d, name, 1, n, &rows, err);
    if (status) return status;
    float *values = qn_arena_alloc(d->arena, (size_t)n, sizeof *values);
    if (!values) return qn_fail_memory(err, name);
    if ((status = rows->decode(rows, d->k, 0, 1, values, err))) return status;
    *out = values;
    return QN_OK;
}

/* Reads a row, so that what cannot be decoded is refused before any work. */
static qn_status find_matrix(const qn_decoder *d, const char *name, uint64_t rows, uint64_t columns,
                             const qn_rows **out, qn_error *err)
{
    const qn_rows *found;
    qn_status status = find(d, name, rows, columns, &found, err);
    if (status) return status;
    float *row = qn_alloc((size_t)columns, sizeof *row);
    if (!row) return qn_fail_memory(err, name);
    status = found->decode(found, d->k, 0, 1, row, err);
    qn_free(row);
    if (!status) *out = found;
    return status;
}

/* "blk.3.attn_q.weight" into out; and its bias if the model has one. */
static qn_status find_linear(const qn_decoder *d, uint64_t layer, const char *role, uint64_t rows,
                             uint64_t columns, qn_linear *out, qn_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)layer, role);
    const qn_status status = find_matrix(d, name, rows, columns, &out->rows, err);
    if (status) return status;
    snprintf(name, sizeof name, "blk.%llu.%s.bias", (unsigned long long)layer, role);
    if (!qn_model_find(d->model, name)) return QN_OK;
    return find_vector(d, name, rows, &out->bias, err);
}

static qn_status find_norm(const qn_decoder *d, uint64_t layer, const char *role, const float **out,
                           qn_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)layer, role);
    return find_vector(d, name, d->hparams->hidden, out, err);
}

static qn_status bind_layer(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    const qn_hparams *h = d->hparams;
    const uint64_t queries = h->n_heads * h->head_dim, keys = h->n_kv_heads * h->head_dim;
    const uint64_t values = h->n_kv_heads * h->value_dim, heads = h->n_heads * h->value_dim;
    qn_status status;
    if ((status = find_norm(d, i, "attn_norm", &l->attention_norm, err)) ||
        (status = find_linear(d, i, "attn_q", queries, h->hidden, &l->query, err)) ||
        (status = find_linear(d, i, "attn_k", keys, h->hidden, &l->key, err)) ||
        (status = find_linear(d, i, "attn_v", values, h->hidden, &l->value, err)) ||
        (status = find_linear(d, i, "attn_output", h->hidden, heads, &l->output, err)) ||
        (status = find_norm(d, i, "ffn_norm", &l->mlp_norm, err)) ||
        (status = find_linear(d, i, "ffn_gate", h->feed_forward, h->hidden, &l->gate, err)) ||
        (status = find_linear(d, i, "ffn_up", h->feed_forward, h->hidden, &l->up, err)))
        return status;
    return find_linear(d, i, "ffn_down", h->hidden, h->feed_forward, &l->down, err);
}

static qn_status bind_rope(qn_decoder *d, qn_error *err)
{
    const uint64_t pairs = d->hparams->rope_dims / 2;
    const float *divisors = NULL;
    if (qn_model_find(d->model, "rope_freqs.weight") ||
        d->hparams->rope_scaling == QN_ROPE_LLAMA3) {
        const qn_status status = find_vector(d, "rope_freqs.weight", pairs, &divisors, err);
        if (status) return status;
    }
    d->rope_frequency = qn_arena_alloc(d->arena, (size_t)pairs, sizeof *d->rope_frequency);
    if (!d->rope_frequency) return qn_fail_memory(err, "rope frequencies");
    qn_rope_frequencies(d->hparams, divisors, d->rope_frequency, &d->rope_factor);
    return QN_OK;
}

static qn_status bind(qn_decoder *d, qn_error *err)
{
    const qn_hparams *h = d->hparams;
    qn_status status =
        find_matrix(d, "token_embd.weight", h->n_vocab, h->hidden, &d->embedding, err);
    if (status) return status;
    d->head = d->embedding;
    if (qn_model_find(d->model, "output.weight") &&
        (status = find_matrix(d, "output.weight", h->n_vocab, h->hidden, &d->head, err)))
        return status;
    if ((status = find_vector(d, "output_norm.weight", h->hidden, &d->final_norm, err)))
        return status;
    d->layers = qn_arena_alloc(d->arena, (size_t)h->n_layers, sizeof *d->layers);
    if (!d->layers) return qn_fail_memory(err, "layers");
    for (uint64_t i = 0; i < h->n_layers; i++)
        if ((status = bind_layer(d, i, &d->layers[i], err))) return status;
    return bind_rope(d, err);
}

qn_status qn_decoder_new(qn_decoder **out, const qn_model *m, const qn_kernels *k, int threads,
                         qn_error *err)
{
    if (!m->family)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: architecture \"%s\" cannot be run, its tensors can only be inspected "
                       "and quantized",
                       m->path, m->architecture);
    qn_status status = QN_OK;
    qn_decoder *d = qn_alloc(1, sizeof *d);
    if (!d || !(d->arena = qn_arena_new())) {
        status = qn_fail_memory(err, "the decoder");
        goto out;
    }
    d->model = m;
    d->hparams = &m->hparams;
    d->k = k;
    d->threads = threads > 0 ? threads : omp_get_max_threads();
    if ((status = bind(d, err))) goto out;
    *out = d;
    d = NULL;
out:
    qn_decoder_free(d);
    return status;
}

void qn_decoder_free(qn_decoder *d)
{
    if (!d) return;
    qn_arena_free(d->arena);
    qn_free(d);
}
