/* Checkpoint directories: shards and their index, and what stands there instead. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/shards.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

/* A shard with one-byte tensors of these names. */
static void shard(const char *file, const char *const *names, unsigned n)
{
    qn_text t = {0};
    qn_text_add(&t, "\0\0\0\0\0\0\0", 8);
    for (unsigned i = 0; i < n; i++)
        qn_text_addf(&t, "%c\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%u,%u]}",
                     i ? ',' : '{', names[i], i, i + 1);
    qn_text_adds(&t, "}");
    const size_t length = t.n - 8;
    for (unsigned i = 0; i < 8; i++) t.s[i] = (char)(length >> (8 * i));
    qn_text_add(&t, "abcdefgh", n);
    ck_assert(!t.failed);
    qn_test_file(file, t.s, t.n);
    qn_text_free(&t);
}

/* The directory "c" with two shards ("x", "y" and "z") and this index. */
static const char *checkpoint(const char *index)
{
    qn_test_subdirectory("c");
    shard("c/m-1.safetensors", (const char *const[]){"x", "y"}, 2);
    shard("c/m-2.safetensors", (const char *const[]){"z"}, 1);
    qn_test_file("c/model.safetensors.index.json", index, strlen(index));
    return qn_test_path("c");
}

static void refused(const char *path, qn_status status, const char *words)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    const qn_status got = qn_reader_open(&r, path, &err);
    ck_assert_msg(got == status, "status %d: %s", got, err.message);
    ck_assert_msg(strstr(err.message, words), "'%s' lacks '%s'", err.message, words);
    ck_assert_ptr_null(r);
}

static const char good_index[] =
    "{\"metadata\":{\"total_size\":3},\"weight_map\":{\"z\":\"m-2.safetensors\","
    "\"x\":\"m-1.safetensors\",\"y\":\"m-1.safetensors\"}}";

START_TEST(all_shards_make_one_reader_in_order_of_their_names)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    ck_assert_msg(qn_reader_open(&r, checkpoint(good_index), &err) == QN_OK, "%s", err.message);
    ck_assert_uint_eq(r->n_files, 2);
    ck_assert_uint_eq(r->n_tensors, 3);
    static const char *const names[] = {"x", "y", "z"};
    static const char bytes[] = "aba";
    for (size_t i = 0; i < 3; i++) {
        ck_assert_str_eq(r->tensors[i].name, names[i]);
        ck_assert_uint_eq(r->tensors[i].file, i / 2);
        ck_assert_int_eq(*(const char *)r->tensors[i].data, bytes[i]);
    }
    qn_reader_close(r);
}
END_TEST

START_TEST(a_whole_model_is_preferred_to_an_index)
{
    qn_reader *r = NULL;
    const char *path = checkpoint("{\"weight_map\":{\"q\":\"gone.safetensors\"}}");
    shard("c/model.safetensors", (const char *const[]){"only"}, 1);
    ck_assert_int_eq(qn_reader_open(&r, path, NULL), QN_OK);
    ck_assert_str_eq(r->tensors[0].name, "only");
    qn_reader_close(r);
}
END_TEST

START_TEST(a_shard_that_is_not_there_is_named_with_its_first_tensor)
{
    refused(checkpoint("{\"weight_map\":{\"x\":\"m-1.safetensors\",\"w\":\"m-3.safetensors\","
                       "\"v\":\"m-3.safetensors\",\"y\":\"m-1.safetensors\"}}"),
            QN_ERR_DATA,
            "model.safetensors.index.json: tensor w is said to be in m-3.safetensors, which is not "
            "there");
}
END_TEST

START_TEST(a_tensor_in_another_shard_than_the_index_says_is_refused)
{
    refused(checkpoint("{\"weight_map\":{\"x\":\"m-1.safetensors\",\"y\":\"m-2.safetensors\","
                       "\"z\":\"m-2.safetensors\"}}"),
            QN_ERR_DATA, "puts tensor y in m-2.safetensors, but it is in m-1.safetensors");
}
END_TEST

