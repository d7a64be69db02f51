/* A checkpoint as a model: names mapped, row sources stacked, metadata made, as
 * the reference converter would write it. */
#include <stdlib.h>
#include <string.h>

#include "formats/convert.h"
#include "formats/general_keys.h"
#include "formats/hf_config.h"
#include "formats/model_build.h"
#include "formats/packed/packed.h"
#include "formats/packed/unpack.h"
#include "formats/rope_divisors.h"

/* ---- the converter's order --------------------------------------------------------------- */

typedef struct {
    const qn_tensor *tensor;
} ordered;

static bool is_mxfp4(const qn_tensor *t)
{
    return t->packed && t->packed->number == QN_F4;
}

static int by_file_and_name(const void *left, const void *right)
{
    const qn_tensor *a = ((const ordered *)left)->tensor, *b = ((const ordered *)right)->tensor;
    if (is_mxfp4(a) != is_mxfp4(b)) return is_mxfp4(a) ? -1 : 1;
    if (a->file != b->file) return a->file < b->file ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Files by name, in each the tensors by name (gguf-py SafetensorsLocal):
 * layers 0, 1, 10, 2; what is packed as MXFP4 in front (generate_extra_tensors).  In the arena. */
static const ordered *converter_order(const qn_model *m)
{
    const qn_reader *r = m->reader;
    ordered *order = qn_arena_alloc(m->arena, r->n_tensors, sizeof *order);
    if (!order) return NULL;
    for (size_t i = 0; i < r->n_tensors; i++) order[i].tensor = &r->tensors[i];
    qsort(order, r->n_tensors, sizeof *order, by_file_and_name);
    return order;
}

/* ---- tensors by role -------------------------------------------------------------------------- */

static qn_status add_vector(qn_model *m, const qn_role *role, const float *values, uint64_t n,
                            qn_error *err)
{
    const qn_model_tensor t = {
        .name = role->gguf, .rank = 1, .dims = {n}, .rows = qn_rows_values(m->arena, values, 1, n)};
    return qn_model_add(m, &t, err);
}

static qn_status add_divisors(qn_model *m, const qn_role *role, qn_error *err)
{
    const uint64_t n = m->hparams.rope_dims / 2;
    float *values = qn_alloc(n, sizeof *values);
    if (!values) return qn_fail_memory(err, "the rope divisors");
    qn_rope_divisors(&m->hparams, values);
    const qn_status status = add_vector(m, role, values, n, err);
    qn_free(values);
    return status;
}

/* What rope scaling makes of the role: false, nothing. */
static bool is_computed(qn_transform t, qn_rope_scaling scaling)
{
    if (t == QN_ROPE_DIVISORS) return scaling == QN_ROPE_LLAMA3 || scaling == QN_ROPE_PROPORTIONAL;
    return (t == QN_LONG_FACTORS || t == QN_SHORT_FACTORS) && scaling == QN_ROPE_LONGROPE;
}

static qn_status add_computed(qn_model *m, qn_error *err)
{
    const qn_hparams *h = &m->hparams;
    const qn_rope_scaling scaling = h->rope_scaling;
    qn_status status = QN_OK;
    bool made =
        scaling != QN_ROPE_LLAMA3 && scaling != QN_ROPE_PROPORTIONAL && scaling != QN_ROPE_LONGROPE;
    for (size_t i = 0; i < m->family->n_roles && !status; i++) {
        const qn_role *role = &m->family->roles[i];
        if (!is_computed(role->transform, scaling)) continue;
        made = true;
        if (role->transform == QN_ROPE_DIVISORS)
            status = add_divisors(m, role, err);
        else if (role->transform == QN_LONG_FACTORS)
            status = add_vector(m, role, h->long_factors.of, h->long_factors.n, err);
        else
            status = add_vector(m, role, h->short_factors.of, h->short_factors.n, err);
    }
    if (status || made) return status;
    return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: rope scaling \"%s\" in a %s model", m->path,
                   qn_rope_scaling_name(scaling), m->family->name);
}

