#include "validate/altup.h"

#include <math.h>
#include <string.h>

/* transformers' floor of a mean square. */
#define LEAST_SQUARE 1e-5

enum { A = QN_N_STREAMS };

static double mean_square(const float *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum / (double)n;
}

/* Each row of y becomes as long as the same row of x. */
static void lengthen(const qn_session *s, const float *x, size_t rows, float *y)
{
    const size_t n = (size_t)s->d->hparams->hidden;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < rows; i++) {
        const double has = fmax(mean_square(y + i * n, n), LEAST_SQUARE);
        const float scale = (float)sqrt(mean_square(x + i * n, n) / has);
        for (size_t j = i * n; j < (i + 1) * n; j++) y[j] *= scale;
    }
}

qn_status qn_altup_begin(qn_session *s, size_t tokens, qn_error *err)
{
    for (uint64_t j = 0; j + 1 < A; j++) {
        const qn_status status =
            qn_apply_expert(s, &s->d->streams_in, j, s->x, tokens, s->streams[j], err);
        if (status) return status;
        lengthen(s, s->x, tokens, s->streams[j]);
    }
    return QN_OK;
}

/* In blocks, since the product needs room. */
qn_status qn_altup_end(qn_session *s, size_t tokens, qn_error *err)
{
    const size_t n = (size_t)s->d->hparams->hidden;
    for (size_t t = 0; t < tokens; t += s->block) {
        const size_t rows = tokens - t < s->block ? tokens - t : s->block;
        float *x = s->x + t * n, *sum = s->predicted;
        memcpy(sum, x, rows * n * sizeof *sum);
        for (uint64_t j = 0; j + 1 < A; j++) {
            const qn_status status =
                qn_apply_expert(s, &s->d->streams_out, j, s->streams[j] + t * n, rows, s->h, err);
            if (status) return status;
            lengthen(s, x, rows, s->h);
            qn_add_rows(s, s->h, rows, sum);
        }
        for (size_t i = 0; i < rows * n; i++) x[i] = sum[i] / (float)A;
    }
    return QN_OK;
}

/* m(y) of one token; row: norm(y) / hidden. */
static void route(const qn_session *s, const qn_layer *l, const float *y, float *row, float *m)
{
    const size_t n = (size_t)s->d->hparams->hidden;
    const float by_hidden = 1.0F / (float)n;
    s->d->norm(y, l->altup.norm, s->d->hparams->rms_eps, row, n);
    for (size_t i = 0; i < n; i++) row[i] *= by_hidden;
    for (size_t a = 0; a < A; a++) m[a] = s->d->k->dot(l->altup.router + a * n, row, n);
    s->d->k->soft_cap(m, 1.0F, A);
}

/* m of the first stream of all tokens, into s->modalities: what `then` is multiplied
 * with.  rows: room for [block][hidden]. */
static qn_status route_all(const qn_session *s, const qn_layer *l, const qn_block *b,
                           const qn_linear *then, float *rows, qn_error *err)
{
    const size_t n = (size_t)s->d->hparams->hidden, tokens = b->t1 - b->t0;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < tokens; i++)
        route(s, l, b->x + i * n, rows + i * n, s->modalities + i * A);
    const qn_status status = qn_show_input(s, &l->altup.router_matrix, 0, rows, tokens, err);
    return status ? status : qn_show_input(s, then, 0, s->modalities, tokens, err);
}

static float times(const float *row, const float *m)
{
    float sum = 0.0F;
    for (size_t a = 0; a < A; a++) sum += row[a] * m[a];
    return sum;
}

/* The four values of a token at element i, before and after. */
static void gather(const qn_session *s, const qn_block *b, size_t row, float *streams[A])
{
    const size_t n = (size_t)s->d->hparams->hidden;
    streams[0] = b->x + row * n;
    for (size_t j = 1; j < A; j++) streams[j] = s->streams[j - 1] + (b->t0 + row) * n;
}

qn_status qn_altup_predict(qn_session *s, size_t layer, const qn_block *b, qn_error *err)
{
    const qn_layer *l = &s->d->layers[layer];
    const size_t n = (size_t)s->d->hparams->hidden;
    const qn_status status = route_all(s, l, b, &l->altup.predict_matrix, s->predicted, err);
    if (status) return status;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t row = 0; row < b->t1 - b->t0; row++) {
        float *streams[A], p[A * A];
        const float *m = s->modalities + row * A;
        gather(s, b, row, streams);
        for (size_t i = 0; i < sizeof p / sizeof *p; i++) p[i] = times(l->altup.predict + i * A, m);
        for (size_t i = 0; i < n; i++) {
            float before[A];
            for (size_t j = 0; j < A; j++) before[j] = streams[j][i];
            for (size_t j = 0; j < A; j++) streams[j][i] = times(before, p + j * A) + before[j];
        }
        memcpy(s->predicted + row * n, streams[0], n * sizeof *s->predicted);
    }
    return QN_OK;
}

qn_status qn_altup_correct(qn_session *s, size_t layer, const qn_block *b, qn_error *err)
{
    const qn_layer *l = &s->d->layers[layer];
    const size_t n = (size_t)s->d->hparams->hidden;
    const qn_status status = route_all(s, l, b, &l->altup.correct_matrix, s->h, err);
    if (status) return status;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t row = 0; row < b->t1 - b->t0; row++) {
        float *streams[A], c[A];
        const float *predicted = s->predicted + row * n, *m = s->modalities + row * A;
        gather(s, b, row, streams);
        for (size_t j = 0; j < A; j++) c[j] = times(l->altup.correct + j * A, m) + 1.0F;
        for (size_t i = 0; i < n; i++) {
            const float news = streams[0][i] - predicted[i];
            for (size_t j = 1; j < A; j++) streams[j][i] += news * c[j];
            streams[0][i] = predicted[i] + news * c[0];
        }
    }
    return QN_OK;
}

qn_status qn_laurel_make(qn_session *s, size_t layer, const qn_block *b, qn_error *err)
{
    const qn_layer *l = &s->d->layers[layer];
    const size_t rows = b->t1 - b->t0;
    qn_status status;
    qn_norm_rows(s, b->x, l->attention_norm, rows, s->h);
    if ((status = qn_apply(s, &l->laurel_left, s->h, rows, s->gate, err)) ||
        (status = qn_apply(s, &l->laurel_right, s->gate, rows, s->laurel, err)))
        return status;
    qn_norm_rows(s, s->laurel, l->laurel_norm, rows, s->laurel);
    qn_add_rows(s, s->h, rows, s->laurel);
    return QN_OK;
}

void qn_laurel_add(qn_session *s, const qn_block *b)
{
    const size_t n = (b->t1 - b->t0) * (size_t)s->d->hparams->hidden;
    const float root = (float)sqrt(2.0);
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < n; i++) b->x[i] = (b->x[i] + s->laurel[i]) / root;
}
