#include "formats/general_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_name.h"

/* ---- recommended sampling ---------------------------------------------------------- */

enum { MOST_BYTES = 16 << 20 }; /* of a generation_config.json */

static const struct {
    const char *config[2]; /* the first that is there and not null */
    const char *key;
    qn_meta_type type;
} sampling[] = {
    {{"sequence"}, "general.sampling.sequence", QN_META_STRING},
    {{"top_k"}, "general.sampling.top_k", QN_META_I32},
    {{"top_p"}, "general.sampling.top_p", QN_META_F32},
    {{"min_p"}, "general.sampling.min_p", QN_META_F32},
    {{"xtc_probability"}, "general.sampling.xtc_probability", QN_META_F32},
    {{"xtc_threshold"}, "general.sampling.xtc_threshold", QN_META_F32},
    {{"temperature"}, "general.sampling.temp", QN_META_F32},
    {{"penalty_last_n"}, "general.sampling.penalty_last_n", QN_META_I32},
    {{"penalty_repeat", "repetition_penalty"}, "general.sampling.penalty_repeat", QN_META_F32},
    {{"mirostat"}, "general.sampling.mirostat", QN_META_I32},
    {{"mirostat_tau"}, "general.sampling.mirostat_tau", QN_META_F32},
    {{"mirostat_eta"}, "general.sampling.mirostat_eta", QN_META_F32},
};

static qn_status set_sampling(qn_metadata *m, const char *key, qn_meta_type type, const json_t *v,
                              const char *where, qn_error *err)
{
    if (type == QN_META_STRING && json_is_string(v))
        return qn_metadata_set_str(m, key, qn_str_of(json_string_value(v), json_string_length(v)),
                                   err);
    if (type == QN_META_F32 && json_is_number(v))
        return qn_metadata_set_f32(m, key, (float)json_number_value(v), err);
    if (type == QN_META_I32 && json_is_integer(v) && json_integer_value(v) >= INT32_MIN &&
        json_integer_value(v) <= INT32_MAX) {
        const int32_t i = (int32_t)json_integer_value(v);
        return qn_metadata_set(m, key, type, type, 1, qn_str_of((const char *)&i, sizeof i), err);
    }
    return qn_fail(err, QN_ERR_DATA, "%s: the value for %s is not of type %s", where, key,
                   qn_meta_type_name(type));
}

static qn_status sampling_keys(const json_t *config, const char *where, qn_metadata *m,
                               qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < sizeof sampling / sizeof *sampling && !status; i++) {
        const json_t *v = json_object_get(config, sampling[i].config[0]);
        if ((!v || json_is_null(v)) && sampling[i].config[1])
            v = json_object_get(config, sampling[i].config[1]);
        if (v && !json_is_null(v))
            status = set_sampling(m, sampling[i].key, sampling[i].type, v, where, err);
    }
    return status;
}

/* The converter passes over a generation_config.json that is no JSON, since
 * some checkpoints have one; so must we. */
static qn_status read_sampling(const char *dir, qn_metadata *m, qn_error *err)
{
    char *path = qn_path_join(dir, "generation_config.json");
    json_t *config = NULL;
    qn_status status = QN_OK;
    if (!path) return qn_fail_memory(err, "generation_config.json");
    if (qn_path_exists(path)) {
        status = qn_json_load(path, MOST_BYTES, &config, err);
        if (status == QN_ERR_DATA) status = QN_OK;
        if (!status && config) status = sampling_keys(config, path, m, err);
    }
    if (config) json_decref(config);
    qn_free(path);
    return status;
}

/* ---- the name ------------------------------------------------------------------------- */

/* What a says stays; b fills the rest.  Names become titles. */
static qn_status merge(qn_arena *arena, qn_gguf_name *a, const qn_gguf_name *b, qn_error *err)
{
    if (!a->name && b->name && !(a->name = qn_gguf_title(arena, b->name)))
        return qn_fail_memory(err, "the model's name");
    if (!a->organization && b->organization &&
        !(a->organization = qn_gguf_title(arena, b->organization)))
        return qn_fail_memory(err, "the model's name");
    if (!a->basename) a->basename = b->basename;
    if (!a->finetune) a->finetune = b->finetune;
    if (!a->version) a->version = b->version;
    if (!a->size_label) a->size_label = b->size_label;
    return QN_OK;
}

