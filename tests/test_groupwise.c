/* Integers with group scales: what the ecosystems' own quantizers make of the
 * same rows, and a slow double loop over the formulas. */
#include "quant/groupwise.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/reader.h"
#include "kernels/half.h"
#include "tests/support/data.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

enum { MOST = 512 };

/* ---- the ecosystems' quantizers ----------------------------------------------------- */

static const void *golden(const qn_reader *r, const char *name, const char *what)
{
    char full[64];
    snprintf(full, sizeof full, "%s.%s", name, what);
    const qn_tensor *t = qn_reader_find(r, full);
    ck_assert_msg(t != NULL, "%s", full);
    return t->data;
}

/* "4-128-a-bf16" */
static qn_groupwise how_of(const char *name, bool mlx)
{
    char *end;
    qn_groupwise how = {.bits = name[0] == '8' ? 8 : 4};
    how.group = strtoull(name + 2, &end, 10);
    if (end == name + 2) how.group = 256, end++; /* "c" */
    const char kind = end[1];
    const char *type = end + 3;
    how.grid = mlx ? QN_GRID_BIAS : kind == 'a' ? QN_GRID_ZERO_POINT : QN_GRID_SYMMETRIC;
    ck_assert(qn_dtype_by_name(type, &how.scale_dtype));
    return how;
}

static void same_as_golden(const qn_reader *r, const char *name, bool mlx)
{
    const qn_groupwise how = how_of(name, mlx);
    const float *x = qn_reader_find(r, "x")->data;
    const uint8_t *codes = golden(r, name, "codes");
    const float *scales = golden(r, name, "scales");
    const float *biases = mlx ? golden(r, name, "biases") : NULL;
    const int32_t *zeros = mlx ? NULL : golden(r, name, "zeros");
    const uint64_t groups = 256 / how.group;
    for (unsigned row = 0; row < 8; row++) {
        uint8_t got_codes[256], got_zeros[256];
        float got_scales[256], got_biases[256];
        uint64_t bad;
        const qn_groupwise_row got = {got_codes, got_scales, got_zeros, got_biases};
        ck_assert(qn_groupwise_encode(&how, x + row * 256, 256, &got, &bad));
        for (unsigned g = 0; g < groups; g++) {
            const float *group = x + row * 256 + g * how.group;
            bool zero = true;
            for (unsigned i = 0; i < how.group; i++) zero = zero && group[i] == 0;
            ck_assert_msg(got_scales[g] == scales[row * groups + g], "%s row %u group %u: %a %a",
                          name, row, g, (double)got_scales[g], (double)scales[row * groups + g]);
            if (mlx) ck_assert(got_biases[g] == biases[row * groups + g]);
            if (zero && !mlx) continue; /* upstream's zero point is 0 / 0 */
            if (zeros) ck_assert_int_eq(got_zeros[g], zeros[row * groups + g]);
            for (unsigned i = 0; i < how.group; i++)
                ck_assert_msg(got_codes[g * how.group + i] == codes[row * 256 + g * how.group + i],
                              "%s row %u group %u value %u: %u %u", name, row, g, i,
                              got_codes[g * how.group + i], codes[row * 256 + g * how.group + i]);
        }
    }
}

static void every_case_is_as(const char *file, const char *const *names, size_t n, bool mlx)
{
    qn_error err = {0};
    qn_reader *r = NULL;
    const char *path = qn_test_data(file);
    if (!path) return;
    ck_assert_msg(!qn_reader_open(&r, path, &err), "%s", err.message);
    for (size_t i = 0; i < n; i++) same_as_golden(r, names[i], mlx);
    qn_reader_close(r);
}

START_TEST(integers_scales_and_zeros_are_those_of_compressed_tensors)
{
    static const char *const names[] = {"4-32-s-bf16", "4-128-s-f16", "4-128-a-bf16",
                                        "4-64-a-f32",  "4-c-a-bf16",  "8-c-s-bf16",
                                        "8-32-a-f32",  "8-128-a-f16"};
    every_case_is_as("packed/quantizers-ct.safetensors", names, 8, false);
}
END_TEST

