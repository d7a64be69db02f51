/* A vocabulary's GGUF keys against what the reference converter writes
 * (models/golden/NAME/gguf-expected.json), and back. */
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/digest.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"

static uint64_t configured_size(const char *model)
{
    char file[128];
    snprintf(file, sizeof file, "models/golden/%s/config.json", model);
    json_t *config = qn_test_json(qn_test_data(file));
    const json_int_t size = json_integer_value(json_object_get(config, "vocab_size"));
    json_decref(config);
    ck_assert_int_gt(size, 0);
    return (uint64_t)size;
}

/* ---- the keys ------------------------------------------------------------------------- */

/* gguf-expected.json's words for a type. */
static void type_words(const qn_meta_value *v, char *out, size_t n)
{
    static const char *const words[QN_META_TYPE_COUNT] = {
        [QN_META_U32] = "uint32", [QN_META_I32] = "int32",     [QN_META_F32] = "float32",
        [QN_META_BOOL] = "bool",  [QN_META_STRING] = "string",
    };
    ck_assert_ptr_nonnull(words[v->element]);
    snprintf(out, n, v->type == QN_META_ARRAY ? "array[%s]" : "%s", words[v->element]);
}

static void check_value(const qn_meta_value *v, const json_t *expected)
{
    char hex[65], key[128];
    const json_t *value = json_object_get(expected, "value");
    const qn_str bytes = v->bytes;
    snprintf(key, sizeof key, "%.*s", (int)v->key.n, v->key.s);
    if (v->type == QN_META_ARRAY) {
        qn_sha256_hex(bytes.s, bytes.n, hex);
        ck_assert_msg((json_int_t)v->count ==
                          json_integer_value(json_object_get(expected, "length")),
                      "%s has %llu elements", key, (unsigned long long)v->count);
        ck_assert_msg(!strcmp(hex, json_string_value(json_object_get(expected, "sha256"))),
                      "%s differs", key);
    } else if (v->type == QN_META_STRING) {
        ck_assert_msg(bytes.n - 8 == json_string_length(value) &&
                          !memcmp(bytes.s + 8, json_string_value(value), bytes.n - 8),
                      "%s is '%.*s'", key, (int)bytes.n - 8, bytes.s + 8);
    } else if (v->type == QN_META_BOOL) {
        ck_assert_msg(json_is_boolean(value) && json_is_true(value) == bytes.s[0], "%s differs",
                      key);
    } else {
        uint32_t number;
        ck_assert_uint_eq(bytes.n, sizeof number);
        memcpy(&number, bytes.s, sizeof number);
        ck_assert_msg(number == json_integer_value(value), "%s is %u", key, number);
    }
}

static const char *const models[] = {"llama",         "smollm2", "smollm3", "mistral",   "phi3",
                                     "phi3-longrope", "qwen2",   "qwen3",   "qwen3-moe", "gemma",
                                     "gemma2",        "gemma3",  "gemma3n"};

START_TEST(keys_equal_those_of_the_reference_converter)
{
    char file[128], dir[96], words[32];
    qn_test_tokenizer r;
    qn_error err = {0};
    size_t i, at = 0;
    json_t *kv;
    snprintf(dir, sizeof dir, "models/golden/%s", models[_i]);
    snprintf(file, sizeof file, "%s/gguf-expected.json", dir);
    const char *path = qn_test_data(file);
    if (!path || !qn_test_tokenizer_open(&r, dir, configured_size(models[_i]))) return;
    json_t *root = qn_test_json(path);
    qn_metadata *m = qn_metadata_new();
    ck_assert_msg(!qn_vocab_write_metadata(r.v, m, &err), "%s", err.message);
    const json_t *types = json_object_get(json_object_get(root, "outtypes"), "f32");
    json_array_foreach(json_object_get(types, "metadata"), i, kv)
    {
        const char *key = json_string_value(json_object_get(kv, "key"));
        if (strncmp(key, "tokenizer.", 10) != 0) continue;
        const qn_meta_value *v = at < qn_metadata_count(m) ? qn_metadata_at(m, at) : NULL;
        ck_assert_msg(v && qn_str_is(v->key, key), "key %zu should be %s, is %.*s", at, key,
                      v ? (int)v->key.n : 0, v ? v->key.s : "");
        type_words(v, words, sizeof words);
        ck_assert_str_eq(words, json_string_value(json_object_get(kv, "type")));
        check_value(v, kv);
        at++;
    }
    ck_assert_uint_gt(at, 5);
    ck_assert_uint_eq(at, qn_metadata_count(m));
    printf("%s: %zu tokenizer keys\n", models[_i], at);
    qn_metadata_free(m);
    json_decref(root);
    qn_test_tokenizer_close(&r);
}
END_TEST

