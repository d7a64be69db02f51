/* A GGUF file as a model: its tensors as they lie. */
#include <string.h>

#include "formats/model_build.h"
#include "formats/rope_divisors.h"

static qn_status add_tensors(qn_model *m, qn_error *err)
{
    const qn_reader *r = m->reader;
    qn_status status = qn_model_reserve(m, r->n_tensors, err);
    for (size_t i = 0; i < r->n_tensors && !status; i++) {
        const qn_tensor *t = &r->tensors[i];
        const qn_model_tensor mine = qn_model_tensor_of(t, t->name, qn_rows_view(m->arena, r, t));
        status = qn_model_add(m, &mine, err);
    }
    return status;
}

static qn_status read_architecture(qn_model *m, const qn_model_options *options, qn_error *err)
{
    qn_str s;
    bool found = false;
    const bool generic = options->family && !strcmp(options->family, "generic");
    const qn_status status =
        qn_metadata_str(m->metadata, "general.architecture", &s, generic ? &found : NULL, err);
    if (status) return status;
    if (generic && !found) s = qn_str_z("generic");
    m->architecture = qn_arena_strndup(m->arena, s.s, s.n);
    if (!m->architecture) return qn_fail_memory(err, "the architecture's name");
    m->generic = generic || !strcmp(m->architecture, "generic");
    return QN_OK;
}

/* ---- what only the tensors tell ------------------------------------------------------- */

static bool any_of(const qn_reader *r, const qn_family *f, qn_need need)
{
    char name[160];
    for (size_t i = 0; i < f->n_roles; i++)
        if (f->roles[i].need == need &&
            qn_reader_find(r, qn_role_name(f->roles[i].gguf, (qn_place){0}, name, sizeof name)))
            return true;
    return false;
}

static const qn_tensor *divisors_of(const qn_reader *r, const qn_family *f)
{
    for (size_t i = 0; i < f->n_roles; i++)
        if (f->roles[i].transform == QN_ROPE_DIVISORS) return qn_reader_find(r, f->roles[i].gguf);
    return NULL;
}

static qn_status read_factors(qn_model *m, const qn_family *f, qn_transform which,
                              qn_layer_reals *out, qn_error *err)
{
    for (size_t i = 0; i < f->n_roles; i++) {
        if (f->roles[i].transform != which) continue;
        const qn_tensor *t = qn_reader_find(m->reader, f->roles[i].gguf);
        if (!t) continue;
        if (t->dtype != QN_F32 || qn_tensor_elements(t) > QN_MAX_LAYERS)
            return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is %llu numbers of type %s",
                           m->path, t->name, (unsigned long long)qn_tensor_elements(t),
                           qn_dtype_facts(t->dtype)->name);
        out->n = (uint32_t)qn_tensor_elements(t);
        memcpy(out->of, t->data, (size_t)t->bytes);
    }
    return QN_OK;
}

/* Longrope shows in its tensors. */
static qn_status read_longrope(qn_model *m, const qn_family *f, qn_error *err)
{
    qn_hparams *h = &m->hparams;
    qn_status status;
    if ((status = read_factors(m, f, QN_LONG_FACTORS, &h->long_factors, err)) ||
        (status = read_factors(m, f, QN_SHORT_FACTORS, &h->short_factors, err)))
        return status;
    if (!h->long_factors.n && !h->short_factors.n) return QN_OK;
    h->rope_scaling = QN_ROPE_LONGROPE;
    return qn_hparams_complete(h, m->path, err);
}

static qn_status read_divisors(qn_model *m, const qn_family *f, qn_error *err)
{
    const qn_tensor *t = divisors_of(m->reader, f);
    if (!t) return QN_OK;
    if (m->hparams.rope_scaling != QN_ROPE_NONE)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" beside rope scaling \"%s\"", m->path,
                       t->name, qn_rope_scaling_name(m->hparams.rope_scaling));
    if (t->dtype != QN_F32)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is %s, not F32", m->path, t->name,
                       qn_dtype_facts(t->dtype)->name);
    if (qn_tensor_elements(t) != m->hparams.rope_dims / 2)
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" has %llu elements, but %llu pairs rotate",
                       m->path, t->name, (unsigned long long)qn_tensor_elements(t),
                       (unsigned long long)(m->hparams.rope_dims / 2));
    m->hparams.rope_scaling = QN_ROPE_LLAMA3;
    /* A mapped float may stand at any address. */
    float *divisors = qn_arena_alloc(m->arena, qn_tensor_elements(t), sizeof *divisors);
    if (!divisors) return qn_fail_memory(err, "the rope divisors");
    memcpy(divisors, t->data, (size_t)t->bytes);
    qn_rope_divisors_explain(divisors, &m->hparams);
    return QN_OK;
}

