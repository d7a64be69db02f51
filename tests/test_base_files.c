/* formats/base: files read, mapped and written. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/digest.h"
#include "formats/base/map.h"
#include "formats/base/outfile.h"
#include "formats/base/temporary.h"
#include "formats/base/text.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

static void check_content(const char *path, const char *want)
{
    char *text = NULL;
    size_t n = 0;
    ck_assert_int_eq(qn_read_file(path, 1000, &text, &n, NULL), QN_OK);
    ck_assert_uint_eq(n, strlen(want));
    ck_assert_str_eq(text, want);
    qn_free(text);
}

/* ---- reading ------------------------------------------------------------------------ */

START_TEST(a_file_above_the_limit_is_not_read)
{
    char *text = NULL;
    size_t n = 0;
    qn_error err = {0};
    const char *path = qn_test_file("five", "12345", 5);
    ck_assert_int_eq(qn_read_file(path, 5, &text, &n, &err), QN_OK);
    ck_assert_uint_eq(n, 5);
    ck_assert_str_eq(text, "12345");
    qn_free(text);
    text = NULL;
    ck_assert_int_eq(qn_read_file(path, 4, &text, &n, &err), QN_ERR_UNSUPPORTED);
    ck_assert_ptr_null(text);
    ck_assert_ptr_nonnull(strstr(err.message, "5 bytes, at most 4"));
}
END_TEST

START_TEST(what_is_no_regular_file_is_refused_at_once)
{
    qn_map m = {0};
    qn_error err = {0};
    char *text;
    size_t n;
    const char *fifo = qn_test_path("fifo");
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    ck_assert_int_eq(qn_map_open(&m, fifo, &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "is a pipe, not a regular file"));
    char hex[65];
    ck_assert_int_eq(qn_read_file(fifo, 100, &text, &n, &err), QN_ERR_ARGUMENT);
    ck_assert_int_eq(qn_sha256_file(fifo, hex, &err), QN_ERR_ARGUMENT);
    ck_assert_int_eq(qn_map_open(&m, qn_test_directory(), &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "is a directory"));
    ck_assert_int_eq(qn_map_open(&m, qn_test_path("absent"), &err), QN_ERR_SYSTEM);
    ck_assert_ptr_nonnull(strstr(err.message, "absent: cannot open: No such file"));
    ck_assert_ptr_null(m.path);
    qn_map_close(&m);
}
END_TEST

START_TEST(a_mapping_shows_the_bytes_even_after_they_were_dropped)
{
    enum { N = 100000 };
    static char bytes[N];
    for (int i = 0; i < N; i++) bytes[i] = (char)(i % 251);
    qn_map m = {0};
    ck_assert_int_eq(qn_map_open(&m, qn_test_file("mapped", bytes, N), NULL), QN_OK);
    ck_assert_uint_eq(m.size, N);
    qn_map_done(&m, 0, 50000);
    qn_map_done(&m, 4097, UINT64_MAX);
    qn_map_done(&m, UINT64_MAX, 1);
    ck_assert_int_eq(memcmp(m.data, bytes, N), 0);
    qn_map_close(&m);
    ck_assert_int_eq(qn_map_open(&m, qn_test_file("empty", "", 0), NULL), QN_OK);
    ck_assert_ptr_null(m.data);
    ck_assert_uint_eq(m.size, 0);
    qn_map_close(&m);
}
END_TEST

START_TEST(advice_never_touches_memory_that_is_no_mapping)
{
    _Alignas(4096) static uint8_t bytes[8192] = {1, 2, 3};
    const qn_map m = {.data = bytes, .size = sizeof bytes};
    qn_map_done(&m, 0, sizeof bytes);
    ck_assert_uint_eq(bytes[0] + bytes[1] + bytes[2], 6);
}
END_TEST

/* ---- writing ------------------------------------------------------------------------ */

START_TEST(a_file_appears_whole_at_commit_and_not_before)
{
    qn_outfile *f = NULL;
    qn_test_subdirectory("whole");
    const char *path = qn_test_path("whole/out");
    ck_assert_int_eq(qn_outfile_create(&f, path, false, NULL), QN_OK);
    ck_assert_int_eq(qn_outfile_reserve(f, 8, NULL), QN_OK);
    ck_assert_int_eq(qn_outfile_write(f, 4, "5678", 4, NULL), QN_OK);
    ck_assert_int_eq(qn_outfile_write(f, 0, "1234", 4, NULL), QN_OK);
    qn_outfile_flush(f, 0, 8);
    ck_assert(!qn_path_exists(path));
    ck_assert_int_eq(qn_outfile_commit(f, NULL), QN_OK);
    check_content(path, "12345678");
    ck_assert_uint_eq(qn_test_count("whole"), 1);
}
END_TEST

