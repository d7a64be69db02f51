#include "quant/patterns.h"

#include "formats/base/alloc.h"

void qn_patterns_free(qn_patterns *p)
{
    for (size_t i = 0; i < p->n; i++) qn_regex_free(p->at[i]);
    qn_free(p->at);
    qn_free(p->hits);
    *p = (qn_patterns){0};
}

qn_status qn_patterns_compile(qn_patterns *out, const char *const *texts, size_t n, qn_error *err)
{
    qn_status status = QN_OK;
    qn_patterns p = {.at = qn_alloc(n, sizeof(qn_regex *)), .hits = qn_alloc(n, sizeof(size_t))};
    if (!p.at || !p.hits) status = qn_fail_memory(err, "the patterns");
    for (size_t i = 0; i < n && !status; i++) {
        status = qn_regex_new(&p.at[i], texts[i], QN_REGEX_ECMASCRIPT, err);
        p.n += !status;
    }
    if (status)
        qn_patterns_free(&p);
    else
        *out = p;
    return status;
}

qn_status qn_patterns_find(qn_patterns *p, const char *name, bool *found, qn_error *err)
{
    *found = false;
    for (size_t i = 0; i < p->n; i++) {
        size_t start, end;
        bool here = false;
        const qn_status status =
            qn_regex_find(p->at[i], qn_str_z(name), 0, &start, &end, &here, err);
        if (status) return status;
        p->hits[i] += here;
        *found |= here;
    }
    return QN_OK;
}
