/* Content hashes: XXH3-64 (libxxhash) to tell contents apart fast, SHA-256
 * (libmd) to pin them. */
#ifndef QN_FORMATS_BASE_DIGEST_H
#define QN_FORMATS_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "formats/base/error.h"

uint64_t qn_xxh3(const void *bytes, size_t n);

/* Lower-case hex, terminated. */
void qn_sha256_hex(const void *bytes, size_t n, char out[65]);
qn_status qn_sha256_file(const char *path, char out[65], qn_error *err); /* streamed */

#endif
