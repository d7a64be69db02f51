/* Rows of any type to a panel, and times a token, against rows that the scalar
 * code decodes one by one and chains of fmaf: any bytes, at odd addresses, up to
 * the end of what may be read. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/kernels.h"
#include "tests/support/guard.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

enum { MOST_LEVELS = 8, SEED = 4711 };

/* Rows of one type, decoded too: values[row][n]. */
typedef struct {
    const void *rows[QN_PANEL];
    float *values;
    size_t n;
} rows;

static void make_rows(rows *out, const qn_kernels *scalar, qn_dtype t, size_t n, qn_random *r)
{
    uint64_t bytes;
    ck_assert(qn_dtype_row_bytes(t, n, &bytes));
    *out = (rows){.n = n, .values = qn_guarded(QN_PANEL * n * sizeof(float))};
    for (size_t i = 0; i < QN_PANEL; i++) {
        uint8_t *row = qn_guarded(bytes);
        for (size_t b = 0; b < bytes; b++) row[b] = (uint8_t)qn_random_bits(r);
        scalar->decode[t](row, out->values + i * n, n);
        out->rows[i] = row;
    }
}

static bool same(float want, float got)
{
    return (isnan(want) && isnan(got)) || qn_float_bits(want) == qn_float_bits(got);
}

static void check_unpack(const qn_kernels *k, qn_dtype t, const rows *w)
{
    float *panel = qn_guarded(w->n * QN_PANEL * sizeof *panel);
    k->unpack[t](w->rows, w->rows[0], w->n, panel);
    for (size_t p = 0; p < w->n; p++)
        for (size_t i = 0; i < QN_PANEL; i++) {
            const float want = w->values[i * w->n + p], got = panel[p * QN_PANEL + i];
            ck_assert_msg(
                same(want, got), "%s, %s, seed %d: row %zu, column %zu of %zu is %a, not %a",
                qn_dtype_facts(t)->name, k->isa, SEED, i, p, w->n, (double)got, (double)want);
        }
}

static void check_token(const qn_kernels *k, qn_dtype t, const rows *w, qn_random *r)
{
    float *x = qn_guarded(w->n * sizeof *x), *sums = qn_guarded(QN_PANEL * sizeof *sums);
    float want[QN_PANEL];
    qn_random_row(r, 0, x, w->n);
    qn_random_row(r, 0, want, QN_PANEL);
    memcpy(sums, want, sizeof want);
    k->token[t](w->rows, w->rows[0], x, w->n, sums);
    for (size_t i = 0; i < QN_PANEL; i++) {
        for (size_t p = 0; p < w->n; p++) want[i] = fmaf(x[p], w->values[i * w->n + p], want[i]);
        ck_assert_msg(
            same(want[i], sums[i]), "%s, %s, seed %d: row %zu of %zu columns is %a, not %a",
            qn_dtype_facts(t)->name, k->isa, SEED, i, w->n, (double)sums[i], (double)want[i]);
    }
}

START_TEST(rows_reach_panels_and_sums_as_decode_gives_them)
{
    qn_kernels scalar, k;
    bool runs;
    ck_assert(qn_kernels_level(0, &scalar, &runs));
    if (!qn_kernels_level((unsigned)_i, &k, &runs)) return; /* not in this build */
    if (!runs) {
        printf("skip: %s does not run here\n", k.isa);
        return;
    }
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        const size_t block = (size_t)qn_dtype_facts((qn_dtype)t)->block_len;
        ck_assert(!k.unpack[t] == !k.token[t]);
        if (!k.unpack[t]) continue;
        for (size_t blocks = 1; blocks < 80; blocks += block == 1 ? 13 : 40) {
            qn_random r = {SEED};
            rows w;
            make_rows(&w, &scalar, (qn_dtype)t, blocks * block, &r);
            check_unpack(&k, (qn_dtype)t, &w);
            check_token(&k, (qn_dtype)t, &w, &r);
        }
    }
}
END_TEST

/* Where random bytes would make most sums NaN. */
START_TEST(ordinary_rows_give_ordinary_sums)
{
    qn_kernels scalar, k;
    bool runs;
    ck_assert(qn_kernels_level(0, &scalar, &runs));
    if (!qn_kernels_level((unsigned)_i, &k, &runs) || !runs) return; /* said above */
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        if (!k.token[t] || !k.encode[t]) continue;
        enum { N = 768 };
        static uint8_t blocks[QN_PANEL][N * sizeof(float)];
        qn_random r = {SEED};
        rows w = {.n = N, .values = qn_guarded(QN_PANEL * N * sizeof(float))};
        for (size_t i = 0; i < QN_PANEL; i++) {
            qn_random_row(&r, (int)(i % QN_ROW_KINDS), w.values + i * N, N);
            scalar.encode[t](w.values + i * N, NULL, blocks[i], N);
            scalar.decode[t](blocks[i], w.values + i * N, N);
            w.rows[i] = blocks[i];
        }
        check_unpack(&k, (qn_dtype)t, &w);
        check_token(&k, (qn_dtype)t, &w, &r);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("panel");
    TCase *tc = qn_test_group(suite, "panel");
    tcase_add_loop_test(tc, rows_reach_panels_and_sums_as_decode_gives_them, 0, MOST_LEVELS);
    tcase_add_loop_test(tc, ordinary_rows_give_ordinary_sums, 0, MOST_LEVELS);
    return qn_test_run_suite(suite);
}
