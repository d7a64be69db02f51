/* Every level of kernels against the scalar one, to the last bit; the scalar
 * ones against formulas in double. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/half.h"
#include "kernels/kernels.h"
#include "tests/support/guard.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

enum { MAX_LEVELS = 8, SEED = 20260 };

/* Scalar and level `level`; false, and a word, when it does not run here. */
static bool levels(unsigned level, qn_kernels *scalar, qn_kernels *other)
{
    bool runs;
    ck_assert(qn_kernels_level(0, scalar, &runs));
    if (!qn_kernels_level(level, other, &runs)) return false; /* not in this build */
    if (!runs) printf("skip: %s does not run here\n", other->isa);
    return runs;
}

static float *random_floats(qn_random *r, size_t n, size_t kind)
{
    float *x = qn_guarded(n * sizeof *x);
    qn_random_row(r, (int)(kind % QN_ROW_KINDS), x, n);
    return x;
}

static void same_floats(const char *what, const char *isa, const float *want, const float *got,
                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(qn_float_bits(want[i]) == qn_float_bits(got[i]),
                      "%s, %s, n %zu, seed %d: [%zu] is %a, scalar says %a", what, isa, n, SEED, i,
                      (double)got[i], (double)want[i]);
}

START_TEST(vector_maths_is_the_same_on_every_isa)
{
    qn_kernels scalar, other;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &other)) return;
    for (size_t n = 1; n < 200; n++) {
        float *x = random_floats(&r, n, n), *w = random_floats(&r, n, n / 8);
        const float want_dot = scalar.dot(x, w, n), got_dot = other.dot(x, w, n);
        same_floats("dot", other.isa, &want_dot, &got_dot, 1);
        ck_assert(scalar.max(x, n) == other.max(x, n));
        ck_assert(other.finite(x, n));

        float *a = qn_guarded(n * sizeof *a), *b = qn_guarded(n * sizeof *b);
        memcpy(a, x, n * sizeof *a);
        memcpy(b, x, n * sizeof *b);
        scalar.axpy(1.7f, w, a, n);
        other.axpy(1.7f, w, b, n);
        same_floats("axpy", other.isa, a, b, n);

        const float want_sum = scalar.exp_sum(a, 3.0f, n), got_sum = other.exp_sum(b, 3.0f, n);
        same_floats("exp", other.isa, a, b, n);
        same_floats("exp_sum", other.isa, &want_sum, &got_sum, 1);

        memcpy(a, x, n * sizeof *a);
        memcpy(b, x, n * sizeof *b);
        scalar.silu_mul(a, w, n);
        other.silu_mul(b, w, n);
        same_floats("silu_mul", other.isa, a, b, n);

        scalar.gelu_mul(a, w, n);
        other.gelu_mul(b, w, n);
        same_floats("gelu_mul", other.isa, a, b, n);

        memcpy(a, x, n * sizeof *a);
        memcpy(b, x, n * sizeof *b);
        scalar.soft_cap(a, 3.0f, n);
        other.soft_cap(b, 3.0f, n);
        same_floats("soft_cap", other.isa, a, b, n);

        scalar.rms_norm(x, n % 3 ? w : NULL, 1e-5, a, n);
        memcpy(b, x, n * sizeof *b);
        other.rms_norm(b, n % 3 ? w : NULL, 1e-5, b, n);
        same_floats("rms_norm", other.isa, a, b, n);
    }
}
END_TEST

START_TEST(squares_are_added_the_same_on_every_isa)
{
    enum { MOST = 100, ROWS = 5 };
    qn_kernels scalar, other;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &other)) return;
    for (size_t n = 1; n < MOST; n++) {
        const size_t stride = n + n % 3;
        float *x = random_floats(&r, (ROWS - 1) * stride + n, n);
        double *sums = qn_guarded(n * sizeof *sums), want[MOST], got[MOST];
        for (size_t j = 0; j < n; j++) want[j] = got[j] = sums[j] = (double)j / 3.0;
        scalar.add_squares(x, stride, ROWS, want, n);
        other.add_squares(x, stride, ROWS, sums, n);
        for (size_t i = 0; i < ROWS; i++)
            for (size_t j = 0; j < n; j++)
                got[j] = fma((double)x[i * stride + j], (double)x[i * stride + j], got[j]);
        ck_assert_msg(!memcmp(want, sums, n * sizeof *sums), "%s, n %zu, seed %d", other.isa, n,
                      SEED);
        ck_assert_msg(!memcmp(want, got, n * sizeof *sums), "by the formula, n %zu", n);
    }
}
END_TEST