/* ---- there and back ---------------------------------------------------------------------- */

static void reread(qn_test_tokenizer *r, const qn_vocab *v, qn_metadata **m)
{
    qn_error err = {0};
    qn_vocab *again = NULL;
    *m = qn_metadata_new();
    ck_assert_msg(!qn_vocab_write_metadata(v, *m, &err), "%s", err.message);
    ck_assert_msg(!qn_vocab_from_metadata(&again, *m, "written", &err), "%s", err.message);
    qn_test_tokenizer_take(r, again);
}

/* Without phi3: GGUF has no key for the rstrip of its tokens. */
static const char *const golden[] = {"llama3", "smollm", "qwen2", "spm", "gemma"};

START_TEST(a_vocabulary_read_from_its_keys_gives_the_same_ids)
{
    char name[128], file[160];
    qn_test_tokenizer from_files, from_keys;
    qn_metadata *m;
    size_t i;
    json_t *c;
    snprintf(name, sizeof name, "models/golden/tokenizers/%s", golden[_i]);
    snprintf(file, sizeof file, "%s/vectors.json", name);
    const char *path = qn_test_data(file);
    if (!path || !qn_test_tokenizer_open(&from_files, name, 0)) return;
    json_t *root = qn_test_json(path);
    reread(&from_keys, from_files.v, &m);
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        const qn_str text = qn_test_string(json_object_get(c, "text"));
        qn_test_encode(&from_keys, text, true, true);
        qn_test_same_ids(&from_keys, json_object_get(c, "ids"), "from keys", text);
    }
    printf("%s from its keys: %zu cases\n", golden[_i], i);
    ck_assert_uint_eq(i, 72);
    qn_test_tokenizer_close(&from_keys);
    qn_test_tokenizer_close(&from_files);
    qn_metadata_free(m);
    json_decref(root);
}
END_TEST

START_TEST(the_demonstration_model_gives_the_same_ids_from_both)
{
    qn_test_tokenizer from_files, from_keys;
    qn_metadata *m;
    qn_error err = {0};
    qn_text back = {0};
    char *text;
    size_t n;
    const char *path = qn_test_data("text/valid/tinyshakespeare.txt");
    if (!path || !qn_test_tokenizer_open(&from_files, "models/trained/quern-demo-llama", 4096))
        return;
    ck_assert(!qn_read_file(path, 1 << 26, &text, &n, &err));
    reread(&from_keys, from_files.v, &m);
    qn_test_encode(&from_files, qn_str_of(text, n), true, true);
    qn_test_encode(&from_keys, qn_str_of(text, n), true, true);
    ck_assert_uint_gt(from_files.n, 1000);
    ck_assert_uint_eq(from_files.n, from_keys.n);
    ck_assert(!memcmp(from_files.ids, from_keys.ids, from_files.n * sizeof *from_files.ids));
    ck_assert(!qn_tokenizer_decode(from_keys.t, from_keys.ids, from_keys.n, true, &back, &err));
    ck_assert(back.n == n && !memcmp(back.s, text, n));
    printf("quern-demo-llama: %zu ids\n", from_files.n);
    qn_text_free(&back);
    qn_free(text);
    qn_test_tokenizer_close(&from_keys);
    qn_test_tokenizer_close(&from_files);
    qn_metadata_free(m);
}
END_TEST

/* ---- rules of the converter that no golden model shows ------------------------------- */

/* conversion/llama.py: a vocabulary of 49152 gets add_bos_token false, last;
 * conversion/base.py: ids without a piece are [PADn], unused. */
