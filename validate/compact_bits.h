/* Bits behind each other, the lowest first, and ascending numbers among them: each is
 * the distance from the one before by Golomb and Rice's code, its upper part in ones
 * that a zero ends, its lower `rice` bits as they are (Rice, Some practical universal
 * noiseless coding techniques, JPL 79-22, 1979). */
#ifndef QN_VALIDATE_COMPACT_BITS_H
#define QN_VALIDATE_COMPACT_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *bytes; /* zeroed */
    size_t bit;
} qn_bit_writer;

typedef struct {
    const uint8_t *bytes;
    size_t bit, end; /* in bits */
    bool bad;        /* read past the end */
} qn_bit_reader;

/* value below 2^bits; bits up to 32. */
void qn_bits_put(qn_bit_writer *w, uint32_t value, unsigned bits);
uint32_t qn_bits_get(qn_bit_reader *r, unsigned bits);

/* Bits that a number up to `most` takes. */
unsigned qn_bits_of(uint32_t most);

/* ids ascending, each at least `apart` (0 or 1) above the one before. */
unsigned qn_bits_best_rice(const uint32_t *ids, size_t n, unsigned apart);
void qn_bits_put_ids(qn_bit_writer *w, const uint32_t *ids, size_t n, unsigned apart,
                     unsigned rice);

/* False: not n of them below `limit`. */
bool qn_bits_get_ids(qn_bit_reader *r, uint32_t *ids, size_t n, unsigned apart, unsigned rice,
                     uint64_t limit);

#endif
