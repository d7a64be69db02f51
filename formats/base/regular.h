/* Opens regular files for reading, and nothing else: a FIFO would wait for its
 * other end, a directory has no bytes. */
#ifndef QN_FORMATS_BASE_REGULAR_H
#define QN_FORMATS_BASE_REGULAR_H

#include <stdint.h>

#include "formats/base/error.h"

/* *fd is the caller's to close.  What is no regular file is QN_ERR_ARGUMENT and
 * named by its kind. */
qn_status qn_open_regular(const char *path, int *fd, uint64_t *size, qn_error *err);

#endif
