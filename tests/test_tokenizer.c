/* Encoding and decoding against the tokenizers library: the vectors of every
 * golden tokenizer (models/golden/README.md). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tests/support/data.h"
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

int main(void)
{
    const int n = sizeof golden / sizeof golden[0];
    TCase *vectors = tcase_create("vectors");
    tcase_set_timeout(vectors, 60);
    tcase_add_loop_test(vectors, golden_tokenizers_give_the_ids_and_the_text_of_the_reference, 0,
                        n);
    tcase_add_loop_test(vectors, special_tokens_stay_text_when_they_are_not_parsed, 0, n);
    Suite *suite = suite_create("tokenizer");
    suite_add_tcase(suite, vectors);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
