/* What a layer adds to the residual stream: attention, then the MLP. */
#include <math.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "validate/moe.h"
#include "validate/reals.h"
#include "validate/rope.h"
#include "validate/session.h"

void qn_norm_rows(const qn_session *s, const float *x, const float *weight, size_t rows, float *out)
{
    const size_t n = (size_t)s->d->hparams->hidden;
#pragma omp parallel for num_threads(s->d->threads) if (rows > 1)
    for (size_t i = 0; i < rows; i++)
        s->d->norm(x + i * n, weight, s->d->hparams->rms_eps, out + i * n, n);
}

void qn_scale_rows(const qn_session *s, float scale, size_t rows, float *x)
{
    const size_t n = rows * (size_t)s->d->hparams->hidden;
    if (scale == 1.0F) return;
#pragma omp parallel for num_threads(s->d->threads) if (rows > 1)
    for (size_t i = 0; i < n; i++) x[i] *= scale;
}

void qn_add_rows(const qn_session *s, const float *what, size_t rows, float *x)
{
    const size_t n = (size_t)s->d->hparams->hidden;
#pragma omp parallel for num_threads(s->d->threads) if (rows > 1)
    for (size_t i = 0; i < rows; i++) s->d->k->axpy(1.0F, what + i * n, x + i * n, n);
}

qn_status qn_show_input(const qn_session *s, const qn_linear *l, uint64_t expert, const float *x,
                        size_t rows, qn_error *err)
{
    if (!s->watch || l->first) return QN_OK; /* beyond the first: a part shown before */
    const qn_linear_input input = {.tensor = l->name,
                                   .matrix = expert,
                                   .matrices = l->rows->rows / l->step,
                                   .x = x,
                                   .rows = rows,
                                   .columns = (size_t)l->rows->columns,
                                   .same = l->same_input};
    return s->watch(s->watch_ctx, &input, err);
}

qn_status qn_round_inputs(qn_session *s, const qn_linear *l, size_t rows, const float **x,
                          qn_error *err)
{
    const size_t columns = (size_t)l->rows->columns;
    const qn_dtype type = qn_input_type(l->rows->dtype);
    if (!l->same_input) s->rounded_from = NULL; /* whatever stands there now */
    const bool again = s->rounded_from == *x && s->rounded_to == type;
    if (s->d->activations == QN_ACTIVATIONS_EXACT || type == QN_F32) return QN_OK;
    if (rows * columns > s->rounded_floats) { /* no more than the widest of x */
        float *larger = qn_resize(s->rounded, rows * columns, sizeof *larger);
        if (!larger) return qn_fail_memory(err, "activations");
        s->rounded = larger;
        s->rounded_floats = rows * columns;
    }
    if (!again) {
#pragma omp parallel for num_threads(s->d->threads) if (rows > 1)
        for (size_t i = 0; i < rows; i++)
            qn_round_input(s->d->k, type, *x + i * columns, s->rounded + i * columns, columns);
    }
    s->rounded_from = *x;
    s->rounded_to = type;
    *x = s->rounded;
    return QN_OK;
}

qn_status qn_apply_expert(qn_session *s, const qn_linear *l, uint64_t expert, const float *x,
                          size_t rows, float *out, qn_error *err)
{
    const size_t n = (size_t)l->n;
    const uint64_t first = l->first + expert * l->step;
    const float *bias = l->bias ? l->bias + expert * l->bias_step : NULL;
    qn_status status = qn_show_input(s, l, expert, x, rows, err);
    if (!status) status = qn_round_inputs(s, l, rows, &x, err);
    if (!status)
        status = qn_gemm_run(s->gemm, x, (size_t)l->rows->columns, rows, l->rows, first, first + n,
                             out, n, err);
    if (status || !bias) return status;
#pragma omp parallel for num_threads(s->d->threads) if (rows > 1)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++) out[i * n + j] += bias[j];
    return QN_OK;
}

