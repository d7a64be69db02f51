/* What the targets of the readers share. */
#ifndef QN_TESTS_FUZZ_FUZZ_READER_H
#define QN_TESTS_FUZZ_FUZZ_READER_H

#include "formats/reader.h"

/* Opens the bytes as a file of that name; if they pass, reads all that the
 * reader vouches for: every tensor's bytes, every metadata value.  The result
 * is there to be stored, so that no reading is left out. */
static inline unsigned char fuzz_reader(const uint8_t *data, size_t size, const char *name)
{
    qn_reader *r;
    qn_error err;
    unsigned char sum = 0;
    if (qn_reader_open_memory(&r, data, size, name, &err)) return 0;
    for (size_t i = 0; i < r->n_tensors; i++) {
        const qn_tensor *t = &r->tensors[i];
        for (uint64_t j = 0; j < t->bytes; j++) sum ^= ((const uint8_t *)t->data)[j];
        if (qn_reader_find(r, t->name) != t) __builtin_trap();
    }
    for (size_t i = 0; i < qn_metadata_count(r->metadata); i++) {
        const qn_meta_value *v = qn_metadata_at(r->metadata, i);
        qn_str cursor = v->bytes, s;
        double number = 0;
        if (v->element != QN_META_STRING)
            for (uint64_t j = 0; j < v->count; j++) qn_meta_number(v, j, &number, NULL);
        else
            while (qn_meta_next_string(&cursor, &s))
                for (size_t j = 0; j < s.n; j++) sum ^= (unsigned char)s.s[j];
    }
    qn_reader_close(r);
    return sum;
}

#endif
