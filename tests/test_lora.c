/* LoRA adapters merged into a checkpoint: the weights and logits of PEFT's
 * formula in double (models/lora), what becomes of them on the way to a file, and
 * what is refused. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/digest.h"
#include "formats/export.h"
#include "kernels/half.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/run.h"
#include "tests/support/write_model.h"
#include "validate/decoder.h"

static const char *const names[] = {"models/lora/r4-all", "models/lora/r8-rslora",
                                    "models/lora/r4-embed-head"};

static const char *base_path(void)
{
    return qn_test_data("models/golden/llama");
}

static qn_status try_open(qn_model **m, const char *base, const qn_lora_request *adapters, size_t n,
                          qn_error *err)
{
    const qn_model_options how = {.no_vocab = true, .adapters = adapters, .n_adapters = n};
    return qn_model_open(m, base, &how, err);
}

static qn_model *open_merged(const char *base, const char *adapter, double scale)
{
    const qn_lora_request one = {adapter, scale};
    qn_error err = {0};
    qn_model *m = NULL;
    ck_assert_msg(!try_open(&m, base, &one, 1, &err), "%s", err.message);
    return m;
}

static json_t *golden_of(const char *directory)
{
    char *path = qn_path_join(directory, "golden.json");
    json_t *root = json_load_file(path, 0, NULL);
    qn_free(path);
    ck_assert_ptr_nonnull(root);
    return root;
}

/* All of a tensor's rows; to be freed. */
static float *values_of(const qn_model_tensor *t)
{
    qn_error err = {0};
    float *values = qn_alloc((size_t)(t->rows->rows * t->rows->columns), sizeof *values);
    ck_assert_ptr_nonnull(values);
    ck_assert(!t->rows->decode(t->rows, qn_kernels_best(), 0, t->rows->rows, values, &err));
    return values;
}

/* ---- right ------------------------------------------------------------------------------ */

static void check_digest(const char *name, const float *values, size_t n, const char *expected)
{
    char hex[65];
    qn_sha256_hex(values, n * sizeof *values, hex);
    ck_assert_msg(!strcmp(hex, expected), "%s: sha256 %s, golden %s", name, hex, expected);
}

START_TEST(merged_weights_are_the_double_merge_rounded_once)
{
    const char *base = base_path(), *adapter = qn_test_data(names[_i]);
    if (!base || !adapter) return;
    qn_model *m = open_merged(base, adapter, 1), *e = NULL;
    json_t *golden = golden_of(adapter);
    const char *name;
    json_t *tensor;
    ck_assert(!qn_export_open(&e, m, NULL));
    json_object_foreach(json_object_get(golden, "merged_tensors"), name, tensor)
    {
        const qn_model_tensor *t = qn_model_find(e, name);
        ck_assert_msg(t, "%s", name);
        float *values = values_of(t);
        check_digest(name, values, (size_t)(t->rows->rows * t->rows->columns),
                     json_string_value(json_object_get(tensor, "sha256_f32")));
        qn_free(values);
    }
    json_decref(golden);
    qn_model_close(e);
    qn_model_close(m);
}
END_TEST

START_TEST(rows_are_the_same_alone_and_together)
{
    const char *base = base_path(), *adapter = qn_test_data(names[0]);
    if (!base || !adapter) return;
    qn_model *m = open_merged(base, adapter, 1);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const qn_rows *rows = m->tensors[i].rows;
        float *all = values_of(&m->tensors[i]), *one = qn_alloc(rows->columns, sizeof *one);
        for (uint64_t r = 0; r < rows->rows; r += 7) {
            ck_assert(!rows->decode(rows, qn_kernels_best(), r, r + 1, one, NULL));
            ck_assert_mem_eq(one, all + r * rows->columns, rows->columns * sizeof *one);
        }
        qn_free(one);
        qn_free(all);
    }
    qn_model_close(m);
}
END_TEST

