/* GPT-2's byte alphabet: every byte as a printable character, so that pieces
 * of bytes are strings.  Bytes 33-126, 161-172 and 174-255 are the character
 * of their number; the others, in order, U+0100 onwards
 * (openai/gpt-2, src/encoder.py). */
#ifndef QN_FORMATS_TOKENIZER_BYTES_H
#define QN_FORMATS_TOKENIZER_BYTES_H

#include "formats/base/text.h"

/* Writes the bytes that piece spells to out (room for piece.n); false where
 * some character is not in the alphabet (the text of an added token). */
bool qn_bytes_of_piece(qn_str piece, char *out, size_t *n);

#endif
