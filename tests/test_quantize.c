/* Whole jobs: a checkpoint or a GGUF file in, a quantized file out, against the
 * files that llama-quantize made. */
#include "quant/pipeline.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/digest.h"
#include "formats/base/json.h"
#include "tests/support/data.h"
#include "tests/support/files.h"

static qn_model *opened(const char *path, const char *model_name)
{
    qn_model *m = NULL;
    qn_error err;
    const qn_model_options o = {.model_name = model_name};
    ck_assert_msg(!qn_model_open(&m, path, &o, &err), "%s", err.message);
    return m;
}

static qn_status write_plan(const qn_plan *p, const char *path, const qn_pipeline_options *o,
                            qn_error *err)
{
    qn_writer *w = NULL;
    uint64_t total;
    qn_status status =
        qn_writer_create(&w, &qn_format_gguf, path, true, p->metadata, p->align, err);
    for (size_t i = 0; !status && i < p->n; i++) {
        const qn_model_tensor *t = p->entries[i].tensor;
        status = qn_writer_declare(w, t->name, p->entries[i].dtype, t->rank, t->dims, err);
    }
    if (!status) status = qn_writer_plan(w, &total, err);
    if (!status) status = qn_writer_begin(w, err);
    if (!status) status = qn_pipeline_run(p, w, o, NULL, err);
    if (!status) return qn_writer_commit(w, err);
    qn_writer_abandon(w);
    return status;
}

static void quantize_aligned(const char *in, const char *model_name, const char *mix,
                             const char *out, int threads, uint64_t align)
{
    qn_error err;
    qn_plan *p = NULL;
    qn_model *m = opened(in, model_name);
    const qn_quantize_options o = {.mix = qn_mix_by_name(mix), .align = align};
    ck_assert_msg(!qn_plan_quantize(&p, m, &o, &err), "%s", err.message);
    const qn_pipeline_options run = {.threads = threads};
    ck_assert_msg(!write_plan(p, out, &run, &err), "%s", err.message);
    qn_plan_free(p);
    qn_model_close(m);
}

static void quantize(const char *in, const char *model_name, const char *mix, const char *out,
                     int threads)
{
    quantize_aligned(in, model_name, mix, out, threads, 0);
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

/* sha256 of the file that llama-quantize made of the converter's F32 file
 * without an importance matrix; BF16 is the converter's own. */
static void recorded_hash(const char *type, char out[65])
{
    char name[100];
    json_t *all;
    snprintf(name, sizeof name, "%s/degradation.json", demo);
    ck_assert_int_eq(qn_json_load(qn_test_data(name), 1 << 20, &all, NULL), QN_OK);
    json_t *row;
    size_t i;
    *out = 0;
    json_array_foreach(json_object_get(all, "rows"), i,
                       row) if (!strcmp(json_string_value(json_object_get(row, "type")), type) &&
                                !json_is_true(json_object_get(row, "imatrix")))
        snprintf(out, 65, "%s", json_string_value(json_object_get(row, "sha256")));
    json_decref(all);
    ck_assert_uint_eq(strlen(out), 64);
}

static const char *const recorded_types[] = {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"};
enum { N_RECORDED = 5 };

START_TEST(a_trained_checkpoint_gives_the_file_that_llama_quantize_gave)
{
    char expected[65], hash[65];
    const char *out = qn_test_path("out.gguf");
    const char *type = recorded_types[_i];
    recorded_hash(type, expected);
    quantize(qn_test_data(demo), "quern-demo-llama", type, out, 0);
    ck_assert_int_eq(qn_sha256_file(out, hash, NULL), QN_OK);
    ck_assert_msg(!strcmp(hash, expected), "%s: sha256 %s, expected %s", type, hash, expected);
}
END_TEST

START_TEST(a_trained_checkpoint_converts_to_the_file_of_the_reference_converter)
{
    char expected[65], hash[65];
    const char *out = qn_test_path("out.gguf");
    recorded_hash("BF16", expected);
    convert(qn_test_data(demo), "quern-demo-llama", QN_OUT_AUTO, out);
    ck_assert_int_eq(qn_sha256_file(out, hash, NULL), QN_OK);
    ck_assert_str_eq(hash, expected);
}
END_TEST

static const int thread_counts[] = {1, 2, 3, 7};

START_TEST(any_number_of_threads_gives_the_same_file)
{
    char expected[65], hash[65];
    const char *out = qn_test_path("out.gguf");
    recorded_hash("Q4_K_M", expected);
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
    quantize_aligned(in, NULL, "Q4_0", paged_path, 2, PAGE);
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
    TCase *t = tcase_create("files");
    tcase_set_timeout(t, 60);
    if (qn_test_data(demo)) {
        tcase_add_loop_test(t, a_trained_checkpoint_gives_the_file_that_llama_quantize_gave, 0,
                            N_RECORDED);
        tcase_add_test(t, a_trained_checkpoint_converts_to_the_file_of_the_reference_converter);
        tcase_add_loop_test(t, any_number_of_threads_gives_the_same_file, 0, 4);
    }
    tcase_add_loop_test(t, the_way_through_an_f32_file_gives_the_same_file, 0, 3);
    tcase_add_test(t, an_alignment_moves_the_tensors_and_changes_nothing_in_them);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