START_TEST(the_mode_is_what_the_umask_leaves)
{
    static const mode_t masks[] = {0022, 0077, 0002};
    for (size_t i = 0; i < 3; i++) {
        qn_outfile *f = NULL;
        struct stat st;
        const mode_t before = umask(masks[i]);
        ck_assert_int_eq(qn_outfile_create(&f, qn_test_path("mode"), true, NULL), QN_OK);
        ck_assert_int_eq(qn_outfile_commit(f, NULL), QN_OK);
        umask(before);
        ck_assert_int_eq(stat(qn_test_path("mode"), &st), 0);
        ck_assert_uint_eq(st.st_mode & 0777, 0666 & ~masks[i]);
    }
}
END_TEST

START_TEST(an_existing_file_is_kept_unless_forced)
{
    qn_outfile *f = NULL;
    qn_error err = {0};
    const char *path = qn_test_file("kept", "old", 3);
    ck_assert_int_eq(qn_outfile_create(&f, path, false, &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "exists (--force replaces it)"));
    ck_assert_ptr_null(f);
    ck_assert_int_eq(qn_outfile_create(&f, path, true, NULL), QN_OK);
    ck_assert_int_eq(qn_outfile_write(f, 0, "new!", 4, NULL), QN_OK);
    check_content(path, "old");
    ck_assert_int_eq(qn_outfile_commit(f, NULL), QN_OK);
    check_content(path, "new!");
}
END_TEST

START_TEST(a_file_that_appeared_meanwhile_is_not_overwritten)
{
    qn_outfile *f = NULL;
    qn_error err = {0};
    qn_test_subdirectory("race");
    ck_assert_int_eq(qn_outfile_create(&f, qn_test_path("race/out"), false, NULL), QN_OK);
    qn_test_file("race/out", "theirs", 6);
    ck_assert_int_eq(qn_outfile_commit(f, &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "appeared while it was being written"));
    check_content(qn_test_path("race/out"), "theirs");
    ck_assert_uint_eq(qn_test_count("race"), 1);
}
END_TEST

/* The second one's name is taken while they are written. */
START_TEST(of_several_files_all_appear_or_none)
{
    qn_outfile *f[3];
    static const char *const names[] = {"all/a", "all/b", "all/c"};
    qn_error err;
    qn_test_subdirectory("all");
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(qn_outfile_create(&f[i], qn_test_path(names[i]), false, NULL), QN_OK);
    qn_test_file("all/b", "mine", 4);
    ck_assert_int_eq(qn_outfile_commit_all(f, 3, &err), QN_ERR_ARGUMENT);
    ck_assert_uint_eq(qn_test_count("all"), 1);
    remove(qn_test_path("all/b"));
    for (unsigned long at = 1; at <= 7; at++) {
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(qn_outfile_create(&f[i], qn_test_path(names[i]), false, NULL), QN_OK);
        qn_outfile_fail_at(at);
        const qn_status status = qn_outfile_commit_all(f, 3, &err);
        qn_outfile_fail_at(0);
        ck_assert_int_eq(status, at < 7 ? QN_ERR_SYSTEM : QN_OK);
        ck_assert_uint_eq(qn_test_count("all"), at < 7 ? 0 : 3);
    }
}
END_TEST

/* The first replaces a file, the second is new, the third fails at one of its steps
 * or finds a directory in its place. */
