#include "formats/model_digest.h"

#include <inttypes.h>

#include "formats/base/digest.h"
#include "formats/base/sizes.h"

enum { MOST_ROWS = 8 };

static qn_status add_tensor(qn_text *list, const qn_model_tensor *t, const qn_kernels *k,
                            qn_error *err)
{
    const qn_rows *r = t->rows;
    const uint64_t n = r->columns ? qn_min_u64(MOST_ROWS, r->rows) : 0;
    float *row = n ? qn_alloc(r->columns, sizeof *row) : NULL;
    qn_status status = !n || row ? QN_OK : qn_fail_memory(err, "a row");
    qn_text_addf(list, "%s %d %" PRIu64 " %" PRIu64, t->name, (int)r->dtype, r->rows, r->columns);
    for (uint64_t i = 0; i < n && !status; i++) {
        const uint64_t at = n > 1 ? (r->rows - 1) * i / (n - 1) : 0;
        status = r->decode(r, k, at, at + 1, row, err);
        if (!status)
            qn_text_addf(list, " %016" PRIx64, qn_xxh3(row, (size_t)r->columns * sizeof *row));
    }
    if (n) r->done(r, 0, r->rows);
    qn_text_adds(list, "\n");
    qn_free(row);
    return status;
}

static void add_metadata(qn_text *list, const qn_metadata *m)
{
    for (size_t i = 0; i < qn_metadata_count(m); i++) {
        const qn_meta_value *v = qn_metadata_at(m, i);
        if (qn_str_starts(v->key, "general.") || qn_str_starts(v->key, "tokenizer.") ||
            qn_str_starts(v->key, "split.") || qn_str_starts(v->key, "quantize."))
            continue;
        qn_text_add(list, v->key.s, v->key.n);
        qn_text_addf(list, " %d %016" PRIx64 "\n", (int)v->type, qn_xxh3(v->bytes.s, v->bytes.n));
    }
}

qn_status qn_model_digest(const qn_model *m, const qn_kernels *k, char out[65], qn_error *err)
{
    qn_text list = {0};
    qn_status status = QN_OK;
    add_metadata(&list, m->metadata);
    for (size_t i = 0; i < m->n_tensors && !status; i++)
        status = add_tensor(&list, &m->tensors[i], k, err);
    if (!status && list.failed) status = qn_fail_memory(err, "a list of tensors");
    if (!status) qn_sha256_hex(list.s ? list.s : "", list.n, out);
    qn_text_free(&list);
    return status;
}
