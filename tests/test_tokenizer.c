/* Encoding and decoding against the tokenizers library: the vectors of every
 * golden tokenizer (models/golden/README.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tests/support/data.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"

static void check_decoded(const qn_test_tokenizer *r, const json_t *expected, bool skip_special)
{
    qn_error err = {0};
    qn_text out = {0};
    ck_assert(!qn_tokenizer_decode(r->t, r->ids, r->n, skip_special, &out, &err));
    const qn_str want = qn_test_string(expected);
    ck_assert_msg(out.n == want.n && (!want.n || memcmp(out.s, want.s, want.n) == 0),
                  "decoded '%.*s', expected '%.*s'", (int)out.n, out.s, (int)want.n, want.s);
    qn_text_free(&out);
}

/* ---- models/golden/tokenizers ----------------------------------------------------- */

static const char *const golden[] = {"llama3", "smollm", "qwen2", "spm", "phi3", "gemma", "gemma4"};

static json_t *golden_cases(const char *name)
{
    char file[160];
    snprintf(file, sizeof file, "models/golden/tokenizers/%s/vectors.json", name);
    const char *path = qn_test_data(file);
    return path ? qn_test_json(path) : NULL;
}

START_TEST(golden_tokenizers_give_the_ids_and_the_text_of_the_reference)
{
    char name[128];
    qn_test_tokenizer r;
    size_t i;
    json_t *c, *root = golden_cases(golden[_i]);
    snprintf(name, sizeof name, "models/golden/tokenizers/%s", golden[_i]);
    if (!root || !qn_test_tokenizer_open(&r, name, 0)) return;
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        const qn_str text = qn_test_string(json_object_get(c, "text"));
        qn_test_encode(&r, text, true, true);
        qn_test_same_ids(&r, json_object_get(c, "ids"), "with specials", text);
        qn_test_encode(&r, text, false, true);
        qn_test_same_ids(&r, json_object_get(c, "ids_plain"), "plain", text);
        check_decoded(&r, json_object_get(c, "decoded"), false);
        check_decoded(&r, json_object_get(c, "decoded_skip_special"), true);
    }
    printf("%s: %zu cases\n", golden[_i], i);
    ck_assert_uint_eq(i, 72);
    json_decref(root);
    qn_test_tokenizer_close(&r);
}
END_TEST

/* llama_cpp_specials_as_text stands where it makes a difference.  Where
 * llama_cpp stands too, its rules (no NFC, no rstrip) are others. */
START_TEST(special_tokens_stay_text_when_they_are_not_parsed)
{
    char name[128];
    qn_test_tokenizer r;
    size_t i, compared = 0;
    json_t *c, *root = golden_cases(golden[_i]);
    snprintf(name, sizeof name, "models/golden/tokenizers/%s", golden[_i]);
    if (!root || !qn_test_tokenizer_open(&r, name, 0)) return;
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        const json_t *expected = json_object_get(c, "llama_cpp_specials_as_text");
        const qn_str text = qn_test_string(json_object_get(c, "text"));
        if (!expected || json_object_get(c, "llama_cpp")) continue;
        qn_test_encode(&r, text, false, false);
        qn_test_same_ids(&r, expected, "specials as text", text);
        compared++;
    }
    printf("%s: %zu cases with specials as text\n", golden[_i], compared);
    ck_assert_uint_gt(compared, 0);
    json_decref(root);
    qn_test_tokenizer_close(&r);
}
END_TEST

/* ---- tokenizers/made: rules that no golden one has ---------------------------------- */

static const char *const made[] = {"flags", "metaspace-first", "metaspace-always",
                                   "metaspace-never"};

