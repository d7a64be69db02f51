/* Row sources: views, the permutation of q and k, stacks, selections, values in
 * memory. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/rows.h"
#include "formats/writer.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

enum { HEADS = 3, GROUP = 8, ROWS = HEADS * GROUP, COLUMNS = 5 };

/* A file with "w" (F32, value = 100 * row + column) and "h" (the same in I8,
 * which has no values to give), opened. */
static qn_reader *opened(void)
{
    static const uint64_t dims[] = {HEADS, GROUP, COLUMNS};
    float values[ROWS][COLUMNS];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) values[r][c] = (float)(100 * r + c);
    qn_writer *w = NULL;
    uint64_t total;
    const char *path = qn_test_path("rows.gguf");
    ck_assert_int_eq(qn_writer_create(&w, &qn_format_gguf, path, true, NULL, 0, NULL), QN_OK);
    ck_assert_int_eq(qn_writer_declare(w, "w", QN_F32, 3, dims, NULL), QN_OK);
    ck_assert_int_eq(qn_writer_declare(w, "h", QN_I8, 3, dims, NULL), QN_OK);
    ck_assert_int_eq(qn_writer_plan(w, &total, NULL), QN_OK);
    ck_assert_int_eq(qn_writer_begin(w, NULL), QN_OK);
    ck_assert_int_eq(qn_writer_put(w, 0, 0, values, sizeof values, NULL), QN_OK);
    ck_assert_int_eq(qn_writer_put(w, 1, 0, values, ROWS * COLUMNS, NULL), QN_OK);
    ck_assert_int_eq(qn_writer_commit(w, NULL), QN_OK);
    qn_reader *r = NULL;
    ck_assert_int_eq(qn_reader_open(&r, path, NULL), QN_OK);
    return r;
}

/* Row r of s must be row want of the file, decoded and raw. */
static void check_row(const qn_rows *s, uint64_t r, uint64_t want)
{
    float out[COLUMNS];
    ck_assert_int_eq(s->decode(s, qn_kernels_best(), r, r + 1, out, NULL), QN_OK);
    for (unsigned c = 0; c < COLUMNS; c++)
        ck_assert_msg(out[c] == (float)(100 * want + c), "row %llu, column %u: %g",
                      (unsigned long long)r, c, (double)out[c]);
    ck_assert_int_eq(memcmp(s->raw(s, r), out, sizeof out), 0);
}

START_TEST(a_view_gives_the_tensors_rows)
{
    qn_reader *r = opened();
    qn_arena *a = qn_arena_new();
    const qn_rows *s = qn_rows_view(a, r, qn_reader_find(r, "w"));
    ck_assert(s->rows == ROWS && s->columns == COLUMNS && s->dtype == QN_F32);
    ck_assert_uint_eq(s->source_bytes, ROWS * COLUMNS * sizeof(float));
    float out[ROWS * COLUMNS];
    ck_assert_int_eq(s->decode(s, qn_kernels_best(), 2, ROWS, out, NULL), QN_OK);
    ck_assert_float_eq(out[0], 200);
    ck_assert_float_eq(out[(ROWS - 2) * COLUMNS - 1], 100 * (ROWS - 1) + COLUMNS - 1);
    for (uint64_t i = 0; i < ROWS; i++) {
        check_row(s, i, i);
        s->done(s, i, i + 1);
        check_row(s, i, i);
    }
    qn_arena_free(a);
    qn_reader_close(r);
}
END_TEST

START_TEST(a_view_without_a_decoder_says_so_and_still_has_bytes)
{
    qn_reader *r = opened();
    qn_arena *a = qn_arena_new();
    qn_error err = {0};
    float out[COLUMNS];
    qn_tensor t = *qn_reader_find(r, "h");
    const qn_rows *s = qn_rows_view(a, r, &t);
    ck_assert_int_eq(s->decode(s, qn_kernels_best(), 0, 1, out, &err), QN_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "tensor h: I8 cannot be read as numbers yet"));
    ck_assert_ptr_eq(s->raw(s, 3), (const char *)t.data + 3 * COLUMNS);
    qn_arena_free(a);
    qn_reader_close(r);
}
END_TEST

