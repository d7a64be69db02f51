/* Which tokens each layer is run for, when logits are asked for from some position on. */
#include <string.h>

#include "formats/base/sizes.h"
#include "validate/session.h"

void qn_session_choose_wanted(qn_session *s, size_t first)
{
    const qn_hparams *hp = s->d->hparams;
    const size_t n = (size_t)hp->n_layers;
    /* until a layer's turn comes, what later ones read of its keys and values */
    for (size_t i = 0; i < n; i++) s->wanted[i] = s->whole ? SIZE_MAX : 0;
    for (size_t i = n; i-- > 0;) {
        const size_t owner = (size_t)qn_hparams_kv_layer(hp, i);
        const size_t read = qn_attention_reads_from(s->attention, i, first);
        if (read < s->wanted[owner]) s->wanted[owner] = read;
        const size_t keys = s->wanted[i];
        s->wanted[i] = first;
        if (owner == i && keys < first) first = keys;
    }
}

/* The row of the narrowed residual stream at which what is left of rows from t on
 * begins. */
static size_t narrowed(const qn_block *b, size_t t)
{
    const size_t drop = b->wanted - b->from, in_sequence = t % b->n;
    return t / b->n * (b->n - drop) + (in_sequence > drop ? in_sequence - drop : 0);
}

void qn_block_narrow(qn_session *s, qn_block *b)
{
    const size_t width = (size_t)s->d->hparams->hidden, n = b->n - (b->wanted - b->from);
    const size_t t0 = narrowed(b, b->t0);
    float *const of_run[] = {s->x, s->streams[0], s->streams[1], s->streams[2]};
    float *const of_block[] = {s->h, s->predicted, s->laurel};
    for (size_t t = b->t0, end; t < b->t1; t = end) {
        const size_t to = narrowed(b, t), stays = t / b->n * b->n + (b->n - n);
        end = (size_t)qn_min_u64(t - t % b->n + b->n, b->t1);
        const size_t first = (size_t)qn_max_u64(t, stays);
        if (first >= end) continue;
        const size_t bytes = (end - first) * width * sizeof *s->x;
        for (size_t i = 0; i < sizeof of_run / sizeof *of_run; i++)
            if (of_run[i]) memmove(of_run[i] + to * width, of_run[i] + first * width, bytes);
        for (size_t i = 0; i < sizeof of_block / sizeof *of_block; i++)
            if (of_block[i])
                memmove(of_block[i] + (to - t0) * width, of_block[i] + (first - b->t0) * width,
                        bytes);
    }
    s->rounded_from = NULL;
    b->t1 = narrowed(b, b->t1);
    b->t0 = t0;
    b->x = s->x + t0 * width;
    b->n = n;
    b->from = b->wanted;
}
