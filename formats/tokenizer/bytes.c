#include "formats/tokenizer/bytes.h"

/* The byte a character stands for, or -1. */
static int byte_of_character(unsigned c)
{
    if ((c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255)) return (int)c;
    if (c < 256 || c > 323) return -1;
    const unsigned k = c - 256; /* the k-th byte that is not itself */
    if (k <= 32) return (int)k;
    if (k <= 66) return (int)(127 + k - 33);
    return 173;
}

bool qn_bytes_of_piece(qn_str piece, char *out, size_t *n)
{
    size_t written = 0;
    for (size_t i = 0; i < piece.n;) {
        unsigned code_point;
        const size_t length = qn_utf8_decode(piece.s + i, piece.n - i, &code_point);
        const int byte = length ? byte_of_character(code_point) : -1;
        if (byte < 0) return false;
        out[written++] = (char)byte;
        i += length;
    }
    *n = written;
    return true;
}
