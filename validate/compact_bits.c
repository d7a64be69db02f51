#include "validate/compact_bits.h"

void qn_bits_put(qn_bit_writer *w, uint32_t value, unsigned bits)
{
    for (unsigned i = 0; i < bits;) {
        const unsigned at = w->bit % 8, room = 8 - at, n = bits - i < room ? bits - i : room;
        w->bytes[w->bit / 8] |= (uint8_t)((value >> i & ((1u << n) - 1)) << at);
        i += n;
        w->bit += n;
    }
}

uint32_t qn_bits_get(qn_bit_reader *r, unsigned bits)
{
    uint32_t value = 0;
    if (bits > r->end - r->bit) r->bad = true;
    for (unsigned i = 0; i < bits && !r->bad;) {
        const unsigned at = r->bit % 8, room = 8 - at, n = bits - i < room ? bits - i : room;
        value |= (uint32_t)(r->bytes[r->bit / 8] >> at & ((1u << n) - 1)) << i;
        i += n;
        r->bit += n;
    }
    return value;
}

unsigned qn_bits_of(uint32_t most)
{
    unsigned bits = 0;
    while (most >> bits && bits < 31) bits++;
    return most >> bits ? 32 : bits;
}

/* From the one before. */
static uint32_t distance(const uint32_t *ids, size_t i, unsigned apart)
{
    return i ? ids[i] - ids[i - 1] - apart : ids[0];
}

unsigned qn_bits_best_rice(const uint32_t *ids, size_t n, unsigned apart)
{
    unsigned best = 0;
    uint64_t least = UINT64_MAX;
    for (unsigned rice = 0; rice < 31; rice++) {
        uint64_t bits = (uint64_t)n * (rice + 1);
        for (size_t i = 0; i < n && bits < least; i++) bits += distance(ids, i, apart) >> rice;
        if (bits < least) least = bits, best = rice;
    }
    return best;
}

void qn_bits_put_ids(qn_bit_writer *w, const uint32_t *ids, size_t n, unsigned apart, unsigned rice)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t d = distance(ids, i, apart);
        for (uint32_t ones = d >> rice; ones; ones--) qn_bits_put(w, 1, 1);
        qn_bits_put(w, 0, 1);
        qn_bits_put(w, d & ((1u << rice) - 1), rice);
    }
}

bool qn_bits_get_ids(qn_bit_reader *r, uint32_t *ids, size_t n, unsigned apart, unsigned rice,
                     uint64_t limit)
{
    uint64_t id = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t ones = 0;
        while (qn_bits_get(r, 1)) ones++;
        id += (ones << rice) + qn_bits_get(r, rice) + (i ? apart : 0);
        if (r->bad || ones > limit || id >= limit) return false;
        ids[i] = (uint32_t)id;
    }
    return true;
}
