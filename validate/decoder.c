#include "validate/decoder.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>

#include "formats/base/sizes.h"
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
    if (!rows || !columns)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is empty", d->model->path, name);
    *out = t->rows;
    return QN_OK;
}

/* All of a small tensor, decoded. */
static qn_status find_values(const qn_decoder *d, const char *name, uint64_t n_rows, uint64_t n,
                             const float **out, qn_error *err)
{
    const qn_rows *rows;
    uint64_t all;
    qn_status status = find(d, name, n_rows, n, &rows, err);
    if (status) return status;
    float *values =
        qn_mul_u64(n_rows, n, &all) ? qn_arena_alloc(d->arena, (size_t)all, sizeof *values) : NULL;
    if (!values) return qn_fail_memory(err, name);
    if ((status = rows->decode(rows, d->k, 0, n_rows, values, err))) return status;
    *out = values;
    return QN_OK;
}

static qn_status find_vector(const qn_decoder *d, const char *name, uint64_t n, const float **out,
                             qn_error *err)
{
    return find_values(d, name, 1, n, out, err);
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

static qn_status find_optional(const qn_decoder *d, uint64_t layer, const char *rest, uint64_t n,
                               const float **out, qn_error *err);

static bool has(const qn_decoder *d, uint64_t layer, const char *role)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)layer, role);
    return qn_model_find(d->model, name) != NULL;
}

/* A matrix, or several of them one behind the other in a tensor. */
static qn_status find_whole(const qn_decoder *d, const char *name, uint64_t several, uint64_t rows,
                            uint64_t columns, qn_linear *out, qn_error *err)
{
    uint64_t all;
    if (!qn_mul_u64(several, rows, &all)) return qn_fail_memory(err, name);
    const qn_status status = find_matrix(d, name, all, columns, &out->rows, err);
    if (status) return status;
    out->name = qn_model_find(d->model, name)->name;
    out->n = out->step = out->bias_step = rows;
    return QN_OK;
}

/* "blk.3.attn_q.weight", of as many experts (1: a plain matrix), into out; and
 * its bias if the model has one. */
static qn_status find_experts(const qn_decoder *d, uint64_t layer, const char *role,
                              uint64_t experts, uint64_t rows, uint64_t columns, qn_linear *out,
                              qn_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)layer, role);
    const qn_status status = find_whole(d, name, experts, rows, columns, out, err);
    if (status) return status;
    snprintf(name, sizeof name, "blk.%llu.%s.bias", (unsigned long long)layer, role);
    if (!qn_model_find(d->model, name)) return QN_OK;
    return find_values(d, name, experts, rows, &out->bias, err);
}

static qn_status find_linear(const qn_decoder *d, uint64_t layer, const char *role, uint64_t rows,
                             uint64_t columns, qn_linear *out, qn_error *err)
{
    return find_experts(d, layer, role, 1, rows, columns, out, err);
}

/* n rows from `first` on of a matrix that holds several. */
static qn_linear part_of(const qn_linear *whole, uint64_t first, uint64_t n)
{
    qn_linear part = *whole;
    part.first = first;
    part.n = n;
    if (whole->bias) part.bias = whole->bias + first;
    return part;
}

static qn_status find_norm(const qn_decoder *d, uint64_t layer, const char *role, const float **out,
                           qn_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)layer, role);
    return find_vector(d, name, d->hparams->hidden, out, err);
}

/* The same where the model need not have it. */
static qn_status find_optional_norm(const qn_decoder *d, uint64_t layer, const char *role,
                                    const float **out, qn_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)layer, role);
    if (!qn_model_find(d->model, name)) return QN_OK;
    return find_vector(d, name, d->hparams->hidden, out, err);
}

/* Before a branch; a model may have the one behind it instead. */
static qn_status find_norm_before(const qn_decoder *d, uint64_t layer, const char *role,
                                  const char *behind, const float **out, qn_error *err)
{
    if (has(d, layer, behind)) return find_optional_norm(d, layer, role, out, err);
    return find_norm(d, layer, role, out, err);
}

