/* Whole jobs: a checkpoint or a GGUF file in, a quantized file out, against the
 * files that llama-quantize made. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/digest.h"
#include "formats/base/json.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"
#include "tests/support/write_plan.h"

static qn_model *opened(const char *path, const char *model_name)
{
    qn_model *m = NULL;
    qn_error err;
    const qn_model_options o = {.model_name = model_name};
    ck_assert_msg(!qn_model_open(&m, path, &o, &err), "%s", err.message);
    return m;
}

static void quantize_with(const qn_quantize_options *o, const char *in, const char *model_name,
                          const char *out, int threads)
{
    qn_error err;
    qn_plan *p = NULL;
    qn_model *m = opened(in, model_name);
    ck_assert_msg(!qn_plan_quantize(&p, m, o, &err), "%s", err.message);
    const qn_pipeline_options run = {.threads = threads};
    ck_assert_msg(!write_plan(p, out, &run, &err), "%s", err.message);
    qn_plan_free(p);
    qn_model_close(m);
}

static void quantize(const char *in, const char *model_name, const char *mix, const char *out,
                     int threads)
{
    const qn_quantize_options o = {.mix = qn_mix_by_name(mix)};
    quantize_with(&o, in, model_name, out, threads);
}

static void convert(const char *in, const char *model_name, qn_outtype outtype, const char *out)
{
    qn_error err;
    qn_plan *p = NULL;
    qn_model *m = opened(in, model_name);
    ck_assert_msg(!qn_plan_convert(&p, m, outtype, 0, &err), "%s", err.message);
    ck_assert_msg(!write_plan(p, out, &(qn_pipeline_options){0}, &err), "%s", err.message);
    qn_plan_free(p);
    qn_model_close(m);
}

static void expect_same_files(const char *a, const char *b)
{
    char hash_a[65], hash_b[65];
    ck_assert_int_eq(qn_sha256_file(a, hash_a, NULL), QN_OK);
    ck_assert_int_eq(qn_sha256_file(b, hash_b, NULL), QN_OK);
    ck_assert_str_eq(hash_a, hash_b);
}

static const char demo[] = "models/trained/quern-demo-llama";
static const char gemma[] = "models/trained/quern-demo-gemma4";

/* sha256 of the file that llama-quantize made of the converter's F32 file with
 * an importance matrix or without; BF16 is the converter's own. */
static void recorded_hash(const char *model, const char *type, bool importance, char out[65])
{
    char name[100];
    json_t *all;
    snprintf(name, sizeof name, "%s/degradation.json", model);
    ck_assert_int_eq(qn_json_load(qn_test_data(name), 1 << 20, &all, NULL), QN_OK);
    json_t *row;
    size_t i;
    *out = 0;
    json_array_foreach(json_object_get(all, "rows"), i,
                       row) if (!strcmp(json_string_value(json_object_get(row, "type")), type) &&
                                json_is_true(json_object_get(row, "imatrix")) == importance)
        snprintf(out, 65, "%s", json_string_value(json_object_get(row, "sha256")));
    json_decref(all);
    ck_assert_uint_eq(strlen(out), 64);
}

static const char *const recorded_types[] = {"Q8_0", "Q6_K",   "Q5_K_M", "Q4_K_M",
                                             "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K"};
enum { N_RECORDED = 8 };

START_TEST(a_trained_checkpoint_gives_the_file_that_llama_quantize_gave)
{
    char expected[65], hash[65];
    const char *out = qn_test_path("out.gguf");
    const char *type = recorded_types[_i];
    recorded_hash(demo, type, false, expected);
    quantize(qn_test_data(demo), "quern-demo-llama", type, out, 0);
    ck_assert_int_eq(qn_sha256_file(out, hash, NULL), QN_OK);
    ck_assert_msg(!strcmp(hash, expected), "%s: sha256 %s, expected %s", type, hash, expected);
}
END_TEST

/* The path that llama-quantize was given is in the file. */
START_TEST(importance_gives_the_file_that_llama_quantize_gave_with_it)
{
    char name[100], expected[65], hash[65];
    const char *out = qn_test_path("out.gguf");
    const char *type = recorded_types[_i];
    qn_error err;
    qn_importance *importance = NULL;
    snprintf(name, sizeof name, "%s/imatrix.gguf", demo);
    const char *path = qn_test_data(name);
    if (!path) return;
    recorded_hash(demo, type, true, expected);
    ck_assert_msg(!qn_importance_open(&importance, &path, 1, &err), "%s", err.message);
    importance->path.n = 0;
    qn_text_adds(&importance->path, "imatrix.gguf");
    const qn_quantize_options o = {.mix = qn_mix_by_name(type), .importance = importance};
    quantize_with(&o, qn_test_data(demo), "quern-demo-llama", out, 0);
    ck_assert_int_eq(qn_sha256_file(out, hash, NULL), QN_OK);
    ck_assert_msg(!strcmp(hash, expected), "%s: sha256 %s, expected %s", type, hash, expected);
    qn_importance_close(importance);
}
END_TEST

