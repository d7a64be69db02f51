/* Checkpoints become the GGUF files that the reference converter makes of them
 * (gguf-expected.json, written by convert_hf_to_gguf.py). */
#include <stdio.h>
#include <string.h>

#include "formats/base/digest.h"
#include "tests/support/data.h"
#include "tests/support/families.h"
#include "tests/support/files.h"
#include "tests/support/run.h"
#include "tests/support/write_model.h"

static qn_model *open_model(const char *path, const qn_model_options *options)
{
    qn_error err = {0};
    qn_model *m = NULL;
    const qn_status status = qn_model_open(&m, path, options, &err);
    ck_assert_msg(status == QN_OK, "%s", err.message);
    return m;
}

static json_t *load(const char *path)
{
    json_error_t e;
    json_t *root = json_load_file(path, 0, &e);
    ck_assert_msg(root != NULL, "%s: %s", path, e.text);
    return root;
}

/* A Mistral without its window is a Llama with a SentencePiece vocabulary, and
 * so is the converter's file. */
static const qn_test_family mistral_as_llama = {
    .title = "Mistral", .model = "mistral", .family = "llama"};

START_TEST(a_golden_checkpoint_becomes_the_converters_file)
{
    const int family = _i / QN_TEST_OUTTYPES;
    qn_test_family_check_gguf(family < qn_test_n_families ? &qn_test_families[family]
                                                          : &mistral_as_llama,
                              (size_t)(_i % QN_TEST_OUTTYPES));
}
END_TEST

/* degradation.json has the SHA-256 of the whole BF16 file. */
static const struct {
    const char *name, *pre;
} trained[] = {{"quern-demo-llama", "llama-bpe"}, {"quern-demo-gemma4", NULL}};

START_TEST(a_trained_model_becomes_the_converters_file_to_the_last_byte)
{
    char hash[65], name[96];
    snprintf(name, sizeof name, "models/trained/%s", trained[_i].name);
    const char *directory = qn_test_data(name);
    snprintf(name, sizeof name, "models/trained/%s/degradation.json", trained[_i].name);
    const char *table = qn_test_data(name);
    if (!directory || !table) return;
    const qn_model_options options = {.model_name = trained[_i].name, .pre = trained[_i].pre};
    qn_model *m = open_model(directory, &options);
    const char *out = qn_test_path("demo.gguf");
    write_model(m, QN_OUT_AUTO, &qn_format_gguf, out);
    qn_model_close(m);
    json_t *root = load(table);
    const json_t *row = json_array_get(json_object_get(root, "rows"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(row, "type")), "BF16");
    ck_assert_int_eq(qn_sha256_file(out, hash, NULL), QN_OK);
    ck_assert_str_eq(hash, json_string_value(json_object_get(row, "sha256")));
    json_decref(root);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("convert");
    TCase *t = qn_test_group(s, "converter");
    tcase_add_loop_test(t, a_golden_checkpoint_becomes_the_converters_file, 0,
                        (qn_test_n_families + 1) * QN_TEST_OUTTYPES);
    tcase_add_loop_test(t, a_trained_model_becomes_the_converters_file_to_the_last_byte, 0, 2);
    return qn_test_run_suite(s);
}
