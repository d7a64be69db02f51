/* Tokenizers whose files are unusual: vocab.json with merges.txt alone, a vocab_size
 * that is out of date, texts that are cleaned up.  Ids and texts of vectors.json are
 * transformers' (tests/oracle/make-tokenizer-files.py). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/model.h"
#include "tests/support/checkpoint.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"

static void write(const char *name, const char *text)
{
    qn_test_file(name, text, strlen(text));
}

/* ---- vocab.json and merges.txt ----------------------------------------------------------- */

/* SmolLM's vocabulary and merges in two files. */
static void write_merges(const char *line_end)
{
    json_t *root = qn_test_json(qn_test_data("models/golden/tokenizers/smollm/tokenizer.json"));
    const json_t *model = json_object_get(root, "model");
    size_t i;
    json_t *merge;
    qn_text merges = {0};
    qn_test_subdirectory("pair");
    char *vocab = json_dumps(json_object_get(model, "vocab"), 0);
    write("pair/vocab.json", vocab);
    free(vocab);
    qn_text_addf(&merges, "#version: 0.2%s", line_end);
    json_array_foreach(json_object_get(model, "merges"), i, merge)
    {
        if (json_is_string(merge))
            qn_text_adds(&merges, json_string_value(merge));
        else
            qn_text_addf(&merges, "%s %s", json_string_value(json_array_get(merge, 0)),
                         json_string_value(json_array_get(merge, 1)));
        qn_text_adds(&merges, line_end);
    }
    qn_test_file("pair/merges.txt", merges.s, merges.n);
    qn_text_free(&merges);
    char added[64];
    snprintf(added, sizeof added, "{\"<X>\": %zu}",
             json_object_size(json_object_get(model, "vocab")));
    write("pair/added_tokens.json", added);
    json_decref(root);
}

static const char *const classes[] = {"GPT2Tokenizer", "Qwen2Tokenizer"};
static const char *const types[] = {"gpt2", "qwen2"};

static void check_vectors(qn_test_tokenizer *r, const char *class)
{
    json_t *root = qn_test_json(qn_test_data("tokenizers/made/files/vectors.json")), *one;
    const json_t *cases = json_object_get(json_object_get(root, "merges"), class);
    size_t i;
    ck_assert_uint_eq(json_array_size(cases), 40);
    json_array_foreach(cases, i, one)
    {
        const qn_str text = qn_test_string(json_object_get(one, "text"));
        qn_test_encode(r, text, true, true);
        qn_test_same_ids(r, json_object_get(one, "ids"), class, text);
    }
    json_decref(root);
}

START_TEST(a_pair_of_files_is_what_its_class_makes_of_it)
{
    const unsigned which = (unsigned)_i % 2;
    char text[128];
    qn_error err = {0};
    qn_vocab *v = NULL;
    qn_test_tokenizer r;
    write_merges(_i < 4 ? "\n" : "\r\n");
    snprintf(text, sizeof text,
             "{\"tokenizer_class\": \"%s\", \"additional_special_tokens\": [\"<|im_end|>\"]}",
             _i < 2 ? classes[which] : "MyTokenizer");
    write("pair/tokenizer_config.json", text);
    snprintf(text, sizeof text, "{\"model_type\": \"%s\"}", types[which]);
    write("pair/config.json", text);
    ck_assert_msg(!qn_vocab_from_directory(&v, qn_test_path("pair"), NULL, &err), "%s",
                  err.message);
    qn_test_tokenizer_take(&r, v);
    check_vectors(&r, classes[which]);
    qn_test_tokenizer_close(&r);
}
END_TEST

