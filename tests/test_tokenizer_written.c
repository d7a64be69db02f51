/* A vocabulary from GGUF's keys as a checkpoint's files: read back they are the same
 * keys and the same ids, and what they cannot say is refused. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/base64.h"
#include "formats/tokenizer/written.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"

/* ---- there and back ---------------------------------------------------------------------- */

static qn_status put(void *ctx, const char *name, qn_str text, qn_error *err)
{
    char path[128];
    (void)err;
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    qn_test_file(path, text.s, text.n);
    return QN_OK;
}

/* The written files with the config.json that stands beside them, read. */
static qn_vocab *through_files(const qn_vocab *v, const char *folder, const char *model_type)
{
    char path[128];
    qn_error err = {0};
    qn_vocab *back = NULL;
    json_t *config = json_object();
    qn_test_subdirectory(folder);
    ck_assert_msg(!qn_vocab_to_directory(v, "a.gguf", put, (void *)(uintptr_t)folder, &err), "%s",
                  err.message);
    ck_assert(!qn_vocab_config_ids(v, config, &err));
    char *text = json_dumps(config, 0);
    snprintf(path, sizeof path, "%s/config.json", folder);
    qn_test_file(path, text, strlen(text));
    free(text);
    json_decref(config);
    const qn_vocab_options how = {.size = qn_vocab_size(v), .model_type = model_type};
    ck_assert_msg(!qn_vocab_from_directory(&back, qn_test_path(folder), &how, &err), "%s",
                  err.message);
    return back;
}

static void same_keys(const qn_metadata *a, const qn_metadata *b)
{
    ck_assert_uint_eq(qn_metadata_count(a), qn_metadata_count(b));
    for (size_t i = 0; i < qn_metadata_count(a); i++) {
        const qn_meta_value *x = qn_metadata_at(a, i), *y = qn_metadata_at(b, i);
        ck_assert_msg(qn_str_equal(x->key, y->key), "key %zu: %.*s became %.*s", i, (int)x->key.n,
                      x->key.s, (int)y->key.n, y->key.s);
        ck_assert_msg(x->type == y->type && qn_str_equal(x->bytes, y->bytes), "%.*s differs",
                      (int)x->key.n, x->key.s);
    }
}

/* Folders of data/models with all of a checkpoint's small files, and of tokenizers
 * alone. */
static const struct {
    const char *folder, *model_type;
} golden[] = {{"models/golden/tokenizers/llama3", NULL}, {"models/golden/tokenizers/o200k", NULL},
              {"models/golden/tokenizers/qwen2", NULL},  {"models/golden/tokenizers/smollm", NULL},
              {"models/golden/tokenizers/spm", NULL},    {"models/golden/tokenizers/phi3", "phi3"},
              {"models/golden/tokenizers/gemma", NULL},  {"models/golden/llama", NULL},
              {"models/golden/mistral", NULL},           {"models/golden/smollm3", NULL},
              {"models/golden/qwen3-moe", NULL},         {"models/golden/gpt-oss", NULL},
              {"models/golden/granite-moe", NULL},       {"models/golden/gemma3n", NULL},
              {"models/golden/gemma4-multimodal", NULL}, {"models/golden/gemma4-unified", NULL},
              {"models/trained/quern-demo-gemma4", NULL}};

static void add_random(qn_random *random, qn_text *out)
{
    static const char *const pieces[] = {"the ",  " and", "  ",      "   ",          "\n",  "\r\n",
                                         "I'm",   "1234", "\u00e9",  "e\u0301",      ".",   "\t",
                                         "<pad>", "<s>",  "<|end|>", "\u4e16\u754c", "Hel", "lo "};
    char character[4];
    const unsigned c = 1 + (unsigned)(qn_random_bits(random) % 0x2fff);
    if (qn_random_bits(random) % 3)
        qn_text_adds(out, pieces[qn_random_bits(random) % (sizeof pieces / sizeof *pieces)]);
    else
        qn_text_add(out, character, qn_utf8_encode(c, character));
}