START_TEST(a_vocabulary_of_49152_does_not_add_bos_and_is_padded)
{
    qn_test_tokenizer r;
    qn_error err = {0};
    bool adds = true;
    if (!qn_test_tokenizer_open(&r, "models/golden/smollm2", 49152)) return;
    ck_assert(qn_str_is(qn_vocab_piece(r.v, 49151), "[PAD49151]"));
    qn_metadata *m = qn_metadata_new();
    ck_assert(!qn_vocab_write_metadata(r.v, m, &err));
    const qn_meta_value *last = qn_metadata_at(m, qn_metadata_count(m) - 1);
    ck_assert(qn_str_is(last->key, "tokenizer.ggml.add_bos_token"));
    ck_assert(!qn_metadata_bool(m, "tokenizer.ggml.add_bos_token", &adds, NULL, &err) && !adds);
    qn_metadata_free(m);
    qn_test_tokenizer_close(&r);
}
END_TEST

#define TOKENIZER                                                                                 \
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":" \
    "\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[[\"a\",\"b\"]]}}"

static qn_metadata *keys_of_checkpoint(const char *tokenizer_config)
{
    qn_error err = {0};
    qn_vocab *v = NULL;
    qn_metadata *m = qn_metadata_new();
    qn_test_file("templates/tokenizer.json", TOKENIZER, strlen(TOKENIZER));
    qn_test_file("templates/tokenizer_config.json", tokenizer_config, strlen(tokenizer_config));
    const char *dir = qn_test_path("templates");
    ck_assert_msg(!qn_vocab_from_directory(&v, dir, NULL, &err), "%s", err.message);
    ck_assert_msg(!qn_vocab_write_metadata(v, m, &err), "%s", err.message);
    qn_vocab_free(v);
    return m;
}

static void check_string(const qn_metadata *m, const char *key, const char *expected)
{
    qn_str value = {"", 0};
    qn_error err = {0};
    ck_assert_msg(!qn_metadata_str(m, key, &value, NULL, &err), "%s", err.message);
    ck_assert_msg(qn_str_is(value, expected), "%s is '%.*s'", key, (int)value.n, value.s);
}

/* gguf-py/gguf/gguf_writer.py, add_chat_template. */
START_TEST(named_chat_templates_have_keys_of_their_own)
{
    qn_test_subdirectory("templates");
    qn_metadata *m = keys_of_checkpoint(
        "{\"chat_template\":[{\"name\":\"default\",\"template\":\"D\"},{\"name\":\"tool use\","
        "\"template\":\"T\"},{\"name\":\"rag\",\"template\":\"R\"}]}");
    check_string(m, "tokenizer.chat_template", "D");
    check_string(m, "tokenizer.chat_template.tool_use", "T");
    check_string(m, "tokenizer.chat_template.rag", "R");
    const qn_meta_value *names = qn_metadata_find(m, "tokenizer.chat_templates");
    ck_assert(names && names->count == 2);
    qn_metadata_free(m);
}
END_TEST

START_TEST(a_chat_template_file_is_taken_with_plain_line_ends)
{
    qn_test_subdirectory("templates");
    qn_test_file("templates/chat_template.jinja", "one\r\ntwo\rthree\n", 15);
    qn_metadata *m = keys_of_checkpoint("{}");
    check_string(m, "tokenizer.chat_template", "one\ntwo\nthree\n");
    qn_metadata_free(m);
    m = keys_of_checkpoint("{\"chat_template\":\"own\"}");
    check_string(m, "tokenizer.chat_template", "own");
    qn_metadata_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer keys");
    TCase *keys = qn_test_group(s, "keys");
    tcase_add_loop_test(keys, keys_equal_those_of_the_reference_converter, 0,
                        sizeof models / sizeof models[0]);
    tcase_add_loop_test(keys, a_vocabulary_read_from_its_keys_gives_the_same_ids, 0,
                        sizeof golden / sizeof golden[0]);
    tcase_add_test(keys, the_demonstration_model_gives_the_same_ids_from_both);
    tcase_add_test(keys, a_vocabulary_of_49152_does_not_add_bos_and_is_padded);
    tcase_add_test(keys, named_chat_templates_have_keys_of_their_own);
    tcase_add_test(keys, a_chat_template_file_is_taken_with_plain_line_ends);
    return qn_test_run_suite(s);
}
