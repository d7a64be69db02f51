#include "validate/moe.h"

#include <math.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"

struct qn_moe_scratch {
    size_t rows;    /* there is room for */
    float *logits;  /* [rows][n_experts], then their softmax */
    uint32_t *used; /* [rows][n_experts_used]: experts, rising */
    float *weights; /* [rows][n_experts_used] */
    uint32_t *mine; /* [rows]: the tokens of one expert, and what they weigh */
    float *share;   /* [rows] */
    float *x;       /* [rows][hidden]: these tokens, then what the expert makes of them */
};

void qn_moe_free(qn_moe_scratch *m)
{
    if (!m) return;
    qn_free(m->logits);
    qn_free(m->used);
    qn_free(m->weights);
    qn_free(m->mine);
    qn_free(m->share);
    qn_free(m->x);
    qn_free(m);
}

uint64_t qn_moe_bytes(const qn_hparams *h, size_t rows)
{
    const double each =
        (double)h->n_experts + 2.0 * (double)h->n_experts_used + 2.0 + (double)h->hidden;
    const double bytes = 4.0 * each * (double)rows;
    return bytes < 0x1p60 ? sizeof(qn_moe_scratch) + (uint64_t)bytes : UINT64_MAX;
}

static qn_status make_room(qn_session *s, size_t rows, qn_error *err)
{
    const qn_hparams *h = s->d->hparams;
    uint64_t logits, used, x;
    if (s->moe && s->moe->rows >= rows) return QN_OK;
    qn_moe_free(s->moe);
    qn_moe_scratch *m = s->moe = qn_alloc(1, sizeof *m);
    if (!m || !qn_mul_u64(rows, h->n_experts, &logits) ||
        !qn_mul_u64(rows, h->n_experts_used, &used) || !qn_mul_u64(rows, h->hidden, &x) ||
        !(m->logits = qn_alloc((size_t)logits, sizeof *m->logits)) ||
        !(m->used = qn_alloc((size_t)used, sizeof *m->used)) ||
        !(m->weights = qn_alloc((size_t)used, sizeof *m->weights)) ||
        !(m->mine = qn_alloc(rows, sizeof *m->mine)) ||
        !(m->share = qn_alloc(rows, sizeof *m->share)) ||
        !(m->x = qn_alloc((size_t)x, sizeof *m->x)))
        return qn_fail_memory(err, "the experts' activations");
    m->rows = rows;
    return QN_OK;
}

/* ---- the router ---------------------------------------------------------------------- */

/* The `used` largest of p[n], as rising indices. */
static void largest(const float *p, size_t n, uint32_t *out, size_t used)
{
    size_t have = 0;
    for (size_t e = 0; e < n; e++) {
        if (have == used) {
            size_t least = 0;
            for (size_t i = 1; i < used; i++)
                if (p[out[i]] <= p[out[least]]) least = i;
            if (!(p[e] > p[out[least]])) continue;
            memmove(out + least, out + least + 1, (used - least - 1) * sizeof *out);
            have--;
        }
        out[have++] = (uint32_t)e;
    }
}

static float sigmoid(const qn_kernels *k, float x)
{
    float e = -x;
    k->exp_sum(&e, 0.0F, 1);
    return 1.0F / (1.0F + e);
}

static void route(const qn_session *s, const qn_layer *l, float *p, uint32_t *used, float *weights)
{
    const qn_hparams *h = s->d->hparams;
    const qn_kernels *k = s->d->k;
    const size_t n = (size_t)h->n_experts, n_used = (size_t)h->n_experts_used;
    if (h->expert_sigmoid) {
        largest(p, n, used, n_used);
        for (size_t i = 0; i < n_used; i++) weights[i] = sigmoid(k, p[used[i]]);
        return;
    }
    float sum = k->exp_sum(p, k->max(p, n), n);
    largest(p, n, used, n_used);
    if (h->expert_norm) {
        sum = 0.0F;
        for (size_t i = 0; i < n_used; i++) sum += p[used[i]];
    }
    for (size_t i = 0; i < n_used; i++) weights[i] = p[used[i]] / sum;
    for (size_t i = 0; i < n_used && l->expert_scale; i++) weights[i] *= l->expert_scale[used[i]];
}

