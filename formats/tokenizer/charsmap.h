/* SentencePiece's precompiled_charsmap: which runs of characters normalizing
 * replaces, and by what (sentencepiece/src/normalizer.cc,
 * DecodePrecompiledCharsMap):
 *
 *     u32 trie_bytes | u32 unit[trie_bytes / 4] | NUL-terminated replacements
 *
 * A unit of the double array (darts-clone's darts.h):
 *
 *     bits 0-7   the byte that leads here      bit 8   a key ends here
 *     bit 9      the offset counts 256s        bits 10-30  offset to the children
 *     bit 31     this unit is a value: the replacement's offset in bits 0-30
 *
 * Every number in it is the file's: a walk that leaves the array ends there. */
#ifndef QN_FORMATS_TOKENIZER_CHARSMAP_H
#define QN_FORMATS_TOKENIZER_CHARSMAP_H

#include <stdint.h>

#include "formats/base/text.h"

typedef struct qn_charsmap qn_charsmap;

/* bytes outlive the map.  QN_ERR_DATA where the sizes do not fit together or a
 * key's replacement lies outside. */
qn_status qn_charsmap_new(qn_charsmap **out, qn_str bytes, const char *where, qn_error *err);
void qn_charsmap_free(qn_charsmap *c); /* NULL is fine */

/* Length of the longest key that text begins with, its replacement in *to;
 * 0: none. */
size_t qn_charsmap_match(const qn_charsmap *c, qn_str text, qn_str *to);

/* No key begins with this ASCII byte but one that goes on beyond ASCII: before
 * another ASCII byte it stays as it is. */
bool qn_charsmap_keeps(const qn_charsmap *c, unsigned char byte);

#endif
