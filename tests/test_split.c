/* Models in several GGUF files: which are opened, what is refused, how they are
 * written. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/gguf_split.h"
#include "quant/split.h"
#include "tests/support/files.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/made_model.h"
#include "tests/support/run.h"

/* ---- reading ---------------------------------------------------------------------------- */

/* A file whose keys say part no of count with so many tensors in all, and which
 * holds one tensor of 32 bytes. */
static void part(const char *file, uint32_t no, uint32_t count, uint32_t tensors,
                 const char *tensor)
{
    qn_text t = qn_gguf_head(3, 1, no ? 3 : 4);
    if (!no) qn_gguf_key_string(&t, "general.architecture", "made");
    qn_gguf_key_u32(&t, "split.no", no);
    qn_gguf_key_u32(&t, "split.count", count);
    qn_gguf_key_u32(&t, "split.tensors.count", tensors);
    qn_gguf_tensor(&t, tensor, 1, (uint64_t[]){8}, 0, 0);
    qn_gguf_data(&t, 32, 32);
    ck_assert(!t.failed);
    qn_test_file(file, t.s, t.n);
    qn_text_free(&t);
}

static void three_parts(void)
{
    qn_test_subdirectory("s");
    part("s/m-00001-of-00003.gguf", 0, 3, 3, "x");
    part("s/m-00002-of-00003.gguf", 1, 3, 3, "a");
    part("s/m-00003-of-00003.gguf", 2, 3, 3, "m");
}

static void refused(const char *file, qn_status status, const char *words)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    const qn_status got = qn_reader_open(&r, qn_test_path(file), &err);
    ck_assert_msg(got == status, "status %d: %s", got, err.message);
    ck_assert_msg(strstr(err.message, words), "'%s' lacks '%s'", err.message, words);
    ck_assert_ptr_null(r);
}

static const char *const files[] = {"s/m-00001-of-00003.gguf", "s/m-00002-of-00003.gguf",
                                    "s/m-00003-of-00003.gguf"};

START_TEST(any_part_stands_for_all_of_them)
{
    static const char *const names[] = {"x", "a", "m"};
    qn_reader *r = NULL;
    qn_error err = {0};
    three_parts();
    ck_assert_msg(!qn_reader_open(&r, qn_test_path(files[_i]), &err), "%s", err.message);
    ck_assert_uint_eq(r->n_files, 3);
    ck_assert_uint_eq(r->n_tensors, 3);
    ck_assert_ptr_nonnull(qn_metadata_find(r->metadata, "general.architecture"));
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_str_eq(r->tensors[i].name, names[i]);
        ck_assert_uint_eq(r->tensors[i].file, i);
        ck_assert_int_eq(((const uint8_t *)r->tensors[i].data)[31], 31);
    }
    qn_reader_close(r);
}
END_TEST

START_TEST(a_part_that_is_not_there_is_named)
{
    three_parts();
    remove(qn_test_path(files[_i]));
    char words[100];
    snprintf(words, sizeof words, "%s: is not there: part %d of the 3", files[_i], _i + 1);
    refused(files[(_i + 1) % 3], QN_ERR_DATA, words);
}
END_TEST

START_TEST(parts_that_contradict_each_other_are_refused)
{
    three_parts();
    part(files[1], 2, 3, 3, "a");
    refused(files[0], QN_ERR_DATA,
            "m-00002-of-00003.gguf: is named as part 2 of 3, but by its keys it is part 3 of 3");
    part(files[1], 1, 4, 3, "a");
    refused(files[0], QN_ERR_DATA, "by its keys it is part 2 of 4");
    part(files[1], 1, 3, 3, "a");
    part(files[0], 1, 3, 3, "x");
    refused(files[2], QN_ERR_DATA, "m-00001-of-00003.gguf: is not part 1 of 3 by its keys");
    refused(files[0], QN_ERR_DATA, "is part 2 of 3, but not named NAME-00002-of-00003.gguf");
    part(files[0], 0, 3, 3, "a");
    refused(files[0], QN_ERR_DATA, "tensor a is there twice");
    part(files[0], 0, 3, 4, "x");
    refused(files[0], QN_ERR_DATA, "split.tensors.count is 4, but its 3 parts hold 3 tensors");
    part(files[0], 3, 3, 3, "x");
    refused(files[0], QN_ERR_DATA, "split.no is 3, split.count 3");
    part(files[0], 0, 65536, 3, "x");
    refused(files[0], QN_ERR_DATA, "split.no is 0, split.count 65536");
    part("s/renamed.gguf", 0, 3, 3, "x");
    refused("s/renamed.gguf", QN_ERR_DATA, "not named NAME-00001-of-00003.gguf");
}
END_TEST

/* llama-gguf-split --merge leaves the keys, with a count of 0. */
START_TEST(a_model_that_was_joined_is_whole)
{
    qn_reader *r = NULL;
    part("joined.gguf", 0, 0, 7, "x");
    ck_assert_int_eq(qn_reader_open(&r, qn_test_path("joined.gguf"), NULL), QN_OK);
    ck_assert_uint_eq(r->n_files, 1);
    qn_reader_close(r);
}
END_TEST