START_TEST(a_view_of_several_rows_equals_its_rows_one_by_one)
{
    enum { N = 4, WIDE = 64 };
    static const uint64_t dims[] = {N, WIDE};
    uint8_t blocks[N * WIDE / 32 * 34];
    for (size_t i = 0; i < sizeof blocks; i++) blocks[i] = i % 34 == 1 ? 0x3c : (uint8_t)(i * 37);
    char path[] = "q.gguf";
    qn_map file = {.data = blocks, .size = sizeof blocks, .path = path};
    qn_reader reader = {.files = &file, .n_files = 1};
    qn_tensor t = {
        .name = "q", .dtype = QN_Q8_0, .rank = 2, .data = blocks, .bytes = sizeof blocks};
    memcpy(t.dims, dims, sizeof dims);
    qn_arena *a = qn_arena_new();
    const qn_rows *s = qn_rows_view(a, &reader, &t);
    float together[N * WIDE], apart[WIDE];
    ck_assert_int_eq(s->decode(s, qn_kernels_best(), 0, N, together, NULL), QN_OK);
    for (uint64_t r = 0; r < N; r++) {
        ck_assert_int_eq(s->decode(s, qn_kernels_best(), r, r + 1, apart, NULL), QN_OK);
        ck_assert_int_eq(memcmp(apart, together + r * WIDE, sizeof apart), 0);
        ck_assert_ptr_eq(s->raw(s, r), blocks + r * WIDE / 32 * 34);
    }
    qn_arena_free(a);
}
END_TEST

/* numpy: w.reshape(heads, 2, group / 2, columns).swapaxes(1, 2), said with loops. */
START_TEST(permuted_rows_are_the_reference_converters)
{
    qn_reader *r = opened();
    qn_arena *a = qn_arena_new();
    const qn_rows *s = qn_rows_permute(a, qn_rows_view(a, r, qn_reader_find(r, "w")), HEADS);
    uint64_t row = 0;
    for (uint64_t head = 0; head < HEADS; head++)
        for (uint64_t j = 0; j < GROUP / 2; j++)
            for (uint64_t half = 0; half < 2; half++)
                check_row(s, row++, head * GROUP + half * (GROUP / 2) + j);
    ck_assert_uint_eq(row, s->rows);
    for (uint64_t i = 0; i < ROWS; i += 3) s->done(s, i, i + 3);
    check_row(s, 1, GROUP / 2);
    qn_arena_free(a);
    qn_reader_close(r);
}
END_TEST

START_TEST(unpermuting_undoes_permuting)
{
    qn_reader *r = opened();
    qn_arena *a = qn_arena_new();
    const qn_rows *view = qn_rows_view(a, r, qn_reader_find(r, "w"));
    const qn_rows *there = qn_rows_unpermute(a, qn_rows_permute(a, view, HEADS), HEADS);
    const qn_rows *back = qn_rows_permute(a, qn_rows_unpermute(a, view, HEADS), HEADS);
    for (uint64_t i = 0; i < ROWS; i++) {
        check_row(there, i, i);
        check_row(back, i, i);
    }
    ck_assert_ptr_eq(there->below->below, view);
    qn_arena_free(a);
    qn_reader_close(r);
}
END_TEST

START_TEST(stacked_rows_are_those_of_each_part)
{
    enum { N = 3 };
    qn_reader *r = opened();
    qn_arena *a = qn_arena_new();
    const qn_rows *view = qn_rows_view(a, r, qn_reader_find(r, "w"));
    const qn_rows *parts[N] = {view, qn_rows_permute(a, view, HEADS), view};
    const qn_rows *s = qn_rows_stack(a, parts, N);
    float across[2 * ROWS * COLUMNS];
    ck_assert_uint_eq(s->rows, N * ROWS);
    ck_assert_uint_eq(s->source_bytes, N * ROWS * COLUMNS * sizeof(float));
    for (uint64_t i = 0; i < ROWS; i++) check_row(s, i, i);
    check_row(s, ROWS + 1, GROUP / 2);
    check_row(s, 2 * ROWS + 5, 5);
    ck_assert_int_eq(s->decode(s, qn_kernels_best(), 4, 4 + 2 * ROWS, across, NULL), QN_OK);
    ck_assert_float_eq(across[0], 400);
    ck_assert_float_eq(across[(2 * ROWS - 4) * COLUMNS], 0);
    ck_assert_float_eq(across[(2 * ROWS - 1) * COLUMNS], 300);
    s->done(s, 1, 2 * ROWS + 1);
    parts[1] = qn_rows_view(a, r, qn_reader_find(r, "h"));
    s = qn_rows_stack(a, parts, N);
    ck_assert(!s->raw && s->dtype == QN_F32); /* no type that all have */
    qn_arena_free(a);
    qn_reader_close(r);
}
END_TEST

