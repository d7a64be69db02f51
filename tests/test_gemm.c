/* The GEMM against one chain of fmaf per element, to the last bit, and against
 * sums in double, for every ISA, encoding and number of threads. */
#include "validate/gemm.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/random.h"
#include "tests/support/run.h"

typedef struct {
    size_t m, rows, columns;
} shape;

/* One element; edges of tile, panel, group and block of columns, and one step
 * beyond each; few and many activations; short and long rows. */
static const shape shapes[] = {
    {1, 1, 1},     {1, 32, 64},    {1, 33, 256},  {2, 31, 32},    {3, 100, 300},
    {13, 64, 256}, {14, 64, 256},  {15, 65, 257}, {28, 32, 512},  {29, 70, 544},
    {5, 39, 2304}, {100, 5, 768},  {70, 40, 3},   {1, 64, 4608},  {4, 96, 1536},
    {5, 800, 256}, {43, 130, 640}, {200, 1, 32},  {16, 449, 384}, {17, 129, 512},
};

static const qn_dtype encodings[] = {QN_F32,  QN_F16,  QN_BF16, QN_Q8_0,
                                     QN_Q4_0, QN_Q4_K, QN_Q5_K, QN_Q6_K};

#define N_SHAPES (sizeof shapes / sizeof *shapes)
#define N_ENCODINGS (sizeof encodings / sizeof *encodings)

/* A level's table; false, having said so, where it does not run. */
static bool kernels_at(unsigned level, qn_kernels *k)
{
    bool runs = false;
    if (!qn_kernels_level(level, k, &runs)) return false;
    if (!runs) printf("skip: %s does not run here\n", k->isa);
    return runs;
}

/* Stored rows of random values, and the same decoded one by one. */
typedef struct {
    qn_reader reader;
    qn_map file;
    qn_tensor tensor;
    qn_arena *arena;
    void *bytes;
    float *values;
    const qn_rows *rows;
} weights;

static void make_weights(weights *w, qn_dtype dtype, size_t rows, size_t columns, qn_random *seed)
{
    qn_kernels k;
    ck_assert(kernels_at(0, &k));
    uint64_t row_bytes = 0;
    ck_assert(qn_dtype_row_bytes(dtype, columns, &row_bytes));
    *w = (weights){.arena = qn_arena_new(),
                   .bytes = malloc(rows * row_bytes),
                   .values = malloc(rows * columns * sizeof(float))};
    qn_random_row(seed, 0, w->values, rows * columns);
    for (size_t r = 0; r < rows; r++) {
        void *stored = (char *)w->bytes + r * row_bytes;
        k.encode[dtype](w->values + r * columns, NULL, stored, columns);
        k.decode[dtype](stored, w->values + r * columns, columns);
    }
    w->file.path = (char *)"made";
    w->reader = (qn_reader){.files = &w->file, .n_files = 1};
    w->tensor = (qn_tensor){.name = "w",
                            .dtype = dtype,
                            .rank = 2,
                            .dims = {rows, columns},
                            .data = w->bytes,
                            .bytes = rows * row_bytes};
    w->rows = qn_rows_view(w->arena, &w->reader, &w->tensor);
}

static void drop_weights(weights *w)
{
    qn_arena_free(w->arena);
    free(w->bytes);
    free(w->values);
}

static qn_gemm *gemm_of(const qn_kernels *k, int threads)
{
    qn_gemm *g = NULL;
    qn_error err;
    ck_assert_msg(!qn_gemm_new(&g, k, threads, &err), "%s", err.message);
    return g;
}

/* The definition. */
static float chain(const float *x, const float *w, size_t n)
{
    float sum = 0.0F;
    for (size_t p = 0; p < n; p++) sum = fmaf(x[p], w[p], sum);
    return sum;
}

/* Rows r0..r1 of w into a result whose rows have room to spare: every element
 * is the chain, and what lies between the rows is untouched. */