static const struct {
    const char *name, *text; /* a file that is written over; NULL: gone */
    const char *pre;
    qn_status status;
    const char *words;
} pairs[] = {
    {"pair/tokenizer_config.json", "{\"tokenizer_class\": \"BartTokenizer\"}", NULL,
     QN_ERR_UNSUPPORTED, "only the class says how a text is split, and BartTokenizer is not known"},
    {"pair/tokenizer_config.json", "{\"tokenizer_class\": \"BartTokenizer\"}", "gpt-2", QN_OK,
     NULL},
    {"pair/tokenizer_config.json", "{}", "nope", QN_ERR_ARGUMENT, "--pre nope: no such"},
    {"pair/merges.txt", NULL, NULL, QN_ERR_DATA, "nor vocab.json with merges.txt"},
    {"pair/merges.txt", "#version: 0.2\na\n", NULL, QN_ERR_DATA, "merge 0 is no pair"},
    {"pair/merges.txt", "\xff a\n", NULL, QN_ERR_DATA, "merges.txt: not UTF-8"},
    {"pair/merges.txt", "q zzzz\n", NULL, QN_ERR_DATA, "('q' + 'zzzz') names a piece that is not"},
    {"pair/vocab.json", "{\"a\": 0,\n\"b\": \"x\"}", NULL, QN_ERR_DATA, "id of piece 'b'"},
    {"pair/vocab.json", "[[\"a\", 1]]", NULL, QN_ERR_DATA, "not an object of pieces and ids"},
    {"pair/vocab.json", "{\"a\": 0} {}", NULL, QN_ERR_DATA, "vocab.json"},
    {"pair/added_tokens.json", "{\"<X>\": \"9\"}", NULL, QN_ERR_DATA, "'<X>' has no whole number"},
    {"pair/tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"y\"}}}",
     "gpt-2", QN_ERR_DATA, "added token 'x' needs a whole id"},
};

START_TEST(a_faulty_pair_is_refused)
{
    qn_error err = {0};
    qn_vocab *v = NULL;
    write_merges("\n");
    write("pair/tokenizer_config.json", "{\"tokenizer_class\": \"GPT2Tokenizer\"}");
    if (pairs[_i].text)
        write(pairs[_i].name, pairs[_i].text);
    else
        ck_assert_int_eq(remove(qn_test_path(pairs[_i].name)), 0);
    const qn_vocab_options how = {.pre = pairs[_i].pre};
    const qn_status status = qn_vocab_from_directory(&v, qn_test_path("pair"), &how, &err);
    ck_assert_msg(status == pairs[_i].status, "%d: %s", status, err.message);
    if (status)
        ck_assert_msg(strstr(err.message, pairs[_i].words), "%s", err.message);
    else
        qn_vocab_free(v);
}
END_TEST

/* ---- vocab_size ----------------------------------------------------------------------------- */

/* The tokenizer of `files` has 22 pieces. */
enum { PIECES = 22 };

static qn_status open_sized(int rows, int vocab_size, qn_model **out, qn_error *err)
{
    checkpoint_shape shape = checkpoint_small;
    char from[32], to[32];
    char *bytes;
    size_t n;
    shape.vocab = (size_t)rows;
    checkpoint c = checkpoint_make(&shape);
    snprintf(from, sizeof from, "\"vocab_size\": %d", rows);
    snprintf(to, sizeof to, "\"vocab_size\": %d", vocab_size);
    checkpoint_replace(&c.config, from, to);
    const char *path = checkpoint_write(&c, "sized");
    checkpoint_free(&c);
    ck_assert(!qn_read_file(qn_test_data("tokenizers/made/files/tokenizer.json"), 1 << 20, &bytes,
                            &n, err));
    qn_test_file("sized/tokenizer.json", bytes, n);
    qn_free(bytes);
    return qn_model_open(out, path, NULL, err);
}

static const struct {
    int rows, vocab_size;
    const char *words; /* NULL: it opens */
} sizes[] = {
    {PIECES, PIECES, NULL},
    {PIECES + 11, PIECES + 11, NULL},
    {PIECES - 2, PIECES - 2, "tokenizer.json: ids up to 21, but vocab_size is 20"},
    {PIECES, PIECES - 2, "tokenizer.json: ids up to 21, but vocab_size is 20"},
    {PIECES, PIECES + 3, "shape [22, 8], but config.json says [25, 8]"},
    {PIECES + 3, PIECES, "shape [25, 8], but config.json says [22, 8]"},
};

