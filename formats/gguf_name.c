/* Letters and digits are ASCII here; other bytes count as letters without
 * case. */
#include "formats/gguf_name.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- characters -------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_letter(char c)
{
    return is_upper(c) || is_lower(c) || (unsigned char)c >= 0x80;
}

static char to_lower(char c)
{
    return is_upper(c) ? (char)(c - 'A' + 'a') : c;
}

static char to_upper(char c)
{
    return is_lower(c) ? (char)(c - 'a' + 'A') : c;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* ---- the shapes of name parts, any case ------------------------------------------------ */

/* Past `word` when s begins with it, else NULL. */
static const char *skip_word(const char *s, const char *word)
{
    for (; *word; s++, word++)
        if (to_lower(*s) != *word) return NULL;
    return s;
}

/* Past digits, NULL when there are none. */
static const char *skip_digits(const char *s)
{
    if (!is_digit(*s)) return NULL;
    while (is_digit(*s)) s++;
    return s;
}

static bool is_word(const char *s, const char *word)
{
    const char *end = skip_word(s, word);
    return end && !*end;
}

/* (v|iter)? digits (. digits)* */
static bool is_version(const char *s)
{
    const char *p;
    if ((p = skip_word(s, "iter")) || (p = skip_word(s, "v"))) s = p;
    if (!(s = skip_digits(s))) return false;
    while (*s == '.')
        if (!(s = skip_digits(s + 1))) return false;
    return !*s;
}

/* i?q digit (_ character)*, or b?fp?(16|32) */
static bool is_type(const char *s)
{
    const char *p = *s == 'i' || *s == 'I' ? s + 1 : s;
    if (to_lower(p[0]) == 'q' && is_digit(p[1])) {
        p += 2;
        while (p[0] == '_' && (is_letter(p[1]) || is_digit(p[1]) || p[1] == '_')) p += 2;
        return !*p;
    }
    p = to_lower(*s) == 'b' ? s + 1 : s;
    if (to_lower(*p) != 'f') return false;
    p++;
    if (to_lower(*p) == 'p') p++;
    return is_word(p, "16") || is_word(p, "32");
}

/* digits ([._] digits)? [KMBT] digit? */
static bool is_plain_size(const char *s)
{
    if (!(s = skip_digits(s))) return false;
    if (*s == '.' || *s == '_')
        if (!(s = skip_digits(s + 1))) return false;
    if (!*s || !strchr("kmbt", to_lower(*s))) return false;
    s++;
    if (is_digit(*s)) s++;
    return !*s;
}

/* A plain size, "A3B" (active), "8x7B" (experts), or a word. */
static bool is_size(const char *s)
{
    static const char *const words[] = {"small", "mini", "medium", "large", "xl", "xxl"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (is_word(s, words[i])) return true;
    const char *times = skip_digits(s);
    if (to_lower(*s) == 'a')
        s++;
    else if (times && to_lower(*times) == 'x')
        s = times + 1;
    return is_plain_size(s);
}

static bool is_finetune(const char *s)
{
    return is_word(s, "chat") || is_word(s, "instruct") || is_word(s, "vision") ||
           is_word(s, "lora");
}

/* ---- what each part is ------------------------------------------------------------------ */

enum { BASENAME = 1, SIZE = 2, FINETUNE = 4, VERSION = 8, TYPE = 16 };

typedef struct {
    char *s;
    unsigned kinds; /* of the above, together */
} part;

/* "7b1" (BLOOM's way) to "7.1b", "1_5b" to "1.5b", "7b" to "7B".  The first
 * makes the text one longer, for which there is room. */
static void normalize_size(char *s)
{
    for (char *p = s; *p; p++)
        if (*p == '_') *p = '.';
    size_t n = strlen(s);
    if (is_digit(s[n - 1])) {
        const char unit = s[n - 2], digit = s[n - 1];
        s[n - 2] = '.';
        s[n - 1] = digit;
        s[n++] = unit;
        s[n] = '\0';
    }
    if (n > 1 && is_digit(s[n - 2])) s[n - 1] = to_upper(s[n - 1]);
}

/* What "135M" says in numbers; false for words, "A3B", "8x7B". */
static bool labelled_parameters(const char *s, double *out)
{
    char *end;
    const size_t n = strlen(s);
    if (!is_digit(*s)) return false;
    double v = strtod(s, &end);
    static const char units[] = "KMBT";
    const char *unit = strchr(units, s[n - 1]);
    if (end != s + n - 1 || !unit) return false;
    for (const char *u = units; u <= unit; u++) v *= 1000;
    *out = v;
    return true;
}

static unsigned size_kind(char *s, uint64_t parameters)
{
    double label;
    normalize_size(s);
    if (!parameters || !labelled_parameters(s, &label)) return SIZE;
    const double off = fabs(label - (double)parameters);
    /* 7/8 of the number, rounded down, without overflow */
    const uint64_t allowed = parameters / 8 * 7 + parameters % 8 * 7 / 8;
    if (off <= (double)allowed) return SIZE;
    char *last = s + strlen(s) - 1; /* a context length, say */
    *last = to_lower(*last);
    return FINETUNE;
}

static void annotate(part *parts, size_t n, uint64_t parameters)
{
    for (size_t i = 0; i < n; i++) {
        char *s = parts[i].s;
        if (is_version(s)) {
            parts[i].kinds = VERSION;
        } else if (is_type(s)) {
            parts[i].kinds = TYPE;
            for (char *p = s; *p; p++) *p = to_upper(*p);
        } else if (i > 0 && is_size(s)) {
            parts[i].kinds = size_kind(s, parameters);
        } else if (i > 0 && is_finetune(s)) {
            parts[i].kinds = FINETUNE;
        }
    }
}

/* "small" is a size only where no number says it better. */
static void drop_size_words(part *parts, size_t n)
{
    bool numbered = false;
    for (size_t i = 0; i < n; i++)
        if (parts[i].kinds & SIZE && strpbrk(parts[i].s, "0123456789")) numbered = true;
    if (!numbered) return;
    for (size_t i = 0; i < n; i++)
        if (!strpbrk(parts[i].s, "0123456789._")) parts[i].kinds &= ~(unsigned)SIZE;
}

/* The leading parts that are nothing else are the basename, versions among
 * them included; what is nothing after that is the finetune. */
static void find_basename(part *parts, size_t n)
{
    bool at_start = true;
    for (size_t i = 0; i < n; i++) {
        if (at_start && ((!parts[i].kinds && is_letter(*parts[i].s)) || parts[i].kinds & VERSION)) {
            parts[i].kinds |= BASENAME;
            continue;
        }
        at_start = false;
        if (!parts[i].kinds) parts[i].kinds = FINETUNE;
    }
    for (size_t i = n; i-- > 0;) {
        if (!(parts[i].kinds & BASENAME) || parts[i].kinds == BASENAME) break;
        parts[i].kinds &= ~(unsigned)BASENAME;
    }
}

/* ---- putting together ------------------------------------------------------------------- */

static bool came_before(const part *parts, size_t i, unsigned kind)
{
    for (size_t j = 0; j < i; j++)
        if (parts[j].kinds & kind && !strcmp(parts[j].s, parts[i].s)) return true;
    return false;
}

/* The parts that are `kind` and not `but`, joined by '-'; NULL in *out when
 * there are none.  Sizes come once each. */
static qn_status join(qn_arena *a, const part *parts, size_t n, unsigned kind, unsigned but,
                      const char **out, qn_error *err)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++) length += strlen(parts[i].s) + 1;
    char *s = qn_arena_alloc(a, length + 1, 1), *end = s;
    if (!s) return qn_fail_memory(err, "the model's name");
    for (size_t i = 0; i < n; i++) {
        if (!(parts[i].kinds & kind) || parts[i].kinds & but) continue;
        if (kind == SIZE && came_before(parts, i, SIZE)) continue;
        end += sprintf(end, "%s%s", end > s ? "-" : "", parts[i].s);
    }
    *out = end > s ? s : NULL;
    return QN_OK;
}

