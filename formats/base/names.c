#include "formats/base/names.h"

#include <sys/random.h>
#include <xxhash.h>

#include "formats/base/alloc.h"

typedef struct {
    qn_str key;
    uint32_t value;
} entry;

/* Entries in order of arrival; slots are open-addressed, 0 for free, else the
 * upper half of the hash, which spares a look at most wrong entries, and an
 * entry's position plus one.  At most half the slots are taken. */
struct qn_names {
    uint64_t seed;
    entry *entries;
    size_t count, capacity;
    uint64_t *slots;
    size_t mask; /* number of slots - 1; a power of two - 1 */
};

static uint64_t hash_of(const qn_names *m, qn_str key)
{
    return XXH3_64bits_withSeed(key.n ? key.s : "", key.n, m->seed);
}

static size_t slots_for(size_t entries)
{
    size_t slots = 16;
    while (slots / 2 < entries && slots <= SIZE_MAX / 4) slots *= 2;
    return slots;
}

qn_names *qn_names_new(size_t expected)
{
    qn_names *m = qn_alloc(1, sizeof *m);
    if (!m) return NULL;
    /* Without entropy the address has to do: only speed depends on it. */
    if (getrandom(&m->seed, sizeof m->seed, GRND_NONBLOCK) != (ssize_t)sizeof m->seed)
        m->seed = (uint64_t)(uintptr_t)m;
    const size_t slots = slots_for(expected);
    m->slots = qn_alloc(slots, sizeof *m->slots);
    if (!m->slots) {
        qn_names_free(m);
        return NULL;
    }
    m->mask = slots - 1;
    return m;
}

void qn_names_free(qn_names *m)
{
    if (!m) return;
    qn_free(m->entries);
    qn_free(m->slots);
    qn_free(m);
}

static uint64_t slot_of(uint64_t hash, size_t position)
{
    return (hash & ~(uint64_t)UINT32_MAX) | (position + 1);
}

static const entry *entry_of(const qn_names *m, uint64_t slot)
{
    return &m->entries[(uint32_t)slot - 1];
}

/* The slot that holds the key, or the free one where it belongs. */
static size_t probe(const qn_names *m, qn_str key, uint64_t hash)
{
    size_t at = (size_t)hash & m->mask;
    for (; m->slots[at]; at = (at + 1) & m->mask)
        if ((m->slots[at] ^ hash) >> 32 == 0 && qn_str_equal(entry_of(m, m->slots[at])->key, key))
            break;
    return at;
}

static qn_status double_slots(qn_names *m)
{
    const size_t slots = (m->mask + 1) * 2;
    uint64_t *fresh = qn_alloc(slots, sizeof *fresh);
    if (!fresh) return QN_ERR_MEMORY;
    for (size_t i = 0; i < m->count; i++) {
        const uint64_t hash = hash_of(m, m->entries[i].key);
        size_t at = (size_t)hash & (slots - 1);
        while (fresh[at]) at = (at + 1) & (slots - 1);
        fresh[at] = slot_of(hash, i);
    }
    qn_free(m->slots);
    m->slots = fresh;
    m->mask = slots - 1;
    return QN_OK;
}

static qn_status make_room(qn_names *m)
{
    if (m->count >= UINT32_MAX - 1) return QN_ERR_MEMORY;
    if (m->count == m->capacity) {
        const size_t capacity = qn_grow(m->capacity, m->count + 8);
        entry *grown = qn_resize(m->entries, capacity, sizeof *grown);
        if (!grown) return QN_ERR_MEMORY;
        m->entries = grown;
        m->capacity = capacity;
    }
    return (m->count + 1) * 2 > m->mask + 1 ? double_slots(m) : QN_OK;
}

qn_status qn_names_add(qn_names *m, qn_str key, uint32_t value, bool *present)
{
    const uint64_t hash = hash_of(m, key);
    size_t at = probe(m, key, hash);
    const bool there = m->slots[at] != 0;
    if (!there) {
        const qn_status status = make_room(m);
        if (status) return status;
        at = probe(m, key, hash);
        m->slots[at] = slot_of(hash, m->count);
        m->entries[m->count++] = (entry){key, value};
    }
    if (present) *present = there;
    return QN_OK;
}

uint32_t qn_names_find(const qn_names *m, qn_str key)
{
    const size_t at = probe(m, key, hash_of(m, key));
    return m->slots[at] ? entry_of(m, m->slots[at])->value : UINT32_MAX;
}

size_t qn_names_count(const qn_names *m)
{
    return m->count;
}
