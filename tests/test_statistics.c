/* A tensor's statistics against a plain double loop over all its values. */
#include "quant/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/random.h"
#include "tests/support/run.h"

static qn_arena *arena;

static void setup(void)
{
    arena = qn_arena_new();
    ck_assert_ptr_nonnull(arena);
}

static void teardown(void)
{
    qn_arena_free(arena);
}

/* Several slices, the last one short. */
enum { ROWS = 1013, COLUMNS = 300, N = ROWS * COLUMNS };

static const qn_rows *make(const float *values)
{
    const qn_rows *rows = qn_rows_values(arena, values, ROWS, COLUMNS);
    ck_assert_ptr_nonnull(rows);
    return rows;
}

static float *random_values(void)
{
    float *values = qn_arena_alloc(arena, N, sizeof *values);
    ck_assert_ptr_nonnull(values);
    qn_random random = {20260901};
    for (size_t i = 0; i < N; i++) values[i] = qn_random_normal(&random) + 0.25F;
    return values;
}

START_TEST(the_figures_are_those_of_a_plain_loop)
{
    float *values = random_values();
    values[7] = NAN;
    values[400] = -INFINITY;
    values[N - 1] = 0;
    long double sum = 0, squares = 0;
    double min = INFINITY, max = -INFINITY;
    for (size_t i = 0; i < N; i++) {
        if (!isfinite(values[i])) continue;
        sum += (long double)values[i];
        min = fmin(min, (double)values[i]);
        max = fmax(max, (double)values[i]);
    }
    const long double mean = sum / (N - 2);
    for (size_t i = 0; i < N; i++)
        if (isfinite(values[i])) squares += (values[i] - mean) * (values[i] - mean);

    qn_statistics s;
    ck_assert_int_eq(qn_statistics_of(make(values), qn_kernels_best(), 2, &s, NULL), QN_OK);
    ck_assert_uint_eq(s.nans, 1);
    ck_assert_uint_eq(s.infinities, 1);
    ck_assert_uint_eq(s.finite, N - 2);
    ck_assert_uint_ge(s.zeros, 1);
    ck_assert_double_eq(s.min, min);
    ck_assert_double_eq(s.max, max);
    ck_assert_double_eq_tol(s.mean, (double)mean, 1e-13);
    ck_assert_double_eq_tol(s.deviation, (double)sqrtl(squares / (N - 2)), 1e-13);
}
END_TEST

START_TEST(a_large_mean_does_not_drown_the_deviation)
{
    float *values = random_values();
    for (size_t i = 0; i < N; i++) values[i] = i % 2 ? 16777216.0F : 16777214.0F;
    qn_statistics s;
    ck_assert_int_eq(qn_statistics_of(make(values), qn_kernels_best(), 2, &s, NULL), QN_OK);
    ck_assert_double_eq_tol(s.deviation, 1.0, 1e-9);
}
END_TEST

START_TEST(any_number_of_threads_gives_the_same_bits)
{
    static const int counts[] = {1, 2, 3, 7};
    const qn_rows *rows = make(random_values());
    qn_statistics one, s;
    ck_assert_int_eq(qn_statistics_of(rows, qn_kernels_best(), 1, &one, NULL), QN_OK);
    ck_assert_int_eq(qn_statistics_of(rows, qn_kernels_best(), counts[_i], &s, NULL), QN_OK);
    ck_assert_mem_eq(&one, &s, sizeof s);
}
END_TEST

START_TEST(every_finite_value_is_in_its_bin)
{
    float *values = random_values();
    values[5] = NAN;
    const qn_rows *rows = make(values);
    qn_statistics s;
    uint64_t bins[10], want[10] = {0};
    ck_assert_int_eq(qn_statistics_of(rows, qn_kernels_best(), 2, &s, NULL), QN_OK);
    ck_assert_int_eq(qn_statistics_histogram(rows, qn_kernels_best(), 3, &s, bins, 10, NULL),
                     QN_OK);
    for (size_t i = 0; i < N; i++) {
        if (isnan(values[i])) continue;
        const double part = ((double)values[i] - s.min) / (s.max - s.min);
        want[part >= 1 ? 9 : (int)(10 * part)]++;
    }
    uint64_t all = 0;
    for (int i = 0; i < 10; i++) {
        /* One value on an edge may round to either side. */
        ck_assert_int_le(llabs((long long)bins[i] - (long long)want[i]), 1);
        all += bins[i];
    }
    ck_assert_uint_eq(all, N - 1);
}
END_TEST

START_TEST(equal_values_are_all_in_the_first_bin)
{
    float *values = random_values();
    for (size_t i = 0; i < N; i++) values[i] = 3.5F;
    const qn_rows *rows = make(values);
    qn_statistics s;
    uint64_t bins[4];
    ck_assert_int_eq(qn_statistics_of(rows, qn_kernels_best(), 1, &s, NULL), QN_OK);
    ck_assert_double_eq(s.deviation, 0);
    ck_assert_int_eq(qn_statistics_histogram(rows, qn_kernels_best(), 1, &s, bins, 4, NULL), QN_OK);
    ck_assert_uint_eq(bins[0], N);
    ck_assert_uint_eq(bins[1] + bins[2] + bins[3], 0);
}
END_TEST

START_TEST(an_empty_tensor_has_no_figures)
{
    const qn_rows *rows = qn_rows_values(arena, NULL, 0, COLUMNS);
    qn_statistics s;
    ck_assert_ptr_nonnull(rows);
    ck_assert_int_eq(qn_statistics_of(rows, qn_kernels_best(), 2, &s, NULL), QN_OK);
    ck_assert_uint_eq(s.finite, 0);
    ck_assert_double_eq(s.min, 0);
    ck_assert_double_eq(s.deviation, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("statistics");
    TCase *t = qn_test_group(s, "statistics");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_figures_are_those_of_a_plain_loop);
    tcase_add_test(t, a_large_mean_does_not_drown_the_deviation);
    tcase_add_loop_test(t, any_number_of_threads_gives_the_same_bits, 0, 4);
    tcase_add_test(t, every_finite_value_is_in_its_bin);
    tcase_add_test(t, equal_values_are_all_in_the_first_bin);
    tcase_add_test(t, an_empty_tensor_has_no_figures);
    return qn_test_run_suite(s);
}
