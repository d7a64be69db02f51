/* A gguf-expected.json: what the reference converter wrote for a checkpoint,
 * compared with a file of ours (models/golden/README.md describes its form). */
#ifndef QN_TESTS_SUPPORT_GOLDEN_GGUF_H
#define QN_TESTS_SUPPORT_GOLDEN_GGUF_H

#include <jansson.h>

#include "formats/reader.h"

/* Of that outtype ("f32"): keys in order with types and values, tensors in
 * order with shapes, types, offsets and the SHA-256 of their data.  added: keys
 * that our file has more on purpose (docs/formats/gguf.md), NULL at the end;
 * NULL: none. */
void golden_gguf_check(const json_t *expected, const char *outtype, const qn_reader *r,
                       const char *const *added);

#endif
