/* What kernels compute, at every level, against what it stands for: formulas in
 * double, the formats' specifications, ggml's numbers. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/kernels.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

enum { LEVELS = 8, SEED = 4711 }; /* more than there are */

/* Level `level`; false, and a word, when it does not run here. */
static bool runs_here(int level, qn_kernels *k)
{
    bool runs = false;
    if (!qn_kernels_level((unsigned)level, k, &runs)) return false; /* not in this build */
    if (!runs) printf("skip: %s does not run here\n", k->isa);
    return runs;
}

/* ---- encodings: numbers and sizes ------------------------------------------------------ */

/* enum ggml_type of ggml.h; elements and bytes of a block as ggml-common.h
 * asserts them (q8_1 as there: gguf-py's table says 40). */
static const struct {
    const char *name;
    int ggml_id;
    unsigned elements, bytes;
} ggml[] = {
    {"F32", 0, 1, 4},         {"F16", 1, 1, 2},         {"Q4_0", 2, 32, 18},
    {"Q4_1", 3, 32, 20},      {"Q5_0", 6, 32, 22},      {"Q5_1", 7, 32, 24},
    {"Q8_0", 8, 32, 34},      {"Q8_1", 9, 32, 36},      {"Q2_K", 10, 256, 84},
    {"Q3_K", 11, 256, 110},   {"Q4_K", 12, 256, 144},   {"Q5_K", 13, 256, 176},
    {"Q6_K", 14, 256, 210},   {"Q8_K", 15, 256, 292},   {"IQ2_XXS", 16, 256, 66},
    {"IQ2_XS", 17, 256, 74},  {"IQ3_XXS", 18, 256, 98}, {"IQ1_S", 19, 256, 50},
    {"IQ4_NL", 20, 32, 18},   {"IQ3_S", 21, 256, 110},  {"IQ2_S", 22, 256, 82},
    {"IQ4_XS", 23, 256, 136}, {"I8", 24, 1, 1},         {"I16", 25, 1, 2},
    {"I32", 26, 1, 4},        {"I64", 27, 1, 8},        {"F64", 28, 1, 8},
    {"IQ1_M", 29, 256, 56},   {"BF16", 30, 1, 2},       {"TQ1_0", 34, 256, 54},
    {"TQ2_0", 35, 256, 66},   {"MXFP4", 39, 32, 17},    {"NVFP4", 40, 64, 36},
    {"Q1_0", 41, 128, 18},    {"Q2_0", 42, 64, 18},
};

START_TEST(encodings_have_ggmls_numbers_and_sizes)
{
    const int known = (int)(sizeof ggml / sizeof ggml[0]);
    int numbered = 0;
    for (int i = 0; i < known; i++) {
        qn_dtype t;
        ck_assert_msg(qn_dtype_by_name(ggml[i].name, &t), "no %s", ggml[i].name);
        const qn_dtype_info *f = qn_dtype_facts(t);
        ck_assert_msg(f->ggml_id == ggml[i].ggml_id && f->block_len == ggml[i].elements &&
                          f->block_bytes == ggml[i].bytes,
                      "%s: number %d, %u elements in %u bytes", f->name, f->ggml_id, f->block_len,
                      f->block_bytes);
    }
    for (int t = 0; t < QN_DTYPE_COUNT; t++) numbered += qn_dtype_facts((qn_dtype)t)->ggml_id >= 0;
    ck_assert_int_eq(numbered, known);
}
END_TEST

/* ---- small floats ---------------------------------------------------------------------- */

/* Sign, exponent, mantissa.  float16 and bfloat16: IEEE 754 and its cut; E5M2
 * and E4M3: OCP OFP8; E2M1: OCP Microscaling Formats. */
typedef struct {
    qn_dtype dtype;
    int exponent_bits, mantissa_bits, bias;
    bool infinite; /* the largest exponent means infinity or NaN */
} float_format;

static const float_format formats[] = {
    {QN_F16, 5, 10, 15, true},    {QN_BF16, 8, 7, 127, true}, {QN_F8_E5M2, 5, 2, 15, true},
    {QN_F8_E4M3, 4, 3, 7, false}, {QN_F4, 2, 1, 1, false},
};

static double value_of(const float_format *f, unsigned code)
{
    const unsigned steps = 1u << f->mantissa_bits, mantissa = code % steps;
    const unsigned exponent = code / steps % (1u << f->exponent_bits);
    const double sign = code >> (f->exponent_bits + f->mantissa_bits) ? -1.0 : 1.0;
    if (f->dtype == QN_F8_E4M3 && (code & 0x7f) == 0x7f) return NAN;
    if (f->infinite && exponent == (1u << f->exponent_bits) - 1)
        return mantissa ? NAN : sign * INFINITY;
    const double fraction = (double)mantissa / steps;
    if (!exponent) return sign * ldexp(fraction, 1 - f->bias);
    return sign * ldexp(1.0 + fraction, (int)exponent - f->bias);
}

