#include "formats/model_card.h"

#include <string.h>

#include "formats/base/yaml.h"
#include "formats/gguf_name.h"

enum { MOST_CARD = 16 << 20, MOST_FRONT_MATTER = 1 << 20 };

/* ---- the front matter ---------------------------------------------------------------- */

/* The line at *rest without its end, which is \n, \r\n or \r; *rest goes behind. */
static qn_str next_line(qn_str *rest)
{
    size_t n = 0, end;
    while (n < rest->n && rest->s[n] != '\n' && rest->s[n] != '\r') n++;
    end = n;
    if (end < rest->n) end += rest->s[end] == '\r' && end + 1 < rest->n && rest->s[end + 1] == '\n';
    end += end < rest->n;
    const qn_str line = qn_str_of(rest->s, n);
    *rest = qn_str_of(rest->s + end, rest->n - end);
    return line;
}

/* Tabs are two spaces, as the converter has it: they stand in published cards,
 * and YAML does not allow them. */
static void add_line(qn_text *t, qn_str line)
{
    for (size_t i = 0; i < line.n; i++)
        if (line.s[i] == '\t')
            qn_text_adds(t, "  ");
        else
            qn_text_add(t, line.s + i, 1);
    qn_text_adds(t, "\n");
}

/* False: the card has none. */
static bool find_front_matter(qn_str card, qn_text *yaml)
{
    if (!qn_str_is(next_line(&card), "---")) return false;
    qn_text_adds(yaml, "");
    while (card.n && yaml->n <= MOST_FRONT_MATTER) {
        const qn_str line = next_line(&card);
        if (qn_str_is(line, "---")) break;
        add_line(yaml, line);
    }
    return true;
}

static qn_status parse_card(qn_str text, const char *path, json_t **card, qn_error *err)
{
    qn_text yaml = {0};
    json_t *root = NULL;
    qn_status status = QN_OK;
    if (!find_front_matter(text, &yaml)) return QN_OK;
    if (yaml.failed)
        status = qn_fail_memory(err, path);
    else if (yaml.n > MOST_FRONT_MATTER)
        status = qn_fail(err, QN_ERR_DATA, "%s: front matter of more than %d bytes", path,
                         MOST_FRONT_MATTER);
    else
        status = qn_yaml_parse(qn_str_of(yaml.s, yaml.n), path, &root, err);
    if (!status && !json_is_object(root) && !json_is_null(root))
        status = qn_fail(err, QN_ERR_DATA, "%s: front matter that is no list of keys", path);
    if (!status && json_is_object(root)) *card = json_incref(root);
    json_decref(root);
    qn_text_free(&yaml);
    return status;
}

qn_status qn_model_card_read(const char *dir, json_t **card, qn_error *why, qn_error *err)
{
    char *path = qn_path_join(dir, "README.md"), *text = NULL;
    size_t n = 0;
    qn_status status = QN_OK;
    *card = NULL;
    if (!path) return qn_fail_memory(err, "README.md");
    if (qn_path_exists(path)) {
        status = qn_read_file(path, MOST_CARD, &text, &n, why);
        if (!status) status = parse_card(qn_str_of(text, n), path, card, why);
    }
    qn_free(text);
    qn_free(path);
    return status == QN_ERR_MEMORY ? qn_fail_memory(err, "README.md") : QN_OK;
}

/* ---- texts --------------------------------------------------------------------------- */

/* The first of the card's names that is there counts: the converter's own
 * convention, the same with model_ before it, what others write. */
static const struct {
    const char *key, *card[3];
} texts[] = {
    {"general.name", {"name", "model_name"}},
    {"general.author", {"author", "model_author", "model_creator"}},
    {"general.version", {"version", "model_version"}},
    {"general.organization", {"organization", "model_organization"}},
    {"general.description", {"description", "model_description"}},
    {"general.finetune", {"finetune", "model_finetune"}},
    {"general.basename", {"basename", "model_basename", "model_type"}},
    {"general.size_label", {"size_label", "model_size_label"}},
    {"general.source.url", {"url", "model_url"}},
    {"general.source.doi", {"doi", "model_doi"}},
    {"general.source.uuid", {"uuid", "model_uuid"}},
    {"general.source.repo_url", {"repo_url", "model_repo_url"}},
    {"general.license", {"license"}},
    {"general.license.name", {"license_name"}},
    {"general.license.link", {"license_link"}},
};

static qn_status put(json_t *keys, const char *key, json_t *value, qn_error *err)
{
    return value && !json_object_set_new(keys, key, value) ? QN_OK : qn_fail_memory(err, key);
}

/* "a,b" of a list of texts, as several licenses are written. */
static qn_status put_joined(json_t *keys, const char *key, const json_t *list, qn_error *err)
{
    qn_text joined = {0};
    size_t i;
    json_t *item;
    qn_status status;
    qn_text_adds(&joined, "");
    json_array_foreach(list, i, item)
    {
        if (!json_is_string(item)) continue;
        if (joined.n) qn_text_adds(&joined, ",");
        qn_text_adds(&joined, json_string_value(item));
    }
    status = joined.failed ? qn_fail_memory(err, key) : put(keys, key, json_string(joined.s), err);
    qn_text_free(&joined);
    return status;
}