START_TEST(low_rank_sums_are_a_product_in_double_on_every_isa)
{
    enum { MOST_M = 19, MOST_K = 9, N = 3 * QN_LOW_RANK_COLUMNS };
    qn_kernels scalar, other;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &other)) return;
    for (size_t m = 1; m <= MOST_M; m++) {
        const size_t k = m % MOST_K, lda = k + m % 2, ldd = N + m % 3, last = (m - 1) * ldd + N;
        const float *b = random_floats(&r, MOST_K * N, m), *of = random_floats(&r, m * lda + 1, 0);
        double *a = qn_guarded((m * lda + 1) * sizeof *a), *got = qn_guarded(last * sizeof *got);
        double want[MOST_M * (N + 2)] = {0}, plain[MOST_M * (N + 2)] = {0};
        for (size_t i = 0; i <= m * lda; i++) a[i] = (double)of[i];
        for (size_t i = 0; i < last; i++) want[i] = got[i] = plain[i] = (double)i / 3.0;
        scalar.add_low_rank(0.3, a, lda, m, b, N, k, want, ldd, N);
        other.add_low_rank(0.3, a, lda, m, b, N, k, got, ldd, N);
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < N; j++) {
                double sum = 0;
                for (size_t p = 0; p < k; p++) sum = fma(a[i * lda + p], (double)b[p * N + j], sum);
                plain[i * ldd + j] += 0.3 * sum;
            }
        ck_assert_msg(!memcmp(want, got, last * sizeof *got), "%s, m %zu, seed %d", other.isa, m,
                      SEED);
        ck_assert_msg(!memcmp(want, plain, last * sizeof *got), "by the formula, m %zu", m);
    }
}
END_TEST

START_TEST(doubles_are_added_and_rounded_once_on_every_isa)
{
    qn_kernels scalar, other;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &other)) return;
    for (size_t n = 1; n < 60; n++) {
        float *x = random_floats(&r, n, n), *y = qn_guarded(n * sizeof *y), want[60];
        double *d = qn_guarded(n * sizeof *d);
        memcpy(y, x, n * sizeof *y);
        for (size_t i = 0; i < n; i++) {
            d[i] = (double)x[n - 1 - i] / 7.0;
            want[i] = (float)((double)x[i] + d[i]);
        }
        scalar.add_doubles(d, x, n);
        other.add_doubles(d, y, n);
        same_floats("add_doubles", other.isa, x, y, n);
        same_floats("add_doubles", "the formula", want, x, n);
    }
}
END_TEST

START_TEST(one_value_that_is_not_finite_is_found_wherever_it_is)
{
    qn_kernels scalar, k;
    if (!levels((unsigned)_i, &scalar, &k)) return;
    for (size_t n = 1; n < 70; n++)
        for (size_t at = 0; at < n; at++) {
            float *x = qn_guarded(n * sizeof *x);
            x[at] = at % 3 ? -INFINITY : NAN;
            ck_assert_msg(!k.finite(x, n), "%s: missed [%zu] of %zu", k.isa, at, n);
        }
}
END_TEST

START_TEST(a_tile_is_the_same_on_every_isa)
{
    qn_kernels scalar, other;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &other)) return;
    for (size_t m = 1; m <= QN_TILE_MAX; m++)
        for (size_t k = 1; k < 80; k += 13) {
            const size_t lda = k + m % 3;
            float *a = random_floats(&r, m * lda, k + m),
                  *rows = random_floats(&r, QN_PANEL * k, 0);
            float *want_panel = qn_guarded(QN_PANEL * k * sizeof *want_panel);
            float *panel = qn_guarded(QN_PANEL * k * sizeof *panel);
            const size_t here = 1 + (m * k) % QN_PANEL;
            scalar.pack(rows, k, here, k, want_panel);
            other.pack(rows, k, here, k, panel);
            same_floats("pack", other.isa, want_panel, panel, QN_PANEL * k);

            float *want = random_floats(&r, m * QN_PANEL, 0);
            float *got = qn_guarded(m * QN_PANEL * sizeof *got);
            memcpy(got, want, m * QN_PANEL * sizeof *got);
            scalar.gemm_tile(a, lda, m, panel, k, want, QN_PANEL, k % 2);
            other.gemm_tile(a, lda, m, panel, k, got, QN_PANEL, k % 2);
            same_floats("gemm_tile", other.isa, want, got, m * QN_PANEL);
        }
}
END_TEST

