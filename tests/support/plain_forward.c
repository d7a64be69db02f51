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

/* out[rows] = rows first.. of a matrix times x, + bias; the names are of weight and bias. */
static void through_rows(const qn_model *m, size_t layer, const char *weight, const char *bias,
                         size_t first, const double *x, size_t columns, double *out, size_t rows)
{
    double *w = load(m, layer, weight), *b = load(m, layer, bias);
    ck_assert_msg(w != NULL, "no %s", weight);
    for (size_t r = 0; r < rows; r++) {
        out[r] = b ? b[first + r] : 0.0;
        for (size_t c = 0; c < columns; c++) out[r] += w[(first + r) * columns + c] * x[c];
    }
    free(w);
    free(b);
}

static void through(const qn_model *m, size_t layer, const char *weight, const char *bias,
                    const double *x, size_t columns, double *out, size_t rows)
{
    through_rows(m, layer, weight, bias, 0, x, columns, out, rows);
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
            const size_t apart = h->rope_halves ? (size_t)h->rope_dims / 2 : 1;
            double *a = &x[head * h->head_dim + (h->rope_halves ? j : 2 * j)], *b = a + apart;
            const double angle = (double)position * frequency[j], old = *a;
            *a = (old * cos(angle) - *b * sin(angle)) * factor;
            *b = (old * sin(angle) + *b * cos(angle)) * factor;
        }
    }
}

static bool has_rope(const qn_hparams *h, size_t layer)
{
    return !h->turns.n || h->turns.of[layer];
}

static bool has_experts(const qn_hparams *h, size_t layer)
{
    return h->n_experts && (!h->routed.n || h->routed.of[layer]);
}

/* Each head divided by its root mean square. */
static void norm_heads(const qn_hparams *h, double *x, size_t heads)
{
    for (size_t head = 0; head < heads; head++) {
        double *at = x + head * h->head_dim, squares = 0.0;
        for (size_t d = 0; d < h->head_dim; d++) squares += at[d] * at[d];
        for (size_t d = 0; d < h->head_dim; d++)
            at[d] /= sqrt(squares / (double)h->head_dim + h->rms_eps);
    }
}

/* Rope and what follows it, of the queries (at that position) and of a token's keys. */
static void place_heads(const qn_hparams *h, size_t layer, const double *frequency, double factor,
                        size_t t, double *q, double *k)
{
    const bool rope = has_rope(h, layer);
    if (rope) {
        turn(h, frequency, factor, t, q, (size_t)h->n_heads);
        turn(h, frequency, factor, t, k, (size_t)h->n_kv_heads);
    }
    if (rope && h->norm_behind_rope) {
        norm_heads(h, q, (size_t)h->n_heads);
        norm_heads(h, k, (size_t)h->n_kv_heads);
    }
    if (h->temperature_scale == 0.0 || (rope && h->temperature_without_rope)) return;
    const double position = h->temperature_without_rope ? (double)t + 1.0 : (double)t;
    const double grown =
        1.0 + h->temperature_scale * log1p(floor(position / (double)h->temperature_length));
    for (size_t i = 0; i < h->n_heads * h->head_dim; i++) q[i] *= grown;
}

static double capped(double x, double cap)
{
    return cap > 0.0 ? cap * tanh(x / cap) : x;
}

/* The token at position t against all keys and values up to its own, or those
 * in its window. */
