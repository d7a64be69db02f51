/* The GGUF reader: what it takes (docs/formats/gguf.md). */
#include <stdio.h>
#include <string.h>

#include "formats/reader.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/reading.h"
#include "tests/support/run.h"

enum { F32 = 0, Q4_0 = 2, Q4_K = 12 };

static const uint64_t one_row[] = {32};

static qn_reader *opened(const qn_text *t)
{
    return qn_test_opened(t, "t.gguf");
}

/* ---- accepted -------------------------------------------------------------------------- */

START_TEST(a_tensor_is_where_the_file_says)
{
    for (uint32_t version = 2; version <= 3; version++) {
        qn_text t = qn_gguf_head(version, 2, 1);
        qn_gguf_key_string(&t, "general.architecture", "llama");
        qn_gguf_tensor(&t, "a", 2, (const uint64_t[]){64, 3}, Q4_0, 0);
        qn_gguf_tensor(&t, "b", 1, one_row, F32, 128);
        qn_gguf_data(&t, 32, 256);
        const size_t start = t.n - 256;
        qn_reader *r = opened(&t);
        ck_assert_uint_eq(r->n_tensors, 2);
        ck_assert_uint_eq(r->gguf_version, version);
        ck_assert_uint_eq(r->alignment, 32);
        const qn_tensor *a = qn_reader_find(r, "a"), *b = qn_reader_find(r, "b");
        ck_assert(a->rank == 2 && a->dims[0] == 3 && a->dims[1] == 64);
        ck_assert(a->dtype == QN_Q4_0 && a->bytes == 3 * 2 * 18 && a->offset == start);
        ck_assert(b->dtype == QN_F32 && b->offset == start + 128 && b->bytes == 128);
        ck_assert_ptr_eq(b->data, t.s + start + 128);
        ck_assert_ptr_null(qn_reader_find(r, "c"));
        qn_str s;
        ck_assert_int_eq(qn_metadata_str(r->metadata, "general.architecture", &s, NULL, NULL),
                         QN_OK);
        ck_assert(qn_str_is(s, "llama"));
        qn_reader_close(r);
        qn_text_free(&t);
    }
}
END_TEST

START_TEST(every_kind_of_value_is_read)
{
    qn_text t = qn_gguf_head(3, 0, 13);
    static const size_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    for (uint32_t type = 0; type <= 12; type++) {
        char key[8] = {'k', (char)('a' + type), 0};
        qn_gguf_key(&t, key, type);
        if (type == 8) {
            qn_gguf_string(&t, "text");
        } else if (type == 9) {
            qn_gguf_u32(&t, 8);
            qn_gguf_u64(&t, 3);
            qn_gguf_string(&t, "x");
            qn_gguf_string(&t, "");
            qn_gguf_string(&t, "yz");
        } else {
            const double f64 = 2.5;
            const float f32 = 2.5f;
            static const char minus_two[] = "\xfe\xff\xff\xff\xff\xff\xff\xff";
            qn_text_add(&t,
                        type == 12  ? (const char *)&f64
                        : type == 6 ? (const char *)&f32
                                    : minus_two,
                        bytes[type]);
        }
    }
    static const double want[] = {
        254, -2, 65534, -2, 4294967294, -2, 2.5, 1, 0, 0, 18446744073709551614.0, -2, 2.5};
    qn_reader *r = opened(&t);
    ck_assert_uint_eq(qn_metadata_count(r->metadata), 13);
    for (size_t i = 0; i < 13; i++) {
        double v;
        const qn_meta_value *m = qn_metadata_at(r->metadata, i);
        ck_assert_uint_eq(m->type, i);
        if (i == 8 || i == 9) {
            ck_assert_int_eq(qn_meta_number(m, 0, &v, NULL), QN_ERR_DATA);
            continue;
        }
        ck_assert_int_eq(qn_meta_number(m, 0, &v, NULL), QN_OK);
        ck_assert_double_eq(v, want[i]);
    }
    const qn_meta_value *strings = qn_metadata_find(r->metadata, "kj");
    qn_str cursor = strings->bytes, s;
    ck_assert_uint_eq(strings->count, 3);
    ck_assert(qn_meta_next_string(&cursor, &s) && qn_str_is(s, "x"));
    ck_assert(qn_meta_next_string(&cursor, &s) && qn_str_is(s, ""));
    ck_assert(qn_meta_next_string(&cursor, &s) && qn_str_is(s, "yz"));
    ck_assert(!qn_meta_next_string(&cursor, &s));
    qn_reader_close(r);
    qn_text_free(&t);
}
END_TEST

START_TEST(gaps_between_tensors_and_any_order_are_accepted)
{
    qn_text t = qn_gguf_head(3, 3, 1);
    qn_gguf_key_u32(&t, "general.alignment", 64);
    qn_gguf_tensor(&t, "late", 1, one_row, F32, 512);
    qn_gguf_tensor(&t, "early", 1, one_row, F32, 64);
    qn_gguf_tensor(&t, "nothing", 2, (const uint64_t[]){0, 5}, F32, 192);
    qn_gguf_data(&t, 64, 640);
    qn_reader *r = opened(&t);
    ck_assert_uint_eq(r->alignment, 64);
    ck_assert_str_eq(r->tensors[0].name, "late");
    ck_assert_uint_eq(qn_reader_find(r, "nothing")->bytes, 0);
    ck_assert_ptr_null(qn_reader_find(r, "nothing")->data);
    qn_reader_close(r);
    qn_text_free(&t);
}
END_TEST