static void same_value(const qn_kernels *k, qn_dtype t, unsigned code, float got, double want)
{
    const bool same =
        isnan(want) ? isnan(got) : (double)got == want && !signbit(got) == !signbit(want);
    ck_assert_msg(same, "%s, %s: %#x is %a, not %a", qn_dtype_facts(t)->name, k->isa, code,
                  (double)got, want);
}

START_TEST(every_code_of_a_small_float_has_its_formulas_value)
{
    static uint16_t codes[65536];
    static float values[65536];
    qn_kernels k;
    if (!runs_here(_i, &k)) return;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        const float_format *f = &formats[i];
        const int bits = 1 + f->exponent_bits + f->mantissa_bits;
        uint8_t *bytes = (uint8_t *)codes;
        for (unsigned c = 0; c < 1u << bits; c++) {
            if (bits == 16) codes[c] = (uint16_t)c;
            if (bits == 8) bytes[c] = (uint8_t)c;
            if (bits == 4) bytes[c / 2] = (uint8_t)(c % 2 ? bytes[c / 2] | c << 4 : c);
        }
        k.decode[f->dtype](codes, values, 1u << bits);
        for (unsigned c = 0; c < 1u << bits; c++)
            same_value(&k, f->dtype, c, values[c], value_of(f, c));
    }
}
END_TEST

START_TEST(e8m0_is_a_power_of_two)
{
    uint8_t codes[256];
    float values[256];
    qn_kernels k;
    if (!runs_here(_i, &k)) return;
    for (unsigned c = 0; c < 256; c++) codes[c] = (uint8_t)c;
    k.decode[QN_F8_E8M0](codes, values, 256);
    for (unsigned c = 0; c < 256; c++)
        same_value(&k, QN_F8_E8M0, c, values[c], c == 255 ? NAN : ldexp(1.0, (int)c - 127));
}
END_TEST

/* Halfway between two codes, a float below and a float above; the last two
 * neighbours are the largest number and infinity, which stands for the next
 * power of two. */
START_TEST(narrowing_takes_the_nearest_and_of_two_the_even_one)
{
    qn_kernels k;
    if (!runs_here(_i, &k)) return;
    for (size_t i = 0; i < 2; i++) {
        const float_format *f = &formats[i];
        const unsigned infinity = ((1u << f->exponent_bits) - 1) << f->mantissa_bits;
        const double top = ldexp(1.0, (1 << f->exponent_bits) - 1 - f->bias);
        for (unsigned c = 0; c < infinity; c++) {
            const double above = c + 1 == infinity ? top : value_of(f, c + 1);
            const float middle = (float)((value_of(f, c) + above) / 2);
            const float below = nextafterf(middle, 0.0f), beyond = nextafterf(middle, INFINITY);
            const float x[6] = {below, middle, beyond, -below, -middle, -beyond};
            const unsigned even = c + c % 2, sign = 0x8000;
            const unsigned want[6] = {c, even, c + 1, sign | c, sign | even, sign | (c + 1)};
            uint16_t got[6];
            k.encode[f->dtype](x, NULL, got, 6);
            for (int j = 0; j < 6; j++)
                ck_assert_msg(got[j] == want[j], "%s, %s: %a gives %#x, not %#x",
                              qn_dtype_facts(f->dtype)->name, k.isa, (double)x[j], got[j], want[j]);
        }
    }
}
END_TEST

/* float16's becomes the quiet one of its sign, bfloat16's keeps what fits: as ggml's. */
START_TEST(a_nan_is_narrowed_to_a_nan)
{
    enum { N = 64 };
    qn_kernels k;
    qn_random r = {SEED};
    float x[N];
    uint16_t half[N], brain[N];
    if (!runs_here(_i, &k)) return;
    for (int i = 0; i < N; i++) {
        const uint32_t payload = i < 23 ? 1u << i : 1 + (uint32_t)qn_random_bits(&r) % 0x7fffff;
        x[i] = qn_float_of_bits((i % 2 ? 0xff800000 : 0x7f800000) | payload);
    }
    k.encode[QN_F16](x, NULL, half, N);
    k.encode[QN_BF16](x, NULL, brain, N);
    for (int i = 0; i < N; i++) {
        const uint32_t bits = qn_float_bits(x[i]);
        ck_assert_uint_eq(half[i], (bits >> 16 & 0x8000) | 0x7e00);
        ck_assert_uint_eq(brain[i], bits >> 16 | 0x40);
    }
}
END_TEST

