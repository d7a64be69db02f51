/* Files of importance matrices, in both forms, right and wrong ones. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "tests/support/data.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/imatrix_bytes.h"
#include "tests/support/run.h"

static const float four[] = {1, 2, 3, 4}, one[] = {10}, two[] = {10, 0};
static const made_entry good[] = {
    {"blk.0.attn_q.weight", 4, 1, four, one},
    {"blk.0.ffn_up_exps.weight", 4, 2, four, two},
};

static qn_imatrix *opened(const qn_text *t)
{
    qn_imatrix *m = NULL;
    qn_error err = {0};
    ck_assert_msg(!qn_imatrix_open_memory(&m, t->s, t->n, "made", &err), "%s", err.message);
    return m;
}

/* Frees t. */
static void refused(qn_text *t, const char *words)
{
    qn_imatrix *m = NULL;
    qn_error err = {0};
    const qn_status status = qn_imatrix_open_memory(&m, t->s, t->n, "made", &err);
    ck_assert_msg(status == QN_ERR_DATA, "status %d: %s", status, err.message);
    ck_assert_msg(strstr(err.message, words), "'%s' lacks '%s'", err.message, words);
    ck_assert_ptr_null(m);
    qn_text_free(t);
}

START_TEST(the_gguf_form_gives_values_and_a_count_for_each_matrix)
{
    qn_text t = made_imatrix(good, 2, 7, 256);
    qn_imatrix *m = opened(&t);
    ck_assert_uint_eq(m->n_entries, 2);
    ck_assert_uint_eq(m->chunk_count, 7);
    ck_assert_uint_eq(m->chunk_size, 256);
    ck_assert(qn_str_is(m->dataset, "made.txt"));
    const qn_imatrix_entry *e = qn_imatrix_find(m, good[1].name);
    ck_assert_ptr_nonnull(e);
    ck_assert_uint_eq(e->n_values, 4);
    ck_assert_uint_eq(e->n_counts, 2);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_float_eq(qn_imatrix_value(e, i), four[i]);
        ck_assert_int_eq(qn_imatrix_count(e, i), i < 2 ? 10 : 0);
    }
    ck_assert_ptr_null(qn_imatrix_find(m, "blk.0"));
    qn_imatrix_close(m);
    qn_text_free(&t);
}
END_TEST

START_TEST(the_legacy_form_may_end_with_chunks_and_text_or_without)
{
    qn_text t = made_imatrix_dat(good, 1);
    qn_imatrix *m = opened(&t);
    ck_assert_uint_eq(m->chunk_count, 0);
    ck_assert_uint_eq(m->dataset.n, 0);
    qn_imatrix_close(m);

    qn_gguf_u32(&t, 33);
    qn_gguf_u32(&t, 5);
    qn_text_adds(&t, "a.txt");
    m = opened(&t);
    ck_assert_uint_eq(m->chunk_count, 33);
    ck_assert(qn_str_is(m->dataset, "a.txt"));
    ck_assert_int_eq(qn_imatrix_count(&m->entries[0], 3), 10);
    ck_assert_float_eq(qn_imatrix_value(&m->entries[0], 3), 4);
    qn_imatrix_close(m);
    qn_text_free(&t);
}
END_TEST

/* Old files have them: their values are taken as they are. */
START_TEST(a_legacy_entry_of_no_calls_counts_as_one)
{
    static const float none[] = {0};
    const made_entry e = {"blk.0.attn_q.weight", 4, 1, four, none};
    qn_text t = made_imatrix_dat(&e, 1);
    qn_imatrix *m = opened(&t);
    ck_assert_int_eq(qn_imatrix_count(&m->entries[0], 0), 1);
    qn_imatrix_close(m);
    qn_text_free(&t);
}
END_TEST

/* llama-imatrix wrote both forms of one run; the legacy one has gone through
 * a division, a multiplication and back. */
