#include "tests/support/files.h"

#include <check.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFERS = 8, PATH_BYTES = 1024 };

static char directory[PATH_BYTES];
static pid_t owner;

static char *next_buffer(void)
{
    static char buffers[BUFFERS][PATH_BYTES];
    static unsigned next;
    return buffers[next++ % BUFFERS];
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_directory(void)
{
    if (*directory && owner == getpid()) nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *qn_test_directory(void)
{
    if (*directory && owner == getpid()) return directory;
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/quern-test-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    owner = getpid();
    atexit(remove_directory);
    return directory;
}

const char *qn_test_path(const char *name)
{
    char *path = next_buffer();
    const int n = snprintf(path, PATH_BYTES, "%s/%s", qn_test_directory(), name);
    ck_assert_int_lt(n, PATH_BYTES);
    return path;
}

const char *qn_test_file(const char *name, const void *bytes, size_t n)
{
    const char *path = qn_test_path(name);
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f != NULL, "cannot make %s", path);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
    return path;
}

void qn_test_subdirectory(const char *name)
{
    nftw(qn_test_path(name), remove_one, 8, FTW_DEPTH | FTW_PHYS);
    ck_assert_int_eq(mkdir(qn_test_path(name), 0777), 0);
}

size_t qn_test_count(const char *name)
{
    size_t count = 0;
    DIR *d = opendir(qn_test_path(name));
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));)
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return count;
}
