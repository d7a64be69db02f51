/* Vocabularies that must be refused, in one line that says what is wrong. */
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"

/* ---- tokenizer.json ------------------------------------------------------------------ */

#define BYTE_LEVEL "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define MODEL \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
#define MODEL_OF(vocab, merges) \
    "{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}}"
#define ADDED(token) "{" BYTE_LEVEL "," MODEL ",\"added_tokens\":[" token "]}"

#define UNIGRAM(vocab, more) "{\"model\":{\"type\":\"Unigram\",\"vocab\":" vocab more "}}"

typedef struct {
    const char *json;
    qn_status status;
    const char *words;
} refusal;

static const refusal json_refusals[] = {
    {"[]", QN_ERR_DATA, "'{' expected"},
    {"{", QN_ERR_DATA, "at byte 1"},
    {"{}", QN_ERR_DATA, "'model'"},
    {"{\"model\":{\"type\":\"WordPiece\"}}", QN_ERR_UNSUPPORTED, "'WordPiece'"},
    {UNIGRAM("{\"a\":0}", ""), QN_ERR_DATA, "list 'vocab' of pieces with scores"},
    {UNIGRAM("[]", ""), QN_ERR_DATA, "the vocabulary is empty"},
    {UNIGRAM("[[\"a\"]]", ""), QN_ERR_DATA, "entry 0 of the vocabulary"},
    {UNIGRAM("[[\"a\",0],[0,\"a\"]]", ""), QN_ERR_DATA, "entry 1 of the vocabulary"},
    {UNIGRAM("[[\"a\",0,1]]", ""), QN_ERR_DATA, "entry 0 of the vocabulary"},
    {UNIGRAM("[[\"a\",0],[\"a\",1]]", ""), QN_ERR_DATA, "piece 'a' is there twice"},
    {UNIGRAM("[[\"a\",0]]", ",\"unk_id\":1"), QN_ERR_DATA, "unk_id is 1"},
    {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAA\"},\"model\":{"
     "\"type\":\"Unigram\",\"vocab\":[[\"a\",0]]}}",
     QN_ERR_DATA, "no base64"},
    {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"CAAAAA==\"},\"model\":{"
     "\"type\":\"Unigram\",\"vocab\":[[\"a\",0]]}}",
     QN_ERR_DATA, "a trie of 8 bytes in 4"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}", QN_ERR_DATA, "'vocab'"},
    {"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{},\"merges\":[]}}",
     QN_ERR_UNSUPPORTED, "dropout"},
    {"{\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{},\"merges\":[]}}", QN_ERR_UNSUPPORTED,
     "end_of_word_suffix"},
    {MODEL_OF("{}", "[]"), QN_ERR_DATA, "empty"},
    {MODEL_OF("{\"a\":-1}", "[]"), QN_ERR_DATA, "'a'"},
    {MODEL_OF("{\"a\":0.5}", "[]"), QN_ERR_DATA, "'a'"},
    {MODEL_OF("{\"a\":1152921504606846976}", "[]"), QN_ERR_DATA, "1152921504606846977"},
    {MODEL_OF("{\"a\":9223372036854775807}", "[]"), QN_ERR_DATA, "9223372036854775808"},
    {MODEL_OF("{\"a\":0,\"b\":0}", "[]"), QN_ERR_DATA, "same id 0"},
    {MODEL_OF("{\"a\":0,\"a\":1}", "[]"), QN_ERR_DATA, "piece 'a' is there twice"},
    {MODEL_OF("{\"a\":0,\"[PAD1]\":2}", "[]"), QN_ERR_DATA, "'[PAD1]'"},
    {MODEL_OF("{\"a\":0,\"b\":1}", "[\"a b\"]"), QN_ERR_DATA, "merge 0 ('a' + 'b')"},
    {MODEL_OF("{\"a\":0,\"ab\":1}", "[[\"a\",\"b\"]]"), QN_ERR_DATA, "merge 0 ('a' + 'b')"},
    {MODEL_OF("{\"a\":0,\"b\":1}", "[\"ab\"]"), QN_ERR_DATA, "merge 0 is no pair"},
    {MODEL_OF("{\"a\":0,\"b\":1}", "[[\"a\"]]"), QN_ERR_DATA, "merge 0 is no pair"},
    {MODEL_OF("{\"a\":0,\"b\":1}", "[[\"a\",\"b\",\"a\"]]"), QN_ERR_DATA, "merge 0 is no pair"},
    {MODEL_OF("{\"a\":0,\"b\":1}", "[[\"a\",1]]"), QN_ERR_DATA, "merge 0 is no pair"},
    {MODEL_OF("{\"a\":0,\"b\":1}", "[{}]"), QN_ERR_DATA, "merge 0 is no pair"},
    {MODEL_OF("{\"a\":0,\"b\":1}", "[\"a b\""), QN_ERR_DATA, "',' or ']' expected"},
    {MODEL_OF("{\"a\":0,}", "[]"), QN_ERR_DATA, "a key expected"},
    {MODEL_OF("{\"a\":0 \"b\":1}", "[]"), QN_ERR_DATA, "',' or '}' expected"},
    {MODEL_OF("{\"a\":0x}", "[]"), QN_ERR_DATA, "expected"},
    {MODEL_OF("{\"a\":01}", "[]"), QN_ERR_DATA, "at byte"},
    {MODEL_OF("{\"a\":\"0\"}", "[]"), QN_ERR_DATA, "'a' is no whole number"},
    {MODEL_OF("{\"\xff\":0}", "[]"), QN_ERR_DATA, "unable to decode byte 0xff"},
    {MODEL_OF("{\"a\x01\":0}", "[]"), QN_ERR_DATA, "control character"},
    {MODEL_OF("{\"a\\ud800\":0}", "[]"), QN_ERR_DATA, "Unicode"},
    {"{\"model\":{\"vocab\":{},\"vocab\":{}}}", QN_ERR_DATA, "\"vocab\" is there twice"},
    {"{\"model\":{\"merges\":[],\"merges\":[]}}", QN_ERR_DATA, "\"merges\" is there twice"},
    {"{\"model\":{},\"model\":{}}", QN_ERR_DATA, "\"model\" is there twice"},
    {"{\"model\":{}} {}", QN_ERR_DATA, "nothing more expected"},
    {ADDED("{\"id\":3}"), QN_ERR_DATA, "added token 0"},
    {ADDED("{\"id\":-3,\"content\":\"x\"}"), QN_ERR_DATA, "added token 0"},
    {ADDED("{\"id\":1,\"content\":\"x\"}"), QN_ERR_DATA, "'x' has id 1"},
    {ADDED("{\"id\":3,\"content\":\"ab\"}"), QN_ERR_DATA, "'ab' has id 3"},
    {ADDED("{\"id\":3,\"content\":\"\"}"), QN_ERR_DATA, "added token 3 is empty"},
    {ADDED("{\"id\":3,\"content\":\"x\"},{\"id\":4,\"content\":\"x\"}"), QN_ERR_DATA, "'x'"},
    {"{\"normalizer\":{\"type\":\"Lowercase\"}," BYTE_LEVEL "," MODEL "}", QN_ERR_UNSUPPORTED,
     "normalizer 'Lowercase'"},
    {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"}," MODEL "}", QN_ERR_UNSUPPORTED,
     "pre_tokenizer 'Whitespace'"},
    {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}," MODEL "}",
     QN_ERR_UNSUPPORTED, "add_prefix_space"},
    {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":"
     "{\"Regex\":\"[a-z]+\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"use_regex\":"
     "false,"
     "\"add_prefix_space\":false}]}," MODEL "}",
     QN_ERR_UNSUPPORTED, "'[a-z]+'; name one that splits alike with --pre NAME"},
    {"{" BYTE_LEVEL "," MODEL ",\"decoder\":{\"type\":\"WordPiece\"}}", QN_ERR_UNSUPPORTED,
     "decoder 'WordPiece'"},
    {"{" BYTE_LEVEL "," MODEL ",\"post_processor\":{\"type\":\"BertProcessing\"}}",
     QN_ERR_UNSUPPORTED, "post_processor 'BertProcessing'"},
    {"{" BYTE_LEVEL "," MODEL
     ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
     "\"a\"}},{\"SpecialToken\":{\"id\":\"b\"}},{\"Sequence\":{\"id\":\"A\"}}]}}",
     QN_ERR_UNSUPPORTED, "adds 2 tokens"},
};