START_TEST(a_scale_of_zero_leaves_the_base_and_two_adapters_add_up)
{
    const char *base = base_path(), *adapter = qn_test_data(names[0]);
    if (!base || !adapter) return;
    qn_error err = {0};
    const qn_lora_request twice[] = {{adapter, 0.5}, {adapter, 0.5}};
    qn_model *none = open_merged(base, adapter, 0), *whole = open_merged(base, adapter, 1);
    qn_model *halves = NULL, *plain = NULL;
    ck_assert_msg(!try_open(&halves, base, twice, 2, &err), "%s", err.message);
    ck_assert(!try_open(&plain, base, NULL, 0, &err));
    for (size_t i = 0; i < plain->n_tensors; i++) {
        const size_t n = (size_t)(plain->tensors[i].rows->rows * plain->tensors[i].rows->columns);
        float *p = values_of(&plain->tensors[i]), *z = values_of(&none->tensors[i]);
        float *w = values_of(&whole->tensors[i]), *h = values_of(&halves->tensors[i]);
        for (size_t j = 0; j < n; j++) {
            ck_assert_float_eq(p[j], z[j]);
            ck_assert_float_eq_tol(w[j], h[j], 1e-7F);
        }
        qn_free(p);
        qn_free(z);
        qn_free(w);
        qn_free(h);
    }
    qn_model_close(none);
    qn_model_close(whole);
    qn_model_close(halves);
    qn_model_close(plain);
}
END_TEST

START_TEST(logits_are_those_of_the_merged_model)
{
    const char *base = base_path(), *adapter = qn_test_data(names[_i]);
    if (!base || !adapter) return;
    qn_error err = {0};
    qn_model *m = open_merged(base, adapter, 1);
    json_t *golden = golden_of(adapter), *list = json_object_get(golden, "ids");
    const size_t n = json_array_size(list), n_vocab = (size_t)m->hparams.n_vocab;
    uint32_t ids[64];
    for (size_t i = 0; i < n; i++) ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    char *path = qn_path_join(adapter, "golden.safetensors");
    qn_reader *expected = NULL;
    ck_assert(!qn_reader_open(&expected, path, &err));
    const float *want = qn_reader_find(expected, "logits.merged")->data;
    qn_decoder *d = NULL;
    qn_session *s = NULL;
    float *logits = qn_alloc(n * n_vocab, sizeof *logits);
    ck_assert(!qn_decoder_new(&d, m, qn_kernels_best(), 2, &err));
    ck_assert(!qn_session_new(&s, d, 1, n, &err));
    ck_assert(!qn_session_run(s, ids, n, NULL, NULL, &err));
    ck_assert(!qn_session_logits(s, 0, 0, n, logits, &err));
    for (size_t i = 0; i < n * n_vocab; i++) ck_assert_float_eq_tol(logits[i], want[i], 1.3e-4F);
    qn_free(logits);
    qn_session_free(s);
    qn_decoder_free(d);
    qn_reader_close(expected);
    qn_free(path);
    json_decref(golden);
    qn_model_close(m);
}
END_TEST

/* ---- adapters made here ------------------------------------------------------------------- */

static const char config[] = "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8%s}";

/* An adapter directory `name` with this configuration and, unless header is NULL,
 * these tensors. */
static void make_adapter(const char *name, const char *json, const char *header, const void *data,
                         size_t n)
{
    char path[128];
    qn_test_subdirectory(name);
    snprintf(path, sizeof path, "%s/adapter_config.json", name);
    qn_test_file(path, json, strlen(json));
    if (!header) return;
    const uint64_t length = strlen(header);
    qn_text bytes = {0};
    qn_text_add(&bytes, (const char *)&length, sizeof length);
    qn_text_adds(&bytes, header);
    qn_text_add(&bytes, data, n);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", name);
    qn_test_file(path, bytes.s, bytes.n);
    qn_text_free(&bytes);
}

/* Rank 37, so more than one run of ranks, on down_proj of the golden llama. */
enum { ROWS = 256, COLUMNS = 256, RANK = 37, N_A = RANK * COLUMNS, N_B = ROWS * RANK };

static const float *made_adapter(const char *name, bool dora, uint64_t seed)
{
    static float data[2][N_A + N_B + ROWS];
    float *d = data[dora];
    char header[1024], json[256];
    int n = snprintf(header, sizeof header,
                     "{\"model.layers.0.mlp.down_proj.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":"
                     "[%d,%d],\"data_offsets\":[0,%d]},"
                     "\"model.layers.0.mlp.down_proj.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":"
                     "[%d,%d],\"data_offsets\":[%d,%d]}",
                     RANK, COLUMNS, 4 * N_A, ROWS, RANK, 4 * N_A, 4 * (N_A + N_B));
    if (dora)
        n += snprintf(header + n, sizeof header - n,
                      ",\"model.layers.0.mlp.down_proj.lora_magnitude_vector\":{\"dtype\":\"F32\","
                      "\"shape\":[%d],\"data_offsets\":[%d,%d]}",
                      ROWS, 4 * (N_A + N_B), 4 * (N_A + N_B + ROWS));
    snprintf(header + n, sizeof header - n, "}");
    qn_random r = {seed};
    for (size_t i = 0; i < N_A + N_B + ROWS; i++) d[i] = 0.05F * qn_random_normal(&r);
    snprintf(json, sizeof json,
             "{\"peft_type\": \"LORA\", \"r\": %d, \"lora_alpha\": 11, \"use_dora\": %s}", RANK,
             dora ? "true" : "false");
    make_adapter(name, json, header, d, 4 * (N_A + N_B + (dora ? ROWS : 0)));
    return d;
}

