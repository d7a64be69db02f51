/* The sequential gates: their rate of wrong answers in simulated runs, and what
 * they need for clear cases. */
#include "validate/gate.h"

#include <check.h>
#include <math.h>
#include <stdint.h>

#include "tests/support/run.h"

/* SplitMix64 (Steele, Lea and Flood, 2014), in 0 .. 1. */
static double uniform(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* Figures with mean 1: evenly spread, skewed (1 in 8 is large), two-valued. */
static double draw(int shape, uint64_t *state)
{
    const double u = uniform(state);
    switch (shape) {
    case 0: return 2 * u;
    case 1: return u < 0.125 ? 4.5 : 0.5;
    default: return u < 0.2 ? 5.0 : 0.0;
    }
}

/* How many of `runs` runs of up to `windows` windows end in `state`. */
static unsigned ends_in(int shape, double mean, qn_gate_state state, double alpha, unsigned runs,
                        unsigned windows)
{
    unsigned count = 0;
    for (unsigned r = 0; r < runs; r++) {
        qn_gate g;
        uint64_t seed = 1000 * (uint64_t)shape + r;
        qn_gate_start(&g, 0, 8, 1, alpha);
        for (unsigned w = 0; w < windows && g.state == QN_GATE_OPEN; w++)
            qn_gate_see(&g, mean * draw(shape, &seed));
        count += g.state == state;
    }
    return count;
}

enum { SHAPES = 3, RUNS = 200, INTERVALS = 60 };

START_TEST(a_mean_just_above_the_limit_hardly_ever_passes)
{
    /* looked at after each of 300 windows; 5 % are allowed, 3 deviations above that are 9.6 % */
    const unsigned wrong = ends_in(_i, 1.0001, QN_GATE_PASS, 0.05, RUNS, 300);
    ck_assert_msg(wrong <= 19, "%u of %d runs passed", wrong, RUNS);
}
END_TEST

START_TEST(a_mean_just_below_the_limit_hardly_ever_fails)
{
    const unsigned wrong = ends_in(_i, 0.9999, QN_GATE_FAIL, 0.05, RUNS, 300);
    ck_assert_msg(wrong <= 19, "%u of %d runs failed", wrong, RUNS);
}
END_TEST

START_TEST(clear_cases_are_decided_early)
{
    const unsigned good = ends_in(_i, 0.4, QN_GATE_PASS, 0.01, RUNS, 150);
    const unsigned bad = ends_in(_i, 2.0, QN_GATE_FAIL, 0.01, RUNS, 600);
    ck_assert_msg(good >= RUNS * 95 / 100, "%u of %d passed", good, RUNS);
    ck_assert_msg(bad >= RUNS * 95 / 100, "%u of %d failed", bad, RUNS);
}
END_TEST

START_TEST(the_interval_holds_the_mean_and_shrinks)
{
    unsigned outside = 0;
    double narrow = 0;
    for (unsigned r = 0; r < INTERVALS; r++) {
        qn_gate g;
        double low, high, wide;
        uint64_t seed = r;
        qn_gate_start(&g, 0, 8, 4, 0.025);
        for (unsigned w = 0; w < 20; w++) qn_gate_see(&g, draw(_i, &seed));
        qn_gate_interval(&g, &low, &wide);
        wide -= low;
        for (unsigned w = 0; w < 180; w++) qn_gate_see(&g, draw(_i, &seed));
        qn_gate_interval(&g, &low, &high);
        ck_assert(high - low <= wide);
        narrow += (high - low) / INTERVALS;
        outside += low > 1.0 || high < 1.0;
    }
    ck_assert_msg(outside <= 8, "%u of %d intervals miss the mean", outside, INTERVALS);
    ck_assert_msg(narrow < 1.6, "%g wide after 200 windows", narrow);
}
END_TEST

START_TEST(one_enormous_window_keeps_a_gate_from_passing)
{
    qn_gate g;
    qn_gate_start(&g, 0, 8, 1, 0.01);
    qn_gate_see(&g, 1e6);
    for (unsigned w = 0; w < 500; w++) qn_gate_see(&g, 0.1);
    ck_assert_int_ne(g.state, QN_GATE_PASS);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gate");
    TCase *t = qn_test_group(s, "gate");
    tcase_add_loop_test(t, a_mean_just_above_the_limit_hardly_ever_passes, 0, SHAPES);
    tcase_add_loop_test(t, a_mean_just_below_the_limit_hardly_ever_fails, 0, SHAPES);
    tcase_add_loop_test(t, clear_cases_are_decided_early, 0, SHAPES);
    tcase_add_loop_test(t, the_interval_holds_the_mean_and_shrinks, 0, SHAPES);
    tcase_add_test(t, one_enormous_window_keeps_a_gate_from_passing);
    return qn_test_run_suite(s);
}
