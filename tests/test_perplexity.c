/* Perplexity against transformers', a float64 forward pass and llama-perplexity. */
#include "validate/perplexity.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/data.h"
#include "tests/support/golden.h"
#include "tests/support/plain_forward.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"

/* A pass over a long text takes minutes under a sanitizer. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool long_texts = false;
#else
static const bool long_texts = true;
#endif

static double number_in(const json_t *o, const char *key)
{
    ck_assert_msg(json_is_number(json_object_get(o, key)), "no number %s", key);
    return json_number_value(json_object_get(o, key));
}

static qn_perplexity_result measure(const qn_model *m, const uint32_t *ids, size_t n, int threads,
                                    const qn_perplexity_options *options)
{
    qn_perplexity_result r;
    qn_error err = {0};
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), threads);
    ck_assert_msg(!qn_perplexity_run(d, ids, n, qn_vocab_bos(m->vocab), qn_vocab_adds_bos(m->vocab),
                                     options, NULL, NULL, &r, &err),
                  "%s", err.message);
    qn_decoder_free(d);
    return r;
}

/* ---- golden models: chunks of 128 of a fixed text ------------------------------------- */

static const char *const golden_models[] = {"models/golden/llama", "models/golden/smollm2"};

typedef struct {
    double golden[16];
    size_t n;
} cumulative;

static bool check_cumulative(void *ctx, uint64_t chunk, uint64_t chunks, double ppl)
{
    cumulative *c = ctx;
    ck_assert_uint_eq(chunk, c->n + 1);
    ck_assert_uint_le(chunk, chunks);
    ck_assert_msg(fabs(ppl / c->golden[c->n] - 1.0) < 1e-6, "chunk %zu: %.9g, golden %.9g",
                  c->n + 1, ppl, c->golden[c->n]);
    c->n++;
    return true;
}

START_TEST(every_chunk_has_the_golden_perplexity)
{
    qn_test_golden g;
    size_t n_ids, n_nll;
    cumulative c = {.n = 0};
    qn_perplexity_result r;
    qn_error err = {0};
    if (!qn_test_golden_open(&g, golden_models[_i])) return;
    const json_t *expected = json_object_get(g.json, "perplexity");
    const uint32_t *ids = qn_test_golden_tensor(&g, "ppl.tokens", &n_ids);
    const float *nll = qn_test_golden_tensor(&g, "ppl.nll", &n_nll);
    qn_test_numbers(json_object_get(expected, "cumulative_ppl_f64"), c.golden, 16);
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    const qn_perplexity_options options = {.n_ctx = 128};
    ck_assert_msg(!qn_perplexity_run(d, ids, n_ids, qn_vocab_bos(g.model->vocab),
                                     qn_vocab_adds_bos(g.model->vocab), &options, check_cumulative,
                                     &c, &r, &err),
                  "%s", err.message);
    ck_assert_uint_eq(c.n, r.chunks);
    ck_assert_uint_eq(r.chunks, (uint64_t)number_in(expected, "n_chunks"));
    ck_assert_uint_eq(r.tokens_scored, n_nll);
    ck_assert_double_eq_tol(r.nll_mean, number_in(expected, "nll_mean_f64"), 5e-7);
    ck_assert(fabs(r.ppl / number_in(expected, "f64") - 1.0) < 5e-7);
    /* The standard error by its definition, from the golden values. */
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n_nll; i++) {
        sum += (double)nll[i];
        squares += (double)nll[i] * (double)nll[i];
    }
    const double mean = sum / (double)n_nll, variance = squares / (double)n_nll - mean * mean;
    const double error = exp(mean) * sqrt(variance / ((double)n_nll - 1.0));
    ck_assert(fabs(r.ppl_stderr / error - 1.0) < 1e-5);
    for (size_t chunk = 0; chunk < r.chunks; chunk++) {
        double chunk_sum = 0.0;
        for (size_t i = 0; i < 63; i++) chunk_sum += (double)nll[chunk * 63 + i];
        ck_assert_double_eq_tol(r.chunk_nll[chunk], chunk_sum / 63.0, 2e-6);
    }
    qn_free(r.chunk_nll);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

/* Each token's -log p from its chunk's logits, in double, within 10 times what
 * float32 against float64 costs transformers' logits. */
