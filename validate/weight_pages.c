/* Which pages of a mapped model are held, and giving them back. */
#include "formats/base/sizes.h"
#include "validate/weights.h"

/* What is mapped around the pages that a tensor's ends are on (formats/base/map.h). */
static const uint64_t AROUND = 4 << 20;

enum { MOST_LINEARS = 20 };

/* The sources of a layer's matrices, each once. */
static size_t sources_of(const qn_layer *l, const qn_rows *out[MOST_LINEARS])
{
    const qn_linear *const all[MOST_LINEARS] = {
        &l->query,        &l->key,         &l->value,       &l->output,       &l->mlp.gate,
        &l->mlp.up,       &l->mlp.down,    &l->router,      &l->experts.gate, &l->experts.up,
        &l->experts.down, &l->shared.gate, &l->shared.up,   &l->shared.down,  &l->shared_gate,
        &l->input_gate,   &l->input_out,   &l->laurel_left, &l->laurel_right,
    };
    size_t n = 0;
    for (size_t i = 0; i < MOST_LINEARS; i++) {
        bool known = !all[i] || !all[i]->rows;
        for (size_t j = 0; j < n && !known; j++) known = out[j] == all[i]->rows;
        if (!known) out[n++] = all[i]->rows;
    }
    return n;
}

void qn_give_back(const qn_decoder *d, const qn_linear *l)
{
    if (d->gives_back && l->rows) l->rows->done(l->rows, 0, l->rows->rows);
}

void qn_give_back_layer(const qn_decoder *d, size_t layer)
{
    if (!d->gives_back) return;
    const qn_rows *sources[MOST_LINEARS];
    const size_t n = sources_of(&d->layers[layer], sources);
    for (size_t i = 0; i < n; i++) sources[i]->done(sources[i], 0, sources[i]->rows);
}

void qn_decoder_give_back(qn_decoder *d)
{
    d->gives_back = true;
    for (size_t i = 0; i < d->model->n_tensors; i++) {
        const qn_rows *rows = d->model->tensors[i].rows;
        rows->done(rows, 0, rows->rows);
    }
}

uint64_t qn_decoder_page_bytes(const qn_decoder *d)
{
    const qn_rows *head = d->head.rows;
    uint64_t most = (uint64_t)((double)head->source_bytes / (double)head->rows * QN_HEAD_ROWS);
    for (size_t layer = 0; layer < d->hparams->n_layers; layer++) {
        const qn_rows *sources[MOST_LINEARS];
        const size_t n = sources_of(&d->layers[layer], sources);
        uint64_t bytes = 0;
        for (size_t i = 0; i < n; i++)
            if (!qn_add_u64(bytes, sources[i]->source_bytes, &bytes)) return UINT64_MAX;
        most = qn_max_u64(most, bytes);
    }
    enum { N_OTHERS = 3 };
    const qn_linear *const others[N_OTHERS] = {&d->input_projection, &d->streams_in,
                                               &d->streams_out};
    for (size_t i = 0; i < N_OTHERS; i++)
        if (others[i]->rows) most = qn_max_u64(most, others[i]->rows->source_bytes);
    return most > UINT64_MAX - AROUND ? UINT64_MAX : most + AROUND;
}

uint64_t qn_decoders_held_bytes(const qn_decoder *const *models, size_t n)
{
    uint64_t pages = 0, whole = 0;
    for (size_t i = 0; i < n; i++) {
        const qn_model *m = models[i]->model;
        if (models[i]->gives_back) pages = qn_max_u64(pages, qn_decoder_page_bytes(models[i]));
        for (size_t t = 0; t < m->n_tensors && !models[i]->gives_back; t++)
            if (!qn_add_u64(whole, m->tensors[t].rows->source_bytes, &whole)) return UINT64_MAX;
    }
    return qn_add_u64(pages, whole, &whole) ? whole : UINT64_MAX;
}