START_TEST(what_was_replaced_comes_back_when_another_file_fails)
{
    qn_outfile *f[3];
    static const char *const names[] = {"back/a", "back/b", "back/c"};
    qn_error err = {0};
    qn_test_subdirectory("back");
    const char *old = qn_test_file("back/a", "old", 3);
    for (unsigned long at = 0; at <= 7; at++) {
        for (int i = 0; i < 3; i++) {
            ck_assert_int_eq(qn_outfile_create(&f[i], qn_test_path(names[i]), true, NULL), QN_OK);
            ck_assert_int_eq(qn_outfile_write(f[i], 0, "new!", 4, NULL), QN_OK);
        }
        if (!at) qn_test_subdirectory("back/c");
        qn_outfile_fail_at(at);
        const qn_status status = qn_outfile_commit_all(f, 3, &err);
        qn_outfile_fail_at(0);
        ck_assert_int_eq(status, !at ? QN_ERR_ARGUMENT : at < 7 ? QN_ERR_SYSTEM : QN_OK);
        check_content(old, at < 7 ? "old" : "new!");
        ck_assert_uint_eq(qn_test_count("back"), !at ? 2 : at < 7 ? 1 : 3);
        if (!at) ck_assert_ptr_nonnull(strstr(err.message, "c: is a directory"));
        if (!at) ck_assert_int_eq(rmdir(qn_test_path("back/c")), 0);
    }
}
END_TEST

START_TEST(what_cannot_be_a_file_is_refused)
{
    qn_outfile *f = NULL;
    qn_error err = {0};
    ck_assert_int_eq(qn_outfile_create(&f, qn_test_directory(), true, &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "is a directory"));
    ck_assert_int_eq(qn_outfile_create(&f, "", true, &err), QN_ERR_ARGUMENT);
    ck_assert_int_eq(qn_outfile_create(&f, "/dev/null", true, &err), QN_ERR_ARGUMENT);
    ck_assert_int_eq(qn_outfile_create(&f, qn_test_path("no/such/out"), true, &err), QN_ERR_SYSTEM);
    ck_assert_ptr_nonnull(strstr(err.message, "No such file or directory"));
    ck_assert_ptr_null(f);
}
END_TEST

START_TEST(a_name_of_255_bytes_can_be_written)
{
    char name[256] = {0};
    memset(name, 'n', 255);
    qn_outfile *f = NULL;
    ck_assert_int_eq(qn_outfile_create(&f, qn_test_path(name), false, NULL), QN_OK);
    ck_assert_int_eq(qn_outfile_commit(f, NULL), QN_OK);
    ck_assert(qn_path_exists(qn_test_path(name)));
}
END_TEST

START_TEST(a_disk_too_small_is_told_before_writing)
{
    qn_outfile *f = NULL;
    qn_error err = {0};
    qn_test_subdirectory("small");
    ck_assert_int_eq(qn_outfile_create(&f, qn_test_path("small/out"), false, NULL), QN_OK);
    ck_assert_int_eq(qn_outfile_reserve(f, 1ull << 60, &err), QN_ERR_SYSTEM);
    ck_assert_ptr_nonnull(strstr(err.message, "cannot reserve 1152921504606846976 bytes"));
    ck_assert_int_eq(qn_outfile_reserve(f, UINT64_MAX, &err), QN_ERR_UNSUPPORTED);
    qn_outfile_abandon(f);
    ck_assert_uint_eq(qn_test_count("small"), 0);
}
END_TEST

START_TEST(a_failing_step_leaves_nothing_behind)
{
    qn_test_subdirectory("failing");
    for (unsigned long n = 1; n <= 6; n++) {
        qn_outfile *f = NULL;
        qn_error err = {0};
        qn_outfile_fail_at(n);
        ck_assert_int_eq(qn_outfile_create(&f, qn_test_path("failing/out"), false, &err), QN_OK);
        qn_status status = qn_outfile_reserve(f, 4, &err);
        if (!status) status = qn_outfile_write(f, 0, "12", 2, &err);
        if (!status) status = qn_outfile_write(f, 2, "34", 2, &err);
        if (!status) {
            status = qn_outfile_commit(f, &err);
            f = NULL;
        }
        qn_outfile_abandon(f);
        qn_outfile_fail_at(0);
        ck_assert_int_eq(status, n <= 5 ? QN_ERR_SYSTEM : QN_OK);
        if (n <= 5) ck_assert_ptr_nonnull(strstr(err.message, "No space left on device"));
        ck_assert_uint_eq(qn_test_count("failing"), n <= 5 ? 0 : 1);
    }
}
END_TEST

START_TEST(a_failing_allocation_leaves_nothing_behind)
{
    qn_test_subdirectory("memory");
    qn_status status = QN_ERR_MEMORY;
    unsigned long n = 0;
    while (status) {
        qn_outfile *f = NULL;
        qn_alloc_fail_at(++n);
        status = qn_outfile_create(&f, qn_test_path("memory/out"), false, NULL);
        qn_alloc_fail_at(0);
        ck_assert(status == QN_OK || (status == QN_ERR_MEMORY && !f));
        qn_outfile_abandon(f);
        ck_assert_uint_eq(qn_test_count("memory"), 0);
    }
    ck_assert_uint_gt(n, 4);
}
END_TEST

