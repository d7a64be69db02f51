/* Ids of whole vocabularies: llama.cpp's vectors (made with the models' own
 * tokenizers), transformers.js', and the golden runs of the trained models. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/reader.h"
#include "tests/support/data.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"

/* ---- tokenizer-vectors: one list of ids a line, cases parted by a marker ------------- */

static const char marker[] = "\n__ggml_vocab_test__\n";

/* The ids of one line, compared; returns the next line. */
static const char *check_line(const qn_test_tokenizer *r, const char *line, qn_str text)
{
    size_t n = 0;
    while (*line && *line != '\n') {
        char *end;
        const unsigned long id = strtoul(line, &end, 10);
        ck_assert_msg(n < r->n && r->ids[n] == id, "id %zu of %zu should be %lu: %.*s", n, r->n, id,
                      (int)text.n, text.s);
        n++;
        line = end;
        while (*line == ' ') line++;
    }
    ck_assert_msg(n == r->n, "%zu ids, expected %zu: %.*s", r->n, n, (int)text.n, text.s);
    return *line ? line + 1 : line;
}

static void check_ggml_vectors(qn_test_tokenizer *r, const char *name)
{
    char file[128];
    qn_error err = {0};
    char *texts, *lines;
    size_t n, unused, cases = 0;
    snprintf(file, sizeof file, "tokenizer-vectors/ggml-vocab-%s.gguf.inp", name);
    const char *inputs = qn_test_data(file);
    snprintf(file, sizeof file, "tokenizer-vectors/ggml-vocab-%s.gguf.out", name);
    const char *outputs = qn_test_data(file);
    if (!inputs || !outputs) return;
    ck_assert(!qn_read_file(inputs, 1 << 20, &texts, &n, &err));
    ck_assert(!qn_read_file(outputs, 1 << 20, &lines, &unused, &err));
    const char *line = lines;
    for (const char *text = texts; text; cases++) {
        const char *end = strstr(text, marker);
        const qn_str one = qn_str_of(text, end ? (size_t)(end - text) : strlen(text));
        qn_test_encode(r, one, false, false);
        line = check_line(r, line, one);
        text = end ? end + strlen(marker) : NULL;
    }
    printf("ggml-vocab-%s: %zu cases\n", name, cases);
    ck_assert_uint_gt(cases, 40);
    qn_free(texts);
    qn_free(lines);
}

/* A vocabulary out of a GGUF file; the reader stays open under it. */
static bool open_gguf(qn_test_tokenizer *r, qn_reader **reader, const char *name)
{
    qn_error err = {0};
    qn_vocab *v = NULL;
    const char *path = qn_test_data(name);
    if (!path) return false;
    ck_assert_msg(!qn_reader_open(reader, path, &err), "%s", err.message);
    ck_assert_msg(!qn_vocab_from_metadata(&v, (*reader)->metadata, path, &err), "%s", err.message);
    qn_test_tokenizer_take(r, v);
    return true;
}

/* Llama 2's vocabulary is under terms that keep it out of the repo. */
static const char *const files[] = {"gpt-2", "phi-3", "llama-spm"};

START_TEST(vocabularies_of_gguf_files_give_the_ids_of_ggml_vectors)
{
    char file[128];
    qn_test_tokenizer r;
    qn_reader *reader;
    snprintf(file, sizeof file, "tokenizer-vectors/ggml-vocab-%s.gguf", files[_i]);
    if (!open_gguf(&r, &reader, file)) return;
    check_ggml_vectors(&r, files[_i]);
    qn_test_tokenizer_close(&r);
    qn_reader_close(reader);
}
END_TEST

START_TEST(gpt2_gives_the_ids_of_transformers_js)
{
    qn_test_tokenizer r;
    qn_reader *reader;
    size_t i, cases = 0;
    json_t *c;
    const char *path = qn_test_data("tokenizer-vectors/transformersjs_gpt2.json");
    if (!path || !open_gguf(&r, &reader, "tokenizer-vectors/ggml-vocab-gpt-2.gguf")) return;
    json_t *root = qn_test_json(path);
    json_array_foreach(root, i, c)
    {
        const char *tokenizer = json_string_value(json_object_get(c, "tokenizer"));
        const qn_str text = qn_test_string(json_object_get(c, "text"));
        if (strcmp(tokenizer, "Xenova/gpt2") && strcmp(tokenizer, "openai-community/gpt2"))
            continue;
        qn_test_encode(&r, text, false, true);
        qn_test_same_ids(&r, json_object_get(c, "ids"), "gpt2", text);
        cases++;
    }
    printf("transformersjs_gpt2: %zu cases\n", cases);
    ck_assert_uint_gt(cases, 40);
    json_decref(root);
    qn_test_tokenizer_close(&r);
    qn_reader_close(reader);
}
END_TEST

/* Folders that hold these tokenizers unpacked: too large, or under terms that
 * keep them out of the repo. */
static const char *const unpacked[][2] = {{"tokenizers/qwen3", "qwen2"},
                                          {"tokenizers/gemma3", "gemma-4"}};

START_TEST(unpacked_tokenizers_give_the_ids_of_ggml_vectors)
{
    char file[128];
    qn_test_tokenizer r;
    snprintf(file, sizeof file, "%s/tokenizer.json", unpacked[_i][0]);
    if (!qn_test_data(file) || !qn_test_tokenizer_open(&r, unpacked[_i][0], 0)) return;
    check_ggml_vectors(&r, unpacked[_i][1]);
    qn_test_tokenizer_close(&r);
}
END_TEST

/* ---- trained models --------------------------------------------------------------------- */

