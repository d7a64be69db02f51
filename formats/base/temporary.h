/* Names for what is not finished yet: hidden, beside the final path
 * (".NAME.XXXXXX.tmp"), and those of files remembered so that a signal handler
 * can remove them. */
#ifndef QN_FORMATS_BASE_TEMPORARY_H
#define QN_FORMATS_BASE_TEMPORARY_H

#include <stdbool.h>

#include "formats/base/error.h"

/* Such a name, drawn anew with each call, which may be taken; to be freed. */
qn_status qn_temporary_name(const char *path, char **out, qn_error *err);

/* Makes the names in a directory durable; 0, or -1 with errno.  Where the file
 * system cannot, that is no error. */
int qn_sync_directory(const char *path);

/* A place for the name of one file. */
typedef struct qn_temporary qn_temporary;

/* The name is the caller's and stays where it is until it is taken back.  NULL:
 * no memory. */
qn_temporary *qn_temporary_remember(char *name);
/* False when qn_temporary_remove_all() was faster: the name is its own then and
 * must stay allocated. */
bool qn_temporary_forget(qn_temporary *t, const char *name);
/* Removes every remembered file.  Async-signal-safe. */
void qn_temporary_remove_all(void);

#endif
