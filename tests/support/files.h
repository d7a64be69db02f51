/* Files for tests: a directory of their own and small files in it. */
#ifndef QN_TESTS_SUPPORT_FILES_H
#define QN_TESTS_SUPPORT_FILES_H

#include <stddef.h>
#include <stdint.h>

/* A fresh empty directory, made once per process and removed with all its
 * files when the process ends.  Static storage. */
const char *qn_test_directory(void);

/* "DIRECTORY/name": one of eight static buffers in turn. */
const char *qn_test_path(const char *name);

/* Makes (or replaces) that file; the result is its path as above. */
const char *qn_test_file(const char *name, const void *bytes, size_t n);

/* Makes that directory in it, empty even if it was there; names of files may then begin with "name/". */
void qn_test_subdirectory(const char *name);

/* Names in such a directory, "." and ".." not counted. */
size_t qn_test_count(const char *name);

#endif
