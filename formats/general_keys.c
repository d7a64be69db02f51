#include "formats/general_keys.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_name.h"
#include "formats/model_card.h"

/* Everything is gathered in one object under the names of the override file:
 * what is there first stays, the file replaces, the end writes it. */

enum { MOST_BYTES = 16 << 20 }; /* of a generation_config.json or an override file */

typedef enum { TEXT, TEXTS, F32, I32, RELATED } kind;

/* In the order in which they are written (Metadata.set_gguf_meta_model). */
static const struct {
    const char *key;
    kind kind;
    const char *generation[2]; /* in generation_config.json: the first that is there */
} known[] = {
    {"general.sampling.sequence", TEXT, {"sequence"}},
    {"general.sampling.top_k", I32, {"top_k"}},
    {"general.sampling.top_p", F32, {"top_p"}},
    {"general.sampling.min_p", F32, {"min_p"}},
    {"general.sampling.xtc_probability", F32, {"xtc_probability"}},
    {"general.sampling.xtc_threshold", F32, {"xtc_threshold"}},
    {"general.sampling.temp", F32, {"temperature"}},
    {"general.sampling.penalty_last_n", I32, {"penalty_last_n"}},
    {"general.sampling.penalty_repeat", F32, {"penalty_repeat", "repetition_penalty"}},
    {"general.sampling.mirostat", I32, {"mirostat"}},
    {"general.sampling.mirostat_tau", F32, {"mirostat_tau"}},
    {"general.sampling.mirostat_eta", F32, {"mirostat_eta"}},
    {"general.name", TEXT, {NULL}},
    {"general.author", TEXT, {NULL}},
    {"general.version", TEXT, {NULL}},
    {"general.organization", TEXT, {NULL}},
    {"general.finetune", TEXT, {NULL}},
    {"general.basename", TEXT, {NULL}},
    {"general.description", TEXT, {NULL}},
    {"general.quantized_by", TEXT, {NULL}},
    {"general.size_label", TEXT, {NULL}},
    {"general.license", TEXT, {NULL}},
    {"general.license.name", TEXT, {NULL}},
    {"general.license.link", TEXT, {NULL}},
    {"general.url", TEXT, {NULL}},
    {"general.doi", TEXT, {NULL}},
    {"general.uuid", TEXT, {NULL}},
    {"general.repo_url", TEXT, {NULL}},
    {"general.source.url", TEXT, {NULL}},
    {"general.source.doi", TEXT, {NULL}},
    {"general.source.uuid", TEXT, {NULL}},
    {"general.source.repo_url", TEXT, {NULL}},
    {"general.base_models", RELATED, {NULL}},
    {"general.datasets", RELATED, {NULL}},
    {"general.tags", TEXTS, {NULL}},
    {"general.languages", TEXTS, {NULL}},
};

enum { N_KNOWN = sizeof known / sizeof *known };

/* ---- gathering ------------------------------------------------------------------------ */

static bool is_absent(const json_t *keys, const char *key)
{
    const json_t *value = json_object_get(keys, key);
    return !value || json_is_null(value);
}

/* The name of a directory can be bytes that are no text: it says nothing. */
static qn_status fill(json_t *keys, const char *key, const char *text, qn_error *err)
{
    if (!text || !qn_utf8_valid(qn_str_z(text)) || !is_absent(keys, key)) return QN_OK;
    return json_object_set_new(keys, key, json_string(text)) ? qn_fail_memory(err, key) : QN_OK;
}

/* What a name says, for the keys that are not there yet. */
static qn_status fill_from_name(json_t *keys, const char *id, uint64_t parameters, qn_arena *a,
                                qn_error *err)
{
    qn_gguf_name n;
    qn_status status = qn_gguf_name_parse(a, id, parameters, &n, err);
    if (status) return status;
    const char *title = qn_gguf_title(a, n.name);
    const char *organization = n.organization ? qn_gguf_title(a, n.organization) : NULL;
    if (!title || (n.organization && !organization)) return qn_fail_memory(err, "the model's name");
    (void)((status = fill(keys, "general.name", title, err)) ||
           (status = fill(keys, "general.organization", organization, err)) ||
           (status = fill(keys, "general.basename", n.basename, err)) ||
           (status = fill(keys, "general.finetune", n.finetune, err)) ||
           (status = fill(keys, "general.version", n.version, err)) ||
           (status = fill(keys, "general.size_label", n.size_label, err)));
    return status;
}

/* transformers writes there where the model was loaded from: an id of the hub
 * ("meta-llama/Llama-2-7b-hf"), or a path, which is no name. */
static const char *hub_id(const json_t *config)
{
    const char *s = json_string_value(json_object_get(config, "_name_or_path"));
    const char *slash = s ? strchr(s, '/') : NULL;
    return slash && strchr(slash + 1, '/') ? NULL : s;
}