static void check_refusal(qn_status status, const qn_error *err, const refusal *expected)
{
    ck_assert_msg(status == expected->status, "status %d, expected %d: %s", (int)status,
                  (int)expected->status, err->message);
    ck_assert_msg(strstr(err->message, expected->words) != NULL, "'%s' does not say %s",
                  err->message, expected->words);
    ck_assert_ptr_null(strchr(err->message, '\n'));
}

static void check_json(const char *json, uint64_t size, const char *pre, const refusal *expected)
{
    qn_error err = {0};
    qn_vocab *v = NULL;
    qn_test_file("tokenizer.json", json, strlen(json));
    const qn_status status = qn_vocab_from_directory(
        &v, qn_test_directory(), &(qn_vocab_options){.size = size, .pre = pre}, &err);
    check_refusal(status, &err, expected);
    ck_assert_ptr_null(v);
}

START_TEST(a_bad_tokenizer_json_is_refused_with_what_is_wrong)
{
    check_json(json_refusals[_i].json, 0, NULL, &json_refusals[_i]);
}
END_TEST

static const char good[] = "{" BYTE_LEVEL "," MODEL "}";

START_TEST(a_vocabulary_larger_than_the_embedding_is_refused)
{
    check_json(good, 2, NULL, &(refusal){NULL, QN_ERR_DATA, "ids up to 2, but vocab_size is 2"});
}
END_TEST

