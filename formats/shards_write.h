/* Writing model.safetensors.index.json (shards.h reads it), in pieces: with
 * 200,000 tensors it is too long to be held as a whole.
 *
 *     qn_index_begin()  names the file and says how many bytes the tensors have
 *     qn_index_add()    once per tensor
 *     qn_index_commit() or qn_index_abandon() */
#ifndef QN_FORMATS_SHARDS_WRITE_H
#define QN_FORMATS_SHARDS_WRITE_H

#include "formats/base/outfile.h"
#include "formats/base/text.h"

typedef struct {
    qn_outfile *file;
    qn_text text; /* not written yet */
    uint64_t offset;
    size_t n; /* tensors so far */
} qn_index;

qn_status qn_index_begin(qn_index *x, const char *path, uint64_t tensor_bytes, qn_error *err);
qn_status qn_index_add(qn_index *x, qn_str tensor, const char *file, qn_error *err);
qn_status qn_index_commit(qn_index *x, qn_error *err); /* frees x, whatever happens */
void qn_index_abandon(qn_index *x);                    /* {0} is fine */

/* "model-00002-of-00003.safetensors" for i == 1, or "model.safetensors" when there
 * is only one, into buf, which is returned. */
const char *qn_shard_name(size_t i, size_t n, char buf[64]);

#endif