static qn_status gather_card(const qn_general_source *source, json_t *keys, qn_text *remarks,
                             qn_error *err)
{
    json_t *card = NULL;
    qn_error why = {0};
    qn_status status = qn_model_card_read(source->dir, &card, &why, err);
    if (!status && why.status) qn_text_addf(remarks, "%s; the card is passed over\n", why.message);
    if (!status && card) status = qn_model_card_keys(card, source->parameters, keys, err);
    json_decref(card);
    return status;
}

/* ---- values with a type that a file gives ---------------------------------------------- */

static bool all_are(const json_t *list, bool (*is)(const json_t *))
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) if (!is(item)) return false;
    return json_is_array(list);
}

static bool is_text(const json_t *v)
{
    return json_is_string(v);
}

static bool is_object(const json_t *v)
{
    return json_is_object(v);
}

static bool is_f32(const json_t *v)
{
    return json_is_number(v) && fabs(json_number_value(v)) <= (double)FLT_MAX;
}

static bool is_i32(const json_t *v)
{
    return json_is_integer(v) && json_integer_value(v) == (int32_t)json_integer_value(v);
}

/* null is a value of every kind: it takes away what was there. */
static qn_status set(json_t *keys, size_t i, json_t *v, const char *path, qn_error *err)
{
    static const char *const words[] = {
        [TEXT] = "a string", [TEXTS] = "a list of strings",   [F32] = "a number that float32 holds",
        [I32] = "an i32",    [RELATED] = "a list of objects",
    };
    const bool fits[] = {
        [TEXT] = json_is_string(v), [TEXTS] = all_are(v, is_text),     [F32] = is_f32(v),
        [I32] = is_i32(v),          [RELATED] = all_are(v, is_object),
    };
    if (!json_is_null(v) && !fits[known[i].kind])
        return qn_fail(err, QN_ERR_DATA, "%s: the value for %s is not %s", path, known[i].key,
                       words[known[i].kind]);
    return json_object_set(keys, known[i].key, v) ? qn_fail_memory(err, path) : QN_OK;
}

/* The converter passes over a generation_config.json that is no JSON, since
 * some checkpoints have one; so must we. */
static qn_status gather_sampling(const char *dir, json_t *keys, qn_error *err)
{
    char *path = qn_path_join(dir, "generation_config.json");
    json_t *config = NULL;
    qn_status status = QN_OK;
    if (!path) return qn_fail_memory(err, "generation_config.json");
    if (qn_path_exists(path)) status = qn_json_load(path, MOST_BYTES, &config, err);
    if (status == QN_ERR_DATA) status = QN_OK;
    for (size_t i = 0; i < N_KNOWN && known[i].generation[0] && !status; i++) {
        json_t *v = json_object_get(config, known[i].generation[0]);
        if (!v && known[i].generation[1]) v = json_object_get(config, known[i].generation[1]);
        if (v) status = set(keys, i, v, path, err);
    }
    json_decref(config);
    qn_free(path);
    return status;
}

static void remark_unknown(const char *path, const char *key, qn_text *remarks)
{
    qn_error line;
    qn_fail(&line, QN_ERR_DATA, "%s: \"%s\" is none of the keys that it can give; passed over",
            path, key);
    qn_text_addf(remarks, "%s\n", line.message);
}

/* --metadata */
static qn_status override(const char *path, json_t *keys, qn_text *remarks, qn_error *err)
{
    json_t *root = NULL, *value;
    const char *key;
    if (!path) return QN_OK;
    qn_status status = qn_json_load(path, MOST_BYTES, &root, err);
    if (!status && !json_is_object(root))
        status = qn_fail(err, QN_ERR_DATA, "%s: not a JSON object", path);
    json_object_foreach(root, key, value)
    {
        size_t i = 0;
        while (i < N_KNOWN && strcmp(known[i].key, key) != 0) i++;
        if (status) break;
        if (i < N_KNOWN)
            status = set(keys, i, value, path, err);
        else
            remark_unknown(path, key, remarks);
    }
    json_decref(root);
    return status;
}

/* ---- writing ------------------------------------------------------------------------- */

/* Empty texts and lists are left out, as gguf-py does it. */
static qn_status write_text(qn_metadata *m, const char *key, const json_t *v, qn_error *err)
{
    const size_t n = json_string_length(v);
    return n ? qn_metadata_set_str(m, key, qn_str_of(json_string_value(v), n), err) : QN_OK;
}

static qn_status write_texts(qn_metadata *m, const char *key, const json_t *v, qn_error *err)
{
    const size_t n = json_array_size(v);
    qn_str *texts = qn_alloc(n, sizeof *texts);
    if (!texts) return qn_fail_memory(err, key);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(v, i);
        texts[i] = qn_str_of(json_string_value(item), json_string_length(item));
    }
    const qn_status status = n ? qn_metadata_set_strs(m, key, texts, n, err) : QN_OK;
    qn_free(texts);
    return status;
}

