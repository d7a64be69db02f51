/* Llama checkpoints made up for tests: any size (the weights are holes in a
 * sparse file, that is zeros), any fault. */
#ifndef QN_TESTS_SUPPORT_CHECKPOINT_H
#define QN_TESTS_SUPPORT_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/base/text.h"

typedef struct {
    uint64_t vocab, hidden, layers, heads, kv_heads, head_dim, feed_forward;
    bool tied, biases;
} checkpoint_shape;

/* 6 x 8, two layers of two heads of 4, one KV head. */
extern const checkpoint_shape checkpoint_small;

typedef struct {
    qn_text config; /* config.json */
    qn_text header; /* model.safetensors', without its length */
    uint64_t bytes; /* of data behind it, BF16 */
} checkpoint;

checkpoint checkpoint_make(const checkpoint_shape *shape);
void checkpoint_free(checkpoint *c);

/* The first `from` in the text becomes `to`; there must be one. */
void checkpoint_replace(qn_text *text, const char *from, const char *to);

/* Appends a BF16 tensor of one dimension. */
void checkpoint_add(checkpoint *c, const char *name, uint64_t n);

/* Into the test's directory; the path.  config.json is left out when its text
 * is empty.  NULL: the file system has no room for such a hole. */
const char *checkpoint_write(const checkpoint *c, const char *directory);

#endif
