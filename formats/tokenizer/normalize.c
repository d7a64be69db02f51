#include "formats/tokenizer/normalize.h"

#include <stdlib.h>
#include <utf8proc.h>

static bool is_ascii(char c)
{
    return (unsigned char)c < 0x80;
}

/* Characters below U+0300 (lead bytes below 0xCC) are in NFC as long as none
 * from above stands among them (Unicode Standard Annex 15, quick check). */
static bool may_change(char c)
{
    return (unsigned char)c >= 0xcc;
}

static void add_composed(qn_str text, qn_text *out)
{
    utf8proc_uint8_t *composed = NULL;
    const utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text.s, (utf8proc_ssize_t)text.n, &composed,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n >= 0)
        qn_text_add(out, (const char *)composed, (size_t)n);
    else
        out->failed = true;
    free(composed); /* utf8proc's own allocation */
}

/* An ASCII character never joins what stands before it, so the text falls
 * apart in front of each; only pieces with something to change are mapped. */
void qn_normalize_nfc(qn_str text, qn_text *out)
{
    size_t done = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (!may_change(text.s[i])) continue;
        size_t start = i, end = i;
        while (start > done && (start == i || !is_ascii(text.s[start]))) start--;
        while (end < text.n && !is_ascii(text.s[end])) end++;
        qn_text_add(out, text.s + done, start - done);
        add_composed(qn_str_of(text.s + start, end - start), out);
        done = end;
        i = end - 1;
    }
    qn_text_add(out, text.s + done, text.n - done);
}

bool qn_is_space(unsigned c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

bool qn_is_word(unsigned c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
    }
}