START_TEST(made_tokenizers_give_the_ids_and_the_text_of_the_reference)
{
    char name[64], file[96];
    qn_test_tokenizer r;
    size_t i;
    json_t *c;
    snprintf(name, sizeof name, "tokenizers/made/%s", made[_i]);
    snprintf(file, sizeof file, "%s/vectors.json", name);
    ck_assert(qn_test_tokenizer_open(&r, name, 0));
    json_t *root = qn_test_json(qn_test_data(file));
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        const qn_str text = qn_test_string(json_object_get(c, "text"));
        const json_t *decoded = json_object_get(c, "decoded");
        qn_test_encode(&r, text, false, true);
        qn_test_same_ids(&r, json_object_get(c, "ids"), "made", text);
        if (decoded) check_decoded(&r, decoded, false);
    }
    ck_assert_uint_eq(i, 60);
    json_decref(root);
    qn_test_tokenizer_close(&r);
}
END_TEST

/* ---- texts that are hard to take --------------------------------------------------------- */

static void check_round_trip(qn_test_tokenizer *r, qn_str text)
{
    qn_error err = {0};
    qn_text out = {0};
    qn_test_encode(r, text, false, false);
    ck_assert(!qn_tokenizer_decode(r->t, r->ids, r->n, false, &out, &err));
    ck_assert_uint_eq(out.n, text.n);
    ck_assert(!memcmp(out.s, text.s, text.n));
    qn_text_free(&out);
}

static const char *const with_bytes[] = {"models/golden/tokenizers/smollm",
                                         "models/golden/tokenizers/llama3",
                                         "models/golden/tokenizers/spm"};

START_TEST(bytes_that_are_no_utf8_come_back)
{
    qn_test_tokenizer r;
    char all[3 * 256];
    ck_assert(qn_test_tokenizer_open(&r, with_bytes[_i], 0));
    for (size_t i = 0; i < 256; i++) {
        all[3 * i] = (char)i;
        all[3 * i + 1] = 'a';
        all[3 * i + 2] = (char)(255 - i);
    }
    check_round_trip(&r, qn_str_of(all, sizeof all));
    check_round_trip(&r, qn_str_of("\xf0\x9f\x99", 3));
    check_round_trip(&r, qn_str_of("caf\xc3", 4));
    check_round_trip(&r, qn_str_of("\xed\xa0\x80 \xc0\xaf", 6));
    check_round_trip(&r, qn_str_of("nul\0nul", 7));
    qn_test_tokenizer_close(&r);
}
END_TEST

/* What is quadratic takes minutes here, and the test's time limit ends it. */
START_TEST(a_word_of_four_megabytes_is_no_harder_than_its_length)
{
    enum { LENGTH = 4 << 20 };
    qn_test_tokenizer r;
    char *word = malloc(LENGTH);
    ck_assert_ptr_nonnull(word);
    ck_assert(qn_test_tokenizer_open(&r, with_bytes[_i], 0));
    for (size_t i = 0; i < LENGTH; i++) word[i] = "etaoinshr"[i * i % 9];
    check_round_trip(&r, qn_str_of(word, LENGTH));
    memset(word, 'e', LENGTH);
    check_round_trip(&r, qn_str_of(word, LENGTH));
    free(word);
    qn_test_tokenizer_close(&r);
}
END_TEST

int main(void)
{
    const int n = sizeof golden / sizeof golden[0];
    Suite *s = suite_create("tokenizer");
    TCase *vectors = qn_test_group(s, "vectors");
    tcase_add_loop_test(vectors, golden_tokenizers_give_the_ids_and_the_text_of_the_reference, 0,
                        n);
    tcase_add_loop_test(vectors, special_tokens_stay_text_when_they_are_not_parsed, 0, n);
    tcase_add_loop_test(vectors, made_tokenizers_give_the_ids_and_the_text_of_the_reference, 0, 4);
    tcase_add_loop_test(vectors, bytes_that_are_no_utf8_come_back, 0, 3);
    tcase_add_loop_test(vectors, a_word_of_four_megabytes_is_no_harder_than_its_length, 0, 3);
    return qn_test_run_suite(s);
}
