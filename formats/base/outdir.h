/* A directory that appears whole or not at all.
 *
 * It is made beside its final path under a temporary name (".NAME.XXXXXX.tmp"),
 * filled with files (outfile.h), and commit() renames it into place.  Only plain
 * files belong into it. */
#ifndef QN_FORMATS_BASE_OUTDIR_H
#define QN_FORMATS_BASE_OUTDIR_H

#include <stdbool.h>

#include "formats/base/error.h"

typedef struct qn_outdir qn_outdir;

/* path may not exist yet, or be an empty directory.  With force a directory of
 * a checkpoint may be there, too (one with a config.json or a model.safetensors and
 * nothing but plain files in it): commit removes it. */
qn_status qn_outdir_check(const char *path, bool force, qn_error *err);
qn_status qn_outdir_create(qn_outdir **out, const char *path, bool force, qn_error *err);

/* Where its files are to be written. */
const char *qn_outdir_path(const qn_outdir *d);

/* Syncs and renames.  Frees d, whatever happens; on failure nothing of it is
 * left and what was at the path still is. */
qn_status qn_outdir_commit(qn_outdir *d, qn_error *err);
void qn_outdir_abandon(qn_outdir *d); /* NULL is fine */

#endif
