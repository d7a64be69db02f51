#include "formats/base/json.h"
#include "formats/base/map.h"
#include "formats/tokenizer/from_merges.h"

enum { LARGEST_FILE = 1 << 29 };

/* NULL in *out where the file is not there. */
static qn_status load(const char *dir, const char *name, json_t **out, qn_error *err)
{
    char *path = qn_path_join(dir, name);
    if (!path) return qn_fail_memory(err, name);
    qn_status status = QN_OK;
    if (qn_path_exists(path)) status = qn_json_load(path, LARGEST_FILE, out, err);
    if (!status && *out && !json_is_object(*out))
        status = qn_fail(err, QN_ERR_DATA, "%s: not a JSON object", path);
    qn_free(path);
    return status;
}

/* tokenizer.json, mapped; NULL in *out where it is not there. */
static qn_status load_tokenizer(const char *dir, qn_map *map, qn_tokenizer_json **out,
                                qn_error *err)
{
    char *path = qn_path_join(dir, "tokenizer.json");
    if (!path) return qn_fail_memory(err, "tokenizer.json");
    qn_status status = QN_OK;
    if (qn_path_exists(path)) {
        status = qn_map_open(map, path, err);
        if (!status && map->size > LARGEST_FILE)
            status = qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %llu bytes, at most %d are read", path,
                             (unsigned long long)map->size, LARGEST_FILE);
        if (!status)
            status = qn_tokenizer_json_read(out, (const char *)map->data, (size_t)map->size,
                                            map->path, err);
    }
    qn_free(path);
    return status;
}

static qn_status keep_model_type(qn_vocab *v, const qn_vocab_files *files,
                                 const qn_vocab_options *how, qn_error *err)
{
    const char *type = json_string_value(json_object_get(files->config, "model_type"));
    if (how->model_type) type = how->model_type;
    if (!type) return QN_OK;
    v->model_type = qn_vocab_keep(v, qn_str_z(type));
    return v->model_type.s ? QN_OK : qn_fail_memory(err, "a vocabulary");
}

static qn_status from_json(qn_vocab **out, const qn_vocab_files *files,
                           const qn_tokenizer_json *tokenizer, const char *name,
                           const qn_vocab_options *how, qn_error *err)
{
    char *where = qn_path_join(files->dir, name);
    if (!where) return qn_fail_memory(err, "a vocabulary");
    qn_vocab *v = NULL;
    qn_status status = qn_vocab_from_json(&v, tokenizer, where, how->size, how->pre, err);
    if (!status && !how->pre && how->pre_name) v->pre = qn_pre_called(v->pre, how->pre_name);
    if (!status) status = keep_model_type(v, files, how, err);
    qn_free(where);
    if (status)
        qn_vocab_free(v);
    else
        *out = v;
    return status;
}

/* tokenizer.model has the scores, and tokenizer.json, when it is there, the
 * added tokens and the normalizer. */
static qn_status from_model(qn_vocab **out, const qn_vocab_files *files, const char *path,
                            const qn_vocab_options *how, qn_error *err)
{
    char *bytes = NULL;
    size_t n;
    qn_vocab *v = NULL;
    json_t *added = NULL;
    qn_status status = qn_read_file(path, LARGEST_FILE, &bytes, &n, err);
    if (!status) status = load(files->dir, "added_tokens.json", &added, err);
    if (!status)
        status = qn_vocab_from_spm(&v, qn_str_of(bytes, n), path, how->size,
                                   qn_vocab_added_top(files, added), err);
    if (!status) status = keep_model_type(v, files, how, err);
    if (!status) status = qn_vocab_join_added(v, files, added, err);
    if (!status) status = qn_vocab_finish(v, path, err);
    json_decref(added);
    qn_free(bytes);
    if (status)
        qn_vocab_free(v);
    else
        *out = v;
    return status;
}