qn_status qn_apply(qn_session *s, const qn_linear *l, const float *x, size_t rows, float *out,
                   qn_error *err)
{
    return qn_apply_expert(s, l, 0, x, rows, out, err);
}

/* What makes silu(gate) * up the clamped product (qn_hparams.swiglu_alpha):
 * g sigmoid(a g) (u + 1) = silu(a g) (u + 1) / a. */
static void clamp_gates(const qn_hparams *h, float *gate, float *up, size_t n)
{
    const float alpha = (float)h->swiglu_alpha, limit = (float)h->swiglu_limit;
    for (size_t i = 0; i < n; i++) {
        const float g = gate[i] > limit ? limit : gate[i];
        const float u = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
        gate[i] = alpha * g;
        up[i] = (u + 1.0F) / alpha;
    }
}

void qn_gelu_mul(const qn_decoder *d, float *gate, const float *up, size_t n)
{
    if (d->activations == QN_ACTIVATIONS_Q8)
        qn_gelu_mul_as_ggml(d->k, gate, up, n);
    else
        d->k->gelu_mul(gate, up, n);
}

void qn_activate(const qn_session *s, float *gate, float *up, size_t rows, size_t width)
{
    const bool clamped = s->d->hparams->swiglu_alpha != 0.0;
    const bool gelu = s->d->hparams->activation == QN_GELU_TANH;
#pragma omp parallel for num_threads(s->d->threads) if (rows > 1)
    for (size_t i = 0; i < rows; i++) {
        if (clamped) clamp_gates(s->d->hparams, gate + i * width, up + i * width, width);
        if (gelu)
            qn_gelu_mul(s->d, gate + i * width, up + i * width, width);
        else
            s->d->k->silu_mul(gate + i * width, up + i * width, width);
    }
}

/* What a branch reads of the residual stream, into s->h. */
static void enter_branch(const qn_session *s, const float *norm, size_t rows, const float *x)
{
    if (norm)
        qn_norm_rows(s, x, norm, rows, s->h);
    else
        memcpy(s->h, x, rows * (size_t)s->d->hparams->hidden * sizeof *x);
}

/* Adds s->h, normed first where the model has a norm for that. */
static void add_branch(const qn_session *s, const float *norm, size_t rows, float *x)
{
    const double scale = s->d->hparams->residual_scale;
    if (norm) qn_norm_rows(s, s->h, norm, rows, s->h);
    if (scale != 0.0) qn_scale_rows(s, (float)scale, rows, s->h);
    qn_add_rows(s, s->h, rows, x);
}

/* ---- attention ---------------------------------------------------------------------- */

/* Cuts tokens t0..t1 of the batch into pieces of one sequence each. */
static size_t cut_spans(const qn_session *s, const qn_block *b)
{
    size_t n_spans = 0;
    for (size_t t = b->t0; t < b->t1;) {
        const size_t in_sequence = t % b->n;
        const size_t count = (size_t)qn_min_u64(b->n - in_sequence, b->t1 - t);
        s->spans[n_spans++] = (qn_span){.sequence = t / b->n,
                                        .row = t - b->t0,
                                        .first = s->cached + b->from + in_sequence,
                                        .n = count};
        t += count;
    }
    return n_spans;
}

static void norm_heads(const qn_session *s, const float *weight, size_t size, float *x, size_t n)
{
    for (size_t i = 0; i < n; i += size)
        s->d->norm(x + i, weight, s->d->hparams->rms_eps, x + i, size);
}

/* What queries at a position are multiplied by (qn_hparams.temperature_scale). */
static float temperature(const qn_hparams *h, uint64_t position)
{
    const uint64_t passed = (position + h->temperature_without_rope) / h->temperature_length;
    return (float)(1.0 + h->temperature_scale * qn_log(1.0 + (double)passed));
}

