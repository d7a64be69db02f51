/* Importance: merging, slices, what a plan and the pipeline make of it. */
#include <check.h>
#include <string.h>

#include "tests/support/files.h"
#include "tests/support/imatrix_bytes.h"
#include "tests/support/made_model.h"
#include "tests/support/random.h"
#include "tests/support/run.h"
#include "tests/support/write_plan.h"

enum { SEED = 20260825 };

static const char name_q[] = "blk.0.attn_q.weight", name_up[] = "blk.0.ffn_up_exps.weight";
static const float ten[] = {10}, three[] = {3};

/* Makes the file and frees the text. */
static const char *saved(const char *name, qn_text t)
{
    const char *path = qn_test_file(name, t.s, t.n);
    qn_text_free(&t);
    return path;
}

static qn_importance *opened(const char *const *paths, size_t n)
{
    qn_importance *m = NULL;
    qn_error err = {0};
    ck_assert_msg(!qn_importance_open(&m, paths, n, &err), "%s", err.message);
    return m;
}

/* ---- merging ------------------------------------------------------------------------ */

static void expect_weights(const qn_importance *m, const char *name, const float *expected,
                           unsigned n)
{
    float w[16];
    const qn_importance_entry *e = qn_importance_find(m, name);
    ck_assert_ptr_nonnull(e);
    ck_assert_uint_eq(e->n_values, n);
    qn_importance_weights(e, 0, n, w);
    for (unsigned i = 0; i < n; i++)
        ck_assert_msg(w[i] == expected[i], "weight %u is %g, expected %g", i, (double)w[i],
                      (double)expected[i]);
}

START_TEST(a_weight_is_the_mean_and_one_for_an_expert_never_reached)
{
    const float values[] = {1, 2, 3, 5, 6, 7}, counts[] = {7, 0, 2};
    const made_entry e = {name_up, 6, 3, values, counts};
    qn_importance *m = opened((const char *[]){saved("a", made_imatrix(&e, 1, 4, 512))}, 1);
    expect_weights(m, name_up, (float[]){1.0F / 7, 2.0F / 7, 1, 1, 3, 3.5F}, 6);
    float middle[3];
    qn_importance_weights(qn_importance_find(m, name_up), 1, 3, middle);
    ck_assert_float_eq(middle[0], 2.0F / 7);
    ck_assert_float_eq(middle[1], 1);
    ck_assert_float_eq(middle[2], 1);
    ck_assert_uint_eq(m->chunks, 4);
    ck_assert_uint_eq(qn_importance_count(m), 1);
    qn_importance_close(m);
}
END_TEST

START_TEST(sums_and_counts_of_several_files_add_up)
{
    const float a[] = {1, 2, 3, 4}, b[] = {0.1F, 0.2F, 0.3F, 0.4F}, c[] = {8, 8};
    const float split[] = {4, 0};
    const made_entry first[] = {{name_q, 4, 1, a, ten}, {"only.first", 2, 1, c, ten}};
    const made_entry second[] = {{"only.second", 2, 1, c, three}, {name_q, 4, 2, b, split}};
    const char *paths[] = {saved("a", made_imatrix(first, 2, 4, 512)),
                           saved("b", made_imatrix(second, 2, 3, 512))};
    qn_importance *m = opened(paths, 2);
    ck_assert_uint_eq(qn_importance_count(m), 3);
    expect_weights(m, name_q,
                   (float[]){(1 + 0.1F) / 14, (2 + 0.2F) / 14, (3 + 0.3F) / 10, (4 + 0.4F) / 10},
                   4);
    expect_weights(m, "only.first", (float[]){0.8F, 0.8F}, 2);
    expect_weights(m, "only.second", (float[]){8.0F / 3, 8.0F / 3}, 2);
    ck_assert_uint_eq(m->chunks, 7);
    ck_assert_msg(strchr(m->path.s, ','), "%s", m->path.s);
    qn_importance_close(m);
}
END_TEST

/* A legacy file's values are means times calls, and a call is a chunk. */
START_TEST(a_legacy_file_weighs_by_the_chunk_size_of_the_gguf_file_beside_it)
{
    const float sums[] = {600, 900}, rows[] = {300}, means[] = {4 * 3, 5 * 3};
    const made_entry a = {name_q, 2, 1, sums, rows}, b = {name_q, 2, 1, means, three};
    const char *gguf = saved("a", made_imatrix(&a, 1, 3, 100));
    const char *dat = saved("b", made_imatrix_dat(&b, 1));
    for (int turn = 0; turn < 2; turn++) {
        qn_importance *m = opened((const char *[]){turn ? dat : gguf, turn ? gguf : dat}, 2);
        expect_weights(m, name_q, (float[]){3, 4}, 2);
        qn_importance_close(m);
    }
    qn_importance *alone = opened(&dat, 1);
    expect_weights(alone, name_q, (float[]){4, 5}, 2);
    qn_importance_close(alone);
}
END_TEST