START_TEST(a_tensor_that_no_shard_holds_is_refused)
{
    refused(checkpoint("{\"weight_map\":{\"x\":\"m-1.safetensors\",\"y\":\"m-1.safetensors\","
                       "\"z\":\"m-2.safetensors\",\"w\":\"m-2.safetensors\"}}"),
            QN_ERR_DATA, "puts tensor w in m-2.safetensors, which does not hold it");
}
END_TEST

START_TEST(a_tensor_that_the_index_does_not_list_is_refused)
{
    refused(checkpoint("{\"weight_map\":{\"x\":\"m-1.safetensors\",\"z\":\"m-2.safetensors\"}}"),
            QN_ERR_DATA, "does not list tensor y, which m-1.safetensors holds");
}
END_TEST

START_TEST(a_tensor_in_two_shards_is_refused)
{
    const char *path = checkpoint(good_index);
    shard("c/m-2.safetensors", (const char *const[]){"z", "y"}, 2);
    refused(path, QN_ERR_DATA, "m-2.safetensors: tensor y is there twice; the other one is in ");
}
END_TEST

START_TEST(a_truncated_shard_is_refused)
{
    const char *path = checkpoint(good_index);
    qn_test_file("c/m-2.safetensors", "\x40\0\0\0\0\0\0\0{", 9);
    refused(path, QN_ERR_DATA, "m-2.safetensors: a header of 64 bytes, the file has 1 more");
}
END_TEST

START_TEST(a_shard_of_another_format_is_refused)
{
    const char *path = checkpoint(good_index);
    qn_test_file("c/m-2.safetensors", "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    refused(path, QN_ERR_DATA, "is gguf, the shards before it are safetensors");
}
END_TEST

/* ---- the index by itself ----------------------------------------------------------------- */

static void index_refused(const char *text, const char *words)
{
    qn_shards *s = NULL;
    qn_error err = {0};
    const qn_status got = qn_shards_parse(&s, text, strlen(text), "i.json", &err);
    ck_assert_msg(got == QN_ERR_DATA, "%s: status %d: %s", text, got, err.message);
    ck_assert_msg(strstr(err.message, words), "'%s' lacks '%s'", err.message, words);
    ck_assert_msg(!strncmp(err.message, "i.json: ", 8), "no file in '%s'", err.message);
    ck_assert_ptr_null(s);
}

START_TEST(a_path_out_of_the_directory_is_refused)
{
    static const char *const bad[] = {"../m", "/etc/passwd", "a/b", "..", ".", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"weight_map\":{\"x\":\"%s\"}}", bad[i]);
        index_refused(text, "tensor x: '");
        index_refused(text, "is not the plain name of a file beside the index");
    }
}
END_TEST

START_TEST(an_index_of_another_form_is_refused)
{
    index_refused("", "'{' expected");
    index_refused("{}", "its weight_map is missing");
    index_refused("{\"weight_map\":{}}", "its weight_map is empty");
    index_refused("{\"weight_map\":[]}", "'{' expected");
    index_refused("{\"weight_map\":{\"x\":1}}", "tensor x: its file is not a string");
    index_refused("{\"weight_map\":{\"x\":\"a\",\"x\":\"b\"}}", "tensor x is listed twice");
    index_refused("{\"weight_map\":{\"x\":\"a\"},\"weight_map\":{}}", "weight_map is there twice");
    index_refused("{\"weight_map\":{\"x\":\"a\"}} {", "nothing more expected");
}
END_TEST

START_TEST(an_allocation_that_fails_is_reported_and_leaks_nothing)
{
    const char *path = checkpoint(good_index);
    qn_status status = QN_ERR_MEMORY;
    unsigned long n = 0;
    while (status) {
        qn_reader *r = NULL;
        qn_alloc_fail_at(++n);
        status = qn_reader_open(&r, path, NULL);
        qn_alloc_fail_at(0);
        ck_assert(status == QN_OK || (status == QN_ERR_MEMORY && !r));
        qn_reader_close(r);
    }
    ck_assert_uint_gt(n, 20);
}
END_TEST

/* ---- directories and files without a checkpoint ------------------------------------------- */

