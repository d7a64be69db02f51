/* Sampling against probabilities worked out by hand, and the same draws made
 * from the published generator. */
#include "validate/sample.h"

#include <check.h>
#include <math.h>

#include "tests/support/random.h"
#include "tests/support/run.h"

static uint32_t next(qn_sampler *s, const float *logits)
{
    uint32_t id = UINT32_MAX;
    qn_error err = {0};
    ck_assert_msg(!qn_sampler_next(s, logits, &id, &err), "%s", err.message);
    return id;
}

static qn_sampler *sampler(double temperature, size_t top_k, double top_p, uint64_t seed, size_t n)
{
    qn_sampler *s = NULL;
    const qn_sample_options o = {
        .temperature = temperature, .top_k = top_k, .top_p = top_p, .seed = seed};
    ck_assert(!qn_sampler_new(&s, &o, n, NULL));
    return s;
}

START_TEST(temperature_zero_takes_the_largest_and_of_equals_the_first)
{
    const float logits[] = {1.0F, 3.0F, -2.0F, 3.0F, NAN};
    qn_sampler *s = sampler(0.0, 0, 1.0, 1, 5);
    for (int i = 0; i < 5; i++) ck_assert_uint_eq(next(s, logits), 1);
    qn_sampler_free(s);
}
END_TEST

START_TEST(top_k_of_one_takes_the_largest)
{
    const float logits[] = {NAN, 3.0F, 2.9F, 3.0F};
    qn_sampler *s = sampler(5.0, 1, 1.0, 1, 4);
    for (int i = 0; i < 100; i++) ck_assert_uint_eq(next(s, logits), 1);
    qn_sampler_free(s);
}
END_TEST

/* counts of n draws within four standard deviations of n p. */
static void check_shares(qn_sampler *s, const float *logits, const double *p, size_t n_ids)
{
    enum { N = 40000 };
    size_t count[8] = {0};
    for (int i = 0; i < N; i++) count[next(s, logits)]++;
    for (size_t i = 0; i < n_ids; i++) {
        const double sigma = sqrt(N * p[i] * (1.0 - p[i]));
        ck_assert_msg(fabs((double)count[i] - N * p[i]) <= 4.0 * sigma,
                      "id %zu: %zu, expected %.1f", i, count[i], N * p[i]);
    }
}

START_TEST(ids_come_as_often_as_their_probabilities_say)
{
    const float logits[] = {logf(2.0F), logf(5.0F), -INFINITY, logf(3.0F)};
    const double plain[] = {0.2, 0.5, 0.0, 0.3};
    qn_sampler *s = sampler(1.0, 0, 1.0, 42, 4);
    check_shares(s, logits, plain, 4);
    qn_sampler_free(s);

    const double sharper[] = {4.0 / 38, 25.0 / 38, 0.0, 9.0 / 38}; /* squares */
    s = sampler(0.5, 0, 1.0, 43, 4);
    check_shares(s, logits, sharper, 4);
    qn_sampler_free(s);

    const double two[] = {0.0, 5.0 / 8, 0.0, 3.0 / 8};
    s = sampler(1.0, 2, 1.0, 44, 4);
    check_shares(s, logits, two, 4);
    qn_sampler_free(s);
}
END_TEST

START_TEST(top_p_keeps_the_fewest_that_reach_it)
{
    const float logits[] = {logf(2.0F), logf(5.0F), logf(3.0F)};
    const double one[] = {0.0, 1.0, 0.0}, two[] = {0.0, 0.625, 0.375}, all[] = {0.2, 0.5, 0.3};
    const struct {
        double top_p;
        const double *shares;
    } cases[] = {{1e-9, one}, {0.49, one}, {0.51, two}, {0.79, two}, {0.81, all}, {1.0, all}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_sampler *s = sampler(1.0, 0, cases[i].top_p, 7, 3);
        check_shares(s, logits, cases[i].shares, 3);
        qn_sampler_free(s);
    }
    /* Of the two that top_k leaves, 5/8 is enough for 0.6. */
    qn_sampler *s = sampler(1.0, 2, 0.6, 7, 3);
    check_shares(s, logits, one, 3);
    qn_sampler_free(s);
}
END_TEST

/* Each draw, worked out from the generator's own next number: ids in falling
 * order of their logits, the first whose share of the sum is passed. */
START_TEST(a_seed_gives_the_tokens_that_its_random_numbers_say)
{
    enum { N = 1000 };
    static float logits[N];
    static double sums[N];
    const uint64_t seed = 123456789;
    qn_random r = {seed};
    for (int i = 0; i < N; i++) logits[i] = (float)(N - i) * 0.01F; /* falling */
    double sum = 0.0;
    for (int i = 0; i < N; i++) sums[i] = sum += exp(((double)logits[i] - 10.0) / 0.8);
    qn_sampler *s = sampler(0.8, 0, 1.0, seed, N);
    for (int turn = 0; turn < 500; turn++) {
        const double fraction = (double)(qn_random_bits(&r) >> 11) / 9007199254740992.0;
        uint32_t expected = 0;
        while (sums[expected] <= fraction * sum) expected++;
        ck_assert_uint_eq(next(s, logits), expected);
    }
    qn_sampler_free(s);
}
END_TEST

START_TEST(senseless_settings_are_refused)
{
    qn_sampler *s = NULL;
    qn_error err = {0};
    const qn_sample_options bad[] = {{.temperature = -0.1, .top_p = 1.0},
                                     {.temperature = (double)NAN, .top_p = 1.0},
                                     {.temperature = (double)INFINITY, .top_p = 1.0},
                                     {.temperature = 1.0, .top_p = 0.0},
                                     {.temperature = 1.0, .top_p = (double)NAN}};
    ck_assert_int_eq(qn_sampler_new(&s, &bad[_i], 10, &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_null(s);
}
END_TEST

START_TEST(logits_that_are_no_numbers_are_an_error)
{
    const float logits[] = {NAN, NAN};
    uint32_t id = 77;
    qn_sampler *s = sampler(1.0, 0, 1.0, 1, 2);
    ck_assert_int_eq(qn_sampler_next(s, logits, &id, NULL), QN_ERR_DATA);
    ck_assert_uint_eq(id, 77);
    qn_sampler_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sample");
    TCase *tc = qn_test_group(suite, "sample");
    tcase_add_test(tc, temperature_zero_takes_the_largest_and_of_equals_the_first);
    tcase_add_test(tc, top_k_of_one_takes_the_largest);
    tcase_add_test(tc, ids_come_as_often_as_their_probabilities_say);
    tcase_add_test(tc, top_p_keeps_the_fewest_that_reach_it);
    tcase_add_test(tc, a_seed_gives_the_tokens_that_its_random_numbers_say);
    tcase_add_loop_test(tc, senseless_settings_are_refused, 0, 5);
    tcase_add_test(tc, logits_that_are_no_numbers_are_an_error);
    return qn_test_run_suite(suite);
}