START_TEST(the_padding_behind_the_last_tensor_may_be_missing)
{
    qn_text t = qn_gguf_of_tensor("a", 1, (const uint64_t[]){5}, F32, 0, 20);
    qn_reader_close(opened(&t));
    qn_text_free(&t);
}
END_TEST

START_TEST(a_scalar_and_a_file_without_tensors_are_accepted)
{
    qn_text t = qn_gguf_of_tensor("s", 0, NULL, F32, 0, 4);
    qn_reader *r = opened(&t);
    ck_assert_uint_eq(r->tensors[0].rank, 0);
    ck_assert_uint_eq(r->tensors[0].bytes, 4);
    qn_reader_close(r);
    qn_text_free(&t);
    t = qn_gguf_head(3, 0, 0);
    qn_reader_close(opened(&t));
    qn_text_free(&t);
}
END_TEST

START_TEST(the_content_decides_not_the_suffix)
{
    qn_reader *r = NULL;
    qn_text t = qn_gguf_of_tensor("a", 1, one_row, F32, 0, 128);
    const char *path = qn_test_file("model.safetensors", t.s, t.n);
    ck_assert_int_eq(qn_reader_open(&r, path, NULL), QN_OK);
    ck_assert_ptr_eq(r->format, &qn_format_gguf);
    qn_reader_close(r);
    qn_text_free(&t);
}
END_TEST

/* ---- whole files ------------------------------------------------------------------------ */

START_TEST(an_allocation_that_fails_is_reported_and_leaks_nothing)
{
    qn_text t = qn_gguf_head(3, 2, 2);
    qn_gguf_key_u32(&t, "general.alignment", 32);
    qn_gguf_key_string(&t, "general.name", "n");
    qn_gguf_tensor(&t, "a", 1, one_row, F32, 0);
    qn_gguf_tensor(&t, "b", 1, one_row, F32, 128);
    qn_gguf_data(&t, 32, 256);
    qn_test_allocations_fail(&t, "t.gguf", 8);
    qn_text_free(&t);
}
END_TEST

START_TEST(the_official_sample_is_read)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    const char *path = qn_test_data("gguf-format/test-le-v3.gguf");
    if (!path) return;
    ck_assert_msg(qn_reader_open(&r, path, &err) == QN_OK, "%s", err.message);
    ck_assert_uint_eq(r->n_tensors, 3);
    const qn_tensor *a = qn_reader_find(r, "tensor1"), *b = qn_reader_find(r, "tensor2");
    ck_assert(a && a->dtype == QN_F32 && a->bytes == 128);
    ck_assert(b && b->dims[0] == 64);
    qn_reader_close(r);
}
END_TEST

START_TEST(official_samples_that_we_do_not_read_are_named)
{
    static const char *const cases[][2] = {
        {"gguf-format/test-be-v3.gguf", "is a big-endian GGUF file"},
        {"gguf-format/example_42a152.gguf", "big-endian order"},
        {"gguf-format/ggml-vocab-llama_63bfaf.gguf", "is GGUF version 1"},
        {"gguf-format/legacy-ggml-vocab_38f634.bin", "is a GGJT file from before GGUF"},
        {"gguf-format/las7_tiny.gguf", "its 32768 bytes at 128 end behind the file's 122"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_reader *r = NULL;
        qn_error err = {0};
        const char *path = qn_test_data(cases[i][0]);
        if (!path) continue;
        ck_assert_int_ne(qn_reader_open(&r, path, &err), QN_OK);
        ck_assert_msg(strstr(err.message, cases[i][1]), "%s", err.message);
    }
}
END_TEST

START_TEST(two_hundred_thousand_tensors_open)
{
    enum { N = 200000 };
    qn_text t = qn_gguf_head(3, N, 0);
    for (uint64_t i = 0; i < N; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.ffn_gate_exps.%u.weight", (unsigned)i / 500,
                 (unsigned)i % 500);
        qn_gguf_tensor(&t, name, 2, (const uint64_t[]){4, 2}, F32, i * 32);
    }
    qn_gguf_data(&t, 32, N * 32);
    qn_reader *r = opened(&t);
    ck_assert_uint_eq(r->n_tensors, N);
    ck_assert_str_eq(r->tensors[N - 1].name, "blk.399.ffn_gate_exps.499.weight");
    qn_reader_close(r);
    qn_text_free(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gguf");
    TCase *t = qn_test_group(s, "accepted");
    tcase_add_test(t, a_tensor_is_where_the_file_says);
    tcase_add_test(t, every_kind_of_value_is_read);
    tcase_add_test(t, gaps_between_tensors_and_any_order_are_accepted);
    tcase_add_test(t, the_padding_behind_the_last_tensor_may_be_missing);
    tcase_add_test(t, a_scalar_and_a_file_without_tensors_are_accepted);
    tcase_add_test(t, the_content_decides_not_the_suffix);
    t = qn_test_group(s, "whole files");
    tcase_add_test(t, an_allocation_that_fails_is_reported_and_leaks_nothing);
    tcase_add_test(t, the_official_sample_is_read);
    tcase_add_test(t, official_samples_that_we_do_not_read_are_named);
    tcase_add_test(t, two_hundred_thousand_tensors_open);
    return qn_test_run_suite(s);
}
