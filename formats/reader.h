/* An opened, fully checked set of tensors: one file, or the shards of one
 * checkpoint, whatever the format.  Mapped, never copied. */
#ifndef QN_FORMATS_READER_H
#define QN_FORMATS_READER_H

#include "formats/base/map.h"
#include "formats/base/names.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

typedef struct qn_format qn_format;

typedef struct {
    const qn_format *format; /* of the files */
    qn_map *files;
    size_t n_files;
    qn_tensor *tensors; /* in file order (shards in order of their names) */
    size_t n_tensors;
    qn_metadata *metadata; /* GGUF's keys; safetensors' __metadata__ as strings */
    qn_names *by_name;
    uint64_t alignment;    /* of the data: general.alignment; 8 for safetensors */
    uint64_t gguf_version; /* 0 when it is not GGUF */
    void *owned;           /* the format's own (names), freed by close */
} qn_reader;

/* path: a .gguf or .safetensors file (found by content, not by suffix), or a
 * directory with model.safetensors.index.json and its shards, or with
 * model.safetensors. */
qn_status qn_reader_open(qn_reader **out, const char *path, qn_error *err);
void qn_reader_close(qn_reader *r); /* NULL is fine */

const qn_tensor *qn_reader_find(const qn_reader *r, const char *name); /* or NULL */

/* How a format takes part; one line in the array in reader.c adds it. */
struct qn_format {
    const char *name; /* "gguf" */
    /* Whether the first n bytes (up to 64) look like it: 0 no .. 100 sure. */
    int (*bid)(const uint8_t *head, size_t n, const char *path);
    /* Parses files[file], which is mapped, and appends its tensors and
     * metadata to r. */
    qn_status (*parse)(qn_reader *r, uint32_t file, qn_error *err);
    const struct qn_writer_ops *writer; /* NULL: read only */
};

extern const qn_format qn_format_gguf, qn_format_safetensors;

/* For formats: checks name, shape and size against each other, and appends. */
qn_status qn_reader_add(qn_reader *r, const qn_tensor *t, qn_error *err);

#endif
