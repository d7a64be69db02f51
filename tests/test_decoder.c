/* The decoder against transformers' logits and continuations, and against a plain
 * forward pass in double. */
#include "validate/decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/data.h"
#include "tests/support/golden.h"
#include "tests/support/plain_forward.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"

static uint32_t highest(const float *logits, size_t n)
{
    uint32_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = (uint32_t)i;
    return best;
}

/* Greedy ids after a prompt, one at a time through the cache. */
static void continue_greedily(const qn_decoder *d, size_t n_vocab, const uint32_t *prompt,
                              size_t n_prompt, uint32_t *out, size_t n)
{
    qn_session *s = qn_test_session(d, 1, n_prompt + n);
    float *logits = malloc(n_vocab * sizeof *logits);
    qn_test_run(s, prompt, n_prompt);
    for (size_t i = 0; i < n; i++) {
        ck_assert(!qn_session_logits(s, 0, i ? 0 : n_prompt - 1, 1, logits, NULL));
        out[i] = highest(logits, n_vocab);
        qn_test_run(s, &out[i], 1);
    }
    free(logits);
    qn_session_free(s);
}

static double number_in(const json_t *o, const char *key)
{
    ck_assert_msg(json_is_number(json_object_get(o, key)), "no number %s", key);
    return json_number_value(json_object_get(o, key));
}

/* ---- trained models ------------------------------------------------------------------- */

/* -log p of the id that follows each position, from logits, in double. */
static double surprise(const float *logits, size_t n, uint32_t next)
{
    double max = (double)logits[0], sum = 0.0;
    for (size_t i = 1; i < n; i++) max = fmax(max, (double)logits[i]);
    for (size_t i = 0; i < n; i++) sum += exp((double)logits[i] - max);
    return max + log(sum) - (double)logits[next];
}

/* golden: printed with 5 to 8 decimals. */
static void check_row(const json_t *golden, const float *logits, size_t n_vocab)
{
    double mean = 0.0, squares = 0.0, row[512];
    ck_assert_uint_eq(qn_test_numbers(golden, row, 512), n_vocab);
    for (size_t i = 0; i < n_vocab; i++) mean += row[i] / (double)n_vocab;
    for (size_t i = 0; i < n_vocab; i++) squares += (row[i] - mean) * (row[i] - mean);
    const double deviation = sqrt(squares / (double)n_vocab);
    for (size_t i = 0; i < n_vocab; i++)
        ck_assert_msg(fabs((double)logits[i] - row[i]) <= 1e-4 * deviation,
                      "logit %zu is %.8f, golden %.6f", i, (double)logits[i], row[i]);
}

