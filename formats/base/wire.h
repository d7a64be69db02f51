/* Protocol buffers' wire format, read-only and bounds-checked: as much as a
 * SentencePiece tokenizer.model needs
 * (https://protobuf.dev/programming-guides/encoding/). */
#ifndef QN_FORMATS_BASE_WIRE_H
#define QN_FORMATS_BASE_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/base/text.h"

typedef struct {
    const uint8_t *p, *end;
    bool bad; /* a field ran past the end or had an unknown kind */
} qn_wire;

typedef enum { QN_WIRE_VARINT = 0, QN_WIRE_64 = 1, QN_WIRE_BYTES = 2, QN_WIRE_32 = 5 } qn_wire_kind;

typedef struct {
    uint32_t number;
    qn_wire_kind kind;
    uint64_t value; /* varint, or the bits of a fixed field */
    qn_str bytes;   /* of QN_WIRE_BYTES */
} qn_wire_field;

qn_wire qn_wire_of(qn_str bytes);

/* The next field; false at the end or when the bytes are bad (then w->bad). */
bool qn_wire_next(qn_wire *w, qn_wire_field *out);

#endif
