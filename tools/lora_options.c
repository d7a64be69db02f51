#include "tools/lora_options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tools/hub.h"

static bool parse_scale(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return *text && !*end && isfinite(*out);
}

static qn_status add(const char *directory, qn_loras *l, qn_error *err)
{
    char **path = &l->paths[l->n];
    const qn_status status = qn_hub_resolve(directory, path, err);
    if (status) return status;
    l->of[l->n++] = (qn_lora_request){*path ? *path : directory, 1};
    return QN_OK;
}

static qn_status read_all(const qn_texts *given, qn_loras *l, qn_error *err)
{
    for (size_t i = 0; i < given->n; i++) {
        if (!strcmp(given->by[i], "lora")) {
            const qn_status status = add(given->at[i], l, err);
            if (status) return status;
            continue;
        }
        if (!i || strcmp(given->by[i - 1], "lora") != 0)
            return qn_fail(err, QN_ERR_ARGUMENT, "--lora-scale %s belongs behind a --lora",
                           given->at[i]);
        if (!parse_scale(given->at[i], &l->of[l->n - 1].scale))
            return qn_fail(err, QN_ERR_ARGUMENT, "--lora-scale wants a number, not '%s'",
                           given->at[i]);
    }
    return QN_OK;
}

qn_status qn_loras_read(const qn_texts *given, qn_loras *out, qn_error *err)
{
    qn_loras mine = {.of = qn_alloc(given->n, sizeof *mine.of),
                     .paths = qn_alloc(given->n, sizeof(char *))};
    const qn_status status =
        mine.of && mine.paths ? read_all(given, &mine, err) : qn_fail_memory(err, "the adapters");
    if (status)
        qn_loras_free(&mine);
    else
        *out = mine;
    return status;
}

void qn_loras_free(qn_loras *l)
{
    for (size_t i = 0; i < l->n; i++) qn_free(l->paths[i]);
    qn_free(l->paths);
    qn_free(l->of);
    *l = (qn_loras){0};
}
