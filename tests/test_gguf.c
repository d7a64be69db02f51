/* The GGUF reader: what it takes, what it refuses (docs/formats/gguf.md). */
#include <check.h>
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

static void refused(qn_text t, qn_status status, const char *words)
{
    qn_test_refused(t, "t.gguf", status, words);
}

/* A file with one F32 row of 32, which the tests spoil in their ways. */
static qn_text with_tensor(const char *name, uint32_t rank, const uint64_t *dims, uint32_t type,
                           uint64_t offset, uint64_t data_bytes)
{
    qn_text t = qn_gguf_head(3, 1, 0);
    qn_gguf_tensor(&t, name, rank, dims, type, offset);
    qn_gguf_data(&t, 32, data_bytes);
    return t;
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
    qn_text t = with_tensor("a", 1, (const uint64_t[]){5}, F32, 0, 20);
    qn_reader_close(opened(&t));
    qn_text_free(&t);
}
END_TEST

START_TEST(a_scalar_and_a_file_without_tensors_are_accepted)
{
    qn_text t = with_tensor("s", 0, NULL, F32, 0, 4);
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
    qn_text t = with_tensor("a", 1, one_row, F32, 0, 128);
    const char *path = qn_test_file("model.safetensors", t.s, t.n);
    ck_assert_int_eq(qn_reader_open(&r, path, NULL), QN_OK);
    ck_assert_ptr_eq(r->format, &qn_format_gguf);
    qn_reader_close(r);
    qn_text_free(&t);
}
END_TEST

/* ---- refused: the frame ------------------------------------------------------------------ */

START_TEST(every_truncation_is_refused)
{
    qn_text t = qn_gguf_head(3, 1, 3);
    qn_gguf_key_u32(&t, "general.alignment", 32);
    qn_gguf_key_string(&t, "general.name", "name");
    qn_gguf_key(&t, "tokens", 9);
    qn_gguf_u32(&t, 8);
    qn_gguf_u64(&t, 2);
    qn_gguf_string(&t, "a");
    qn_gguf_string(&t, "b");
    qn_gguf_tensor(&t, "a", 1, one_row, F32, 0);
    qn_gguf_data(&t, 32, 128);
    qn_test_truncations_refused(&t, "t.gguf");
    qn_text_free(&t);
}
END_TEST

START_TEST(other_versions_are_refused_by_name)
{
    refused(qn_gguf_head(1, 0, 0), QN_ERR_UNSUPPORTED, "is GGUF version 1");
    refused(qn_gguf_head(4, 0, 0), QN_ERR_UNSUPPORTED, "is GGUF version 4; 2 and 3 are read");
    refused(qn_gguf_head(0, 0, 0), QN_ERR_UNSUPPORTED, "is GGUF version 0");
    refused(qn_gguf_head(0x03000000, 0, 0), QN_ERR_UNSUPPORTED, "big-endian");
}
END_TEST

START_TEST(counts_that_cannot_be_true_are_refused_before_anything_is_allocated)
{
    refused(qn_gguf_head(3, 0, UINT64_MAX), QN_ERR_DATA, "18446744073709551615 keys cannot stand");
    refused(qn_gguf_head(3, UINT64_MAX, 0), QN_ERR_DATA, "18446744073709551615 tensors cannot");
    refused(qn_gguf_head(3, 1, 0), QN_ERR_DATA, "1 tensors cannot stand in the 0 bytes");
}
END_TEST

START_TEST(a_part_of_a_split_model_without_the_others_is_refused)
{
    qn_text t = qn_gguf_head(3, 0, 2);
    qn_gguf_key_u32(&t, "split.no", 1);
    qn_gguf_key(&t, "split.count", 2);
    qn_text_add(&t, "\3\0", 2);
    refused(t, QN_ERR_UNSUPPORTED, "is part 2 of 3, without the others");
}
END_TEST

/* ---- refused: keys ------------------------------------------------------------------------ */

START_TEST(a_repeated_key_is_refused)
{
    qn_text t = qn_gguf_head(3, 0, 2);
    qn_gguf_key_u32(&t, "general.file_type", 1);
    qn_gguf_key_u32(&t, "general.file_type", 1);
    refused(t, QN_ERR_DATA, "key \"general.file_type\" is there twice");
}
END_TEST

START_TEST(an_empty_or_ill_formed_key_is_refused)
{
    qn_text t = qn_gguf_head(3, 0, 1);
    qn_gguf_key_string(&t, "", "x");
    refused(t, QN_ERR_DATA, "key number 0 is empty");
    t = qn_gguf_head(3, 0, 1);
    qn_gguf_key_u32(&t, "caf\xe9", 1);
    refused(t, QN_ERR_DATA, "key number 0 is not UTF-8");
}
END_TEST

