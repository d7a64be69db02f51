/* Inputs of products rounded as ggml's CPU kernels round them: by hand, against a
 * second reading of the rule in double, and by what llama-perplexity measured. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"
#include "quant/plan.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"
#include "tests/support/random.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"
#include "tests/support/write_plan.h"
#include "validate/input_rounding.h"
#include "validate/kl_statistics.h"

static void rounded(qn_dtype type, const float *x, float *out, size_t n)
{
    qn_round_input(qn_kernels_best(), type, x, out, n);
}

START_TEST(halves_go_to_the_even_neighbour)
{
    float x[32] = {127.0F, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 0.75F, -126.5F}, out[32];
    const float want[32] = {127.0F, 0.0F, 2.0F, 2.0F, 0.0F, -2.0F, -2.0F, 1.0F, -126.0F};
    rounded(QN_Q8_0, x, out, 32);
    for (size_t i = 0; i < 32; i++)
        ck_assert_msg(out[i] == want[i], "%g became %g", (double)x[i], (double)out[i]);
}
END_TEST

START_TEST(scales_are_float16_in_blocks_of_32_and_float32_in_those_of_256)
{
    float x[256] = {0}, small[256], large[256];
    x[0] = 1.0F;
    x[40] = -0.003F;
    rounded(QN_Q8_0, x, small, 256);
    rounded(QN_Q8_K, x, large, 256);
    ck_assert_float_eq(small[0], 127.0F * qn_half_value(qn_half_of(1.0F / 127.0F)));
    ck_assert_float_eq(small[40], -127.0F * qn_half_value(qn_half_of(0.003F / 127.0F)));
    ck_assert_float_eq(large[0], 127.0F * (1.0F / 127.0F));
    ck_assert_float_eq(large[40], 0.0F); /* one value's size sets the step of all 256 */
}
END_TEST

/* In double, by the definition; every kind of row. */
START_TEST(every_value_is_the_nearest_step)
{
    const qn_dtype type = _i / QN_ROW_KINDS ? QN_Q8_K : QN_Q8_0;
    const size_t block = type == QN_Q8_K ? 256 : 32;
    qn_random r = {7};
    float x[1024], out[1024];
    for (int round = 0; round < 50; round++) {
        qn_random_row(&r, _i % QN_ROW_KINDS, x, 1024);
        rounded(type, x, out, 1024);
        for (size_t i = 0; i < 1024; i++) {
            double most = 0.0;
            for (size_t j = i / block * block; j < (i / block + 1) * block; j++)
                most = fmax(most, fabs((double)x[j]));
            const double step = most / 127.0, off = fabs((double)out[i] - (double)x[i]);
            /* half a step; a float16 scale is 2^-11 or 2^-25 off, and below 127 /
             * FLT_MAX there is nothing */
            const double scale = block == 32 ? fmax(most * 0x1p-11, 127 * 0x1p-25) : 4e-37;
            ck_assert_msg(off <= step * 0.50002 + scale, "%g became %g, the step is %g",
                          (double)x[i], (double)out[i], step);
        }
    }
}
END_TEST

START_TEST(halves_and_bfloat16_are_what_the_codecs_make)
{
    qn_random r = {11};
    float x[700], out[700];
    qn_random_row(&r, 0, x, 700);
    rounded(QN_F16, x, out, 700);
    for (size_t i = 0; i < 700; i++) ck_assert(out[i] == qn_half_value(qn_half_of(x[i])));
    rounded(QN_BF16, x, out, 700);
    for (size_t i = 0; i < 700; i++) ck_assert(out[i] == qn_bfloat16_value(qn_bfloat16_of(x[i])));
}
END_TEST

/* ggml's table in words: the float16 of gelu of the float16, its ends cut. */
START_TEST(gelu_is_that_of_a_table_of_float16)
{
    enum { N = 601 };
    float gate[N], up[N];
    unsigned others = 0;
    for (size_t i = 0; i < N; i++) {
        gate[i] = ((float)i - 300.0F) * 0.0397F;
        up[i] = 1.0F + 0.25F * (float)(i % 3);
    }
    qn_gelu_mul_as_ggml(qn_kernels_best(), gate, up, N);
    for (size_t i = 0; i < N; i++) {
        const float x = ((float)i - 300.0F) * 0.0397F;
        const double h = (double)qn_half_value(qn_half_of(x));
        const double gelu =
            0.5 * h * (1.0 + tanh(0.7978845608028654 * h * (1.0 + 0.044715 * h * h)));
        const double inside = (double)qn_half_value(qn_half_of((float)gelu));
        const double table = x <= -10 ? 0.0 : x >= 10 ? (double)x : inside;
        const double want = (double)(float)(table * (double)up[i]);
        others += (double)gate[i] != want;
        ck_assert_msg(fabs((double)gate[i] - want) <= fabs(want) * 0x1p-10 + 0x1p-23,
                      "of %g: %.9g, want %.9g", (double)x, (double)gate[i], want);
    }
    ck_assert_uint_le(others, 2); /* a half that a last bit decides */
}
END_TEST