/* d[j] = scale * sum over k of B[i][k] A[k][j]. */
static void plain_sum(const float *adapter, double scale, size_t i, double *d)
{
    for (size_t j = 0; j < COLUMNS; j++) {
        d[j] = 0;
        for (size_t k = 0; k < RANK; k++)
            d[j] += (double)adapter[N_A + i * RANK + k] * (double)adapter[k * COLUMNS + j];
        d[j] *= scale * 11 / RANK;
    }
}

START_TEST(lora_and_dora_one_after_the_other_are_the_formula_in_double)
{
    const char *base = base_path();
    if (!base) return;
    qn_error err = {0};
    qn_model *m = NULL, *plain = NULL;
    const float *lora = made_adapter("lora", false, 5), *dora = made_adapter("dora", true, 6);
    char *first = qn_strdup(qn_test_path("lora")), *second = qn_strdup(qn_test_path("dora"));
    const qn_lora_request in_turn[] = {{first, 0.5}, {second, 2}};
    ck_assert_msg(!try_open(&m, base, in_turn, 2, &err), "%s", err.message);
    ck_assert(!try_open(&plain, base, NULL, 0, &err));
    float *w = values_of(qn_model_find(plain, "blk.0.ffn_down.weight"));
    float *got = values_of(qn_model_find(m, "blk.0.ffn_down.weight"));
    for (size_t i = 0; i < ROWS; i++) {
        double d1[COLUMNS], d2[COLUMNS], squares = 0;
        plain_sum(lora, 0.5, i, d1);
        plain_sum(dora, 2, i, d2);
        for (size_t j = 0; j < COLUMNS; j++) squares += pow((double)w[i * COLUMNS + j] + d2[j], 2);
        const double factor = (double)dora[N_A + N_B + i] / sqrt(squares);
        for (size_t j = 0; j < COLUMNS; j++) {
            const size_t at = i * COLUMNS + j;
            ck_assert_double_eq_tol((double)got[at], factor * ((double)w[at] + d1[j] + d2[j]),
                                    1e-9);
        }
    }
    qn_free(first);
    qn_free(second);
    qn_free(w);
    qn_free(got);
    qn_model_close(m);
    qn_model_close(plain);
}
END_TEST

/* ---- embedding and head ---------------------------------------------------------------------- */

enum { MOST_ROWS = 660, HIDDEN = 256 };

/* An adapter that saves these modules' weights, [rows, HIDDEN] each, with value
 * start + i / 1024 of element i, one module behind the other. */
static const char *saved(const char *const *modules, size_t n, size_t rows, float start)
{
    static float data[2 * MOST_ROWS * HIDDEN];
    char header[512], json[256];
    const size_t each = rows * HIDDEN;
    int at = 0;
    for (size_t i = 0; i < n; i++)
        at += snprintf(header + at, sizeof header - (size_t)at,
                       "%s\"base_model.model.%s.weight\":{\"dtype\":\"F32\",\"shape\":[%zu,%d],"
                       "\"data_offsets\":[%zu,%zu]}",
                       i ? "," : "{", modules[i], rows, HIDDEN, 4 * i * each, 4 * (i + 1) * each);
    snprintf(header + at, sizeof header - (size_t)at, "}");
    for (size_t i = 0; i < n * each; i++) data[i] = start + (float)i / 1024;
    snprintf(json, sizeof json, config, "");
    make_adapter("saved", json, header, data, 4 * n * each);
    return qn_test_path("saved");
}

static void check_rows(const qn_model *m, const char *name, size_t rows, float start)
{
    const qn_model_tensor *t = qn_model_find(m, name);
    ck_assert_msg(t && t->dims[0] == rows && t->rows->rows == rows, "%s", name);
    float *values = values_of(t);
    for (size_t i = 0; i < rows * HIDDEN; i++)
        ck_assert_float_eq(values[i], start + (float)i / 1024);
    qn_free(values);
}

