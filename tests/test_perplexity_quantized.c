/* What quantizing costs, against measurements of files that llama-quantize made
 * and llama-perplexity ran widened to float32. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"
#include "tests/support/write_plan.h"
#include "validate/perplexity.h"

/* Where these run: a pass over a text takes minutes under a sanitizer. */
static bool too_slow_here(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("skip: perplexities of whole texts under a sanitizer\n");
    return true;
#else
    return false;
#endif
}

static qn_model *opened(const char *path)
{
    qn_model *m = NULL;
    qn_error err = {0};
    ck_assert_msg(!qn_model_open(&m, path, NULL, &err), "%s", err.message);
    return m;
}

/* The model at path as another file, which is opened. */
static qn_model *quantized(const char *path, const char *mix, const char *name)
{
    qn_error err = {0};
    qn_plan *p = NULL;
    qn_model *m = opened(path);
    const qn_quantize_options o = {.mix = qn_mix_by_name(mix)};
    ck_assert_msg(!qn_plan_quantize(&p, m, &o, &err), "%s", err.message);
    ck_assert(!write_plan(p, qn_test_path(name), &(qn_pipeline_options){0}, &err));
    qn_plan_free(p);
    qn_model_close(m);
    return opened(qn_test_path(name));
}

static qn_model *converted(const char *path, qn_outtype outtype, const char *name)
{
    qn_error err = {0};
    qn_plan *p = NULL;
    qn_model *m = opened(path);
    ck_assert_msg(!qn_plan_convert(&p, m, outtype, 0, &err), "%s", err.message);
    ck_assert(!write_plan(p, qn_test_path(name), &(qn_pipeline_options){0}, &err));
    qn_plan_free(p);
    qn_model_close(m);
    return opened(qn_test_path(name));
}

/* In chunks of 256; closes m. */
static double perplexity(qn_model *m, const char *text_path)
{
    char *text = NULL;
    uint32_t *ids = NULL;
    size_t n, n_ids = 0, capacity = 0;
    qn_tokenizer *t = NULL;
    qn_perplexity_result r;
    qn_error err = {0};
    const qn_perplexity_options options = {.n_ctx = 256};
    ck_assert(!qn_read_file(text_path, (size_t)1 << 30, &text, &n, NULL));
    ck_assert(!qn_tokenizer_new(&t, m->vocab, NULL));
    const qn_encode_options encode = {.add_special = true};
    ck_assert(!qn_tokenizer_encode(t, qn_str_of(text, n), encode, &ids, &n_ids, &capacity, NULL));
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    ck_assert_msg(!qn_perplexity_run(d, ids, n_ids, qn_vocab_bos(m->vocab), true, &options, NULL,
                                     NULL, &r, &err),
                  "%s", err.message);
    qn_free(r.chunk_nll);
    qn_decoder_free(d);
    qn_tokenizer_free(t);
    qn_free(ids);
    qn_free(text);
    qn_model_close(m);
    return r.ppl;
}

static double relative(double got, double want)
{
    return fabs(got / want - 1.0);
}

/* Rows of 172 elements are not whole blocks of 32: those become F16. */
START_TEST(stories_lose_little_in_half_precision_and_in_8_bits)
{
    const char *model = qn_test_data("models/stories260K-hf");
    const char *text = qn_test_data("text/tinystories_valid_excerpt.lf.txt");
    const double golden = 5.427887673314122; /* golden.json */
    if (!model || !text || too_slow_here()) return;
    const double bf16 = perplexity(converted(model, QN_OUT_BF16, "bf16.gguf"), text);
    const double f16 = perplexity(converted(model, QN_OUT_F16, "f16.gguf"), text);
    const double q8 = perplexity(quantized(model, "Q8_0", "q8.gguf"), text);
    const double wide =
        perplexity(converted(qn_test_path("q8.gguf"), QN_OUT_F32, "wide.gguf"), text);
    ck_assert_msg(relative(bf16, golden) < 1e-3, "BF16: %.9g", bf16);
    ck_assert_msg(relative(f16, golden) < 1e-3, "F16: %.9g", f16);
    ck_assert_msg(relative(q8, golden) < 5e-3, "Q8_0: %.9g", q8);
    ck_assert_msg(q8 == wide, "Q8_0: %.17g, widened %.17g", q8, wide);
    ck_assert(bf16 != golden && f16 != golden && q8 != golden);
}
END_TEST

static const char *const mixes[] = {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"};

/* degradation.json: perplexity of the same file with nothing but its weights
 * rounded; printed with six decimals. */
enum { N_MIXES = sizeof mixes / sizeof *mixes };
static const struct {
    const char *folder;
    double within;
} trained[] = {
    {"models/trained/quern-demo-llama", 1e-7},
    /* llama.cpp measured it with its GELU of a float16 table: of F32 weights its
     * perplexity is 3e-6 from that of float64 (eval/README.md) */
    {"models/trained/quern-demo-gemma4", 5e-6},
};

START_TEST(trained_models_lose_what_was_measured)
{
    char name[96];
    const char *mix = mixes[_i % N_MIXES], *folder = trained[_i / N_MIXES].folder;
    const char *model = qn_test_data(folder);
    const char *text = qn_test_data("text/valid/all.txt");
    snprintf(name, sizeof name, "%s/degradation.json", folder);
    const char *measured = qn_test_data(name);
    double want = 0.0;
    size_t i;
    const json_t *row;
    if (!model || !text || !measured || too_slow_here()) return;
    json_t *all = qn_test_json(measured);
    json_array_foreach(json_object_get(all, "rows"), i, row)
    {
        const char *type = json_string_value(json_object_get(row, "type"));
        if (strcmp(type, mix) == 0 && json_is_false(json_object_get(row, "imatrix")))
            want = json_number_value(json_object_get(json_object_get(row, "weights_only"), "ppl"));
    }
    json_decref(all);
    ck_assert_double_gt(want, 1.0);
    const double got = perplexity(quantized(model, mix, "demo.gguf"), text);
    ck_assert_msg(relative(got, want) < trained[_i / N_MIXES].within, "%s: %.9g, measured %.9g",
                  mix, got, want);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("perplexity of quantized models");
    TCase *tc = qn_test_group(suite, "quantized");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, stories_lose_little_in_half_precision_and_in_8_bits);
    tcase_add_loop_test(tc, trained_models_lose_what_was_measured, 0, 2 * N_MIXES);
    return qn_test_run_suite(suite);
}
