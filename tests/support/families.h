/* The golden checkpoints, one a row: what every test over families walks. */
#ifndef QN_TESTS_SUPPORT_FAMILIES_H
#define QN_TESTS_SUPPORT_FAMILIES_H

#include "tests/support/golden.h"

typedef struct {
    const char *title;        /* "Gemma 2" */
    const char *model;        /* folder under models/golden */
    const char *tokenizer;    /* folder under models/golden/tokenizers, whose cases belong to it */
    const char *family;       /* --family; NULL: recognized */
    const char *const *added; /* keys that its GGUF file has besides the converter's; NULL: none */
} qn_test_family;

extern const qn_test_family qn_test_families[];
extern const int qn_test_n_families;

/* models/golden/<model>, and its golden values.  False where it is not there. */
bool qn_test_family_open(const qn_test_family *f, qn_test_golden *g);

/* The outtypes that gguf-expected.json has. */
enum { QN_TEST_OUTTYPES = 4 };

/* Converts to one of them and compares the whole file, or fails the test.  False
 * where the checkpoint is not there. */
bool qn_test_family_check_gguf(const qn_test_family *f, size_t outtype);

#endif