static void check_same(const qn_model *a, const char *in_a, const qn_model *b, const char *in_b)
{
    const qn_model_tensor *left = qn_model_find(a, in_a), *right = qn_model_find(b, in_b);
    ck_assert_msg(left && right && left->rows->rows == right->rows->rows, "%s, %s", in_a, in_b);
    float *x = values_of(left), *y = values_of(right);
    ck_assert_mem_eq(x, y, left->rows->rows * left->rows->columns * sizeof *x);
    qn_free(x);
    qn_free(y);
}

static const char *const both[] = {"model.embed_tokens", "lm_head"};

START_TEST(a_larger_vocabulary_takes_the_place_of_the_bases)
{
    const char *base = base_path();
    if (!base) return;
    qn_model *m = open_merged(base, saved(both, 2, 643, 0), 1);
    ck_assert_uint_eq(m->hparams.n_vocab, 643);
    check_rows(m, "token_embd.weight", 643, 0);
    check_rows(m, "output.weight", 643, 643 * HIDDEN / 1024.0F);
    qn_model_close(m);
}
END_TEST

START_TEST(tokens_that_the_adapter_added_are_in_the_vocabulary)
{
    const char *base = base_path();
    if (!base) return;
    const char *adapter = saved(both, 2, 643, 0);
    char *path = qn_path_join(base, "tokenizer.json");
    json_t *root = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(root);
    json_array_append_new(json_object_get(root, "added_tokens"),
                          json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", 640, "content",
                                    "<|new|>", "special", 1, "normalized", 0, "lstrip", 0, "rstrip",
                                    0, "single_word", 0));
    char *text = json_dumps(root, 0);
    qn_test_file("saved/tokenizer.json", text, strlen(text));
    const qn_lora_request one = {adapter, 1};
    const qn_model_options how = {.adapters = &one, .n_adapters = 1};
    qn_error err = {0};
    qn_model *m = NULL;
    ck_assert_msg(!qn_model_open(&m, base, &how, &err), "%s", err.message);
    ck_assert_uint_eq(qn_vocab_size(m->vocab), 643);
    ck_assert(qn_str_is(qn_vocab_piece(m->vocab, 640), "<|new|>"));
    qn_model_close(m);
    free(text);
    json_decref(root);
    qn_free(path);
}
END_TEST

/* peft 0.21 with transformers 5: the head is what was saved, or else the embedding
 * as it was. */
START_TEST(a_tied_head_gets_a_tensor_when_one_of_both_is_saved)
{
    const char *base = qn_test_data("models/golden/qwen2");
    if (!base) return;
    qn_error err = {0};
    qn_model *plain = NULL;
    ck_assert_msg(!try_open(&plain, base, NULL, 0, &err), "%s", err.message);
    const size_t rows = (size_t)plain->hparams.n_vocab;
    ck_assert(plain->hparams.tied);
    qn_model *head = open_merged(base, saved(both + 1, 1, rows, 2), 1);
    ck_assert(!head->hparams.tied);
    check_same(head, "token_embd.weight", plain, "token_embd.weight");
    check_rows(head, "output.weight", rows, 2);
    qn_model_close(head);
    qn_model *embedding = open_merged(base, saved(both, 1, rows, 3), 1);
    ck_assert(!embedding->hparams.tied);
    check_same(embedding, "output.weight", plain, "token_embd.weight");
    check_rows(embedding, "token_embd.weight", rows, 3);
    qn_model_close(embedding);
    qn_model_close(plain);
}
END_TEST

/* ---- refused ------------------------------------------------------------------------------ */

/* Such an adapter, opened on the base at this scale: refused in a line with these
 * words. */
static void refused_at(double scale, const char *json, const char *header, const void *data,
                       size_t n, qn_status expected, const char *words)
{
    const char *base = base_path();
    qn_error err = {0};
    qn_model *m = NULL;
    if (!base) return;
    make_adapter("adapter", json, header, data, n);
    const qn_lora_request one = {qn_test_path("adapter"), scale};
    ck_assert_int_eq(try_open(&m, base, &one, 1, &err), expected);
    ck_assert_msg(strstr(err.message, words), "%s", err.message);
    ck_assert_ptr_null(strchr(err.message, '\n'));
}

static void refused(const char *json, const char *header, const void *data, size_t n,
                    qn_status expected, const char *words)
{
    refused_at(1, json, header, data, n, expected, words);
}