static void refused(const char *const *paths, size_t n, qn_status expected, const char *words)
{
    qn_importance *m = NULL;
    qn_error err = {0};
    ck_assert_int_eq(qn_importance_open(&m, paths, n, &err), expected);
    ck_assert_msg(strstr(err.message, words), "'%s' lacks '%s'", err.message, words);
    ck_assert_ptr_null(m);
}

START_TEST(files_that_cannot_be_merged_are_refused)
{
    const float a[] = {1, 2, 3, 4, 5, 6}, huge[] = {3e38F, 3e38F, 3e38F, 3e38F},
                three_counts[] = {1, 1, 1};
    const float two_counts[] = {1, 1};
    const made_entry plain = {name_q, 4, 1, huge, ten}, longer = {name_q, 6, 1, a, ten};
    const made_entry twos = {name_q, 6, 2, a, two_counts}, threes = {name_q, 6, 3, a, three_counts};
    const char *x = saved("x", made_imatrix(&plain, 1, 1, 512));
    const char *y = saved("y", made_imatrix(&longer, 1, 1, 512));
    const char *z2 = saved("z2", made_imatrix(&twos, 1, 1, 512));
    const char *z3 = saved("z3", made_imatrix(&threes, 1, 1, 512));
    refused((const char *[]){x, y}, 2, QN_ERR_DATA, "has 6 values, in the files before 4");
    refused((const char *[]){z2, y, z3}, 3, QN_ERR_DATA, "has 3 counts, in the files before 2");
    refused((const char *[]){x, x}, 2, QN_ERR_DATA, "too large");
    refused((const char *[]){x, qn_test_path("absent")}, 2, QN_ERR_SYSTEM, "absent");
}
END_TEST

START_TEST(filters_look_for_a_word_anywhere_in_the_name)
{
    const float v[] = {1, 2};
    const made_entry e[] = {{"blk.0.attn_q.weight", 2, 1, v, ten},
                            {"blk.1.attn_q.weight", 2, 1, v, ten},
                            {"blk.0.ffn_up.weight", 2, 1, v, ten}};
    const char *path = saved("a", made_imatrix(e, 3, 1, 512));
    qn_error err = {0};
    qn_importance *m = opened(&path, 1);
    ck_assert(!qn_importance_filter(m, (const char *[]){"ffn", "blk.1"}, 2, false, &err));
    ck_assert_uint_eq(qn_importance_count(m), 1);
    ck_assert_ptr_nonnull(qn_importance_find(m, e[0].name));
    ck_assert_ptr_null(qn_importance_find(m, e[2].name));
    qn_importance_close(m);

    m = opened(&path, 1);
    ck_assert(!qn_importance_filter(m, (const char *[]){"ffn", "blk.1"}, 2, true, &err));
    ck_assert_uint_eq(qn_importance_count(m), 2);
    ck_assert_ptr_null(qn_importance_find(m, e[0].name));
    ck_assert_int_eq(qn_importance_filter(m, (const char *[]){"attn_v"}, 1, true, &err),
                     QN_ERR_ARGUMENT);
    ck_assert_msg(strstr(err.message, "attn_v"), "%s", err.message);
    qn_importance_close(m);
}
END_TEST

/* ---- plans -------------------------------------------------------------------------- */

enum { ROWS = 24, COLUMNS = 256, EXPERTS = 3 };

typedef struct {
    qn_model *model;
    float *q, *up, *embd;
    qn_importance *importance;
    float *weights; /* of all experts, one behind the other */
} task;

static float *random_values(qn_random *r, size_t n)
{
    float *v = qn_alloc(n, sizeof *v);
    ck_assert_ptr_nonnull(v);
    for (size_t i = 0; i < n; i++) v[i] = qn_random_normal(r);
    return v;
}

/* A model of one matrix, one stack of experts and an embedding; importance of
 * the first two. */