START_TEST(an_unknown_value_type_is_refused)
{
    qn_text t = qn_gguf_head(3, 0, 1);
    qn_gguf_key(&t, "k", 13);
    qn_gguf_u64(&t, 0);
    refused(t, QN_ERR_DATA, "key \"k\" has type 13");
}
END_TEST

START_TEST(an_array_of_arrays_is_refused)
{
    qn_text t = qn_gguf_head(3, 0, 1);
    qn_gguf_key(&t, "k", 9);
    qn_gguf_u32(&t, 9);
    qn_gguf_u64(&t, 0);
    refused(t, QN_ERR_UNSUPPORTED, "key \"k\" is an array of arrays");
}
END_TEST

START_TEST(an_array_longer_than_the_file_is_refused)
{
    for (uint32_t type = 0; type <= 8; type += 4) { /* u8, u32, string */
        qn_text t = qn_gguf_head(3, 0, 1);
        qn_gguf_key(&t, "k", 9);
        qn_gguf_u32(&t, type);
        qn_gguf_u64(&t, 1 << 20);
        qn_text_add(&t, "abcdefgh", 8);
        refused(t, QN_ERR_DATA, "key \"k\" at byte");
        t = qn_gguf_head(3, 0, 1);
        qn_gguf_key(&t, "k", 9);
        qn_gguf_u32(&t, type);
        qn_gguf_u64(&t, 1ull << 62);
        refused(t, QN_ERR_DATA, "4611686018427387904 elements, at most");
    }
}
END_TEST

START_TEST(a_string_longer_than_the_file_is_refused)
{
    qn_text t = qn_gguf_head(3, 0, 1);
    qn_gguf_key(&t, "k", 8);
    qn_gguf_u64(&t, 9);
    qn_text_adds(&t, "12345678");
    refused(t, QN_ERR_DATA, "takes 9 bytes, the file has 8 more");
    t = qn_gguf_head(3, 0, 1);
    qn_gguf_key(&t, "k", 8);
    qn_gguf_u64(&t, UINT64_MAX - 3);
    refused(t, QN_ERR_DATA, "is 18446744073709551612 bytes long");
}
END_TEST

START_TEST(an_alignment_that_is_no_power_of_two_is_refused)
{
    static const uint32_t bad[] = {0, 3, 24, 33, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qn_text t = qn_gguf_head(3, 0, 1);
        qn_gguf_key_u32(&t, "general.alignment", bad[i]);
        refused(t, QN_ERR_DATA, "not a power of two");
    }
    qn_text t = qn_gguf_head(3, 0, 1);
    qn_gguf_key_string(&t, "general.alignment", "32");
    refused(t, QN_ERR_DATA, "general.alignment is of type str, not u32");
}
END_TEST

/* ---- refused: tensors ------------------------------------------------------------------------ */

START_TEST(a_repeated_tensor_is_refused)
{
    qn_text t = qn_gguf_head(3, 2, 0);
    qn_gguf_tensor(&t, "a", 1, one_row, F32, 0);
    qn_gguf_tensor(&t, "a", 1, one_row, F32, 128);
    qn_gguf_data(&t, 32, 256);
    refused(t, QN_ERR_DATA, "tensor a is there twice");
}
END_TEST

START_TEST(a_bad_tensor_name_is_refused)
{
    char name[65] = {0};
    refused(with_tensor("", 1, one_row, F32, 0, 128), QN_ERR_DATA, "a tensor without a name");
    memset(name, 'n', 64);
    refused(with_tensor(name, 1, one_row, F32, 0, 128), QN_ERR_DATA, "64 bytes long, at most 63");
    refused(with_tensor("\xc3(", 1, one_row, F32, 0, 128), QN_ERR_DATA, "is not UTF-8");
    qn_text t = qn_gguf_head(3, 1, 0);
    qn_gguf_u64(&t, 3);
    qn_text_add(&t, "a\0b", 3);
    qn_text_add(&t, name, 40);
    refused(t, QN_ERR_DATA, "the name of tensor number 0 holds a zero byte");
}
END_TEST

START_TEST(five_dimensions_are_refused)
{
    static const uint64_t dims[] = {32, 1, 1, 1, 1};
    refused(with_tensor("a", 5, dims, F32, 0, 128), QN_ERR_DATA, "tensor a: 5 dimensions");
    qn_text t = qn_gguf_head(3, 1, 0);
    qn_gguf_string(&t, "a");
    qn_gguf_u32(&t, UINT32_MAX);
    qn_gguf_data(&t, 32, 128);
    refused(t, QN_ERR_DATA, "tensor a: 4294967295 dimensions");
}
END_TEST

