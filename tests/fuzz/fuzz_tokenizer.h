/* What the targets of the vocabulary readers share. */
#ifndef QN_TESTS_FUZZ_FUZZ_TOKENIZER_H
#define QN_TESTS_FUZZ_FUZZ_TOKENIZER_H

#include "formats/base/alloc.h"
#include "formats/tokenizer/tokenizer.h"

/* Writes a vocabulary's keys and encodes and decodes the bytes it came from:
 * every id is one of its own. */
static inline void fuzz_vocabulary(const qn_vocab *v, const uint8_t *data, size_t size)
{
    qn_tokenizer *t = NULL;
    qn_error err = {0};
    qn_text back = {0};
    uint32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    qn_metadata *m = qn_metadata_new();
    if (m) (void)qn_vocab_write_metadata(v, m, &err);
    qn_metadata_free(m);
    if (!qn_tokenizer_new(&t, v, &err)) {
        const qn_encode_options options = {.add_special = true, .parse_special = size % 2};
        const qn_str text = qn_str_of((const char *)data, size);
        if (!qn_tokenizer_encode(t, text, options, &ids, &n, &capacity, &err) &&
            qn_tokenizer_decode(t, ids, n, size % 3 == 0, &back, &err))
            __builtin_trap();
    }
    qn_free(ids);
    qn_text_free(&back);
    qn_tokenizer_free(t);
}

#endif
