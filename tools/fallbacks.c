#include "tools/fallbacks.h"

#include <stdio.h>

#include "formats/base/alloc.h"
#include "formats/base/names.h"

typedef struct {
    const qn_plan_entry *first;
    size_t count;
} group;

static qn_status count_reasons(const qn_plan *p, group *groups, qn_names *by_reason, qn_error *err)
{
    uint32_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        const qn_plan_entry *e = &p->entries[i];
        if (!e->fallback) continue;
        const qn_str reason = qn_str_z(e->reason);
        uint32_t g = qn_names_find(by_reason, reason);
        if (g == UINT32_MAX) {
            g = n++;
            groups[g].first = e;
            if (qn_names_add(by_reason, reason, g, NULL)) return qn_fail_memory(err, "reasons");
        }
        groups[g].count++;
    }
    return QN_OK;
}

/* "the first" or "the first" and 3 more, with what is to say of them. */
static void remark_group(const qn_common *c, const char *of, const char *before,
                         const qn_plan_entry *first, size_t n, const char *what)
{
    char more[32] = "";
    if (n > 1) snprintf(more, sizeof more, " and %zu more", n - 1);
    qn_remark(c, "%s%s%s\"%s\"%s: %s", of ? of : "", of ? ": " : "", before, first->tensor->name,
              more, what);
}

qn_status qn_tell_fallbacks(const qn_plan *p, const char *of, const qn_common *c, qn_error *err)
{
    if (c->quiet) return QN_OK;
    group *groups = qn_alloc(p->n, sizeof *groups);
    qn_names *by_reason = qn_names_new(0);
    qn_status status;
    if (!groups || !by_reason) {
        status = qn_fail_memory(err, "reasons");
        goto out;
    }
    if ((status = count_reasons(p, groups, by_reason, err))) goto out;
    const size_t n = qn_names_count(by_reason);
    for (size_t g = 0; g < n; g++)
        remark_group(c, of, "", groups[g].first, groups[g].count, groups[g].first->reason);
out:
    qn_names_free(by_reason);
    qn_free(groups);
    return status;
}

static bool lacks_heeded(const qn_plan_entry *e)
{
    return e->lacks_importance && !e->needs_importance;
}

static bool lacks_needed(const qn_plan_entry *e)
{
    return e->lacks_importance && e->needs_importance;
}

static bool waits_for_matrix(const qn_plan_entry *e)
{
    return e->needs_importance && !e->importance && !e->copy;
}

static void tell_those(const qn_plan *p, const char *of, const qn_common *c,
                       bool (*is_one)(const qn_plan_entry *), const char *before, const char *what)
{
    const qn_plan_entry *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (is_one(&p->entries[i]) && !n++) first = &p->entries[i];
    if (n) remark_group(c, of, before, first, n, what);
}

void qn_tell_importance(const qn_plan *p, const char *of, const qn_common *c)
{
    static const char no_data[] = "no importance data of ";
    tell_those(p, of, c, lacks_heeded, no_data, "quantized without");
    tell_those(p, of, c, lacks_needed, no_data, "each column counts the same");
    tell_those(p, of, c, waits_for_matrix, "", "to be written with an importance matrix only");
}