static const struct {
    const char *json, *words;
    qn_status status;
} configs[] = {
    {"{\"peft_type\": \"IA3\", \"r\": 4, \"lora_alpha\": 8}", "peft_type is \"IA3\"",
     QN_ERR_UNSUPPORTED},
    {"{\"r\": 4, \"lora_alpha\": 8}", "peft_type", QN_ERR_DATA},
    {"[]", "not a JSON object", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"lora_alpha\": 8}", "\"r\"", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 0, \"lora_alpha\": 8}", "a rank of 0", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 2.5, \"lora_alpha\": 8}", "a rank of 2.5", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 4}", "lora_alpha", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": NaN}", "adapter_config.json",
     QN_ERR_DATA},
    {"{\"peft_type\": \"LOHA\", \"r\": 4, \"lora_alpha\": 8}", "peft_type is \"LOHA\"",
     QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"VERA\", \"r\": 4}", "peft_type is \"VERA\"", QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"use_qalora\": true}", "use_qalora",
     QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"alora_invocation_tokens\": [1]}",
     "alora_invocation_tokens", QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"kasa_config\": {\"beta\": 1}}",
     "kasa_config", QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"init_lora_weights\": \"pissa\"}",
     "pissa", QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"rank_pattern\": {\"q_proj\": 0}}",
     "a rank of 0", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"alpha_pattern\": {\"(\": 1}}",
     "pattern \"(\"", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8}", "neither adapter_model.safetensors",
     QN_ERR_DATA},
};

START_TEST(what_is_not_plain_lora_is_refused_by_its_field)
{
    refused(configs[_i].json, NULL, NULL, 0, configs[_i].status, configs[_i].words);
}
END_TEST

#define NAME(of) "\"base_model.model." of "\": "
#define Q "model.layers.0.self_attn.q_proj."
#define A NAME(Q "lora_A.weight") "{\"dtype\":\"F32\",\"shape\":[4,256],\"data_offsets\":[0,4096]}"
#define B \
    NAME(Q "lora_B.weight") "{\"dtype\":\"F32\",\"shape\":[256,4],\"data_offsets\":[4096,8192]}"

static const struct {
    const char *header, *words;
    qn_status status;
} tensors[] = {
    {"{" A "}", "has no lora_B beside it", QN_ERR_DATA},
    {"{" NAME(Q "lora_B.weight") "{\"dtype\":\"F32\",\"shape\":[256,4],"
                                 "\"data_offsets\":[0,4096]}}",
     "has no lora_A.weight beside it", QN_ERR_DATA},
    {"{" NAME("model.layers.9.self_attn.q_proj.lora_A.weight") "{\"dtype\":\"F32\",\"shape\":[4,"
                                                               "256],\"data_offsets\":[0,4096]}"
                                                               "," NAME(
                                                                   "model.layers.9.self_attn.q_"
                                                                   "proj.lora_B.weight") "{\"dtype"
                                                                                         "\":"
                                                                                         "\"F32\","
                                                                                         "\"shape\""
                                                                                         ":[256,4],"
                                                                                         "\"data_"
                                                                                         "offsets\""
                                                                                         ":[4096,"
                                                                                         "8192]}}",
     "belongs to no tensor", QN_ERR_DATA},
    {"{" NAME(Q "lora_A.weight") "{\"dtype\":\"F32\",\"shape\":[2,512],"
                                 "\"data_offsets\":[0,4096]}," B "}",
     "has rank 2, adapter_config.json says 4", QN_ERR_DATA},
    {"{" A "," NAME(Q "lora_B.weight") "{\"dtype\":\"F32\",\"shape\":[512,2],"
                                       "\"data_offsets\":[4096,8192]}}",
     "has rank 2, adapter_config.json says 4", QN_ERR_DATA},
    {"{" A "," NAME(Q "lora_B.weight") "{\"dtype\":\"F32\",\"shape\":[128,4],"
                                       "\"data_offsets\":[4096,6144]}}",
     "does not fit the base's", QN_ERR_DATA},
    {"{" NAME(Q "lora_magnitude_vector") "{\"dtype\":\"F32\",\"shape\":[256],"
                                         "\"data_offsets\":[0,1024]}}",
     "does not say use_dora", QN_ERR_UNSUPPORTED},
    {"{" NAME("model.norm.weight") "{\"dtype\":\"I32\",\"shape\":[256],\"data_offsets\":[0,1024]}}",
     "adapters are F32, F16 or BF16", QN_ERR_UNSUPPORTED},
    {"{" NAME("lm_head.weight") "{\"dtype\":\"F32\",\"shape\":[8,256],\"data_offsets\":[0,8192]}}",
     "the embedding has 640 rows and the head 8", QN_ERR_DATA},
    {"{}", "has no tensors", QN_ERR_DATA},
};

