/* LoRA adapters merged into a checkpoint: the weights and logits of PEFT's
 * formula in double (models/lora), and what becomes of them on the way to a file. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/digest.h"
#include "formats/export.h"
#include "kernels/half.h"
#include "tests/support/adapter.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/run.h"
#include "tests/support/write_model.h"
#include "validate/decoder.h"

static const char *const names[] = {"models/lora/r4-all", "models/lora/r8-rslora",
                                    "models/lora/r4-embed-head"};

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
    const char *base = qn_test_lora_base(), *adapter = qn_test_data(names[_i]);
    if (!base || !adapter) return;
    qn_model *m = qn_test_merged(base, adapter, 1), *e = NULL;
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
    const char *base = qn_test_lora_base(), *adapter = qn_test_data(names[0]);
    if (!base || !adapter) return;
    qn_model *m = qn_test_merged(base, adapter, 1);
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
    const char *base = qn_test_lora_base(), *adapter = qn_test_data(names[0]);
    if (!base || !adapter) return;
    qn_error err = {0};
    const qn_lora_request twice[] = {{adapter, 0.5}, {adapter, 0.5}};
    qn_model *none = qn_test_merged(base, adapter, 0), *whole = qn_test_merged(base, adapter, 1);
    qn_model *halves = NULL, *plain = NULL;
    ck_assert_msg(!qn_test_open_adapted(&halves, base, twice, 2, &err), "%s", err.message);
    ck_assert(!qn_test_open_adapted(&plain, base, NULL, 0, &err));
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
    const char *base = qn_test_lora_base(), *adapter = qn_test_data(names[_i]);
    if (!base || !adapter) return;
    qn_error err = {0};
    qn_model *m = qn_test_merged(base, adapter, 1);
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
    qn_test_adapter(name, json, header, d, 4 * (N_A + N_B + (dora ? ROWS : 0)));
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
    const char *base = qn_test_lora_base();
    if (!base) return;
    qn_error err = {0};
    qn_model *m = NULL, *plain = NULL;
    const float *lora = made_adapter("lora", false, 5), *dora = made_adapter("dora", true, 6);
    char *first = qn_strdup(qn_test_path("lora")), *second = qn_strdup(qn_test_path("dora"));
    const qn_lora_request in_turn[] = {{first, 0.5}, {second, 2}};
    ck_assert_msg(!qn_test_open_adapted(&m, base, in_turn, 2, &err), "%s", err.message);
    ck_assert(!qn_test_open_adapted(&plain, base, NULL, 0, &err));
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
    char header[512];
    const size_t each = rows * HIDDEN;
    int at = 0;
    for (size_t i = 0; i < n; i++)
        at += snprintf(header + at, sizeof header - (size_t)at,
                       "%s\"base_model.model.%s.weight\":{\"dtype\":\"F32\",\"shape\":[%zu,%d],"
                       "\"data_offsets\":[%zu,%zu]}",
                       i ? "," : "{", modules[i], rows, HIDDEN, 4 * i * each, 4 * (i + 1) * each);
    snprintf(header + at, sizeof header - (size_t)at, "}");
    for (size_t i = 0; i < n * each; i++) data[i] = start + (float)i / 1024;
    qn_test_adapter("saved", QN_TEST_LORA_CONFIG(""), header, data, 4 * n * each);
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
    const char *base = qn_test_lora_base();
    if (!base) return;
    qn_model *m = qn_test_merged(base, saved(both, 2, 643, 0), 1);
    ck_assert_uint_eq(m->hparams.n_vocab, 643);
    check_rows(m, "token_embd.weight", 643, 0);
    check_rows(m, "output.weight", 643, 643 * HIDDEN / 1024.0F);
    qn_model_close(m);
}
END_TEST

START_TEST(tokens_that_the_adapter_added_are_in_the_vocabulary)
{
    const char *base = qn_test_lora_base();
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
    ck_assert_msg(!qn_test_open_adapted(&plain, base, NULL, 0, &err), "%s", err.message);
    const size_t rows = (size_t)plain->hparams.n_vocab;
    ck_assert(plain->hparams.tied);
    qn_model *head = qn_test_merged(base, saved(both + 1, 1, rows, 2), 1);
    ck_assert(!head->hparams.tied);
    check_same(head, "token_embd.weight", plain, "token_embd.weight");
    check_rows(head, "output.weight", rows, 2);
    qn_model_close(head);
    qn_model *embedding = qn_test_merged(base, saved(both, 1, rows, 3), 1);
    ck_assert(!embedding->hparams.tied);
    check_same(embedding, "output.weight", plain, "token_embd.weight");
    check_rows(embedding, "token_embd.weight", rows, 3);
    qn_model_close(embedding);
    qn_model_close(plain);
}
END_TEST

int main(void)
{
    const int n_names = sizeof names / sizeof *names;
    Suite *s = suite_create("lora");
    TCase *t = qn_test_group(s, "right");
    tcase_add_loop_test(t, merged_weights_are_the_double_merge_rounded_once, 0, n_names);
    tcase_add_test(t, rows_are_the_same_alone_and_together);
    tcase_add_test(t, a_scale_of_zero_leaves_the_base_and_two_adapters_add_up);
    tcase_add_loop_test(t, logits_are_those_of_the_merged_model, 0, n_names);
    tcase_add_test(t, lora_and_dora_one_after_the_other_are_the_formula_in_double);
    tcase_add_test(t, a_larger_vocabulary_takes_the_place_of_the_bases);
    tcase_add_test(t, tokens_that_the_adapter_added_are_in_the_vocabulary);
    tcase_add_test(t, a_tied_head_gets_a_tensor_when_one_of_both_is_saved);
    return qn_test_run_suite(s);
}
