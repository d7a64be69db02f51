#include <string.h>
#include <sys/random.h>

#include "formats/base/digest.h"
#include "formats/tokenizer/run.h"

/* ---- pairs --------------------------------------------------------------------- */

/* splitmix64's finalizer (Steele, Lea and Flood 2014) over a drawn seed, so
 * that a file cannot choose its collisions. */
static size_t slot_of(const qn_pairs *p, uint64_t pair)
{
    uint64_t x = pair ^ p->seed;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return (size_t)(x ^ (x >> 31)) & p->mask;
}

static qn_pair *probe(const qn_pairs *p, uint64_t pair)
{
    size_t at = slot_of(p, pair);
    while (p->slots[at].result != QN_NO_ID && p->slots[at].pair != pair) at = (at + 1) & p->mask;
    return &p->slots[at];
}

qn_status qn_pairs_build(qn_pairs *p, const qn_merge *merges, size_t count, qn_error *err)
{
    size_t slots = 16;
    while (slots / 2 < count) slots *= 2;
    p->slots = qn_alloc(slots, sizeof *p->slots);
    if (!p->slots) return qn_fail_memory(err, "the merges");
    if (getrandom(&p->seed, sizeof p->seed, GRND_NONBLOCK) != (ssize_t)sizeof p->seed)
        p->seed = (uint64_t)(uintptr_t)p->slots;
    p->mask = slots - 1;
    for (size_t i = 0; i < slots; i++) p->slots[i].result = QN_NO_ID;
    for (size_t i = 0; i < count; i++) {
        const uint64_t pair = (uint64_t)merges[i].left << 32 | merges[i].right;
        qn_pair *slot = probe(p, pair);
        if (slot->result == QN_NO_ID) *slot = (qn_pair){pair, (uint32_t)i, merges[i].result};
    }
    return QN_OK;
}

/* ---- the heap: lowest rank first, of those the leftmost ------------------------- */

static bool before(const qn_candidate *a, const qn_candidate *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->left < b->left);
}

static qn_status push(qn_tokenizer *t, qn_candidate c, qn_error *err)
{
    if (t->heap_count == t->heap_capacity) {
        const size_t capacity = qn_grow(t->heap_capacity, t->heap_count + 1);
        qn_candidate *grown = qn_resize(t->heap, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, "encoding a text");
        t->heap = grown;
        t->heap_capacity = capacity;
    }
    size_t at = t->heap_count++;
    while (at > 0 && before(&c, &t->heap[(at - 1) / 2])) {
        t->heap[at] = t->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    t->heap[at] = c;
    return QN_OK;
}

static qn_candidate pop(qn_tokenizer *t)
{
    qn_candidate *h = t->heap;
    const qn_candidate top = h[0], last = h[--t->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= t->heap_count) break;
        if (child + 1 < t->heap_count && before(&h[child + 1], &h[child])) child++;
        if (!before(&h[child], &last)) break;
        h[at] = h[child];
        at = child;
    }
    h[at] = last;
    return top;
}

/* ---- joining ----------------------------------------------------------------------- */

/* What the symbols at left and its neighbour join to; false: nothing. */
static bool join(const qn_tokenizer *t, const char *word, uint32_t left, qn_candidate *out)
{
    const qn_symbol *a = &t->symbols[left];
    if (a->length == 0 || a->next == QN_NO_ID) return false;
    const qn_symbol *b = &t->symbols[a->next];
    if (t->ranks) {
        const uint32_t id = qn_names_find(t->names, qn_str_of(word + left, a->length + b->length));
        if (id == QN_NO_ID) return false;
        *out = (qn_candidate){t->ranks[id], left, id};
        return true;
    }
    if (a->id == QN_NO_ID || b->id == QN_NO_ID) return false;
    const qn_pair *pair = probe(&t->pairs, (uint64_t)a->id << 32 | b->id);
    if (pair->result == QN_NO_ID) return false;
    *out = (qn_candidate){pair->rank, left, pair->result};
    return true;
}

static qn_status offer(qn_tokenizer *t, const char *word, uint32_t left, qn_error *err)
{
    qn_candidate c;
    if (left == QN_NO_ID || !join(t, word, left, &c)) return QN_OK;
    return push(t, c, err);
}

