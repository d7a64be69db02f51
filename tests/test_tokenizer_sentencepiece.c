/* SentencePiece's own algorithms against its own library: the vectors of
 * tests/oracle/make-sentencepiece.py; and charsmaps that lie. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/tokenizer/charsmap.h"
#include "formats/tokenizer/vocab.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"

static const char *const made[] = {"unigram", "bpe", "user"};

static json_t *vectors_of(const char *name)
{
    char file[96];
    snprintf(file, sizeof file, "tokenizers/made/sentencepiece-%s/vectors.json", name);
    return qn_test_json(qn_test_data(file));
}

static char *read_model(const char *name, size_t *n)
{
    char *bytes;
    qn_error err = {0};
    ck_assert_msg(!qn_read_file(qn_test_data(name), 1 << 24, &bytes, n, &err), "%s", err.message);
    return bytes;
}

/* From a tokenizer.model alone, as the vectors say. */
static void open_made(qn_test_tokenizer *r, const json_t *vectors)
{
    size_t n;
    qn_error err = {0};
    qn_vocab *v = NULL;
    char *bytes = read_model(json_string_value(json_object_get(vectors, "model")), &n);
    const json_t *at = json_object_get(vectors, "model_type_at");
    if (at) bytes[json_integer_value(at)] = 2;
    qn_test_subdirectory("model");
    qn_test_file("model/tokenizer.model", bytes, n);
    ck_assert_msg(!qn_vocab_from_directory(&v, qn_test_path("model"), NULL, &err), "%s",
                  err.message);
    qn_test_tokenizer_take(r, v);
    qn_free(bytes);
}

static void check_cases(qn_test_tokenizer *r, const json_t *vectors, const char *what)
{
    size_t i;
    const json_t *c;
    json_array_foreach(json_object_get(vectors, "cases"), i, c)
    {
        qn_error err = {0};
        qn_text back = {0};
        const qn_str text = qn_test_string(json_object_get(c, "text"));
        const json_t *decoded = json_object_get(c, "decoded");
        qn_test_encode(r, text, false, false);
        qn_test_same_ids(r, json_object_get(c, "ids"), what, text);
        ck_assert(!qn_tokenizer_decode(r->t, r->ids, r->n, false, &back, &err));
        if (decoded)
            ck_assert_msg(qn_str_equal(qn_str_of(back.s, back.n), qn_test_string(decoded)),
                          "%s: '%.*s' is decoded as '%.*s'", what, (int)text.n, text.s, (int)back.n,
                          back.s);
        qn_text_free(&back);
    }
    ck_assert_uint_gt(i, 100);
}

START_TEST(models_give_the_ids_and_the_text_of_sentencepiece)
{
    qn_test_tokenizer r;
    json_t *vectors = vectors_of(made[_i]);
    open_made(&r, vectors);
    check_cases(&r, vectors, made[_i]);
    qn_test_tokenizer_close(&r);
    json_decref(vectors);
}
END_TEST

START_TEST(gguf_keys_give_them_too)
{
    qn_test_tokenizer r, again;
    qn_error err = {0};
    qn_vocab *v = NULL;
    json_t *vectors = vectors_of(made[_i]);
    qn_metadata *m = qn_metadata_new();
    open_made(&r, vectors);
    ck_assert_msg(!qn_vocab_write_metadata(r.v, m, &err), "%s", err.message);
    ck_assert_msg(!qn_vocab_from_metadata(&v, m, "written", &err), "%s", err.message);
    qn_test_tokenizer_take(&again, v);
    check_cases(&again, vectors, "from keys");
    qn_test_tokenizer_close(&again);
    qn_test_tokenizer_close(&r);
    qn_metadata_free(m);
    json_decref(vectors);
}
END_TEST

/* ---- charsmaps -------------------------------------------------------------------------- */

START_TEST(a_charsmap_whose_sizes_disagree_is_refused)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *words;
    } bad[] = {
        {"", 0, "a trie of 0 bytes in 0"},
        {"\4\0\0", 3, "a trie of 0 bytes in 3"},
        {"\0\0\0\0\0", 5, "a trie of 0 bytes in 5"},
        {"\5\0\0\0\0\0\0\0\0\0", 10, "a trie of 5 bytes in 10"},
        {"\xff\xff\xff\xff\0\0\0\0\0", 9, "a trie of 4294967295 bytes in 9"},
        {"\4\0\0\0\0\0\0\0", 8, "the last of 0 bytes"},
        {"\4\0\0\0\0\0\0\0a", 9, "the last of 1 bytes"},
        /* Unit 1 ends a key, and its value would be unit 1 ^ 64. */
        {"\x08\0\0\0\0\0\0\0\1\1\1\0\0", 13, "unit 1 points"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qn_error err = {0};
        qn_charsmap *c = NULL;
        const qn_status status = qn_charsmap_new(&c, qn_str_of(bad[i].bytes, bad[i].n), "x", &err);
        qn_charsmap_free(c);
        ck_assert_int_eq(status, QN_ERR_DATA);
        ck_assert_msg(strstr(err.message, bad[i].words) != NULL, "%s", err.message);
    }
}
END_TEST

