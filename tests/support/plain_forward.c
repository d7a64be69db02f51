#include "tests/support/plain_forward.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/made_model.h"
#include "tests/support/random.h"

/* All elements of a tensor, or NULL when the model has none of that name. */
static double *load(const qn_model *m, size_t layer, const char *format)
{
    char name[64];
    snprintf(name, sizeof name, format, layer);
    const qn_model_tensor *t = qn_model_find(m, name);
    if (!t) return NULL;
    const size_t n = (size_t)(t->rows->rows * t->rows->columns);
    float *values = malloc(n * sizeof *values);
    double *wide = malloc(n * sizeof *wide);
    ck_assert(!t->rows->decode(t->rows, qn_kernels_best(), 0, t->rows->rows, values, NULL));
    for (size_t i = 0; i < n; i++) wide[i] = (double)values[i];
    free(values);
    return wide;
}

/* out[rows] = matrix x + bias; the names are of weight and bias. */
static void through(const qn_model *m, size_t layer, const char *weight, const char *bias,
                    const double *x, size_t columns, double *out, size_t rows)
{
    double *w = load(m, layer, weight), *b = load(m, layer, bias);
    ck_assert_msg(w != NULL, "no %s", weight);
    for (size_t r = 0; r < rows; r++) {
        out[r] = b ? b[r] : 0.0;
        for (size_t c = 0; c < columns; c++) out[r] += w[r * columns + c] * x[c];
    }
    free(w);
    free(b);
}

static void normed(const qn_model *m, size_t layer, const char *name, const double *x, double *out)
{
    const size_t n = (size_t)m->hparams.hidden;
    double *w = load(m, layer, name), squares = 0.0;
    for (size_t i = 0; i < n; i++) squares += x[i] * x[i];
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] / sqrt(squares / (double)n + m->hparams.rms_eps) * w[i];
    free(w);
}

static void turn(const qn_hparams *h, const double *frequency, double factor, size_t position,
                 double *x, size_t heads)
{
    for (size_t head = 0; head < heads; head++) {
        for (size_t j = 0; j < h->rope_dims / 2; j++) {
            double *a = &x[head * h->head_dim + 2 * j], *b = a + 1;
            const double angle = (double)position * frequency[j], old = *a;
            *a = (old * cos(angle) - *b * sin(angle)) * factor;
            *b = (old * sin(angle) + *b * cos(angle)) * factor;
        }
    }
}

/* The token at position t against all keys and values up to its own. */
static void attend(const qn_hparams *h, const double *q, const double *k, const double *v, size_t t,
                   double *out)
{
    const size_t dim = (size_t)h->head_dim, wide = (size_t)h->value_dim;
    double *p = malloc((t + 1) * sizeof *p);
    for (size_t head = 0; head < h->n_heads; head++) {
        const size_t kv = head / (h->n_heads / h->n_kv_heads);
        double sum = 0.0;
        for (size_t u = 0; u <= t; u++) {
            double score = 0.0;
            for (size_t d = 0; d < dim; d++)
                score += q[head * dim + d] * k[(u * h->n_kv_heads + kv) * dim + d];
            p[u] = exp(score / sqrt((double)dim));
            sum += p[u];
        }
        for (size_t d = 0; d < wide; d++) {
            out[head * wide + d] = 0.0;
            for (size_t u = 0; u <= t; u++)
                out[head * wide + d] += p[u] / sum * v[(u * h->n_kv_heads + kv) * wide + d];
        }
    }
    free(p);
}

static void feed_forward(const qn_model *m, size_t layer, double *x)
{
    const size_t hidden = (size_t)m->hparams.hidden, width = (size_t)m->hparams.feed_forward;
    double *y = malloc(hidden * sizeof *y), *gate = malloc(width * sizeof *gate),
           *up = malloc(width * sizeof *up);
    normed(m, layer, "blk.%zu.ffn_norm.weight", x, y);
    through(m, layer, "blk.%zu.ffn_gate.weight", "blk.%zu.ffn_gate.bias", y, hidden, gate, width);
    through(m, layer, "blk.%zu.ffn_up.weight", "blk.%zu.ffn_up.bias", y, hidden, up, width);
    for (size_t i = 0; i < width; i++) gate[i] *= up[i] / (1.0 + exp(-gate[i]));
    through(m, layer, "blk.%zu.ffn_down.weight", "blk.%zu.ffn_down.bias", gate, width, y, hidden);
    for (size_t i = 0; i < hidden; i++) x[i] += y[i];
    free(y);
    free(gate);
    free(up);
}

