#include "tools/fallbacks.h"

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

qn_status qn_tell_fallbacks(const qn_plan *p, const char *of, const qn_common *c, qn_error *err)
{
    const char *colon = of ? ": " : "";
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
    for (size_t g = 0; g < n; g++) {
        const qn_plan_entry *e = groups[g].first;
        if (groups[g].count == 1)
            qn_remark(c, "%s%s\"%s\": %s", of ? of : "", colon, e->tensor->name, e->reason);
        else
            qn_remark(c, "%s%s\"%s\" and %zu more: %s", of ? of : "", colon, e->tensor->name,
                      groups[g].count - 1, e->reason);
    }
out:
    qn_names_free(by_reason);
    qn_free(groups);
    return status;
}
