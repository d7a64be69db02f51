/* SentencePiece's remove_extra_whitespaces, as the sentencepiece library 0.2
 * encodes with the stories' model, which asks for it. */
#include <check.h>

#include "tests/support/run.h"
#include "tests/support/vocab.h"

static const struct {
    const char *text;
    size_t n;
    uint32_t ids[8];
} cases[] = {
    {"Once", 1, {403}},
    {" Once", 1, {403}},
    {"  Once", 1, {403}},
    {"a b", 2, {261, 268}},
    {"a   b", 2, {261, 268}},
    {" \n = R", 6, {410, 13, 410, 64, 410, 461}},
    {" \n", 2, {410, 13}},
    {"a  ", 1, {261}},
    {"\n\n  a", 4, {410, 13, 13, 261}},
    {"", 0, {0}},
    {" ", 0, {0}},
    {"   ", 0, {0}},
};

#define N_CASES (sizeof cases / sizeof *cases)

static void check_case(qn_test_tokenizer *r, size_t i)
{
    qn_test_encode(r, qn_str_z(cases[i].text), false, false);
    ck_assert_msg(r->n == cases[i].n, "\"%s\": %zu ids, not %zu", cases[i].text, r->n, cases[i].n);
    for (size_t j = 0; j < r->n; j++) ck_assert_uint_eq(r->ids[j], cases[i].ids[j]);
}

START_TEST(extra_spaces_are_removed_where_the_model_asks_for_it)
{
    qn_test_tokenizer r;
    if (!qn_test_tokenizer_open(&r, "models/stories260K-hf", 512)) return;
    check_case(&r, (size_t)_i);
    qn_test_tokenizer_close(&r);
}
END_TEST

START_TEST(a_gguf_file_remembers_that_extra_spaces_are_removed)
{
    qn_test_tokenizer r, again;
    qn_vocab *v = NULL;
    if (!qn_test_tokenizer_open(&r, "models/stories260K-hf", 512)) return;
    qn_metadata *m = qn_metadata_new();
    ck_assert(!qn_vocab_write_metadata(r.v, m, NULL));
    ck_assert(!qn_vocab_from_metadata(&v, m, "written", NULL));
    qn_test_tokenizer_take(&again, v);
    for (size_t i = 0; i < N_CASES; i++) check_case(&again, i);
    qn_test_tokenizer_close(&again);
    qn_test_tokenizer_close(&r);
    qn_metadata_free(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer spaces");
    TCase *tc = qn_test_group(suite, "spaces");
    tcase_add_loop_test(tc, extra_spaces_are_removed_where_the_model_asks_for_it, 0, (int)N_CASES);
    tcase_add_test(tc, a_gguf_file_remembers_that_extra_spaces_are_removed);
    return qn_test_run_suite(suite);
}
