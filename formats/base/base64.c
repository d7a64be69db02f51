#include "formats/base/base64.h"

#include <stdint.h>

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool qn_base64_decode(qn_str text, qn_text *out)
{
    if (text.n % 4) return false;
    for (size_t i = 0; i < text.n; i += 4) {
        const bool last = i + 4 == text.n;
        const int padding = !last || text.s[i + 3] != '=' ? 0 : text.s[i + 2] != '=' ? 1 : 2;
        uint32_t bits = 0;
        for (int j = 0; j < 4; j++) {
            const int value = j < 4 - padding ? digit(text.s[i + (size_t)j]) : 0;
            if (value < 0) return false;
            bits = bits << 6 | (uint32_t)value;
        }
        const char bytes[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
        qn_text_add(out, bytes, 3 - (size_t)padding);
    }
    return true;
}

void qn_base64_encode(qn_str bytes, qn_text *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.n; i += 3) {
        const size_t n = bytes.n - i < 3 ? bytes.n - i : 3;
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (j < n ? (unsigned char)bytes.s[i + j] : 0);
        char text[4];
        for (size_t j = 0; j < 4; j++) text[j] = j <= n ? digits[bits >> (18 - 6 * j) & 63] : '=';
        qn_text_add(out, text, sizeof text);
    }
}
