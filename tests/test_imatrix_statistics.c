/* Figures that llama-imatrix --show-statistics printed of the same file. */
#include "validate/imatrix_statistics.h"

#include <check.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tests/support/data.h"
#include "tests/support/imatrix_bytes.h"
#include "tests/support/run.h"

static const struct {
    const char *name;
    uint64_t n;
    double total, least, most, mean, deviation, active, entropy, z_density, likeness;
} printed[] = {
    {"blk.3.attn_output.weight", 256, 91.65, 0.0764, 1.3192, 0.36, 0.19, 1, 7.8169, 0.1289, 0.6935},
    {"blk.4.attn_k.weight", 256, 214.48, 0.3911, 4.0333, 0.84, 0.44, 1, 7.8607, 0.0664, 0.9843},
    {"blk.0.attn_output.weight", 256, 2.34, 0.0016, 0.0462, 0.01, 0.01, 1, 7.6470, 0.0977, 0},
};

/* Half a unit of the last digit that was printed. */
START_TEST(figures_are_those_that_llama_imatrix_prints)
{
    qn_imatrix *m = NULL;
    ck_assert(!qn_imatrix_open(&m, qn_test_data("eval/quern-demo-llama/imatrix.gguf"), NULL));
    qn_imatrix_statistics *all = qn_alloc(m->n_entries, sizeof *all);
    const size_t n = qn_imatrix_statistics_of(m, all);
    ck_assert_uint_eq(n, m->n_entries);
    ck_assert_str_eq(all[0].entry->name, "blk.3.attn_k.weight");
    for (size_t i = 0; i < sizeof printed / sizeof *printed; i++) {
        size_t at = 0;
        while (at < n && strcmp(all[at].entry->name, printed[i].name) != 0) at++;
        ck_assert_uint_lt(at, n);
        const qn_imatrix_statistics *s = &all[at];
        ck_assert_uint_eq(s->n, printed[i].n);
        ck_assert_double_eq_tol(s->total, printed[i].total, 0.0051);
        ck_assert_double_eq_tol(s->least, printed[i].least, 0.000051);
        ck_assert_double_eq_tol(s->most, printed[i].most, 0.000051);
        ck_assert_double_eq_tol(s->mean, printed[i].mean, 0.0051);
        ck_assert_double_eq_tol(s->deviation, printed[i].deviation, 0.0051);
        ck_assert_double_eq_tol(s->active, printed[i].active, 0.000051);
        ck_assert_double_eq_tol(s->entropy, printed[i].entropy, 0.000151);
        ck_assert_double_eq_tol(s->z_density, printed[i].z_density, 0.000051);
        ck_assert_double_eq_tol(s->likeness, printed[i].likeness, 0.000051);
    }
    qn_free(all);
    qn_imatrix_close(m);
}
END_TEST

START_TEST(experts_without_rows_do_not_count)
{
    static const float values[] = {10, 30, 7, 7}, counts[] = {10, 0};
    const made_entry experts = {"blk.0.ffn_up_exps.weight", 4, 2, values, counts};
    qn_text t = made_imatrix(&experts, 1, 1, 10);
    qn_imatrix *m = NULL;
    qn_imatrix_statistics s;
    ck_assert(!qn_imatrix_open_memory(&m, t.s, t.n, "made", NULL));
    ck_assert_uint_eq(qn_imatrix_statistics_of(m, &s), 1);
    ck_assert_uint_eq(s.n, 2);
    ck_assert_int_eq(s.layer, 0);
    ck_assert(qn_str_is(s.role, "ffn_up_exps"));
    ck_assert_double_eq(s.total, 4.0);
    ck_assert_double_eq(s.least, 1.0);
    ck_assert_double_eq(s.most, 3.0);
    ck_assert_double_eq_tol(s.entropy, 0.811278124459133, 1e-12); /* of 1/4 and 3/4 */
    qn_imatrix_close(m);
    qn_text_free(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("imatrix statistics");
    TCase *tc = qn_test_group(s, "figures");
    tcase_add_test(tc, figures_are_those_that_llama_imatrix_prints);
    tcase_add_test(tc, experts_without_rows_do_not_count);
    return qn_test_run_suite(s);
}
