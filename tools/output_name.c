#include "tools/output_name.h"

#include <ctype.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"
#include "formats/general_keys.h"
#include "formats/gguf_name.h"
#include "quant/plan.h"

static bool is_type(const char *name)
{
    qn_dtype dtype;
    return qn_mix_by_name(name) || qn_dtype_by_name(name, &dtype);
}

static void cut_suffix(char *name, const char *suffix)
{
    const size_t n = strlen(name), m = strlen(suffix);
    if (n > m && !strcmp(name + n - m, suffix)) name[n - m] = 0;
}

/* "-00002-of-00003", of a part of a split model. */
static void cut_part(char *name)
{
    static const char pattern[] = "-00000-of-00000";
    const size_t n = strlen(name), m = sizeof pattern - 1;
    if (n <= m) return;
    for (size_t i = 0; i < m; i++) {
        const char c = name[n - m + i];
        if (pattern[i] == '0' ? c < '0' || c > '9' : c != pattern[i]) return;
    }
    name[n - m] = 0;
}

/* Types have '_' in them, so the longest that fits goes: "a-Q4_K_M". */
static void cut_type(char *name)
{
    for (char *s = name + 1; *name && *s; s++) {
        if (!strchr("-._", *s) || !is_type(s + 1)) continue;
        *s = 0;
        return;
    }
}

static char *stem_of(const char *input)
{
    qn_arena *a = NULL;
    char *stem;
    if (qn_path_is_dir(input)) {
        a = qn_arena_new();
        const char *name = a ? qn_directory_name(a, input) : NULL;
        stem = name ? qn_strdup(name) : NULL;
    } else {
        stem = qn_path_base(input);
        if (stem) cut_suffix(stem, ".gguf"), cut_suffix(stem, ".safetensors"), cut_part(stem);
    }
    qn_arena_free(a);
    if (stem) cut_type(stem);
    return stem;
}

/* ---- {type} ------------------------------------------------------------------------ */

/* The length of the placeholder that s begins with, or 0. */
static size_t placeholder(const char *s, bool *capitals)
{
    static const char *const names[] = {"{type}", "{ftype}", "{outtype}",
                                        "{TYPE}", "{FTYPE}", "{OUTTYPE}"};
    for (size_t i = 0; i < 6; i++) {
        const size_t n = strlen(names[i]);
        if (strncmp(s, names[i], n) != 0) continue;
        *capitals = i >= 3;
        return n;
    }
    return 0;
}

static bool has_placeholder(const char *s)
{
    bool capitals;
    for (; *s; s++)
        if (placeholder(s, &capitals)) return true;
    return false;
}

static void add_type(qn_text *t, const char *type, bool capitals)
{
    for (; *type; type++) {
        const unsigned char c = (unsigned char)*type;
        const char written = (char)(capitals ? toupper(c) : tolower(c));
        qn_text_add(t, &written, 1);
    }
}

/* Allocated; NULL: no memory. */
static char *filled_in(const char *out, const char *type)
{
    qn_text t = {0};
    while (*out) {
        bool capitals = false;
        const size_t n = placeholder(out, &capitals);
        if (n)
            add_type(&t, type, capitals);
        else
            qn_text_add(&t, out, 1);
        out += n ? n : 1;
    }
    return qn_text_take(&t);
}

/* ---- the path ---------------------------------------------------------------------- */

static bool is_directory(const char *out)
{
    return qn_path_is_dir(out) || qn_str_ends(qn_str_z(out), "/");
}

bool qn_output_is_for_many(const char *out)
{
    return is_directory(out) || has_placeholder(out);
}

/* NAME-TYPE.gguf, allocated; NULL: no memory. */
static char *own_name(const char *input, const char *type)
{
    char *stem = stem_of(input);
    qn_text name = {0};
    if (!stem) return NULL;
    qn_text_addf(&name, "%s-%s.gguf", stem, type);
    qn_free(stem);
    return qn_text_take(&name);
}

qn_status qn_output_path(const char *input, const qn_metadata *keys, const char *out,
                         const char *type, char **path, qn_error *err)
{
    char *full = out ? filled_in(out, type) : own_name(input, type);
    if (out && full && is_directory(full)) {
        char *directory = full;
        char *name = keys ? qn_gguf_file_name(keys, type) : own_name(input, type);
        full = name ? qn_path_join(directory, name) : NULL;
        qn_free(name);
        qn_free(directory);
    }
    if (!full) return qn_fail_memory(err, "the output's name");
    *path = full;
    return QN_OK;
}

qn_status qn_output_directory(const char *input, const char *out, const char *type, char **path,
                              qn_error *err)
{
    char *stem = out ? NULL : stem_of(input), *full = out ? filled_in(out, type) : NULL;
    qn_text name = {0};
    if (stem) {
        qn_text_addf(&name, "%s-%s", stem, type);
        full = qn_text_take(&name);
    }
    for (size_t n = full ? strlen(full) : 0; n > 1 && full[n - 1] == '/'; n--) full[n - 1] = 0;
    qn_free(stem);
    if (!full) return qn_fail_memory(err, "the output's name");
    *path = full;
    return QN_OK;
}