START_TEST(an_embedding_of_2_to_the_60_rows_is_refused)
{
    check_json(good, (uint64_t)1 << 60, NULL, &(refusal){NULL, QN_ERR_DATA, "1152921504606846976"});
}
END_TEST

START_TEST(an_unknown_name_for_a_pre_tokenizer_is_refused)
{
    check_json(good, 0, "nonesuch", &(refusal){NULL, QN_ERR_ARGUMENT, "--pre nonesuch"});
}
END_TEST

START_TEST(a_directory_without_a_tokenizer_is_refused)
{
    qn_error err = {0};
    qn_vocab *v = NULL;
    qn_test_subdirectory("empty");
    const qn_status status = qn_vocab_from_directory(&v, qn_test_path("empty"), NULL, &err);
    check_refusal(status, &err, &(refusal){NULL, QN_ERR_DATA, "no tokenizer"});
}
END_TEST

/* ---- tokenizer.model ------------------------------------------------------------------- */

/* Whatever is cut off, the rest is read or refused, and nothing crashes. */
START_TEST(a_truncated_tokenizer_model_is_read_as_far_as_it_goes_or_refused)
{
    char *bytes;
    size_t n, refused = 0;
    qn_error err = {0};
    const char *path = qn_test_data("models/golden/tokenizers/spm/tokenizer.model");
    ck_assert_ptr_nonnull(path);
    ck_assert(!qn_read_file(path, 1 << 20, &bytes, &n, &err));
    qn_test_subdirectory("spm");
    for (size_t kept = 0; kept < n; kept += kept < 200 ? 1 : 97) {
        qn_vocab *v = NULL;
        qn_test_file("spm/tokenizer.model", bytes, kept);
        err = (qn_error){0};
        const qn_status status = qn_vocab_from_directory(&v, qn_test_path("spm"), NULL, &err);
        if (status) ck_assert_msg(strstr(err.message, "tokenizer.model"), "%s", err.message);
        refused += status != QN_OK;
        qn_vocab_free(v);
    }
    /* The trainer's part, which says BPE, stands behind the pieces. */
    ck_assert_uint_gt(refused, 200);
    qn_free(bytes);
}
END_TEST

/* WORD, which splits at spaces and looks whole words up. */
START_TEST(a_word_model_is_refused_by_its_type)
{
    qn_error err = {0};
    qn_vocab *v = NULL;
    qn_test_subdirectory("word");
    qn_test_file("word/tokenizer.model", "\x0a\x05\x0a\x01x\x18\x01\x12\x02\x18\x03", 11);
    const qn_status status = qn_vocab_from_directory(&v, qn_test_path("word"), NULL, &err);
    check_refusal(status, &err, &(refusal){NULL, QN_ERR_UNSUPPORTED, "model type 3"});
}
END_TEST