START_TEST(both_forms_of_one_run_of_llama_imatrix_agree)
{
    const char *gguf = qn_test_data("eval/quern-demo-llama/imatrix.gguf");
    const char *dat = qn_test_data("eval/quern-demo-llama/imatrix.dat");
    qn_imatrix *a = NULL, *b = NULL;
    qn_error err = {0};
    if (!gguf || !dat) return;
    ck_assert_msg(!qn_imatrix_open(&a, gguf, &err), "%s", err.message);
    ck_assert_msg(!qn_imatrix_open(&b, dat, &err), "%s", err.message);
    ck_assert_uint_eq(a->n_entries, 35);
    ck_assert_uint_eq(b->n_entries, 35);
    ck_assert_uint_eq(a->chunk_count, 5);
    ck_assert_uint_eq(b->chunk_count, 5);
    ck_assert(qn_str_equal(a->dataset, b->dataset));
    for (size_t i = 0; i < a->n_entries; i++) {
        const qn_imatrix_entry *x = &a->entries[i], *y = qn_imatrix_find(b, x->name);
        ck_assert_ptr_nonnull(y);
        ck_assert_uint_eq(x->n_values, y->n_values);
        for (uint64_t j = 0; j < x->n_values; j++) {
            const double mean = (double)qn_imatrix_value(x, j) / (double)qn_imatrix_count(x, j);
            const double other = (double)qn_imatrix_value(y, j) / (double)qn_imatrix_count(y, j);
            ck_assert_double_le(fabs(mean - other), 2e-7 * mean);
        }
    }
    qn_imatrix_close(a);
    qn_imatrix_close(b);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------- */

START_TEST(every_truncation_of_a_legacy_file_is_refused)
{
    qn_text t = made_imatrix_dat(good, 1);
    const size_t without_end = t.n;
    qn_gguf_u32(&t, 33);
    qn_gguf_u32(&t, 5);
    qn_text_adds(&t, "a.txt");
    for (size_t n = 0; n < t.n; n++) {
        qn_imatrix *m = NULL;
        const qn_status status = qn_imatrix_open_memory(&m, t.s, n, "made", NULL);
        ck_assert_msg((status == QN_OK) == (n == without_end), "%zu of %zu bytes", n, t.n);
        qn_imatrix_close(m);
    }
    qn_text_adds(&t, "x");
    refused(&t, "1 bytes too many");
}
END_TEST

START_TEST(a_legacy_file_with_impossible_numbers_is_refused)
{
    qn_text t = {0};
    qn_gguf_u32(&t, 0);
    refused(&t, "the number of entries at byte 0 is 0");

    t = made_imatrix_dat(good, 1);
    t.s[0] = 100;
    refused(&t, "the number of entries at byte 0 is 100");

    t = made_imatrix_dat(good, 1);
    t.s[4] = 0;
    refused(&t, "a name's length at byte 4 is 0");

    t = made_imatrix_dat(good, 1);
    t.s[10] = 0;
    refused(&t, "holds a zero byte");

    t = made_imatrix_dat(good, 1);
    t.s[10] = (char)0xff;
    refused(&t, "the name of entry 0 is not UTF-8");

    t = made_imatrix_dat(good, 1);
    t.s[t.n - 17] = (char)0x80; /* the top byte of the number of values */
    refused(&t, "a number of values");

    t = made_imatrix_dat(good, 1);
    t.s[t.n - 20] = 5;
    refused(&t, "takes 20 bytes");

    const made_entry twice[] = {good[0], good[0]};
    t = made_imatrix_dat(twice, 2);
    refused(&t, "is there twice");
}
END_TEST

static const float bad_values[] = {NAN, INFINITY, -1.0F};

START_TEST(values_that_are_no_sums_of_squares_are_refused)
{
    const float values[] = {1, 2, bad_values[_i], 4};
    const made_entry e = {"blk.0.attn_q.weight", 4, 1, values, one};
    qn_text t = made_imatrix(&e, 1, 1, 512);
    refused(&t, "entry blk.0.attn_q.weight: value 2 is ");
    t = made_imatrix_dat(&e, 1);
    refused(&t, "entry blk.0.attn_q.weight: value 2 is ");
}
END_TEST

START_TEST(counts_that_are_none_are_refused)
{
    const float counts[] = {10, bad_values[_i]};
    const made_entry e = {"blk.0.ffn_up_exps.weight", 4, 2, four, counts};
    qn_text t = made_imatrix(&e, 1, 1, 512);
    refused(&t, "count 1 is ");
}
END_TEST

/* A file with these two tensors of three float32 and these keys missing. */
static qn_text odd_file(const char *a, const char *b, uint32_t type_of_b, uint64_t dim_of_b)
{
    qn_text t = qn_gguf_head(3, 2, 3);
    qn_gguf_key(&t, "imatrix.datasets", 9);
    qn_gguf_u32(&t, 8);
    qn_gguf_u64(&t, 0);
    qn_gguf_key_u32(&t, "imatrix.chunk_count", 1);
    qn_gguf_key_u32(&t, "imatrix.chunk_size", 512);
    qn_gguf_tensor(&t, a, 1, (uint64_t[]){3}, 0, 0);
    qn_gguf_tensor(&t, b, 1, &dim_of_b, type_of_b, 32);
    qn_gguf_data(&t, 32, 64);
    return t;
}

START_TEST(sums_and_counts_belong_together)
{
    qn_text t = odd_file("w.in_sum2", "v.counts", 0, 1);
    refused(&t, "tensor w.in_sum2 is there without w.counts");
    t = odd_file("w", "v.counts", 0, 1);
    refused(&t, "tensor v.counts is there without v.in_sum2");
    t = odd_file("w.in_sum2", "w.counts", 1, 1);
    refused(&t, "counts F16");
    t = odd_file("w.in_sum2", "w.counts", 0, 2);
    refused(&t, "3 values cannot be of 2 matrices");
    t = odd_file("w.in_sum2", "w.counts", 0, 0);
    refused(&t, "3 values cannot be of 0 matrices");
    t = odd_file("w", "v", 0, 1);
    refused(&t, "holds no importance of any tensor");
}
END_TEST

START_TEST(a_gguf_file_of_another_kind_is_refused)
{
    qn_text t = qn_gguf_head(3, 0, 1);
    qn_gguf_key_string(&t, "general.architecture", "llama");
    refused(&t, "imatrix.datasets is missing");
    t = made_imatrix(good, 2, 7, 0);
    refused(&t, "7 chunks of 0 tokens");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("imatrix");
    TCase *t = qn_test_group(s, "read");
    tcase_add_test(t, the_gguf_form_gives_values_and_a_count_for_each_matrix);
    tcase_add_test(t, the_legacy_form_may_end_with_chunks_and_text_or_without);
    tcase_add_test(t, a_legacy_entry_of_no_calls_counts_as_one);
    tcase_add_test(t, both_forms_of_one_run_of_llama_imatrix_agree);
    t = qn_test_group(s, "refuse");
    tcase_add_test(t, every_truncation_of_a_legacy_file_is_refused);
    tcase_add_test(t, a_legacy_file_with_impossible_numbers_is_refused);
    tcase_add_loop_test(t, values_that_are_no_sums_of_squares_are_refused, 0, 3);
    tcase_add_loop_test(t, counts_that_are_none_are_refused, 0, 3);
    tcase_add_test(t, sums_and_counts_belong_together);
    tcase_add_test(t, a_gguf_file_of_another_kind_is_refused);
    return qn_test_run_suite(s);
}
