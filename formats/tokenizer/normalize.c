#include "formats/tokenizer/normalize.h"

#include <string.h>
#include <utf8proc.h>

#include "formats/base/alloc.h"

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

typedef struct {
    utf8proc_int32_t *points;
    size_t n, capacity;
} code_points;

static bool add_decomposed(code_points *c, unsigned point, utf8proc_option_t how)
{
    enum { MOST = 32 }; /* U+FDFA becomes 18 */
    int last = 0;
    if (c->n + MOST >= c->capacity) { /* reencoding wants a byte more */
        const size_t capacity = qn_grow(c->capacity, c->n + MOST + 1);
        utf8proc_int32_t *grown = qn_resize(c->points, capacity, sizeof *grown);
        if (!grown) return false;
        c->points = grown;
        c->capacity = capacity;
    }
    const utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)point, c->points + c->n, MOST, how, &last);
    if (n < 0 || n > MOST) return false;
    c->n += (size_t)n;
    return true;
}

static unsigned class_of(utf8proc_int32_t point)
{
    return (unsigned)utf8proc_get_property(point)->combining_class & 0xff;
}

/* Marks behind a character in the order of their classes (Unicode 3.11, D109).
 * utf8proc's own way takes the square of their number. */
static bool sort_marks(utf8proc_int32_t *points, size_t n)
{
    size_t at[257] = {0};
    bool sorted = true;
    for (size_t i = 0; i < n; i++) {
        sorted &= !i || class_of(points[i - 1]) <= class_of(points[i]);
        at[class_of(points[i]) + 1]++;
    }
    if (sorted) return true;
    utf8proc_int32_t *copy = qn_alloc(n, sizeof *copy);
    if (!copy) return false;
    memcpy(copy, points, n * sizeof *copy);
    for (size_t i = 1; i < 257; i++) at[i] += at[i - 1];
    for (size_t i = 0; i < n; i++) points[at[class_of(copy[i])]++] = copy[i];
    qn_free(copy);
    return true;
}

static bool order_marks(const code_points *c)
{
    for (size_t i = 0, end; i < c->n; i = end) {
        end = i + 1;
        if (!class_of(c->points[i])) continue;
        while (end < c->n && class_of(c->points[end])) end++;
        if (!sort_marks(c->points + i, end - i)) return false;
    }
    return true;
}

/* What utf8proc_map does, but for the order of marks. */
static void add_mapped(qn_form form, qn_str text, qn_text *out)
{
    code_points c = {0};
    unsigned point;
    bool good = true;
    for (size_t i = 0, n; i < text.n && good; i += n) {
        n = qn_utf8_decode(text.s + i, text.n - i, &point);
        good = n && add_decomposed(&c, point, options[form]);
    }
    if (good) good = order_marks(&c) && c.n < PTRDIFF_MAX;
    const utf8proc_ssize_t n =
        good ? utf8proc_reencode(c.points, (utf8proc_ssize_t)c.n, options[form]) : -1;
    if (n >= 0)
        qn_text_add(out, (const char *)c.points, (size_t)n);
    else
        out->failed = true;
    qn_free(c.points);
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