/* One of the roles that t plays. */
static qn_status add_role(qn_model *m, qn_stacks *stacks, const qn_role *role, qn_place place,
                          const qn_tensor *t, qn_error *err)
{
    char name[160];
    const qn_rows *rows;
    qn_status status;
    if ((status = qn_model_check_shape(m, role, place.layer, t, "config.json", err))) return status;
    if (!qn_dtype_facts(t->dtype)->is_float)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is %s, not real numbers",
                       m->reader->files[t->file].path, t->name, qn_dtype_facts(t->dtype)->name);
    if (qn_role_is_stacked(role)) return qn_stacks_add(stacks, m, role, place, t, err);
    if ((status = qn_model_transform(m, role, t->rank, qn_rows_view(m->arena, m->reader, t), false,
                                     &rows, err)))
        return status;
    qn_role_name(role->gguf, place, name, sizeof name);
    qn_model_tensor mine =
        qn_model_tensor_of(t, qn_arena_strndup(m->arena, name, strlen(name)), rows);
    mine.rank = qn_role_shape(role, &m->hparams, place.layer, true, mine.dims);
    return qn_model_add(m, &mine, err);
}

static bool has_place(const qn_model *m, const qn_role *role, qn_place place)
{
    return role && place.layer < m->hparams.n_layers &&
           qn_role_allowed(role, &m->hparams, place.layer) &&
           (!qn_role_is_stacked(role) || place.expert < qn_role_parts(role, &m->hparams));
}

/* Some packers give every linear a bias, of zeros where the model has none. */
static bool is_idle_bias(const qn_model *m, const qn_tensor *t)
{
    const uint8_t *bytes = t->data;
    if (!m->reader->packing || t->packed || t->lora || !qn_str_ends(qn_str_z(t->name), ".bias"))
        return false;
    for (uint64_t i = 0; i < t->bytes; i++)
        if (bytes[i]) return false;
    return true;
}

static qn_status add_known(qn_model *m, qn_stacks *stacks, const qn_tensor *t, qn_error *err)
{
    qn_place place;
    qn_status status = QN_OK;
    const qn_role *role = qn_family_role(m->family, t->name, false, NULL, &place);
    const bool known = has_place(m, role, place);
    if (!known && qn_family_is_tower(m->family, t->name)) {
        m->n_towers++;
        return QN_OK;
    }
    if (!known && (qn_family_ignores(m->family, t->name) || is_idle_bias(m, t))) return QN_OK;
    if (!known)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: \"%s\" has no place in a %s model of %llu layers as config.json "
                       "describes it",
                       m->reader->files[t->file].path, t->name, m->family->name,
                       (unsigned long long)m->hparams.n_layers);
    for (; role && !status; role = qn_family_role(m->family, t->name, false, role, &place))
        if (qn_role_allowed(role, &m->hparams, place.layer))
            status = add_role(m, stacks, role, place, t, err);
    return status;
}

/* The prefix that this checkpoint has in the place of name's beginning; NULL:
 * none. */
static const qn_prefix *prefix_in_use(const qn_model *m, const char *name)
{
    for (size_t i = 0; i < m->family->n_prefixes; i++) {
        const qn_prefix *p = &m->family->prefixes[i];
        if (strncmp(name, p->to, strlen(p->to)) != 0) continue;
        for (size_t t = 0; t < m->reader->n_tensors; t++)
            if (!strncmp(m->reader->tensors[t].name, p->from, strlen(p->from))) return p;
    }
    return NULL;
}

static qn_status missing(const qn_model *m, const qn_stacks *stacks, const qn_role *role,
                         uint64_t layer, qn_error *err)
{
    char name[160];
    qn_place place = {.layer = layer};
    if (qn_role_is_stacked(role)) {
        const uint64_t expert = qn_stacks_missing(stacks, m, role, layer);
        if (expert == qn_role_parts(role, &m->hparams)) return QN_OK; /* another role's lacks one */
        place.expert = expert;
    }
    qn_role_name(role->checkpoint, place, name, sizeof name);
    const qn_prefix *p = prefix_in_use(m, name);
    return qn_fail(err, QN_ERR_DATA, "%s: tensor \"%s%s\" is missing%s", m->path, p ? p->from : "",
                   name + (p ? strlen(p->to) : 0),
                   role->need == QN_IF_UNTIED ? ", and config.json does not say tie_word_embeddings"
                                              : "");
}

