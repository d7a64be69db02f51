/* Encoding and decoding against the tokenizers library: the vectors of every
 * golden tokenizer, made with tokenizers 0.23.3 (models/golden/README.md). */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/tokenizer/tokenizer.h"
#include "tests/support/data.h"

typedef struct {
    qn_vocab *v;
    qn_tokenizer *t;
    uint32_t *ids;
    size_t n, capacity;
} runner;

static bool open_runner(runner *r, const char *name)
{
    qn_error err = {0};
    const char *dir = qn_test_data(name);
    *r = (runner){0};
    if (!dir) return false;
    ck_assert_msg(!qn_vocab_from_directory(&r->v, dir, 0, NULL, &err), "%s", err.message);
    ck_assert_msg(!qn_tokenizer_new(&r->t, r->v, &err), "%s", err.message);
    return true;
}

static void close_runner(runner *r)
{
    qn_free(r->ids);
    qn_tokenizer_free(r->t);
    qn_vocab_free(r->v);
}

static void encode(runner *r, qn_str text, bool add_special, bool parse_special)
{
    qn_error err = {0};
    r->n = 0;
    ck_assert_msg(!qn_tokenizer_encode(r->t, text, (qn_encode_options){add_special, parse_special},
                                       &r->ids, &r->n, &r->capacity, &err),
                  "%s", err.message);
}

static qn_str string_of(const json_t *s)
{
    return qn_str_of(json_string_value(s), json_string_length(s));
}

static void check_ids(const runner *r, const json_t *expected, const char *what, qn_str text)
{
    ck_assert_msg(json_array_size(expected) == r->n, "%s: %zu ids, expected %zu: %.*s", what, r->n,
                  json_array_size(expected), (int)text.n, text.s);
    for (size_t i = 0; i < r->n; i++)
        ck_assert_msg(json_integer_value(json_array_get(expected, i)) == r->ids[i],
                      "%s: id %zu is %u, expected %lld: %.*s", what, i, r->ids[i],
                      (long long)json_integer_value(json_array_get(expected, i)), (int)text.n,
                      text.s);
}

static void check_decoded(const runner *r, const json_t *expected, bool skip_special)
{
    qn_error err = {0};
    qn_text out = {0};
    ck_assert(!qn_tokenizer_decode(r->t, r->ids, r->n, skip_special, &out, &err));
    const qn_str want = string_of(expected);
    ck_assert_msg(out.n == want.n && (!want.n || memcmp(out.s, want.s, want.n) == 0),
                  "decoded '%.*s', expected '%.*s'", (int)out.n, out.s, (int)want.n, want.s);
    qn_text_free(&out);
}

static const char *const golden[] = {"llama3", "smollm", "qwen2", "spm", "phi3", "gemma", "gemma4"};

/* llama_cpp_specials_as_text is given where it makes a difference; where
 * llama.cpp has no such rule (NFC, rstrip), `llama_cpp` marks the case. */
START_TEST(golden_tokenizers_give_the_ids_of_the_reference)
{
    char name[128], file[160];
    runner r;
    json_error_t e;
    snprintf(name, sizeof name, "models/golden/tokenizers/%s", golden[_i]);
    snprintf(file, sizeof file, "%s/vectors.json", name);
    const char *vectors = qn_test_data(file);
    if (!vectors || !open_runner(&r, name)) return;
    json_t *root = json_load_file(vectors, JSON_ALLOW_NUL, &e);
    ck_assert_msg(root != NULL, "%s", e.text);
    size_t i;
    size_t as_text = 0;
    json_t *c;
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        const qn_str text = string_of(json_object_get(c, "text"));
        encode(&r, text, false, true);
        check_ids(&r, json_object_get(c, "ids_plain"), "plain", text);
        encode(&r, text, true, true);
        check_ids(&r, json_object_get(c, "ids"), "with specials", text);
        encode(&r, text, false, true);
        check_decoded(&r, json_object_get(c, "decoded"), false);
        check_decoded(&r, json_object_get(c, "decoded_skip_special"), true);
        const json_t *plain = json_object_get(c, "llama_cpp_specials_as_text");
        if (!plain || json_object_get(c, "llama_cpp")) continue;
        encode(&r, text, false, false);
        check_ids(&r, plain, "specials as text", text);
        as_text++;
    }
    printf("%s: %zu cases, %zu with specials as text\n", golden[_i], i, as_text);
    json_decref(root);
    close_runner(&r);
}
END_TEST

int main(void)
{
    TCase *vectors = tcase_create("vectors");
    tcase_set_timeout(vectors, 60);
    tcase_add_loop_test(vectors, golden_tokenizers_give_the_ids_of_the_reference, 0,
                        sizeof golden / sizeof golden[0]);
    Suite *suite = suite_create("tokenizer");
    suite_add_tcase(suite, vectors);
    SRunner *runner_ = srunner_create(suite);
    srunner_run_all(runner_, CK_ENV);
    const int failed = srunner_ntests_failed(runner_);
    srunner_free(runner_);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
