/* Differences from an earlier result: Student's quantiles against printed tables, pairs
 * against sums by hand. */
#include <check.h>
#include <math.h>

#include "tests/support/run.h"
#include "tools/against.h"

/* Tables of Student's distribution, one-sided. */
START_TEST(quantiles_are_those_of_the_tables)
{
    static const struct {
        double confidence, t, slack;
        size_t degrees;
    } rows[] = {{0.99, 31.821, 0.001, 1}, {0.99, 6.965, 0.001, 2},  {0.99, 4.541, 0.02, 3},
                {0.99, 3.365, 0.002, 5},  {0.99, 2.764, 0.001, 10}, {0.99, 2.457, 0.001, 30},
                {0.95, 2.353, 0.001, 3},  {0.95, 2.132, 0.001, 4},  {0.95, 1.645, 0.001, 100000},
                {0.999, 4.144, 0.002, 10}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const double t = qn_student_quantile(rows[i].confidence, rows[i].degrees);
        ck_assert_msg(fabs(t - rows[i].t) <= rows[i].slack,
                      "%g, %zu degrees: %.4f, in the tables %g", rows[i].confidence,
                      rows[i].degrees, t, rows[i].t);
    }
}
END_TEST

/* Differences 1, 2, 3: mean 2, standard error 1/sqrt(3); t at 0.95 with 2 degrees is 2.920,
 * at 0.99 6.965. */
START_TEST(pairs_have_the_error_of_their_differences)
{
    const double then[] = {10, 20, 30}, now[] = {11, 22, 33};
    qn_against a;
    qn_against_of(&a, "x", then, now, 3, 1, 0.95);
    ck_assert(fabs(a.then - 20) < 1e-12 && fabs(a.now - 22) < 1e-12);
    ck_assert(fabs(a.difference - 2) < 1e-12 && fabs(a.error - 1 / sqrt(3.0)) < 1e-12);
    ck_assert_double_eq_tol(a.bound, 2.920 / sqrt(3.0), 1e-3);
    ck_assert_int_eq(a.verdict, QN_AGAINST_WORSE);
    qn_against_of(&a, "x", then, now, 3, -1, 0.95);
    ck_assert_int_eq(a.verdict, QN_AGAINST_BETTER);
    qn_against_of(&a, "x", then, now, 3, 1, 0.99);
    ck_assert_int_eq(a.verdict, QN_AGAINST_SAME);
    qn_against_of(&a, "x", then, then, 3, 1, 0.99);
    ck_assert(a.difference == 0 && a.verdict == QN_AGAINST_SAME);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("against");
    TCase *t = qn_test_group(s, "against");
    tcase_add_test(t, quantiles_are_those_of_the_tables);
    tcase_add_test(t, pairs_have_the_error_of_their_differences);
    return qn_test_run_suite(s);
}
