#include "validate/linear_inputs.h"

#include <string.h>

#include "formats/base/alloc.h"
#include "validate/weights.h"

/* Queries, keys and values; a gate and what it lets through. */
enum { MOST_SHARERS = 4 };

typedef struct {
    qn_linear_inputs *to;
    uint64_t layer;
    qn_status status;
    qn_error *err;
} listing;

static qn_status add_input(listing *l, const qn_linear *linear)
{
    qn_linear_inputs *to = l->to;
    if (to->n == to->capacity) {
        const size_t capacity = qn_grow(to->capacity, to->n + 1);
        qn_moments_input *inputs = qn_resize(to->inputs, capacity, sizeof *inputs);
        if (inputs) to->inputs = inputs;
        uint64_t *layers = inputs ? qn_resize(to->layers, capacity, sizeof *layers) : NULL;
        if (!layers) return qn_fail_memory(l->err, linear->name);
        to->layers = layers;
        to->capacity = capacity;
    }
    const char **tensors = qn_arena_alloc(to->arena, MOST_SHARERS, sizeof(const char *));
    if (!tensors) return qn_fail_memory(l->err, linear->name);
    to->layers[to->n] = l->layer;
    to->inputs[to->n++] = (qn_moments_input){.tensors = tensors,
                                             .columns = linear->rows->columns,
                                             .matrices = linear->rows->rows / linear->step};
    return QN_OK;
}

/* What the model has none of, and a matrix's later parts, are passed over. */
static void add(listing *l, const qn_linear *linear)
{
    qn_linear_inputs *to = l->to;
    if (l->status || !linear->rows || linear->first) return;
    const bool shared = linear->same_input && to->n;
    if (!shared && (l->status = add_input(l, linear))) return;
    qn_moments_input *input = &to->inputs[to->n - 1];
    input->tensors[input->n_tensors++] = linear->name;
    if (qn_names_add(to->by_tensor, qn_str_z(linear->name), (uint32_t)(to->n - 1), NULL))
        l->status = qn_fail_memory(l->err, linear->name);
}

static void add_mlp(listing *l, const qn_mlp *mlp)
{
    add(l, &mlp->gate);
    add(l, &mlp->up);
    add(l, &mlp->down);
}

/* In the order of run_layer (session.c). */
static void add_layer(listing *l, const qn_layer *layer)
{
    add(l, &layer->altup.router_matrix);
    add(l, &layer->altup.predict_matrix);
    add(l, &layer->laurel_left);
    add(l, &layer->laurel_right);
    add(l, &layer->query);
    if (layer->owns_kv) add(l, &layer->key);
    if (layer->owns_kv) add(l, &layer->value);
    add(l, &layer->output);
    add(l, &layer->router);
    add_mlp(l, &layer->experts);
    add_mlp(l, &layer->shared);
    add(l, &layer->shared_gate);
    add_mlp(l, &layer->mlp);
    add(l, &layer->altup.correct_matrix);
    add(l, &layer->input_gate);
    add(l, &layer->input_out);
}

qn_status qn_linear_inputs_list(qn_linear_inputs *out, const qn_decoder *d, bool head,
                                qn_error *err)
{
    qn_linear_inputs to = {.by_tensor = qn_names_new(0), .arena = qn_arena_new()};
    listing l = {.to = &to, .err = err};
    if (!to.by_tensor || !to.arena) l.status = qn_fail_memory(err, "inputs");
    for (; l.layer < d->hparams->n_layers; l.layer++) add_layer(&l, &d->layers[l.layer]);
    if (head && !strcmp(d->head.name, "output.weight")) add(&l, &d->head);
    if (l.status)
        qn_linear_inputs_free(&to);
    else
        *out = to;
    return l.status;
}

void qn_linear_inputs_free(qn_linear_inputs *l)
{
    qn_free(l->inputs);
    qn_free(l->layers);
    qn_names_free(l->by_tensor);
    qn_arena_free(l->arena);
    *l = (qn_linear_inputs){0};
}

size_t qn_linear_inputs_named(const qn_linear_inputs *l, const char *tensor)
{
    const uint32_t at = qn_names_find(l->by_tensor, qn_str_z(tensor));
    if (at == UINT32_MAX || strcmp(l->inputs[at].tensors[0], tensor) != 0) return SIZE_MAX;
    return at;
}
