#include "formats/tokenizer/normalize.h"

#include <stdlib.h>
#include <utf8proc.h>

static bool is_ascii(char c)
{
    return (unsigned char)c < 0x80;
}

/* Characters below these lead bytes are as they should be, as long as none from
 * above stands among them: below U+0300 in NFC (Annex 15, quick check), below
 * U+00A0 in the other forms. */
static const unsigned char first_lead[] = {
    [QN_FORM_NFC] = 0xcc, [QN_FORM_NFD] = 0xc2, [QN_FORM_NFKC] = 0xc2, [QN_FORM_NFKD] = 0xc2};

static const utf8proc_option_t options[] = {
    [QN_FORM_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
    [QN_FORM_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
    [QN_FORM_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
    [QN_FORM_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};

static void add_mapped(qn_form form, qn_str text, qn_text *out)
{
    utf8proc_uint8_t *mapped = NULL;
    const utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text.s,
                                            (utf8proc_ssize_t)text.n, &mapped, options[form]);
    if (n >= 0)
        qn_text_add(out, (const char *)mapped, (size_t)n);
    else
        out->failed = true;
    free(mapped); /* utf8proc's own allocation */
}

/* An ASCII character never joins what stands before it, so the text falls
 * apart in front of each; only pieces with something to change are mapped. */
void qn_normalize(qn_form form, qn_str text, qn_text *out)
{
    size_t done = 0;
    for (size_t i = 0; form != QN_FORM_NONE && i < text.n; i++) {
        if ((unsigned char)text.s[i] < first_lead[form]) continue;
        size_t start = i, end = i;
        while (start > done && (start == i || !is_ascii(text.s[start]))) start--;
        while (end < text.n && !is_ascii(text.s[end])) end++;
        qn_text_add(out, text.s + done, start - done);
        add_mapped(form, qn_str_of(text.s + start, end - start), out);
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