/* One token's queries: norms, then rope. */
static void finish_queries(const qn_session *s, const qn_layer *l, const float *turn,
                           uint64_t position, size_t row)
{
    const qn_hparams *hp = s->d->hparams;
    const qn_layer_sizes *z = &l->sizes;
    const size_t dims = (size_t)z->rope_dims, head = (size_t)z->head_dim;
    const size_t queries = (size_t)hp->n_heads * head;
    float *q = s->query + row * queries;
    if (l->query_norm) norm_heads(s, l->query_norm, l->query_norm_size, q, queries);
    if (z->turns) qn_rope_rotate(turn, dims, q, (size_t)hp->n_heads, head, hp->rope_halves);
    if (z->turns && hp->norm_behind_rope) norm_heads(s, NULL, head, q, queries);
    if (hp->temperature_scale != 0.0 && !(z->turns && hp->temperature_without_rope)) {
        const float t = temperature(hp, position);
        for (size_t i = 0; i < queries; i++) q[i] *= t;
    }
}

/* And its keys and values. */
static void finish_keys(const qn_session *s, const qn_layer *l, const float *turn, size_t row)
{
    const qn_hparams *hp = s->d->hparams;
    const qn_layer_sizes *z = &l->sizes;
    const size_t dims = (size_t)z->rope_dims, head = (size_t)z->head_dim;
    const size_t keys = (size_t)z->n_kv_heads * head;
    const size_t values = (size_t)(z->n_kv_heads * z->value_dim);
    float *k = s->key + row * keys, *v = s->value + row * values;
    if (!l->value.rows) memcpy(v, k, values * sizeof *v);
    if (hp->value_norm) norm_heads(s, NULL, (size_t)z->value_dim, v, values);
    if (l->key_norm) norm_heads(s, l->key_norm, l->key_norm_size, k, keys);
    if (z->turns) qn_rope_rotate(turn, dims, k, (size_t)z->n_kv_heads, head, hp->rope_halves);
    if (z->turns && hp->norm_behind_rope) norm_heads(s, NULL, head, k, keys);
}

/* Keys and values of h, the block's normed input, into the cache. */
static qn_status keep(qn_session *s, size_t layer, const qn_block *b, qn_error *err)
{
    const qn_layer *l = &s->d->layers[layer];
    const size_t rows = b->t1 - b->t0, dims = (size_t)l->sizes.rope_dims;
    const float *turns = s->turns[l->sizes.slides];
    qn_status status;
    if ((status = qn_apply(s, &l->key, s->h, rows, s->key, err)) ||
        (l->value.rows && (status = qn_apply(s, &l->value, s->h, rows, s->value, err))))
        return status;
#pragma omp parallel for num_threads(s->d->threads) if (rows > 1)
    for (size_t i = 0; i < rows; i++) finish_keys(s, l, turns + qn_block_position(b, i) * dims, i);
    const size_t n_spans = cut_spans(s, b);
    for (size_t i = 0; i < n_spans; i++)
        qn_attention_store(s->attention, layer, &s->spans[i], s->key, s->value);
    return QN_OK;
}

/* Attention for the block's queries, into s->mixed. */
static void look(qn_session *s, size_t layer, const qn_block *b)
{
    const qn_layer *l = &s->d->layers[layer];
    const size_t rows = b->t1 - b->t0, dims = (size_t)l->sizes.rope_dims;
    const float *turns = s->turns[l->sizes.slides];
#pragma omp parallel for num_threads(s->d->threads) if (rows > 1)
    for (size_t i = 0; i < rows; i++) {
        const size_t position = qn_block_position(b, i);
        finish_queries(s, l, turns + position * dims, s->cached + position, i);
    }
    const size_t n_spans = cut_spans(s, b);
    qn_attention_run(s->attention, layer, s->spans, n_spans, l->sinks, s->query, s->mixed);
}

