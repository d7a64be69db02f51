/* The safetensors reader: the official library's list of what to take and what
 * to refuse, one test each (docs/formats/safetensors.md). */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/data.h"
#include "tests/support/reading.h"
#include "tests/support/run.h"

/* A file: the header's length, the header, data_bytes zeros. */
static qn_text with_length(uint64_t length, const char *header, size_t data_bytes)
{
    qn_text t = {0};
    for (unsigned i = 0; i < 8; i++) qn_text_add(&t, &(char){(char)(length >> (8 * i))}, 1);
    qn_text_adds(&t, header);
    for (size_t i = 0; i < data_bytes; i++) qn_text_add(&t, "", 1);
    ck_assert(!t.failed);
    return t;
}

static const char name[] = "t.safetensors";

static qn_text bytes_of(const char *header, size_t data_bytes)
{
    return with_length(strlen(header), header, data_bytes);
}

static void accepted(const char *header, size_t data_bytes, size_t n_tensors)
{
    qn_text t = bytes_of(header, data_bytes);
    qn_reader *r = qn_test_opened(&t, name);
    ck_assert_uint_eq(r->n_tensors, n_tensors);
    ck_assert_uint_eq(r->alignment, 8);
    qn_reader_close(r);
    qn_text_free(&t);
}

static void refused_bytes(qn_text t, qn_status status, const char *words)
{
    qn_test_refused(t, name, status, words);
}

static void refused(const char *header, size_t data_bytes, const char *words)
{
    refused_bytes(bytes_of(header, data_bytes), QN_ERR_DATA, words);
}

#define TENSOR(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* ---- accepted ---------------------------------------------------------------------------- */

START_TEST(tensors_come_in_the_order_of_their_data)
{
    qn_text t = bytes_of(
        "{" TENSOR("b", "F32", "[2,3]", "[8,32]") "," TENSOR(
            "a", "I64", "[1]", "[0,8]") ","
                                        "\"__metadata__\":{\"format\":\"pt\",\"caf\\u00e9\":\"\"}}",
        32);
    qn_reader *r = qn_test_opened(&t, name);
    ck_assert_str_eq(r->tensors[0].name, "a");
    const qn_tensor *b = &r->tensors[1];
    ck_assert(b->dtype == QN_F32 && b->rank == 2 && b->dims[0] == 2 && b->dims[1] == 3);
    ck_assert(b->bytes == 24 && b->offset == t.n - 24);
    ck_assert_ptr_eq(b->data, t.s + t.n - 24);
    qn_str s;
    ck_assert_int_eq(qn_metadata_str(r->metadata, "format", &s, NULL, NULL), QN_OK);
    ck_assert(qn_str_is(s, "pt"));
    ck_assert_int_eq(qn_metadata_str(r->metadata, "caf\xC3\xA9", &s, NULL, NULL), QN_OK);
    ck_assert(qn_str_is(s, ""));
    qn_reader_close(r);
    qn_text_free(&t);
}
END_TEST

START_TEST(a_scalar_is_accepted)
{
    accepted("{" TENSOR("s", "F32", "[]", "[0,4]") "}", 4, 1);
}
END_TEST

START_TEST(empty_tensors_are_accepted)
{
    accepted("{" TENSOR("e", "F32", "[2,0,3]", "[0,0]") "," TENSOR(
                 "f", "U8", "[2]", "[0,2]") "," TENSOR("g", "F16", "[0]", "[2,2]") "}",
             2, 3);
}
END_TEST

START_TEST(a_file_without_tensors_is_accepted)
{
    accepted("{}", 0, 0);
    accepted("{\"__metadata__\":{}}", 0, 0);
    accepted("{\"__metadata__\":null}", 0, 0);
}
END_TEST

START_TEST(blanks_behind_the_header_are_accepted)
{
    accepted("{" TENSOR("s", "U8", "[1]", "[0,1]") "}   \n\t\r ", 1, 1);
}
END_TEST

START_TEST(a_key_that_nobody_knows_in_an_entry_is_accepted)
{
    accepted("{\"s\":{\"extra\":[1,{}],\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
             1);
}
END_TEST