/* A norm of queries or keys, each head by itself or all together. */
static qn_status find_head_norm(const qn_decoder *d, uint64_t layer, const char *role,
                                uint64_t heads, uint64_t head_dim, const float **out, size_t *size,
                                qn_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)layer, role);
    const qn_model_tensor *t = qn_model_find(d->model, name);
    if (!t) return QN_OK;
    *size = (size_t)(t->rows->columns == heads * head_dim ? heads * head_dim : head_dim);
    return find_vector(d, name, *size, out, err);
}

static qn_status bind_keys(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    char name[64];
    const qn_layer_sizes *s = &l->sizes;
    const uint64_t hidden = d->hparams->hidden;
    qn_status status;
    snprintf(name, sizeof name, "blk.%llu.attn_v.weight", (unsigned long long)i);
    if ((!l->key.rows && (status = find_linear(d, i, "attn_k", s->n_kv_heads * s->head_dim, hidden,
                                               &l->key, err))) ||
        (status = find_head_norm(d, i, "attn_k_norm", s->n_kv_heads, s->head_dim, &l->key_norm,
                                 &l->key_norm_size, err)))
        return status;
    l->key.same_input = l->value.same_input = true;
    if (l->value.rows || (d->hparams->value_is_key && !qn_model_find(d->model, name))) return QN_OK;
    return find_linear(d, i, "attn_v", s->n_kv_heads * s->value_dim, hidden, &l->value, err);
}

/* Queries, keys and values in one matrix. */
static qn_status bind_fused(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    const qn_layer_sizes *s = &l->sizes;
    const uint64_t queries = d->hparams->n_heads * s->head_dim;
    const uint64_t keys = s->n_kv_heads * s->head_dim, values = s->n_kv_heads * s->value_dim;
    qn_linear all = {0};
    const qn_status status =
        find_linear(d, i, "attn_qkv", queries + keys + values, d->hparams->hidden, &all, err);
    if (status) return status;
    l->query = part_of(&all, 0, queries);
    l->key = part_of(&all, queries, keys);
    l->value = part_of(&all, queries + keys, values);
    return QN_OK;
}

static qn_status bind_attention(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    const qn_layer_sizes *s = &l->sizes;
    const uint64_t hidden = d->hparams->hidden, heads = d->hparams->n_heads;
    qn_status status;
    const bool fused = has(d, i, "attn_qkv");
    if ((status =
             find_norm_before(d, i, "attn_norm", "post_attention_norm", &l->attention_norm, err)) ||
        (fused && (status = bind_fused(d, i, l, err))) ||
        (!fused &&
         (status = find_linear(d, i, "attn_q", heads * s->head_dim, hidden, &l->query, err))) ||
        (status = find_head_norm(d, i, "attn_q_norm", heads, s->head_dim, &l->query_norm,
                                 &l->query_norm_size, err)) ||
        (l->owns_kv && (status = bind_keys(d, i, l, err))) ||
        (status = find_linear(d, i, "attn_output", hidden, heads * s->value_dim, &l->output, err)))
        return status;
    if (has(d, i, "attn_sinks") &&
        (status = find_optional(d, i, "attn_sinks.weight", heads, &l->sinks, err)))
        return status;
    if (d->hparams->mlp_norm_behind_attention) return QN_OK;
    return find_optional_norm(d, i, "post_attention_norm", &l->post_attention_norm, err);
}

/* The names of an MLP's tensors; NULL: the family has none of that kind. */
typedef struct {
    const char *gate, *up, *down;
    const char *gate_up; /* both, gate first, instead of the former two */
} mlp_names;

