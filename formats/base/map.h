/* A file mapped for reading, which holds no descriptor.  Nothing in it is trusted
 * or copied here. */
#ifndef QN_FORMATS_BASE_MAP_H
#define QN_FORMATS_BASE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/base/error.h"

typedef struct {
    const uint8_t *data; /* NULL for an empty file */
    uint64_t size;
    bool is_file; /* false: bytes that somebody else owns */
    char *path;
} qn_map;

/* Regular files only (a FIFO or a directory is refused by name). */
qn_status qn_map_open(qn_map *out, const char *path, qn_error *err);
void qn_map_close(qn_map *m); /* {0} is fine */

/* Advice, never an error: bytes [offset, offset+n) will not be needed again (the
 * pages leave the process's memory; they come back by themselves when touched). */
void qn_map_done(const qn_map *m, uint64_t offset, uint64_t n);

#endif