START_TEST(what_is_no_number_stays_none)
{
    static const qn_dtype types[] = {QN_Q8_0, QN_Q8_1, QN_Q8_K, QN_F16, QN_BF16};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        float x[256] = {1.0F}, out[256];
        x[9] = NAN;
        rounded(types[t], x, out, 256);
        ck_assert(isnan(out[9]));
        x[9] = INFINITY;
        rounded(types[t], x, out, 256);
        ck_assert(!isfinite(out[9]));
    }
}
END_TEST

/* ggml-cpu.c's table, as docs/numerics.md has it. */
START_TEST(each_type_of_weights_has_its_inputs)
{
    static const struct {
        qn_dtype weights, inputs;
    } pairs[] = {{QN_F32, QN_F32},   {QN_F16, QN_F16},     {QN_BF16, QN_BF16},   {QN_Q4_0, QN_Q8_0},
                 {QN_Q4_1, QN_Q8_1}, {QN_Q5_0, QN_Q8_0},   {QN_Q5_1, QN_Q8_1},   {QN_Q8_0, QN_Q8_0},
                 {QN_Q6_K, QN_Q8_K}, {QN_IQ4_NL, QN_Q8_0}, {QN_IQ4_XS, QN_Q8_K}, {QN_I32, QN_F32}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        ck_assert_int_eq(qn_input_type(pairs[i].weights), pairs[i].inputs);
    /* nothing that GGUF has blocks of is forgotten */
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        const qn_dtype_info *f = qn_dtype_facts((qn_dtype)t);
        const bool kernel = f->ggml_id >= 0 && f->block_len > 1 && t != QN_Q8_1 && t != QN_Q8_K;
        ck_assert_msg(!kernel || qn_input_type((qn_dtype)t) != QN_F32, "%s", f->name);
        const uint16_t step = qn_dtype_facts(qn_input_type((qn_dtype)t))->block_len;
        ck_assert_msg(!kernel || f->block_len % step == 0, "%s", f->name);
    }
}
END_TEST

/* ---- a whole model ---------------------------------------------------------------------- */

static const char folder[] = "models/trained/quern-demo-llama";

static qn_model *opened(const char *path)
{
    qn_model *m = NULL;
    qn_error err = {0};
    ck_assert_msg(!qn_model_open(&m, path, NULL, &err), "%s", err.message);
    return m;
}

/* Of all tensors those with a word in their names, the others in F32; NULL: all. */
static qn_model *quantized_where(const qn_model *m, const char *mix, const char *word)
{
    qn_error err = {0};
    qn_plan *p = NULL;
    const qn_quantize_options o = {.mix = qn_mix_by_name(mix)};
    ck_assert_msg(!qn_plan_quantize(&p, m, &o, &err), "%s", err.message);
    for (size_t i = 0; i < p->n; i++)
        if (word && !strstr(p->entries[i].tensor->name, word)) p->entries[i].dtype = QN_F32;
    ck_assert(!write_plan(p, qn_test_path("rounded.gguf"), &(qn_pipeline_options){0}, &err));
    qn_plan_free(p);
    return opened(qn_test_path("rounded.gguf"));
}

static qn_model *quantized(const qn_model *m, const char *mix)
{
    return quantized_where(m, mix, NULL);
}

/* Windows of 256 tokens of the text. */
static qn_chunks cut(const qn_model *m, const char *text_path, uint32_t **ids)
{
    char *text = NULL;
    size_t n, n_ids = 0, capacity = 0;
    qn_tokenizer *t = NULL;
    qn_chunks chunks;
    const qn_encode_options encode = {.add_special = true};
    ck_assert(!qn_read_file(text_path, (size_t)1 << 30, &text, &n, NULL));
    ck_assert(!qn_tokenizer_new(&t, m->vocab, NULL));
    ck_assert(!qn_tokenizer_encode(t, qn_str_of(text, n), encode, ids, &n_ids, &capacity, NULL));
    ck_assert(!qn_chunks_cut(&chunks, *ids, n_ids, qn_vocab_bos(m->vocab), true,
                             &(qn_chunk_options){.n_ctx = 256}, NULL));
    qn_tokenizer_free(t);
    qn_free(text);
    return chunks;
}