START_TEST(a_tile_is_a_product_of_matrices)
{
    qn_kernels scalar, k;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &k)) return;
    const size_t depth = 300, m = 13;
    float *a = random_floats(&r, m * depth, 0), *w = random_floats(&r, QN_PANEL * depth, 0);
    float *panel = qn_guarded(QN_PANEL * depth * sizeof *panel), c[13 * QN_PANEL];
    k.pack(w, depth, QN_PANEL, depth, panel);
    k.gemm_tile(a, depth, m, panel, depth, c, QN_PANEL, false);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < QN_PANEL; j++) {
            double sum = 0.0, size = 0.0;
            for (size_t p = 0; p < depth; p++) {
                sum += (double)a[i * depth + p] * (double)w[j * depth + p];
                size += fabs((double)a[i * depth + p] * (double)w[j * depth + p]);
            }
            const double difference = fabs((double)c[i * QN_PANEL + j] - sum);
            ck_assert_msg(difference <= size * (double)depth * 0x1p-24, "%g is not %g",
                          (double)c[i * QN_PANEL + j], sum);
        }
}
END_TEST

/* Encoded by the scalar code, decoded by both. */
START_TEST(decoding_is_the_same_on_every_isa)
{
    qn_kernels scalar, other;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &other)) return;
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        if (!scalar.encode[t]) continue;
        const size_t step = qn_dtype_facts((qn_dtype)t)->block_len;
        for (size_t n = step; n <= step * 5 + (step == 1 ? 60 : 0); n += step) {
            uint64_t bytes;
            ck_assert(qn_dtype_row_bytes((qn_dtype)t, n, &bytes));
            float *x = random_floats(&r, n, n / step);
            uint8_t *blocks = qn_guarded(bytes);
            scalar.encode[t](x, NULL, blocks, n);
            float *want = qn_guarded(n * sizeof *want), *got = qn_guarded(n * sizeof *got);
            scalar.decode[t](blocks, want, n);
            other.decode[t](blocks, got, n);
            same_floats(qn_dtype_facts((qn_dtype)t)->name, other.isa, want, got, n);
        }
    }
}
END_TEST

START_TEST(encoding_is_the_same_on_every_isa)
{
    qn_kernels scalar, other;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &other)) return;
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        if (!scalar.encode[t]) continue;
        for (size_t kind = 0; kind < 2 * QN_ROW_KINDS; kind++) {
            /* an odd number of blocks: registers that take several are not always full */
            const size_t n = (2 * kind + 1) * qn_dtype_facts((qn_dtype)t)->block_len;
            uint64_t bytes;
            ck_assert(qn_dtype_row_bytes((qn_dtype)t, n, &bytes));
            float *x = random_floats(&r, n, kind), *w = random_floats(&r, n, 0);
            for (size_t i = 0; i < n; i++) w[i] = i % 5 ? w[i] * w[i] : 0.0f;
            const float *importance = kind < QN_ROW_KINDS ? NULL : w;
            uint8_t *want = qn_guarded(bytes), *got = qn_guarded(bytes + kind % 2);
            scalar.encode[t](x, importance, want, n);
            other.encode[t](x, importance, got, n);
            ck_assert_msg(memcmp(want, got, bytes) == 0, "%s, %s, row kind %zu, seed %d",
                          qn_dtype_facts((qn_dtype)t)->name, other.isa, kind, SEED);
        }
    }
}
END_TEST

/* Finite values of any size and importance that is often zero: infinite and
 * undefined weights, scales and sums among them. */