/* golden.json says how many ids a text has, BOS included. */
static void check_count(qn_test_tokenizer *r, const json_t *golden, const char *key,
                        const char *file, size_t at_most)
{
    qn_error err = {0};
    char *text;
    size_t n;
    const char *path = qn_test_data(file);
    if (!path) return;
    const json_t *entry =
        json_object_get(json_object_get(golden, "perplexity_llamacpp_method"), key);
    const json_int_t expected = json_integer_value(json_object_get(entry, "tokens"));
    ck_assert_int_gt(expected, 0);
    ck_assert(!qn_read_file(path, 1 << 26, &text, &n, &err));
    qn_test_encode(r, qn_str_of(text, n < at_most ? n : at_most), true, false);
    ck_assert_msg((json_int_t)r->n == expected, "%s: %zu ids, expected %lld", file, r->n,
                  (long long)expected);
    qn_free(text);
}

START_TEST(stories260K_gives_the_ids_of_its_golden_run)
{
    qn_test_tokenizer r;
    qn_error err = {0};
    char *text;
    size_t n;
    if (!qn_test_tokenizer_open(&r, "models/stories260K-hf", 512)) return;
    json_t *root = qn_test_json(qn_test_data("models/stories260K-hf/golden.json"));
    check_count(&r, root, "tinystories_valid_excerpt.lf", "text/tinystories_valid_excerpt.lf.txt",
                SIZE_MAX);
    check_count(&r, root, "tinystories_sample", "text/tinystories_sample.txt", SIZE_MAX);
    check_count(&r, root, "wiki.test.raw first 60000 bytes", "text/wiki.test.raw", 60000);
    check_count(&r, root, "calib_tiny first 60000 bytes", "text/calib_tiny.txt", 60000);
    check_count(&r, root, "tinyshakespeare first 60000 bytes", "text/tinyshakespeare.txt", 60000);
    const char *path = qn_test_data("text/tinystories_sample.txt");
    if (path) {
        ck_assert(!qn_read_file(path, 1 << 26, &text, &n, &err));
        qn_test_encode(&r, qn_str_of(text, 600), true, false);
        const json_t *ids = json_object_get(root, "ids");
        ck_assert_uint_gt(json_array_size(ids), 100);
        ck_assert_uint_ge(r.n, json_array_size(ids));
        r.n = json_array_size(ids); /* the golden run kept the first ones */
        qn_test_same_ids(&r, ids, "golden", qn_str_of(text, 600));
        qn_free(text);
    }
    json_decref(root);
    qn_test_tokenizer_close(&r);
}
END_TEST

/* Its tokenizer.model sets remove_extra_whitespaces (sentencepiece/src/
 * sentencepiece_model.proto: leading, trailing and duplicate internal ones). */
START_TEST(stories260K_takes_extra_spaces_out)
{
    static const char *const texts[] = {"a b", " a b", "a  b", "   a   b  "};
    qn_test_tokenizer r;
    uint32_t ids[8];
    ck_assert(qn_test_tokenizer_open(&r, "models/stories260K-hf", 512));
    qn_test_encode(&r, qn_str_z(texts[0]), false, false);
    const size_t n = r.n;
    ck_assert(n > 0 && n <= 8);
    memcpy(ids, r.ids, n * sizeof *ids);
    for (size_t i = 1; i < 4; i++) {
        qn_test_encode(&r, qn_str_z(texts[i]), false, false);
        ck_assert_msg(r.n == n && !memcmp(r.ids, ids, n * sizeof *ids), "'%s'", texts[i]);
    }
    qn_test_encode(&r, qn_str_z("   "), false, false);
    ck_assert_uint_eq(r.n, 0);
    qn_test_tokenizer_close(&r);
}
END_TEST

START_TEST(the_demonstration_model_gives_the_ids_of_its_golden_run)
{
    qn_test_tokenizer r;
    size_t i;
    json_t *c;
    if (!qn_test_tokenizer_open(&r, "models/trained/quern-demo-llama", 4096)) return;
    json_t *root = qn_test_json(qn_test_data("models/trained/quern-demo-llama/golden.json"));
    json_array_foreach(json_object_get(root, "tokenizer_cases"), i, c)
    {
        const qn_str text = qn_test_string(json_object_get(c, "text"));
        qn_test_encode(&r, text, false, true);
        qn_test_same_ids(&r, json_object_get(c, "ids"), "case", text);
    }
    ck_assert_uint_gt(i, 5);
    const qn_str prompt = qn_test_string(json_object_get(root, "prompt_text"));
    qn_test_encode(&r, prompt, true, true);
    qn_test_same_ids(&r, json_object_get(root, "ids"), "prompt", prompt);
    check_count(&r, root, "valid/tinyshakespeare.txt", "text/valid/tinyshakespeare.txt", SIZE_MAX);
    check_count(&r, root, "valid/tinystories_valid_excerpt.txt",
                "text/valid/tinystories_valid_excerpt.txt", SIZE_MAX);
    check_count(&r, root, "valid/all.txt", "text/valid/all.txt", SIZE_MAX);
    json_decref(root);
    qn_test_tokenizer_close(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer models");
    TCase *vectors = qn_test_group(s, "vectors");
    tcase_add_loop_test(vectors, vocabularies_of_gguf_files_give_the_ids_of_ggml_vectors, 0, 3);
    tcase_add_test(vectors, gpt2_gives_the_ids_of_transformers_js);
    tcase_add_loop_test(vectors, unpacked_tokenizers_give_the_ids_of_ggml_vectors, 0, 2);
    tcase_add_test(vectors, stories260K_gives_the_ids_of_its_golden_run);
    tcase_add_test(vectors, stories260K_takes_extra_spaces_out);
    tcase_add_test(vectors, the_demonstration_model_gives_the_ids_of_its_golden_run);
    return qn_test_run_suite(s);
}
