#include "formats/base/wire.h"

qn_wire qn_wire_of(qn_str bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.s;
    return (qn_wire){.p = p, .end = bytes.n ? p + bytes.n : p};
}

/* Seven bits a byte, lowest first; ten bytes at most, of the last one bit. */
static bool read_varint(qn_wire *w, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && w->p < w->end; shift += 7) {
        const uint8_t byte = *w->p++;
        if (shift == 63 && byte > 1) return false;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool read_fixed(qn_wire *w, unsigned bytes, uint64_t *out)
{
    if ((uint64_t)(w->end - w->p) < bytes) return false;
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) value |= (uint64_t)w->p[i] << (8 * i);
    w->p += bytes;
    *out = value;
    return true;
}

static bool read_field(qn_wire *w, qn_wire_field *f)
{
    uint64_t key;
    if (!read_varint(w, &key) || key >> 3 == 0 || key >> 3 > 0x1FFFFFFF) return false;
    f->number = (uint32_t)(key >> 3);
    switch (key & 7) {
    case QN_WIRE_VARINT: f->kind = QN_WIRE_VARINT; return read_varint(w, &f->value);
    case QN_WIRE_64: f->kind = QN_WIRE_64; return read_fixed(w, 8, &f->value);
    case QN_WIRE_32: f->kind = QN_WIRE_32; return read_fixed(w, 4, &f->value);
    case QN_WIRE_BYTES: {
        uint64_t n;
        f->kind = QN_WIRE_BYTES;
        if (!read_varint(w, &n) || n > (uint64_t)(w->end - w->p)) return false;
        f->bytes = qn_str_of((const char *)w->p, (size_t)n);
        w->p += n;
        return true;
    }
    default: return false; /* groups, which nothing has written for many years */
    }
}

bool qn_wire_next(qn_wire *w, qn_wire_field *out)
{
    if (w->bad || w->p == w->end) return false;
    qn_wire_field field = {0};
    if (!read_field(w, &field)) {
        w->bad = true;
        return false;
    }
    *out = field;
    return true;
}
