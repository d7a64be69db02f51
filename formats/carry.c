#include "formats/carry.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/base/map.h"
#include "formats/base/outfile.h"
#include "formats/export.h"

enum { MOST_CONFIG = 64 << 20 };

/* ---- config.json ---------------------------------------------------------------------- */

static qn_status own_config(const char *dir, json_t **out, qn_error *err)
{
    char *path = qn_path_join(dir, "config.json");
    qn_status status = path ? QN_OK : qn_fail_memory(err, "config.json");
    json_t *root = NULL;
    if (!status && qn_path_exists(path)) {
        status = qn_json_load(path, MOST_CONFIG, &root, err);
        if (!status && !json_is_object(root))
            status = qn_fail(err, QN_ERR_DATA, "%s: not a JSON object", path);
    } else if (!status && !(root = json_object())) {
        status = qn_fail_memory(err, "config.json");
    }
    qn_free(path);
    if (status)
        json_decref(root);
    else
        *out = root;
    return status;
}

qn_status qn_carry_vocabulary(const qn_model *m, json_t *root, qn_error *err)
{
    json_t *text = json_object_get(root, "text_config");
    int bad = 0;
    if (!json_is_object(text)) text = NULL;
    if (m->vocabulary.n_vocab)
        bad |= json_object_set_new(text ? text : root, "vocab_size",
                                   json_integer((json_int_t)m->vocabulary.n_vocab));
    if (m->vocabulary.untied) {
        bad |= json_object_set_new(root, "tie_word_embeddings", json_false());
        if (text) bad |= json_object_set_new(text, "tie_word_embeddings", json_false());
    }
    return bad ? qn_fail_memory(err, "config.json") : QN_OK;
}

qn_status qn_carry_config(const qn_model *m, json_t **out, qn_error *err)
{
    if (!m->from_gguf) {
        json_t *root = NULL;
        qn_status status = own_config(m->directory, &root, err);
        if (!status) status = qn_carry_vocabulary(m, root, err);
        if (status)
            json_decref(root);
        else
            *out = root;
        return status;
    }
    if (m->family) return qn_export_made_config(m, qn_convert_resolve(m, QN_OUT_AUTO), out, err);
    return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: no config.json can be made of it: %s", m->path,
                   m->not_runnable);
}

qn_status qn_carry_write_config(const qn_model *m, const json_t *root, const char *dir,
                                qn_error *err)
{
    const size_t digits = m->from_gguf ? JSON_REAL_PRECISION(9) : JSON_REAL_PRECISION(17);
    char *text = json_dumps(root, JSON_INDENT(2) | digits);
    char *path = text ? qn_path_join(dir, "config.json") : NULL;
    const qn_status status = path ? qn_outfile_whole(path, text, strlen(text), false, err)
                                  : qn_fail_memory(err, "config.json");
    qn_free(path);
    free(text); /* jansson's own */
    return status;
}

/* ---- other files ------------------------------------------------------------------------ */

static bool is_weights(const char *name)
{
    static const char *const suffixes[] = {".safetensors", ".bin",  ".pt",        ".pth",
                                           ".ckpt",        ".gguf", ".h5",        ".msgpack",
                                           ".onnx",        ".npz",  ".index.json"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (qn_str_ends(qn_str_z(name), suffixes[i])) return true;
    return false;
}

static bool is_carried(int directory, const char *name)
{
    struct stat st;
    return *name != '.' && strcmp(name, "config.json") != 0 && !is_weights(name) &&
           !fstatat(directory, name, &st, 0) && S_ISREG(st.st_mode);
}

static qn_status copy(const char *from, const char *to, const char *name, qn_error *err)
{
    char *source = qn_path_join(from, name), *target = qn_path_join(to, name);
    qn_map map = {0};
    qn_status status = source && target ? QN_OK : qn_fail_memory(err, name);
    if (!status && !(status = qn_map_open(&map, source, err))) {
        status = qn_outfile_whole(target, map.data, map.size, false, err);
        qn_map_close(&map);
    }
    qn_free(source);
    qn_free(target);
    return status;
}

const char *const qn_tokenizer_files[] = {
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    NULL,
};

static bool has_file(const char *dir, const char *name)
{
    char *path = qn_path_join(dir, name);
    const bool there = path && qn_path_exists(path);
    qn_free(path);
    return there;
}

const char *qn_carry_source(const qn_model *m, const char *name)
{
    size_t i = 0;
    while (qn_tokenizer_files[i] && strcmp(qn_tokenizer_files[i], name) != 0) i++;
    if (!m->tokenizer || !qn_tokenizer_files[i]) return m->directory;
    if (has_file(m->tokenizer, name)) return m->tokenizer;
    return qn_str_ends(qn_str_z(name), ".model") ? m->directory : NULL;
}

/* The tokenizer's files that an adapter has. */
static qn_status carry_tokenizer(const qn_model *m, const char *to, bool *tokenizer, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; qn_tokenizer_files[i] && m->tokenizer && !status; i++) {
        if (qn_carry_source(m, qn_tokenizer_files[i]) != m->tokenizer) continue;
        status = copy(m->tokenizer, to, qn_tokenizer_files[i], err);
        *tokenizer = true;
    }
    return status;
}

qn_status qn_carry_files(const qn_model *m, const char *to, bool *tokenizer, qn_error *err)
{
    qn_status status = QN_OK;
    DIR *d = opendir(m->directory);
    *tokenizer = false;
    if (!d) return qn_fail_errno(err, "%s: cannot read the directory", m->directory);
    for (struct dirent *e; !status && (e = readdir(d));) {
        if (!is_carried(dirfd(d), e->d_name) || qn_carry_source(m, e->d_name) != m->directory)
            continue;
        status = copy(m->directory, to, e->d_name, err);
        *tokenizer |= !strncmp(e->d_name, "tokenizer.", strlen("tokenizer."));
    }
    closedir(d);
    return status ? status : carry_tokenizer(m, to, tokenizer, err);
}
