/* Rotary embedding and the functions under it, against the formulas written
 * down with the C library's functions. */
#include "validate/rope.h"

#include <check.h>
#include <math.h>

#include "kernels/kernels.h"
#include "tests/support/random.h"
#include "tests/support/run.h"
#include "validate/norm.h"
#include "validate/reals.h"

#define PI 3.14159265358979323846L

/* Distance in units of the last place of the true value. */
static double ulps(double got, long double want)
{
    const double size = fabs((double)want), step = nextafter(size, INFINITY) - size;
    return (double)(fabsl((long double)got - want) / (long double)step);
}

static double uniform(qn_random *r, double low, double high)
{
    return low + (high - low) * (double)(qn_random_bits(r) >> 11) * 0x1p-53;
}

START_TEST(exponentials_and_logarithms_are_right_to_three_last_places)
{
    qn_random r = {1};
    for (int i = 0; i < 200000; i++) {
        const double x = uniform(&r, -700.0, 700.0), y = uniform(&r, 1e-12, 1e6);
        ck_assert_double_le(ulps(qn_exp(x), expl((long double)x)), 3.0);
        ck_assert_double_le(ulps(qn_log(y), logl((long double)y)), 3.0);
        ck_assert(fabs(qn_power(y, 0.25) / sqrt(sqrt(y)) - 1.0) < 1e-14);
    }
    ck_assert(qn_exp(0.0) == 1.0 && qn_log(1.0) == 0.0);
    ck_assert(qn_exp(-709.0) == 0.0 && isinf(qn_exp(710.0)) && isnan(qn_exp((double)NAN)));
}
END_TEST

START_TEST(sines_and_cosines_are_right_to_three_last_places)
{
    qn_random r = {2};
    for (int i = 0; i < 200000; i++) {
        const double x = uniform(&r, -1048576.0, 1048576.0) * (i & 1 ? 1.0 : 1e-4);
        double s, c;
        qn_sine_cosine(x, &s, &c);
        ck_assert_double_le(ulps(s, sinl((long double)x)), 3.0);
        ck_assert_double_le(ulps(c, cosl((long double)x)), 3.0);
    }
}
END_TEST

/* The doubles nearest to multiples of pi/2 are where a careless reduction fails. */
START_TEST(sines_near_their_zeros_keep_their_digits)
{
    for (int n = 1; n < 600000; n = n * 3 + 1) {
        const double x = (double)(n * PI / 2);
        double s, c;
        qn_sine_cosine(x, &s, &c);
        const double small = n % 2 ? c : s;
        const long double want = n % 2 ? cosl((long double)x) : sinl((long double)x);
        ck_assert(fabsl((long double)small - want) <= 1e-15L * fabsl(want) + 1e-30L);
    }
}
END_TEST

static const qn_hparams plain = {
    .head_dim = 64, .rope_dims = 64, .rope_theta = 500000.0, .rope_original_ctx = 8192};

static double relative(float got, double want)
{
    return fabs((double)got / want - 1.0);
}

START_TEST(frequencies_are_powers_of_theta_divided_by_what_the_scaling_says)
{
    float f[32], divisors[32], factor = 0.0F;
    for (int j = 0; j < 32; j++) divisors[j] = 1.0F + (float)j;
    qn_hparams linear = plain;
    linear.rope_scaling = QN_ROPE_LINEAR;
    linear.rope_factor = 4.0;
    for (int j = 0; j < 32; j++) {
        const double want = pow(500000.0, -2.0 * j / 64.0);
        qn_rope_frequencies(&plain, NULL, f, &factor);
        ck_assert_double_le(relative(f[j], want), 2e-7);
        qn_rope_frequencies(&plain, divisors, f, &factor);
        ck_assert_double_le(relative(f[j], want / (1.0 + j)), 3e-7);
        qn_rope_frequencies(&linear, NULL, f, &factor);
        ck_assert_double_le(relative(f[j], want / 4.0), 2e-7);
        ck_assert(factor == 1.0F);
    }
}
END_TEST

/* Numbers of transformers' _compute_yarn_parameters for theta 10000, 32
 * elements, factor 4, original length 256, beta 32 and 1. */