static qn_status from_merges(qn_vocab **out, const qn_vocab_files *files,
                             const qn_vocab_options *how, qn_error *err)
{
    qn_text text = {0};
    qn_tokenizer_json *tokenizer = NULL;
    char *where = qn_path_join(files->dir, "vocab.json");
    bool there = false;
    qn_status status = where ? qn_merges_to_json(files, how->pre, &text, &there, err)
                             : qn_fail_memory(err, "a vocabulary");
    if (!status && !there)
        status = qn_fail(err, QN_ERR_DATA,
                         "%s: no tokenizer: neither tokenizer.json nor tokenizer.model is there, "
                         "nor vocab.json with merges.txt",
                         files->dir);
    if (!status) status = qn_tokenizer_json_read(&tokenizer, text.s, text.n, where, err);
    if (!status) status = from_json(out, files, tokenizer, "vocab.json", how, err);
    qn_tokenizer_json_free(tokenizer);
    qn_free(where);
    qn_text_free(&text);
    return status;
}

/* tokenizer.model, or T5's name for it; NULL with QN_OK: it is not there. */
static qn_status find_model(const qn_vocab_files *files, char **out, qn_error *err)
{
    static const char *const names[] = {"tokenizer.model", "spiece.model"};
    const char *const directories[] = {files->dir, files->base};
    *out = NULL;
    for (size_t i = 0; i < 4 && directories[i / 2]; i++) {
        char *path = qn_path_join(directories[i / 2], names[i % 2]);
        if (!path) return qn_fail_memory(err, "a vocabulary");
        if (qn_path_exists(path)) {
            *out = path;
            return QN_OK;
        }
        qn_free(path);
    }
    return QN_OK;
}

static qn_status read_pieces(qn_vocab **out, const qn_vocab_files *files,
                             const qn_tokenizer_json *tokenizer, const qn_vocab_options *how,
                             qn_error *err)
{
    char *path;
    qn_status status = find_model(files, &path, err);
    if (status) return status;
    if (path)
        status = from_model(out, files, path, how, err);
    else if (tokenizer)
        status = from_json(out, files, tokenizer, "tokenizer.json", how, err);
    else
        status = from_merges(out, files, how, err);
    qn_free(path);
    return status;
}

static qn_status build(qn_vocab **out, const qn_vocab_files *files,
                       const qn_tokenizer_json *tokenizer, const qn_vocab_options *how,
                       qn_error *err)
{
    qn_vocab *v = NULL;
    qn_status status = read_pieces(&v, files, tokenizer, how, err);
    if (!status) status = qn_vocab_read_specials(v, files, err);
    if (!status) status = qn_vocab_read_templates(v, files, err);
    if (status)
        qn_vocab_free(v);
    else
        *out = v;
    return status;
}

qn_status qn_vocab_from_directory(qn_vocab **out, const char *dir, const qn_vocab_options *how,
                                  qn_error *err)
{
    static const qn_vocab_options none;
    const char *base = how ? how->base : NULL, *configs = base ? base : dir;
    qn_map map = {0};
    qn_tokenizer_json *tokenizer = NULL;
    json_t *tokenizer_config = NULL, *config = NULL, *generation = NULL;
    qn_status status = load_tokenizer(dir, &map, &tokenizer, err);
    if (!status) status = load(dir, "tokenizer_config.json", &tokenizer_config, err);
    if (!status) status = load(configs, "config.json", &config, err);
    if (!status) status = load(configs, "generation_config.json", &generation, err);
    const qn_vocab_files files = {
        dir,    base,      tokenizer ? qn_tokenizer_json_rest(tokenizer) : NULL, tokenizer_config,
        config, generation};
    if (!status) status = build(out, &files, tokenizer, how ? how : &none, err);
    json_decref(generation);
    json_decref(config);
    json_decref(tokenizer_config);
    qn_tokenizer_json_free(tokenizer);
    qn_map_close(&map);
    return status;
}
