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

qn_status qn_carry_config(const qn_model *m, json_t **out, qn_error *err)
{
    if (!m->from_gguf) return own_config(m->directory, out, err);
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

qn_status qn_carry_files(const char *from, const char *to, bool *tokenizer, qn_error *err)
{
    qn_status status = QN_OK;
    DIR *d = opendir(from);
    *tokenizer = false;
    if (!d) return qn_fail_errno(err, "%s: cannot read the directory", from);
    for (struct dirent *e; !status && (e = readdir(d));) {
        if (!is_carried(dirfd(d), e->d_name)) continue;
        status = copy(from, to, e->d_name, err);
        *tokenizer |= !strncmp(e->d_name, "tokenizer.", strlen("tokenizer."));
    }
    closedir(d);
    return status;
}
