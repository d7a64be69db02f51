#include "tests/support/reading.h"

#include <check.h>
#include <string.h>

qn_reader *qn_test_opened(const qn_text *t, const char *name)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    ck_assert(!t->failed);
    ck_assert_msg(qn_reader_open_memory(&r, t->s, t->n, name, &err) == QN_OK, "%s", err.message);
    return r;
}

void qn_test_refused(qn_text t, const char *name, qn_status status, const char *words)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    ck_assert(!t.failed);
    const qn_status got = qn_reader_open_memory(&r, t.s, t.n, name, &err);
    ck_assert_msg(got == status, "status %d: %s", got, err.message);
    ck_assert_msg(strstr(err.message, words), "'%s' lacks '%s'", err.message, words);
    ck_assert_msg(!strncmp(err.message, name, strlen(name)), "no file in '%s'", err.message);
    ck_assert_ptr_null(r);
    qn_text_free(&t);
}

void qn_test_truncations_refused(const qn_text *t, const char *name)
{
    for (size_t n = 1; n < t->n; n++) {
        qn_reader *r = NULL;
        qn_error err = {0};
        ck_assert_msg(qn_reader_open_memory(&r, t->s, n, name, &err) == QN_ERR_DATA,
                      "%zu bytes of %zu: %s", n, t->n, err.message);
        ck_assert_msg(!strncmp(err.message, name, strlen(name)), "no file in '%s'", err.message);
    }
}

void qn_test_allocations_fail(const qn_text *t, const char *name, unsigned long least)
{
    qn_status status = QN_ERR_MEMORY;
    unsigned long n = 0;
    while (status) {
        qn_reader *r = NULL;
        qn_alloc_fail_at(++n);
        status = qn_reader_open_memory(&r, t->s, t->n, name, NULL);
        qn_alloc_fail_at(0);
        ck_assert(status == QN_OK || (status == QN_ERR_MEMORY && !r));
        qn_reader_close(r);
    }
    ck_assert_uint_gt(n, least);
}
