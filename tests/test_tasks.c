/* Tasks of several choices: scores against float64 transformers, order and
 * verdicts against llama-perplexity (eval/MODEL/KIND.json), and broken files. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/json.h"
#include "tests/support/data.h"
#include "tests/support/golden.h"
#include "tests/support/guard.h"
#include "tests/support/run.h"
#include "validate/task_draw.h"
#include "validate/tasks.h"

static const char *const models[] = {"quern-demo-llama", "quern-demo-gemma4"};

static const struct {
    qn_task_kind kind;
    const char *file, *golden, *rows, *scores;
} kinds[] = {
    {QN_TASKS_HELLASWAG, "eval/hellaswag.txt", "hellaswag.json", "rows_in_order",
     "logprob_per_token"},
    {QN_TASKS_WINOGRANDE, "eval/winogrande.csv", "winogrande.json", "rows", "scores_float64"},
    {QN_TASKS_MULTIPLE_CHOICE, "eval/multiple-choice.bin", "multiple-choice.json", "rows",
     "logprob_per_token"},
};
enum { KINDS = 3, MODELS = 2, TASKS = 20 };

static void read_whole(const char *name, char **bytes, size_t *n)
{
    const char *path = qn_test_data(name);
    ck_assert_ptr_nonnull(path);
    ck_assert(!qn_read_file(path, 1 << 20, bytes, n, NULL));
}

/* All tasks of a kind by a model; results[TASKS] must be forgotten.  limit: bytes of
 * scratch, 0: any. */
static qn_status score_within(int kind, int model, int threads, uint64_t at_most, uint64_t limit,
                              size_t *n, qn_task_result *results, qn_error *err)
{
    qn_tasks_memory memory = {.limit = limit};
    char name[64], *bytes;
    size_t size, *order;
    qn_task_file f;
    qn_model *m;
    qn_tokenizer *t;
    snprintf(name, sizeof name, "models/trained/%s", models[model]);
    const char *path = qn_test_data(name);
    ck_assert_ptr_nonnull(path);
    ck_assert_msg(!qn_model_open(&m, path, NULL, err), "%s", err->message);
    ck_assert(!qn_tokenizer_new(&t, m->vocab, err));
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), threads);
    read_whole(kinds[kind].file, &bytes, &size);
    ck_assert_msg(!qn_task_file_open(&f, kinds[kind].kind, qn_str_of(bytes, size), "tasks", err),
                  "%s", err->message);
    ck_assert_uint_eq(f.n, TASKS);
    ck_assert_uint_eq(f.left_out, 0);
    ck_assert(!qn_tasks_draw(f.kind, f.n, at_most, &order, n, err));
    memset(results, 0, TASKS * sizeof *results);
    if (limit) qn_decoder_give_back(d);
    const qn_status status = qn_tasks_score(&f, order, *n, d, t, &memory, results, NULL, NULL, err);
    ck_assert(!limit || memory.scratch <= limit);
    qn_free(order);
    qn_task_file_close(&f);
    qn_free(bytes);
    qn_decoder_free(d);
    qn_tokenizer_free(t);
    qn_model_close(m);
    return status;
}

static void score(int kind, int model, int threads, uint64_t at_most, size_t *n,
                  qn_task_result *results)
{
    qn_error err = {0};
    ck_assert_msg(!score_within(kind, model, threads, at_most, 0, n, results, &err), "%s",
                  err.message);
}

static void forget(qn_task_result *results, size_t n)
{
    for (size_t i = 0; i < n; i++) qn_free(results[i].scores);
}

static json_t *golden_of(int kind, int model)
{
    char name[64];
    json_t *all;
    qn_error err;
    snprintf(name, sizeof name, "eval/%s/%s", models[model], kinds[kind].golden);
    const char *path = qn_test_data(name);
    ck_assert_ptr_nonnull(path);
    ck_assert(!qn_json_load(path, 1 << 20, &all, &err));
    return all;
}

static bool llama_cpp_was_right(const json_t *row)
{
    const json_t *result = json_object_get(row, "llama_cpp_result");
    if (!result) return json_is_true(json_object_get(row, "llama_cpp_correct"));
    return json_integer_value(result) == json_integer_value(json_object_get(row, "answer"));
}