START_TEST(every_token_has_the_golden_surprise)
{
    qn_test_golden g;
    size_t n_ids, n_nll;
    uint32_t chunk[128];
    if (!qn_test_golden_open(&g, golden_models[_i])) return;
    const size_t n_vocab = (size_t)g.model->hparams.n_vocab;
    const uint32_t *ids = qn_test_golden_tensor(&g, "ppl.tokens", &n_ids);
    const float *nll = qn_test_golden_tensor(&g, "ppl.nll", &n_nll);
    const json_t *prompt = json_object_get(json_object_get(g.json, "prompts"), "long");
    const double within = 10.0 * number_in(prompt, "f32_minus_f64_max_abs");
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    for (size_t c = 0; c < n_nll / 63; c++) {
        memcpy(chunk, ids + c * 128, sizeof chunk);
        if (qn_vocab_adds_bos(g.model->vocab)) chunk[0] = qn_vocab_bos(g.model->vocab);
        float *logits = qn_test_logits(d, g.model, chunk, 128);
        for (size_t i = 0; i < 63; i++) {
            const float *row = logits + (64 + i) * n_vocab;
            double sum = 0.0;
            for (size_t v = 0; v < n_vocab; v++) sum += exp((double)row[v]);
            const double got = log(sum) - (double)row[chunk[65 + i]];
            ck_assert_msg(fabs(got - (double)nll[c * 63 + i]) < within,
                          "chunk %zu, token %zu: %.9g, golden %.9g", c, i, got,
                          (double)nll[c * 63 + i]);
        }
        free(logits);
    }
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

/* ---- trained models on texts ------------------------------------------------------------- */

/* A figure of a model's golden.json.  bytes: the text's beginning; 0: all. */
static const struct {
    const char *model, *text, *key;
    size_t bytes;
    bool in_sanitizers;
} figures[] = {
    {"models/stories260K-hf", "text/tinystories_valid_excerpt.lf.txt",
     "tinystories_valid_excerpt.lf", 0, false},
    {"models/stories260K-hf", "text/tinystories_sample.txt", "tinystories_sample", 0, true},
    {"models/stories260K-hf", "text/calib_tiny.txt", "calib_tiny first 60000 bytes", 60000, false},
    {"models/stories260K-hf", "text/wiki.test.raw", "wiki.test.raw first 60000 bytes", 60000,
     false},
    {"models/stories260K-hf", "text/tinyshakespeare.txt", "tinyshakespeare first 60000 bytes",
     60000, false},
    {"models/trained/quern-demo-llama", "text/valid/tinystories_valid_excerpt.txt",
     "valid/tinystories_valid_excerpt.txt", 0, true},
    {"models/trained/quern-demo-llama", "text/valid/tinyshakespeare.txt",
     "valid/tinyshakespeare.txt", 0, false},
    {"models/trained/quern-demo-llama", "text/valid/all.txt", "valid/all.txt", 0, false},
    {"models/trained/quern-demo-gemma4", "text/valid/tinystories_valid_excerpt.txt",
     "valid/tinystories_valid_excerpt.txt", 0, true},
    {"models/trained/quern-demo-gemma4", "text/valid/all.txt", "valid/all.txt", 0, false},
};

/* To six digits and more: half a unit in the seventh, at least. */
static void check_six_digits(double got, double golden)
{
    ck_assert_msg(fabs(got / golden - 1.0) < 5e-7, "%.9g, golden %.9g", got, golden);
}

START_TEST(perplexities_of_texts_are_the_golden_ones)
{
    qn_test_golden g;
    char *text = NULL;
    size_t n;
    uint32_t *ids = NULL;
    size_t n_ids = 0, capacity = 0;
    qn_tokenizer *t = NULL;
    if (!long_texts && !figures[_i].in_sanitizers) {
        printf("skip: %s is too long under a sanitizer\n", figures[_i].text);
        return;
    }
    const char *path = qn_test_data(figures[_i].text);
    if (!path || !qn_test_golden_open(&g, figures[_i].model)) return;
    const json_t *all = json_object_get(g.json, "perplexity_llamacpp_method");
    const json_t *expected = json_object_get(all, figures[_i].key);
    ck_assert(!qn_read_file(path, (size_t)1 << 30, &text, &n, NULL));
    if (figures[_i].bytes) n = figures[_i].bytes;
    ck_assert(!qn_tokenizer_new(&t, g.model->vocab, NULL));
    const qn_encode_options encode = {.add_special = true};
    ck_assert(!qn_tokenizer_encode(t, qn_str_of(text, n), encode, &ids, &n_ids, &capacity, NULL));
    const qn_perplexity_options options = {.n_ctx = (size_t)number_in(all, "n_ctx")};
    const qn_perplexity_result r = measure(g.model, ids, n_ids, 2, &options);
    ck_assert_uint_eq(n_ids, (size_t)number_in(expected, "tokens"));
    ck_assert_uint_eq(r.chunks, (uint64_t)number_in(expected, "chunks"));
    ck_assert_uint_eq(r.tokens_scored, (uint64_t)number_in(expected, "scored"));
    check_six_digits(r.ppl, number_in(expected, "ppl"));
    qn_free(r.chunk_nll);
    qn_tokenizer_free(t);
    qn_free(ids);
    qn_free(text);
    qn_test_golden_close(&g);
}
END_TEST

/* ---- strides ------------------------------------------------------------------------------ */

enum { STRIDE_IDS = 83, STRIDE_CTX = 24 };

static const qn_hparams small_shape = {.n_vocab = 70,
                                       .n_ctx_train = 128,
                                       .n_layers = 2,
                                       .hidden = 32,
                                       .feed_forward = 48,
                                       .n_heads = 4,
                                       .n_kv_heads = 2,
                                       .head_dim = 8,
                                       .value_dim = 8,
                                       .rms_eps = 1e-6,
                                       .rope_dims = 8,
                                       .rope_theta = 10000};

/* -log p of id `at` of the text where a window that begins at id `from` is run by
 * itself, in double. */
static double plain_surprise(const qn_model *m, const uint32_t *ids, size_t from, size_t at,
                             bool replace_first)
{
    double frequency[4], logits[STRIDE_CTX * 70], sum = 0.0;
    uint32_t window[STRIDE_CTX];
    for (size_t j = 0; j < 4; j++) frequency[j] = pow(10000.0, -2.0 * (double)j / 8.0);
    memcpy(window, ids + from, sizeof window);
    if (replace_first) window[0] = 3;
    qn_test_plain_forward(m, frequency, 1.0, window, STRIDE_CTX, logits);
    const double *row = logits + (at - from - 1) * 70;
    for (size_t v = 0; v < 70; v++) sum += exp(row[v]);
    return log(sum) - row[ids[at]];
}

/* By the definition alone: a token's window is the one that holds it with n_ctx -
 * stride tokens or more before it, and there is one, or none for the text's ends. */
START_TEST(a_stride_scores_each_token_once_with_its_context)
{
    static const size_t strides[] = {1, 5, 12, 23};
    const size_t stride = strides[_i / 2];
    const bool replace_first = _i % 2;
    uint32_t ids[STRIDE_IDS];
    double sum = 0.0, squares = 0.0;
    size_t scored = 0;
    for (size_t i = 0; i < STRIDE_IDS; i++) ids[i] = (uint32_t)(i * i * 7 + i) % 70;
    qn_model *m = qn_test_random_model(&small_shape, 5);
    for (size_t at = 1; at < STRIDE_IDS; at++) {
        size_t windows = 0;
        for (size_t from = 0; from + STRIDE_CTX <= STRIDE_IDS; from += stride) {
            if (at < from + STRIDE_CTX - stride || at >= from + STRIDE_CTX) continue;
            const double nll = plain_surprise(m, ids, from, at, replace_first);
            sum += nll;
            squares += nll * nll;
            windows++;
        }
        const bool near_an_end = at < STRIDE_CTX - stride || at + stride >= STRIDE_IDS;
        ck_assert_msg(windows == 1 || (near_an_end && !windows), "token %zu: %zu windows", at,
                      windows);
        scored += windows;
    }
    const double mean = sum / (double)scored, variance = squares / (double)scored - mean * mean;
    for (size_t batch = 1; batch < 4; batch += 2) {
        const qn_perplexity_options o = {.n_ctx = STRIDE_CTX, .batch = batch, .stride = stride};
        qn_perplexity_result r;
        qn_error err = {0};
        qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
        ck_assert_msg(
            !qn_perplexity_run(d, ids, STRIDE_IDS, 3, replace_first, &o, NULL, NULL, &r, &err),
            "%s", err.message);
        ck_assert_uint_eq(r.tokens_scored, scored);
        ck_assert_uint_eq(r.chunks, scored / stride);
        ck_assert_double_eq_tol(r.nll_mean, mean, 2e-6);
        ck_assert_double_eq_tol(r.ppl_stderr, exp(mean) * sqrt(variance / ((double)scored - 1.0)),
                                1e-4);
        qn_free(r.chunk_nll);
        qn_decoder_free(d);
    }
    qn_test_random_model_free(m);
}
END_TEST

START_TEST(a_stride_of_the_whole_context_is_refused)
{
    uint32_t ids[STRIDE_IDS] = {0};
    qn_perplexity_result r;
    qn_error err = {0};
    qn_model *m = qn_test_random_model(&small_shape, 5);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 1);
    const qn_perplexity_options o = {.n_ctx = STRIDE_CTX, .stride = STRIDE_CTX};
    ck_assert_int_eq(qn_perplexity_run(d, ids, STRIDE_IDS, 3, false, &o, NULL, NULL, &r, &err),
                     QN_ERR_ARGUMENT);
    ck_assert_str_eq(err.message, "a stride of 24 in a context of 24: a token needs one before it");
    qn_decoder_free(d);
    qn_test_random_model_free(m);
}
END_TEST

