/* An opened, fully checked set of tensors: one file, or the shards of one
 * checkpoint, whatever the format.  Mapped, never copied. */
#ifndef QN_FORMATS_READER_H
#define QN_FORMATS_READER_H

#include "formats/base/alloc.h"
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
    size_t n_tensors, capacity;
    qn_metadata *metadata; /* GGUF's keys; safetensors' __metadata__ as strings */
    qn_names *by_name;
    uint64_t alignment;    /* of the data: general.alignment; 8 for safetensors */
    uint64_t gguf_version; /* 0 when it is not GGUF */
    const char *packing;   /* how weights were packed, for people; NULL: they are as stored */
    qn_arena *arena;       /* tensors' names */
} qn_reader;

/* path: a GGUF, safetensors or PyTorch file (found by content, not by suffix),
 * or a directory with model.safetensors, or else model.safetensors.index.json
 * and its shards, or else the same of pytorch_model.bin (transformers' order of
 * preference).  Any part of a split GGUF model stands for all of them. */
qn_status qn_reader_open(qn_reader **out, const char *path, qn_error *err);

/* The same of one file's bytes, which stay the caller's and outlive the
 * reader; name stands for the path in messages. */
qn_status qn_reader_open_memory(qn_reader **out, const void *bytes, size_t n, const char *name,
                                qn_error *err);
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

extern const qn_format qn_format_gguf, qn_format_safetensors, qn_format_torch;

/* For formats: checks the name, that dtype, shape and bytes agree and that the
 * data lies inside the file; then sets data and appends. */
qn_status qn_reader_add(qn_reader *r, const qn_tensor *t, qn_error *err);

/* The same of a tensor whose data is set: a place that the format has checked,
 * in the mapped file or, with an offset of the file's size, in r's arena. */
qn_status qn_reader_add_at(qn_reader *r, const qn_tensor *t, qn_error *err);

#endif