/* Empty parts are left out.  Each has room for one character more. */
static qn_status split(qn_arena *a, const char *name, part **out, size_t *n, qn_error *err)
{
    size_t most = 1;
    for (const char *p = name; *p; p++) most += *p == '-';
    part *parts = qn_arena_alloc(a, most, sizeof *parts);
    if (!parts) return qn_fail_memory(err, "the model's name");
    size_t count = 0;
    for (const char *p = name; *p;) {
        const size_t length = strcspn(p, "-");
        if (length) {
            char *s = qn_arena_alloc(a, length + 2, 1);
            if (!s) return qn_fail_memory(err, "the model's name");
            memcpy(s, p, length);
            parts[count++].s = s;
        }
        p += length;
        p += *p == '-';
    }
    *out = parts;
    *n = count;
    return QN_OK;
}

qn_status qn_gguf_name_parse(qn_arena *a, const char *id, uint64_t parameters, qn_gguf_name *out,
                             qn_error *err)
{
    qn_gguf_name r = {.name = id};
    part *parts = NULL;
    size_t n = 0;
    qn_status status;
    const char *slash = strchr(id, '/');
    if (strchr(id, ' ')) slash = NULL; /* a sentence, not an id: only a name */
    if (slash) {
        r.name = slash + 1;
        if (*id != '.' && !(r.organization = qn_arena_strndup(a, id, (size_t)(slash - id))))
            return qn_fail_memory(err, "the model's name");
    }
    if (!(r.name = qn_arena_strndup(a, r.name, strlen(r.name))))
        return qn_fail_memory(err, "the model's name");
    if (strchr(id, ' ')) {
        *out = r;
        return QN_OK;
    }
    if ((status = split(a, r.name, &parts, &n, err))) return status;
    annotate(parts, n, parameters);
    drop_size_words(parts, n);
    find_basename(parts, n);
    if ((status = join(a, parts, n, BASENAME, 0, &r.basename, err)) ||
        (status = join(a, parts, n, SIZE, 0, &r.size_label, err)) ||
        (status = join(a, parts, n, FINETUNE, 0, &r.finetune, err)) ||
        (status = join(a, parts, n, VERSION, BASENAME, &r.version, err)))
        return status;
    if (!r.size_label && !r.finetune && !r.version) r.basename = NULL; /* too ambiguous */
    *out = r;
    return QN_OK;
}