/* ---- GGUF keys -------------------------------------------------------------------------- */

static qn_metadata *gpt2_keys(void)
{
    static const char *const pieces[] = {"a", "b", "ab", "<s>"};
    static const int32_t types[] = {1, 1, 1, 3};
    qn_str texts[4], merge = qn_str_z("a b");
    qn_metadata *m = qn_metadata_new();
    for (size_t i = 0; i < 4; i++) texts[i] = qn_str_z(pieces[i]);
    ck_assert(!qn_metadata_set_str(m, "tokenizer.ggml.model", qn_str_z("gpt2"), NULL));
    ck_assert(!qn_metadata_set_strs(m, "tokenizer.ggml.tokens", texts, 4, NULL));
    ck_assert(!qn_metadata_set_i32s(m, "tokenizer.ggml.token_type", types, 4, NULL));
    ck_assert(!qn_metadata_set_strs(m, "tokenizer.ggml.merges", &merge, 1, NULL));
    return m;
}

static void check_keys(const qn_metadata *m, qn_status status, const char *words)
{
    qn_error err = {0};
    qn_vocab *v = NULL;
    const qn_status got = qn_vocab_from_metadata(&v, m, "keys.gguf", &err);
    check_refusal(got, &err, &(refusal){NULL, status, words});
    ck_assert_ptr_null(v);
}

START_TEST(bad_keys_are_refused_by_name)
{
    const int32_t types[] = {1, 1};
    qn_str texts[] = {qn_str_z("a"), qn_str_z("b"), qn_str_z("a")};
    const float scores[] = {0, 1, (float)(0.0 / 0.0), 2};
    qn_metadata *m = gpt2_keys();
    qn_metadata_set_str(m, "tokenizer.ggml.model", qn_str_z("bert"), NULL);
    check_keys(m, QN_ERR_UNSUPPORTED, "'bert'");
    qn_metadata_remove(m, "tokenizer.ggml.model");
    check_keys(m, QN_ERR_DATA, "tokenizer.ggml.model");
    qn_metadata_free(m);

    m = gpt2_keys();
    qn_metadata_set_str(m, "tokenizer.ggml.pre", qn_str_z("nonesuch"), NULL);
    check_keys(m, QN_ERR_UNSUPPORTED, "'nonesuch'");
    qn_metadata_set_str(m, "tokenizer.ggml.pre", qn_str_z("gpt-2"), NULL);
    qn_metadata_set_u32(m, "tokenizer.ggml.bos_token_id", 4, NULL);
    check_keys(m, QN_ERR_DATA, "bos_token_id is 4, the vocabulary has 4");
    qn_metadata_free(m);

    m = gpt2_keys();
    qn_metadata_set_i32s(m, "tokenizer.ggml.token_type", types, 2, NULL);
    check_keys(m, QN_ERR_DATA, "token_type has 2 elements for 4 tokens");
    qn_metadata_remove(m, "tokenizer.ggml.token_type");
    qn_metadata_set_f32s(m, "tokenizer.ggml.scores", scores, 4, NULL);
    check_keys(m, QN_ERR_DATA, "score of id 2");
    qn_metadata_remove(m, "tokenizer.ggml.merges");
    check_keys(m, QN_ERR_DATA, "tokenizer.ggml.merges");
    qn_metadata_set_strs(m, "tokenizer.ggml.merges", texts, 1, NULL);
    check_keys(m, QN_ERR_DATA, "merge 0 ('a')");
    qn_metadata_set_strs(m, "tokenizer.ggml.tokens", texts, 3, NULL);
    qn_metadata_remove(m, "tokenizer.ggml.scores");
    qn_metadata_set_strs(m, "tokenizer.ggml.merges", texts, 0, NULL);
    check_keys(m, QN_ERR_DATA, "ids 0 and 2 have the same piece 'a'");
    qn_metadata_set_u32(m, "tokenizer.ggml.tokens", 3, NULL);
    check_keys(m, QN_ERR_DATA, "no array of str");
    qn_metadata_free(m);
}
END_TEST

