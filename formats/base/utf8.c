/* The table of well-formed sequences is Unicode 15, table 3-7. */
#include "formats/base/text.h"

size_t qn_utf8_decode(const char *s, size_t n, unsigned *cp)
{
    if (n == 0) return 0;
    const unsigned char *b = (const unsigned char *)s;
    const unsigned lead = b[0];
    if (lead < 0x80) {
        *cp = lead;
        return 1;
    }
    if (lead < 0xC2 || lead > 0xF4) return 0;
    const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (n < length) return 0;
    /* The second byte's range keeps out overlong forms, surrogates and what
     * lies above U+10FFFF. */
    const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (b[1] < low || b[1] > high) return 0;
    unsigned value = lead & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((b[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (b[i] & 0x3Fu);
    }
    *cp = value;
    return length;
}

size_t qn_utf8_encode(unsigned cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    const size_t length = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const unsigned lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = length - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)(lead[length] | cp);
    return length;
}

bool qn_utf8_valid(qn_str s)
{
    unsigned cp;
    for (size_t used; s.n; s.s += used, s.n -= used)
        if (!(used = qn_utf8_decode(s.s, s.n, &cp))) return false;
    return true;
}