START_TEST(a_vocab_size_out_of_date_is_told)
{
    qn_error err = {0};
    qn_model *m = NULL;
    const qn_status status = open_sized(sizes[_i].rows, sizes[_i].vocab_size, &m, &err);
    if (sizes[_i].words) {
        ck_assert_int_eq(status, QN_ERR_DATA);
        ck_assert_msg(strstr(err.message, sizes[_i].words), "%s", err.message);
        return;
    }
    ck_assert_msg(!status, "%s", err.message);
    ck_assert_uint_eq(qn_vocab_size(m->vocab), (uint64_t)sizes[_i].rows);
    if (sizes[_i].rows > PIECES) {
        const qn_str last = qn_vocab_piece(m->vocab, (uint32_t)sizes[_i].rows - 1);
        ck_assert(qn_str_is(last, "[PAD32]"));
    }
    qn_model_close(m);
}
END_TEST

/* ---- clean-up --------------------------------------------------------------------------------- */

START_TEST(a_unigram_model_is_cleaned_up_as_its_files_ask)
{
    qn_test_tokenizer r;
    qn_error err = {0};
    size_t i;
    json_t *one;
    if (!qn_test_tokenizer_open(&r, "tokenizers/made/files", 0)) return;
    json_t *root = qn_test_json(qn_test_data("tokenizers/made/files/vectors.json"));
    const json_t *cases = json_object_get(root, "clean-up");
    ck_assert_uint_eq(json_array_size(cases), 40);
    json_array_foreach(cases, i, one)
    {
        uint32_t ids[64];
        qn_text text = {0};
        const json_t *list = json_object_get(one, "ids");
        const size_t n = json_array_size(list);
        ck_assert_uint_le(n, 64);
        for (size_t j = 0; j < n; j++)
            ids[j] = (uint32_t)json_integer_value(json_array_get(list, j));
        qn_text_adds(&text, "kept .");
        ck_assert(!qn_tokenizer_decode(r.t, ids, n, false, &text, &err));
        const qn_str expected = qn_test_string(json_object_get(one, "text"));
        ck_assert_msg(qn_str_equal(qn_str_of(text.s + 6, text.n - 6), expected), "'%s' and '%.*s'",
                      text.s, (int)expected.n, expected.s);
        ck_assert(!memcmp(text.s, "kept .", 6));
        qn_text_free(&text);
    }
    json_decref(root);
    qn_test_tokenizer_close(&r);
}
END_TEST

/* BPE loses text by it, and transformers 5 leaves it alone but for the second flag. */
START_TEST(bpe_is_cleaned_up_only_when_it_is_asked_for_twice)
{
    static const char *const flags[] = {
        "\"clean_up_tokenization_spaces\": true",
        "\"clean_up_tokenization_spaces\": true, "
        "\"clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output\": true",
        "\"clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output\": true"};
    char config[256];
    qn_error err = {0};
    qn_vocab *v = NULL;
    qn_test_tokenizer r;
    qn_text text = {0};
    write_merges("\n");
    snprintf(config, sizeof config, "{\"tokenizer_class\": \"GPT2Tokenizer\", %s}", flags[_i]);
    write("pair/tokenizer_config.json", config);
    ck_assert(!qn_vocab_from_directory(&v, qn_test_path("pair"), NULL, &err));
    qn_test_tokenizer_take(&r, v);
    qn_test_encode(&r, qn_str_z("is n't it ?"), false, false);
    ck_assert(!qn_tokenizer_decode(r.t, r.ids, r.n, false, &text, &err));
    ck_assert_str_eq(text.s, _i == 1 ? "isn't it?" : "is n't it ?");
    qn_text_free(&text);
    qn_test_tokenizer_close(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer files");
    TCase *tc = qn_test_group(suite, "files");
    tcase_add_loop_test(tc, a_pair_of_files_is_what_its_class_makes_of_it, 0, 6);
    tcase_add_loop_test(tc, a_faulty_pair_is_refused, 0, sizeof pairs / sizeof *pairs);
    tcase_add_loop_test(tc, a_vocab_size_out_of_date_is_told, 0, sizeof sizes / sizeof *sizes);
    tcase_add_test(tc, a_unigram_model_is_cleaned_up_as_its_files_ask);
    tcase_add_loop_test(tc, bpe_is_cleaned_up_only_when_it_is_asked_for_twice, 0, 3);
    return qn_test_run_suite(suite);
}