/* What a router with a scale reads: the residual, normed without weights. */
static void ask(const qn_session *s, const qn_layer *l, const float *residual, size_t rows)
{
    const size_t n = (size_t)s->d->hparams->hidden;
    const float by_size = (float)(1.0 / sqrt((double)n));
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < rows; i++) {
        float *x = s->moe->x + i * n;
        s->d->norm(residual + i * n, l->router_scale, s->d->hparams->rms_eps, x, n);
        for (size_t j = 0; j < n; j++) x[j] *= by_size;
    }
}

/* ---- experts --------------------------------------------------------------------------- */

/* The tokens that use expert e, and their weights for it, or these on the tokens. */
static size_t gather(const qn_session *s, uint32_t e, const float *x, size_t rows)
{
    const qn_moe_scratch *m = s->moe;
    const size_t hidden = (size_t)s->d->hparams->hidden;
    const size_t n_used = (size_t)s->d->hparams->n_experts_used;
    const bool on_input = s->d->hparams->expert_sigmoid;
    size_t n = 0;
    for (size_t i = 0; i < rows * n_used; i++) {
        if (m->used[i] != e) continue;
        memcpy(m->x + n * hidden, x + i / n_used * hidden, hidden * sizeof *x);
        m->mine[n] = (uint32_t)(i / n_used);
        m->share[n] = m->weights[i];
        for (size_t j = 0; j < hidden && on_input; j++) m->x[n * hidden + j] *= m->weights[i];
        if (on_input) m->share[n] = 1.0F;
        n++;
    }
    return n;
}

static void scatter(const qn_session *s, size_t n, float *out)
{
    const qn_moe_scratch *m = s->moe;
    const size_t hidden = (size_t)s->d->hparams->hidden;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < n; i++) {
        float *to = out + m->mine[i] * hidden;
        for (size_t j = 0; j < hidden; j++) to[j] += m->share[i] * m->x[i * hidden + j];
    }
}

static qn_status add_shared(qn_session *s, const qn_layer *l, const float *x, size_t rows,
                            float *out, qn_error *err)
{
    qn_moe_scratch *m = s->moe;
    const qn_kernels *k = s->d->k;
    qn_status status = qn_mlp_run(s, &l->shared, 0, x, rows, m->x, err);
    if (status) return status;
    if (l->shared_gate.rows && (status = qn_apply(s, &l->shared_gate, x, rows, m->share, err)))
        return status;
    for (size_t i = 0; i < rows; i++) {
        m->mine[i] = (uint32_t)i;
        m->share[i] = l->shared_gate.rows ? sigmoid(k, m->share[i]) : 1.0F;
    }
    scatter(s, rows, out);
    return QN_OK;
}

qn_status qn_moe_run(qn_session *s, const qn_layer *l, const float *x, const float *residual,
                     size_t rows, float *out, qn_error *err)
{
    const qn_hparams *h = s->d->hparams;
    const size_t n = (size_t)h->n_experts, n_used = (size_t)h->n_experts_used;
    qn_status status = make_room(s, rows, err);
    if (status) return status;
    if (l->router_scale) ask(s, l, residual, rows);
    const float *asked = l->router_scale ? s->moe->x : x;
    if ((status = qn_apply(s, &l->router, asked, rows, s->moe->logits, err))) return status;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < rows; i++)
        route(s, l, s->moe->logits + i * n, s->moe->used + i * n_used,
              s->moe->weights + i * n_used);
    memset(out, 0, rows * (size_t)h->hidden * sizeof *out);
    for (size_t e = 0; e < n; e++) {
        const size_t mine = gather(s, (uint32_t)e, x, rows);
        if (!mine) continue;
        if ((status = qn_mlp_run(s, &l->experts, e, s->moe->x, mine, s->moe->x, err)))
            return status;
        scatter(s, mine, out);
    }
    return l->shared.gate.rows ? add_shared(s, l, x, rows, out, err) : QN_OK;
}
