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

/* ---- what could make it slow ------------------------------------------------------------ */

/* Sets of children by where they are: nodes may share one. */
typedef struct {
    const qn_charsmap *c;
    uint32_t *first, *next; /* of a set's nodes, by unit; 0: no more */
    uint8_t *below;         /* bytes of the longest key below a set; UNKNOWN, OPEN */
    uint32_t *path;         /* nodes that are being looked at, one below the other */
} depths;

enum { UNKNOWN = 255, OPEN = 254, LONGEST_KEY = 128, LONGEST_REPLACEMENT = 256 };

static void list_children(const depths *d)
{
    for (uint32_t i = d->c->count > UINT32_MAX ? 0 : (uint32_t)d->c->count; i-- > 1;) {
        const uint32_t label = label_of(d->c->units[i]);
        if (!label || label > 255 || (i ^ label) >= d->c->count) continue;
        d->next[i] = d->first[i ^ label];
        d->first[i ^ label] = i;
    }
}

/* Whether every key from the set at `base` has at most LONGEST_KEY bytes.  A set
 * is open while its nodes are looked at: one that leads back to it is a loop. */
static bool is_shallow(const depths *d, uint32_t base)
{
    size_t n = 0;
    uint32_t node = d->first[base];
    uint8_t deepest[LONGEST_KEY + 1] = {0};
    d->below[base] = OPEN;
    while (true) {
        if (!node) { /* this set is done */
            const uint32_t of = n ? children(d->c, d->path[n - 1]) : base;
            d->below[of] = deepest[n];
            if (!n) return true;
            const uint8_t depth = (uint8_t)(deepest[n] + 1);
            deepest[n] = 0;
            node = d->path[--n];
            if (depth > deepest[n]) deepest[n] = depth;
            if (depth + n > LONGEST_KEY) return false;
            node = d->next[node];
            continue;
        }
        const uint32_t to = children(d->c, node);
        if (to >= d->c->count || !d->first[to]) { /* a leaf */
            if (!deepest[n]) deepest[n] = 1;
            node = d->next[node];
        } else if (d->below[to] == UNKNOWN) {
            if (n + 1 >= LONGEST_KEY) return false;
            d->below[to] = OPEN;
            d->path[n++] = node;
            node = d->first[to];
        } else {
            if (d->below[to] == OPEN || d->below[to] + 1 + n > LONGEST_KEY) return false;
            if (d->below[to] + 1 > deepest[n]) deepest[n] = (uint8_t)(d->below[to] + 1);
            node = d->next[node];
        }
    }
}

/* A text takes the time of the longest key at each byte, so a key has a length. */
static qn_status check_depth(const qn_charsmap *c, const char *where, qn_error *err)
{
    depths d = {c, qn_alloc(c->count, sizeof *d.first), qn_alloc(c->count, sizeof *d.next),
                qn_alloc(c->count, 1), qn_alloc(LONGEST_KEY, sizeof *d.path)};
    const uint32_t root = offset_of(c->units[0]);
    qn_status status = QN_OK;
    if (!d.first || !d.next || !d.below || !d.path) {
        status = qn_fail_memory(err, "a normalizer");
    } else if (root < c->count) {
        memset(d.below, UNKNOWN, c->count);
        list_children(&d);
        if (!is_shallow(&d, root))
            status = qn_fail(err, QN_ERR_DATA,
                             "%s: precompiled_charsmap: a key of more than %d bytes, or one that "
                             "never ends",
                             where, LONGEST_KEY);
    }
    qn_free(d.path);
    qn_free(d.below);
    qn_free(d.next);
    qn_free(d.first);
    return status;
}

static qn_status check_length(const qn_charsmap *c, uint32_t value, const char *where,
                              qn_error *err)
{
    const size_t left = c->replacements.n - value;
    if (memchr(c->replacements.s + value, 0,
               left < LONGEST_REPLACEMENT ? left : LONGEST_REPLACEMENT))
        return QN_OK;
    return qn_fail(err, QN_ERR_DATA,
                   "%s: precompiled_charsmap: the replacement at %u has %d bytes or more", where,
                   value, LONGEST_REPLACEMENT);
}

static qn_status check_values(const qn_charsmap *c, const char *where, qn_error *err)
{
    for (uint32_t i = 1; i < c->count; i++) {
        uint32_t value = 0;
        if (c->units[i] >> 31 || !value_of(c, i, &value)) continue;
        if (value < c->replacements.n) {
            const qn_status status = check_length(c, value, where, err);
            if (status) return status;
            continue;
        }
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
    qn_status status = check_values(c, where, err);
    if (!status) status = check_depth(c, where, err);
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