static void check_product(const qn_kernels *k, int threads, const qn_rows *rows,
                          const float *values, size_t m, uint64_t r0, uint64_t r1, qn_random *seed)
{
    const uint64_t first_seed = seed->state;
    const size_t columns = (size_t)rows->columns, n = (size_t)(r1 - r0);
    const size_t ldx = columns + 5, ldo = n + 3;
    const float canary = 1234.5F;
    float *x = malloc(m * ldx * sizeof *x), *out = malloc(m * ldo * sizeof *out);
    qn_random_row(seed, 0, x, m * ldx);
    for (size_t i = 0; i < m * ldo; i++) out[i] = canary;
    qn_gemm *g = gemm_of(k, threads);
    qn_error err;
    ck_assert_msg(!qn_gemm_run(g, x, ldx, m, rows, r0, r1, out, ldo, &err), "%s", err.message);
    for (size_t i = 0; i < m; i++) {
        for (size_t r = 0; r < n; r++) {
            const float want = chain(x + i * ldx, values + (r0 + r) * columns, columns);
            const float got = out[i * ldo + r];
            ck_assert_msg(
                memcmp(&want, &got, sizeof want) == 0,
                "%s, %d threads, %s, %zu x %zu x %zu, seed %llu: [%zu][%zu] is %a, not %a", k->isa,
                threads, qn_dtype_facts(rows->dtype)->name, m, n, columns,
                (unsigned long long)first_seed, i, r, (double)got, (double)want);
        }
        for (size_t r = n; r < ldo; r++) ck_assert(out[i * ldo + r] == canary);
    }
    qn_gemm_free(g);
    free(x);
    free(out);
}

START_TEST(each_element_is_one_chain_on_every_isa)
{
    const shape s = shapes[_i];
    for (size_t e = 0; e < N_ENCODINGS; e++) {
        if (s.columns % qn_dtype_facts(encodings[e])->block_len) continue;
        qn_random seed = {1000 + (uint64_t)_i * N_ENCODINGS + e};
        weights w;
        make_weights(&w, encodings[e], s.rows, s.columns, &seed);
        qn_kernels k;
        for (unsigned level = 0; kernels_at(level, &k); level++)
            for (int threads = 1; threads <= 3; threads++)
                check_product(&k, threads, w.rows, w.values, s.m, 0, s.rows, &seed);
        drop_weights(&w);
    }
}
END_TEST

START_TEST(a_part_of_the_rows_is_that_part_of_the_product)
{
    qn_random seed = {77};
    weights w;
    make_weights(&w, QN_Q8_0, 150, 96, &seed);
    for (int threads = 1; threads <= 3; threads++) {
        check_product(qn_kernels_best(), threads, w.rows, w.values, 17, 3, 150, &seed);
        check_product(qn_kernels_best(), threads, w.rows, w.values, 1, 31, 32, &seed);
        check_product(qn_kernels_best(), threads, w.rows, w.values, 9, 40, 115, &seed);
    }
    drop_weights(&w);
}
END_TEST

/* Rows that lie in another order than they are wanted in. */
START_TEST(permuted_rows_are_multiplied_in_their_order)
{
    const qn_dtype dtypes[] = {QN_F32, QN_BF16, QN_Q4_0};
    for (size_t e = 0; e < 3; e++) {
        qn_random seed = {5};
        weights w;
        make_weights(&w, dtypes[e], 96, 320, &seed);
        const qn_rows *permuted = qn_rows_permute(w.arena, w.rows, 3);
        float *values = malloc(96 * 320 * sizeof *values);
        for (size_t r = 0; r < 96; r++) {
            const size_t from = r / 32 * 32 + r % 32 / 2 + r % 2 * 16;
            memcpy(values + r * 320, w.values + from * 320, 320 * sizeof *values);
        }
        for (int threads = 1; threads <= 3; threads++)
            check_product(qn_kernels_best(), threads, permuted, values, 20, 0, 96, &seed);
        free(values);
        drop_weights(&w);
    }
}
END_TEST

