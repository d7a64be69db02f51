/* A zip archive in mapped memory (libzip): where a stored entry's bytes lie,
 * and what a deflated one unpacks to. */
#ifndef QN_FORMATS_TORCH_ARCHIVE_H
#define QN_FORMATS_TORCH_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/base/map.h"
#include "formats/base/text.h"

typedef struct qn_archive qn_archive;

typedef struct {
    uint64_t index; /* in the archive's directory */
    uint64_t bytes; /* unpacked; believable for the file's size */
    bool stored;    /* not compressed: its bytes lie in the file as they are */
} qn_archive_entry;

/* map stays the caller's and outlives the archive. */
qn_status qn_archive_open(qn_archive **out, const qn_map *map, qn_error *err);
void qn_archive_close(qn_archive *a); /* NULL is fine */

/* The first entry whose name ends so; its name, which lives as long as the
 * archive, or NULL. */
const char *qn_archive_find_suffix(const qn_archive *a, const char *suffix);

/* *found is false when there is no entry of exactly this name.  Encrypted
 * entries and compression other than deflate are QN_ERR_UNSUPPORTED. */
qn_status qn_archive_find(const qn_archive *a, const char *name, qn_archive_entry *out, bool *found,
                          qn_error *err);

/* Where in the file the bytes of a stored entry of one byte or more begin; all of them lie in it.
 * Their checksum is not read. */
qn_status qn_archive_locate(qn_archive *a, const qn_archive_entry *e, uint64_t *offset,
                            qn_error *err);

/* All of the entry into e->bytes bytes at out; the checksum must agree. */
qn_status qn_archive_read(qn_archive *a, const qn_archive_entry *e, void *out, qn_error *err);

#endif