/* ---- options -------------------------------------------------------------------------------- */

START_TEST(batches_and_threads_do_not_change_a_bit)
{
    qn_test_golden g;
    size_t n_ids;
    if (!qn_test_golden_open(&g, golden_models[0])) return;
    const uint32_t *ids = qn_test_golden_tensor(&g, "ppl.tokens", &n_ids);
    const qn_perplexity_options one = {.n_ctx = 100, .batch = 1, .chunks = 7};
    const qn_perplexity_result expected = measure(g.model, ids, n_ids, 1, &one);
    ck_assert_uint_eq(expected.chunks, 7);
    for (size_t batch = 0; batch < 9; batch += 4) {
        for (int threads = 1; threads <= 3; threads++) {
            const qn_perplexity_options o = {.n_ctx = 100, .batch = batch, .chunks = 7};
            const qn_perplexity_result r = measure(g.model, ids, n_ids, threads, &o);
            ck_assert_mem_eq(&r.ppl, &expected.ppl, sizeof r.ppl);
            ck_assert_mem_eq(&r.ppl_stderr, &expected.ppl_stderr, sizeof r.ppl);
            ck_assert_mem_eq(r.chunk_nll, expected.chunk_nll, 7 * sizeof *r.chunk_nll);
            qn_free(r.chunk_nll);
        }
    }
    qn_free(expected.chunk_nll);
    qn_test_golden_close(&g);
}
END_TEST

