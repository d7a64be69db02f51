/* What the GGUF reader refuses (docs/formats/gguf.md). */
#include <stdio.h>
#include <string.h>

#include "formats/reader.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/reading.h"
#include "tests/support/run.h"

enum { F32 = 0, Q4_0 = 2, Q4_K = 12 };

static const uint64_t one_row[] = {32};

static void refused(qn_text t, qn_status status, const char *words)
{
    qn_test_refused(t, "t.gguf", status, words);
}

/* ---- the frame ---------------------------------------------------------------------------- */

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

/* ---- keys --------------------------------------------------------------------------------- */

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

/* ---- tensors ------------------------------------------------------------------------------- */

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
    refused(qn_gguf_of_tensor("", 1, one_row, F32, 0, 128), QN_ERR_DATA, "a tensor without a name");
    memset(name, 'n', 64);
    refused(qn_gguf_of_tensor(name, 1, one_row, F32, 0, 128), QN_ERR_DATA,
            "64 bytes long, at most 63");
    refused(qn_gguf_of_tensor("\xc3(", 1, one_row, F32, 0, 128), QN_ERR_DATA, "is not UTF-8");
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
    refused(qn_gguf_of_tensor("a", 5, dims, F32, 0, 128), QN_ERR_DATA, "tensor a: 5 dimensions");
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
        refused(qn_gguf_of_tensor("a", 4, dims[i], F32, 0, 128), QN_ERR_DATA, "is too large");
}
END_TEST

START_TEST(a_row_that_is_not_whole_blocks_is_refused)
{
    refused(qn_gguf_of_tensor("a", 2, (const uint64_t[]){255, 2}, Q4_K, 0, 512), QN_ERR_DATA,
            "tensor a: a row of 255 is not a whole number of Q4_K blocks of 256");
}
END_TEST

START_TEST(removed_and_unknown_types_are_refused_with_their_number)
{
    static const uint32_t bad[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char words[64];
        snprintf(words, sizeof words, "tensor a: type number %u is unknown", bad[i]);
        refused(qn_gguf_of_tensor("a", 1, one_row, bad[i], 0, 128), QN_ERR_UNSUPPORTED, words);
    }
}
END_TEST

START_TEST(an_offset_off_the_alignment_is_refused)
{
    refused(qn_gguf_of_tensor("a", 1, one_row, F32, 16, 256), QN_ERR_DATA,
            "tensor a: offset 16 is not a multiple of 32");
}
END_TEST

START_TEST(data_behind_the_end_is_refused)
{
    refused(qn_gguf_of_tensor("a", 1, one_row, F32, 0, 127), QN_ERR_DATA, "end behind the file's");
    refused(qn_gguf_of_tensor("a", 1, one_row, F32, 32, 128), QN_ERR_DATA, "end behind the file's");
    refused(qn_gguf_of_tensor("a", 1, one_row, F32, UINT64_MAX - 31, 128), QN_ERR_DATA,
            "end behind");
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

int main(void)
{
    Suite *s = suite_create("gguf refused");
    TCase *t = qn_test_group(s, "refused");
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
    return qn_test_run_suite(s);
}