static qn_status bind_mlp(const qn_decoder *d, uint64_t i, const mlp_names *names, uint64_t experts,
                          uint64_t width, qn_mlp *out, qn_error *err)
{
    const uint64_t hidden = d->hparams->hidden;
    qn_status status;
    if (has(d, i, names->gate)) {
        if ((status = find_experts(d, i, names->gate, experts, width, hidden, &out->gate, err)) ||
            (status = find_experts(d, i, names->up, experts, width, hidden, &out->up, err)))
            return status;
    } else {
        qn_linear both = {0};
        status = find_experts(d, i, names->gate_up, experts, 2 * width, hidden, &both, err);
        if (status) return status;
        out->gate = part_of(&both, 0, width);
        out->up = part_of(&both, width, width);
    }
    out->up.same_input = true;
    return find_experts(d, i, names->down, experts, hidden, width, &out->down, err);
}

/* "blk.3.post_ffw_norm_1.weight" of n elements, where the model has it. */
static qn_status find_optional(const qn_decoder *d, uint64_t layer, const char *rest, uint64_t n,
                               const float **out, qn_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%llu.%s", (unsigned long long)layer, rest);
    return qn_model_find(d->model, name) ? find_vector(d, name, n, out, err) : QN_OK;
}

static qn_status bind_beside(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    const uint64_t hidden = d->hparams->hidden, experts = d->hparams->n_experts;
    qn_status status;
    if ((status = find_optional(d, i, "pre_ffw_norm_2.weight", hidden, &l->experts_norm, err)) ||
        (status =
             find_optional(d, i, "post_ffw_norm_1.weight", hidden, &l->post_dense_norm, err)) ||
        (status =
             find_optional(d, i, "post_ffw_norm_2.weight", hidden, &l->post_experts_norm, err)) ||
        (status = find_optional(d, i, "ffn_gate_inp.scale", hidden, &l->router_scale, err)))
        return status;
    return find_optional(d, i, "ffn_down_exps.scale", experts, &l->expert_scale, err);
}

static qn_status bind_experts(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    static const mlp_names experts = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps",
                                      "ffn_gate_up_exps"};
    static const mlp_names shared = {"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp",
                                     "ffn_up_shexp"};
    const qn_hparams *h = d->hparams;
    qn_status status;
    if ((status = find_linear(d, i, "ffn_gate_inp", h->n_experts, h->hidden, &l->router, err)) ||
        (status = bind_mlp(d, i, &experts, h->n_experts, h->expert_feed_forward, &l->experts, err)))
        return status;
    if (!h->shared_feed_forward) return QN_OK;
    if (has(d, i, "ffn_gate_inp_shexp") &&
        (status = find_linear(d, i, "ffn_gate_inp_shexp", 1, h->hidden, &l->shared_gate, err)))
        return status;
    return bind_mlp(d, i, &shared, 1, h->shared_feed_forward, &l->shared, err);
}

static qn_status bind_feed_forward(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    static const mlp_names plain = {"ffn_gate", "ffn_up", "ffn_down", "ffn_up"};
    const bool experts = has(d, i, "ffn_gate_inp"), dense = !experts || has(d, i, "ffn_down");
    qn_status status;
    if ((status = find_norm_before(
             d, i, d->hparams->mlp_norm_behind_attention ? "post_attention_norm" : "ffn_norm",
             "post_ffw_norm", &l->mlp_norm, err)) ||
        (dense && (status = bind_mlp(d, i, &plain, 1, l->sizes.feed_forward, &l->mlp, err))) ||
        (experts &&
         ((status = bind_experts(d, i, l, err)) || (status = bind_beside(d, i, l, err)))))
        return status;
    l->mlp.sparse = i < d->hparams->sparsity.n && d->hparams->sparsity.of[i] > -INFINITY;
    if (l->mlp.sparse) l->mlp.deviations = d->hparams->sparsity.of[i];
    return find_optional_norm(d, i, "post_ffw_norm", &l->post_mlp_norm, err);
}