START_TEST(integers_scales_and_biases_are_those_of_mlx)
{
    static const char *const names[] = {"4-32-a-bf16", "4-64-a-f32",  "4-128-a-bf16",
                                        "8-32-a-f32",  "8-64-a-bf16", "8-128-a-bf16"};
    every_case_is_as("packed/quantizers-mlx.safetensors", names, 6, true);
}
END_TEST

/* ---- a slow loop over the formulas ------------------------------------------------------ */

/* Each operation in double and rounded: the float32 result, because 53 bits are
 * more than twice 24 and two. */
static double f(double v)
{
    return (double)(float)v;
}

static double kept(qn_dtype t, double v)
{
    if (t == QN_F16) return (double)qn_half_value(qn_half_of((float)v));
    if (t == QN_BF16) return (double)qn_bfloat16_value(qn_bfloat16_of((float)v));
    return v;
}

typedef struct {
    double scale, zero, bias;         /* as read; zero counted from code 0 */
    double coding_scale, coding_bias; /* as codes are made with */
} slow_grid;

static slow_grid slow_with_bias(const qn_groupwise *how, double lo, double hi, double n)
{
    const bool below = fabs(lo) > fabs(hi);
    double scale = fmax(f(f(hi - lo) / n), (double)1e-7f), bias = 0;
    if (!below) scale = -scale;
    const double edge = below ? lo : hi, steps = rint(f(edge / scale));
    if (steps != 0) scale = f(edge / steps), bias = edge;
    return (slow_grid){kept(how->scale_dtype, scale), 0, kept(how->scale_dtype, bias), scale, bias};
}

static slow_grid slow_grid_of(const qn_groupwise *how, double lo, double hi)
{
    const double n = how->bits == 4 ? 15 : 255, half = (n + 1) / 2;
    const double epsilon = how->scale_dtype == QN_F16    ? ldexp(1, -10)
                           : how->scale_dtype == QN_BF16 ? ldexp(1, -7)
                                                         : ldexp(1, -23);
    if (how->grid == QN_GRID_BIAS) return slow_with_bias(how, lo, hi, n);
    if (lo > 0) lo = 0;
    if (hi < 0) hi = 0;
    double scale, zero = 0;
    if (how->grid == QN_GRID_SYMMETRIC) {
        scale = f(fmax(-lo, hi) / (n / 2));
    } else {
        scale = f(f(hi - lo) / n);
        zero = scale == 0 ? -half : f(-half - f(lo / scale));
        zero = rint(fmin(fmax(zero, -half), half - 1));
        if (how->grid == QN_GRID_ZERO_FROM_1 && zero == -half) {
            zero = 1 - half;
            scale = f(hi / (n - 1));
        }
    }
    scale = kept(how->scale_dtype, scale);
    if (scale == 0) scale = epsilon;
    return (slow_grid){scale, zero + half, 0, scale, 0};
}

static double slow_code(const qn_groupwise *how, const slow_grid *g, double x)
{
    const double n = how->bits == 4 ? 15 : 255, half = (n + 1) / 2;
    if (how->grid == QN_GRID_BIAS) {
        const double v = f(f(x - g->coding_bias) / g->coding_scale);
        return fmin(fmax(rint(v), 0), n);
    }
    const double v = f(f(x / g->scale) + (g->zero - half));
    return fmin(fmax(rint(v), -half), half - 1) + half;
}

static double slow_value(const slow_grid *g, double code)
{
    return f(f(g->scale * (code - g->zero)) + g->bias);
}

static double lowest(const float *x, uint64_t n)
{
    float v = x[0];
    for (uint64_t i = 1; i < n; i++)
        if (x[i] < v) v = x[i];
    return (double)v;
}

static double highest(const float *x, uint64_t n)
{
    float v = x[0];
    for (uint64_t i = 1; i < n; i++)
        if (x[i] > v) v = x[i];
    return (double)v;
}

