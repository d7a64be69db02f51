/* What a format contributes to writing (writer.h): which tensors it can hold,
 * where they lie, and its header's bytes. */
#ifndef QN_FORMATS_WRITER_OPS_H
#define QN_FORMATS_WRITER_OPS_H

#include <stdatomic.h>

#include "formats/base/text.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

/* One declared tensor. */
typedef struct {
    const char *name;
    qn_dtype dtype;
    unsigned rank;
    uint64_t dims[QN_MAX_RANK];
    uint64_t bytes;
    uint64_t offset;   /* in its file, once planned */
    size_t part;       /* of the files, 0 up */
    atomic_ullong put; /* bytes that have arrived, from any thread */
} qn_writer_tensor;

/* One file that is to be planned. */
typedef struct {
    const char *path;            /* for messages */
    const qn_metadata *metadata; /* may be NULL */
    uint64_t align;
    qn_writer_tensor *tensors;
    size_t n_tensors;
} qn_writer_contents;

typedef struct qn_writer_ops {
    uint64_t default_align;
    /* Whether the format can hold this tensor. */
    qn_status (*check)(const char *path, const qn_writer_tensor *t, qn_error *err);
    /* Fills every tensor's offset, the header (the file's first bytes; what
     * lies between it and the data, or between tensors, stays zero) and the
     * file's size.  A header that ran out of memory is seen by its flag. */
    qn_status (*plan)(const qn_writer_contents *contents, qn_text *header, uint64_t *total_bytes,
                      qn_error *err);
} qn_writer_ops;

#endif