START_TEST(an_id_outside_the_vocabulary_does_not_decode)
{
    qn_test_tokenizer r;
    qn_error err = {0};
    qn_text out = {0};
    qn_vocab *v = NULL;
    qn_metadata *m = gpt2_keys();
    ck_assert(!qn_vocab_from_metadata(&v, m, "keys", &err));
    qn_test_tokenizer_take(&r, v);
    const uint32_t ids[] = {0, 4};
    ck_assert_int_eq(qn_tokenizer_decode(r.t, ids, 2, false, &out, &err), QN_ERR_ARGUMENT);
    ck_assert(strstr(err.message, "token id 4; the vocabulary has 4") && out.n == 0);
    qn_test_tokenizer_close(&r);
    qn_metadata_free(m);
}
END_TEST

/* ---- memory --------------------------------------------------------------------------------- */

static qn_status load_and_run(const char *dir, qn_error *err)
{
    qn_vocab *v = NULL;
    qn_tokenizer *t = NULL;
    qn_text back = {0};
    uint32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    qn_metadata *m = qn_metadata_new();
    qn_status status = m ? QN_OK : QN_ERR_MEMORY;
    if (!status) status = qn_vocab_from_directory(&v, dir, NULL, err);
    if (!status) status = qn_vocab_write_metadata(v, m, err);
    if (!status) status = qn_tokenizer_new(&t, v, err);
    if (!status)
        status = qn_tokenizer_encode(t, qn_str_z("A na\u0308ive \xff text"),
                                     (qn_encode_options){true, true}, &ids, &n, &capacity, err);
    if (!status) status = qn_tokenizer_decode(t, ids, n, false, &back, err);
    qn_text_free(&back);
    qn_free(ids);
    qn_tokenizer_free(t);
    qn_vocab_free(v);
    qn_metadata_free(m);
    return status;
}

static const char *const tokenizers[] = {"models/golden/tokenizers/smollm",
                                         "models/golden/tokenizers/spm",
                                         "tokenizers/made/sentencepiece-user"};

/* Pieces are thousands of like allocations: every one of the first few
 * hundred fails, then some. */
START_TEST(a_failed_allocation_is_told_and_leaks_nothing)
{
    const char *dir = qn_test_data(tokenizers[_i]);
    unsigned long failures = 0;
    if (!dir) return;
    for (unsigned long at = 1;; at += at < 300 ? 1 : 37) {
        qn_error err = {0};
        qn_alloc_fail_at(at);
        const qn_status status = load_and_run(dir, &err);
        qn_alloc_fail_at(0);
        if (!status) break;
        ck_assert_msg(status == QN_ERR_MEMORY, "allocation %lu: status %d: %s", at, (int)status,
                      err.message);
        failures++;
    }
    ck_assert_uint_gt(failures, 50);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer refusals");
    TCase *refused = qn_test_group(s, "refused");
    tcase_set_timeout(refused, 120);
    tcase_add_loop_test(refused, a_bad_tokenizer_json_is_refused_with_what_is_wrong, 0,
                        sizeof json_refusals / sizeof json_refusals[0]);
    tcase_add_test(refused, a_vocabulary_larger_than_the_embedding_is_refused);
    tcase_add_test(refused, an_embedding_of_2_to_the_60_rows_is_refused);
    tcase_add_test(refused, an_unknown_name_for_a_pre_tokenizer_is_refused);
    tcase_add_test(refused, a_directory_without_a_tokenizer_is_refused);
    tcase_add_test(refused, a_truncated_tokenizer_model_is_read_as_far_as_it_goes_or_refused);
    tcase_add_test(refused, a_word_model_is_refused_by_its_type);
    tcase_add_test(refused, bad_keys_are_refused_by_name);
    tcase_add_test(refused, an_id_outside_the_vocabulary_does_not_decode);
    tcase_add_loop_test(refused, a_failed_allocation_is_told_and_leaks_nothing, 0, 3);
    return qn_test_run_suite(s);
}