static double slow_error(const qn_groupwise *how, const float *x, double factor)
{
    const double lo = lowest(x, how->group), hi = highest(x, how->group);
    double sum = 0;
    const slow_grid g = slow_grid_of(how, f(lo * factor), f(hi * factor));
    for (unsigned i = 0; i < how->group; i++) {
        const double d = slow_value(&g, slow_code(how, &g, (double)x[i])) - (double)x[i];
        sum += d * d;
    }
    return sum;
}

static const qn_dtype types[] = {QN_F32, QN_F16, QN_BF16};

static void check_minmax(const qn_groupwise *how, const float *x, const char *where)
{
    uint8_t codes[MOST], zeros[MOST];
    float scales[MOST], biases[MOST], values[MOST];
    uint64_t bad;
    const qn_groupwise_row got = {codes, scales, zeros, biases};
    ck_assert_msg(qn_groupwise_encode(how, x, MOST, &got, &bad), "%s", where);
    qn_groupwise_decode(how, &got, MOST, values);
    for (unsigned group = 0; group < MOST / how->group; group++) {
        const uint64_t from = group * how->group;
        const slow_grid g =
            slow_grid_of(how, lowest(x + from, how->group), highest(x + from, how->group));
        ck_assert_msg((double)scales[group] == g.scale, "%s: scale %u: %a, not %a", where, group,
                      (double)scales[group], g.scale);
        if (how->grid == QN_GRID_BIAS)
            ck_assert((double)biases[group] == g.bias);
        else
            ck_assert_msg(zeros[group] == g.zero, "%s: zero %u: %u, not %g", where, group,
                          zeros[group], g.zero);
        for (uint64_t i = from; i < from + how->group; i++) {
            const double code = slow_code(how, &g, (double)x[i]);
            if (codes[i] != code || (double)values[i] != slow_value(&g, code))
                ck_abort_msg("%s: code %llu of %a: %u, not %g; value %a", where,
                             (unsigned long long)i, (double)x[i], codes[i], code,
                             (double)values[i]);
        }
    }
}

START_TEST(rows_of_every_kind_follow_the_formulas)
{
    static const uint64_t groups[] = {32, 64, 128, MOST};
    qn_random random = {11};
    for (int kind = 0; kind < QN_ROW_KINDS; kind++)
        for (unsigned grid = QN_GRID_SYMMETRIC; grid <= QN_GRID_BIAS; grid++)
            for (unsigned i = 0; i < 24; i++) {
                float x[MOST];
                char where[96];
                const qn_groupwise how = {.grid = (qn_grid)grid,
                                          .bits = i % 2 ? 8 : 4,
                                          .group = groups[i / 2 % 4],
                                          .scale_dtype = types[i / 8]};
                qn_random_row(&random, kind, x, MOST);
                if (i % 3 == 1)
                    for (unsigned j = 0; j < MOST; j++) x[j] = fabsf(x[j]);
                if (i % 3 == 2)
                    for (unsigned j = 0; j < MOST; j++) x[j] = -fabsf(x[j]) - 0.25F;
                snprintf(where, sizeof where, "row kind %d, grid %u, int%u, group %llu, %s", kind,
                         grid, how.bits, (unsigned long long)how.group,
                         qn_dtype_facts(how.scale_dtype)->name);
                check_minmax(&how, x, where);
            }
}
END_TEST

START_TEST(no_zero_point_from_1_is_0)
{
    float x[64];
    uint8_t codes[64], zeros[1];
    float scales[1];
    uint64_t bad;
    const qn_groupwise how = {
        .grid = QN_GRID_ZERO_FROM_1, .bits = 4, .group = 64, .scale_dtype = QN_F16};
    const qn_groupwise_row got = {codes, scales, zeros, NULL};
    for (unsigned i = 0; i < 64; i++) x[i] = (float)i;
    ck_assert(qn_groupwise_encode(&how, x, 64, &got, &bad));
    ck_assert_uint_eq(zeros[0], 1);
    ck_assert(scales[0] == 4.5F); /* 63 / 14 */
    ck_assert_uint_eq(codes[0], 1);
    ck_assert_uint_eq(codes[63], 15);
    memset(x, 0, sizeof x);
    ck_assert(qn_groupwise_encode(&how, x, 64, &got, &bad));
    ck_assert_uint_eq(zeros[0], 1);
    ck_assert_uint_eq(codes[40], 1);
}
END_TEST

