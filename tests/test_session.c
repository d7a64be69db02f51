/* Sessions: the same bits however the work is cut up, and what is refused. */
#include "validate/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/golden.h"
#include "tests/support/plain_forward.h"
#include "tests/support/run.h"

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
    ck_assert(!qn_session_new_whole(&whole, d, SEQUENCES, CUT_TOKENS, NULL));
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

/* What a layer leaves out since nobody asks for it changes nothing of the rest, nor of
 * what comes later. */
START_TEST(tokens_asked_for_do_not_depend_on_where_they_begin)
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
        ck_assert(!qn_session_new_whole(&some, d, SEQUENCES, CUT_TOKENS, NULL));
        qn_session_ask_from(some, first);
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

START_TEST(later_runs_do_not_depend_on_what_was_asked_for_before)
{
    enum { FIRST = 40, REST = CUT_TOKENS - FIRST };
    const size_t asked[] = {1, FIRST - 1, FIRST};
    uint32_t ids[CUT_TOKENS];
    cut_ids(ids, CUT_TOKENS, 7);
    qn_model *m = qn_test_random_model(&cut_shapes[_i], 3);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    qn_session *s = qn_test_session(d, 1, CUT_TOKENS);
    const size_t n_vocab = (size_t)cut_shape->n_vocab, bytes = n_vocab * sizeof(float);
    float *expected = qn_test_logits(d, m, ids, CUT_TOKENS), *got = malloc(CUT_TOKENS * bytes);
    for (size_t a = 0; a < sizeof asked / sizeof *asked; a++) {
        qn_session_reset(s);
        qn_session_ask_from(s, asked[a]);
        qn_test_run(s, ids, FIRST);
        ck_assert_int_eq(qn_session_logits(s, 0, asked[a] - 1, 1, got, NULL), QN_ERR_ARGUMENT);
        ck_assert(!qn_session_logits(s, 0, asked[a], FIRST - asked[a], got, NULL));
        ck_assert(!memcmp(got, expected + asked[a] * n_vocab, (FIRST - asked[a]) * bytes));
        qn_session_ask_from(s, 0);
        qn_test_run(s, ids + FIRST, REST);
        ck_assert(!qn_session_logits(s, 0, 0, REST, got, NULL));
        ck_assert_msg(!memcmp(got, expected + FIRST * n_vocab, REST * bytes), "from %zu on",
                      asked[a]);
    }
    free(got);
    free(expected);
    qn_session_free(s);
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
    qn_model *m = qn_test_random_model(cut_shape, 9);
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
    Suite *s = suite_create("session");
    TCase *t = qn_test_group(s, "cut up");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, runs_of_any_length_through_the_cache_equal_one_whole_run, 0, N_CUT);
    tcase_add_loop_test(t, threads_and_instruction_sets_give_the_same_bits, 0, N_CUT);
    tcase_add_loop_test(t, a_sequence_of_a_batch_equals_the_sequence_alone, 0, N_CUT);
    tcase_add_loop_test(t, tokens_asked_for_do_not_depend_on_where_they_begin, 0, N_CUT);
    tcase_add_loop_test(t, later_runs_do_not_depend_on_what_was_asked_for_before, 0, N_CUT);
    t = qn_test_group(s, "refused");
    tcase_add_test(t, an_id_outside_the_vocabulary_is_refused_and_nothing_is_cached);
    tcase_add_test(t, more_tokens_than_the_context_are_refused);
    tcase_add_test(t, a_model_of_no_family_is_not_run);
    tcase_add_test(t, a_missing_or_misshapen_tensor_is_named);
    tcase_add_test(t, dynamic_scaling_beyond_the_trained_length_is_refused);
    tcase_add_test(t, no_memory_is_reported_at_every_allocation);
    return qn_test_run_suite(s);
}