static double measured_kld(const char *mix, const char *key)
{
    char name[96];
    double kld = 0.0;
    size_t i;
    const json_t *row;
    snprintf(name, sizeof name, "%s/degradation.json", folder);
    json_t *all = qn_test_json(qn_test_data(name));
    json_array_foreach(json_object_get(all, "rows"), i, row)
    {
        const json_t *from = key ? json_object_get(row, key) : row;
        if (!strcmp(json_string_value(json_object_get(row, "type")), mix) &&
            json_is_false(json_object_get(row, "imatrix")))
            kld = json_number_value(json_object_get(from, "mean_kld"));
    }
    json_decref(all);
    return kld;
}

/* The mean divergence is what llama-perplexity measured with its own rounding, which
 * nothing in its weights explains. (Its perplexities differ by 2e-4 from one order
 * of sums to another: a value that rounds the other way moves all behind it.) */
START_TEST(a_divergence_is_what_the_runtime_shows)
{
    static const char mix[] = "Q6_K";
    const char *where = qn_test_data(folder), *text = qn_test_data("text/valid/all.txt");
    if (!where || !text) return;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("skip: a whole text under a sanitizer\n");
    return;
#endif
    uint32_t *ids = NULL;
    qn_comparison seen = {0};
    qn_kl_statistics s;
    qn_error err = {0};
    qn_model *m = opened(where), *test = quantized(m, mix);
    const qn_chunks chunks = cut(m, text, &ids);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    qn_decoder *rounded = qn_test_decoder(test, qn_kernels_best(), 2);
    qn_decoder_set_activations(rounded, QN_ACTIVATIONS_Q8);
    ck_assert_msg(!qn_compare_run(&seen, &(qn_compare_reference){.decoder = d},
                                  &(const qn_decoder *){rounded}, 1, (const char *[]){"F32", "q8"},
                                  &chunks, NULL, NULL, &err),
                  "%s", err.message);
    ck_assert(!qn_kl_statistics_of(&s, &seen, 0, 0, seen.n, &err));
    const double want = measured_kld(mix, NULL);
    const double of_weights = measured_kld(mix, "weights_only");
    ck_assert_msg(fabs(s.kld.value - want) < 0.01 * want + 1e-6, "%s: %.7f, measured %.7f", mix,
                  s.kld.value, want);
    ck_assert_double_gt(want, 1.3 * of_weights);
    qn_comparison_free(&seen);
    qn_decoder_free(rounded);
    qn_decoder_free(d);
    qn_model_close(test);
    qn_model_close(m);
    qn_free(ids);
}
END_TEST

/* Keys alone are of Q8_0 and see an input rounded that queries see as it is: each
 * layer's own, so that logits stay next to those without rounding. */
START_TEST(what_is_rounded_is_the_layers_own_input)
{
    enum { N = 40 };
    uint32_t ids[N];
    double squares = 0.0, whole = 0.0;
    const char *where = qn_test_data(folder);
    if (!where) return;
    for (size_t i = 0; i < N; i++) ids[i] = (uint32_t)(7 + i * i % 501);
    qn_model *m = opened(where), *test = quantized_where(m, "Q8_0", "attn_k");
    qn_decoder *d = qn_test_decoder(test, qn_kernels_best(), 2);
    float *exact = qn_test_logits(d, test, ids, N);
    qn_decoder_set_activations(d, QN_ACTIVATIONS_Q8);
    float *rounded = qn_test_logits(d, test, ids, N);
    for (size_t i = 0; i < N * (size_t)m->hparams.n_vocab; i++) {
        squares += pow((double)rounded[i] - (double)exact[i], 2);
        whole += pow((double)exact[i], 2);
    }
    const double off = sqrt(squares / whole);
    ck_assert_msg(off > 1e-5 && off < 0.01, "rounding moves logits by %g of their size", off);
    free(exact);
    free(rounded);
    qn_decoder_free(d);
    qn_model_close(test);
    qn_model_close(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rounding of inputs");
    TCase *tc = qn_test_group(suite, "rounding");
    tcase_add_test(tc, halves_go_to_the_even_neighbour);
    tcase_add_test(tc, scales_are_float16_in_blocks_of_32_and_float32_in_those_of_256);
    tcase_add_loop_test(tc, every_value_is_the_nearest_step, 0, 2 * QN_ROW_KINDS);
    tcase_add_test(tc, halves_and_bfloat16_are_what_the_codecs_make);
    tcase_add_test(tc, gelu_is_that_of_a_table_of_float16);
    tcase_add_test(tc, what_is_no_number_stays_none);
    tcase_add_test(tc, each_type_of_weights_has_its_inputs);
    tcase_add_test(tc, what_is_rounded_is_the_layers_own_input);
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, a_divergence_is_what_the_runtime_shows);
    return qn_test_run_suite(suite);
}