static qn_status check_complete(const qn_model *m, const qn_stacks *stacks, qn_error *err)
{
    char name[160];
    const qn_family *f = m->family;
    for (uint64_t layer = 0; layer < m->hparams.n_layers; layer++)
        for (size_t i = 0; i < f->n_roles; i++) {
            const qn_role *role = &f->roles[i];
            if (!role->checkpoint || !qn_role_needed(role, &m->hparams, layer)) continue;
            if (layer && !qn_role_is_layered(role)) continue;
            qn_role_name(role->gguf, (qn_place){.layer = layer}, name, sizeof name);
            if (qn_model_find(m, name)) continue;
            const qn_status status = missing(m, stacks, role, layer, err);
            if (status) return status;
        }
    return QN_OK;
}

static qn_status add_tensors(qn_model *m, qn_error *err)
{
    const ordered *order = converter_order(m);
    qn_stacks *stacks;
    qn_status status = qn_model_reserve(m, 2 * m->reader->n_tensors + 3, err);
    if (status || (status = qn_stacks_new(m, &stacks, err))) return status;
    if (!order) return qn_fail_memory(err, "the list of tensors");
    if (m->family) status = add_computed(m, err);
    for (size_t i = 0; i < m->reader->n_tensors && !status; i++) {
        const qn_tensor *t = order[i].tensor;
        if (m->family) {
            status = add_known(m, stacks, t, err);
        } else {
            const qn_model_tensor mine =
                qn_model_tensor_of(t, t->name, qn_rows_view(m->arena, m->reader, t));
            status = qn_model_add(m, &mine, err);
        }
    }
    if (!status && m->family) status = check_complete(m, stacks, err);
    return status;
}

/* ---- metadata ------------------------------------------------------------------------------------ */

/* All of a model's tensors, the computed ones too: what the converter counts.
 * one_expert: of a stack one expert alone. */
static uint64_t parameters(const qn_model *m, bool one_expert)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const qn_model_tensor *t = &m->tensors[i];
        const bool experts = one_expert && t->rank >= 3 && t->dims[0] && strstr(t->name, "_exps.");
        n += t->rows->rows * t->rows->columns / (experts ? t->dims[0] : 1);
    }
    return n;
}

static qn_status add_general(qn_model *m, const qn_general_source *source, qn_error *err)
{
    qn_text remarks = {0};
    const qn_status status = qn_general_keys(source, m->metadata, &remarks, err);
    if (!status && remarks.s) m->remarks = qn_model_note(m, remarks.s);
    qn_text_free(&remarks);
    return status;
}

static qn_status make_metadata(qn_model *m, const qn_general_source *source, qn_error *err)
{
    enum { QUANTIZATION_VERSION = 2 }; /* ggml's GGML_QNT_VERSION */
    qn_metadata *keys = qn_metadata_new();
    const uint32_t file_type = qn_convert_file_type(m, qn_convert_resolve(m, QN_OUT_AUTO));
    qn_status status = QN_OK;
    if (!keys) return qn_fail_memory(err, "the metadata");
    m->metadata = keys;
    if ((status =
             qn_metadata_set_str(keys, "general.architecture", qn_str_z(m->architecture), err)) ||
        (m->family && (status = qn_hparams_first_metadata(m->family, &m->hparams, keys, err))) ||
        (status = qn_metadata_set_str(keys, "general.type", qn_str_z("model"), err)) ||
        (status = add_general(m, source, err)))
        return status;
    status = m->family ? qn_hparams_to_metadata(m->family, &m->hparams, file_type, keys, err)
                       : qn_metadata_set_u32(keys, "general.file_type", file_type, err);
    if (status) return status;
    status = qn_metadata_set_u32(keys, "general.quantization_version", QUANTIZATION_VERSION, err);
    if (status || !m->vocab) return status;
    return qn_vocab_write_metadata(m->vocab, keys, err);
}

/* ---- opening --------------------------------------------------------------------------------------- */

/* Where config.json and the tokenizer are: the directory itself, or the one a
 * lone file lies in.  In the arena. */
static const char *directory_of(const qn_model *m)
{
    if (qn_path_is_dir(m->path)) return m->path;
    char *parent = qn_path_parent(m->path);
    const char *kept = parent ? qn_arena_strndup(m->arena, parent, strlen(parent)) : NULL;
    qn_free(parent);
    return kept;
}

static qn_status choose_family(qn_model *m, const qn_hf_config *config,
                               const qn_model_options *options, qn_error *err)
{
    qn_status status = QN_OK;
    if (options->family)
        m->family = qn_family_by_name(options->family);
    else
        status = qn_hf_config_family(config, &m->family, err);
    if (status) return status;
    m->architecture = m->family->architecture;
    status = qn_hf_config_hparams(config, m->family, &m->hparams, err);
    return status ? status : qn_family_check_sizes(m->family, &m->hparams, m->path, err);
}

