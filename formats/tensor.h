/* A tensor as it lies in a mapped file: a checked, read-only view; or one that
 * packed tensors stand for, or adapters change. */
#ifndef QN_FORMATS_TENSOR_H
#define QN_FORMATS_TENSOR_H

#include <stdint.h>

#include "formats/base/error.h"
#include "kernels/dtype.h"

#define QN_MAX_RANK 8

struct qn_packed;
struct qn_lora_merge;

/* Never owns.  The reader that made it keeps name and data alive. */
typedef struct {
    const char *name;
    qn_dtype dtype;
    unsigned rank;              /* 0: a scalar */
    uint64_t dims[QN_MAX_RANK]; /* outermost first; the last one is the row's length */
    const void *data;           /* NULL when bytes is 0 */
    uint64_t bytes;
    uint64_t offset; /* of data in its file */
    uint32_t file;   /* index into qn_reader.files */
    /* NULL: the data are the elements.  Else they are codes of these, which
     * become F32 (dtype) of this shape (formats/packed/); data, bytes, offset and
     * file are those of the codes. */
    const struct qn_packed *packed;
    /* NULL: these are its values.  Else what adapters make of them (formats/lora/). */
    const struct qn_lora_merge *lora;
} qn_tensor;

/* A row is the innermost dimension (a scalar is one row of one element). */
static inline uint64_t qn_tensor_columns(const qn_tensor *t)
{
    return t->rank ? t->dims[t->rank - 1] : 1;
}

/* Product of all dims but the last; checked by the reader, so it fits. */
uint64_t qn_tensor_rows(const qn_tensor *t);
uint64_t qn_tensor_elements(const qn_tensor *t);

/* Bytes of a tensor of this type and shape.  QN_ERR_DATA, naming where and
 * name, when a row is not whole blocks or a product does not fit in 63 bits;
 * QN_ERR_UNSUPPORTED above QN_MAX_RANK. */
qn_status qn_tensor_measure(const char *where, const char *name, qn_dtype dtype, unsigned rank,
                            const uint64_t *dims, uint64_t *bytes, qn_error *err);

/* "[4096, 4095]" into buf, which is returned; cut when it does not fit. */
const char *qn_shape_text(const uint64_t *dims, unsigned rank, char *buf, size_t n);

#endif
