/* The decoder against transformers' logits, hidden states and continuations,
 * against a plain forward pass in double, and against itself cut up otherwise. */
#include "validate/decoder.h"

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

/* ---- the same bits however the work is cut up --------------------------------------------- */

enum { CUT_TOKENS = 75 };

/* The second has windows, a layer that reads another's keys and values, caps. */
static const qn_hparams cut_shapes[] = {{.n_vocab = 90,
                                         .n_ctx_train = 128,
                                         .n_layers = 3,
                                         .hidden = 96,
                                         .feed_forward = 160,
                                         .n_heads = 6,
                                         .n_kv_heads = 2,
                                         .head_dim = 24,
                                         .value_dim = 24,
                                         .rms_eps = 1e-5,
                                         .rope_dims = 24,
                                         .rope_theta = 10000},
                                        {.n_vocab = 90,
                                         .n_ctx_train = 128,
                                         .n_layers = 3,
                                         .hidden = 96,
                                         .feed_forward = 160,
                                         .n_heads = 6,
                                         .n_kv_heads = 2,
                                         .head_dim = 24,
                                         .value_dim = 24,
                                         .rms_eps = 1e-5,
                                         .window = 9,
                                         .slides = {3, {1, 0, 1}},
                                         .n_shared_kv = 1,
                                         .rope_dims = 24,
                                         .rope_theta = 10000,
                                         .rope_theta_swa = 500,
                                         .rope_halves = true,
                                         .activation = QN_GELU_TANH,
                                         .attention_cap = 4,
                                         .final_cap = 3}};
static const qn_hparams *const cut_shape = &cut_shapes[0];
enum { N_CUT = sizeof cut_shapes / sizeof *cut_shapes };

static void cut_ids(uint32_t *ids, size_t n, uint32_t factor)
{
    for (size_t i = 0; i < n; i++) ids[i] = (uint32_t)(i * factor + i * i) % 90;
}

START_TEST(runs_of_any_length_through_the_cache_equal_one_whole_run)
{
    const size_t pieces[] = {1, 2, 7, 13, 14, 15, 32, 33, 74};
    uint32_t ids[CUT_TOKENS];
    cut_ids(ids, CUT_TOKENS, 5);
    qn_model *m = qn_test_random_model(&cut_shapes[_i], 1);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    float *whole = qn_test_logits(d, m, ids, CUT_TOKENS);
    float *part = malloc(CUT_TOKENS * cut_shape->n_vocab * sizeof *part);
    qn_session *s = qn_test_session(d, 1, CUT_TOKENS);
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        qn_session_reset(s);
        for (size_t i = 0; i < CUT_TOKENS; i += pieces[p]) {
            const size_t left = CUT_TOKENS - i, n = left < pieces[p] ? left : pieces[p];
            qn_test_run(s, ids + i, n);
            ck_assert(!qn_session_logits(s, 0, 0, n, part + i * cut_shape->n_vocab, NULL));
        }
        ck_assert_msg(memcmp(whole, part, CUT_TOKENS * cut_shape->n_vocab * sizeof *part) == 0,
                      "in pieces of %zu", pieces[p]);
    }
    free(whole);
    free(part);
    qn_session_free(s);
    qn_decoder_free(d);
    qn_test_random_model_free(m);
}
END_TEST

START_TEST(threads_and_instruction_sets_give_the_same_bits)
{
    uint32_t ids[CUT_TOKENS];
    qn_kernels k;
    bool runs;
    cut_ids(ids, CUT_TOKENS, 11);
    qn_model *m = qn_test_random_model(&cut_shapes[_i], 2);
    ck_assert(qn_kernels_level(0, &k, &runs));
    qn_decoder *scalar = qn_test_decoder(m, &k, 1);
    float *expected = qn_test_logits(scalar, m, ids, CUT_TOKENS);
    for (unsigned level = 0; qn_kernels_level(level, &k, &runs); level++) {
        if (!runs) printf("skip: %s does not run here\n", k.isa);
        for (int threads = 1; threads <= 3 && runs; threads++) {
            qn_decoder *d = qn_test_decoder(m, &k, threads);
            float *logits = qn_test_logits(d, m, ids, CUT_TOKENS);
            const size_t bytes = CUT_TOKENS * cut_shape->n_vocab * sizeof *logits;
            ck_assert_msg(memcmp(logits, expected, bytes) == 0, "%s, %d threads", k.isa, threads);
            free(logits);
            qn_decoder_free(d);
        }
    }
    free(expected);
    qn_decoder_free(scalar);
    qn_test_random_model_free(m);
}
END_TEST

/* Sequences of a batch do not see each other; 30 x 75 tokens are more than go
 * through a layer at once.  Nor does it matter that keys and values are gone when
 * no layer needs them. */