START_TEST(a_trained_checkpoint_converts_to_the_file_of_the_reference_converter)
{
    char expected[65], hash[65];
    const char *out = qn_test_path("out.gguf");
    recorded_hash(demo, "BF16", false, expected);
    convert(qn_test_data(demo), "quern-demo-llama", QN_OUT_AUTO, out);
    ck_assert_int_eq(qn_sha256_file(out, hash, NULL), QN_OK);
    ck_assert_str_eq(hash, expected);
}
END_TEST

/* From the F32 file, as llama-quantize did: what it leaves as it is stays F32. */
START_TEST(a_trained_gemma_gives_the_file_that_llama_quantize_gave)
{
    char expected[65], hash[65];
    const char *f32 = qn_test_path("f32.gguf"), *out = qn_test_path("out.gguf");
    const char *type = recorded_types[_i], *in = qn_test_data(gemma);
    if (!in) return;
    recorded_hash(gemma, type, false, expected);
    convert(in, "quern-demo-gemma4", QN_OUT_F32, f32);
    quantize(f32, NULL, type, out, 0);
    ck_assert_int_eq(qn_sha256_file(out, hash, NULL), QN_OK);
    ck_assert_msg(!strcmp(hash, expected), "%s: sha256 %s, expected %s", type, hash, expected);
}
END_TEST

static const int thread_counts[] = {1, 2, 3, 7};

START_TEST(any_number_of_threads_gives_the_same_file)
{
    char expected[65], hash[65];
    const char *out = qn_test_path("out.gguf");
    recorded_hash(demo, "Q4_K_M", false, expected);
    quantize(qn_test_data(demo), "quern-demo-llama", "Q4_K_M", out, thread_counts[_i]);
    ck_assert_int_eq(qn_sha256_file(out, hash, NULL), QN_OK);
    ck_assert_str_eq(hash, expected);
}
END_TEST

/* Float32 weights, so that the F32 file loses nothing. */
static const char *const mixes[] = {"Q8_0", "Q4_K_M", "F16"};

START_TEST(the_way_through_an_f32_file_gives_the_same_file)
{
    const char *in = qn_test_data("models/stories260K-hf");
    if (!in) return;
    const char *direct = qn_test_path("direct.gguf"), *f32 = qn_test_path("f32.gguf"),
               *by_way = qn_test_path("by-way.gguf");
    convert(in, NULL, QN_OUT_F32, f32);
    quantize(in, NULL, mixes[_i], direct, 2);
    quantize(f32, NULL, mixes[_i], by_way, 2);
    expect_same_files(direct, by_way);
}
END_TEST

START_TEST(an_alignment_moves_the_tensors_and_changes_nothing_in_them)
{
    enum { PAGE = 16384 };
    const char *in = qn_test_data("models/stories260K-hf");
    if (!in) return;
    const char *plain_path = qn_test_path("plain.gguf"), *paged_path = qn_test_path("paged.gguf");
    qn_reader *plain = NULL, *paged = NULL;
    quantize(in, NULL, "Q4_0", plain_path, 2);
    const qn_quantize_options paged_options = {.mix = qn_mix_by_name("Q4_0"), .align = PAGE};
    quantize_with(&paged_options, in, NULL, paged_path, 2);
    ck_assert_int_eq(qn_reader_open(&plain, plain_path, NULL), QN_OK);
    ck_assert_int_eq(qn_reader_open(&paged, paged_path, NULL), QN_OK);
    ck_assert_uint_eq(plain->alignment, 32);
    ck_assert_uint_eq(paged->alignment, PAGE);
    ck_assert_uint_eq(paged->n_tensors, plain->n_tensors);
    for (size_t i = 0; i < plain->n_tensors; i++) {
        const qn_tensor *a = &plain->tensors[i], *b = &paged->tensors[i];
        ck_assert_str_eq(a->name, b->name);
        ck_assert_uint_eq(b->offset % PAGE, 0);
        ck_assert_uint_eq(a->bytes, b->bytes);
        ck_assert_mem_eq(a->data, b->data, a->bytes);
    }
    qn_reader_close(paged);
    qn_reader_close(plain);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quantize");
    TCase *t = qn_test_group(s, "files");
    if (qn_test_data(demo)) {
        tcase_add_loop_test(t, a_trained_checkpoint_gives_the_file_that_llama_quantize_gave, 0,
                            N_RECORDED);
        tcase_add_loop_test(t, importance_gives_the_file_that_llama_quantize_gave_with_it, 0,
                            N_RECORDED);
        tcase_add_test(t, a_trained_checkpoint_converts_to_the_file_of_the_reference_converter);
        tcase_add_loop_test(t, any_number_of_threads_gives_the_same_file, 0, 4);
    }
    tcase_add_loop_test(t, a_trained_gemma_gives_the_file_that_llama_quantize_gave, 0, N_RECORDED);
    tcase_add_loop_test(t, the_way_through_an_f32_file_gives_the_same_file, 0, 3);
    tcase_add_test(t, an_alignment_moves_the_tensors_and_changes_nothing_in_them);
    return qn_test_run_suite(s);
}
