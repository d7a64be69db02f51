/* A file that appears whole or not at all.
 *
 * Bytes go to a temporary name in the same directory (".NAME.XXXXXX.tmp"),
 * its space reserved beforehand, and commit() syncs and renames it into
 * place.  Until then the final path is untouched; abandon() removes the
 * temporary.  qn_outfile_abandon_all() is async-signal-safe: the tool calls
 * it on Ctrl-C as a last resort. */
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

/* Sync, rename, sync the directory.  Without force a file that has appeared at
 * the path meanwhile is left alone (QN_ERR_ARGUMENT).  Frees f, whatever
 * happens. */
qn_status qn_outfile_commit(qn_outfile *f, qn_error *err);
/* All of them or none: every one is synced before the first is renamed, and when
 * one cannot be renamed those that were are taken back (but for what replaced
 * another file). */
qn_status qn_outfile_commit_all(qn_outfile *const *files, size_t n, qn_error *err);
void qn_outfile_abandon(qn_outfile *f); /* NULL is fine */
void qn_outfile_abandon_all(void);

/* All of it at once: a file of n bytes. */
qn_status qn_outfile_whole(const char *path, const void *bytes, uint64_t n, bool force,
                           qn_error *err);

/* Tests only: the n-th reserve, write or commit from now fails with ENOSPC;
 * 0 switches off. */
void qn_outfile_fail_at(unsigned long n);

#endif