/* float32 weights of a file whose header has an odd length. */
START_TEST(weights_at_odd_addresses_are_read)
{
    qn_random seed = {6};
    weights w;
    make_weights(&w, QN_F32, 64, 256, &seed);
    char *odd = malloc(64 * 256 * sizeof(float) + 1);
    memcpy(odd + 1, w.bytes, 64 * 256 * sizeof(float));
    w.tensor.data = odd + 1;
    check_product(qn_kernels_best(), 2, w.rows, w.values, 16, 0, 64, &seed);
    free(odd);
    drop_weights(&w);
}
END_TEST

/* A source without stored rows: row r is r in every column, but `bad` and
 * those after it cannot be had. */
static qn_status count_rows(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1,
                            float *out, qn_error *err)
{
    (void)k;
    const uint64_t bad = s->number;
    for (uint64_t r = r0; r < r1; r++) {
        if (r >= bad) return qn_fail(err, QN_ERR_UNSUPPORTED, "row %llu", (unsigned long long)r);
        for (uint64_t c = 0; c < s->columns; c++) *out++ = (float)r;
    }
    return QN_OK;
}

START_TEST(computed_rows_are_multiplied)
{
    qn_random seed = {8};
    const qn_rows rows = {.rows = 500, .columns = 700, .decode = count_rows, .number = UINT64_MAX};
    float *values = malloc(500 * 700 * sizeof *values);
    for (size_t i = 0; i < 500 * 700; i++) values[i] = (float)(i / 700);
    for (int threads = 1; threads <= 3; threads++) {
        check_product(qn_kernels_best(), threads, &rows, values, 19, 0, 500, &seed);
        check_product(qn_kernels_best(), threads, &rows, values, 1, 17, 300, &seed);
    }
    free(values);
}
END_TEST

START_TEST(the_lowest_row_that_fails_is_reported_whatever_the_timing)
{
    const qn_rows rows = {.rows = 500, .columns = 64, .decode = count_rows, .number = 170};
    static float x[20][64], out[20][500];
    for (int threads = 1; threads <= 3; threads++) {
        for (int again = 0; again < 20; again++) {
            qn_error err = {0};
            qn_gemm *g = gemm_of(qn_kernels_best(), threads);
            ck_assert_int_eq(qn_gemm_run(g, x[0], 64, 20, &rows, 0, 500, out[0], 500, &err),
                             QN_ERR_UNSUPPORTED);
            ck_assert_str_eq(err.message, "row 170");
            qn_gemm_free(g);
        }
    }
}
END_TEST

START_TEST(an_encoding_without_a_decoder_is_refused)
{
    qn_map file = {.path = (char *)"made"};
    const qn_reader reader = {.files = &file, .n_files = 1};
    static const uint8_t bytes[64];
    const qn_tensor tensor = {
        .name = "codes", .dtype = QN_I8, .rank = 2, .dims = {2, 32}, .data = bytes, .bytes = 64};
    qn_arena *arena = qn_arena_new();
    float x[32] = {0}, out[2] = {5.0F, 6.0F};
    qn_error err = {0};
    qn_gemm *g = gemm_of(qn_kernels_best(), 1);
    const qn_rows *rows = qn_rows_view(arena, &reader, &tensor);
    ck_assert_int_eq(qn_gemm_run(g, x, 32, 1, rows, 0, 2, out, 2, &err), QN_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "codes"));
    ck_assert(out[0] == 5.0F && out[1] == 6.0F);
    qn_gemm_free(g);
    qn_arena_free(arena);
}
END_TEST

/* Against sums in double: a chain of n roundings errs by less than
 * n 2^-24 sum |x w| (Higham, 2002, section 3.1). */
