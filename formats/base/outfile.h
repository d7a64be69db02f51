/* A file that appears whole or not at all.
 *
 * Bytes go to a temporary name in the same directory (temporary.h), its space
 * reserved beforehand, and commit() syncs and renames it into place.  Until then
 * the final path is untouched; abandon() removes the temporary. */
#ifndef QN_FORMATS_BASE_OUTFILE_H
#define QN_FORMATS_BASE_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/base/error.h"

typedef struct qn_outfile qn_outfile;

/* Refuses an existing path unless force; a directory always. */
qn_status qn_outfile_create(qn_outfile **out, const char *path, bool force, qn_error *err);

/* Reserves size bytes on the disk, so that a full disk shows now and not
 * after hours; where the file system can't, only sets the length. */
qn_status qn_outfile_reserve(qn_outfile *f, uint64_t size, qn_error *err);

/* Any order, any thread.  Retries short writes and EINTR. */
qn_status qn_outfile_write(qn_outfile *f, uint64_t offset, const void *bytes, uint64_t n,
                           qn_error *err);

/* Starts writing [offset, offset+n) to the disk, so that commit has less to wait
 * for. */
void qn_outfile_flush(qn_outfile *f, uint64_t offset, uint64_t n);

/* Gives the descriptor back until the next write: with more files at once than a
 * process may have open, all but those that are being written have to rest.  From
 * any thread. */
void qn_outfile_rest(qn_outfile *f);

/* Sync, rename, sync the directory.  Without force a file that has appeared at
 * the path meanwhile is left alone (QN_ERR_ARGUMENT).  Frees f, whatever
 * happens. */
qn_status qn_outfile_commit(qn_outfile *f, qn_error *err);
/* All of them or none: every one is synced before the first is renamed, and when
 * one cannot be renamed those before it are taken back: what they replaced is at its
 * path again.  A path has the whole old file or the whole new one at any time; the
 * old ones are removed when all new ones are on the disk, so what a crash in between
 * leaves is all there, some of it under temporary names.  (On a file system that can
 * neither exchange two names nor link one, a replaced file is gone at once; the
 * message says it.) */
qn_status qn_outfile_commit_all(qn_outfile *const *files, size_t n, qn_error *err);
void qn_outfile_abandon(qn_outfile *f); /* NULL is fine */

/* All of it at once: a file of n bytes. */
qn_status qn_outfile_whole(const char *path, const void *bytes, uint64_t n, bool force,
                           qn_error *err);

/* Tests only: the n-th reserve, write or commit from now fails with ENOSPC;
 * 0 switches off. */
void qn_outfile_fail_at(unsigned long n);

#endif