START_TEST(written_files_are_the_keys_they_were_written_from)
{
    enum { TEXTS = 300 };
    qn_test_tokenizer files, keys, written;
    qn_error err = {0};
    qn_vocab *v = NULL;
    qn_random random = {20260824};
    qn_text text = {0};
    if (!qn_test_tokenizer_open(&files, golden[_i].folder, 0)) return;
    char *type = NULL;
    if (files.v->model_type.n) {
        type = qn_strndup(files.v->model_type.s, files.v->model_type.n);
        ck_assert_ptr_nonnull(type);
    }
    qn_metadata *m = qn_metadata_new(), *again = qn_metadata_new();
    ck_assert_msg(!qn_vocab_write_metadata(files.v, m, &err), "%s", err.message);
    ck_assert_msg(!qn_vocab_from_metadata(&v, m, "a.gguf", &err), "%s", err.message);
    qn_test_tokenizer_take(&keys, v);
    v = through_files(keys.v, "written", type ? type : golden[_i].model_type);
    ck_assert_msg(!qn_vocab_write_metadata(v, again, &err), "%s", err.message);
    if (!golden[_i].model_type) same_keys(m, again);
    qn_test_tokenizer_take(&written, v);
    for (int i = 0; i < TEXTS; i++) {
        text.n = 0;
        for (uint64_t n = qn_random_bits(&random) % 24; n-- > 0;) add_random(&random, &text);
        const qn_str one = qn_str_of(text.s ? text.s : "", text.n);
        qn_test_encode(&keys, one, true, true);
        qn_test_encode(&written, one, true, true);
        ck_assert_msg(keys.n == written.n &&
                          !memcmp(keys.ids, written.ids, keys.n * sizeof *keys.ids),
                      "%s: '%.*s'", golden[_i].folder, (int)one.n, one.s);
    }
    qn_test_tokenizer_close(&written);
    qn_test_tokenizer_close(&keys);
    qn_test_tokenizer_close(&files);
    qn_metadata_free(again);
    qn_metadata_free(m);
    qn_text_free(&text);
    qn_free(type);
}
END_TEST

/* ---- made by hand -------------------------------------------------------------------------- */

typedef struct {
    const char *text;
    float score;
    int type;
} piece;

/* A SentencePiece vocabulary of GGUF keys. */
static qn_vocab *vocabulary(qn_metadata *m, const char *model, const piece *pieces, size_t n,
                            bool prefix)
{
    qn_str texts[32];
    float scores[32];
    int32_t types[32];
    qn_error err = {0};
    qn_vocab *v = NULL;
    ck_assert_uint_le(n, 32);
    for (size_t i = 0; i < n; i++) {
        texts[i] = qn_str_z(pieces[i].text);
        scores[i] = pieces[i].score;
        types[i] = pieces[i].type;
    }
    ck_assert(!qn_metadata_set_str(m, "tokenizer.ggml.model", qn_str_z(model), NULL));
    ck_assert(!qn_metadata_set_strs(m, "tokenizer.ggml.tokens", texts, n, NULL));
    ck_assert(!qn_metadata_set_f32s(m, "tokenizer.ggml.scores", scores, n, NULL));
    ck_assert(!qn_metadata_set_i32s(m, "tokenizer.ggml.token_type", types, n, NULL));
    ck_assert(!qn_metadata_set_bool(m, "tokenizer.ggml.add_space_prefix", prefix, NULL));
    ck_assert_msg(!qn_vocab_from_metadata(&v, m, "a.gguf", &err), "%s", err.message);
    return v;
}

#define SPECIAL                                                   \
    {"<unk>", 0, QN_PIECE_UNKNOWN}, {"<s>", 0, QN_PIECE_CONTROL}, \
    {                                                             \
        "</s>", 0, QN_PIECE_CONTROL                               \
    }

START_TEST(merges_come_in_the_order_of_scores)
{
    static const piece pieces[] = {SPECIAL,        {"a", -9, 1},   {"b", -8, 1},  {"c", -7, 1},
                                   {"abc", -2, 1}, {"bc", -3, 1},  {"ab", -1, 1}, {"<u>", -1000, 4},
                                   {"cc", 0, 3},   {"abca", -5, 1}};
    /* ab; abc of ab + c before a + bc, its left part being shorter; bc; abca. */
    static const char *const expected[] = {"a+b", "ab+c", "a+bc", "b+c", "abc+a"};
    qn_metadata *m = qn_metadata_new();
    qn_error err = {0};
    qn_merge *merges;
    size_t n;
    qn_vocab *v = vocabulary(m, "llama", pieces, sizeof pieces / sizeof *pieces, false);
    ck_assert_msg(!qn_vocab_scored_merges(v, "a.gguf", &merges, &n, &err), "%s", err.message);
    ck_assert_uint_eq(n, 5);
    for (size_t i = 0; i < n; i++) {
        char text[32];
        snprintf(text, sizeof text, "%s+%s", pieces[merges[i].left].text,
                 pieces[merges[i].right].text);
        ck_assert_str_eq(text, expected[i]);
    }
    qn_free(merges);
    qn_vocab_free(v);
    qn_metadata_free(m);
}
END_TEST