START_TEST(a_sequence_of_a_batch_equals_the_sequence_alone)
{
    enum { SEQUENCES = 30 };
    static uint32_t ids[SEQUENCES][CUT_TOKENS];
    for (uint32_t i = 0; i < SEQUENCES; i++) cut_ids(ids[i], CUT_TOKENS, i);
    qn_model *m = qn_test_random_model(&cut_shapes[_i], 3);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    qn_session *s = qn_test_session(d, SEQUENCES, CUT_TOKENS), *whole;
    ck_assert(!qn_session_new_whole(&whole, d, SEQUENCES, CUT_TOKENS, 0, NULL));
    const size_t bytes = CUT_TOKENS * cut_shape->n_vocab * sizeof(float);
    float *logits = malloc(bytes);
    qn_test_run(s, ids[0], CUT_TOKENS);
    qn_test_run(whole, ids[0], CUT_TOKENS);
    for (size_t i = 0; i < SEQUENCES; i++) {
        float *alone = qn_test_logits(d, m, ids[i], CUT_TOKENS);
        ck_assert(!qn_session_logits(s, i, 0, CUT_TOKENS, logits, NULL));
        ck_assert_msg(memcmp(alone, logits, bytes) == 0, "sequence %zu", i);
        ck_assert(!qn_session_logits(whole, i, 0, CUT_TOKENS, logits, NULL));
        ck_assert_msg(memcmp(alone, logits, bytes) == 0, "sequence %zu, not kept", i);
        free(alone);
    }
    free(logits);
    qn_session_free(whole);
    qn_session_free(s);
    qn_decoder_free(d);
    qn_test_random_model_free(m);
}
END_TEST

/* What a layer leaves out since nobody asks for it changes nothing of the rest. */
START_TEST(positions_asked_for_do_not_depend_on_where_they_begin)
{
    enum { SEQUENCES = 30 };
    const size_t firsts[] = {1, 37, CUT_TOKENS - 1};
    static uint32_t ids[SEQUENCES][CUT_TOKENS];
    for (uint32_t i = 0; i < SEQUENCES; i++) cut_ids(ids[i], CUT_TOKENS, i);
    qn_model *m = qn_test_random_model(&cut_shapes[_i], 3);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    qn_session *all = qn_test_session(d, SEQUENCES, CUT_TOKENS), *some;
    const size_t n_vocab = (size_t)cut_shape->n_vocab;
    float *expected = malloc(CUT_TOKENS * n_vocab * sizeof *expected);
    float *got = malloc(CUT_TOKENS * n_vocab * sizeof *got);
    qn_test_run(all, ids[0], CUT_TOKENS);
    for (size_t f = 0; f < sizeof firsts / sizeof *firsts; f++) {
        const size_t first = firsts[f], n = CUT_TOKENS - first;
        ck_assert(!qn_session_new_whole(&some, d, SEQUENCES, CUT_TOKENS, first, NULL));
        qn_test_run(some, ids[0], CUT_TOKENS);
        ck_assert_int_eq(qn_session_logits(some, 0, first - 1, 1, got, NULL), QN_ERR_ARGUMENT);
        for (size_t i = 0; i < SEQUENCES; i++) {
            ck_assert(!qn_session_logits(all, i, first, n, expected, NULL));
            ck_assert(!qn_session_logits(some, i, first, n, got, NULL));
            ck_assert_msg(memcmp(got, expected, n * n_vocab * sizeof *got) == 0,
                          "sequence %zu from %zu on", i, first);
        }
        qn_session_free(some);
    }
    free(got);
    free(expected);
    qn_session_free(all);
    qn_decoder_free(d);
    qn_test_random_model_free(m);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

START_TEST(an_id_outside_the_vocabulary_is_refused_and_nothing_is_cached)
{
    uint32_t ids[CUT_TOKENS];
    qn_error err = {0};
    cut_ids(ids, CUT_TOKENS, 5);
    qn_model *m = qn_test_random_model(cut_shape, 4);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 1);
    qn_session *s = qn_test_session(d, 1, CUT_TOKENS);
    const uint32_t bad[] = {1, 2, 90};
    ck_assert_int_eq(qn_session_run(s, bad, 3, NULL, NULL, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "made.gguf: token 2 has id 90, the vocabulary 90");
    float got[90], *expected = qn_test_logits(d, m, ids, CUT_TOKENS);
    qn_test_run(s, ids, CUT_TOKENS);
    ck_assert(!qn_session_logits(s, 0, CUT_TOKENS - 1, 1, got, NULL));
    ck_assert_mem_eq(got, expected + (size_t)(CUT_TOKENS - 1) * 90, sizeof got);
    free(expected);
    qn_session_free(s);
    qn_decoder_free(d);
    qn_test_random_model_free(m);
}
END_TEST

START_TEST(more_tokens_than_the_context_are_refused)
{
    uint32_t ids[CUT_TOKENS];
    float logits[90];
    cut_ids(ids, CUT_TOKENS, 5);
    qn_error err = {0};
    qn_model *m = qn_test_random_model(cut_shape, 5);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 1);
    qn_session *s = qn_test_session(d, 1, 40);
    qn_test_run(s, ids, 30);
    ck_assert_int_eq(qn_session_run(s, ids, 11, NULL, NULL, &err), QN_ERR_ARGUMENT);
    ck_assert_str_eq(err.message, "11 tokens after 30 are more than the context of 40");
    ck_assert_int_eq(qn_session_run(s, ids, 0, NULL, NULL, &err), QN_ERR_ARGUMENT);
    qn_test_run(s, ids, 10);
    ck_assert_int_eq(qn_session_logits(s, 0, 10, 1, logits, &err), QN_ERR_ARGUMENT);
    ck_assert_int_eq(qn_session_logits(s, 1, 0, 1, logits, &err), QN_ERR_ARGUMENT);
    ck_assert_int_eq(qn_session_logits(s, 0, 9, 1, logits, &err), QN_OK);
    qn_session_free(s);
    qn_decoder_free(d);
    qn_test_random_model_free(m);
}
END_TEST