static void attend(const qn_hparams *h, size_t layer, const double *q, const double *k,
                   const double *v, size_t t, double *out)
{
    const size_t dim = (size_t)h->head_dim, wide = (size_t)h->value_dim;
    const bool slides = h->window && layer < h->slides.n && h->slides.of[layer];
    size_t first = slides && t >= h->window ? t + 1 - (size_t)h->window : 0;
    if (slides && h->window_is_chunk) first = t - t % (size_t)h->window;
    const double scale = h->attention_scale > 0.0 ? h->attention_scale : 1.0 / sqrt((double)dim);
    double *p = malloc((t + 1) * sizeof *p);
    for (size_t head = 0; head < h->n_heads; head++) {
        const size_t kv = head / (h->n_heads / h->n_kv_heads);
        double sum = 0.0;
        for (size_t u = first; u <= t; u++) {
            double score = 0.0;
            for (size_t d = 0; d < dim; d++)
                score += q[head * dim + d] * k[(u * h->n_kv_heads + kv) * dim + d];
            p[u] = exp(capped(score * scale, h->attention_cap));
            sum += p[u];
        }
        for (size_t d = 0; d < wide; d++) {
            out[head * wide + d] = 0.0;
            for (size_t u = first; u <= t; u++)
                out[head * wide + d] += p[u] / sum * v[(u * h->n_kv_heads + kv) * wide + d];
        }
    }
    free(p);
}

static double activated(const qn_hparams *h, double x)
{
    const double pi = 3.14159265358979323846;
    if (h->activation == QN_SILU) return x / (1.0 + exp(-x));
    return x / 2.0 * (1.0 + tanh(sqrt(2.0 / pi) * (x + 0.044715 * x * x * x)));
}

/* x += weight * the MLP of y; kind: "" or "_exps", of which the one with that number. */
static void add_mlp(const qn_model *m, size_t layer, const char *kind, size_t number, size_t width,
                    const double *y, double weight, double *x)
{
    static const char *const matrices[] = {"gate", "up", "down"};
    char names[3][40], biases[3][40];
    const size_t hidden = (size_t)m->hparams.hidden;
    double *gate = malloc(width * sizeof *gate), *up = malloc(width * sizeof *up),
           *out = malloc(hidden * sizeof *out);
    for (size_t i = 0; i < 3; i++) {
        snprintf(names[i], sizeof names[i], "blk.%%zu.ffn_%s%s.weight", matrices[i], kind);
        snprintf(biases[i], sizeof biases[i], "blk.%%zu.ffn_%s%s.bias", matrices[i], kind);
    }
    through_rows(m, layer, names[0], biases[0], number * width, y, hidden, gate, width);
    through_rows(m, layer, names[1], biases[1], number * width, y, hidden, up, width);
    for (size_t i = 0; i < width; i++) gate[i] = activated(&m->hparams, gate[i]) * up[i];
    through_rows(m, layer, names[2], biases[2], number * hidden, gate, width, out, hidden);
    for (size_t i = 0; i < hidden; i++) x[i] += weight * out[i];
    free(gate);
    free(up);
    free(out);
}

/* x += an expert of scale * y. */
static void add_mlp_of_scaled(const qn_model *m, size_t layer, size_t expert, const double *y,
                              double scale, double *x)
{
    const size_t hidden = (size_t)m->hparams.hidden;
    double *scaled = malloc(hidden * sizeof *scaled);
    for (size_t i = 0; i < hidden; i++) scaled[i] = scale * y[i];
    add_mlp(m, layer, "_exps", expert, (size_t)m->hparams.expert_feed_forward, scaled, 1.0, x);
    free(scaled);
}

/* x += the experts that the router likes best of y. */
static void add_experts(const qn_model *m, size_t layer, const double *y, double *x)
{
    const qn_hparams *h = &m->hparams;
    const size_t hidden = (size_t)h->hidden, n = (size_t)h->n_experts;
    double p[16], all = 0.0, used = 0.0, shared;
    bool taken[16] = {false};
    ck_assert_uint_le(n, 16);
    through(m, layer, "blk.%zu.ffn_gate_inp.weight", "none", y, hidden, p, n);
    for (size_t e = 0; e < n; e++)
        all += p[e] = h->expert_sigmoid ? 1.0 / (1.0 + exp(-p[e])) : exp(p[e]);
    for (size_t i = 0; i < h->n_experts_used; i++) {
        size_t best = n;
        for (size_t e = 0; e < n; e++)
            if (!taken[e] && (best == n || p[e] > p[best])) best = e;
        taken[best] = true;
        used += p[best];
    }
    for (size_t e = 0; e < n; e++)
        if (taken[e] && h->expert_sigmoid)
            add_mlp_of_scaled(m, layer, e, y, p[e], x);
        else if (taken[e])
            add_mlp(m, layer, "_exps", e, (size_t)h->expert_feed_forward, y,
                    p[e] / (h->expert_norm ? used : all), x);
    if (!h->shared_feed_forward) return;
    if (h->expert_sigmoid) {
        add_mlp(m, layer, "_shexp", 0, (size_t)h->shared_feed_forward, y, 1.0, x);
        return;
    }
    through(m, layer, "blk.%zu.ffn_gate_inp_shexp.weight", "none", y, hidden, &shared, 1);
    add_mlp(m, layer, "_shexp", 0, (size_t)h->shared_feed_forward, y, 1.0 / (1.0 + exp(-shared)),
            x);
}

