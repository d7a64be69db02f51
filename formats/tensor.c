#include "formats/tensor.h"

#include <stdio.h>

#include "formats/base/sizes.h"

uint64_t qn_tensor_rows(const qn_tensor *t)
{
    uint64_t rows = 1;
    for (unsigned i = 0; i + 1 < t->rank; i++) rows *= t->dims[i];
    return rows;
}

uint64_t qn_tensor_elements(const qn_tensor *t)
{
    return qn_tensor_rows(t) * qn_tensor_columns(t);
}

const char *qn_shape_text(const uint64_t *dims, unsigned rank, char *buf, size_t n)
{
    size_t used = 0;
    for (unsigned i = 0; i <= rank && used < n; i++) {
        const int wrote = i == rank ? snprintf(buf + used, n - used, "%s", rank ? "]" : "[]")
                                    : snprintf(buf + used, n - used, "%s%llu", i ? ", " : "[",
                                               (unsigned long long)dims[i]);
        used += wrote < 0 ? n : (size_t)wrote;
    }
    return buf;
}

qn_status qn_tensor_measure(const char *where, const char *name, qn_dtype dtype, unsigned rank,
                            const uint64_t *dims, uint64_t *bytes, qn_error *err)
{
    if (rank > QN_MAX_RANK)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: tensor %s: %u dimensions, at most %d are read",
                       where, name, rank, QN_MAX_RANK);
    const qn_dtype_info *facts = qn_dtype_facts(dtype);
    const uint64_t columns = rank ? dims[rank - 1] : 1;
    if (columns % facts->block_len)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: tensor %s: a row of %llu is not a whole number of %s blocks of %u",
                       where, name, (unsigned long long)columns, facts->name, facts->block_len);
    /* A zero among absurd sizes must not hide them: whoever multiplies in another
     * order would overflow. */
    uint64_t rows = 1, elements, row_bytes = 0, total = 0;
    bool fits = qn_dtype_row_bytes(dtype, columns ? columns : facts->block_len, &row_bytes);
    bool empty = columns == 0;
    for (unsigned i = 0; fits && i + 1 < rank; i++) {
        fits = qn_mul_u64(rows, dims[i] ? dims[i] : 1, &rows);
        empty = empty || dims[i] == 0;
    }
    fits = fits && qn_mul_u64(rows, columns ? columns : 1, &elements) && elements <= INT64_MAX &&
           qn_mul_u64(rows, row_bytes, &total) && total <= INT64_MAX;
    if (!fits) {
        char shape[256];
        return qn_fail(err, QN_ERR_DATA, "%s: tensor %s: shape %s is too large", where, name,
                       qn_shape_text(dims, rank, shape, sizeof shape));
    }
    *bytes = empty ? 0 : total;
    return QN_OK;
}