/* ---- the family -------------------------------------------------------------------------- */

static qn_status check_known(const qn_model *m, const qn_family *f, qn_error *err)
{
    for (size_t i = 0; i < m->reader->n_tensors; i++) {
        const qn_tensor *t = &m->reader->tensors[i];
        qn_place place;
        const qn_role *role = qn_family_role(f, t->name, true, NULL, &place);
        if (!role || place.layer >= m->hparams.n_layers ||
            ((role->need == QN_IF_ROUTED || role->need == QN_IF_DENSE) &&
             !qn_role_allowed(role, &m->hparams, place.layer)))
            return qn_fail(err, QN_ERR_UNSUPPORTED,
                           "%s: \"%s\" has no place in a %s model of %llu layers", m->path, t->name,
                           f->name, (unsigned long long)m->hparams.n_layers);
        const qn_status status = qn_model_check_shape(m, role, place.layer, t, "the metadata", err);
        if (status) return status;
    }
    return QN_OK;
}

static qn_status check_complete(const qn_model *m, const qn_family *f, qn_error *err)
{
    char name[160];
    for (uint64_t layer = 0; layer < m->hparams.n_layers; layer++)
        for (size_t i = 0; i < f->n_roles; i++) {
            const qn_role *role = &f->roles[i];
            /* Biases are what the tensors say: a model may have some of them. */
            if (role->need == QN_IF_ATTENTION_BIAS || role->need == QN_IF_MLP_BIAS ||
                !qn_role_needed(role, &m->hparams, layer) || (layer && !qn_role_is_layered(role)))
                continue;
            qn_role_name(role->gguf, (qn_place){.layer = layer}, name, sizeof name);
            if (!qn_reader_find(m->reader, name))
                return qn_fail(err, QN_ERR_DATA, "%s: tensor \"%s\" is missing", m->path, name);
        }
    return QN_OK;
}

/* Rows of the tensor whose first size is dim; 0: there is none. */
static uint64_t rows_of(const qn_reader *r, const qn_family *f, qn_dim dim)
{
    char name[160];
    for (size_t i = 0; i < f->n_roles; i++) {
        const qn_tensor *t = NULL;
        if (f->roles[i].shape[0] == dim)
            t = qn_reader_find(r, qn_role_name(f->roles[i].gguf, (qn_place){0}, name, sizeof name));
        if (t && t->rank) return t->dims[0];
    }
    return 0;
}

/* Whether a full layer that needs values of its own has no matrix for them. */
static bool lacks_values(const qn_model *m, const qn_family *f)
{
    char name[160];
    for (size_t i = 0; i < f->n_roles; i++)
        for (uint64_t layer = 0; layer < m->hparams.n_layers; layer++)
            if (f->roles[i].need == QN_IF_OWN_VALUES &&
                qn_role_needed(&f->roles[i], &m->hparams, layer) &&
                !qn_hparams_layer(&m->hparams, layer).slides &&
                !qn_reader_find(
                    m->reader,
                    qn_role_name(f->roles[i].gguf, (qn_place){.layer = layer}, name, sizeof name)))
                return true;
    return false;
}

/* Where a family has layers with experts and layers without, the tensors say which is
 * which: dense, and routed for the roles. */
static void read_routed(const qn_model *m, const qn_family *f, qn_hparams *h)
{
    char name[160];
    h->routed.n = h->dense.n = 0;
    for (size_t i = 0; i < f->n_roles; i++) {
        if (f->roles[i].need != QN_IF_ROUTED) continue;
        if (!h->routed.n) memset(h->routed.of, 0, sizeof h->routed.of);
        h->routed.n = h->dense.n = (uint32_t)h->n_layers;
        for (uint64_t layer = 0; layer < h->n_layers; layer++)
            h->routed.of[layer] |=
                qn_reader_find(m->reader, qn_role_name(f->roles[i].gguf, (qn_place){.layer = layer},
                                                       name, sizeof name)) != NULL;
    }
    for (uint32_t layer = 0; layer < h->dense.n; layer++) h->dense.of[layer] = !h->routed.of[layer];
}

