/* Tokenizers in tests: open, encode, compare with ids in JSON. */
#ifndef QN_TESTS_SUPPORT_VOCAB_H
#define QN_TESTS_SUPPORT_VOCAB_H

#include <jansson.h>
#include <stdint.h>

#include "formats/tokenizer/tokenizer.h"

typedef struct {
    qn_vocab *v;
    qn_tokenizer *t;
    uint32_t *ids;
    size_t n, capacity;
} qn_test_tokenizer;

/* From the data folder `name`; false where it is not there (and says so). */
bool qn_test_tokenizer_open(qn_test_tokenizer *r, const char *name, uint64_t vocab_size);

/* From a vocabulary, which becomes r's. */
void qn_test_tokenizer_take(qn_test_tokenizer *r, qn_vocab *v);
void qn_test_tokenizer_close(qn_test_tokenizer *r);

void qn_test_encode(qn_test_tokenizer *r, qn_str text, bool add_special, bool parse_special);

/* Fails the test where r's ids are not `expected`; what and text for words. */
void qn_test_same_ids(const qn_test_tokenizer *r, const json_t *expected, const char *what,
                      qn_str text);

qn_str qn_test_string(const json_t *s);
json_t *qn_test_json(const char *path); /* json_decref */

#endif