START_TEST(yarn_frequencies_are_those_of_transformers)
{
    static const double want[16] = {
        1.0,
        0.5020904689199546,
        0.24846467329894412,
        0.12066895996692689,
        0.05714285714285715,
        0.026108704383837632,
        0.011293848786315641,
        0.004445698525097307,
        0.0025,
        0.0014058533129758727,
        0.0007905694150420947,
        0.00044456985250973074,
        0.00025,
        0.00014058533129758727,
        7.905694150420948e-05,
        4.445698525097307e-05,
    };
    qn_hparams h = {.rope_dims = 32,
                    .rope_theta = 10000.0,
                    .rope_scaling = QN_ROPE_YARN,
                    .rope_factor = 4.0,
                    .rope_original_ctx = 256};
    float f[16], factor;
    qn_rope_frequencies(&h, NULL, f, &factor);
    for (int j = 0; j < 16; j++) ck_assert_double_le(relative(f[j], want[j]), 5e-7);
    ck_assert_double_le(relative(factor, 1.138629436111989), 1e-7);
    h.yarn_attn_factor = 0.5;
    h.yarn_beta_fast = 16.0;
    h.yarn_beta_slow = 1.0;
    qn_rope_frequencies(&h, NULL, f, &factor);
    ck_assert(factor == 0.5F);
    ck_assert_double_le(relative(f[15], want[15]), 5e-7);
}
END_TEST

/* A pair is a complex number times e^(i position frequency). */
START_TEST(pairs_turn_by_position_times_frequency)
{
    enum { DIMS = 10, HEAD = 14, HEADS = 3, FIRST = 1000, N = 20 };
    const float frequency[DIMS / 2] = {1.0F, 0.3F, 0.01F, 1e-4F, 0.0F};
    float turns[N * DIMS], x[HEADS * HEAD], turned[HEADS * HEAD];
    qn_random r = {5};
    qn_rope_turns(frequency, DIMS, 1.25F, FIRST, N, turns);
    for (size_t i = 0; i < N; i++) {
        qn_random_row(&r, 0, x, HEADS * HEAD);
        for (size_t e = 0; e < HEADS * HEAD; e++) turned[e] = x[e];
        qn_rope_rotate(turns + i * DIMS, DIMS, turned, HEADS, HEAD, false);
        for (size_t e = 0; e < HEADS * HEAD; e++) {
            const size_t d = e % HEAD, j = d / 2;
            if (d >= DIMS) {
                ck_assert(turned[e] == x[e]);
                continue;
            }
            const double angle = (double)(FIRST + i) * (double)frequency[j];
            const double a = (double)x[e - d % 2], b = (double)x[e - d % 2 + 1];
            const double want =
                1.25 * (d % 2 ? a * sin(angle) + b * cos(angle) : a * cos(angle) - b * sin(angle));
            ck_assert_double_eq_tol((double)turned[e], want, 1e-6);
        }
    }
}
END_TEST

/* Where a float32 angle would be off by up to 2^-8. */
START_TEST(turns_at_position_131072_keep_their_digits)
{
    enum { DIMS = 64, FIRST = 131072 - 4, N = 8 };
    float frequency[DIMS / 2], turns[N * DIMS], factor;
    const qn_hparams h = {.rope_dims = DIMS, .rope_theta = 1e6};
    qn_rope_frequencies(&h, NULL, frequency, &factor);
    qn_rope_turns(frequency, DIMS, 1.0F, FIRST, N, turns);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < DIMS / 2; j++) {
            const long double angle = (long double)(FIRST + i) * (long double)frequency[j];
            ck_assert_double_eq_tol((double)turns[i * DIMS + 2 * j], (double)cosl(angle), 6e-8);
            ck_assert_double_eq_tol((double)turns[i * DIMS + 2 * j + 1], (double)sinl(angle), 6e-8);
        }
}
END_TEST

START_TEST(a_normed_row_has_the_weights_as_its_root_mean_square)
{
    const qn_norm_fn norm = _i ? qn_rms_norm_as_ggml : qn_kernels_best()->rms_norm;
    for (size_t n = 1; n < 70; n++) {
        qn_random r = {n};
        float x[70], weight[70], out[70];
        double squares = 0.0;
        qn_random_row(&r, 0, x, n);
        qn_random_row(&r, 0, weight, n);
        for (size_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
        norm(x, weight, 1e-5, out, n);
        for (size_t i = 0; i < n; i++) {
            const double want = (double)x[i] / sqrt(squares / (double)n + 1e-5) * (double)weight[i];
            ck_assert_double_eq_tol((double)out[i], want, 3e-7 * fabs(want));
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rope");
    TCase *tc = qn_test_group(suite, "rope");
    tcase_add_test(tc, exponentials_and_logarithms_are_right_to_three_last_places);
    tcase_add_test(tc, sines_and_cosines_are_right_to_three_last_places);
    tcase_add_test(tc, sines_near_their_zeros_keep_their_digits);
    tcase_add_test(tc, frequencies_are_powers_of_theta_divided_by_what_the_scaling_says);
    tcase_add_test(tc, yarn_frequencies_are_those_of_transformers);
    tcase_add_test(tc, pairs_turn_by_position_times_frequency);
    tcase_add_test(tc, turns_at_position_131072_keep_their_digits);
    tcase_add_loop_test(tc, a_normed_row_has_the_weights_as_its_root_mean_square, 0, 2);
    return qn_test_run_suite(suite);
}
