/* The frame of a test program: its groups, and running them. */
#ifndef QN_TESTS_SUPPORT_RUN_H
#define QN_TESTS_SUPPORT_RUN_H

#include <check.h>

/* A new group in s, with a minute for each of its tests. */
TCase *qn_test_group(Suite *s, const char *name);

/* Runs s and frees it; main's result. */
int qn_test_run_suite(Suite *s);

#endif
