/* The families, which of them a model is of, and which role a name plays. */
#include "formats/families/family.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
static const qn_family *const families[] = {
    &qn_family_llama,
    &qn_family_llama4,
    &qn_family_mixtral,
    &qn_family_mistral,
    &qn_family_mistral3,
    &qn_family_mistralsmall3,
    &qn_family_smollm3,
    &qn_family_phi3,
    &qn_family_qwen2,
    &qn_family_qwen2moe,
    &qn_family_qwen3,
    &qn_family_qwen3moe,
    &qn_family_olmo2,
    &qn_family_olmo3,
    &qn_family_granite,
    &qn_family_granitemoe,
    &qn_family_gptoss,
    &qn_family_gemma,
    &qn_family_gemma2,
    &qn_family_gemma3,
    &qn_family_gemma4,
    &qn_family_gemma3n,
    NULL,
};
/* clang-format on */

const qn_family *qn_family_by_name(const char *name)
{
    for (size_t i = 0; families[i]; i++)
        if (!strcmp(families[i]->name, name)) return families[i];
    return NULL;
}

static bool is_marked(const qn_family *f, const qn_metadata *m)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", f->architecture, f->key);
    return qn_metadata_find(m, key) != NULL;
}

const qn_family *qn_family_of_gguf(const char *architecture, const qn_metadata *m)
{
    const qn_family *plain = NULL;
    for (size_t i = 0; families[i]; i++) {
        if (strcmp(families[i]->architecture, architecture) != 0) continue;
        if (!families[i]->key)
            plain = families[i];
        else if (is_marked(families[i], m))
            return families[i];
    }
    return plain;
}

static bool holds(const char *const *list, const char *name)
{
    for (; *list; list++)
        if (!strcmp(*list, name)) return true;
    return false;
}

const qn_family *qn_family_by_class(const char *name)
{
    for (size_t i = 0; families[i]; i++)
        if (holds(families[i]->classes, name)) return families[i];
    return NULL;
}

const qn_family *qn_family_by_model_type(const char *name)
{
    for (size_t i = 0; families[i]; i++)
        if (holds(families[i]->model_types, name)) return families[i];
    return NULL;
}

qn_status qn_family_asked_for(const char *name, const qn_family **out, qn_error *err)
{
    char known[512];
    *out = name ? qn_family_by_name(name) : NULL;
    if (*out || !name || !strcmp(name, "generic")) return QN_OK;
    return qn_fail(err, QN_ERR_ARGUMENT, "no family is called \"%s\"; there are %s", name,
                   qn_family_names(known, sizeof known));
}

const char *qn_family_names(char *buf, size_t n)
{
    size_t used = 0;
    buf[0] = '\0';
    for (size_t i = 0; families[i] && used < n; i++)
        used += (size_t)snprintf(buf + used, n - used, "%s, ", families[i]->name);
    if (used < n) snprintf(buf + used, n - used, "generic");
    return buf;
}

/* A layer's or expert's number as names spell it: decimal, no leading zero, fits. */
static const char *number_in(const char *s, uint64_t *number)
{
    if (*s == '0' && s[1] >= '0' && s[1] <= '9') return NULL;
    const char *p = s;
    uint64_t v = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (p - s == 9) return NULL;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    if (p == s) return NULL;
    *number = v;
    return p;
}

static bool matches(const char *pattern, const char *name, qn_place *place)
{
    *place = (qn_place){0};
    for (; *pattern; pattern++) {
        if (*pattern == '%' || *pattern == '#') {
            name = number_in(name, *pattern == '%' ? &place->layer : &place->expert);
            if (!name) return false;
        } else if (*name++ != *pattern) {
            return false;
        }
    }
    return !*name;
}

static bool begins(const char *name, const char *with)
{
    return !strncmp(name, with, strlen(with));
}

/* The name as the roles have it; buf for one that is put together. */
static const char *plain_name(const qn_family *f, const char *name, char *buf, size_t n)
{
    for (size_t i = 0; i < f->n_prefixes; i++)
        if (begins(name, f->prefixes[i].from)) {
            snprintf(buf, n, "%s%s", f->prefixes[i].to, name + strlen(f->prefixes[i].from));
            return buf;
        }
    return name;
}

const qn_role *qn_family_role(const qn_family *f, const char *name, bool is_gguf,
                              const qn_role *after, qn_place *place)
{
    char buf[160];
    if (!is_gguf) name = plain_name(f, name, buf, sizeof buf);
    for (const qn_role *r = after ? after + 1 : f->roles; r < f->roles + f->n_roles; r++) {
        const char *pattern = is_gguf ? r->gguf : r->checkpoint;
        if (pattern && matches(pattern, name, place)) return r;
    }
    return NULL;
}

bool qn_family_is_tower(const qn_family *f, const char *name)
{
    for (const char *const *tower = f->towers; tower && *tower; tower++)
        if (begins(name, *tower)) return true;
    return false;
}

bool qn_family_ignores(const qn_family *f, const char *name)
{
    const size_t n = strlen(name);
    for (const char *const *end = f->ignored; *end; end++) {
        const size_t k = strlen(*end);
        if (n >= k && !strcmp(name + n - k, *end)) return true;
    }
    return false;
}
