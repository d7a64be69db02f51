#include "formats/packed/packing.h"

#include <string.h>

static uint32_t get_word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_word(uint8_t *p, uint32_t word)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(word >> 8 * i);
}

void qn_pack(const uint8_t *values, size_t n, unsigned bits, void *words, size_t stride)
{
    uint8_t *out = words;
    uint64_t pending = 0; /* its low `held` bits are not written yet */
    unsigned held = 0;
    for (size_t i = 0; i < n; i++) {
        pending |= (uint64_t)values[i] << held;
        held += bits;
        if (held < 32) continue;
        put_word(out, (uint32_t)pending);
        out += 4 * stride;
        pending >>= 32;
        held -= 32;
    }
    if (held) put_word(out, (uint32_t)pending);
}

/* Four and eight bits, which nearly all checkpoints have, a word at a time. */
static void unpack_fours(const uint8_t *in, size_t stride, size_t n, uint8_t *values)
{
    for (; n >= 8; n -= 8, in += 4 * stride, values += 8) {
        uint64_t spread = get_word(in); /* each nibble to a byte of its own */
        spread = (spread | spread << 16) & 0x0000ffff0000ffff;
        spread = (spread | spread << 8) & 0x00ff00ff00ff00ff;
        spread = (spread | spread << 4) & 0x0f0f0f0f0f0f0f0f;
        memcpy(values, &spread, sizeof spread);
    }
    for (size_t j = 0; j < n; j++) values[j] = in[j / 2] >> j % 2 * 4 & 15;
}

static void unpack_eights(const uint8_t *in, size_t stride, size_t n, uint8_t *values)
{
    for (; n >= 4; n -= 4, in += 4 * stride, values += 4) memcpy(values, in, 4);
    memcpy(values, in, n);
}

void qn_unpack(const void *words, size_t stride, size_t n, unsigned bits, uint8_t *values)
{
    const uint8_t *in = words;
    const uint32_t mask = (1U << bits) - 1;
    uint64_t pending = 0;
    unsigned held = 0;
    if (bits == 4) {
        unpack_fours(in, stride, n, values);
        return;
    }
    if (bits == 8) {
        unpack_eights(in, stride, n, values);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (held < bits) {
            pending |= (uint64_t)get_word(in) << held;
            in += 4 * stride;
            held += 32;
        }
        values[i] = (uint8_t)(pending & mask);
        pending >>= bits;
        held -= bits;
    }
}

/* Which of eight columns the four bits k of a word belong to, and back. */
static const uint8_t awq_column[8] = {0, 2, 4, 6, 1, 3, 5, 7};
static const uint8_t awq_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};

void qn_pack_awq(const uint8_t *values, size_t n, void *words)
{
    uint8_t *out = words;
    for (; n >= 8; n -= 8, values += 8, out += 4) {
        uint32_t word = 0;
        for (unsigned k = 0; k < 8; k++) word |= (uint32_t)values[awq_column[k]] << 4 * k;
        put_word(out, word);
    }
}

unsigned qn_awq_shift(uint64_t column)
{
    return 4U * awq_place[column % 8];
}