START_TEST(a_shape_that_overflows_is_refused)
{
    static const uint64_t dims[][4] = {
        {1ull << 62, 1, 1, 1},           {1ull << 32, 1ull << 32, 1, 1}, {UINT64_MAX - 31, 2, 1, 1},
        {32, 1ull << 40, 1ull << 40, 0}, {1ull << 31, 1ull << 31, 1, 1},
    };
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        refused(with_tensor("a", 4, dims[i], F32, 0, 128), QN_ERR_DATA, "is too large");
}
END_TEST

START_TEST(a_row_that_is_not_whole_blocks_is_refused)
{
    refused(with_tensor("a", 2, (const uint64_t[]){255, 2}, Q4_K, 0, 512), QN_ERR_DATA,
            "tensor a: a row of 255 is not a whole number of Q4_K blocks of 256");
}
END_TEST

START_TEST(removed_and_unknown_types_are_refused_with_their_number)
{
    static const uint32_t bad[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char words[64];
        snprintf(words, sizeof words, "tensor a: type number %u is unknown", bad[i]);
        refused(with_tensor("a", 1, one_row, bad[i], 0, 128), QN_ERR_UNSUPPORTED, words);
    }
}
END_TEST

START_TEST(an_offset_off_the_alignment_is_refused)
{
    refused(with_tensor("a", 1, one_row, F32, 16, 256), QN_ERR_DATA,
            "tensor a: offset 16 is not a multiple of 32");
}
END_TEST

START_TEST(data_behind_the_end_is_refused)
{
    refused(with_tensor("a", 1, one_row, F32, 0, 127), QN_ERR_DATA, "end behind the file's");
    refused(with_tensor("a", 1, one_row, F32, 32, 128), QN_ERR_DATA, "end behind the file's");
    refused(with_tensor("a", 1, one_row, F32, UINT64_MAX - 31, 128), QN_ERR_DATA, "end behind");
}
END_TEST

START_TEST(overlapping_tensors_are_refused)
{
    qn_text t = qn_gguf_head(3, 3, 0);
    qn_gguf_tensor(&t, "a", 1, one_row, F32, 128);
    qn_gguf_tensor(&t, "b", 1, one_row, F32, 0);
    qn_gguf_tensor(&t, "c", 1, one_row, F32, 96);
    qn_gguf_data(&t, 32, 256);
    refused(t, QN_ERR_DATA, "behind the start of c at");
}
END_TEST

/* ---- memory and official files ----------------------------------------------------------------- */

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
    t = qn_test_group(s, "refused");
    tcase_add_test(t, every_truncation_is_refused);
    tcase_add_test(t, other_versions_are_refused_by_name);
    tcase_add_test(t, counts_that_cannot_be_true_are_refused_before_anything_is_allocated);
    tcase_add_test(t, a_part_of_a_split_model_without_the_others_is_refused);
    tcase_add_test(t, a_repeated_key_is_refused);
    tcase_add_test(t, an_empty_or_ill_formed_key_is_refused);
    tcase_add_test(t, an_unknown_value_type_is_refused);
    tcase_add_test(t, an_array_of_arrays_is_refused);
    tcase_add_test(t, an_array_longer_than_the_file_is_refused);
    tcase_add_test(t, a_string_longer_than_the_file_is_refused);
    tcase_add_test(t, an_alignment_that_is_no_power_of_two_is_refused);
    tcase_add_test(t, a_repeated_tensor_is_refused);
    tcase_add_test(t, a_bad_tensor_name_is_refused);
    tcase_add_test(t, five_dimensions_are_refused);
    tcase_add_test(t, a_shape_that_overflows_is_refused);
    tcase_add_test(t, a_row_that_is_not_whole_blocks_is_refused);
    tcase_add_test(t, removed_and_unknown_types_are_refused_with_their_number);
    tcase_add_test(t, an_offset_off_the_alignment_is_refused);
    tcase_add_test(t, data_behind_the_end_is_refused);
    tcase_add_test(t, overlapping_tensors_are_refused);
    t = qn_test_group(s, "whole files");
    tcase_add_test(t, an_allocation_that_fails_is_reported_and_leaks_nothing);
    tcase_add_test(t, the_official_sample_is_read);
    tcase_add_test(t, official_samples_that_we_do_not_read_are_named);
    tcase_add_test(t, two_hundred_thousand_tensors_open);
    return qn_test_run_suite(s);
}
