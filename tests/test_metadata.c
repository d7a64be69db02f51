/* Metadata: order, replacement, removal, values as C's types. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/metadata.h"
#include "tests/support/run.h"

static void set(qn_metadata *m, const char *key, uint32_t v)
{
    ck_assert_int_eq(qn_metadata_set_u32(m, key, v, NULL), QN_OK);
}

static void check_order(const qn_metadata *m, const char *keys)
{
    ck_assert_uint_eq(qn_metadata_count(m), strlen(keys));
    for (size_t i = 0; i < strlen(keys); i++) {
        const qn_meta_value *v = qn_metadata_at(m, i);
        ck_assert(qn_str_equal(v->key, qn_str_of(keys + i, 1)));
        const char key[] = {keys[i], 0};
        ck_assert_ptr_eq(qn_metadata_find(m, key), v);
    }
    ck_assert_ptr_null(qn_metadata_at(m, strlen(keys)));
}

START_TEST(keys_keep_their_places)
{
    qn_metadata *m = qn_metadata_new();
    set(m, "a", 1);
    set(m, "b", 2);
    set(m, "c", 3);
    set(m, "b", 20);
    check_order(m, "abc");
    qn_metadata_remove(m, "a");
    qn_metadata_remove(m, "q");
    check_order(m, "bc");
    ck_assert_ptr_null(qn_metadata_find(m, "a"));
    set(m, "d", 4);
    set(m, "a", 5);
    check_order(m, "bcda");
    qn_metadata_remove(m, "c");
    qn_metadata_remove(m, "c");
    check_order(m, "bda");
    uint64_t v = 0;
    ck_assert_int_eq(qn_metadata_u64(m, "b", &v, NULL, NULL), QN_OK);
    ck_assert_uint_eq(v, 20);
    qn_metadata_free(m);
    qn_metadata_free(NULL);
}
END_TEST

START_TEST(many_keys_are_removed_and_set_again)
{
    enum { N = 500 };
    qn_metadata *m = qn_metadata_new();
    char key[16];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++) {
            snprintf(key, sizeof key, "key.%u", i);
            set(m, key, i + round);
        }
        for (unsigned i = round; i < N; i += 3) {
            snprintf(key, sizeof key, "key.%u", i);
            qn_metadata_remove(m, key);
        }
    }
    for (unsigned i = 0; i < N; i++) {
        uint64_t v = 0;
        bool found = false;
        snprintf(key, sizeof key, "key.%u", i);
        ck_assert_int_eq(qn_metadata_u64(m, key, &v, &found, NULL), QN_OK);
        ck_assert_int_eq(found, i % 3 != 2);
        if (found) ck_assert_uint_eq(v, i + 2);
    }
    qn_metadata_free(m);
}
END_TEST

START_TEST(a_copy_stands_alone)
{
    qn_metadata *m = qn_metadata_new();
    char key[] = "k", bytes[] = "\3\0\0\0\0\0\0\0abc";
    const qn_meta_value view = {.key = qn_str_z(key),
                                .type = QN_META_STRING,
                                .element = QN_META_STRING,
                                .count = 1,
                                .bytes = qn_str_of(bytes, 11)};
    qn_error err = {0};
    ck_assert_int_eq(qn_metadata_add_view(m, &view, NULL), QN_OK);
    qn_metadata_set_where(m, "f.gguf");
    ck_assert_int_eq(qn_metadata_add_view(m, &view, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "f.gguf: key \"k\" is there twice");
    qn_metadata *copy = qn_metadata_copy(m);
    qn_metadata_free(m);
    memset(key, 'x', sizeof key);
    memset(bytes, 'x', sizeof bytes);
    qn_str s;
    ck_assert_int_eq(qn_metadata_str(copy, "k", &s, NULL, NULL), QN_OK);
    ck_assert(qn_str_is(s, "abc"));
    qn_metadata_free(copy);
}
END_TEST

START_TEST(values_have_the_bytes_of_gguf)
{
    qn_metadata *m = qn_metadata_new();
    const float f32s[] = {1.0f, -2.0f};
    const int32_t i32s[] = {1, -1};
    const qn_str strs[] = {qn_str_z("ab"), qn_str_of("", 0)};
    ck_assert_int_eq(qn_metadata_set_u32(m, "a", 0x01020304, NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set_u64(m, "b", 5, NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set_f32(m, "c", 1.0f, NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set_bool(m, "d", true, NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set_f32s(m, "e", f32s, 2, NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set_i32s(m, "f", i32s, 2, NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set_strs(m, "g", strs, 2, NULL), QN_OK);
    static const struct {
        const char *bytes;
        size_t n;
    } want[] = {
        {"\4\3\2\1", 4},
        {"\5\0\0\0\0\0\0\0", 8},
        {"\0\0\x80\x3f", 4},
        {"\1", 1},
        {"\0\0\x80\x3f\0\0\0\xc0", 8},
        {"\1\0\0\0\xff\xff\xff\xff", 8},
        {"\2\0\0\0\0\0\0\0ab\0\0\0\0\0\0\0\0", 18},
    };
    check_order(m, "abcdefg");
    for (size_t i = 0; i < 7; i++)
        ck_assert(qn_str_equal(qn_metadata_at(m, i)->bytes, qn_str_of(want[i].bytes, want[i].n)));
    ck_assert_uint_eq(qn_metadata_at(m, 6)->count, 2);
    double v;
    ck_assert_int_eq(qn_meta_number(qn_metadata_at(m, 4), 1, &v, NULL), QN_OK);
    ck_assert_double_eq(v, -2.0);
    ck_assert_int_eq(qn_meta_number(qn_metadata_at(m, 4), 2, &v, NULL), QN_ERR_DATA);
    ck_assert_int_eq(qn_meta_number(qn_metadata_at(m, 6), 0, &v, NULL), QN_ERR_DATA);
    qn_metadata_free(m);
}
END_TEST

START_TEST(values_of_another_kind_are_refused_by_key_and_type)
{
    qn_metadata *m = qn_metadata_new();
    qn_error err = {0};
    const int32_t minus[] = {-5};
    const float one[] = {1.0f};
    uint64_t u = 7;
    double d = 7;
    bool b = false, found = true;
    qn_str s;
    ck_assert_int_eq(qn_metadata_set_str(m, "s", qn_str_z("x"), NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set_bool(m, "b", true, NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set_f32s(m, "f", one, 1, NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set(m, "i", QN_META_I32, QN_META_I32, 1,
                                     qn_str_of((const char *)minus, 4), NULL),
                     QN_OK);
    ck_assert_int_eq(qn_metadata_u64(m, "s", &u, NULL, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "metadata: key \"s\" is of type str, not an integer");
    ck_assert_int_eq(qn_metadata_u64(m, "i", &u, NULL, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "metadata: key \"i\" is -5, negative");
    ck_assert_int_eq(qn_metadata_u64(m, "b", &u, NULL, &err), QN_ERR_DATA);
    ck_assert_int_eq(qn_metadata_f64(m, "f", &d, NULL, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "metadata: key \"f\" is of type f32 array, not a number");
    ck_assert_int_eq(qn_metadata_f64(m, "b", &d, NULL, &err), QN_ERR_DATA);
    ck_assert_int_eq(qn_metadata_bool(m, "i", &b, NULL, &err), QN_ERR_DATA);
    ck_assert_int_eq(qn_metadata_str(m, "b", &s, NULL, &err), QN_ERR_DATA);
    ck_assert_int_eq(qn_metadata_f64(m, "q", &d, NULL, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "metadata: key \"q\" is missing");
    ck_assert_int_eq(qn_metadata_f64(m, "q", &d, &found, &err), QN_OK);
    ck_assert(!found && u == 7 && d == 7);
    ck_assert_int_eq(qn_metadata_f64(m, "i", &d, &found, &err), QN_OK);
    ck_assert(found && d == -5);
    qn_metadata_free(m);
}
END_TEST

START_TEST(an_allocation_that_fails_changes_nothing)
{
    qn_metadata *m = qn_metadata_new();
    set(m, "a", 1);
    qn_status status = QN_ERR_MEMORY;
    for (unsigned long n = 1; status; n++) {
        static const char key[] = "b";
        static char large[100000];
        qn_alloc_fail_at(n);
        status = qn_metadata_set_str(m, key, qn_str_of(large, sizeof large), NULL);
        qn_alloc_fail_at(0);
        if (status) check_order(m, "a");
    }
    check_order(m, "ab");
    status = QN_ERR_MEMORY;
    for (unsigned long n = 1; status; n++) {
        qn_alloc_fail_at(n);
        qn_metadata *copy = qn_metadata_copy(m);
        qn_alloc_fail_at(0);
        if (copy) status = QN_OK;
        qn_metadata_free(copy);
    }
    qn_metadata_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metadata");
    TCase *t = qn_test_group(s, "metadata");
    tcase_add_test(t, keys_keep_their_places);
    tcase_add_test(t, many_keys_are_removed_and_set_again);
    tcase_add_test(t, a_copy_stands_alone);
    tcase_add_test(t, values_have_the_bytes_of_gguf);
    tcase_add_test(t, values_of_another_kind_are_refused_by_key_and_type);
    tcase_add_test(t, an_allocation_that_fails_changes_nothing);
    return qn_test_run_suite(s);
}