START_TEST(selected_rows_are_some_of_each_group)
{
    qn_reader *r = opened();
    qn_arena *a = qn_arena_new();
    const qn_rows *view = qn_rows_view(a, r, qn_reader_find(r, "w"));
    const qn_rows *half = qn_rows_select(a, view, HEADS, GROUP / 2, 1, GROUP / 2);
    const qn_rows *odd = qn_rows_select(a, view, HEADS, 1, 2, GROUP / 2);
    float all[ROWS / 2 * COLUMNS];
    ck_assert(half->rows == ROWS / 2 && odd->rows == ROWS / 2);
    for (uint64_t head = 0, row = 0; head < HEADS; head++)
        for (uint64_t j = 0; j < GROUP / 2; j++, row++) {
            check_row(half, row, head * GROUP + GROUP / 2 + j);
            check_row(odd, row, head * GROUP + 2 * j + 1);
        }
    ck_assert_int_eq(half->decode(half, qn_kernels_best(), 1, ROWS / 2, all, NULL), QN_OK);
    ck_assert_float_eq(all[0], 100 * (GROUP / 2 + 1));
    ck_assert_float_eq(all[3 * COLUMNS], 100 * (GROUP + GROUP / 2));
    half->done(half, 1, ROWS / 2);
    odd->done(odd, 1, ROWS / 2);
    check_row(odd, 3, 7);
    qn_arena_free(a);
    qn_reader_close(r);
}
END_TEST

START_TEST(values_are_copied)
{
    float values[2 * COLUMNS];
    for (unsigned i = 0; i < 2 * COLUMNS; i++)
        values[i] = (float)(100 * (i / COLUMNS) + i % COLUMNS);
    qn_arena *a = qn_arena_new();
    const qn_rows *s = qn_rows_values(a, values, 2, COLUMNS);
    memset(values, 0, sizeof values);
    for (uint64_t i = 0; i < 2; i++) {
        check_row(s, i, i);
        s->done(s, i, i + 1);
    }
    ck_assert_ptr_null(qn_rows_values(a, values, UINT64_MAX, 2));
    qn_arena_free(a);
}
END_TEST

START_TEST(no_rows_are_no_trouble)
{
    static const uint64_t dims[] = {0, COLUMNS};
    char path[] = "e.gguf";
    qn_map file = {.path = path};
    qn_reader reader = {.files = &file, .n_files = 1};
    qn_tensor t = {.name = "e", .dtype = QN_F32, .rank = 2};
    memcpy(t.dims, dims, sizeof dims);
    qn_arena *a = qn_arena_new();
    const qn_rows *s = qn_rows_permute(a, qn_rows_view(a, &reader, &t), 2);
    ck_assert_uint_eq(s->rows, 0);
    ck_assert_int_eq(s->decode(s, qn_kernels_best(), 0, 0, NULL, NULL), QN_OK);
    s->done(s, 0, 0);
    qn_arena_free(a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rows");
    TCase *t = qn_test_group(s, "rows");
    tcase_add_test(t, a_view_gives_the_tensors_rows);
    tcase_add_test(t, a_view_without_a_decoder_says_so_and_still_has_bytes);
    tcase_add_test(t, a_view_of_several_rows_equals_its_rows_one_by_one);
    tcase_add_test(t, permuted_rows_are_the_reference_converters);
    tcase_add_test(t, unpermuting_undoes_permuting);
    tcase_add_test(t, stacked_rows_are_those_of_each_part);
    tcase_add_test(t, selected_rows_are_some_of_each_group);
    tcase_add_test(t, values_are_copied);
    tcase_add_test(t, no_rows_are_no_trouble);
    return qn_test_run_suite(s);
}
