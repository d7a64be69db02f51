#include "quant/pass.h"

int qn_pass_threads(int asked)
{
    enum { MOST = 256 };
    const int n = asked > 0 ? asked : omp_get_max_threads();
    return n < MOST ? n : MOST;
}

static bool is_before(qn_plan_row a, qn_plan_row b)
{
    return a.entry != b.entry ? a.entry < b.entry : a.row < b.row;
}

/* Under the lock. */
static void fail_at(qn_pass *p, qn_plan_row at, const qn_error *error)
{
    if (p->failed && !is_before(at, p->failed_at)) return;
    p->failed = true;
    p->failed_at = at;
    p->error = *error;
}

void qn_pass_end(qn_pass *p, qn_status status, uint64_t bytes, qn_plan_row at,
                 const qn_error *error)
{
    omp_set_lock(&p->lock);
    p->done += bytes;
    if (status) {
        fail_at(p, at, error);
    } else if (!p->failed && !qn_watch_tell(p->watch, p->done, p->total)) {
        qn_error cancelled = {0};
        qn_fail(&cancelled, QN_ERR_CANCELLED, "cancelled");
        fail_at(p, (qn_plan_row){.entry = SIZE_MAX}, &cancelled);
    }
    omp_unset_lock(&p->lock);
}

qn_status qn_pass_result(const qn_pass *p, qn_error *err)
{
    if (!p->failed) return QN_OK;
    if (err) *err = p->error;
    return p->error.status;
}

uint64_t qn_pass_bytes(const qn_rows *rows, uint64_t r0, uint64_t r1)
{
    if (!rows->rows) return rows->source_bytes;
    const uint64_t each = rows->source_bytes / rows->rows;
    return each * (r1 - r0) + (r1 == rows->rows ? rows->source_bytes % rows->rows : 0);
}
