/* A reader over bytes in memory, and what tests expect of it. */
#ifndef QN_TESTS_SUPPORT_READING_H
#define QN_TESTS_SUPPORT_READING_H

#include "formats/reader.h"

/* Opens the bytes under that name, which must succeed; t outlives the reader. */
qn_reader *qn_test_opened(const qn_text *t, const char *name);

/* They are refused with this status, in words that begin with the name and
 * contain `words`.  Frees t. */
void qn_test_refused(qn_text t, const char *name, qn_status status, const char *words);

/* Every shorter piece of them (one byte and more) is refused as bad data. */
void qn_test_truncations_refused(const qn_text *t, const char *name);

/* Opened again and again, the n-th allocation failing, until none does: each
 * time the failure is reported and nothing given out.  At least `least`
 * allocations must have been tried. */
void qn_test_allocations_fail(const qn_text *t, const char *name, unsigned long least);

#endif
