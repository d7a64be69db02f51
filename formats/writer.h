/* Writing is plan, then bytes, then commit.
 *
 *     qn_writer_create()   names the format and the final path
 *     qn_writer_declare()  once per tensor, in file order
 *     qn_writer_part()     what is declared from here on goes to another file
 *     qn_writer_plan()     fixes every offset and the total size; no disk yet
 *     qn_writer_begin()    makes the temporary file, reserves it, writes the header
 *     qn_writer_put()      any tensor, any order, any thread
 *     qn_writer_commit()   syncs and renames into place
 *
 * Until commit the final path is untouched; abandon removes the temporary
 * file.  Two runs with the same input give the same bytes.  A dry run stops
 * after plan. */
#ifndef QN_FORMATS_WRITER_H
#define QN_FORMATS_WRITER_H

#include "formats/metadata.h"
#include "formats/reader.h"

typedef struct qn_writer qn_writer;

/* metadata is the caller's and outlives the writer (NULL: none).
 * GGUF: align is of each tensor's data, a power of two (8 and up), 0 for 32; the
 * caller puts general.alignment into metadata when it is not 32.
 * safetensors: align is of the first tensor's data, 0 for 8; more cannot be had
 * there, because the format forbids gaps.  Its metadata are strings only; NULL
 * gives {"format": "pt"}.  Its data lie in the official library's order, not
 * the declared one. */
qn_status qn_writer_create(qn_writer **out, const qn_format *format, const char *path, bool force,
                           const qn_metadata *metadata, uint64_t align, qn_error *err);

/* dims outermost first.  Refuses a duplicate name and a row that is not whole
 * blocks. */
qn_status qn_writer_declare(qn_writer *w, const char *name, qn_dtype dtype, unsigned rank,
                            const uint64_t *dims, qn_error *err);
/* path and metadata are the part's own; the metadata outlives the writer. */
qn_status qn_writer_part(qn_writer *w, const char *path, const qn_metadata *metadata,
                         qn_error *err);
/* total_bytes: of all parts. */
qn_status qn_writer_plan(qn_writer *w, uint64_t *total_bytes, qn_error *err);
qn_status qn_writer_begin(qn_writer *w, qn_error *err);

/* Bytes of tensor number `tensor` (declaration order) at offset in it. */
qn_status qn_writer_put(qn_writer *w, size_t tensor, uint64_t offset, const void *bytes, uint64_t n,
                        qn_error *err);
/* All of the tensor is written and may go to the disk. */
void qn_writer_flush(qn_writer *w, size_t tensor);
/* Refuses a tensor that did not get all its bytes.  Frees w, whatever happens. */
qn_status qn_writer_commit(qn_writer *w, qn_error *err);
/* The files of several writers: all of them appear or none. */
qn_status qn_writer_commit_all(qn_writer *const *writers, size_t n, qn_error *err);
void qn_writer_abandon(qn_writer *w); /* NULL is fine */

/* After plan. */
uint64_t qn_writer_tensor_offset(const qn_writer *w, size_t tensor); /* in its file */
uint64_t qn_writer_tensor_bytes(const qn_writer *w, size_t tensor);

#endif