START_TEST(a_double_is_rounded_once_and_may_lie_anywhere)
{
    static const double x[] = {0.1, 1 + 0x1p-24, 1 + 0x1.8p-23, -0x1.ffffffp127, 1e300, -1e-300};
    static const float want[] = {0.1f, 1.0f, 1 + 0x1p-22f, -INFINITY, INFINITY, -0.0f};
    enum { N = sizeof x / sizeof x[0] };
    char bytes[sizeof x + 1];
    float got[N];
    qn_kernels k;
    if (!runs_here(_i, &k)) return;
    memcpy(bytes + 1, x, sizeof x);
    k.decode[QN_F64](bytes + 1, got, N);
    for (unsigned i = 0; i < N; i++) same_value(&k, QN_F64, i, got[i], (double)want[i]);
}
END_TEST

/* ---- vector maths ------------------------------------------------------------------------- */

enum { LONG = 1003 };

typedef struct {
    qn_kernels k;
    float x[LONG], y[LONG];
} two_rows;

static bool random_rows(int level, two_rows *rows)
{
    qn_random r = {SEED};
    if (!runs_here(level, &rows->k)) return false;
    qn_random_row(&r, 1, rows->x, LONG); /* up to some hundreds */
    qn_random_row(&r, 0, rows->y, LONG);
    return true;
}

/* A sum of n products errs by less than n roundings of the sum of their sizes. */
START_TEST(a_dot_is_the_sum_of_products)
{
    two_rows v;
    if (!random_rows(_i, &v)) return;
    for (size_t n = 0; n <= LONG; n += 17) {
        double sum = 0.0, size = 0.0;
        for (size_t i = 0; i < n; i++) {
            sum += (double)v.x[i] * (double)v.y[i];
            size += fabs((double)v.x[i] * (double)v.y[i]);
        }
        const double got = (double)v.k.dot(v.x, v.y, n);
        ck_assert_msg(fabs(got - sum) <= (double)n * 0x1p-24 * size, "%s, n %zu, seed %d: %a, %a",
                      v.k.isa, n, SEED, got, sum);
    }
}
END_TEST

/* Within half a unit in the last place of a * x + y: rounded once, so fused. */
START_TEST(axpy_rounds_once)
{
    static float y[LONG];
    two_rows v;
    const float a = 0.7f;
    if (!random_rows(_i, &v)) return;
    memcpy(y, v.y, sizeof y);
    v.k.axpy(a, v.x, y, LONG);
    for (size_t i = 0; i < LONG; i++) {
        const double want = fma((double)a, (double)v.x[i], (double)v.y[i]);
        ck_assert_msg(fabs((double)y[i] - want) <= fabs(want) * 0x1.000001p-24,
                      "%s, seed %d: [%zu] is %a, not %a", v.k.isa, SEED, i, (double)y[i], want);
    }
}
END_TEST

/* Each exponential within two units in the last place, their sum within n roundings. */
START_TEST(exp_sum_gives_exponentials_and_their_sum)
{
    static float e[LONG];
    two_rows v;
    if (!random_rows(_i, &v)) return;
    const float most = v.k.max(v.x, LONG);
    double sum = 0.0;
    for (size_t i = 0; i < LONG; i++) ck_assert(v.x[i] <= most);
    memcpy(e, v.x, sizeof e);
    const double got = (double)v.k.exp_sum(e, most, LONG);
    for (size_t i = 0; i < LONG; i++) {
        const double want = exp((double)(v.x[i] - most));
        const double slack = want * 0x1p-22 + (want < 1.3e-38 ? want : 0.0);
        ck_assert_msg(fabs((double)e[i] - want) <= slack, "%s, seed %d: [%zu] is %a, not %a",
                      v.k.isa, SEED, i, (double)e[i], want);
        sum += (double)e[i];
    }
    ck_assert_msg(fabs(got - sum) <= LONG * 0x1p-24 * sum, "%s: %a, not %a", v.k.isa, got, sum);
}
END_TEST

/* Two units for the exponential, half a unit for each of the other four steps;
 * an exponential below 2^-126 counts as 0. */
START_TEST(silu_mul_is_x_by_its_sigmoid_by_up)
{
    static float gate[LONG];
    two_rows v;
    if (!random_rows(_i, &v)) return;
    memcpy(gate, v.x, sizeof gate);
    v.k.silu_mul(gate, v.y, LONG);
    for (size_t i = 0; i < LONG; i++) {
        const double x = (double)v.x[i], up = (double)v.y[i];
        const double want = x / (1.0 + exp(-x)) * up;
        const double slack = fabs(want) * 4.0 * 0x1p-23 + fabs(x * up) * 0x1p-125;
        ck_assert_msg(fabs((double)gate[i] - want) <= slack, "%s, seed %d: [%zu] is %a, not %a",
                      v.k.isa, SEED, i, (double)gate[i], want);
    }
}
END_TEST