START_TEST(products_are_right_within_the_bound_of_a_chain)
{
    enum { M = 20, ROWS = 70, COLUMNS = 3000 };
    qn_random seed = {9};
    weights w;
    make_weights(&w, QN_F32, ROWS, COLUMNS, &seed);
    float *x = malloc(M * COLUMNS * sizeof *x), *out = malloc(M * ROWS * sizeof *out);
    qn_random_row(&seed, 0, x, M * COLUMNS);
    qn_gemm *g = gemm_of(qn_kernels_best(), 2);
    ck_assert(!qn_gemm_run(g, x, COLUMNS, M, w.rows, 0, ROWS, out, ROWS, NULL));
    for (size_t i = 0; i < M; i++) {
        for (size_t r = 0; r < ROWS; r++) {
            double sum = 0.0, sizes = 0.0;
            for (size_t p = 0; p < COLUMNS; p++) {
                const double product =
                    (double)x[i * COLUMNS + p] * (double)w.values[r * COLUMNS + p];
                sum += product;
                sizes += fabs(product);
            }
            ck_assert_double_le(fabs((double)out[i * ROWS + r] - sum), COLUMNS * 0x1p-24 * sizes);
        }
    }
    qn_gemm_free(g);
    free(x);
    free(out);
    drop_weights(&w);
}
END_TEST

START_TEST(one_gemm_serves_products_of_growing_and_shrinking_sizes)
{
    qn_random seed = {10};
    weights small, large;
    make_weights(&small, QN_Q8_0, 33, 64, &seed);
    make_weights(&large, QN_F32, 200, 1100, &seed);
    qn_gemm *g = gemm_of(qn_kernels_best(), 2);
    static float x[30 * 1100], out[30 * 200];
    qn_random_row(&seed, 0, x, 30 * 1100);
    for (int turn = 0; turn < 4; turn++) {
        const weights *w = turn % 2 ? &large : &small;
        const size_t rows = (size_t)w->rows->rows, columns = (size_t)w->rows->columns;
        ck_assert(!qn_gemm_run(g, x, columns, 30, w->rows, 0, rows, out, rows, NULL));
        for (size_t i = 0; i < 30; i += 29)
            for (size_t r = 0; r < rows; r++)
                ck_assert(out[i * rows + r] ==
                          chain(x + i * columns, w->values + r * columns, columns));
    }
    qn_gemm_free(g);
    drop_weights(&small);
    drop_weights(&large);
}
END_TEST

START_TEST(no_memory_is_reported_at_every_allocation)
{
    qn_random seed = {11};
    weights w;
    make_weights(&w, QN_F32, 64, 64, &seed);
    float x[64] = {0}, out[64];
    bool passed = false;
    for (unsigned long n = 1; n < 50 && !passed; n++) {
        qn_gemm *g = NULL;
        qn_error err = {0};
        qn_alloc_fail_at(n);
        qn_status status = qn_gemm_new(&g, qn_kernels_best(), 2, &err);
        if (!status) status = qn_gemm_run(g, x, 64, 1, w.rows, 0, 64, out, 64, &err);
        qn_alloc_fail_at(0);
        ck_assert(status == QN_OK || status == QN_ERR_MEMORY);
        passed = status == QN_OK;
        qn_gemm_free(g);
        ck_assert(n > 1 || !passed);
    }
    ck_assert(passed);
    drop_weights(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gemm");
    TCase *tc = qn_test_group(suite, "gemm");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, each_element_is_one_chain_on_every_isa, 0, (int)N_SHAPES);
    tcase_add_test(tc, a_part_of_the_rows_is_that_part_of_the_product);
    tcase_add_test(tc, permuted_rows_are_multiplied_in_their_order);
    tcase_add_test(tc, weights_at_odd_addresses_are_read);
    tcase_add_test(tc, computed_rows_are_multiplied);
    tcase_add_test(tc, the_lowest_row_that_fails_is_reported_whatever_the_timing);
    tcase_add_test(tc, an_encoding_without_a_decoder_is_refused);
    tcase_add_test(tc, products_are_right_within_the_bound_of_a_chain);
    tcase_add_test(tc, one_gemm_serves_products_of_growing_and_shrinking_sizes);
    tcase_add_test(tc, no_memory_is_reported_at_every_allocation);
    return qn_test_run_suite(suite);
}