START_TEST(abandoning_everything_removes_every_temporary_file)
{
    qn_test_subdirectory("many");
    qn_outfile *f[3];
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "many/%d", i);
        ck_assert_int_eq(qn_outfile_create(&f[i], qn_test_path(name), false, NULL), QN_OK);
    }
    ck_assert_uint_eq(qn_test_count("many"), 3);
    qn_temporary_remove_all();
    ck_assert_uint_eq(qn_test_count("many"), 0);
    ck_assert_int_eq(qn_outfile_commit(f[0], NULL), QN_ERR_SYSTEM);
    qn_outfile_abandon(f[1]);
    qn_outfile_abandon(f[2]);
    ck_assert_uint_eq(qn_test_count("many"), 0);
}
END_TEST

START_TEST(files_that_rest_need_no_descriptor)
{
    enum { N = 100 };
    static qn_outfile *f[N];
    const struct rlimit few = {16, 16};
    char name[32];
    qn_test_subdirectory("crowd");
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "crowd/%d", i);
        ck_assert_int_eq(qn_outfile_create(&f[i], qn_test_path(name), false, NULL), QN_OK);
        ck_assert_int_eq(qn_outfile_reserve(f[i], 8, NULL), QN_OK);
        ck_assert_int_eq(qn_outfile_write(f[i], 0, "1234", 4, NULL), QN_OK);
        qn_outfile_rest(f[i]);
    }
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(qn_outfile_write(f[i], 4, "5678", 4, NULL), QN_OK);
        qn_outfile_rest(f[i]);
        qn_outfile_flush(f[i], 0, 8);
    }
    ck_assert_int_eq(qn_outfile_commit_all(f, N, NULL), QN_OK);
    check_content(qn_test_path("crowd/0"), "12345678");
    check_content(qn_test_path("crowd/99"), "12345678");
    ck_assert_uint_eq(qn_test_count("crowd"), N);
}
END_TEST

START_TEST(every_temporary_file_of_a_crowd_is_removed)
{
    enum { N = 1100 };
    static qn_outfile *f[N];
    char name[32];
    qn_test_subdirectory("crowd-gone");
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "crowd-gone/%d", i);
        ck_assert_int_eq(qn_outfile_create(&f[i], qn_test_path(name), false, NULL), QN_OK);
        qn_outfile_rest(f[i]);
    }
    ck_assert_uint_eq(qn_test_count("crowd-gone"), N);
    qn_temporary_remove_all();
    ck_assert_uint_eq(qn_test_count("crowd-gone"), 0);
    for (int i = 0; i < N; i++) qn_outfile_abandon(f[i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base_files");
    TCase *t = qn_test_group(s, "reading");
    tcase_add_test(t, a_file_above_the_limit_is_not_read);
    tcase_add_test(t, what_is_no_regular_file_is_refused_at_once);
    tcase_add_test(t, a_mapping_shows_the_bytes_even_after_they_were_dropped);
    tcase_add_test(t, advice_never_touches_memory_that_is_no_mapping);
    t = qn_test_group(s, "writing");
    tcase_add_test(t, a_file_appears_whole_at_commit_and_not_before);
    tcase_add_test(t, the_mode_is_what_the_umask_leaves);
    tcase_add_test(t, an_existing_file_is_kept_unless_forced);
    tcase_add_test(t, a_file_that_appeared_meanwhile_is_not_overwritten);
    tcase_add_test(t, of_several_files_all_appear_or_none);
    tcase_add_test(t, what_was_replaced_comes_back_when_another_file_fails);
    tcase_add_test(t, what_cannot_be_a_file_is_refused);
    tcase_add_test(t, a_name_of_255_bytes_can_be_written);
    tcase_add_test(t, a_disk_too_small_is_told_before_writing);
    tcase_add_test(t, a_failing_step_leaves_nothing_behind);
    tcase_add_test(t, a_failing_allocation_leaves_nothing_behind);
    tcase_add_test(t, abandoning_everything_removes_every_temporary_file);
    tcase_add_test(t, files_that_rest_need_no_descriptor);
    tcase_add_test(t, every_temporary_file_of_a_crowd_is_removed);
    return qn_test_run_suite(s);
}
