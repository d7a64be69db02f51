/* A GGUF model in several files, as llama.cpp splits it: NAME-00001-of-00003.gguf
 * and so on.  Each part is a GGUF file of its own with the keys split.no (from
 * 0), split.count and split.tensors.count (of all parts); the first has the
 * model's metadata as well.  Source: llama.cpp src/llama.cpp (the names),
 * tools/gguf-split (the keys and their types). */
#ifndef QN_FORMATS_GGUF_SPLIT_H
#define QN_FORMATS_GGUF_SPLIT_H

#include "formats/metadata.h"

enum { QN_GGUF_MAX_PARTS = UINT16_MAX }; /* the type of split.count */

typedef struct {
    uint64_t no, count; /* count 1: not split */
    uint64_t tensors;   /* of all parts; UINT64_MAX: not told */
} qn_gguf_split;

/* What a file's metadata say. */
qn_status qn_gguf_split_read(const qn_metadata *m, qn_gguf_split *out, qn_error *err);

/* Sets the three keys, behind all others. */
qn_status qn_gguf_split_write(qn_metadata *m, const qn_gguf_split *s, qn_error *err);
void qn_gguf_split_remove(qn_metadata *m);

/* How many bytes of path stand before "-00002-of-00003.gguf", part no of count;
 * 0 when it is not named so. */
size_t qn_gguf_part_prefix(const char *path, uint64_t no, uint64_t count);

/* Part no of count of the model whose parts' names begin with these n bytes,
 * allocated; NULL: no memory. */
char *qn_gguf_part_path(const char *prefix, size_t n, uint64_t no, uint64_t count);

#endif