/* The goldens have six decimals; float32 logits of some tens are good to a few 1e-6. */
START_TEST(scores_order_and_verdicts_are_the_golden_ones)
{
    const int kind = _i % KINDS, model = _i / KINDS;
    qn_task_result results[TASKS];
    size_t n;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    if (model) {
        printf("skip: whole files of tasks by a second model under a sanitizer\n");
        return;
    }
#endif
    score(kind, model, 1, 0, &n, results);
    json_t *all = golden_of(kind, model);
    const json_t *rows = json_object_get(all, kinds[kind].rows);
    ck_assert_uint_eq(json_array_size(rows), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(rows, i);
        double scores[8];
        const size_t choices = qn_test_numbers(json_object_get(row, kinds[kind].scores), scores, 8);
        ck_assert_uint_eq(results[i].task,
                          (size_t)json_integer_value(json_object_get(row, "task")));
        ck_assert_uint_eq(results[i].n, choices);
        for (size_t k = 0; k < choices; k++)
            ck_assert_msg(fabs(results[i].scores[k] - scores[k]) < 5e-6,
                          "task %zu, choice %zu: %.9g, golden %.9g", results[i].task, k,
                          results[i].scores[k], scores[k]);
        ck_assert_msg(results[i].right == llama_cpp_was_right(row), "task %zu", results[i].task);
    }
    json_decref(all);
    forget(results, n);
}
END_TEST

/* "--winogrande-tasks 8": order and percentage of a drawn few. */
START_TEST(a_few_are_those_that_llama_perplexity_draws)
{
    const int kind = _i % 2 + 1, model = _i / 2;
    enum { FEW = 8 };
    uint32_t order[FEW];
    qn_task_result results[TASKS];
    size_t n, right = 0;
    score(kind, model, 1, FEW, &n, results);
    json_t *all = golden_of(kind, model);
    const json_t *subset = json_object_get(all, "random_subset");
    ck_assert_uint_eq(qn_test_ids(json_object_get(subset, "order"), order, FEW), n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_eq(results[i].task, order[i]);
        right += results[i].right;
    }
    ck_assert_double_eq_tol(100.0 * (double)right / FEW,
                            json_number_value(json_object_get(subset, "percent")), 1e-9);
    json_decref(all);
    forget(results, n);
}
END_TEST

/* Which tasks run together depends on how many there are; the bits do not. */
START_TEST(batches_and_threads_do_not_change_a_bit)
{
    qn_task_result one[TASKS], other[TASKS];
    size_t n, few;
    score(_i, 0, 1, 0, &n, one);
    for (int threads = 1; threads <= 3; threads += 2) {
        score(_i, 0, threads, (uint64_t)threads * 2, &few, other);
        for (size_t i = 0; i < few; i++) {
            size_t same = 0;
            while (one[same].task != other[i].task) same++;
            ck_assert_mem_eq(one[same].scores, other[i].scores, one[same].n * sizeof(double));
        }
        forget(other, few);
    }
    forget(one, n);
}
END_TEST

/* With little memory few tasks run together, with much all of them. */
START_TEST(memory_does_not_change_a_bit)
{
    static const uint64_t limits[] = {72 << 20, 1 << 30};
    qn_task_result any[TASKS], limited[TASKS];
    size_t n;
    score(_i, 0, 2, 0, &n, any);
    for (size_t l = 0; l < 2; l++) {
        qn_error err = {0};
        ck_assert_msg(!score_within(_i, 0, 2, 0, limits[l], &n, limited, &err), "%s", err.message);
        for (size_t i = 0; i < n; i++)
            ck_assert_mem_eq(any[i].scores, limited[i].scores, any[i].n * sizeof(double));
        forget(limited, n);
    }
    forget(any, n);
}
END_TEST

START_TEST(a_task_that_does_not_fit_is_refused_with_both_numbers)
{
    qn_task_result results[TASKS];
    qn_error err = {0};
    size_t n;
    ck_assert_int_eq(score_within(2, 0, 2, 0, 1 << 20, &n, results, &err), QN_ERR_MEMORY);
    ck_assert_ptr_nonnull(strstr(err.message, "MiB of memory, 1.0 MiB are left"));
    forget(results, n);
}
END_TEST

/* The C++ standard's own check ([rand.predef]): the 10,000th number of the
 * default seed. */
START_TEST(the_twister_is_the_standard_one)
{
    qn_mersenne m = qn_mersenne_seeded(5489);
    uint32_t last = 0;
    for (int i = 0; i < 10000; i++) last = qn_mersenne_next(&m);
    ck_assert_uint_eq(last, 4123659995u);
}
END_TEST