static qn_status join_all(qn_tokenizer *t, const char *word, qn_error *err)
{
    while (t->heap_count > 0) {
        const qn_candidate best = pop(t);
        qn_candidate now;
        /* The symbols may have changed since it was offered. */
        if (!join(t, word, best.left, &now) || now.result != best.result) continue;
        qn_symbol *a = &t->symbols[best.left], *b = &t->symbols[a->next];
        a->length += b->length;
        a->id = best.result;
        b->length = 0;
        a->next = b->next;
        if (a->next != QN_NO_ID) t->symbols[a->next].previous = best.left;
        const qn_status status = offer(t, word, a->previous, err);
        if (status || offer(t, word, best.left, err)) return QN_ERR_MEMORY;
    }
    return QN_OK;
}

/* ---- a word ------------------------------------------------------------------------ */

size_t qn_character(const qn_tokenizer *t, const char *word, size_t n)
{
    unsigned code_point;
    if (t->v->kind == QN_VOCAB_BYTE_BPE) return 1;
    const size_t length = qn_utf8_decode(word, n, &code_point);
    return length ? length : 1;
}

/* The bytes of a symbol no piece spells; a space is U+2581's three. */
static qn_str bytes_of(const qn_tokenizer *t, qn_str text)
{
    const bool mark = t->v->marks_spaces && text.n == 1 && text.s[0] == ' ';
    return mark ? qn_str_of("\u2581", 3) : text;
}

static bool has_bytes(const qn_tokenizer *t, qn_str bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        if (t->bytes[(unsigned char)bytes.s[i]] == QN_NO_ID) return false;
    return true;
}

/* Ranked merges leave out what has neither piece, bytes nor an unknown piece
 * to stand for it, and what is left joins over the gap. */
static bool is_dropped(const qn_tokenizer *t, qn_str text)
{
    return !t->ranks && t->v->unknown == QN_NO_ID && !has_bytes(t, bytes_of(t, text));
}

static qn_status start(qn_tokenizer *t, qn_str word, qn_error *err)
{
    if (t->symbol_capacity < word.n) {
        const size_t capacity = qn_grow(t->symbol_capacity, word.n);
        qn_symbol *grown = qn_resize(t->symbols, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, "encoding a text");
        t->symbols = grown;
        t->symbol_capacity = capacity;
    }
    uint32_t previous = QN_NO_ID;
    t->first = QN_NO_ID;
    for (size_t i = 0, n; i < word.n; i += n) {
        n = qn_character(t, word.s + i, word.n - i);
        const uint32_t id = t->v->kind == QN_VOCAB_BYTE_BPE
                                ? t->bytes[(unsigned char)word.s[i]]
                                : qn_names_find(t->names, qn_str_of(word.s + i, n));
        if (id == QN_NO_ID && is_dropped(t, qn_str_of(word.s + i, n))) continue;
        t->symbols[i] = (qn_symbol){previous, QN_NO_ID, (uint32_t)n, id};
        if (previous == QN_NO_ID)
            t->first = (uint32_t)i;
        else
            t->symbols[previous].next = (uint32_t)i;
        previous = (uint32_t)i;
    }
    t->heap_count = 0;
    for (uint32_t i = t->first; i != QN_NO_ID; i = t->symbols[i].next)
        if (offer(t, word.s, i, err)) return QN_ERR_MEMORY;
    return QN_OK;
}

qn_status qn_ids_push(const qn_ids_out *out, uint32_t id, qn_error *err)
{
    if (*out->n == *out->capacity) {
        const size_t capacity = qn_grow(*out->capacity, *out->n + 1);
        uint32_t *grown = qn_resize(*out->ids, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, "encoding a text");
        *out->ids = grown;
        *out->capacity = capacity;
    }
    (*out->ids)[(*out->n)++] = id;
    return QN_OK;
}

qn_status qn_push_unknown(const qn_tokenizer *t, qn_str text, bool *in_unknown,
                          const qn_ids_out *out, qn_error *err)
{
    const qn_str bytes = bytes_of(t, text);
    if (has_bytes(t, bytes)) {
        qn_status status = QN_OK;
        for (size_t i = 0; !status && i < bytes.n; i++)
            status = qn_ids_push(out, t->bytes[(unsigned char)bytes.s[i]], err);
        *in_unknown = false;
        return status;
    }
    if (t->v->unknown == QN_NO_ID || (*in_unknown && t->v->fuse_unknown)) return QN_OK;
    *in_unknown = true;
    return qn_ids_push(out, t->v->unknown, err);
}