static const struct {
    const char *model;
    piece pieces[8];
    bool prefix;
    const char *words; /* of the refusal; NULL: none */
} cases[] = {
    {"llama",
     {SPECIAL, {"a", 0, 1}, {"b", 0, 1}, {"ab", -1, 1}, {"ba", -1, 1}},
     false,
     "pieces 5 ('ab') and 6 ('ba') have the same score, -1"},
    {"llama", {SPECIAL, {"a", 0, 1}, {"aa", -1, 1}, {"aaa", -1, 1}}, false, NULL},
    {"llama", {SPECIAL, {"a", 0, 1}, {"ab", -1, 1}}, false, "the character 'b' in it is no piece"},
    {"llama", {SPECIAL, {"a", 0, 1}, {"\xff", -1, 1}}, false, "piece 4, which is no UTF-8"},
    {"llama", {SPECIAL, {"a", 0, 1}, {"[X]", 0, 4}}, true, "user-defined pieces"},
    {"llama", {SPECIAL, {"a", 0, 1}, {"[X]", 0, 4}}, false, NULL},
    {"t5",
     {SPECIAL, {"a", -1, 1}, {"b", -2, 5}, {"ab", -3, 1}},
     false,
     "a unigram model's piece is unused"},
    {"t5", {SPECIAL, {"a", -1, 1}, {"b", -2, 1}, {"[PAD5]", -10000, 5}}, true, NULL},
};

START_TEST(what_the_files_cannot_say_is_refused)
{
    qn_metadata *m = qn_metadata_new();
    qn_error err = {0};
    size_t n = 0;
    while (n < 8 && cases[_i].pieces[n].text) n++;
    qn_vocab *v = vocabulary(m, cases[_i].model, cases[_i].pieces, n, cases[_i].prefix);
    const qn_status status = qn_vocab_to_directory(v, "a.gguf", NULL, NULL, &err);
    if (cases[_i].words) {
        ck_assert_int_eq(status, QN_ERR_UNSUPPORTED);
        ck_assert_msg(strstr(err.message, cases[_i].words) && strstr(err.message, "a.gguf"), "%s",
                      err.message);
    } else {
        ck_assert_msg(!status, "%s", err.message);
        qn_vocab_free(through_files(v, "made", NULL));
    }
    qn_vocab_free(v);
    qn_metadata_free(m);
}
END_TEST

/* RFC 4648, section 10. */
START_TEST(base64_of_the_rfc)
{
    static const char *const vectors[][2] = {{"", ""},
                                             {"f", "Zg=="},
                                             {"fo", "Zm8="},
                                             {"foo", "Zm9v"},
                                             {"foob", "Zm9vYg=="},
                                             {"fooba", "Zm9vYmE="},
                                             {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        qn_text text = {0}, bytes = {0};
        qn_base64_encode(qn_str_z(vectors[i][0]), &text);
        ck_assert_str_eq(text.s ? text.s : "", vectors[i][1]);
        ck_assert(qn_base64_decode(qn_str_z(vectors[i][1]), &bytes));
        ck_assert_str_eq(bytes.s ? bytes.s : "", vectors[i][0]);
        qn_text_free(&text);
        qn_text_free(&bytes);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer written");
    TCase *tc = qn_test_group(suite, "written");
    tcase_add_loop_test(tc, written_files_are_the_keys_they_were_written_from, 0,
                        (int)(sizeof golden / sizeof *golden));
    tcase_add_test(tc, merges_come_in_the_order_of_scores);
    tcase_add_loop_test(tc, what_the_files_cannot_say_is_refused, 0,
                        (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tc, base64_of_the_rfc);
    return qn_test_run_suite(suite);
}