START_TEST(searching_noise_is_the_same_on_every_isa)
{
    static const qn_dtype lattices[] = {QN_IQ1_S, QN_IQ1_M,   QN_IQ2_XXS, QN_IQ2_XS,
                                        QN_IQ2_S, QN_IQ3_XXS, QN_IQ3_S};
    enum { N = 3 * QN_SUPER };
    qn_kernels scalar, other;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &other)) return;
    int exponent = 0;
    for (int round = 0; round < 12; round++) {
        float *x = qn_guarded(N * sizeof *x), *w = qn_guarded(N * sizeof *w);
        for (size_t i = 0; i < N; i++) {
            const uint32_t bits = (uint32_t)qn_random_bits(&r);
            if (i % 16 == 0 || round % 2) exponent = (int)(bits >> 24) - 135;
            x[i] = ldexpf(qn_random_normal(&r), exponent);
            if (!isfinite(x[i]) || bits % 8 == 0) x[i] = bits & 8 ? 0.0f : -0.0f;
            w[i] = bits & 48 ? ldexpf(1.0f, (int)(bits >> 6 & 127) - 64) : 0.0f;
        }
        for (size_t t = 0; t < sizeof lattices / sizeof lattices[0]; t++)
            for (int weighted = 0; weighted < 2; weighted++) {
                uint64_t bytes;
                ck_assert(qn_dtype_row_bytes(lattices[t], N, &bytes));
                uint8_t *want = qn_guarded(bytes), *got = qn_guarded(bytes);
                scalar.encode[lattices[t]](x, weighted ? w : NULL, want, N);
                other.encode[lattices[t]](x, weighted ? w : NULL, got, N);
                ck_assert_msg(memcmp(want, got, bytes) == 0,
                              "%s, %s, round %d, weighted %d, seed %d",
                              qn_dtype_facts(lattices[t])->name, other.isa, round, weighted, SEED);
            }
    }
}
END_TEST

/* 16-bit floats of any bits, NaNs and infinities among them. */
START_TEST(narrowing_noise_is_the_same_on_every_isa)
{
    enum { N = 4099 };
    qn_kernels scalar, other;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &other)) return;
    float *x = qn_guarded(N * sizeof *x);
    for (size_t i = 0; i < N; i++) x[i] = qn_float_of_bits((uint32_t)qn_random_bits(&r));
    x[17] = NAN, x[18] = INFINITY, x[19] = -INFINITY, x[20] = 65519.99f, x[21] = 65520.0f;
    for (int t = QN_F16; t <= QN_BF16; t++) {
        uint16_t *want = qn_guarded(N * sizeof *want), *got = qn_guarded(N * sizeof *got);
        scalar.encode[t](x, NULL, want, N);
        other.encode[t](x, NULL, got, N);
        for (size_t i = 0; i < N; i++)
            ck_assert_msg(want[i] == got[i], "%s, %s: %a is %04x, scalar says %04x",
                          qn_dtype_facts((qn_dtype)t)->name, other.isa, (double)x[i], got[i],
                          want[i]);
    }
}
END_TEST

/* Any bytes decode alike: NaNs, infinities, every code; also at odd addresses,
 * where a file may have them. */
START_TEST(decoding_noise_is_the_same_on_every_isa)
{
    qn_kernels scalar, other;
    qn_random r = {SEED};
    if (!levels((unsigned)_i, &scalar, &other)) return;
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        if (!scalar.decode[t]) continue;
        uint64_t bytes;
        const size_t n = 4096 + 3 * (size_t)qn_dtype_facts((qn_dtype)t)->block_len; /* and a tail */
        ck_assert(qn_dtype_row_bytes((qn_dtype)t, n, &bytes));
        uint8_t *blocks = qn_guarded(bytes + 1 - bytes % 2);
        for (size_t i = 0; i < bytes; i++) blocks[i] = (uint8_t)qn_random_bits(&r);
        float *want = qn_guarded(n * sizeof *want), *got = qn_guarded(n * sizeof *got);
        scalar.decode[t](blocks, want, n);
        other.decode[t](blocks, got, n);
        for (size_t i = 0; i < n; i++)
            ck_assert_msg((isnan(want[i]) && isnan(got[i])) ||
                              qn_float_bits(want[i]) == qn_float_bits(got[i]),
                          "%s, %s: [%zu] is %a, scalar says %a", qn_dtype_facts((qn_dtype)t)->name,
                          other.isa, i, (double)got[i], (double)want[i]);
    }
}
END_TEST

START_TEST(the_exponential_is_within_two_ulp)
{
    qn_kernels k;
    bool runs;
    ck_assert(qn_kernels_level(0, &k, &runs));
    for (float x = -87.2f; x <= 0.0f; x += 0.00137f) {
        float y = x;
        k.exp_sum(&y, 0.0f, 1);
        const double want = exp((double)x), ulp = (double)(nextafterf(y, INFINITY) - y);
        ck_assert_msg(fabs((double)y - want) <= 2.0 * ulp, "e^%a is %a, not %a", (double)x,
                      (double)y, want);
    }
    float far[3] = {-88.0f, -INFINITY, 0.0f};
    ck_assert(k.exp_sum(far, 0.0f, 3) == 1.0f);
    ck_assert(far[0] == 0.0f && far[1] == 0.0f && far[2] == 1.0f);
}
END_TEST