static qn_status bind_input(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    const uint64_t hidden = d->hparams->hidden, width = d->hparams->layer_input;
    qn_status status;
    if (!width) return QN_OK;
    if ((status = find_linear(d, i, "inp_gate", width, hidden, &l->input_gate, err)) ||
        (status = find_linear(d, i, "proj", hidden, width, &l->input_out, err)))
        return status;
    return find_norm(d, i, "post_norm", &l->input_post_norm, err);
}

static qn_status bind_scale(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    char name[64];
    const float *scale;
    l->output_scale = 1.0F;
    snprintf(name, sizeof name, "blk.%llu.layer_output_scale.weight", (unsigned long long)i);
    if (!qn_model_find(d->model, name)) return QN_OK;
    const qn_status status = find_vector(d, name, 1, &scale, err);
    if (!status) l->output_scale = *scale;
    return status;
}

static qn_status bind_altup(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    enum { A = QN_N_STREAMS };
    const struct {
        const char *role;
        uint64_t rows, columns;
        const float **out;
        qn_linear *matrix; /* NULL: a vector */
    } tensors[] = {
        {"altup_router_norm", 1, d->hparams->hidden, &l->altup.norm, NULL},
        {"altup_router", A, d->hparams->hidden, &l->altup.router, &l->altup.router_matrix},
        {"altup_predict_coef", (uint64_t)A * A, A, &l->altup.predict, &l->altup.predict_matrix},
        {"altup_correct_coef", A, A, &l->altup.correct, &l->altup.correct_matrix},
        {"altup_correct_scale", 1, d->hparams->hidden, &l->altup.correct_scale, NULL},
    };
    qn_status status = QN_OK;
    for (size_t t = 0; d->hparams->n_streams && t < sizeof tensors / sizeof *tensors && !status;
         t++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)i, tensors[t].role);
        status = find_values(d, name, tensors[t].rows, tensors[t].columns, tensors[t].out, err);
        if (!status && tensors[t].matrix)
            status =
                find_whole(d, name, 1, tensors[t].rows, tensors[t].columns, tensors[t].matrix, err);
    }
    return status;
}

static qn_status bind_laurel(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    const uint64_t hidden = d->hparams->hidden, rank = d->hparams->laurel_rank;
    qn_status status;
    if (!rank) return QN_OK;
    if ((status = find_linear(d, i, "laurel_l", rank, hidden, &l->laurel_left, err)) ||
        (status = find_linear(d, i, "laurel_r", hidden, rank, &l->laurel_right, err)))
        return status;
    return find_norm(d, i, "laurel_post_norm", &l->laurel_norm, err);
}

static qn_status bind_layer(const qn_decoder *d, uint64_t i, qn_layer *l, qn_error *err)
{
    l->sizes = qn_hparams_layer(d->hparams, i);
    l->owns_kv = qn_hparams_kv_layer(d->hparams, i) == i;
    qn_status status;
    if ((status = bind_attention(d, i, l, err)) || (status = bind_feed_forward(d, i, l, err)) ||
        (status = bind_input(d, i, l, err)) || (status = bind_altup(d, i, l, err)) ||
        (status = bind_laurel(d, i, l, err)))
        return status;
    return bind_scale(d, i, l, err);
}

static qn_status make_rope(const qn_decoder *d, const qn_hparams *h, const float *divisors,
                           qn_rope *out, qn_error *err)
{
    out->dims = (size_t)h->rope_dims;
    out->frequency = qn_arena_alloc(d->arena, out->dims / 2, sizeof *out->frequency);
    if (!out->frequency) return qn_fail_memory(err, "rope frequencies");
    qn_rope_frequencies(h, divisors, out->frequency, &out->factor);
    return QN_OK;
}

