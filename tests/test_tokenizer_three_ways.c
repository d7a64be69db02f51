/* One vocabulary read three ways (tokenizer.model with what lies beside it,
 * tokenizer.json alone, GGUF's keys) gives the same ids for random Unicode. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"

enum { TEXTS = 1500, SEED = 6 };

static const struct {
    const char *name;
    bool has_model;
    /* A token takes the spaces behind it along, which GGUF has no key for. */
    bool takes_spaces;
} golden[] = {{"llama3", false, false}, {"smollm", false, false}, {"qwen2", false, false},
              {"gemma4", false, false}, {"spm", true, false},     {"gemma", true, false},
              {"phi3", true, true}};

/* Pieces of text that rules are about, and characters from everywhere. */
static void add_random(qn_random *random, bool specials, qn_text *out)
{
    static const char *const pieces[] = {
        "the ",         " and",         "  ",  "   ",  "\n",     "\r\n",
        "\t",           "I'm",          "'LL", "1234", "\u00e9", "e\u0301",
        "\u2581",       "\u4e16\u754c", ".",   "!?",   "\u3000", "\U0001f642\u200d",
        "\u0e01\u0e33", "Hello"};
    static const char *const tokens[] = {"<s>",     "</s>",  "<bos>",      "<|im_start|>",
                                         "<|end|>", "<pad>", "<|eot_id|>", "<start_of_turn>"};
    static const unsigned ends[] = {0x80, 0x250, 0x900, 0x3100, 0xd800, 0x20000};
    const uint64_t kind = qn_random_bits(random) % 8;
    char character[4];
    if (kind < 4) {
        qn_text_adds(out, pieces[qn_random_bits(random) % (sizeof pieces / sizeof *pieces)]);
    } else if (kind == 4 && specials) {
        qn_text_adds(out, tokens[qn_random_bits(random) % (sizeof tokens / sizeof *tokens)]);
    } else {
        unsigned c =
            1 + (unsigned)(qn_random_bits(random) %
                           (ends[qn_random_bits(random) % (sizeof ends / sizeof *ends)] - 1));
        if (c >= 0xd800 && c < 0xe000) c = 0xfffd;
        qn_text_add(out, character, qn_utf8_encode(c, character));
    }
}

static void copy(const char *from, const char *name)
{
    char path[160];
    char *bytes;
    size_t n;
    qn_error err = {0};
    snprintf(path, sizeof path, "%s/%s", from, name);
    ck_assert_msg(!qn_read_file(qn_test_data(path), 1 << 24, &bytes, &n, &err), "%s", err.message);
    snprintf(path, sizeof path, "json/%s", name);
    qn_test_file(path, bytes, n);
    qn_free(bytes);
}

static void open_json(qn_test_tokenizer *r, const char *from)
{
    qn_error err = {0};
    qn_vocab *v = NULL;
    qn_test_subdirectory("json");
    copy(from, "tokenizer.json");
    copy(from, "tokenizer_config.json");
    ck_assert_msg(!qn_vocab_from_directory(&v, qn_test_path("json"), NULL, &err), "%s",
                  err.message);
    qn_test_tokenizer_take(r, v);
}

static void open_keys(qn_test_tokenizer *r, qn_metadata *m, const qn_vocab *from)
{
    qn_error err = {0};
    qn_vocab *v = NULL;
    ck_assert_msg(!qn_vocab_write_metadata(from, m, &err), "%s", err.message);
    ck_assert_msg(!qn_vocab_from_metadata(&v, m, "keys", &err), "%s", err.message);
    qn_test_tokenizer_take(r, v);
}

static void check_same(const qn_test_tokenizer *a, qn_test_tokenizer *b, const char *what,
                       qn_str text)
{
    qn_test_encode(b, text, false, true);
    ck_assert_msg(a->n == b->n && (!a->n || !memcmp(a->ids, b->ids, a->n * sizeof *a->ids)),
                  "%s: %zu and %zu ids, seed %d: '%.*s'", what, a->n, b->n, SEED, (int)text.n,
                  text.s);
}

START_TEST(random_texts_give_the_same_ids_three_ways)
{
    char name[96];
    qn_test_tokenizer files, keys, json, json_keys;
    qn_random random = {SEED};
    qn_text text = {0};
    const bool model = golden[_i].has_model;
    snprintf(name, sizeof name, "models/golden/tokenizers/%s", golden[_i].name);
    if (!qn_test_tokenizer_open(&files, name, 0)) return;
    qn_metadata *m = qn_metadata_new(), *json_m = qn_metadata_new();
    open_keys(&keys, m, files.v);
    if (model) open_json(&json, name);
    if (model) open_keys(&json_keys, json_m, json.v);
    for (int i = 0; i < TEXTS; i++) {
        text.n = 0;
        for (uint64_t n = qn_random_bits(&random) % 24; n-- > 0;)
            add_random(&random, !golden[_i].takes_spaces, &text);
        const qn_str one = qn_str_of(text.s ? text.s : "", text.n);
        qn_test_encode(&files, one, false, true);
        check_same(&files, &keys, "keys", one);
        if (model) check_same(&files, &json, "tokenizer.json", one);
        if (model) check_same(&files, &json_keys, "keys of tokenizer.json", one);
    }
    if (model) qn_test_tokenizer_close(&json_keys);
    if (model) qn_test_tokenizer_close(&json);
    qn_test_tokenizer_close(&keys);
    qn_test_tokenizer_close(&files);
    qn_metadata_free(json_m);
    qn_metadata_free(m);
    qn_text_free(&text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer three ways");
    TCase *tc = qn_test_group(suite, "three ways");
    tcase_add_loop_test(tc, random_texts_give_the_same_ids_three_ways, 0,
                        (int)(sizeof golden / sizeof *golden));
    return qn_test_run_suite(suite);
}