/* ---- the search -------------------------------------------------------------------------- */

START_TEST(the_search_finds_the_part_of_the_range_that_loses_least)
{
    qn_random random = {12};
    unsigned better = 0;
    for (unsigned i = 0; i < 96; i++) {
        float x[MOST], scales[MOST], biases[MOST], values[MOST];
        uint8_t codes[MOST], zeros[MOST];
        uint64_t bad;
        const qn_groupwise how = {.grid = (qn_grid)(i % 4),
                                  .clip = QN_CLIP_MSE,
                                  .bits = i / 4 % 2 ? 8 : 4,
                                  .group = i / 8 % 2 ? 128 : MOST,
                                  .scale_dtype = types[i % 3]};
        const qn_groupwise_row got = {codes, scales, zeros, biases};
        qn_random_row(&random, i % 3, x, MOST);
        ck_assert(qn_groupwise_encode(&how, x, MOST, &got, &bad));
        qn_groupwise_decode(&how, &got, MOST, values);
        for (unsigned g = 0; g < MOST / how.group; g++) {
            const float *first = x + g * how.group;
            double sum = 0, least = INFINITY;
            for (unsigned j = 0; j < how.group; j++) {
                const double d = (double)values[g * how.group + j] - (double)first[j];
                sum += d * d;
            }
            for (int step = 64; step >= 16; step--)
                least = fmin(least, slow_error(&how, first, step / 64.0));
            /* Sums in float32 may tell two equal parts apart. */
            ck_assert_msg(sum <= least * (1 + 1e-5), "case %u group %u: %g, not %g", i, g, sum,
                          least);
            better += sum < slow_error(&how, first, 1) * 0.95;
        }
    }
    ck_assert_uint_gt(better, 50);
}
END_TEST

/* ---- what cannot be stored ------------------------------------------------------------------ */

START_TEST(a_scale_beyond_its_type_is_told_by_group)
{
    float x[128] = {0};
    uint8_t codes[128], zeros[4];
    float scales[4], biases[4];
    uint64_t bad = 99;
    const qn_groupwise_row got = {codes, scales, zeros, biases};
    for (unsigned grid = QN_GRID_SYMMETRIC; grid <= QN_GRID_BIAS; grid++) {
        qn_groupwise how = {.grid = (qn_grid)grid, .bits = 4, .group = 32, .scale_dtype = QN_F16};
        x[70] = 2e6F;
        ck_assert(!qn_groupwise_encode(&how, x, 128, &got, &bad));
        ck_assert_uint_eq(bad, 2);
        how.scale_dtype = QN_BF16;
        ck_assert(qn_groupwise_encode(&how, x, 128, &got, &bad));
        x[70] = 3e38F;
        x[71] = -3e38F;
        if (grid != QN_GRID_SYMMETRIC) ck_assert(!qn_groupwise_encode(&how, x, 128, &got, &bad));
        x[71] = 0;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("groupwise");
    TCase *tcase = qn_test_group(suite, "groupwise");
    tcase_add_test(tcase, integers_scales_and_zeros_are_those_of_compressed_tensors);
    tcase_add_test(tcase, integers_scales_and_biases_are_those_of_mlx);
    tcase_add_test(tcase, rows_of_every_kind_follow_the_formulas);
    tcase_add_test(tcase, no_zero_point_from_1_is_0);
    tcase_add_test(tcase, the_search_finds_the_part_of_the_range_that_loses_least);
    tcase_add_test(tcase, a_scale_beyond_its_type_is_told_by_group);
    return qn_test_run_suite(suite);
}
