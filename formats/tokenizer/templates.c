#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/json.h"
#include "formats/tokenizer/vocab.h"

/* Chat templates in the reference converter's order of preference:
 * tokenizer_config.json's, chat_template.jinja with
 * additional_chat_templates/NAME.jinja, chat_template.json's. */

enum { LARGEST_TEMPLATE = 1 << 24 };

static qn_status add(qn_vocab *v, qn_str name, qn_str text, qn_error *err)
{
    qn_chat_template *grown = qn_resize(v->templates, v->template_count + 1, sizeof *grown);
    if (!grown) return qn_fail_memory(err, "the chat templates");
    v->templates = grown;
    const qn_chat_template kept = {qn_vocab_keep(v, name), qn_vocab_keep(v, text)};
    if (!kept.name.s || !kept.text.s) return qn_fail_memory(err, "the chat templates");
    v->templates[v->template_count++] = kept;
    return QN_OK;
}

static qn_str string_of(const json_t *s)
{
    return qn_str_of(json_string_value(s), json_string_length(s));
}

static qn_status add_json(qn_vocab *v, const json_t *value, qn_error *err)
{
    if (json_is_string(value)) return add(v, qn_str_z("default"), string_of(value), err);
    size_t i;
    json_t *entry;
    qn_status status = QN_OK;
    json_array_foreach(value, i, entry)
    {
        const json_t *name = json_object_get(entry, "name");
        const json_t *text = json_object_get(entry, "template");
        if (!status && json_is_string(name) && json_is_string(text) && json_string_length(name))
            status = add(v, string_of(name), string_of(text), err);
    }
    return status;
}

/* Lines end in \n alone, as Python's text files have it. */
static size_t plain_line_ends(char *s, size_t n)
{
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\r' && i + 1 < n && s[i + 1] == '\n') continue;
        s[written++] = s[i] == '\r' ? '\n' : s[i];
    }
    return written;
}

static qn_status add_file(qn_vocab *v, const char *dir, const char *file, qn_str name,
                          qn_error *err)
{
    char *text = NULL, *path = qn_path_join(dir, file);
    size_t n = 0;
    if (!path) return qn_fail_memory(err, "the chat templates");
    qn_status status = qn_read_file(path, LARGEST_TEMPLATE, &text, &n, err);
    if (!status) status = add(v, name, qn_str_of(text, plain_line_ends(text, n)), err);
    qn_free(text);
    qn_free(path);
    return status;
}

static int is_template(const struct dirent *e)
{
    return e->d_name[0] != '.' && qn_str_ends(qn_str_z(e->d_name), ".jinja");
}

static qn_status add_additional(qn_vocab *v, const char *dir, qn_error *err)
{
    char *folder = qn_path_join(dir, "additional_chat_templates");
    struct dirent **entries = NULL;
    qn_status status = QN_OK;
    if (!folder) return qn_fail_memory(err, "the chat templates");
    const int count =
        qn_path_is_dir(folder) ? scandir(folder, &entries, is_template, alphasort) : 0;
    for (int i = 0; i < count; i++) {
        const char *file = entries[i]->d_name;
        const qn_str name = qn_str_of(file, strlen(file) - strlen(".jinja"));
        if (!status) status = add_file(v, folder, file, name, err);
        free(entries[i]);
    }
    free(entries); /* scandir's own allocation */
    qn_free(folder);
    return status;
}

static qn_status add_template_json(qn_vocab *v, const char *dir, qn_error *err)
{
    char *path = qn_path_join(dir, "chat_template.json");
    json_t *root = NULL;
    qn_status status = path ? QN_OK : qn_fail_memory(err, "the chat templates");
    if (!status && qn_path_exists(path)) {
        status = qn_json_load(path, LARGEST_TEMPLATE, &root, err);
        if (!status) status = add_json(v, json_object_get(root, "chat_template"), err);
    }
    json_decref(root);
    qn_free(path);
    return status;
}

qn_status qn_vocab_read_templates(qn_vocab *v, const qn_vocab_files *files, qn_error *err)
{
    const json_t *own = json_object_get(files->tokenizer_config, "chat_template");
    if (!files->tokenizer_config) return QN_OK;
    if (own) return add_json(v, own, err);
    char *path = qn_path_join(files->dir, "chat_template.jinja");
    if (!path) return qn_fail_memory(err, "the chat templates");
    const bool jinja = qn_path_exists(path);
    qn_free(path);
    if (!jinja) return add_template_json(v, files->dir, err);
    const qn_status status =
        add_file(v, files->dir, "chat_template.jinja", qn_str_z("default"), err);
    return status ? status : add_additional(v, files->dir, err);
}