static size_t data_bytes(const char *header)
{
    size_t most = 0;
    for (const char *at = header; (at = strstr(at, "data_offsets\":["));) {
        at = strchr(at, ',') + 1;
        most = (size_t)strtoul(at, NULL, 10);
    }
    return most;
}

START_TEST(tensors_without_a_place_or_of_another_shape_are_refused)
{
    char json[256];
    static const float zeros[2048];
    snprintf(json, sizeof json, config, "");
    refused(json, tensors[_i].header, zeros, data_bytes(tensors[_i].header), tensors[_i].status,
            tensors[_i].words);
}
END_TEST

START_TEST(a_nan_is_refused_before_any_work)
{
    char json[256];
    float data[2048] = {0};
    data[1500] = NAN;
    snprintf(json, sizeof json, config, "");
    refused(json, "{" A "," B "}", data, sizeof data, QN_ERR_DATA, "a NaN or an infinity");
}
END_TEST

START_TEST(a_product_of_scales_that_overflows_is_refused)
{
    static const float zeros[2048];
    refused_at(1e300, "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 1e300}", "{" A "," B "}",
               zeros, sizeof zeros, QN_ERR_DATA, "is scaled by inf");
}
END_TEST

START_TEST(dora_without_magnitudes_is_refused)
{
    char json[256];
    static const float zeros[2048];
    snprintf(json, sizeof json, config, ", \"use_dora\": true");
    refused(json, "{" A "," B "}", zeros, sizeof zeros, QN_ERR_DATA,
            "has no lora_magnitude_vector beside it");
}
END_TEST

START_TEST(patterns_decide_rank_and_alpha_by_the_end_of_a_name)
{
    char json[256];
    static const float zeros[2048];
    snprintf(json, sizeof json, config, ", \"rank_pattern\": {\"self_attn.(q|k)_proj\": 8}");
    refused(json, "{" A "," B "}", zeros, sizeof zeros, QN_ERR_DATA,
            "has rank 4, adapter_config.json says 8");
}
END_TEST

START_TEST(a_gguf_base_is_refused)
{
    const char *adapter = qn_test_data(names[0]), *base = base_path();
    if (!adapter || !base) return;
    qn_error err = {0};
    qn_model *m = open_merged(base, adapter, 1), *gguf = NULL;
    const char *path = qn_test_path("merged.gguf");
    write_model(m, QN_OUT_F32, &qn_format_gguf, path);
    qn_model_close(m);
    const qn_lora_request one = {adapter, 1};
    ck_assert_int_eq(try_open(&gguf, path, &one, 1, &err), QN_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "a GGUF file"));
}
END_TEST

int main(void)
{
    const int n_names = sizeof names / sizeof *names;
    Suite *s = suite_create("lora");
    TCase *right = qn_test_group(s, "right"), *refuse = qn_test_group(s, "refused");
    tcase_add_loop_test(right, merged_weights_are_the_double_merge_rounded_once, 0, n_names);
    tcase_add_test(right, rows_are_the_same_alone_and_together);
    tcase_add_test(right, a_scale_of_zero_leaves_the_base_and_two_adapters_add_up);
    tcase_add_loop_test(right, logits_are_those_of_the_merged_model, 0, n_names);
    tcase_add_test(right, lora_and_dora_one_after_the_other_are_the_formula_in_double);
    tcase_add_test(right, a_larger_vocabulary_takes_the_place_of_the_bases);
    tcase_add_test(right, tokens_that_the_adapter_added_are_in_the_vocabulary);
    tcase_add_test(right, a_tied_head_gets_a_tensor_when_one_of_both_is_saved);
    tcase_add_test(refuse, a_product_of_scales_that_overflows_is_refused);
    tcase_add_test(refuse, dora_without_magnitudes_is_refused);
    tcase_add_loop_test(refuse, what_is_not_plain_lora_is_refused_by_its_field, 0,
                        sizeof configs / sizeof *configs);
    tcase_add_loop_test(refuse, tensors_without_a_place_or_of_another_shape_are_refused, 0,
                        sizeof tensors / sizeof *tensors);
    tcase_add_test(refuse, a_nan_is_refused_before_any_work);
    tcase_add_test(refuse, patterns_decide_rank_and_alpha_by_the_end_of_a_name);
    tcase_add_test(refuse, a_gguf_base_is_refused);
    return qn_test_run_suite(s);
}
