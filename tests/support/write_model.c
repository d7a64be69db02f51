#include "tests/support/write_model.h"

#include <check.h>

static void write_tensor(qn_writer *w, size_t number, const qn_model_tensor *t, qn_dtype dtype)
{
    qn_error err = {0};
    uint64_t row_bytes;
    const qn_rows *rows = t->rows;
    const qn_kernels *k = qn_kernels_best();
    ck_assert(qn_dtype_row_bytes(dtype, rows->columns, &row_bytes));
    float *values = qn_alloc(rows->columns, sizeof *values);
    void *block = qn_alloc(row_bytes, 1);
    for (uint64_t r = 0; r < rows->rows; r++) {
        ck_assert_msg(rows->decode(rows, k, r, r + 1, values, &err) == QN_OK, "%s", err.message);
        ck_assert(k->encode[dtype] != NULL);
        if (rows->repack && dtype == rows->blocks)
            rows->repack(rows, r, block);
        else
            k->encode[dtype](values, NULL, block, rows->columns);
        ck_assert_msg(qn_writer_put(w, number, r * row_bytes, block, row_bytes, &err) == QN_OK,
                      "%s", err.message);
    }
    qn_free(values);
    qn_free(block);
}

void write_model(const qn_model *m, qn_outtype outtype, const qn_format *format, const char *path)
{
    qn_error err = {0};
    qn_metadata *metadata = NULL;
    qn_writer *w = NULL;
    uint64_t bytes;
    outtype = qn_convert_resolve(m, outtype);
    ck_assert_msg(!qn_convert_metadata(m, outtype, &metadata, &err) &&
                      !qn_writer_create(&w, format, path, true, metadata, 0, &err),
                  "%s", err.message);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const qn_model_tensor *t = &m->tensors[i];
        ck_assert_msg(
            !qn_writer_declare(w, t->name, qn_convert_dtype(t, outtype), t->rank, t->dims, &err),
            "%s", err.message);
    }
    ck_assert_msg(!qn_writer_plan(w, &bytes, &err) && !qn_writer_begin(w, &err), "%s", err.message);
    for (size_t i = 0; i < m->n_tensors; i++)
        write_tensor(w, i, &m->tensors[i], qn_convert_dtype(&m->tensors[i], outtype));
    ck_assert_msg(!qn_writer_commit(w, &err), "%s", err.message);
    qn_metadata_free(metadata);
}
