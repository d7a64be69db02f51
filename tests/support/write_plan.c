#include "tests/support/write_plan.h"

qn_status write_plan(const qn_plan *p, const char *path, const qn_pipeline_options *o,
                     qn_error *err)
{
    qn_writer *w = NULL;
    uint64_t total;
    qn_status status =
        qn_writer_create(&w, &qn_format_gguf, path, true, p->metadata, p->align, err);
    for (size_t i = 0; !status && i < p->n; i++) {
        const qn_model_tensor *t = p->entries[i].tensor;
        status = qn_writer_declare(w, t->name, p->entries[i].dtype, t->rank, t->dims, err);
    }
    if (!status) status = qn_writer_plan(w, &total, err);
    if (!status) status = qn_writer_begin(w, err);
    if (!status) status = qn_pipeline_run(&(qn_pipeline_output){.plan = p, .writer = w}, 1, o, err);
    if (!status) return qn_writer_commit(w, err);
    qn_writer_abandon(w);
    return status;
}