START_TEST(stories_are_read_as_golden_ones_are)
{
    qn_test_golden g;
    uint32_t ids[128], argmax[128];
    double nll[128];
    if (!qn_test_golden_open(&g, "models/stories260K-hf")) return;
    const size_t n_vocab = (size_t)g.model->hparams.n_vocab;
    const size_t n = qn_test_ids(json_object_get(g.json, "ids"), ids, 128);
    ck_assert_uint_eq(qn_test_numbers(json_object_get(g.json, "nll"), nll, 128), n - 1);
    ck_assert_uint_eq(qn_test_ids(json_object_get(g.json, "argmax"), argmax, 128), n);
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    float *logits = qn_test_logits(d, g.model, ids, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_uint_eq(highest(logits + i * n_vocab, n_vocab), argmax[i]);
    for (size_t i = 0; i + 1 < n; i++)
        ck_assert_double_eq_tol(surprise(logits + i * n_vocab, n_vocab, ids[i + 1]), nll[i], 5e-5);
    check_row(json_object_get(g.json, "logits_row0"), logits, n_vocab);
    check_row(json_object_get(g.json, "logits_row_last"), logits + (n - 1) * n_vocab, n_vocab);
    free(logits);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

/* The model card's text, from BOS alone. */
START_TEST(the_story_that_is_told_is_the_model_cards)
{
    enum { N = 256 };
    qn_test_golden g;
    uint32_t ids[N];
    qn_text text = {0};
    qn_tokenizer *t = NULL;
    if (!qn_test_golden_open(&g, "models/stories260K-hf")) return;
    const uint32_t bos = qn_vocab_bos(g.model->vocab);
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 1);
    continue_greedily(d, (size_t)g.model->hparams.n_vocab, &bos, 1, ids, N);
    ck_assert(!qn_tokenizer_new(&t, g.model->vocab, NULL));
    ck_assert(!qn_tokenizer_decode(t, ids, N, true, &text, NULL));
    const qn_str golden =
        qn_test_string(json_object_get(json_object_get(g.json, "greedy"), "text"));
    const size_t n = text.n < golden.n ? text.n : golden.n;
    const char *from = text.s;
    if (*from == ' ') from++;
    ck_assert_uint_gt(n, 500);
    ck_assert_msg(memcmp(from, golden.s, n - 1) == 0, "%s", text.s);
    qn_text_free(&text);
    qn_tokenizer_free(t);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

/* position, log of the sum of exponentials, sum, the 20 largest: of each listed row. */
static void check_listed_logits(const json_t *listed, const float *logits, size_t n_vocab)
{
    const float *row = logits + (size_t)number_in(listed, "position") * n_vocab;
    const json_t *top = json_object_get(listed, "top20");
    double sum = 0.0;
    for (size_t i = 0; i < n_vocab; i++) sum += (double)row[i];
    ck_assert_double_eq_tol(sum, number_in(listed, "sum"), 0.02); /* 4096 x 5e-6 */
    ck_assert_double_eq_tol(surprise(row, n_vocab, 0) + (double)row[0],
                            number_in(listed, "logsumexp"), 2e-5);
    ck_assert_uint_eq(json_array_size(top), 20);
    for (size_t i = 0; i < 20; i++) {
        const json_t *pair = json_array_get(top, i);
        const size_t id = (size_t)json_integer_value(json_array_get(pair, 0));
        ck_assert_double_eq_tol((double)row[id], json_number_value(json_array_get(pair, 1)), 1e-4);
    }
}

START_TEST(the_demonstration_model_gives_its_golden_values)
{
    qn_test_golden g;
    uint32_t ids[64], argmax[64], greedy[32], got[32];
    double nll[64];
    size_t i;
    const json_t *listed;
    if (!qn_test_golden_open(&g, "models/trained/quern-demo-llama")) return;
    const size_t n_vocab = (size_t)g.model->hparams.n_vocab;
    const size_t n = qn_test_ids(json_object_get(g.json, "ids"), ids, 64);
    ck_assert_uint_eq(qn_test_numbers(json_object_get(g.json, "nll"), nll, 64), n - 1);
    ck_assert_uint_eq(qn_test_ids(json_object_get(g.json, "argmax"), argmax, 64), n);
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    float *logits = qn_test_logits(d, g.model, ids, n);
    for (i = 0; i + 1 < n; i++)
        ck_assert_double_eq_tol(surprise(logits + i * n_vocab, n_vocab, ids[i + 1]), nll[i], 5e-5);
    for (i = 0; i < n; i++) ck_assert_uint_eq(highest(logits + i * n_vocab, n_vocab), argmax[i]);
    json_array_foreach(json_object_get(g.json, "logits"), i, listed)
        check_listed_logits(listed, logits, n_vocab);
    ck_assert_uint_eq(i, 4);
    const json_t *ids32 = json_object_get(json_object_get(g.json, "greedy"), "ids");
    ck_assert_uint_eq(qn_test_ids(ids32, greedy, 32), 32);
    continue_greedily(d, n_vocab, ids, n, got, 32);
    ck_assert_mem_eq(got, greedy, sizeof got);
    free(logits);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

/* ---- shapes that no golden model has ---------------------------------------------------- */

/* Biases, untied head, head sizes that fill no panel or more than one, values
 * wider than keys, partly rotated heads, many queries to a key, experts. */
static const qn_hparams odd_shapes[] = {
    {.n_vocab = 100,
     .n_ctx_train = 64,
     .n_layers = 2,
     .hidden = 40,
     .feed_forward = 72,
     .n_heads = 5,
     .n_kv_heads = 1,
     .head_dim = 8,
     .value_dim = 8,
     .rms_eps = 1e-5,
     .rope_dims = 8,
     .rope_theta = 10000,
     .tied = true,
     .attention_bias = true,
     .mlp_bias = true},
    {.n_vocab = 33,
     .n_ctx_train = 64,
     .n_layers = 3,
     .hidden = 96,
     .feed_forward = 50,
     .n_heads = 6,
     .n_kv_heads = 3,
     .head_dim = 48,
     .value_dim = 48,
     .rms_eps = 1e-6,
     .rope_dims = 16,
     .rope_theta = 500000},
    {.n_vocab = 64,
     .n_ctx_train = 64,
     .n_layers = 2,
     .hidden = 64,
     .feed_forward = 128,
     .n_heads = 32,
     .n_kv_heads = 2,
     .head_dim = 6,
     .value_dim = 40,
     .rms_eps = 1e-5,
     .rope_dims = 6,
     .rope_theta = 100,
     .attention_bias = true},
    {.n_vocab = 70,
     .n_ctx_train = 64,
     .n_layers = 1,
     .hidden = 32,
     .feed_forward = 64,
     .n_heads = 2,
     .n_kv_heads = 2,
     .head_dim = 80,
     .value_dim = 80,
     .rms_eps = 1e-5,
     .rope_dims = 80,
     .rope_theta = 10000,
     .tied = true,
     .mlp_bias = true},
    {.n_vocab = 50,
     .n_ctx_train = 64,
     .n_layers = 2,
     .hidden = 48,
     .feed_forward = 1,
     .n_heads = 3,
     .n_kv_heads = 3,
     .head_dim = 16,
     .value_dim = 16,
     .rms_eps = 1e-5,
     .rope_dims = 16,
     .rope_theta = 10000,
     .n_experts = 7,
     .n_experts_used = 3,
     .expert_feed_forward = 40,
     .shared_feed_forward = 56},
    {.n_vocab = 50,
     .n_ctx_train = 64,
     .n_layers = 2,
     .hidden = 64,
     .feed_forward = 1,
     .n_heads = 2,
     .n_kv_heads = 1,
     .head_dim = 32,
     .value_dim = 32,
     .rms_eps = 1e-5,
     .rope_dims = 32,
     .rope_theta = 10000,
     .tied = true,
     .n_experts = 4,
     .n_experts_used = 4,
     .expert_feed_forward = 96,
     .expert_norm = true},
    /* Windows, caps, scales, GELU, rope on halves. */
    {.n_vocab = 60,
     .n_ctx_train = 64,
     .n_layers = 3,
     .hidden = 64,
     .feed_forward = 90,
     .n_heads = 4,
     .n_kv_heads = 2,
     .head_dim = 20,
     .value_dim = 20,
     .rms_eps = 1e-6,
     .window = 5,
     .slides = {3, {1, 0, 1}},
     .rope_dims = 16,
     .rope_theta = 10000,
     .rope_halves = true,
     .activation = QN_GELU_TANH,
     .embedding_scale = 8,
     .attention_scale = 0.5,
     .attention_cap = 3,
     .final_cap = 2,
     .tied = true},
    {.n_vocab = 60,
     .n_ctx_train = 64,
     .n_layers = 2,
     .hidden = 32,
     .feed_forward = 40,
     .n_heads = 15,
     .n_kv_heads = 1,
     .head_dim = 8,
     .value_dim = 8,
     .rms_eps = 1e-6,
     .window = 33,
     .slides = {2, {1, 1}},
     .rope_dims = 8,
     .rope_theta = 10000},
    /* Chunks, layers without rope or experts, norms behind rope, queries that grow, sigmoids. */
    {.n_vocab = 60,
     .n_ctx_train = 64,
     .n_layers = 4,
     .hidden = 48,
     .feed_forward = 56,
     .n_heads = 6,
     .n_kv_heads = 2,
     .head_dim = 24,
     .value_dim = 24,
     .rms_eps = 1e-5,
     .window = 11,
     .window_is_chunk = true,
     .slides = {4, {1, 0, 1, 0}},
     .turns = {4, {1, 1, 0, 0}},
     .rope_dims = 24,
     .rope_theta = 10000,
     .norm_behind_rope = true,
     .temperature_scale = 0.5,
     .temperature_length = 7,
     .temperature_without_rope = true,
     .n_experts = 5,
     .n_experts_used = 2,
     .expert_feed_forward = 40,
     .shared_feed_forward = 40,
     .expert_sigmoid = true,
     .routed = {4, {0, 1, 0, 1}}},
    {.n_vocab = 60,
     .n_ctx_train = 64,
     .n_layers = 2,
     .hidden = 32,
     .feed_forward = 40,
     .n_heads = 4,
     .n_kv_heads = 2,
     .head_dim = 16,
     .value_dim = 16,
     .rms_eps = 1e-6,
     .rope_dims = 16,
     .rope_theta = 10000,
     .temperature_scale = 0.3,
     .temperature_length = 8,
     .tied = true},
};

/* The two differ by float32's roundings: below 1e-5 of logits of size 1. */
START_TEST(odd_shapes_give_what_a_plain_forward_pass_in_double_gives)
{
    enum { N = 50 };
    const qn_hparams *h = &odd_shapes[_i];
    double frequency[40];
    uint32_t ids[N];
    for (size_t j = 0; j < h->rope_dims / 2; j++)
        frequency[j] = pow(h->rope_theta, -2.0 * (double)j / (double)h->rope_dims);
    for (size_t i = 0; i < N; i++) ids[i] = (uint32_t)(i * i * 7 % h->n_vocab);
    qn_model *m = qn_test_random_model(h, 100 + (uint64_t)_i);
    double *plain = malloc(N * h->n_vocab * sizeof *plain);
    qn_test_plain_forward(m, frequency, 1.0, ids, N, plain);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    float *logits = qn_test_logits(d, m, ids, N);
    double squares = 0.0;
    for (size_t i = 0; i < N * h->n_vocab; i++) squares += plain[i] * plain[i];
    const double size = sqrt(squares / (double)(N * h->n_vocab));
    ck_assert_double_gt(size, 0.1);
    for (size_t i = 0; i < N * h->n_vocab; i++)
        ck_assert_msg(fabs((double)logits[i] - plain[i]) <= 1e-5 * size,
                      "logit %zu is %.9g, in double %.9g", i, (double)logits[i], plain[i]);
    free(plain);
    free(logits);
    qn_decoder_free(d);
    qn_test_random_model_free(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decoder");
    TCase *tc = qn_test_group(suite, "decoder");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, stories_are_read_as_golden_ones_are);
    tcase_add_test(tc, the_story_that_is_told_is_the_model_cards);
    tcase_add_test(tc, the_demonstration_model_gives_its_golden_values);
    tcase_add_loop_test(tc, odd_shapes_give_what_a_plain_forward_pass_in_double_gives, 0,
                        (int)(sizeof odd_shapes / sizeof *odd_shapes));
    return qn_test_run_suite(suite);
}