static void task_open(task *t)
{
    qn_random r = {SEED};
    *t = (task){.model = made_model_new("llama")};
    made_model_number(t->model, "block_count", 1);
    t->q = random_values(&r, ROWS * COLUMNS);
    t->up = random_values(&r, EXPERTS * ROWS * COLUMNS);
    t->embd = random_values(&r, ROWS * COLUMNS);
    made_model_add(t->model, "token_embd.weight", QN_F32, 2, (uint64_t[]){ROWS, COLUMNS}, t->embd);
    made_model_add(t->model, name_q, QN_F32, 2, (uint64_t[]){ROWS, COLUMNS}, t->q);
    made_model_add(t->model, name_up, QN_F32, 3, (uint64_t[]){EXPERTS, ROWS, COLUMNS}, t->up);
    t->weights = random_values(&r, EXPERTS * COLUMNS);
    for (size_t i = 0; i < EXPERTS * COLUMNS; i++) t->weights[i] *= t->weights[i];
    const float counts[EXPERTS] = {1, 1, 1};
    const made_entry e[] = {{name_q, COLUMNS, 1, t->weights, counts},
                            {name_up, (uint64_t)EXPERTS * COLUMNS, EXPERTS, t->weights, counts}};
    t->importance = opened((const char *[]){saved("t", made_imatrix(e, 2, 1, 512))}, 1);
}

static void task_close(task *t)
{
    qn_importance_close(t->importance);
    made_model_free(t->model);
    qn_free(t->weights);
    qn_free(t->embd);
    qn_free(t->up);
    qn_free(t->q);
}

static qn_status plan(const task *t, const char *mix, qn_plan **out, qn_error *err)
{
    const qn_quantize_options options = {.mix = qn_mix_by_name(mix), .importance = t->importance};
    *out = NULL;
    return qn_plan_quantize(out, t->model, &options, err);
}

static const qn_plan_entry *entry(const qn_plan *p, const char *name, size_t *at)
{
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->entries[i].tensor->name, name)) {
            if (at) *at = i;
            return &p->entries[i];
        }
    ck_abort_msg("no tensor %s", name);
}

START_TEST(a_plan_finds_the_importance_of_each_tensor)
{
    task t;
    qn_plan *p;
    qn_error err = {0};
    task_open(&t);
    ck_assert_msg(!plan(&t, "Q4_K_S", &p, &err), "%s", err.message);
    ck_assert_ptr_nonnull(entry(p, name_q, NULL)->importance);
    ck_assert_ptr_nonnull(entry(p, name_up, NULL)->importance);
    ck_assert(!entry(p, name_q, NULL)->lacks_importance);
    ck_assert_ptr_null(entry(p, "token_embd.weight", NULL)->importance);
    ck_assert(entry(p, "token_embd.weight", NULL)->lacks_importance);
    qn_plan_free(p);
    task_close(&t);
}
END_TEST

/* Q8_0 takes no notice, so nothing is lacking. */
START_TEST(a_type_that_does_not_heed_importance_lacks_none)
{
    task t;
    qn_plan *p;
    qn_error err = {0};
    task_open(&t);
    ck_assert_msg(!plan(&t, "Q8_0", &p, &err), "%s", err.message);
    for (size_t i = 0; i < p->n; i++) {
        ck_assert_ptr_null(p->entries[i].importance);
        ck_assert(!p->entries[i].lacks_importance);
    }
    qn_plan_free(p);
    task_close(&t);
}
END_TEST

START_TEST(importance_of_another_size_is_refused_but_for_the_embedding)
{
    task t;
    qn_plan *p;
    qn_error err = {0};
    task_open(&t);
    const float v[] = {1, 2};
    made_entry e[] = {{name_up, 2, 1, v, ten}, {"token_embd.weight", 2, 1, v, ten}};
    qn_importance_close(t.importance);
    t.importance = opened((const char *[]){saved("t", made_imatrix(e + 1, 1, 1, 512))}, 1);
    ck_assert_msg(!plan(&t, "Q4_K_S", &p, &err), "%s", err.message);
    ck_assert(entry(p, "token_embd.weight", NULL)->lacks_importance);
    qn_plan_free(p);

    qn_importance_close(t.importance);
    t.importance = opened((const char *[]){saved("t", made_imatrix(e, 2, 1, 512))}, 1);
    ck_assert_int_eq(plan(&t, "Q4_K_S", &p, &err), QN_ERR_ARGUMENT);
    ck_assert_msg(strstr(err.message, name_up) && strstr(err.message, "768 columns") &&
                      strstr(err.message, "values for 2"),
                  "%s", err.message);
    task_close(&t);
}
END_TEST

static const char *text_of(const qn_plan *p, const char *key, size_t *n)
{
    qn_str s = {0};
    qn_error err = {0};
    ck_assert_msg(!qn_metadata_str(p->metadata, key, &s, NULL, &err), "%s", err.message);
    *n = s.n;
    return s.s;
}

