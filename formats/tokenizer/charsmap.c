#include "formats/tokenizer/charsmap.h"

#include <string.h>

#include "formats/base/alloc.h"

struct qn_charsmap {
    uint32_t *units;
    size_t count;
    qn_str replacements; /* ends with a NUL */
    bool keeps[128];
};

static uint32_t offset_of(uint32_t unit)
{
    return (unit >> 10) << ((unit >> 9 & 1) * 8);
}

/* What a child must say to be one: its byte, and that it is no value. */
static uint32_t label_of(uint32_t unit)
{
    return unit & (1U << 31 | 0xff);
}

/* The node below the one whose children start at `base`, or 0. */
static uint32_t child(const qn_charsmap *c, uint32_t base, unsigned char byte)
{
    const uint32_t at = base ^ byte;
    return at < c->count && label_of(c->units[at]) == byte ? at : 0;
}

/* Where the children of `node` are, its value first. */
static uint32_t children(const qn_charsmap *c, uint32_t node)
{
    return node ^ offset_of(c->units[node]);
}

static bool value_of(const qn_charsmap *c, uint32_t node, uint32_t *value)
{
    if (!(c->units[node] >> 8 & 1)) return false;
    const uint32_t at = children(c, node);
    *value = at < c->count ? c->units[at] & 0x7fffffffU : UINT32_MAX;
    return true;
}

static void find_kept(qn_charsmap *c)
{
    for (unsigned byte = 1; byte < 128; byte++) {
        uint32_t value;
        const uint32_t node = child(c, offset_of(c->units[0]), (unsigned char)byte);
        c->keeps[byte] = !node || !value_of(c, node, &value);
        for (unsigned next = 1; node && next < 128; next++)
            if (child(c, children(c, node), (unsigned char)next)) c->keeps[byte] = false;
    }
}

static qn_status check_values(const qn_charsmap *c, const char *where, qn_error *err)
{
    for (uint32_t i = 1; i < c->count; i++) {
        uint32_t value = 0;
        if (c->units[i] >> 31 || !value_of(c, i, &value) || value < c->replacements.n) continue;
        return qn_fail(err, QN_ERR_DATA,
                       "%s: precompiled_charsmap: unit %u points to %u in %zu bytes of "
                       "replacements",
                       where, i, value, c->replacements.n);
    }
    return QN_OK;
}

qn_status qn_charsmap_new(qn_charsmap **out, qn_str bytes, const char *where, qn_error *err)
{
    uint32_t trie_bytes = 0;
    if (bytes.n >= 4) memcpy(&trie_bytes, bytes.s, 4);
    if (trie_bytes < 4 || trie_bytes % 4 || trie_bytes > bytes.n - 4)
        return qn_fail(err, QN_ERR_DATA, "%s: precompiled_charsmap: a trie of %u bytes in %zu",
                       where, trie_bytes, bytes.n);
    const qn_str rest = qn_str_of(bytes.s + 4 + trie_bytes, bytes.n - 4 - trie_bytes);
    if (rest.n == 0 || rest.s[rest.n - 1] != '\0')
        return qn_fail(err, QN_ERR_DATA,
                       "%s: precompiled_charsmap: the last of %zu bytes of replacements is no NUL",
                       where, rest.n);
    qn_charsmap *c = qn_alloc(1, sizeof *c);
    if (!c) return qn_fail_memory(err, "a normalizer");
    c->replacements = rest;
    c->count = trie_bytes / 4;
    c->units = qn_alloc(c->count, sizeof *c->units);
    if (!c->units) {
        qn_charsmap_free(c);
        return qn_fail_memory(err, "a normalizer");
    }
    memcpy(c->units, bytes.s + 4, trie_bytes);
    const qn_status status = check_values(c, where, err);
    if (status) {
        qn_charsmap_free(c);
        return status;
    }
    find_kept(c);
    *out = c;
    return QN_OK;
}

void qn_charsmap_free(qn_charsmap *c)
{
    if (!c) return;
    qn_free(c->units);
    qn_free(c);
}

size_t qn_charsmap_match(const qn_charsmap *c, qn_str text, qn_str *to)
{
    size_t longest = 0;
    uint32_t base = offset_of(c->units[0]), value = 0;
    for (size_t i = 0; i < text.n; i++) {
        /* A NUL leads to a value, never to a child. */
        const uint32_t node = text.s[i] ? child(c, base, (unsigned char)text.s[i]) : 0;
        if (!node) break;
        if (value_of(c, node, &value)) longest = i + 1;
        base = children(c, node);
    }
    if (!longest) return 0;
    const char *replacement = c->replacements.s + value;
    *to = qn_str_of(replacement, strlen(replacement));
    return longest;
}

bool qn_charsmap_keeps(const qn_charsmap *c, unsigned char byte)
{
    return byte < 128 && c->keeps[byte];
}
