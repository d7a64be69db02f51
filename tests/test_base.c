/* formats/base: errors, memory, strings, names, wire format, digests. */
#include <check.h>
#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/digest.h"
#include "formats/base/names.h"
#include "formats/base/sizes.h"
#include "formats/base/wire.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

/* ---- errors ----------------------------------------------------------------------- */

START_TEST(a_failure_keeps_its_status_and_words)
{
    qn_error err = {0};
    ck_assert_int_eq(qn_fail(&err, QN_ERR_DATA, "%s: %d and %d", "a.gguf", 3, 4), QN_ERR_DATA);
    ck_assert_int_eq(err.status, QN_ERR_DATA);
    ck_assert_str_eq(err.message, "a.gguf: 3 and 4");
    ck_assert_int_eq(qn_fail(NULL, QN_ERR_MEMORY, "nobody listens"), QN_ERR_MEMORY);
}
END_TEST

START_TEST(the_systems_reason_stands_behind_the_words)
{
    qn_error err = {0};
    errno = ENOSPC;
    ck_assert_int_eq(qn_fail_errno(&err, "%s: cannot write", "x"), QN_ERR_SYSTEM);
    ck_assert_str_eq(err.message, "x: cannot write: No space left on device");
}
END_TEST

START_TEST(control_characters_do_not_reach_the_terminal)
{
    qn_error err = {0};
    qn_fail(&err, QN_ERR_DATA, "tensor %s", "a\x1b[31m\nb\x7f");
    ck_assert_str_eq(err.message, "tensor a?[31m?b?");
    qn_fail(&err, QN_ERR_DATA, "tensor %s",
            "\xc2\x9b"
            "31m\xc2\xa0\xc3\x9b\xc2");
    ck_assert_str_eq(err.message, "tensor ??31m\xc2\xa0\xc3\x9b\xc2");
}
END_TEST

START_TEST(a_message_may_quote_the_one_before_it)
{
    qn_error err = {0};
    qn_fail(&err, QN_ERR_DATA, "inner");
    qn_fail(&err, QN_ERR_DATA, "outer: %s", err.message);
    ck_assert_str_eq(err.message, "outer: inner");
}
END_TEST

START_TEST(a_long_message_is_cut_between_characters)
{
    qn_error err = {0};
    char text[1024];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 4 < sizeof text; i += 3) memcpy(text + i, "\xE2\x96\x81", 4);
        qn_fail(&err, QN_ERR_DATA, "%s", text);
        const size_t n = strlen(err.message);
        ck_assert_uint_gt(n, sizeof err.message - 5);
        unsigned cp;
        for (size_t i = 0, used; i < n; i += used) {
            used = qn_utf8_decode(err.message + i, n - i, &cp);
            ck_assert_uint_ne(used, 0);
        }
    }
}
END_TEST

/* ---- memory ----------------------------------------------------------------------- */

START_TEST(an_impossible_product_gives_no_memory)
{
    ck_assert_ptr_null(qn_alloc(SIZE_MAX / 2, 3));
    ck_assert_ptr_null(qn_resize(NULL, SIZE_MAX / 2, 3));
    ck_assert_ptr_null(qn_alloc_aligned(64, SIZE_MAX / 2, 3));
    void *empty = qn_alloc(0, 8);
    ck_assert_ptr_nonnull(empty);
    qn_free(empty);
}
END_TEST

START_TEST(only_the_chosen_allocation_fails)
{
    qn_alloc_fail_at(3);
    void *a = qn_alloc(1, 1), *b = qn_alloc(1, 1), *c = qn_alloc(1, 1), *d = qn_alloc(1, 1);
    ck_assert(a && b && !c && d);
    qn_free(a);
    qn_free(b);
    qn_free(d);
}
END_TEST

START_TEST(aligned_memory_is_aligned)
{
    for (size_t align = 1; align <= 16384; align *= 2) {
        void *p = qn_alloc_aligned(align, 3, 5);
        ck_assert_uint_eq((uintptr_t)p % align, 0);
        qn_free(p);
    }
}
END_TEST