START_TEST(every_type_of_the_official_library_but_f6_is_accepted)
{
    static const struct {
        const char *name;
        unsigned bits;
    } types[] = {
        {"BOOL", 8},    {"F4", 4},   {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
        {"F8_E8M0", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},
        {"U32", 32},    {"F32", 32}, {"C64", 64}, {"F64", 64}, {"I64", 64},    {"U64", 64},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char header[128];
        const unsigned bytes = 6 * types[i].bits / 8;
        snprintf(header, sizeof header,
                 "{\"t\":{\"dtype\":\"%s\",\"shape\":[3,2],\"data_offsets\":[0,%u]}}",
                 types[i].name, bytes);
        accepted(header, bytes, 1);
    }
}
END_TEST

/* ---- refused: the frame -------------------------------------------------------------------- */

START_TEST(fewer_than_eight_bytes_are_refused)
{
    for (size_t n = 1; n < 8; n++) {
        qn_text t = {0};
        qn_text_add(&t, "\2\0\0\0\0\0\0", n);
        refused_bytes(t, QN_ERR_DATA, "bytes, a safetensors file has 8 and more");
    }
}
END_TEST

START_TEST(a_header_above_100_megabytes_is_refused)
{
    refused_bytes(with_length(100000001, "{}", 0), QN_ERR_DATA, "a header of 100000001 bytes");
    refused_bytes(with_length(UINT64_MAX, "{}", 0), QN_ERR_DATA, "18446744073709551615 bytes");
}
END_TEST

START_TEST(a_header_longer_than_the_file_is_refused)
{
    refused_bytes(with_length(3, "{}", 0), QN_ERR_DATA, "a header of 3 bytes, the file has 2 more");
    refused_bytes(with_length(1, "{}", 0), QN_ERR_DATA, "a header of 1 bytes");
}
END_TEST

START_TEST(a_header_that_does_not_begin_with_a_brace_is_refused)
{
    refused(" {}", 0, "does not begin with '{'");
    refused("[]", 0, "does not begin with '{'");
}
END_TEST

START_TEST(a_header_that_is_no_json_is_refused)
{
    refused("{\"a\":}", 0, "unexpected token near '}'");
    refused("{}x", 0, "at byte 2 of 3: nothing more expected");
    refused("{\"a\xff\":1}", 0, "unable to decode byte 0xff");
    refused("{\"a\\u0000\":1}", 0, "at byte");
}
END_TEST

START_TEST(every_truncation_is_refused)
{
    qn_text t = bytes_of("{" TENSOR("a", "F32", "[2]", "[0,8]") "}", 8);
    qn_test_truncations_refused(&t, name);
    qn_text_free(&t);
}
END_TEST

/* ---- refused: entries ----------------------------------------------------------------------- */

START_TEST(a_repeated_tensor_is_refused)
{
    refused("{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("a", "U8", "[1]", "[1,2]") "}", 2,
            "tensor a is there twice");
}
END_TEST

START_TEST(a_repeated_key_in_an_entry_is_refused)
{
    refused("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
            "duplicate object key");
}
END_TEST

START_TEST(repeated_metadata_is_refused)
{
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is there twice");
    refused("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "key \"a\" is there twice");
}
END_TEST

START_TEST(metadata_that_are_no_strings_are_refused)
{
    refused("{\"__metadata__\":{\"n\":1}}", 0, "__metadata__: \"n\" is not a string");
    refused("{\"__metadata__\":[]}", 0, "'{' expected");
}
END_TEST

START_TEST(overlapping_tensors_are_refused)
{
    refused("{" TENSOR("a", "U8", "[4]", "[0,4]") "," TENSOR("b", "U8", "[4]", "[2,6]") "}", 6,
            "tensor b: begins at 2, the tensor before it ends at 4 (an overlap)");
}
END_TEST

START_TEST(a_hole_is_refused)
{
    refused("{" TENSOR("a", "U8", "[4]", "[0,4]") "," TENSOR("b", "U8", "[4]", "[6,10]") "}", 10,
            "tensor b: begins at 6, the tensor before it ends at 4 (a hole)");
    refused("{" TENSOR("a", "U8", "[4]", "[1,5]") "}", 5, "begins at 1");
}
END_TEST

START_TEST(backward_offsets_are_refused)
{
    refused("{" TENSOR("a", "U8", "[4]", "[4,0]") "}", 4,
            "tensor a: data_offsets go backwards: 4, 0");
}
END_TEST

START_TEST(data_that_do_not_reach_the_end_are_refused)
{
    refused("{" TENSOR("a", "U8", "[4]", "[0,4]") "}", 5, "take 4 bytes, the file has 5");
    refused("{}", 1, "take 0 bytes, the file has 1");
}
END_TEST

START_TEST(data_behind_the_end_are_refused)
{
    refused("{" TENSOR("a", "U8", "[4]", "[0,4]") "}", 3, "tensor a: its 4 bytes at");
}
END_TEST