/* A real charsmap, some of its units overwritten. */
static void spoil(qn_random *random, char *bytes, size_t n)
{
    const size_t spoilt = 1 + qn_random_bits(random) % 8;
    for (size_t i = 0; i < spoilt; i++) {
        const uint32_t at = 4 * (uint32_t)(1 + qn_random_bits(random) % (n / 8));
        uint32_t unit;
        memcpy(&unit, bytes + at, sizeof unit);
        unit ^= (uint32_t)qn_random_bits(random) & ((1U << qn_random_bits(random) % 32) - 1);
        memcpy(bytes + at, &unit, sizeof unit);
    }
}

/* Whatever the units say: every match is inside the text, every replacement
 * inside the map.  The sanitizers watch. */
static size_t match_all(const qn_charsmap *c, qn_str map, qn_random *random)
{
    char text[256];
    size_t size = 0, matches = 0;
    while (size + 4 <= sizeof text)
        size += qn_utf8_encode(0xa0 + (unsigned)(qn_random_bits(random) % 0x3300), text + size);
    for (size_t i = 0; i < size; i++) {
        qn_str to;
        const size_t n = qn_charsmap_match(c, qn_str_of(text + i, size - i), &to);
        ck_assert_uint_le(n, size - i);
        if (!n) continue;
        matches++;
        ck_assert(to.s >= map.s && to.s + to.n < map.s + map.n);
    }
    return matches;
}

START_TEST(a_spoilt_charsmap_is_refused_or_stays_inside)
{
    qn_test_tokenizer r;
    qn_random random = {20};
    size_t taken = 0, matches = 0;
    json_t *vectors = vectors_of("unigram");
    open_made(&r, vectors);
    const qn_str good = r.v->charsmap;
    char *bytes = qn_alloc(good.n, 1);
    for (int round = 0; round < 300; round++) {
        qn_error err = {0};
        qn_charsmap *c = NULL;
        memcpy(bytes, good.s, good.n);
        if (round) spoil(&random, bytes, good.n);
        if (qn_charsmap_new(&c, qn_str_of(bytes, good.n), "spoilt", &err)) continue;
        taken++;
        matches += match_all(c, qn_str_of(bytes, good.n), &random);
        qn_charsmap_free(c);
    }
    printf("spoilt charsmaps: %zu taken, %zu matches\n", taken, matches);
    ck_assert_msg(taken > 10 && taken < 300 && matches > 100, "%zu taken, %zu matches", taken,
                  matches);
    qn_free(bytes);
    qn_test_tokenizer_close(&r);
    json_decref(vectors);
}
END_TEST

/* Chat models end a turn with a piece that tokenizer.model does not call its end. */
START_TEST(the_end_that_tokenizer_config_names_ends_a_text)
{
    size_t n;
    qn_error err = {0};
    qn_vocab *v = NULL;
    char *bytes = read_model("models/golden/tokenizers/spm/tokenizer.model", &n), config[64];
    qn_test_subdirectory("named");
    qn_test_file("named/tokenizer.model", bytes, n);
    ck_assert(!qn_vocab_from_directory(&v, qn_test_path("named"), NULL, &err));
    const uint32_t turn = 300, end = 2;
    ck_assert(!qn_vocab_ends(v, turn));
    const int length = snprintf(config, sizeof config, "{\"eos_token\": \"%.*s\"}",
                                (int)v->pieces[turn].n, v->pieces[turn].s);
    qn_vocab_free(v);
    qn_test_file("named/tokenizer_config.json", config, (size_t)length);
    ck_assert(!qn_vocab_from_directory(&v, qn_test_path("named"), NULL, &err));
    ck_assert(qn_vocab_ends(v, turn));
    ck_assert(v->special[QN_SPECIAL_EOS] == end);
    qn_vocab_free(v);
    qn_free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer sentencepiece");
    TCase *tc = qn_test_group(suite, "sentencepiece");
    tcase_add_loop_test(tc, models_give_the_ids_and_the_text_of_sentencepiece, 0, 3);
    tcase_add_loop_test(tc, gguf_keys_give_them_too, 0, 3);
    tcase_add_test(tc, the_end_that_tokenizer_config_names_ends_a_text);
    tcase_add_test(tc, a_charsmap_whose_sizes_disagree_is_refused);
    tcase_add_test(tc, a_spoilt_charsmap_is_refused_or_stays_inside);
    return qn_test_run_suite(suite);
}
