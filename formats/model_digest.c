#include "formats/model_digest.h"

#include <inttypes.h>

#include "formats/base/digest.h"

static qn_status add_tensor(qn_text *list, const qn_model_tensor *t, const qn_kernels *k,
                            qn_error *err)
{
    const qn_rows *r = t->rows;
    uint64_t first = 0;
    if (r->rows && r->columns) {
        float *row = qn_alloc(r->columns, sizeof *row);
        const qn_status status =
            row ? r->decode(r, k, 0, 1, row, err) : qn_fail_memory(err, "a row");
        if (!status) first = qn_xxh3(row, (size_t)r->columns * sizeof *row);
        qn_free(row);
        if (status) return status;
    }
    qn_text_addf(list, "%s %d %" PRIu64 " %" PRIu64 " %016" PRIx64 "\n", t->name, (int)r->dtype,
                 r->rows, r->columns, first);
    return QN_OK;
}

qn_status qn_model_digest(const qn_model *m, const qn_kernels *k, char out[65], qn_error *err)
{
    qn_text list = {0};
    qn_status status = QN_OK;
    for (size_t i = 0; i < m->n_tensors && !status; i++)
        status = add_tensor(&list, &m->tensors[i], k, err);
    if (!status && list.failed) status = qn_fail_memory(err, "a list of tensors");
    if (!status) qn_sha256_hex(list.s ? list.s : "", list.n, out);
    qn_text_free(&list);
    return status;
}
