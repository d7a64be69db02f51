#include "validate/layer_inputs.h"

#include <math.h>

#include "formats/base/sizes.h"

/* The table's row for a token; those without one take the first
 * (modeling_gemma3n.py: ids beyond it are tokens of images and sounds). */
static qn_status look_up(const qn_session *s, uint32_t id, float *out, qn_error *err)
{
    const qn_decoder *d = s->d;
    const uint64_t row = id < d->input_table->rows ? id : 0;
    const qn_status status = d->input_table->decode(d->input_table, d->k, row, row + 1, out, err);
    if (d->gives_back) d->input_table->done(d->input_table, row, row + 1);
    return status;
}

/* inputs holds the projection of one token, row its table's row. */
static void combine(const qn_session *s, const float *row, float *inputs)
{
    const qn_hparams *hp = s->d->hparams;
    const size_t width = (size_t)hp->layer_input, all = width * (size_t)hp->n_layers;
    const float by_width = (float)sqrt((double)width), half = (float)sqrt(0.5);
    const float by_hidden = (float)(1.0 / sqrt((double)hp->hidden));
    for (size_t i = 0; i < all; i++) inputs[i] *= by_hidden;
    for (size_t i = 0; i < all; i += width)
        s->d->norm(inputs + i, s->d->input_norm, hp->rms_eps, inputs + i, width);
    for (size_t i = 0; i < all; i++) inputs[i] = (inputs[i] + row[i] * by_width) * half;
}

qn_status qn_layer_inputs_make(qn_session *s, const uint32_t *ids, size_t tokens, qn_error *err)
{
    const qn_hparams *hp = s->d->hparams;
    const size_t all = (size_t)(hp->layer_input * hp->n_layers);
    if (!all) return QN_OK;
    qn_status status = qn_apply(s, &s->d->input_projection, s->x, tokens, s->inputs, err);
    for (size_t t0 = 0; t0 < tokens && !status; t0 += QN_INPUT_ROWS) {
        const size_t n = (size_t)qn_min_u64(QN_INPUT_ROWS, tokens - t0);
        for (size_t i = 0; i < n && !status; i++)
            status = look_up(s, ids[t0 + i], s->input_rows + i * all, err);
        if (status) break;
#pragma omp parallel for num_threads(s->d->threads) if (n > 1)
        for (size_t i = 0; i < n; i++)
            combine(s, s->input_rows + i * all, s->inputs + (t0 + i) * all);
    }
    return status;
}

/* norm(out . (gelu(gate . x) * input)) into s->h. */
static qn_status run(qn_session *s, size_t layer, const qn_block *b, const float *x, qn_error *err)
{
    const qn_hparams *hp = s->d->hparams;
    const qn_layer *l = &s->d->layers[layer];
    const size_t width = (size_t)hp->layer_input, all = width * (size_t)hp->n_layers;
    const size_t rows = b->t1 - b->t0;
    qn_status status = qn_apply(s, &l->input_gate, x, rows, s->gate, err);
    if (status) return status;
#pragma omp parallel for num_threads(s->d->threads)
    for (size_t i = 0; i < rows; i++)
        qn_gelu_mul(s->d, s->gate + i * width,
                    s->inputs + qn_block_token(b, i) * all + layer * width, width);
    if ((status = qn_apply(s, &l->input_out, s->gate, rows, s->h, err))) return status;
    qn_norm_rows(s, s->h, l->input_post_norm, rows, s->h);
    return QN_OK;
}

qn_status qn_layer_inputs_add(qn_session *s, size_t layer, const qn_block *b, qn_error *err)
{
    const qn_layer *l = &s->d->layers[layer];
    const size_t rows = b->t1 - b->t0, n = (size_t)s->d->hparams->hidden;
    const float *x = b->x;
    if (!l->input_gate.rows) return QN_OK;
    if (l->altup.norm) { /* the first stream, scaled */
        for (size_t i = 0; i < rows * n; i++)
            s->predicted[i] = b->x[i] * l->altup.correct_scale[i % n];
        x = s->predicted;
    }
    const qn_status status = run(s, layer, b, x, err);
    if (status) return status;
    if (!l->altup.norm) qn_add_rows(s, s->h, rows, b->x);
    for (size_t j = 0; l->altup.norm && j + 1 < QN_N_STREAMS; j++)
        qn_add_rows(s, s->h, rows, s->streams[j] + b->t0 * n);
    return QN_OK;
}