START_TEST(a_shape_that_overflows_is_refused)
{
    refused("{" TENSOR("a", "U8", "[4294967296,4294967296]", "[0,0]") "}", 0, "is too large");
    refused("{" TENSOR("a", "F32", "[4611686018427387904]", "[0,0]") "}", 0, "is too large");
    refused("{" TENSOR("a", "F32", "[0,4294967296,4294967296]", "[0,0]") "}", 0, "is too large");
    refused("{" TENSOR("a", "F32", "[18446744073709551617]", "[0,4]") "}", 4, "not a size");
}
END_TEST

START_TEST(bytes_that_disagree_with_the_shape_are_refused)
{
    refused("{" TENSOR("a", "F32", "[2,3]", "[0,20]") "}", 20,
            "tensor a: F32 [2, 3] takes 24 bytes, the header gives it 20");
}
END_TEST

START_TEST(half_a_byte_is_refused)
{
    refused("{" TENSOR("a", "F4", "[3]", "[0,2]") "}", 2, "a row of 3 is not a whole number of F4");
}
END_TEST

START_TEST(an_entry_of_another_form_is_refused)
{
    refused("{\"a\":1}", 0, "tensor a: its entry is not an object");
    refused("{\"a\":{}}", 0, "tensor a: dtype is missing");
    refused("{" TENSOR("a", "U8", "3", "[0,3]") "}", 3,
            "tensor a: shape is missing or not an array");
    refused("{" TENSOR("a", "U8", "[-1]", "[0,3]") "}", 3,
            "shape holds something that is not a size");
    refused("{" TENSOR("a", "U8", "[1.0]", "[0,1]") "}", 1, "shape holds something");
    refused("{" TENSOR("a", "U8", "[3]", "[0]") "}", 3, "data_offsets is not a pair of sizes");
    refused("{" TENSOR("a", "U8", "[3]", "[0,-3]") "}", 3, "data_offsets is not a pair");
    refused("{" TENSOR("", "U8", "[1]", "[0,1]") "}", 1, "a tensor without a name");
}
END_TEST