START_TEST(a_name_tells_what_stands_before_the_number)
{
    ck_assert_uint_eq(qn_gguf_part_prefix("a/b-00002-of-00010.gguf", 1, 10), 3);
    ck_assert_uint_eq(qn_gguf_part_prefix("a/b-00002-of-00010.gguf", 2, 10), 0);
    ck_assert_uint_eq(qn_gguf_part_prefix("-00002-of-00010.gguf", 1, 10), 0);
    ck_assert_uint_eq(qn_gguf_part_prefix("b-2-of-10.gguf", 1, 10), 0);
    char *path = qn_gguf_part_path("a/bc", 3, 9999, 65535);
    ck_assert_str_eq(path, "a/b-10000-of-65535.gguf");
    qn_free(path);
}
END_TEST

/* ---- cutting a plan ----------------------------------------------------------------------- */

/* Tensors of 32, 64, 4000, 32, 32 and 2000 bytes as F16, each padded to 32. */
static void cut(const qn_split_options *o, uint64_t align, size_t n_parts, const size_t *parts)
{
    static const uint64_t sizes[] = {16, 32, 2000, 16, 16, 1000};
    qn_error err = {0};
    qn_plan_entry entries[6] = {0};
    qn_model *m = made_model_new("llama");
    qn_plan p = {.model = m, .n = 6, .n_parts = 1, .entries = entries, .metadata = m->metadata};
    p.align = align;
    for (int i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "t%d.weight", i);
        made_model_add(m, name, QN_F32, 1, &sizes[i], NULL);
    }
    for (int i = 0; i < 6; i++)
        entries[i] = (qn_plan_entry){.tensor = &m->tensors[i], .dtype = QN_F16};
    ck_assert_msg(!qn_plan_split(&p, o, &err), "%s", err.message);
    ck_assert_uint_eq(p.n_parts, n_parts);
    for (int i = 0; i < 6; i++) ck_assert_uint_eq(entries[i].part, parts[i]);
    for (size_t i = 0; i < n_parts && n_parts > 1; i++) {
        qn_gguf_split split;
        const qn_metadata *keys = i ? p.more_metadata[i - 1] : p.metadata;
        ck_assert_int_eq(qn_gguf_split_read(keys, &split, NULL), QN_OK);
        ck_assert_uint_eq(split.no, i);
        ck_assert_uint_eq(split.count, n_parts);
        ck_assert_uint_eq(split.tensors, 6);
        if (i) ck_assert_uint_eq(qn_metadata_count(keys), align == 32 ? 3 : 4);
    }
    for (size_t i = 0; i + 1 < n_parts; i++) qn_metadata_free(p.more_metadata[i]);
    qn_free(p.more_metadata);
    made_model_free(m);
}

START_TEST(files_are_begun_where_one_would_hold_too_much)
{
    cut(&(qn_split_options){0}, 32, 1, (size_t[]){0, 0, 0, 0, 0, 0});
    cut(&(qn_split_options){.max_tensors = 6}, 32, 1, (size_t[]){0, 0, 0, 0, 0, 0});
    cut(&(qn_split_options){.max_tensors = 5}, 32, 2, (size_t[]){0, 0, 0, 0, 0, 1});
    cut(&(qn_split_options){.max_tensors = 1}, 32, 6, (size_t[]){0, 1, 2, 3, 4, 5});
    cut(&(qn_split_options){.max_bytes = 96}, 32, 4, (size_t[]){0, 0, 1, 2, 2, 3});
    cut(&(qn_split_options){.max_bytes = 95}, 32, 5, (size_t[]){0, 1, 2, 3, 3, 4});
    cut(&(qn_split_options){.max_bytes = 1}, 32, 6, (size_t[]){0, 1, 2, 3, 4, 5});
    cut(&(qn_split_options){.max_bytes = 96, .max_tensors = 1}, 32, 6,
        (size_t[]){0, 1, 2, 3, 4, 5});
    /* padding counts */
    cut(&(qn_split_options){.max_bytes = 4096}, 32, 2, (size_t[]){0, 0, 0, 1, 1, 1});
    cut(&(qn_split_options){.max_bytes = 4096}, 4096, 6, (size_t[]){0, 1, 2, 3, 4, 5});
}
END_TEST

int main(void)
{
    Suite *s = suite_create("split");
    TCase *t = qn_test_group(s, "reading");
    tcase_add_loop_test(t, any_part_stands_for_all_of_them, 0, 3);
    tcase_add_loop_test(t, a_part_that_is_not_there_is_named, 0, 3);
    tcase_add_test(t, parts_that_contradict_each_other_are_refused);
    tcase_add_test(t, a_model_that_was_joined_is_whole);
    tcase_add_test(t, a_name_tells_what_stands_before_the_number);
    t = qn_test_group(s, "cutting");
    tcase_add_test(t, files_are_begun_where_one_would_hold_too_much);
    return qn_test_run_suite(s);
}