START_TEST(a_model_of_no_family_is_not_run)
{
    qn_error err = {0};
    qn_decoder *d = NULL;
    qn_model *m = qn_test_random_model(cut_shape, 6);
    m->family = NULL;
    ck_assert_int_eq(qn_decoder_new(&d, m, qn_kernels_best(), 1, &err), QN_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "made.gguf: architecture \"llama\" cannot be run"));
    ck_assert_ptr_null(d);
    qn_test_random_model_free(m);
}
END_TEST

START_TEST(a_missing_or_misshapen_tensor_is_named)
{
    qn_error err = {0};
    qn_decoder *d = NULL;
    qn_model *m = qn_test_random_model(cut_shape, 7);
    m->hparams.n_layers = 4;
    ck_assert_int_eq(qn_decoder_new(&d, m, qn_kernels_best(), 1, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "made.gguf: no tensor \"blk.3.attn_norm.weight\"");
    m->hparams.n_layers = 3;
    m->hparams.feed_forward = 161;
    ck_assert_int_eq(qn_decoder_new(&d, m, qn_kernels_best(), 1, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message,
                     "made.gguf: \"blk.0.ffn_gate.weight\" is 160 x 96, expected 161 x 96");
    qn_test_random_model_free(m);
}
END_TEST

START_TEST(dynamic_scaling_beyond_the_trained_length_is_refused)
{
    qn_error err = {0};
    qn_session *s = NULL;
    qn_hparams h = *cut_shape;
    h.rope_scaling = QN_ROPE_DYNAMIC;
    h.rope_factor = 2.0;
    qn_model *m = qn_test_random_model(&h, 8);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 1);
    ck_assert_int_eq(qn_session_new(&s, d, 1, 129, &err), QN_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "129"));
    ck_assert_int_eq(qn_session_new(&s, d, 1, 128, &err), QN_OK);
    qn_session_free(s);
    qn_decoder_free(d);
    qn_test_random_model_free(m);
}
END_TEST

START_TEST(no_memory_is_reported_at_every_allocation)
{
    const uint32_t ids[] = {1, 2, 3};
    qn_status status = QN_ERR_MEMORY;
    unsigned long n = 0;
    qn_model *m = qn_test_random_model(&odd_shapes[0], 9);
    while (status == QN_ERR_MEMORY && ++n < 500) {
        qn_decoder *d = NULL;
        qn_session *s = NULL;
        float logits[100];
        qn_alloc_fail_at(n);
        status = qn_decoder_new(&d, m, qn_kernels_best(), 2, NULL);
        if (!status) status = qn_session_new(&s, d, 1, 8, NULL);
        if (!status) status = qn_session_run(s, ids, 3, NULL, NULL, NULL);
        if (!status) status = qn_session_logits(s, 0, 0, 1, logits, NULL);
        qn_alloc_fail_at(0);
        qn_session_free(s);
        qn_decoder_free(d);
    }
    ck_assert_int_eq(status, QN_OK);
    ck_assert_uint_gt(n, 20);
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
    tcase_add_loop_test(tc, runs_of_any_length_through_the_cache_equal_one_whole_run, 0, N_CUT);
    tcase_add_loop_test(tc, threads_and_instruction_sets_give_the_same_bits, 0, N_CUT);
    tcase_add_loop_test(tc, a_sequence_of_a_batch_equals_the_sequence_alone, 0, N_CUT);
    tcase_add_loop_test(tc, positions_asked_for_do_not_depend_on_where_they_begin, 0, N_CUT);
    tcase_add_test(tc, an_id_outside_the_vocabulary_is_refused_and_nothing_is_cached);
    tcase_add_test(tc, more_tokens_than_the_context_are_refused);
    tcase_add_test(tc, a_model_of_no_family_is_not_run);
    tcase_add_test(tc, a_missing_or_misshapen_tensor_is_named);
    tcase_add_test(tc, dynamic_scaling_beyond_the_trained_length_is_refused);
    tcase_add_test(tc, no_memory_is_reported_at_every_allocation);
    return qn_test_run_suite(suite);
}