START_TEST(every_order_is_a_permutation)
{
    for (size_t n = 1; n < 200; n++) {
        for (int k = 0; k < KINDS; k++) {
            size_t *order, drawn;
            bool seen[200] = {false};
            ck_assert(!qn_tasks_draw(kinds[k].kind, n, n - n / 3, &order, &drawn, NULL));
            ck_assert_uint_eq(drawn, n - n / 3);
            for (size_t i = 0; i < drawn; i++) {
                ck_assert(order[i] < n && !seen[order[i]]);
                seen[order[i]] = true;
            }
            qn_free(order);
        }
    }
}
END_TEST

/* The interval that llama-perplexity prints behind 8 of 20. */
START_TEST(the_interval_is_wilsons)
{
    double low, high;
    qn_wilson(8, 20, 1.95996398454, &low, &high);
    ck_assert_double_eq_tol(100 * low, 21.8807, 5e-5);
    ck_assert_double_eq_tol(100 * high, 61.3418, 5e-5);
}
END_TEST

/* ---- broken files --------------------------------------------------------------------- */

/* Every task that can be read; how many. The bytes end at a page nobody may touch. */
static size_t readable(qn_task_kind kind, const char *bytes, size_t n, size_t *in_file,
                       qn_error *err)
{
    char *copy = qn_guarded(n ? n : 1);
    qn_task_file f;
    size_t good = 0;
    memcpy(copy, bytes, n);
    *in_file = 0;
    if (qn_task_file_open(&f, kind, qn_str_of(copy, n), "tasks", err)) return 0;
    qn_arena *arena = qn_arena_new();
    for (size_t i = 0; i < f.n; i++) {
        qn_task t;
        if (!qn_task_read(&f, i, arena, &t, err)) good++;
    }
    *in_file = f.n;
    qn_arena_free(arena);
    qn_task_file_close(&f);
    return good;
}

START_TEST(a_cut_file_loses_its_last_tasks)
{
    char *bytes;
    size_t n, in_file, before = TASKS;
    read_whole(kinds[2].file, &bytes, &n);
    for (size_t cut = n; cut-- > 0;) {
        qn_error err = {0};
        const size_t good = readable(QN_TASKS_MULTIPLE_CHOICE, bytes, cut, &in_file, &err);
        ck_assert_msg(good <= before && good < TASKS, "%zu tasks in %zu bytes", good, cut);
        ck_assert_int_eq(err.status, QN_ERR_DATA);
        before = good;
    }
    qn_free(bytes);
}
END_TEST

START_TEST(numbers_that_lie_are_refused)
{
    char *bytes;
    size_t n, in_file;
    read_whole(kinds[2].file, &bytes, &n);
    for (size_t at = 0; at + 4 <= n; at++) {
        static const uint32_t lies[] = {0xffffffffu, 0x7fffffffu, 0x80000000u, 101};
        for (size_t l = 0; l < sizeof lies / sizeof *lies; l++) {
            char old[4];
            qn_error err = {0};
            memcpy(old, bytes + at, 4);
            memcpy(bytes + at, &lies[l], 4);
            ck_assert_uint_le(readable(QN_TASKS_MULTIPLE_CHOICE, bytes, n, &in_file, &err), TASKS);
            memcpy(bytes + at, old, 4);
        }
        at += 6;
    }
    qn_free(bytes);
}
END_TEST

static const struct {
    qn_task_kind kind;
    const char *text, *words;
} refusals[] = {
    {QN_TASKS_HELLASWAG, "", "0 lines"},
    {QN_TASKS_HELLASWAG, "a\n1\nb\nc\nd\n", "5 lines"},
    {QN_TASKS_HELLASWAG, "a\n4\nb\nc\nd\ne\n", "line 2: the right ending is \"4\""},
    {QN_TASKS_HELLASWAG, "a\n\nb\nc\nd\ne\n", "\"\""},
    {QN_TASKS_WINOGRANDE, "", "no Winogrande tasks"},
    {QN_TASKS_WINOGRANDE, "0,a _ b,c,d,1\n", "line 1 has no line feed"},
    {QN_TASKS_WINOGRANDE, "0,a _ b,c,1\n\n", "four commas"},
    {QN_TASKS_WINOGRANDE, "0,a b,c,d,1\n\n", "no _"},
    {QN_TASKS_WINOGRANDE, "0,a _ b,c,d,3\n\n", "neither 1 nor 2"},
    {QN_TASKS_MULTIPLE_CHOICE, "\1", "tasks: 1 bytes, the number of tasks alone takes 4"},
};