/* ---- titles and labels --------------------------------------------------------------------- */

/* "v0.3", "135m": kept as they are. */
static bool stays_small(const char *s, size_t n)
{
    if (is_digit(*s)) return true;
    if (*s != 'v') return false;
    bool digit = false;
    for (size_t i = 1; i < n; i++) {
        if (s[i] == '.' && !digit) return false;
        if (s[i] != '.' && !is_digit(s[i])) return false;
        digit = is_digit(s[i]);
    }
    return digit;
}

/* Whether it has a letter, and none that is a capital. */
static bool all_small(const char *s, size_t n)
{
    bool lower = false;
    for (size_t i = 0; i < n; i++) {
        if (is_upper(s[i])) return false;
        lower |= is_lower(s[i]);
    }
    return lower;
}

const char *qn_gguf_title(qn_arena *a, const char *name)
{
    char *title = qn_arena_alloc(a, strlen(name) + 1, 1), *end = title;
    if (!title) return NULL;
    for (const char *p = name; *p;) {
        size_t n = 0;
        while (p[n] && p[n] != '-' && !is_space(p[n])) n++;
        if (n) {
            if (end > title) *end++ = ' ';
            const bool raise = all_small(p, n) && !stays_small(p, n);
            for (size_t i = 0; i < n; i++)
                *end++ = raise && (!i || !is_letter(p[i - 1])) ? to_upper(p[i]) : p[i];
        }
        p += n;
        p += *p != '\0';
    }
    return title;
}

void qn_gguf_size_label(uint64_t parameters, char out[32])
{
    static const struct {
        double above, scale;
        char unit;
    } units[] = {{1e12, 1e-12, 'T'}, {1e9, 1e-9, 'B'}, {1e6, 1e-6, 'M'}, {-1, 1e-3, 'K'}};
    const double v = (double)parameters;
    size_t i = 0;
    while (v <= units[i].above) i++;
    const double scaled = v * units[i].scale, whole = rint(scaled);
    const int digits = whole >= 10 ? 2 : whole >= 1 ? 1 : 0; /* two significant ones are shown */
    snprintf(out, 32, "%.*f%c", 2 - digits, scaled, units[i].unit);
}

/* ---- a file's name --------------------------------------------------------------------------- */

/* The key's text with '-' for what should not stand in a name, control characters among it,
 * and a '-' before it where something does. */
static bool add_key(qn_text *t, const qn_metadata *keys, const char *key)
{
    qn_str s;
    bool found = false;
    qn_error ignored;
    if (qn_metadata_str(keys, key, &s, &found, &ignored) || !found) return false;
    while (s.n && is_space(*s.s)) s = qn_str_of(s.s + 1, s.n - 1);
    while (s.n && is_space(s.s[s.n - 1])) s.n--;
    if (t->n) qn_text_adds(t, "-");
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char c = (unsigned char)s.s[i];
        qn_text_add(t, c <= ' ' || c == 0x7f || c == '/' ? "-" : s.s + i, 1);
    }
    return true;
}

char *qn_gguf_file_name(const qn_metadata *keys, const char *type)
{
    qn_text t = {0};
    if (!add_key(&t, keys, "general.basename") && !add_key(&t, keys, "general.name"))
        qn_text_adds(&t, "ggml-model");
    add_key(&t, keys, "general.size_label");
    add_key(&t, keys, "general.finetune");
    add_key(&t, keys, "general.version");
    qn_text_addf(&t, "-%s.gguf", type);
    return qn_text_take(&t);
}