/* The argument's roundings grow with it in the exponential. */
START_TEST(gelu_mul_is_gelus_tanh_form_by_up)
{
    static float gate[LONG];
    two_rows v;
    if (!random_rows(_i, &v)) return;
    memcpy(gate, v.x, sizeof gate);
    v.k.gelu_mul(gate, v.y, LONG);
    for (size_t i = 0; i < LONG; i++) {
        const double x = (double)v.x[i], up = (double)v.y[i];
        const double z = 2.0 * sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
        const double want = x / (1.0 + exp(-z)) * up;
        const double slack = fabs(want) * (4.0 + 2.0 * fabs(z)) * 0x1p-23 + fabs(x * up) * 0x1p-125;
        ck_assert_msg(fabs((double)gate[i] - want) <= slack, "%s, seed %d: [%zu] is %a, not %a",
                      v.k.isa, SEED, i, (double)gate[i], want);
    }
}
END_TEST

START_TEST(soft_cap_is_the_cap_by_a_hyperbolic_tangent)
{
    static float x[LONG];
    two_rows v;
    if (!random_rows(_i, &v)) return;
    for (float cap = 0.5F; cap < 100.0F; cap *= 3.0F) {
        memcpy(x, v.x, sizeof x);
        v.k.soft_cap(x, cap, LONG);
        for (size_t i = 0; i < LONG; i++) {
            const double want = (double)cap * tanh((double)v.x[i] / (double)cap);
            ck_assert_msg(fabs((double)x[i] - want) <= 3.0 * 0x1p-23 * fabs(want),
                          "%s, seed %d: [%zu] is %a, not %a", v.k.isa, SEED, i, (double)x[i], want);
        }
    }
}
END_TEST

START_TEST(the_largest_element_is_found_wherever_it_is)
{
    qn_kernels k;
    if (!runs_here(_i, &k)) return;
    for (size_t n = 1; n < 70; n++)
        for (size_t at = 0; at < n; at++) {
            float x[70];
            for (size_t i = 0; i < n; i++) x[i] = -3.0f - (float)i;
            x[at] = -2.5f;
            ck_assert_msg(k.max(x, n) == -2.5f, "%s: missed [%zu] of %zu", k.isa, at, n);
        }
}
END_TEST

/* ---- choosing ------------------------------------------------------------------------------- */

START_TEST(a_cap_names_a_level_that_runs_here)
{
    ck_assert(!qn_kernels_cap("avx1024"));
    ck_assert(!qn_kernels_cap(""));
    ck_assert(qn_kernels_cap("scalar"));
    ck_assert_str_eq(qn_kernels_best()->isa, "scalar");
}
END_TEST

START_TEST(there_is_no_level_past_the_last)
{
    qn_kernels k;
    bool runs;
    ck_assert(!qn_kernels_level(1000, &k, &runs));
    ck_assert(qn_kernels_level(0, &k, &runs) && runs);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("values of kernels");
    TCase *c = tcase_create("values");
    tcase_add_test(c, encodings_have_ggmls_numbers_and_sizes);
    tcase_add_loop_test(c, every_code_of_a_small_float_has_its_formulas_value, 0, LEVELS);
    tcase_add_loop_test(c, e8m0_is_a_power_of_two, 0, LEVELS);
    tcase_add_loop_test(c, narrowing_takes_the_nearest_and_of_two_the_even_one, 0, LEVELS);
    tcase_add_loop_test(c, a_nan_is_narrowed_to_a_nan, 0, LEVELS);
    tcase_add_loop_test(c, a_double_is_rounded_once_and_may_lie_anywhere, 0, LEVELS);
    tcase_add_loop_test(c, a_dot_is_the_sum_of_products, 0, LEVELS);
    tcase_add_loop_test(c, axpy_rounds_once, 0, LEVELS);
    tcase_add_loop_test(c, exp_sum_gives_exponentials_and_their_sum, 0, LEVELS);
    tcase_add_loop_test(c, silu_mul_is_x_by_its_sigmoid_by_up, 0, LEVELS);
    tcase_add_loop_test(c, gelu_mul_is_gelus_tanh_form_by_up, 0, LEVELS);
    tcase_add_loop_test(c, soft_cap_is_the_cap_by_a_hyperbolic_tangent, 0, LEVELS);
    tcase_add_loop_test(c, the_largest_element_is_found_wherever_it_is, 0, LEVELS);
    tcase_add_test(c, a_cap_names_a_level_that_runs_here);
    tcase_add_test(c, there_is_no_level_past_the_last);
    suite_add_tcase(s, c);
    return qn_test_run_suite(s);
}