qn_status qn_layer_attend(qn_session *s, size_t layer, qn_block *b, qn_error *err)
{
    const qn_layer *l = &s->d->layers[layer];
    const bool narrows = b->wanted > b->from;
    size_t rows = b->t1 - b->t0;
    qn_status status = QN_OK;
    enter_branch(s, l->attention_norm, rows, b->x);
    s->rounded_from = NULL; /* keys may come first, which count on the queries' rounding */
    if (!narrows && (status = qn_apply(s, &l->query, s->h, rows, s->query, err))) return status;
    if (l->owns_kv && (status = keep(s, layer, b, err))) return status;
    if (narrows) {
        qn_block_narrow(s, b);
        if (!(rows = b->t1 - b->t0)) return QN_OK;
        if ((status = qn_apply(s, &l->query, s->h, rows, s->query, err))) return status;
    }
    look(s, layer, b);
    if ((status = qn_apply(s, &l->output, s->mixed, rows, s->h, err))) return status;
    add_branch(s, l->post_attention_norm, rows, b->x);
    return QN_OK;
}

/* ---- the MLP -------------------------------------------------------------------------- */

/* Each row of gates becomes what exceeds its mean by so many of its standard
 * deviations, else 0 (modeling_gemma3n.py, _gaussian_topk). */
static void thin(const qn_session *s, float deviations, size_t rows, size_t n)
{
#pragma omp parallel for num_threads(s->d->threads) if (rows > 1)
    for (size_t i = 0; i < rows; i++) {
        float *gate = s->gate + i * n;
        double sum = 0.0, squares = 0.0;
        for (size_t j = 0; j < n; j++) sum += (double)gate[j];
        const double mean = sum / (double)n;
        for (size_t j = 0; j < n; j++)
            squares += ((double)gate[j] - mean) * ((double)gate[j] - mean);
        const float cut = (float)mean + (float)sqrt(squares / (double)n) * deviations;
        for (size_t j = 0; j < n; j++) gate[j] = gate[j] > cut ? gate[j] - cut : 0.0F;
    }
}

qn_status qn_mlp_run(qn_session *s, const qn_mlp *mlp, uint64_t expert, const float *x, size_t rows,
                     float *out, qn_error *err)
{
    qn_status status;
    if ((status = qn_apply_expert(s, &mlp->gate, expert, x, rows, s->gate, err)) ||
        (status = qn_apply_expert(s, &mlp->up, expert, x, rows, s->up, err)))
        return status;
    if (mlp->sparse) thin(s, mlp->deviations, rows, (size_t)mlp->gate.n);
    qn_activate(s, s->gate, s->up, rows, (size_t)mlp->gate.n);
    return qn_apply_expert(s, &mlp->down, expert, s->gate, rows, out, err);
}

/* Experts into s->mixture. */
static qn_status mix(qn_session *s, const qn_layer *l, const qn_block *b, qn_error *err)
{
    const size_t rows = b->t1 - b->t0;
    enter_branch(s, l->experts_norm ? l->experts_norm : l->mlp_norm, rows, b->x);
    const qn_status status = qn_moe_run(s, l, s->h, b->x, rows, s->mixture, err);
    if (!status && l->post_experts_norm)
        qn_norm_rows(s, s->mixture, l->post_experts_norm, rows, s->mixture);
    return status;
}

qn_status qn_layer_feed_forward(qn_session *s, size_t layer, const qn_block *b, qn_error *err)
{
    const qn_layer *l = &s->d->layers[layer];
    const size_t rows = b->t1 - b->t0;
    qn_status status;
    if (l->router.rows && (status = mix(s, l, b, err))) return status;
    if (l->mlp.gate.rows) {
        enter_branch(s, l->mlp_norm, rows, b->x);
        if ((status = qn_mlp_run(s, &l->mlp, 0, s->h, rows, s->h, err))) return status;
        if (l->post_dense_norm) qn_norm_rows(s, s->h, l->post_dense_norm, rows, s->h);
        if (l->router.rows) qn_add_rows(s, s->mixture, rows, s->h);
    } else {
        memcpy(s->h, s->mixture, rows * (size_t)s->d->hparams->hidden * sizeof *s->h);
    }
    add_branch(s, l->post_mlp_norm, rows, b->x);
    return QN_OK;
}