/* *out stays NULL where a generic model has none. */
static qn_status open_config(const qn_model *m, const char *dir, qn_hf_config **out, qn_error *err)
{
    char *path = qn_path_join(dir, "config.json");
    if (!path) return qn_fail_memory(err, "config.json");
    const bool there = qn_path_exists(path);
    qn_free(path);
    if (there) return qn_hf_config_open(out, dir, err);
    if (m->generic) return QN_OK;
    return qn_fail(err, QN_ERR_DATA,
                   "%s: no config.json %s; --family generic keeps the tensors' names and does "
                   "without",
                   m->path, dir == m->path ? "in it" : "beside it");
}

/* Without a family, or under --family generic, modules still have the names of the
 * family that config.json names, if it does. */
static qn_status merge_adapters(qn_model *m, const qn_hf_config *config,
                                const qn_model_options *options, qn_error *err)
{
    const qn_family *family = m->family;
    m->vocabulary.tied = m->hparams.tied;
    if (!options->n_adapters) return QN_OK;
    if (!family && config) {
        (void)qn_hf_config_family(config, &family, NULL);
        m->vocabulary.tied = json_is_true(json_object_get(config->text, "tie_word_embeddings")) ||
                             json_is_true(json_object_get(config->root, "tie_word_embeddings"));
    }
    const qn_status status = qn_lora_merge(&m->lora, m->reader, options->adapters,
                                           options->n_adapters, family, &m->vocabulary, err);
    if (status) return status;
    m->hparams.tied = m->vocabulary.tied;
    if (m->vocabulary.n_vocab) m->hparams.n_vocab = m->vocabulary.n_vocab;
    const char *tokenizer = qn_lora_tokenizer(options->adapters, options->n_adapters);
    if (tokenizer && !(m->tokenizer = qn_arena_strndup(m->arena, tokenizer, strlen(tokenizer))))
        return qn_fail_memory(err, "the adapters");
    return QN_OK;
}

static qn_status read_vocabulary(qn_model *m, const char *dir, const qn_model_options *options,
                                 qn_error *err)
{
    if (options->no_vocab) {
        m->no_vocab = "the tokenizer was left alone";
        return QN_OK;
    }
    const qn_vocab_options how = {.size = m->hparams.n_vocab,
                                  .pre = options->pre,
                                  .pre_name = m->family->pre,
                                  .model_type = options->family ? m->family->model_types[0] : NULL,
                                  .base = dir};
    return qn_vocab_from_directory(&m->vocab, m->tokenizer ? m->tokenizer : dir, &how, err);
}

qn_status qn_model_fill_checkpoint(qn_model *m, const qn_model_options *options, qn_error *err)
{
    const bool generic = options->family && !strcmp(options->family, "generic");
    const char *dir = directory_of(m);
    qn_hf_config *config = NULL;
    qn_status status;
    if (!dir) return qn_fail_memory(err, "the model's directory");
    m->directory = dir;
    m->generic = generic;
    if (generic) {
        m->architecture = "generic";
        m->not_runnable = "opened as generic: no family's forward pass applies";
        m->no_vocab = "opened as generic: the tokenizer was left alone";
    }
    if ((status = open_config(m, dir, &config, err))) goto out;
    if (!generic && (status = choose_family(m, config, options, err))) goto out;
    if ((status = qn_unpack_reader(m->reader, config ? config->root : NULL,
                                   config ? config->path : m->path, err)) ||
        (status = merge_adapters(m, config, options, err)) ||
        (!generic && (status = read_vocabulary(m, dir, options, err))) ||
        (status = add_tensors(m, err)))
        goto out;
    const qn_general_source source = {
        .dir = dir,
        .id = qn_directory_name(m->arena, dir),
        .override_path = options->metadata,
        .model_name = options->model_name,
        .config = config && !generic ? config->root : NULL,
        .parameters = parameters(m, false),
        .of_one_expert = parameters(m, true),
        .experts = m->hparams.n_experts,
    };
    status = source.id ? make_metadata(m, &source, err) : qn_fail_memory(err, "the model's name");
out:
    qn_hf_config_close(config);
    return status;
}
