/* A byte trie for pieces of text: which keys begin here, one byte at a time.
 *
 * A double array (Aoe 1989): the child of node s by byte b stands at base[s] ^ b
 * and is one when its parent is s.  One 12-byte cell a step, whatever the number
 * of keys.  A key is at most one value; no key is empty. */
#ifndef QN_FORMATS_TOKENIZER_TRIE_H
#define QN_FORMATS_TOKENIZER_TRIE_H

#include <stdint.h>

#include "formats/base/text.h"

enum { QN_TRIE_NONE = -1 };

typedef struct {
    uint32_t base, parent;
    int32_t value; /* QN_TRIE_NONE: no key ends here */
} qn_trie_cell;

typedef struct {
    qn_trie_cell *cells; /* a multiple of 256, so every base ^ byte is inside */
    size_t count;
    uint64_t asked; /* cells that were looked at while it was built */
} qn_trie;

typedef struct {
    qn_str text;
    int32_t value; /* not negative */
} qn_trie_key;

/* Sorts keys; of equal ones the first by value counts. */
qn_status qn_trie_build(qn_trie *t, qn_trie_key *keys, size_t n, qn_error *err);
void qn_trie_free(qn_trie *t);

/* The node below `node` (the root is 0) by byte, or 0: there is none. */
static inline uint32_t qn_trie_step(const qn_trie *t, uint32_t node, unsigned char byte)
{
    const uint32_t next = t->cells[node].base ^ byte;
    return t->cells[next].parent == node ? next : 0;
}

#endif
