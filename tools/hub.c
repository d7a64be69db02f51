#include "tools/hub.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"

typedef struct {
    qn_str organization, name; /* no organization: {0} */
    qn_str revision;           /* "main" unless given */
    qn_str file;               /* within the model; {0}: none */
} hub_name;

static bool is_word(qn_str s)
{
    if (!s.n || s.n > 96 || *s.s == '.' || *s.s == '-') return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.s[i]) && !strchr("._-", s.s[i])) return false;
    return true;
}

/* The part of *s before the first of these characters; *s goes on behind it. */
static qn_str cut(const char **s, const char *at)
{
    const size_t n = strcspn(*s, at);
    const qn_str part = qn_str_of(*s, n);
    *s += n;
    return part;
}

/* A revision may be a branch with slashes ("refs/pr/1"), which then ends the name. */
static bool parse(const char *given, hub_name *out)
{
    const char *s = given;
    *out = (hub_name){.name = cut(&s, "/@"), .revision = qn_str_z("main")};
    if (*s == '/') {
        s++;
        out->organization = out->name;
        out->name = cut(&s, "/@");
        if (!is_word(out->organization)) return false;
    }
    if (*s == '@') {
        s++;
        out->revision = qn_str_starts(qn_str_z(s), "refs/") ? cut(&s, "") : cut(&s, "/");
    }
    if (*s == '/') out->file = qn_str_z(s + 1);
    return is_word(out->name) && out->revision.n && !strstr(given, "..");
}

/* ---- the cache ---------------------------------------------------------------------- */

static bool is_set(const char *value)
{
    return value && *value;
}

static char *cache_directory(void)
{
    static const struct {
        const char *variable, *below;
    } places[] = {
        {"HF_HUB_CACHE", ""},
        {"HUGGINGFACE_HUB_CACHE", ""},
        {"HF_HOME", "/hub"},
        {"XDG_CACHE_HOME", "/huggingface/hub"},
        {"HOME", "/.cache/huggingface/hub"},
    };
    qn_text path = {0};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *value = getenv(places[i].variable);
        if (!is_set(value)) continue;
        qn_text_addf(&path, "%s%s", value, places[i].below);
        break;
    }
    if (!path.n) qn_text_adds(&path, ".");
    return qn_text_take(&path);
}

/* CACHE/models--ORG--NAME; NULL: no memory. */
static char *model_directory(const hub_name *h)
{
    char *cache = cache_directory();
    qn_text path = {0};
    if (!cache) return NULL;
    qn_text_addf(&path, "%s/models--", cache);
    if (h->organization.n) qn_text_addf(&path, "%.*s--", (int)h->organization.n, h->organization.s);
    qn_text_add(&path, h->name.s, h->name.n);
    qn_free(cache);
    return qn_text_take(&path);
}

/* The commit that a revision's name stands for: in refs/NAME, or itself. */
static qn_status find_commit(const char *model, const hub_name *h, qn_text *commit, qn_error *err)
{
    enum { LONGEST = 200 }; /* a hash and a line end are 41 */
    qn_text reference = {0};
    char *content = NULL;
    size_t n = 0;
    qn_status status = QN_OK;
    qn_text_addf(&reference, "%s/refs/%.*s", model, (int)h->revision.n, h->revision.s);
    if (reference.failed) return qn_fail_memory(err, model);
    if (qn_path_exists(reference.s) && !qn_path_is_dir(reference.s))
        status = qn_read_file(reference.s, LONGEST, &content, &n, err);
    if (!status) {
        if (content)
            qn_text_add(commit, content, strcspn(content, " \r\n/"));
        else
            qn_text_add(commit, h->revision.s, h->revision.n);
        if (commit->failed)
            status = qn_fail_memory(err, model);
        else if (!is_word(qn_str_of(commit->s ? commit->s : "", commit->n)))
            status = qn_fail(err, QN_ERR_DATA, "%s: names no commit", reference.s);
    }
    qn_free(content);
    qn_text_free(&reference);
    return status;
}

static qn_status find_snapshot(const char *model, const char *given, const hub_name *h, char **path,
                               qn_error *err)
{
    qn_text commit = {0}, full = {0};
    qn_status status = find_commit(model, h, &commit, err);
    if (!status) {
        qn_text_addf(&full, "%s/snapshots/%s", model, commit.s);
        if (full.failed)
            status = qn_fail_memory(err, given);
        else if (!qn_path_is_dir(full.s))
            status = qn_fail(err, QN_ERR_ARGUMENT,
                             "%s: revision %.*s is not in the cache (%s); quern fetches nothing",
                             given, (int)h->revision.n, h->revision.s, model);
    }
    if (!status && h->file.n) qn_text_addf(&full, "/%.*s", (int)h->file.n, h->file.s);
    if (!status && full.failed) status = qn_fail_memory(err, given);
    if (status)
        qn_text_free(&full);
    else
        *path = full.s;
    qn_text_free(&commit);
    return status;
}

/* What is meant as a path: a file by its suffix, a directory by its slash. */
static bool is_meant_as_path(const char *given)
{
    static const char *const ends[] = {".gguf", ".safetensors", ".bin", ".pt", ".pth",
                                       ".json", ".model",       ".txt", "/"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (qn_str_ends(qn_str_z(given), ends[i])) return true;
    return false;
}

qn_status qn_hub_resolve(const char *given, char **path, qn_error *err)
{
    hub_name h;
    *path = NULL;
    if (qn_path_exists(given) || !parse(given, &h)) return QN_OK;
    char *model = model_directory(&h);
    if (!model) return qn_fail_memory(err, given);
    qn_status status = QN_OK;
    if (qn_path_is_dir(model))
        status = find_snapshot(model, given, &h, path, err);
    else if (h.organization.n && !h.file.n && !is_meant_as_path(given))
        status = qn_fail(err, QN_ERR_ARGUMENT,
                         "%s: no such file or directory, and the Hugging Face cache has no %s "
                         "(quern fetches nothing; hf download does)",
                         given, model);
    qn_free(model);
    return status;
}
