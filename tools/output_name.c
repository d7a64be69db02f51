#include "tools/output_name.h"

#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"
#include "formats/general_keys.h"
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
        if (stem) cut_suffix(stem, ".gguf"), cut_suffix(stem, ".safetensors");
    }
    qn_arena_free(a);
    if (stem) cut_type(stem);
    return stem;
}

qn_status qn_output_path(const char *input, const char *out, const char *type, char **path,
                         qn_error *err)
{
    const bool in_directory = out && (qn_path_is_dir(out) || qn_str_ends(qn_str_z(out), "/"));
    char *full = NULL;
    if (out && !in_directory) {
        full = qn_strdup(out);
    } else {
        char *stem = stem_of(input);
        qn_text name = {0};
        if (stem) qn_text_addf(&name, "%s-%s.gguf", stem, type);
        if (name.s && !name.failed)
            full = in_directory ? qn_path_join(out, name.s) : qn_strdup(name.s);
        qn_text_free(&name);
        qn_free(stem);
    }
    if (!full) return qn_fail_memory(err, "the output's name");
    *path = full;
    return QN_OK;
}