static qn_status write_i32(qn_metadata *m, const char *key, const json_t *v, qn_error *err)
{
    const int32_t i = (int32_t)json_integer_value(v);
    return qn_metadata_set(m, key, QN_META_I32, QN_META_I32, 1,
                           qn_str_of((const char *)&i, sizeof i), err);
}

/* general.base_models as general.base_model.count, .0.name and so on. */
static qn_status write_related(qn_metadata *m, const char *key, const json_t *v, qn_error *err)
{
    static const char *const fields[] = {"name", "author", "version", "organization", "description",
                                         "url",  "doi",    "uuid",    "repo_url"};
    const int stem = (int)strlen(key) - 1; /* without the s */
    char name[96];
    size_t i;
    json_t *entry;
    snprintf(name, sizeof name, "%.*s.count", stem, key);
    qn_status status = qn_metadata_set_u32(m, name, (uint32_t)json_array_size(v), err);
    json_array_foreach(v, i, entry) for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
    {
        snprintf(name, sizeof name, "%.*s.%zu.%s", stem, key, i, fields[f]);
        if (!status) status = write_text(m, name, json_object_get(entry, fields[f]), err);
    }
    return status;
}

static qn_status write_value(qn_metadata *m, size_t i, const json_t *v, qn_error *err)
{
    const char *key = known[i].key;
    if (!v || json_is_null(v)) return QN_OK;
    switch (known[i].kind) {
    case TEXT: return write_text(m, key, v, err);
    case TEXTS: return write_texts(m, key, v, err);
    case F32: return qn_metadata_set_f32(m, key, (float)json_number_value(v), err);
    case I32: return write_i32(m, key, v, err);
    case RELATED: return write_related(m, key, v, err);
    }
    return QN_OK;
}

/* ---- all of it ---------------------------------------------------------------------------- */

static qn_status gather(const qn_general_source *source, json_t *keys, qn_arena *a,
                        qn_text *remarks, qn_error *err)
{
    const char *id = hub_id(source->config);
    qn_status status = gather_card(source, keys, remarks, err);
    if (!status && id) status = fill_from_name(keys, id, source->parameters, a, err);
    if (!status) status = fill_from_name(keys, source->id, source->parameters, a, err);
    if (!status) status = gather_sampling(source->dir, keys, err);
    if (!status) status = override(source->override_path, keys, remarks, err);
    if (!status && source->model_name && !qn_utf8_valid(qn_str_z(source->model_name)))
        return qn_fail(err, QN_ERR_ARGUMENT, "the model's name \"%s\" is not UTF-8",
                       source->model_name);
    if (!status && source->model_name &&
        json_object_set_new(keys, "general.name", json_string(source->model_name)))
        status = qn_fail_memory(err, "general.name");
    return status ? status : fill(keys, "general.name", source->id, err);
}

static qn_status fill_size_label(const qn_general_source *source, json_t *keys, qn_error *err)
{
    char label[64], size[32];
    if (!source->parameters) return QN_OK;
    const int n = source->experts
                      ? snprintf(label, sizeof label, "%llux", (unsigned long long)source->experts)
                      : 0;
    qn_gguf_size_label(source->experts ? source->of_one_expert : source->parameters, size);
    snprintf(label + n, sizeof label - (size_t)n, "%s", size);
    return fill(keys, "general.size_label", label, err);
}

qn_status qn_general_keys(const qn_general_source *source, qn_metadata *m, qn_text *remarks,
                          qn_error *err)
{
    qn_arena *a = qn_arena_new();
    json_t *keys = json_object();
    qn_status status = a && keys ? QN_OK : qn_fail_memory(err, "the general keys");
    if (!status) status = gather(source, keys, a, remarks, err);
    if (!status) status = fill_size_label(source, keys, err);
    for (size_t i = 0; i < N_KNOWN && !status; i++)
        status = write_value(m, i, json_object_get(keys, known[i].key), err);
    if (!status && remarks->failed) status = qn_fail_memory(err, "the remarks");
    json_decref(keys);
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

/* ---- the way back ------------------------------------------------------------------------ */

static json_t *sampling_value(const qn_meta_value *v)
{
    qn_str cursor = v->bytes, text;
    double number = 0;
    if (v->type == QN_META_STRING)
        return qn_meta_next_string(&cursor, &text) ? json_stringn(text.s, text.n) : NULL;
    if (v->type == QN_META_ARRAY || qn_meta_number(v, 0, &number, NULL)) return NULL;
    if (v->type != QN_META_F32) return json_integer((json_int_t)number);
    return json_real(qn_json_shortest(number));
}

qn_status qn_general_sampling(const qn_metadata *m, json_t *generation, qn_error *err)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const qn_meta_value *v = qn_metadata_find(m, known[i].key);
        if (!known[i].generation[0] || !v) continue;
        json_t *value = sampling_value(v);
        if (value && json_object_set_new(generation, known[i].generation[0], value))
            return qn_fail_memory(err, "generation_config.json");
    }
    return QN_OK;
}