START_TEST(what_an_arena_gave_stays_apart_and_zeroed)
{
    enum { N = 3000 };
    qn_arena *a = qn_arena_new();
    unsigned char *p[N];
    size_t size[N];
    for (size_t i = 0; i < N; i++) {
        size[i] = i % 97 == 0 ? 20000 : i % 61;
        p[i] = qn_arena_alloc(a, 1, size[i]);
        ck_assert_uint_eq((uintptr_t)p[i] % alignof(max_align_t), 0);
        for (size_t j = 0; j < size[i]; j++)
            if (p[i][j]) ck_abort_msg("piece %zu, byte %zu", i, j);
        memset(p[i], (int)(i % 251 + 1), size[i]);
    }
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < size[i]; j++)
            if (p[i][j] != i % 251 + 1) ck_abort_msg("piece %zu, byte %zu", i, j);
    ck_assert_ptr_null(qn_arena_alloc(a, SIZE_MAX, 2));
    ck_assert_ptr_null(qn_arena_alloc(a, SIZE_MAX, 1));
    qn_arena_free(a);
    qn_arena_free(NULL);
}
END_TEST

START_TEST(growth_never_wraps)
{
    ck_assert_uint_ge(qn_grow(0, 1), 1);
    ck_assert_uint_ge(qn_grow(100, 101), 150);
    ck_assert_uint_ge(qn_grow(SIZE_MAX - 1, SIZE_MAX), SIZE_MAX - 1);
}
END_TEST

START_TEST(sizes_say_when_they_overflow)
{
    uint64_t v = 7;
    ck_assert(!qn_add_u64(UINT64_MAX, 1, &v) && !qn_mul_u64(1ull << 33, 1ull << 31, &v));
    ck_assert(!qn_align_u64(UINT64_MAX - 3, 32, &v));
    ck_assert_uint_eq(v, 7);
    ck_assert(qn_mul_u64(1ull << 32, (1ull << 32) - 1, &v));
    ck_assert_uint_eq(v, 0xFFFFFFFF00000000);
    ck_assert(qn_align_u64(33, 32, &v));
    ck_assert_uint_eq(v, 64);
}
END_TEST

/* ---- strings ----------------------------------------------------------------------- */

START_TEST(a_growing_string_holds_what_was_added)
{
    qn_text t = {0};
    for (int i = 0; i < 500; i++) {
        qn_text_addf(&t, "%d,", i);
        qn_text_adds(&t, "ab");
        qn_text_add(&t, "\0c", 2);
    }
    ck_assert(!t.failed);
    char *p = t.s;
    for (int i = 0; i < 500; i++) {
        char piece[16];
        const int n = snprintf(piece, sizeof piece, "%d,ab", i);
        ck_assert_int_eq(memcmp(p, piece, (size_t)n + 1), 0);
        ck_assert_int_eq(p[n + 1], 'c');
        p += n + 2;
    }
    ck_assert_uint_eq((size_t)(p - t.s), t.n);
    ck_assert_int_eq(*p, 0);
    qn_text_free(&t);
}
END_TEST

START_TEST(a_growing_string_remembers_that_memory_ran_out)
{
    qn_text t = {0};
    qn_alloc_fail_at(1);
    qn_text_adds(&t, "lost");
    qn_text_adds(&t, "also lost");
    ck_assert(t.failed);
    ck_assert_uint_eq(t.n, 0);
    qn_text_free(&t);
}
END_TEST