#ifdef __FLT16_MANT_DIG__
__extension__ typedef _Float16 float16;
#endif

START_TEST(float16_rounds_as_the_compiler_does)
{
#ifdef __FLT16_MANT_DIG__
    qn_random r = {SEED};
    for (uint32_t h = 0; h < 0x10000; h++) {
        float16 f;
        const uint16_t bits = (uint16_t)h;
        memcpy(&f, &bits, sizeof f);
        const float want = (float)f, got = qn_half_value(bits);
        ck_assert((isnan(want) && isnan(got)) || qn_float_bits(want) == qn_float_bits(got));
    }
    for (int i = 0; i < 3000000; i++) {
        const float x = qn_float_of_bits((uint32_t)qn_random_bits(&r));
        if (isnan(x)) continue;
        const float16 f = (float16)x;
        uint16_t want;
        memcpy(&want, &f, sizeof want);
        ck_assert_msg(qn_half_of(x) == want, "%a: %04x, not %04x", (double)x, qn_half_of(x), want);
    }
#else
    printf("skip: this compiler has no _Float16\n");
#endif
}
END_TEST

START_TEST(names_lead_to_encodings_and_back)
{
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        const qn_dtype_info *f = qn_dtype_facts((qn_dtype)t);
        qn_dtype back;
        ck_assert(qn_dtype_by_name(f->name, &back) && back == (qn_dtype)t);
        if (f->ggml_id >= 0)
            ck_assert(qn_dtype_by_ggml((uint32_t)f->ggml_id, &back) && back == (qn_dtype)t);
        if (f->safetensors)
            ck_assert(qn_dtype_by_safetensors(f->safetensors, &back) && back == (qn_dtype)t);
    }
    qn_dtype none = QN_F16;
    ck_assert(!qn_dtype_by_ggml(4, &none) && !qn_dtype_by_ggml(31, &none));
    ck_assert(!qn_dtype_by_name("Q4_K_M", &none) && none == QN_F16);
}
END_TEST

START_TEST(a_row_is_whole_blocks_and_its_size_fits)
{
    uint64_t bytes = 7;
    ck_assert(!qn_dtype_row_bytes(QN_Q4_K, 4095, &bytes));
    ck_assert(!qn_dtype_row_bytes(QN_F64, UINT64_MAX / 4, &bytes));
    ck_assert_uint_eq(bytes, 7);
    ck_assert(qn_dtype_row_bytes(QN_Q4_K, 4096, &bytes));
    ck_assert_uint_eq(bytes, 16 * 144);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kernels");
    TCase *c = tcase_create("levels");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, vector_maths_is_the_same_on_every_isa, 1, MAX_LEVELS);
    tcase_add_loop_test(c, squares_are_added_the_same_on_every_isa, 0, MAX_LEVELS);
    tcase_add_loop_test(c, low_rank_sums_are_a_product_in_double_on_every_isa, 0, MAX_LEVELS);
    tcase_add_loop_test(c, doubles_are_added_and_rounded_once_on_every_isa, 0, MAX_LEVELS);
    tcase_add_loop_test(c, one_value_that_is_not_finite_is_found_wherever_it_is, 0, MAX_LEVELS);
    tcase_add_loop_test(c, a_tile_is_the_same_on_every_isa, 1, MAX_LEVELS);
    tcase_add_loop_test(c, a_tile_is_a_product_of_matrices, 0, MAX_LEVELS);
    tcase_add_loop_test(c, decoding_is_the_same_on_every_isa, 1, MAX_LEVELS);
    tcase_add_loop_test(c, encoding_is_the_same_on_every_isa, 1, MAX_LEVELS);
    tcase_add_loop_test(c, searching_noise_is_the_same_on_every_isa, 1, MAX_LEVELS);
    tcase_add_loop_test(c, narrowing_noise_is_the_same_on_every_isa, 1, MAX_LEVELS);
    tcase_add_loop_test(c, decoding_noise_is_the_same_on_every_isa, 1, MAX_LEVELS);
    tcase_add_test(c, the_exponential_is_within_two_ulp);
    tcase_add_test(c, float16_rounds_as_the_compiler_does);
    tcase_add_test(c, names_lead_to_encodings_and_back);
    tcase_add_test(c, a_row_is_whole_blocks_and_its_size_fits);
    suite_add_tcase(s, c);
    return qn_test_run_suite(s);
}