START_TEST(an_empty_directory_says_what_was_looked_for)
{
    qn_test_subdirectory("e");
    refused(qn_test_path("e"), QN_ERR_DATA,
            "/e: holds no model.safetensors, pytorch_model.bin or index of shards");
}
END_TEST

START_TEST(what_stands_there_instead_is_named)
{
    qn_test_subdirectory("d");
    qn_test_file("d/consolidated.00.pth", "x", 1);
    refused(qn_test_path("d"), QN_ERR_UNSUPPORTED,
            "only consolidated.00.pth (give the file itself)");
    qn_test_file("d/b.gguf", "x", 1);
    qn_test_file("d/a.gguf", "x", 1);
    refused(qn_test_path("d"), QN_ERR_UNSUPPORTED, "only a.gguf (give the file itself)");
}
END_TEST

START_TEST(files_of_other_kinds_are_named)
{
    static const struct {
        const char *bytes, *words;
    } kinds[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"},
        {"\x80\2}q\1abc", "is a Python pickle"},
        {"<!DOCTYPE html><html>", "is a web page"},
        {"just some text, a model it is not", "is neither GGUF, safetensors nor"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        refused(qn_test_file("f", kinds[i].bytes, strlen(kinds[i].bytes)), QN_ERR_UNSUPPORTED,
                kinds[i].words);
    refused(qn_test_file("f", "", 0), QN_ERR_DATA, "/f: is empty");
    refused(qn_test_file("f", "PK\3\4abcdefghij", 14), QN_ERR_DATA, "is no whole zip archive");
    refused(qn_test_path("absent"), QN_ERR_SYSTEM, "/absent: cannot open: No such file");
}
END_TEST

START_TEST(a_header_of_640_bytes_is_no_pickle)
{
    char bytes[8 + 640 + 4] = {'\x80', 2}; /* 640, little endian */
    qn_reader *r = NULL;
    qn_error err = {0};
    memset(bytes + 8, ' ', 640);
    memcpy(bytes + 8, "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 54);
    ck_assert_msg(!qn_reader_open(&r, qn_test_file("f", bytes, sizeof bytes), &err), "%s",
                  err.message);
    ck_assert_uint_eq(r->n_tensors, 1);
    qn_reader_close(r);
}
END_TEST

START_TEST(a_real_sharded_checkpoint_is_read)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    const char *path = qn_test_data("models/tiny-random/tiny_qwen3_sharded");
    if (!path) return;
    ck_assert_msg(qn_reader_open(&r, path, &err) == QN_OK, "%s", err.message);
    ck_assert_uint_eq(r->n_files, 2);
    ck_assert_uint_eq(r->n_tensors, 57);
    qn_reader_close(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("shards");
    TCase *t = qn_test_group(s, "directory");
    tcase_add_test(t, all_shards_make_one_reader_in_order_of_their_names);
    tcase_add_test(t, a_whole_model_is_preferred_to_an_index);
    tcase_add_test(t, a_shard_that_is_not_there_is_named_with_its_first_tensor);
    tcase_add_test(t, a_tensor_in_another_shard_than_the_index_says_is_refused);
    tcase_add_test(t, a_tensor_that_no_shard_holds_is_refused);
    tcase_add_test(t, a_tensor_that_the_index_does_not_list_is_refused);
    tcase_add_test(t, a_tensor_in_two_shards_is_refused);
    tcase_add_test(t, a_truncated_shard_is_refused);
    tcase_add_test(t, a_shard_of_another_format_is_refused);
    tcase_add_test(t, a_real_sharded_checkpoint_is_read);
    t = qn_test_group(s, "index");
    tcase_add_test(t, a_path_out_of_the_directory_is_refused);
    tcase_add_test(t, an_index_of_another_form_is_refused);
    tcase_add_test(t, an_allocation_that_fails_is_reported_and_leaks_nothing);
    t = qn_test_group(s, "no checkpoint");
    tcase_add_test(t, an_empty_directory_says_what_was_looked_for);
    tcase_add_test(t, what_stands_there_instead_is_named);
    tcase_add_test(t, files_of_other_kinds_are_named);
    tcase_add_test(t, a_header_of_640_bytes_is_no_pickle);
    return qn_test_run_suite(s);
}