static qn_status finish(const qn_tokenizer *t, qn_str word, const qn_ids_out *out, qn_error *err)
{
    bool in_unknown = false;
    for (uint32_t i = t->first; i != QN_NO_ID; i = t->symbols[i].next) {
        const qn_symbol *symbol = &t->symbols[i];
        qn_status status;
        if (symbol->id != QN_NO_ID) {
            in_unknown = false;
            status = qn_ids_push(out, symbol->id, err);
        } else {
            status =
                qn_push_unknown(t, qn_str_of(word.s + i, symbol->length), &in_unknown, out, err);
        }
        if (status) return status;
    }
    return QN_OK;
}

static qn_status encode_uncached(qn_tokenizer *t, qn_str word, const qn_ids_out *out, qn_error *err)
{
    if (t->v->ignore_merges) {
        const uint32_t whole = qn_names_find(t->names, word);
        if (whole != QN_NO_ID) return qn_ids_push(out, whole, err);
    }
    if (t->v->kind == QN_VOCAB_UNIGRAM) return qn_unigram_encode(t, word, out, err);
    if (start(t, word, err) || join_all(t, word.s, err)) return QN_ERR_MEMORY;
    return finish(t, word, out, err);
}

qn_status qn_encode_word(qn_tokenizer *t, qn_str word, const qn_ids_out *out, qn_error *err)
{
    if (word.n > QN_CACHE_WORD) return encode_uncached(t, word, out, err);
    qn_cached *slot = &t->cache[qn_xxh3(word.s, word.n) & (QN_CACHE_SLOTS - 1)];
    if (slot->length == word.n && memcmp(slot->word, word.s, word.n) == 0) {
        for (size_t i = 0; i < slot->count; i++)
            if (qn_ids_push(out, slot->ids[i], err)) return QN_ERR_MEMORY;
        return QN_OK;
    }
    const size_t from = *out->n;
    const qn_status status = encode_uncached(t, word, out, err);
    const size_t count = *out->n - from;
    if (status || count > QN_CACHE_IDS) return status;
    slot->length = (uint8_t)word.n;
    slot->count = (uint8_t)count;
    memcpy(slot->word, word.s, word.n);
    if (count) memcpy(slot->ids, *out->ids + from, count * sizeof slot->ids[0]);
    return QN_OK;
}

/* ---- words by their spaces ------------------------------------------------------------ */

static void cross(uint8_t *crossings, unsigned a, unsigned b)
{
    const unsigned bit = a * 256 + b;
    crossings[bit / 8] |= (uint8_t)(1U << bit % 8);
}

qn_status qn_crossings_build(qn_tokenizer *t, qn_error *err)
{
    t->crossings = qn_alloc(256 * 256 / 8, 1);
    if (!t->crossings) return qn_fail_memory(err, "a tokenizer");
    for (size_t id = 0; id < t->v->n; id++) {
        const qn_str raw = t->raw[id];
        for (size_t i = 1; i < raw.n; i++) {
            if (raw.s[i] != ' ' || raw.s[i - 1] == ' ') continue;
            const unsigned a = (unsigned char)raw.s[i - 1];
            for (unsigned b = 0; b < 256; b++)
                if (i + 1 == raw.n || b == (unsigned char)raw.s[i + 1]) cross(t->crossings, a, b);
        }
    }
    return QN_OK;
}

size_t qn_marked_word(const qn_tokenizer *t, qn_str text)
{
    if (t->v->splits_spaces) {
        const char *space = text.n > 1 ? memchr(text.s + 1, ' ', text.n - 1) : NULL;
        return space ? (size_t)(space - text.s) : text.n;
    }
    if (t->v->kind == QN_VOCAB_UNIGRAM) return text.n;
    for (size_t i = 1; i < text.n; i++) {
        if (text.s[i] != ' ' || text.s[i - 1] == ' ') continue;
        const unsigned a = (unsigned char)text.s[i - 1];
        const unsigned b = i + 1 < text.n ? (unsigned char)text.s[i + 1] : 0;
        const unsigned bit = a * 256 + b;
        if (!(t->crossings[bit / 8] >> bit % 8 & 1)) return i;
    }
    return text.n;
}