START_TEST(paths_are_joined_and_taken_apart)
{
    static const char *const cases[][2] = {
        {"a/b.gguf", "b.gguf"}, {"b", "b"}, {"/x/y//", "y"}, {"/", "/"}, {"", ""}, {"./d/", "d"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *base = qn_path_base(cases[i][0]);
        ck_assert_str_eq(base, cases[i][1]);
        qn_free(base);
    }
    static const char *const parts[][3] = {
        {"a/b/c", "a/b", "c"}, {"c", ".", "c"}, {"/c", "/", "c"}, {"a/b/", "a/b", "a/b/"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *parent = qn_path_parent(parts[i][0]);
        ck_assert_str_eq(parent, parts[i][1]);
        qn_free(parent);
        ck_assert_str_eq(qn_path_name(parts[i][0]), parts[i][2]);
    }
    char *joined = qn_path_join("a/", "b"), *other = qn_path_join("a", "b");
    ck_assert_str_eq(joined, "a/b");
    ck_assert_str_eq(other, "a/b");
    qn_free(joined);
    qn_free(other);
}
END_TEST

START_TEST(prefixes_and_suffixes_are_bytes)
{
    const qn_str s = qn_str_z("model.safetensors");
    ck_assert(qn_str_starts(s, "model") && qn_str_ends(s, ".safetensors"));
    ck_assert(!qn_str_starts(s, "models") && !qn_str_ends(qn_str_z("s"), ".s"));
    ck_assert(qn_str_starts(s, "") && qn_str_is(qn_str_of(NULL, 0), ""));
    ck_assert(!qn_str_is(qn_str_of("ab\0", 3), "ab"));
}
END_TEST

START_TEST(every_code_point_survives_utf8)
{
    for (unsigned cp = 0; cp <= 0x10FFFF; cp++) {
        if (cp >= 0xD800 && cp <= 0xDFFF) continue;
        char bytes[4];
        unsigned back = 0;
        const size_t n = qn_utf8_encode(cp, bytes);
        if (n != (cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4))
            ck_abort_msg("U+%04X", cp);
        if (qn_utf8_decode(bytes, n, &back) != n || back != cp) ck_abort_msg("U+%04X", cp);
        if (qn_utf8_decode(bytes, n - 1, &back)) ck_abort_msg("U+%04X cut", cp);
    }
}
END_TEST

START_TEST(ill_formed_utf8_is_refused)
{
    static const char *const bad[] = {
        "\x80",
        "\xC0\x80",
        "\xC1\xBF",
        "\xE0\x9F\xBF",
        "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFF",
        "\xE2\x28\xA1",
        "\xC2",
        "\xE2\x82",
        "\xF0\x9F\x98",
    };
    unsigned cp;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(qn_utf8_decode(bad[i], strlen(bad[i]), &cp) == 0, "case %zu", i);
}
END_TEST

/* ---- names -------------------------------------------------------------------------- */

START_TEST(every_name_is_found_and_no_other)
{
    enum { N = 20000 };
    static char keys[N][16];
    qn_names *m = qn_names_new(0);
    for (uint32_t i = 0; i < N; i++) {
        const size_t n = (size_t)snprintf(keys[i], sizeof keys[i], "blk.%u", i);
        ck_assert_int_eq(qn_names_add(m, qn_str_of(keys[i], n), i * 3, NULL), QN_OK);
    }
    bool present = false;
    ck_assert_int_eq(qn_names_add(m, qn_str_z("blk.7"), 99, &present), QN_OK);
    ck_assert(present);
    ck_assert_uint_eq(qn_names_count(m), N);
    for (uint32_t i = 0; i < N; i++) ck_assert_uint_eq(qn_names_find(m, qn_str_z(keys[i])), i * 3);
    ck_assert_uint_eq(qn_names_find(m, qn_str_z("blk.")), UINT32_MAX);
    ck_assert_uint_eq(qn_names_find(m, qn_str_of("", 0)), UINT32_MAX);
    ck_assert_int_eq(qn_names_add(m, qn_str_of(NULL, 0), 5, &present), QN_OK);
    ck_assert(!present);
    ck_assert_uint_eq(qn_names_find(m, qn_str_of("", 0)), 5);
    qn_names_free(m);
    qn_names_free(NULL);
}
END_TEST

START_TEST(a_map_without_memory_keeps_what_it_had)
{
    for (unsigned long fail = 1; fail < 4; fail++) {
        qn_names *m = qn_names_new(0);
        ck_assert_int_eq(qn_names_add(m, qn_str_z("kept"), 1, NULL), QN_OK);
        static char keys[40][16];
        qn_alloc_fail_at(fail);
        qn_status status = QN_OK;
        for (int i = 0; i < 40 && !status; i++) {
            snprintf(keys[i], sizeof keys[i], "k%d", i);
            status = qn_names_add(m, qn_str_z(keys[i]), 2, NULL);
        }
        qn_alloc_fail_at(0);
        ck_assert_int_eq(status, QN_ERR_MEMORY);
        ck_assert_uint_eq(qn_names_find(m, qn_str_z("kept")), 1);
        ck_assert_int_eq(qn_names_add(m, qn_str_z("later"), 3, NULL), QN_OK);
        ck_assert_uint_eq(qn_names_find(m, qn_str_z("later")), 3);
        qn_names_free(m);
    }
}
END_TEST

/* ---- protocol buffers ------------------------------------------------------------------ */

START_TEST(the_examples_of_the_encoding_guide_are_read)
{
    static const char bytes[] = "\x08\x96\x01"
                                "\x12\x07testing"
                                "\x1d\1\2\3\4"
                                "\x21\1\0\0\0\0\0\0\x80"
                                "\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    qn_wire w = qn_wire_of(qn_str_of(bytes, sizeof bytes - 1));
    qn_wire_field f;
    ck_assert(qn_wire_next(&w, &f) && f.number == 1 && f.kind == QN_WIRE_VARINT && f.value == 150);
    ck_assert(qn_wire_next(&w, &f) && f.number == 2 && f.kind == QN_WIRE_BYTES);
    ck_assert(qn_str_is(f.bytes, "testing"));
    ck_assert(qn_wire_next(&w, &f) && f.number == 3 && f.kind == QN_WIRE_32 &&
              f.value == 0x04030201);
    ck_assert(qn_wire_next(&w, &f) && f.number == 4 && f.kind == QN_WIRE_64 &&
              f.value == 0x8000000000000001u);
    ck_assert(qn_wire_next(&w, &f) && f.number == 5 && f.value == UINT64_MAX);
    ck_assert(!qn_wire_next(&w, &f) && !w.bad);
}
END_TEST

START_TEST(broken_wire_bytes_are_bad_and_stay_bad)
{
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\x08", 1},
        {"\x08\x96", 2},
        {"\x12\x07"
         "test",
         6},
        {"\x1d\1\2\3", 4},
        {"\x21\1\0\0\0", 5},
        {"\x0b", 1},
        {"\x0e\0", 2},
        {"\x00\x01", 2},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qn_wire_field f = {0};
        qn_wire w = qn_wire_of(qn_str_of(bad[i].bytes, bad[i].n));
        ck_assert_msg(!qn_wire_next(&w, &f) && w.bad, "case %zu", i);
        ck_assert(!qn_wire_next(&w, &f));
    }
}
END_TEST

/* ---- digests ------------------------------------------------------------------------------ */

START_TEST(sha256_of_abc_is_fips_180s)
{
    static const char want[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    char hex[65];
    qn_sha256_hex("abc", 3, hex);
    ck_assert_str_eq(hex, want);
    ck_assert_int_eq(qn_sha256_file(qn_test_file("abc", "abc", 3), hex, NULL), QN_OK);
    ck_assert_str_eq(hex, want);
    qn_sha256_hex(NULL, 0, hex);
    ck_assert_str_eq(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
END_TEST

START_TEST(a_file_of_many_pieces_hashes_like_its_bytes)
{
    enum { N = 300001 };
    static char bytes[N];
    char whole[65], streamed[65];
    for (int i = 0; i < N; i++) bytes[i] = (char)(i * 7 + i / 256);
    qn_sha256_hex(bytes, N, whole);
    ck_assert_int_eq(qn_sha256_file(qn_test_file("long", bytes, N), streamed, NULL), QN_OK);
    ck_assert_str_eq(whole, streamed);
    ck_assert_int_eq(qn_sha256_file(qn_test_path("absent"), streamed, NULL), QN_ERR_SYSTEM);
}
END_TEST

START_TEST(xxh3_of_nothing_is_the_published_one)
{
    ck_assert_uint_eq(qn_xxh3(NULL, 0), 0x2D06800538D394C2u);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base");
    TCase *t = qn_test_group(s, "errors");
    tcase_add_test(t, a_failure_keeps_its_status_and_words);
    tcase_add_test(t, the_systems_reason_stands_behind_the_words);
    tcase_add_test(t, control_characters_do_not_reach_the_terminal);
    tcase_add_test(t, a_message_may_quote_the_one_before_it);
    tcase_add_test(t, a_long_message_is_cut_between_characters);
    t = qn_test_group(s, "memory");
    tcase_add_test(t, an_impossible_product_gives_no_memory);
    tcase_add_test(t, only_the_chosen_allocation_fails);
    tcase_add_test(t, aligned_memory_is_aligned);
    tcase_add_test(t, what_an_arena_gave_stays_apart_and_zeroed);
    tcase_add_test(t, growth_never_wraps);
    tcase_add_test(t, sizes_say_when_they_overflow);
    t = qn_test_group(s, "strings");
    tcase_add_test(t, a_growing_string_holds_what_was_added);
    tcase_add_test(t, a_growing_string_remembers_that_memory_ran_out);
    tcase_add_test(t, paths_are_joined_and_taken_apart);
    tcase_add_test(t, prefixes_and_suffixes_are_bytes);
    tcase_add_test(t, every_code_point_survives_utf8);
    tcase_add_test(t, ill_formed_utf8_is_refused);
    t = qn_test_group(s, "names");
    tcase_add_test(t, every_name_is_found_and_no_other);
    tcase_add_test(t, a_map_without_memory_keeps_what_it_had);
    t = qn_test_group(s, "wire and digests");
    tcase_add_test(t, the_examples_of_the_encoding_guide_are_read);
    tcase_add_test(t, broken_wire_bytes_are_bad_and_stay_bad);
    tcase_add_test(t, sha256_of_abc_is_fips_180s);
    tcase_add_test(t, a_file_of_many_pieces_hashes_like_its_bytes);
    tcase_add_test(t, xxh3_of_nothing_is_the_published_one);
    return qn_test_run_suite(s);
}