/* Sliding layers with a theta or heads of their own rotate plainly. */
static qn_status bind_sliding_rope(qn_decoder *d, qn_error *err)
{
    qn_hparams h = *d->hparams;
    d->rope[1] = d->rope[0];
    if (!h.window || (h.rope_theta_swa == 0.0 && !h.rope_dims_swa && !h.plain_rope_swa))
        return QN_OK;
    if (h.rope_theta_swa != 0.0) h.rope_theta = h.rope_theta_swa;
    if (h.rope_dims_swa) h.rope_dims = h.rope_dims_swa;
    h.rope_scaling = QN_ROPE_NONE;
    return make_rope(d, &h, NULL, &d->rope[1], err);
}

static qn_status bind_rope(qn_decoder *d, qn_error *err)
{
    const float *divisors = NULL;
    qn_status status = QN_OK;
    if (qn_model_find(d->model, "rope_freqs.weight") ||
        d->hparams->rope_scaling == QN_ROPE_LLAMA3 ||
        d->hparams->rope_scaling == QN_ROPE_PROPORTIONAL)
        status = find_vector(d, "rope_freqs.weight", d->hparams->rope_dims / 2, &divisors, err);
    if (d->hparams->rope_scaling == QN_ROPE_LONGROPE) {
        divisors = d->hparams->short_factors.of;
        d->long_from = d->hparams->rope_original_ctx;
        status = make_rope(d, d->hparams, d->hparams->long_factors.of, &d->long_rope, err);
    }
    if (status || (status = make_rope(d, d->hparams, divisors, &d->rope[0], err))) return status;
    return bind_sliding_rope(d, err);
}

static qn_status bind_streams(qn_decoder *d, qn_error *err)
{
    const uint64_t hidden = d->hparams->hidden, others = QN_N_STREAMS - 1;
    if (!d->hparams->n_streams) return QN_OK;
    const qn_status status =
        find_whole(d, "altup_proj.weight", others, hidden, hidden, &d->streams_in, err);
    if (status) return status;
    return find_whole(d, "altup_unembd_proj.weight", others, hidden, hidden, &d->streams_out, err);
}

static qn_status bind_inputs(qn_decoder *d, qn_error *err)
{
    const qn_hparams *h = d->hparams;
    const uint64_t width = h->layer_input, all = width * h->n_layers;
    qn_status status;
    if (!width) return QN_OK;
    if ((status = find_matrix(d, "per_layer_token_embd.weight", h->n_input_vocab, all,
                              &d->input_table, err)) ||
        (status = find_whole(d, "per_layer_model_proj.weight", 1, all, h->hidden,
                             &d->input_projection, err)))
        return status;
    return find_vector(d, "per_layer_proj_norm.weight", width, &d->input_norm, err);
}

static qn_status bind(qn_decoder *d, qn_error *err)
{
    const qn_hparams *h = d->hparams;
    const char *const head =
        qn_model_find(d->model, "output.weight") ? "output.weight" : "token_embd.weight";
    qn_status status;
    if ((status = find_matrix(d, "token_embd.weight", h->n_vocab, h->hidden, &d->embedding, err)) ||
        (status = find_whole(d, head, 1, h->n_vocab, h->hidden, &d->head, err)) ||
        (status = find_vector(d, "output_norm.weight", h->hidden, &d->final_norm, err)) ||
        (status = bind_inputs(d, err)) || (status = bind_streams(d, err)))
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
    d->norm = k->rms_norm;
    d->threads = threads > 0 ? threads : omp_get_max_threads();
    if ((status = bind(d, err))) goto out;
    *out = d;
    d = NULL;
out:
    qn_decoder_free(d);
    return status;
}

void qn_decoder_set_activations(qn_decoder *d, qn_activations a)
{
    d->activations = a;
    d->norm = a == QN_ACTIVATIONS_Q8 ? qn_rms_norm_as_ggml : d->k->rms_norm;
}

void qn_decoder_free(qn_decoder *d)
{
    if (!d) return;
    qn_arena_free(d->arena);
    qn_free(d);
}