/* Where keys are values, too, both have one size. */
static qn_status check_values(const qn_hparams *h, const char *where, qn_error *err)
{
    for (uint64_t i = 0; i < h->n_layers; i++) {
        const qn_layer_sizes l = qn_hparams_layer(h, i);
        if (h->value_is_key && !l.slides && l.head_dim != l.value_dim)
            return qn_fail(err, QN_ERR_DATA,
                           "%s: layer %llu takes its keys of %llu for values of %llu", where,
                           (unsigned long long)i, (unsigned long long)l.head_dim,
                           (unsigned long long)l.value_dim);
    }
    return QN_OK;
}

static qn_status bind_family(qn_model *m, const qn_family *f, qn_error *err)
{
    char name[160];
    uint64_t rows = 0;
    qn_status status;
    for (size_t i = 0; i < f->n_roles; i++) {
        if (f->roles[i].shape[0] != QN_VOCAB) continue;
        const qn_tensor *t = qn_reader_find(
            m->reader, qn_role_name(f->roles[i].gguf, (qn_place){0}, name, sizeof name));
        if (t && t->rank) rows = t->dims[0];
        m->hparams.tied =
            (f->roles[i].need == QN_IF_UNTIED || f->roles[i].need == QN_ONLY_UNTIED) && !t;
    }
    const bool tied = m->hparams.tied;
    const uint64_t n_input_vocab = rows_of(m->reader, f, QN_INPUT_VOCAB);
    const uint64_t laurel_rank = rows_of(m->reader, f, QN_LAUREL);
    if ((status = qn_hparams_from_metadata(f, m->metadata, m->path, rows, &m->hparams, err)))
        return status;
    m->hparams.tied = tied;
    m->hparams.laurel_rank = laurel_rank;
    if (n_input_vocab) m->hparams.n_input_vocab = n_input_vocab;
    m->hparams.value_is_key = lacks_values(m, f);
    read_routed(m, f, &m->hparams);
    m->hparams.attention_bias = any_of(m->reader, f, QN_IF_ATTENTION_BIAS);
    m->hparams.mlp_bias = any_of(m->reader, f, QN_IF_MLP_BIAS);
    if ((status = check_values(&m->hparams, m->path, err)) || (status = read_divisors(m, f, err)) ||
        (status = read_longrope(m, f, err)) || (status = check_known(m, f, err)) ||
        (status = check_complete(m, f, err)))
        return status;
    return qn_family_check_sizes(f, &m->hparams, m->path, err);
}

/* A file that we cannot run can still be quantized, unless it contradicts
 * itself. */
static qn_status find_family(qn_model *m, const qn_model_options *options, qn_error *err)
{
    qn_error why = {0};
    const qn_family *f = options->family ? qn_family_by_name(options->family)
                                         : qn_family_of_gguf(m->architecture, m->metadata);
    if (m->generic) {
        m->not_runnable = "opened as generic: no family's forward pass applies";
        return QN_OK;
    }
    if (!f)
        qn_fail(&why, QN_ERR_UNSUPPORTED, "%s: architecture %s cannot be run", m->path,
                m->architecture);
    else if (!m->n_tensors)
        qn_fail(&why, QN_ERR_UNSUPPORTED, "%s: there are no tensors in it", m->path);
    else if (!bind_family(m, f, &why))
        m->family = f;
    if (why.status && why.status != QN_ERR_UNSUPPORTED)
        return qn_fail(err, why.status, "%s", why.message);
    if (why.status) m->not_runnable = qn_model_note(m, why.message);
    return QN_OK;
}

static qn_status read_vocabulary(qn_model *m, const qn_model_options *options, qn_error *err)
{
    qn_error why = {0};
    if (options->no_vocab || !qn_metadata_find(m->metadata, "tokenizer.ggml.model")) {
        m->no_vocab = options->no_vocab ? "the tokenizer was left alone" : "it has no tokenizer";
        return QN_OK;
    }
    const qn_status status = qn_vocab_from_metadata(&m->vocab, m->metadata, m->path, &why);
    if (status == QN_ERR_UNSUPPORTED)
        m->no_vocab = qn_model_note(m, why.message);
    else if (status)
        return qn_fail(err, status, "%s", why.message);
    return QN_OK;
}

qn_status qn_model_fill_gguf(qn_model *m, const qn_model_options *options, qn_error *err)
{
    qn_status status;
    if (options->model_name || options->metadata)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s: a GGUF file keeps its keys: --%s is for checkpoints", m->path,
                       options->metadata ? "metadata" : "model-name");
    m->metadata = m->reader->metadata;
    if ((status = read_architecture(m, options, err)) || (status = add_tensors(m, err)) ||
        (status = find_family(m, options, err)))
        return status;
    return read_vocabulary(m, options, err);
}