static bool stop_at_three(void *ctx, uint64_t chunk, uint64_t chunks, double ppl)
{
    (void)chunks;
    (void)ppl;
    *(uint64_t *)ctx = chunk;
    return chunk < 3;
}

START_TEST(a_caller_who_says_stop_is_obeyed)
{
    qn_test_golden g;
    size_t n_ids;
    uint64_t last = 0;
    qn_error err = {0};
    if (!qn_test_golden_open(&g, golden_models[0])) return;
    const uint32_t *ids = qn_test_golden_tensor(&g, "ppl.tokens", &n_ids);
    qn_perplexity_result r = {.ppl = -1.0};
    const qn_perplexity_options options = {.n_ctx = 32};
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 1);
    ck_assert_int_eq(
        qn_perplexity_run(d, ids, n_ids, 0, false, &options, stop_at_three, &last, &r, &err),
        QN_ERR_CANCELLED);
    ck_assert_uint_eq(last, 3);
    ck_assert(r.ppl == -1.0);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

START_TEST(a_text_without_one_whole_chunk_is_refused)
{
    qn_test_golden g;
    size_t n_ids;
    qn_error err = {0};
    qn_perplexity_result r;
    if (!qn_test_golden_open(&g, golden_models[0])) return;
    const uint32_t *ids = qn_test_golden_tensor(&g, "ppl.tokens", &n_ids);
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 1);
    qn_perplexity_options options = {.n_ctx = 0};
    ck_assert_int_eq(qn_perplexity_run(d, ids, 511, 0, false, &options, NULL, NULL, &r, &err),
                     QN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "511 tokens"));
    ck_assert_ptr_nonnull(strstr(err.message, "512"));
    options.n_ctx = 2;
    ck_assert_int_eq(qn_perplexity_run(d, ids, 511, 0, false, &options, NULL, NULL, &r, &err),
                     QN_ERR_ARGUMENT);
    options.n_ctx = 511;
    ck_assert_int_eq(qn_perplexity_run(d, ids, 511, 0, false, &options, NULL, NULL, &r, &err),
                     QN_OK);
    ck_assert_uint_eq(r.chunks, 1);
    ck_assert_uint_eq(r.tokens_scored, 255);
    qn_free(r.chunk_nll);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("perplexity");
    TCase *tc = qn_test_group(suite, "perplexity");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, every_chunk_has_the_golden_perplexity, 0, 2);
    tcase_add_loop_test(tc, every_token_has_the_golden_surprise, 0, 2);
    tcase_add_loop_test(tc, perplexities_of_texts_are_the_golden_ones, 0,
                        (int)(sizeof figures / sizeof *figures));
    tcase_add_loop_test(tc, a_stride_scores_each_token_once_with_its_context, 0, 8);
    tcase_add_test(tc, a_stride_of_the_whole_context_is_refused);
    tcase_add_test(tc, batches_and_threads_do_not_change_a_bit);
    tcase_add_test(tc, a_caller_who_says_stop_is_obeyed);
    tcase_add_test(tc, a_text_without_one_whole_chunk_is_refused);
    return qn_test_run_suite(suite);
}