static qn_status put_texts(const json_t *card, json_t *keys, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && !status; i++) {
        json_t *value = NULL;
        for (size_t k = 0; k < 3 && texts[i].card[k]; k++)
            if (!value || json_is_null(value)) value = json_object_get(card, texts[i].card[k]);
        if (json_is_string(value))
            status = put(keys, texts[i].key, json_incref(value), err);
        else if (json_is_array(value) && !strcmp(texts[i].key, "general.license"))
            status = put_joined(keys, texts[i].key, value, err);
    }
    return status;
}

/* The texts of two of the card's keys as one list. */
static qn_status put_list(const json_t *card, const char *const names[2], json_t *keys,
                          const char *key, qn_error *err)
{
    json_t *list = json_array(), *item;
    size_t i;
    int failed = !list;
    for (size_t k = 0; k < 2 && !failed; k++) {
        json_t *value = json_object_get(card, names[k]);
        if (json_is_string(value)) failed |= json_array_append(list, value);
        json_array_foreach(value, i, item) if (json_is_string(item)) failed |=
            json_array_append(list, item);
    }
    if (failed) {
        json_decref(list);
        return qn_fail_memory(err, key);
    }
    return put(keys, key, list, err);
}

/* ---- base models and datasets -------------------------------------------------------------- */

/* "ORG/NAME" of "https://huggingface.co/ORG/NAME"; NULL: another address. */
static const char *hub_id_of(const char *url)
{
    static const char *const hosts[] = {"https://huggingface.co/", "http://huggingface.co/"};
    for (size_t i = 0; i < 2; i++) {
        if (strncmp(url, hosts[i], strlen(hosts[i])) != 0) continue;
        const char *id = url + strlen(hosts[i]), *slash = strchr(id, '/');
        return slash && slash > id && slash[1] && !strchr(slash + 1, '/') ? id : NULL;
    }
    return NULL;
}

static bool is_url(const char *s)
{
    return !strncmp(s, "http://", 7) || !strncmp(s, "https://", 8) || !strncmp(s, "ssh://", 6);
}

static qn_status put_title(json_t *entry, const char *key, qn_arena *a, const char *raw,
                           qn_error *err)
{
    const char *title = raw ? qn_gguf_title(a, raw) : NULL;
    if (raw && !title) return qn_fail_memory(err, key);
    return title ? put(entry, key, json_string(title), err) : QN_OK;
}

/* What an id of the Hub or an address says. */
static qn_status describe(const char *said, uint64_t parameters, qn_arena *a, json_t *entry,
                          qn_error *err)
{
    const bool url = is_url(said);
    const char *id = url ? hub_id_of(said) : said;
    qn_gguf_name name = {0};
    qn_text address = {0};
    qn_status status = QN_OK;
    if (id) status = qn_gguf_name_parse(a, id, parameters, &name, err);
    if (!status) status = put_title(entry, "name", a, name.name, err);
    if (!status) status = put_title(entry, "organization", a, name.organization, err);
    if (!status && name.version) status = put(entry, "version", json_string(name.version), err);
    if (url)
        qn_text_adds(&address, said);
    else if (name.organization)
        qn_text_addf(&address, "https://huggingface.co/%s/%s", name.organization, name.name);
    if (!status && address.failed) status = qn_fail_memory(err, "a base model");
    if (!status && address.s) status = put(entry, "repo_url", json_string(address.s), err);
    qn_text_free(&address);
    return status;
}

static qn_status add_related(json_t *list, json_t *said, uint64_t parameters, qn_arena *a,
                             qn_error *err)
{
    json_t *entry = json_is_object(said) ? json_incref(said) : json_object();
    if (!entry || json_array_append_new(list, entry)) return qn_fail_memory(err, "a base model");
    if (!json_is_string(said)) return QN_OK;
    return describe(json_string_value(said), parameters, a, entry, err);
}

/* The first of the three names that the card has, null or not. */
static qn_status put_related(const json_t *card, const char *const names[3], uint64_t parameters,
                             json_t *keys, const char *key, qn_error *err)
{
    json_t *said = NULL, *item;
    size_t i;
    for (size_t k = 0; k < 3 && !said; k++) said = json_object_get(card, names[k]);
    if (!said) return QN_OK;
    json_t *list = json_array();
    qn_arena *a = qn_arena_new();
    qn_status status = list && a ? QN_OK : qn_fail_memory(err, key);
    if (!status && json_is_string(said)) status = add_related(list, said, parameters, a, err);
    json_array_foreach(said, i, item) if (!status) status =
        add_related(list, item, parameters, a, err);
    if (!status) status = put(keys, key, json_incref(list), err);
    json_decref(list);
    qn_arena_free(a);
    return status;
}

qn_status qn_model_card_keys(const json_t *card, uint64_t parameters, json_t *keys, qn_error *err)
{
    static const char *const bases[] = {"base_model", "base_models", "base_model_sources"};
    static const char *const datasets[] = {"datasets", "dataset", "dataset_sources"};
    static const char *const tags[] = {"tags", "pipeline_tag"};
    static const char *const languages[] = {"languages", "language"};
    qn_status status;
    (void)((status = put_texts(card, keys, err)) ||
           (status = put_related(card, bases, parameters, keys, "general.base_models", err)) ||
           (status = put_related(card, datasets, parameters, keys, "general.datasets", err)) ||
           (status = put_list(card, tags, keys, "general.tags", err)) ||
           (status = put_list(card, languages, keys, "general.languages", err)));
    return status;
}
