/* Rows that no model's smooth weights have, quantized as ggml does
 * (tests/data/quant-vectors/nasty/README.md says how the files were made). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"
#include "kernels/kernels.h"
#include "tests/support/run.h"

enum { ROWS = 30, COLUMNS = 1024, LEVELS = 3 };

static const struct {
    const char *name;
    qn_dtype dtype;
} types[] = {
    {"f16", QN_F16},   {"bf16", QN_BF16}, {"q8_0", QN_Q8_0}, {"q4_0", QN_Q4_0}, {"q4_1", QN_Q4_1},
    {"q5_0", QN_Q5_0}, {"q5_1", QN_Q5_1}, {"q4_K", QN_Q4_K}, {"q5_K", QN_Q5_K}, {"q6_K", QN_Q6_K},
};

static char *load(const char *name, size_t *n)
{
    char path[256], *bytes;
    qn_error err = {0};
    snprintf(path, sizeof path, "tests/data/quant-vectors/nasty/%s", name);
    ck_assert_msg(!qn_read_file(path, 1 << 20, &bytes, n, &err), "%s", err.message);
    return bytes;
}

/* Whether rows.tsv says that ggml's own code is undefined for this cell. */
static bool undefined_there(const char *table, unsigned row, const char *type)
{
    char start[16], cell[64] = "";
    snprintf(start, sizeof start, "\n%u\t", row);
    const char *line = strstr(table, start);
    ck_assert_ptr_nonnull(line);
    ck_assert_int_eq(sscanf(line, "%*u\t%*[^\t]\t%63[^\t]", cell), 1);
    for (char *word = strtok(cell, " "); word; word = strtok(NULL, " "))
        if (strcmp(word, type) == 0) return true;
    return false;
}

START_TEST(awkward_rows_have_ggmls_bytes)
{
    const size_t n_types = sizeof types / sizeof types[0], t = (size_t)_i % n_types;
    qn_kernels k;
    bool runs;
    if (!qn_kernels_level((unsigned)((size_t)_i / n_types), &k, &runs) || !runs) return;
    size_t n_x, n_want, n_table;
    char file[32];
    uint64_t bytes;
    snprintf(file, sizeof file, "%s.noim.bin", types[t].name);
    char *table = load("rows.tsv", &n_table), *x = load("input.f32", &n_x);
    char *want = load(file, &n_want), *got;
    ck_assert(qn_dtype_row_bytes(types[t].dtype, COLUMNS, &bytes));
    ck_assert_uint_eq(n_x, ROWS * COLUMNS * sizeof(float));
    ck_assert_uint_eq(n_want, ROWS * bytes);
    ck_assert_ptr_nonnull(got = qn_alloc(1, bytes));
    float row[COLUMNS];
    for (unsigned r = 0; r < ROWS; r++) {
        if (undefined_there(table, r, types[t].name)) continue;
        memcpy(row, x + r * sizeof row, sizeof row);
        k.encode[types[t].dtype](row, NULL, got, COLUMNS);
        ck_assert_msg(memcmp(got, want + r * bytes, bytes) == 0, "%s, %s: row %u differs",
                      types[t].name, k.isa, r);
    }
    qn_free(got);
    qn_free(want);
    qn_free(x);
    qn_free(table);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("awkward rows");
    TCase *c = tcase_create("ggml");
    tcase_add_loop_test(c, awkward_rows_have_ggmls_bytes, 0,
                        LEVELS * (int)(sizeof types / sizeof types[0]));
    suite_add_tcase(s, c);
    return qn_test_run_suite(s);
}