static void feed_forward(const qn_model *m, size_t layer, double *x)
{
    double *y = malloc((size_t)m->hparams.hidden * sizeof *y);
    normed(m, layer, "blk.%zu.ffn_norm.weight", x, y);
    if (has_experts(&m->hparams, layer))
        add_experts(m, layer, y, x);
    else
        add_mlp(m, layer, "", 0, (size_t)m->hparams.feed_forward, y, 1.0, x);
    free(y);
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
        for (size_t i = 0; i < hidden; i++)
            x[t * hidden + i] = embedding[ids[t] * hidden + i] *
                                (h->embedding_scale > 0.0 ? h->embedding_scale : 1.0);
    for (size_t l = 0; l < h->n_layers; l++) {
        for (size_t t = 0; t < n; t++) {
            double *at = x + t * hidden;
            normed(m, l, "blk.%zu.attn_norm.weight", at, y);
            through(m, l, "blk.%zu.attn_q.weight", "blk.%zu.attn_q.bias", y, hidden, q, queries);
            through(m, l, "blk.%zu.attn_k.weight", "blk.%zu.attn_k.bias", y, hidden, k + t * keys,
                    keys);
            through(m, l, "blk.%zu.attn_v.weight", "blk.%zu.attn_v.bias", y, hidden, v + t * values,
                    values);
            place_heads(h, l, frequency, factor, t, q, k + t * keys);
            attend(h, l, q, k, v, t, o);
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
        for (size_t i = 0; i < h->n_vocab; i++)
            logits[t * h->n_vocab + i] = capped(logits[t * h->n_vocab + i], h->final_cap);
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

static void add_random_experts(qn_model *m, qn_random *seed, size_t layer)
{
    const qn_hparams *h = &m->hparams;
    const uint64_t n = h->n_experts, width = h->expert_feed_forward,
                   shared = h->shared_feed_forward;
    add(m, seed, layer, "blk.%zu.ffn_gate_inp.weight", n, h->hidden);
    add(m, seed, layer, "blk.%zu.ffn_gate_exps.weight", n * width, h->hidden);
    add(m, seed, layer, "blk.%zu.ffn_up_exps.weight", n * width, h->hidden);
    add(m, seed, layer, "blk.%zu.ffn_down_exps.weight", n * h->hidden, width);
    if (!shared) return;
    if (!h->expert_sigmoid) add(m, seed, layer, "blk.%zu.ffn_gate_inp_shexp.weight", 1, h->hidden);
    add(m, seed, layer, "blk.%zu.ffn_gate_shexp.weight", shared, h->hidden);
    add(m, seed, layer, "blk.%zu.ffn_up_shexp.weight", shared, h->hidden);
    add(m, seed, layer, "blk.%zu.ffn_down_shexp.weight", h->hidden, shared);
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
            if (has_experts(h, l) && strstr(matrices[i].weight, "ffn")) continue;
            add(m, &seed, l, matrices[i].weight, matrices[i].rows, matrices[i].columns);
            if (matrices[i].biased) add(m, &seed, l, matrices[i].bias, 0, matrices[i].rows);
        }
    }
    for (size_t l = 0; l < h->n_layers; l++)
        if (has_experts(h, l)) add_random_experts(m, &seed, l);
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