/* transformers writes there where the model was loaded from: an id of the hub
 * ("meta-llama/Llama-2-7b-hf"), or a path, which is no name. */
static const char *hub_id(const json_t *config)
{
    const char *s = json_string_value(json_object_get(config, "_name_or_path"));
    const char *slash = s ? strchr(s, '/') : NULL;
    return slash && strchr(slash + 1, '/') ? NULL : s;
}

static qn_status find_name(qn_arena *a, const qn_general_source *source, qn_gguf_name *out,
                           qn_error *err)
{
    qn_gguf_name part;
    qn_status status;
    const char *id = hub_id(source->config);
    *out = (qn_gguf_name){0};
    if (id && ((status = qn_gguf_name_parse(a, id, source->parameters, &part, err)) ||
               (status = merge(a, out, &part, err))))
        return status;
    if ((status = qn_gguf_name_parse(a, source->id, source->parameters, &part, err)) ||
        (status = merge(a, out, &part, err)))
        return status;
    if (source->model_name) out->name = source->model_name;
    return QN_OK;
}

static qn_status set_text(qn_metadata *m, const char *key, const char *s, qn_error *err)
{
    return s ? qn_metadata_set_str(m, key, qn_str_z(s), err) : QN_OK;
}

qn_status qn_general_keys(const qn_general_source *source, qn_metadata *m, qn_error *err)
{
    char label[64], size[32];
    qn_gguf_name name;
    qn_status status;
    qn_arena *a = qn_arena_new();
    if (!a) return qn_fail_memory(err, "the model's name");
    if ((status = find_name(a, source, &name, err))) goto out;
    if (!name.size_label && source->parameters) {
        const int n = source->experts ? snprintf(label, sizeof label, "%llux",
                                                 (unsigned long long)source->experts)
                                      : 0;
        qn_gguf_size_label(source->experts ? source->of_one_expert : source->parameters, size);
        snprintf(label + n, sizeof label - (size_t)n, "%s", size);
        name.size_label = label;
    }
    (void)((status = read_sampling(source->dir, m, err)) ||
           (status = set_text(m, "general.name", name.name, err)) ||
           (status = set_text(m, "general.version", name.version, err)) ||
           (status = set_text(m, "general.organization", name.organization, err)) ||
           (status = set_text(m, "general.finetune", name.finetune, err)) ||
           (status = set_text(m, "general.basename", name.basename, err)) ||
           (status = set_text(m, "general.size_label", name.size_label, err)));
out:
    qn_arena_free(a);
    return status;
}

/* "models--ORG--NAME/snapshots/COMMIT", as the Hub's cache has it: NAME. */
static qn_str hub_cache_name(const char *path)
{
    static const char below[] = "/snapshots/", prefix[] = "models--";
    qn_str name = {0};
    for (const char *s = strstr(path, prefix), *next; s; s = next) {
        next = strstr(s + 1, prefix);
        const char *end = strchr(s, '/');
        if (!end || strncmp(end, below, sizeof below - 1) != 0) continue;
        const size_t commit = strcspn(end + sizeof below - 1, "/");
        if (end[sizeof below - 1 + commit] && end[sizeof below + commit]) continue; /* deeper */
        for (const char *dash = s; (dash = strstr(dash, "--")) && dash < end; dash += 2)
            name = qn_str_of(dash + 2, (size_t)(end - dash - 2));
    }
    return name;
}

const char *qn_directory_name(qn_arena *a, const char *path)
{
    const qn_str cached = hub_cache_name(path);
    if (cached.n) return qn_arena_strndup(a, cached.s, cached.n);
    char *base = qn_path_base(path), *real = NULL;
    const char *name = NULL;
    if (!base) return NULL;
    if (!*base || !strcmp(base, ".") || !strcmp(base, "..") || !strcmp(base, "/")) {
        real = realpath(path, NULL);
        qn_free(base);
        base = qn_path_base(real ? real : path);
        free(real); /* the C library's own */
    }
    if (base) name = qn_arena_strndup(a, base, strlen(base));
    qn_free(base);
    return name;
}