START_TEST(the_file_tells_of_its_importance_last_and_in_at_most_127_bytes)
{
    static const char *const last[] = {
        "general.quantization_version",   "general.file_type",
        "quantize.imatrix.file",          "quantize.imatrix.dataset",
        "quantize.imatrix.entries_count", "quantize.imatrix.chunks_count"};
    task t;
    qn_plan *p;
    qn_error err = {0};
    size_t n;
    uint64_t number = 0;
    task_open(&t);
    t.importance->path.n = 0;
    for (int i = 0; i < 20; i++) qn_text_adds(&t.importance->path, "directory/");
    ck_assert_msg(!plan(&t, "Q4_K_S", &p, &err), "%s", err.message);
    for (size_t i = 0; i < 6; i++) {
        const qn_meta_value *v =
            qn_metadata_at(p->metadata, qn_metadata_count(p->metadata) - 6 + i);
        ck_assert(qn_str_is(v->key, last[i]));
    }
    ck_assert(!strncmp(text_of(p, last[2], &n), t.importance->path.s, 127));
    ck_assert_uint_eq(n, 127);
    ck_assert(!strncmp(text_of(p, last[3], &n), "made.txt", 8));
    ck_assert_uint_eq(n, 8);
    ck_assert(!qn_metadata_u64(p->metadata, last[4], &number, NULL, NULL));
    ck_assert_uint_eq(number, 2);
    ck_assert(!qn_metadata_u64(p->metadata, last[5], &number, NULL, NULL));
    ck_assert_uint_eq(number, 1);
    qn_plan_free(p);
    task_close(&t);
}
END_TEST

/* ---- the pipeline ------------------------------------------------------------------- */

static qn_reader *written(const qn_plan *p, int threads, uint64_t memory)
{
    const char *path = qn_test_path("out.gguf");
    const qn_pipeline_options options = {.threads = threads, .memory_bytes = memory};
    qn_reader *r = NULL;
    qn_error err = {0};
    qn_status status = write_plan(p, path, &options, &err);
    if (!status) status = qn_reader_open(&r, path, &err);
    ck_assert_msg(!status, "%s", err.message);
    return r;
}

/* ROWS rows of each of `matrices` matrices, each with its slice of weights. */
static void expect_rows(const qn_reader *r, const char *name, const float *values,
                        const float *weights, unsigned matrices)
{
    qn_kernels k;
    bool runs;
    const qn_tensor *t = qn_reader_find(r, name);
    uint64_t row_bytes;
    uint8_t row[COLUMNS * 4];
    ck_assert(t && qn_kernels_level(0, &k, &runs));
    ck_assert(qn_dtype_row_bytes(t->dtype, COLUMNS, &row_bytes));
    for (size_t i = 0; i < (size_t)matrices * ROWS; i++) {
        const float *w = weights ? weights + i / ROWS * COLUMNS : NULL;
        k.encode[t->dtype](values + i * COLUMNS, w, row, COLUMNS);
        ck_assert_msg(!memcmp((const uint8_t *)t->data + i * row_bytes, row, row_bytes),
                      "%s: row %zu, seed %d", name, i, SEED);
    }
}

static const char *const mixes[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K_S", "Q5_K_S", "Q6_K"};

START_TEST(each_expert_is_encoded_with_its_own_slice)
{
    task t;
    qn_plan *p;
    qn_error err = {0};
    task_open(&t);
    ck_assert_msg(!plan(&t, mixes[_i], &p, &err), "%s", err.message);
    for (int threads = 1; threads <= 3; threads++) {
        const uint64_t least =
            qn_pipeline_least_memory(&(qn_pipeline_output){.plan = p}, 1, threads);
        qn_reader *r = written(p, threads, threads == 2 ? least : 0);
        expect_rows(r, name_q, t.q, t.weights, 1);
        expect_rows(r, name_up, t.up, t.weights, EXPERTS);
        expect_rows(r, "token_embd.weight", t.embd, NULL, 1);
        qn_reader_close(r);
    }
    qn_plan_free(p);
    task_close(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("importance");
    TCase *t = qn_test_group(s, "merge");
    tcase_add_test(t, a_weight_is_the_mean_and_one_for_an_expert_never_reached);
    tcase_add_test(t, sums_and_counts_of_several_files_add_up);
    tcase_add_test(t, a_legacy_file_weighs_by_the_chunk_size_of_the_gguf_file_beside_it);
    tcase_add_test(t, files_that_cannot_be_merged_are_refused);
    tcase_add_test(t, filters_look_for_a_word_anywhere_in_the_name);
    t = qn_test_group(s, "plan");
    tcase_add_test(t, a_plan_finds_the_importance_of_each_tensor);
    tcase_add_test(t, a_type_that_does_not_heed_importance_lacks_none);
    tcase_add_test(t, importance_of_another_size_is_refused_but_for_the_embedding);
    tcase_add_test(t, the_file_tells_of_its_importance_last_and_in_at_most_127_bytes);
    t = qn_test_group(s, "pipeline");
    tcase_add_loop_test(t, each_expert_is_encoded_with_its_own_slice, 0, 7);
    return qn_test_run_suite(s);
}