void qn_test_plain_forward(const qn_model *m, const double *frequency, double factor,
                           const uint32_t *ids, size_t n, double *logits)
{
    const qn_hparams *h = &m->hparams;
    const size_t hidden = (size_t)h->hidden, queries = (size_t)(h->n_heads * h->head_dim),
                 keys = (size_t)(h->n_kv_heads * h->head_dim),
                 values = (size_t)(h->n_kv_heads * h->value_dim),
                 mixed = (size_t)(h->n_heads * h->value_dim);
    double *x = malloc(n * hidden * sizeof *x), *y = malloc(hidden * sizeof *y),
           *q = malloc(queries * sizeof *q), *k = malloc(n * keys * sizeof *k),
           *v = malloc(n * values * sizeof *v), *o = malloc(mixed * sizeof *o);
    double *embedding = load(m, 0, "token_embd.weight");
    for (size_t t = 0; t < n; t++)
        memcpy(x + t * hidden, embedding + ids[t] * hidden, hidden * sizeof *x);
    for (size_t l = 0; l < h->n_layers; l++) {
        for (size_t t = 0; t < n; t++) {
            double *at = x + t * hidden;
            normed(m, l, "blk.%zu.attn_norm.weight", at, y);
            through(m, l, "blk.%zu.attn_q.weight", "blk.%zu.attn_q.bias", y, hidden, q, queries);
            through(m, l, "blk.%zu.attn_k.weight", "blk.%zu.attn_k.bias", y, hidden, k + t * keys,
                    keys);
            through(m, l, "blk.%zu.attn_v.weight", "blk.%zu.attn_v.bias", y, hidden, v + t * values,
                    values);
            turn(h, frequency, factor, t, q, (size_t)h->n_heads);
            turn(h, frequency, factor, t, k + t * keys, (size_t)h->n_kv_heads);
            attend(h, q, k, v, t, o);
            through(m, l, "blk.%zu.attn_output.weight", "blk.%zu.attn_output.bias", o, mixed, y,
                    hidden);
            for (size_t i = 0; i < hidden; i++) at[i] += y[i];
            feed_forward(m, l, at);
        }
    }
    const char *head = qn_model_find(m, "output.weight") ? "output.weight" : "token_embd.weight";
    for (size_t t = 0; t < n; t++) {
        normed(m, 0, "output_norm.weight", x + t * hidden, y);
        through(m, 0, head, "none", y, hidden, logits + t * h->n_vocab, (size_t)h->n_vocab);
    }
    double *const all[] = {x, y, q, k, v, o, embedding};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* ---- random models --------------------------------------------------------------------- */

/* Random values of the size of 1 / sqrt(columns), so that activations neither
 * grow nor vanish; a norm's weights are around 1. */
static void add(qn_model *m, qn_random *seed, size_t layer, const char *format, uint64_t rows,
                uint64_t columns)
{
    char name[64];
    snprintf(name, sizeof name, format, layer);
    const bool vector = rows == 0, norm = strstr(name, "norm") != NULL;
    const qn_dtype dtype = layer % 2 && !vector ? QN_BF16 : QN_F32;
    const size_t n = (size_t)(vector ? columns : rows * columns);
    float *values = qn_arena_alloc(m->arena, n, sizeof *values);
    qn_random_row(seed, 0, values, n);
    for (size_t i = 0; i < n; i++)
        values[i] =
            vector ? values[i] * 0.25F + (norm ? 1.0F : 0.0F) : values[i] / sqrtf((float)columns);
    if (dtype == QN_BF16) qn_kernels_best()->encode[dtype](values, NULL, values, n);
    const uint64_t dims[] = {vector ? columns : rows, columns};
    made_model_add(m, name, dtype, vector ? 1 : 2, dims, values);
}

qn_model *qn_test_random_model(const qn_hparams *h, uint64_t number)
{
    qn_random seed = {number};
    const uint64_t queries = h->n_heads * h->head_dim, keys = h->n_kv_heads * h->head_dim,
                   values = h->n_kv_heads * h->value_dim, mixed = h->n_heads * h->value_dim;
    qn_model *m = made_model_new("llama");
    m->hparams = *h;
    m->family = (const qn_family *)"any: the decoder only asks whether there is one";
    add(m, &seed, 0, "token_embd.weight", h->n_vocab, h->hidden);
    add(m, &seed, 0, "output_norm.weight", 0, h->hidden);
    if (!h->tied) add(m, &seed, 0, "output.weight", h->n_vocab, h->hidden);
    for (size_t l = 0; l < h->n_layers; l++) {
        add(m, &seed, l, "blk.%zu.attn_norm.weight", 0, h->hidden);
        add(m, &seed, l, "blk.%zu.ffn_norm.weight", 0, h->hidden);
        const struct {
            const char *weight, *bias;
            uint64_t rows, columns;
            bool biased;
        } matrices[] = {
            {"blk.%zu.attn_q.weight", "blk.%zu.attn_q.bias", queries, h->hidden, h->attention_bias},
            {"blk.%zu.attn_k.weight", "blk.%zu.attn_k.bias", keys, h->hidden, h->attention_bias},
            {"blk.%zu.attn_v.weight", "blk.%zu.attn_v.bias", values, h->hidden, h->attention_bias},
            {"blk.%zu.attn_output.weight", "blk.%zu.attn_output.bias", h->hidden, mixed,
             h->attention_bias},
            {"blk.%zu.ffn_gate.weight", "blk.%zu.ffn_gate.bias", h->feed_forward, h->hidden,
             h->mlp_bias},
            {"blk.%zu.ffn_up.weight", "blk.%zu.ffn_up.bias", h->feed_forward, h->hidden,
             h->mlp_bias},
            {"blk.%zu.ffn_down.weight", "blk.%zu.ffn_down.bias", h->hidden, h->feed_forward,
             h->mlp_bias},
        };
        for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
            add(m, &seed, l, matrices[i].weight, matrices[i].rows, matrices[i].columns);
            if (matrices[i].biased) add(m, &seed, l, matrices[i].bias, 0, matrices[i].rows);
        }
    }
    m->by_name = qn_names_new(m->n_tensors);
    for (size_t i = 0; i < m->n_tensors; i++)
        ck_assert(!qn_names_add(m->by_name, qn_str_z(m->tensors[i].name), (uint32_t)i, NULL));
    return m;
}

void qn_test_random_model_free(qn_model *m)
{
    qn_names_free(m->by_name);
    made_model_free(m);
}
