#include "formats/tokenizer/trie.h"

#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"

/* Cells come in blocks of 256: a node's children lie in one block, at its base
 * with the low eight bits changed. */
enum { BLOCK = 256, NOWHERE = -1 };

/* Blocks that are nearly full are not asked again, and never more than the last
 * few: the time stays linear whatever the keys, and little room is lost. */
enum { TRIES = 16, BLOCKS_ASKED = 32 };

typedef struct {
    qn_trie *trie;
    const qn_trie_key *keys;
    size_t capacity;
    uint16_t *room;                     /* of each block: free cells */
    size_t first_block;                 /* blocks before it are not looked at */
    unsigned failures;                  /* of first_block */
    size_t pending_count, pending_room; /* nodes whose children are to be placed */
    struct range {
        size_t from, to, depth;
        uint32_t node;
    } * pending;
} builder;

static int by_text(const void *a, const void *b)
{
    const qn_trie_key *x = a, *y = b;
    const size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    const int order = memcmp(x->text.s, y->text.s, n);
    if (order) return order;
    if (x->text.n != y->text.n) return x->text.n < y->text.n ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

/* A cell that nobody owns is its own parent: no node is. */
static qn_status add_block(builder *b, qn_error *err)
{
    qn_trie *t = b->trie;
    if (!b->room || t->count + BLOCK > b->capacity) {
        const size_t capacity = qn_grow(b->capacity, t->count + BLOCK) / BLOCK * BLOCK + BLOCK;
        qn_trie_cell *grown =
            capacity < UINT32_MAX ? qn_resize(t->cells, capacity, sizeof *grown) : NULL;
        if (!grown) return qn_fail_memory(err, "a trie");
        t->cells = grown;
        uint16_t *room = qn_resize(b->room, capacity / BLOCK, sizeof *room);
        if (!room) return qn_fail_memory(err, "a trie");
        b->room = room;
        b->capacity = capacity;
    }
    b->room[t->count / BLOCK] = t->count ? BLOCK : BLOCK - 1;
    for (size_t i = 0; i < BLOCK; i++, t->count++)
        t->cells[t->count] = (qn_trie_cell){0, (uint32_t)t->count, QN_TRIE_NONE};
    return QN_OK;
}

static bool is_free(const builder *b, size_t cell)
{
    return cell != 0 && b->trie->cells[cell].parent == cell;
}

/* Low bits under which all children are free in the block, or NOWHERE. */
static int fit(const builder *b, size_t block, const unsigned char *bytes, size_t n)
{
    for (int low = 0; low < BLOCK && b->room[block] >= n; low++) {
        size_t i = 0;
        while (i < n && is_free(b, block * BLOCK + ((unsigned)low ^ bytes[i]))) i++;
        b->trie->asked += i + 1;
        if (i == n) return low;
    }
    return NOWHERE;
}

static qn_status place(builder *b, const unsigned char *bytes, size_t n, uint32_t *base,
                       qn_error *err)
{
    const size_t blocks = b->trie->count / BLOCK;
    if (blocks - b->first_block > BLOCKS_ASKED) {
        b->first_block = blocks - BLOCKS_ASKED;
        b->failures = 0;
    }
    for (size_t block = b->first_block;; block++) {
        if (block * BLOCK == b->trie->count && add_block(b, err)) return QN_ERR_MEMORY;
        const int low = fit(b, block, bytes, n);
        if (low != NOWHERE) {
            b->room[block] = (uint16_t)(b->room[block] - n);
            *base = (uint32_t)(block * BLOCK + (size_t)low);
            return QN_OK;
        }
        if (block == b->first_block && ++b->failures >= TRIES) {
            b->first_block++;
            b->failures = 0;
        }
    }
}

static qn_status push(builder *b, struct range r, qn_error *err)
{
    if (b->pending_count == b->pending_room) {
        const size_t room = qn_grow(b->pending_room, b->pending_count + 1);
        struct range *grown = qn_resize(b->pending, room, sizeof *grown);
        if (!grown) return qn_fail_memory(err, "a trie");
        b->pending = grown;
        b->pending_room = room;
    }
    b->pending[b->pending_count++] = r;
    return QN_OK;
}

/* The keys of r share depth bytes, which spell its node. */
static qn_status spread(builder *b, struct range r, qn_error *err)
{
    qn_trie *t = b->trie;
    unsigned char bytes[BLOCK];
    size_t n = 0;
    for (; r.from < r.to && b->keys[r.from].text.n == r.depth; r.from++)
        if (t->cells[r.node].value == QN_TRIE_NONE) t->cells[r.node].value = b->keys[r.from].value;
    for (size_t i = r.from; i < r.to; i++) {
        const unsigned char byte = (unsigned char)b->keys[i].text.s[r.depth];
        if (!n || bytes[n - 1] != byte) bytes[n++] = byte;
    }
    if (!n) return QN_OK;
    uint32_t base = 0;
    if (place(b, bytes, n, &base, err)) return QN_ERR_MEMORY;
    t->cells[r.node].base = base;
    for (size_t i = 0, to = r.from; i < n; i++) {
        const size_t from = to;
        const uint32_t child = base ^ bytes[i];
        while (to < r.to && (unsigned char)b->keys[to].text.s[r.depth] == bytes[i]) to++;
        t->cells[child].parent = r.node;
        if (push(b, (struct range){from, to, r.depth + 1, child}, err)) return QN_ERR_MEMORY;
    }
    return QN_OK;
}

qn_status qn_trie_build(qn_trie *t, qn_trie_key *keys, size_t n, qn_error *err)
{
    builder b = {.trie = t, .keys = keys};
    *t = (qn_trie){0};
    if (n) qsort(keys, n, sizeof *keys, by_text);
    qn_status status = add_block(&b, err);
    if (!status) status = push(&b, (struct range){0, n, 0, 0}, err);
    while (!status && b.pending_count) status = spread(&b, b.pending[--b.pending_count], err);
    qn_free(b.room);
    qn_free(b.pending);
    if (status) qn_trie_free(t);
    return status;
}

void qn_trie_free(qn_trie *t)
{
    qn_free(t->cells);
    *t = (qn_trie){0};
}