START_TEST(what_is_no_task_is_refused_in_a_line)
{
    qn_error err = {0};
    size_t in_file;
    const char *text = refusals[_i].text;
    ck_assert_uint_eq(readable(refusals[_i].kind, text, strlen(text), &in_file, &err), 0);
    ck_assert_int_eq(err.status, QN_ERR_DATA);
    ck_assert_msg(strstr(err.message, refusals[_i].words), "'%s' lacks '%s'", err.message,
                  refusals[_i].words);
}
END_TEST

/* A long question is in each of its answers' texts: a megabyte would become a hundred. */
START_TEST(texts_that_grow_out_of_all_proportion_are_refused)
{
    enum { QUESTION = 1 << 20, ANSWERS = 100, HEAD = 8, AROUND = HEAD + 4 + 4 + 9 * ANSWERS + 4 };
    char *bytes = calloc(QUESTION + AROUND, 1), *p = bytes;
    size_t in_file;
    qn_error err = {0};
    const uint32_t head[] = {1, HEAD, QUESTION}, answers = ANSWERS, one = 1;
    memcpy(p, head, sizeof head);
    memset(p += sizeof head, 'q', QUESTION);
    memcpy(p += QUESTION, &answers, 4);
    p += 4;
    for (size_t i = 0; i < ANSWERS; i++, p += 5) {
        memcpy(p, &one, 4);
        p[4] = 'a';
    }
    ck_assert_uint_eq(readable(QN_TASKS_MULTIPLE_CHOICE, bytes, QUESTION + AROUND, &in_file, &err),
                      0);
    ck_assert_str_eq(err.message,
                     "tasks: task 1: 100 texts of 104857800 bytes, more than 16777216");
    free(bytes);
}
END_TEST

START_TEST(lines_that_are_no_tasks_are_counted)
{
    static const char text[] = "0,a _ b,c,d,1\nnothing\n1,\"x, _ y\",p,q,2\r\n2,a _,b,c,1\n";
    qn_task_file f;
    qn_task t;
    qn_arena *arena = qn_arena_new();
    ck_assert(
        !qn_task_file_open(&f, QN_TASKS_WINOGRANDE, qn_str_of(text, strlen(text)), "w", NULL));
    ck_assert_uint_eq(f.n, 2);
    ck_assert_uint_eq(f.left_out, 2);
    ck_assert_str_eq(f.why, "line 2 has not four commas");
    ck_assert(!qn_task_read(&f, 1, arena, &t, NULL));
    ck_assert(qn_str_is(t.choices[1].text, "x, q y"));
    ck_assert(qn_str_is(t.choices[1].head, "x, q"));
    ck_assert(!t.choices[0].right && t.choices[1].right);
    qn_arena_free(arena);
    qn_task_file_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tasks");
    TCase *tc = qn_test_group(suite, "tasks");
    tcase_add_loop_test(tc, scores_order_and_verdicts_are_the_golden_ones, 0, KINDS * MODELS);
    tcase_add_loop_test(tc, a_few_are_those_that_llama_perplexity_draws, 0, 2 * MODELS);
    tcase_add_loop_test(tc, batches_and_threads_do_not_change_a_bit, 0, KINDS);
    tcase_add_loop_test(tc, memory_does_not_change_a_bit, 0, KINDS);
    tcase_add_test(tc, a_task_that_does_not_fit_is_refused_with_both_numbers);
    tcase_add_test(tc, the_twister_is_the_standard_one);
    tcase_add_test(tc, every_order_is_a_permutation);
    tcase_add_test(tc, the_interval_is_wilsons);
    tcase_add_test(tc, a_cut_file_loses_its_last_tasks);
    tcase_add_test(tc, numbers_that_lie_are_refused);
    tcase_add_loop_test(tc, what_is_no_task_is_refused_in_a_line, 0,
                        (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(tc, texts_that_grow_out_of_all_proportion_are_refused);
    tcase_add_test(tc, lines_that_are_no_tasks_are_counted);
    return qn_test_run_suite(suite);
}