START_TEST(what_we_cannot_hold_is_unsupported)
{
    refused_bytes(bytes_of("{" TENSOR("a", "F6_E2M3", "[4]", "[0,3]") "}", 3), QN_ERR_UNSUPPORTED,
                  "tensor a: dtype F6_E2M3 is unknown");
    refused_bytes(bytes_of("{" TENSOR("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1),
                  QN_ERR_UNSUPPORTED, "tensor a: 9 dimensions, at most 8");
}
END_TEST

START_TEST(an_absurdly_long_entry_is_refused)
{
    qn_text header = {0};
    qn_text_adds(&header, "{\"a\":[0");
    for (int i = 0; i < 100000; i++) qn_text_adds(&header, ",0");
    qn_text_adds(&header, "]}");
    refused(header.s, 0, "a value longer than 65536 bytes");
    qn_text_free(&header);
}
END_TEST

START_TEST(an_absurdly_long_metadata_value_is_refused)
{
    enum { LIMIT = 16 * 1024 * 1024 };
    for (unsigned more = 0; more < 2; more++) {
        qn_text header = {0};
        qn_text_adds(&header, "{\"__metadata__\":{\"k\":\"");
        for (unsigned i = 0; i < LIMIT - 2 + more; i++) qn_text_add(&header, "x", 1);
        qn_text_adds(&header, "\"}}");
        if (more)
            refused(header.s, 0, "a value longer than 16777216 bytes");
        else
            accepted(header.s, 0, 0);
        qn_text_free(&header);
    }
}
END_TEST

/* ---- memory and whole files ------------------------------------------------------------------- */

START_TEST(an_allocation_that_fails_is_reported_and_leaks_nothing)
{
    qn_text t = bytes_of("{" TENSOR("a", "U8", "[4]", "[0,4]") "," TENSOR(
                             "b", "U8", "[4]", "[4,8]") ",\"__metadata__\":{\"k\":\"v\"}}",
                         8);
    qn_test_allocations_fail(&t, name, 8);
    qn_text_free(&t);
}
END_TEST

START_TEST(files_of_other_writers_are_read)
{
    static const struct {
        const char *name;
        size_t n_tensors;
    } files[] = {
        {"safetensors-format/burn/multi_layer.safetensors", 9},
        {"safetensors-format/mlverse/hello.safetensors", 2},
        {"safetensors-format/swift-transformers/tensor-1d-int32.safetensors", 1},
        {"safetensors-format/swift-transformers/tensor-2d-float64.safetensors", 1},
        {"safetensors-format/swift-transformers/tensor-3d-float32.safetensors", 1},
        {"safetensors-format/swift-transformers/tensor-4d-float32.safetensors", 1},
        {"safetensors-format/compressed-tensors/hadamards.safetensors", 66},
        {"models/tiny-random/tiny_llama3/model.safetensors", 21},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        qn_reader *r = NULL;
        qn_error err = {0};
        const char *path = qn_test_data(files[i].name);
        if (!path) continue;
        ck_assert_msg(qn_reader_open(&r, path, &err) == QN_OK, "%s", err.message);
        ck_assert_uint_eq(r->n_tensors, files[i].n_tensors);
        qn_reader_close(r);
    }
}
END_TEST

START_TEST(the_known_attempt_at_abuse_is_refused)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    const char *path =
        qn_test_data("malformed/safetensors/safetensors_abuse_attempt_1.safetensors");
    if (!path) return;
    ck_assert_int_eq(qn_reader_open(&r, path, &err), QN_ERR_DATA);
    ck_assert_ptr_nonnull(strstr(err.message, "a header of 1000 bytes, the file has 80 more"));
}
END_TEST

START_TEST(two_hundred_thousand_tensors_open)
{
    enum { N = 200000 };
    qn_text header = {0};
    for (unsigned i = 0; i < N; i++)
        qn_text_addf(&header,
                     "%c\"model.layers.%u.mlp.experts.%u.gate_proj.weight\":{\"dtype\":\"BF16\","
                     "\"shape\":[2,4],\"data_offsets\":[%u,%u]}",
                     i ? ',' : '{', i / 500, i % 500, i * 16, i * 16 + 16);
    qn_text_adds(&header, "}");
    qn_text t = bytes_of(header.s, 16 * N);
    qn_reader *r = qn_test_opened(&t, name);
    ck_assert_uint_eq(r->n_tensors, N);
    const qn_tensor *last = qn_reader_find(r, "model.layers.399.mlp.experts.499.gate_proj.weight");
    ck_assert(last && last->offset == t.n - 16);
    qn_reader_close(r);
    qn_text_free(&t);
    qn_text_free(&header);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("safetensors");
    TCase *t = qn_test_group(s, "accepted");
    tcase_add_test(t, tensors_come_in_the_order_of_their_data);
    tcase_add_test(t, a_scalar_is_accepted);
    tcase_add_test(t, empty_tensors_are_accepted);
    tcase_add_test(t, a_file_without_tensors_is_accepted);
    tcase_add_test(t, blanks_behind_the_header_are_accepted);
    tcase_add_test(t, a_key_that_nobody_knows_in_an_entry_is_accepted);
    tcase_add_test(t, every_type_of_the_official_library_but_f6_is_accepted);
    t = qn_test_group(s, "refused");
    tcase_add_test(t, fewer_than_eight_bytes_are_refused);
    tcase_add_test(t, a_header_above_100_megabytes_is_refused);
    tcase_add_test(t, a_header_longer_than_the_file_is_refused);
    tcase_add_test(t, a_header_that_does_not_begin_with_a_brace_is_refused);
    tcase_add_test(t, a_header_that_is_no_json_is_refused);
    tcase_add_test(t, every_truncation_is_refused);
    tcase_add_test(t, a_repeated_tensor_is_refused);
    tcase_add_test(t, a_repeated_key_in_an_entry_is_refused);
    tcase_add_test(t, repeated_metadata_is_refused);
    tcase_add_test(t, metadata_that_are_no_strings_are_refused);
    tcase_add_test(t, overlapping_tensors_are_refused);
    tcase_add_test(t, a_hole_is_refused);
    tcase_add_test(t, backward_offsets_are_refused);
    tcase_add_test(t, data_that_do_not_reach_the_end_are_refused);
    tcase_add_test(t, data_behind_the_end_are_refused);
    tcase_add_test(t, a_shape_that_overflows_is_refused);
    tcase_add_test(t, bytes_that_disagree_with_the_shape_are_refused);
    tcase_add_test(t, half_a_byte_is_refused);
    tcase_add_test(t, an_entry_of_another_form_is_refused);
    tcase_add_test(t, what_we_cannot_hold_is_unsupported);
    tcase_add_test(t, an_absurdly_long_entry_is_refused);
    tcase_add_test(t, an_absurdly_long_metadata_value_is_refused);
    t = qn_test_group(s, "whole files");
    tcase_add_test(t, an_allocation_that_fails_is_reported_and_leaks_nothing);
    tcase_add_test(t, files_of_other_writers_are_read);
    tcase_add_test(t, the_known_attempt_at_abuse_is_refused);
    tcase_add_test(t, two_hundred_thousand_tensors_open);
    return qn_test_run_suite(s);
}
