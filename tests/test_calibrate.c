/* Importance matrices measured: beside llama-imatrix's and a computation in
 * float64, and beside themselves cut up otherwise. */
#include "validate/calibrate.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"
#include "tests/support/imatrix_bytes.h"
#include "tests/support/run.h"

enum { N_CTX = 128, CHUNKS = 5, IDS = 4096 };

/* The text of the goldens, as llama-imatrix tokenizes it. */
static size_t encode_short(const qn_test_golden *g, uint32_t *ids)
{
    const qn_encode_options how = {.add_special = true};
    char *text = NULL;
    size_t bytes = 0, n = 0, capacity = 0;
    uint32_t *list = NULL;
    qn_tokenizer *t = NULL;
    ck_assert(!qn_read_file(qn_test_data("eval/short.txt"), 1 << 20, &text, &bytes, NULL));
    ck_assert(!qn_tokenizer_new(&t, g->model->vocab, NULL));
    ck_assert(!qn_tokenizer_encode(t, qn_str_of(text, bytes), how, &list, &n, &capacity, NULL));
    ck_assert_uint_le(n, IDS);
    memcpy(ids, list, n * sizeof *ids);
    qn_free(list);
    qn_free(text);
    qn_tokenizer_free(t);
    return n;
}

/* Chunks from..CHUNKS of it into c. */
static void measure_into(qn_calibration *c, const qn_test_golden *g, const qn_decoder *d,
                         size_t from, size_t chunks, size_t batch, bool ppl)
{
    uint32_t ids[IDS];
    qn_chunks cut;
    qn_error err = {0};
    qn_perplexity_result p = {0};
    const qn_chunk_options how = {.n_ctx = N_CTX, .chunks = chunks, .batch = batch};
    const size_t n = encode_short(g, ids), skip = from * N_CTX;
    const uint32_t bos = qn_vocab_bos(g->model->vocab);
    ck_assert(!qn_chunks_cut(&cut, ids + skip, n - skip, bos, true, &how, NULL));
    ck_assert_msg(!qn_calibrate_run(c, d, &cut, ppl, NULL, NULL, &p, &err), "%s", err.message);
    qn_free(p.chunk_nll);
}

static qn_calibration *measure(const qn_test_golden *g, const qn_kernels *k, int threads,
                               size_t batch, bool ppl)
{
    qn_calibration *c = NULL;
    qn_decoder *d = qn_test_decoder(g->model, k, threads);
    ck_assert(!qn_calibration_new(&c, d, true, NULL));
    measure_into(c, g, d, 0, CHUNKS, batch, ppl);
    qn_decoder_free(d);
    return c;
}

static const qn_imatrix_sums *entry_of(const qn_calibration *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->entries[i].name, name)) return &c->entries[i];
    ck_abort_msg("no entry %s", name);
}

static void same_sums(const qn_calibration *a, const qn_calibration *b)
{
    ck_assert_uint_eq(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        const qn_imatrix_sums *x = &a->entries[i], *y = entry_of(b, x->name);
        ck_assert_uint_eq(x->columns, y->columns);
        ck_assert_uint_eq(x->matrices, y->matrices);
        ck_assert_msg(!memcmp(x->sums, y->sums, x->columns * x->matrices * sizeof *x->sums),
                      "%s differs", x->name);
        ck_assert(!memcmp(x->counts, y->counts, x->matrices * sizeof *x->counts));
    }
}

static void write_file(const qn_calibration *c, const char *path, bool legacy,
                       const qn_metadata *unfinished)
{
    qn_error err = {0};
    const qn_str text = qn_str_z("short.txt");
    const qn_imatrix_contents contents = {.entries = c->entries,
                                          .n_entries = c->n,
                                          .datasets = &text,
                                          .n_datasets = 1,
                                          .chunk_count = qn_calibration_chunks(c, N_CTX),
                                          .chunk_size = N_CTX,
                                          .unfinished = unfinished};
    ck_assert_msg(!qn_imatrix_write(&contents, path, legacy, true, &err), "%s", err.message);
}

/* ---- beside others ------------------------------------------------------------------------ */

static const struct {
    const char *model, *eval;
    double llama; /* the largest relative difference from llama-imatrix's float32 sums; its GELU is
                     a table of float16 */
} models[] = {
    {"models/trained/quern-demo-llama", "eval/quern-demo-llama", 4e-6},
    {"models/trained/quern-demo-gemma4", "eval/quern-demo-gemma4", 1.5e-3},
};

/* All but sums is llama-imatrix's to the byte. */
static void check_gguf(const char *ours_path, const char *llama_path, double bound)
{
    qn_imatrix *ours = NULL, *llama = NULL;
    ck_assert(!qn_imatrix_open(&ours, ours_path, NULL));
    ck_assert(!qn_imatrix_open(&llama, llama_path, NULL));
    const size_t head = (size_t)((const uint8_t *)llama->entries[0].values - llama->map.data);
    ck_assert_uint_eq(ours->map.size, llama->map.size);
    ck_assert_msg(!memcmp(ours->map.data, llama->map.data, head), "the headers differ");
    for (size_t i = 0; i < llama->n_entries; i++) {
        const qn_imatrix_entry *x = &ours->entries[i], *y = &llama->entries[i];
        ck_assert_str_eq(x->name, y->name);
        ck_assert_int_eq(qn_imatrix_count(x, 0), qn_imatrix_count(y, 0));
        for (uint64_t j = 0; j < y->n_values; j++)
            ck_assert_double_eq_tol((double)qn_imatrix_value(x, j), (double)qn_imatrix_value(y, j),
                                    bound * (double)qn_imatrix_value(y, j));
    }
    qn_imatrix_close(ours);
    qn_imatrix_close(llama);
}

static void check_float64(const qn_calibration *c, const char *path)
{
    qn_reader *r = NULL;
    ck_assert(!qn_reader_open(&r, path, NULL));
    for (size_t i = 0; i < r->n_tensors; i++) {
        const qn_tensor *t = &r->tensors[i];
        if (strncmp(t->name, "blk.", 4) != 0) continue;
        const qn_imatrix_sums *e = entry_of(c, t->name);
        ck_assert_uint_eq(qn_tensor_elements(t), e->columns);
        for (uint64_t j = 0; j < e->columns; j++) {
            const double want = qn_imatrix_exact(t->data, j);
            ck_assert_msg(fabs(e->sums[j] - want) <= 5e-6 * want, "%s[%llu] is %.9g, float64 %.9g",
                          t->name, (unsigned long long)j, e->sums[j], want);
        }
    }
    qn_reader_close(r);
}

START_TEST(sums_are_llama_imatrixs_and_those_of_float64)
{
    char path[256];
    qn_test_golden g;
    if (!qn_test_golden_open(&g, models[_i].model)) return;
    qn_calibration *c = measure(&g, qn_kernels_best(), 2, 0, false);
    const bool has_head = qn_model_find(g.model, "output.weight") != NULL;
    if (has_head) ck_assert_uint_eq(entry_of(c, "output.weight")->counts[0], CHUNKS * N_CTX);
    snprintf(path, sizeof path, "%s/imatrix-float64.safetensors", models[_i].eval);
    const char *float64 = qn_test_data(path);
    if (float64) check_float64(c, float64);
    qn_calibration_free(c);

    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    ck_assert(!qn_calibration_new(&c, d, false, NULL));
    measure_into(c, &g, d, 0, CHUNKS, 0, false);
    const char *ours = qn_test_path("ours.gguf");
    write_file(c, ours, false, NULL);
    snprintf(path, sizeof path, "%s/imatrix.gguf", models[_i].eval);
    const char *llama = qn_test_data(path);
    if (llama) check_gguf(ours, llama, models[_i].llama);
    qn_calibration_free(c);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

/* ---- cut up otherwise -------------------------------------------------------------------- */

START_TEST(sums_have_the_same_bits_however_they_are_made)
{
    qn_test_golden g;
    if (!qn_test_golden_open(&g, models[0].model)) return;
    qn_calibration *want = measure(&g, qn_kernels_best(), 2, 0, false);
    qn_calibration *others[] = {measure(&g, qn_kernels_best(), 1, 1, false),
                                measure(&g, qn_kernels_best(), 3, 2, true)};
    for (size_t i = 0; i < 2; i++) {
        same_sums(others[i], want);
        qn_calibration_free(others[i]);
    }
    qn_calibration_free(want);
    qn_test_golden_close(&g);
}
END_TEST

START_TEST(going_on_from_an_unfinished_file_loses_no_bit)
{
    qn_test_golden g;
    qn_imatrix *m = NULL;
    qn_calibration *first = NULL, *second = NULL;
    if (!qn_test_golden_open(&g, models[0].model)) return;
    qn_calibration *want = measure(&g, qn_kernels_best(), 2, 0, false);
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    qn_metadata *where = qn_metadata_new();
    ck_assert(!qn_calibration_new(&first, d, true, NULL));
    ck_assert(!qn_calibration_new(&second, d, true, NULL));
    measure_into(first, &g, d, 0, 2, 0, false);
    const char *path = qn_test_path("unfinished.gguf");
    write_file(first, path, false, where);
    ck_assert(!qn_imatrix_open(&m, path, NULL));
    ck_assert(!qn_calibration_add(second, m, N_CTX, NULL));
    same_sums(second, first);
    measure_into(second, &g, d, 2, CHUNKS - 2, 0, false);
    same_sums(second, want);
    ck_assert_uint_eq(qn_calibration_chunks(second, N_CTX), CHUNKS);
    qn_imatrix_close(m);
    qn_metadata_free(where);
    qn_calibration_free(first);
    qn_calibration_free(second);
    qn_calibration_free(want);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

/* ---- experts, merging, refusals ------------------------------------------------------------ */

START_TEST(experts_are_counted_apart)
{
    enum { N = 60 };
    qn_test_golden g;
    uint32_t ids[N];
    qn_calibration *c = NULL;
    if (!qn_test_golden_open(&g, "models/golden/qwen3-moe")) return;
    const qn_hparams *h = &g.model->hparams;
    for (uint32_t i = 0; i < N; i++) ids[i] = 3 + i * 7 % 90;
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    qn_session *s = qn_test_session(d, 1, N);
    ck_assert(!qn_calibration_new(&c, d, false, NULL));
    qn_session_watch_inputs(s, qn_calibration_see, c);
    qn_test_run(s, ids, N);
    const qn_imatrix_sums *e = entry_of(c, "blk.0.ffn_down_exps.weight");
    ck_assert_uint_eq(e->matrices, h->n_experts);
    ck_assert_uint_eq(e->columns, h->expert_feed_forward);
    uint64_t rows = 0;
    for (uint64_t i = 0; i < e->matrices; i++) {
        double sum = 0.0;
        for (uint64_t j = 0; j < e->columns; j++) sum += e->sums[i * e->columns + j];
        ck_assert_msg((sum > 0.0) == (e->counts[i] > 0), "expert %llu", (unsigned long long)i);
        rows += e->counts[i];
    }
    ck_assert_uint_eq(rows, N * h->n_experts_used);
    ck_assert_uint_eq(entry_of(c, "blk.0.ffn_gate_inp.weight")->counts[0], N);
    qn_calibration_free(c);
    qn_session_free(s);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

START_TEST(both_forms_are_added)
{
    static const float values[] = {1, 2, 3, 4}, calls[] = {2}, counts[] = {20, 0};
    const made_entry experts = {"blk.0.ffn_up_exps.weight", 4, 2, values, counts};
    const made_entry legacy = {"blk.0.ffn_up_exps.weight", 4, 1, values, calls};
    qn_text files[] = {made_imatrix(&experts, 1, 1, 10), made_imatrix_dat(&legacy, 1)};
    qn_calibration *c = NULL;
    ck_assert(!qn_calibration_new(&c, NULL, false, NULL));
    for (size_t i = 0; i < 2; i++) {
        qn_imatrix *m = NULL;
        ck_assert(!qn_imatrix_open_memory(&m, files[i].s, files[i].n, "made", NULL));
        ck_assert(!qn_calibration_add(c, m, 10, NULL));
        qn_imatrix_close(m);
        qn_text_free(&files[i]);
    }
    const qn_imatrix_sums *e = entry_of(c, experts.name);
    ck_assert_uint_eq(e->matrices, 2);
    ck_assert_uint_eq(e->counts[0], 40);
    ck_assert_uint_eq(e->counts[1], 20);
    for (size_t j = 0; j < 4; j++) ck_assert(e->sums[j] == 11.0 * (double)values[j]);
    ck_assert_uint_eq(qn_calibration_chunks(c, 10), 4);

    qn_imatrix *m = NULL;
    write_file(c, qn_test_path("both.dat"), true, NULL);
    ck_assert(!qn_imatrix_open(&m, qn_test_path("both.dat"), NULL));
    ck_assert_int_eq(m->entries[0].calls, 1);
    ck_assert(qn_imatrix_value(&m->entries[0], 1) == 22.0F / 40.0F);
    ck_assert(qn_imatrix_value(&m->entries[0], 2) == 33.0F / 20.0F);
    qn_imatrix_close(m);
    qn_calibration_free(c);
}
END_TEST

/* Of the second file's entry, whose one count is of both matrices that were there. */
START_TEST(one_exact_count_is_that_of_all_matrices)
{
    static const float values[] = {1, 2, 3, 4}, counts[] = {20, 10};
    static const double rows[] = {5, 1000}; /* the second is beyond the entry */
    qn_imatrix_entry e = {.name = "blk.0.x", .values = values, .n_values = 4, .counts = counts};
    qn_calibration *c = NULL;
    ck_assert(!qn_calibration_new(&c, NULL, false, NULL));
    e.n_counts = 2;
    ck_assert(!qn_calibration_add(c, &(qn_imatrix){.entries = &e, .n_entries = 1}, 10, NULL));
    e.n_counts = 1;
    e.rows = rows;
    ck_assert(!qn_calibration_add(c, &(qn_imatrix){.entries = &e, .n_entries = 1}, 10, NULL));
    ck_assert_uint_eq(c->entries[0].counts[0], 25);
    ck_assert_uint_eq(c->entries[0].counts[1], 15);
    qn_calibration_free(c);
}
END_TEST

START_TEST(a_file_with_other_matrices_than_the_models_is_refused)
{
    static const float values[] = {1, 2, 3, 4}, counts[] = {20, 10};
    qn_imatrix_entry e = {
        .name = "blk.0.x", .values = values, .n_values = 4, .counts = counts, .n_counts = 2};
    const qn_linear_input in = {
        .tensor = "blk.0.x", .matrices = 1, .x = values, .rows = 1, .columns = 4};
    qn_calibration *c = NULL;
    qn_error err = {0};
    ck_assert(!qn_calibration_new(&c, NULL, false, NULL));
    ck_assert(!qn_calibration_add(c, &(qn_imatrix){.entries = &e, .n_entries = 1}, 10, NULL));
    ck_assert_int_eq(qn_calibration_see(c, &in, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "blk.0.x: 1 x 4 sums where 2 x 2 were before");
    qn_calibration_free(c);
}
END_TEST

START_TEST(an_input_that_is_not_finite_is_refused_by_name)
{
    qn_test_golden g;
    qn_error err = {0};
    qn_calibration *c = NULL;
    if (!qn_test_golden_open(&g, models[0].model)) return;
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 1);
    const float x[] = {1.0F, NAN, 2.0F};
    const qn_linear_input in = {
        .tensor = "blk.7.attn_q.weight", .matrices = 1, .x = x, .rows = 1, .columns = 3};
    ck_assert(!qn_calibration_new(&c, d, false, NULL));
    ck_assert_int_eq(qn_calibration_see(c, &in, &err), QN_ERR_DATA);
    ck_assert_msg(strstr(err.message, "\"blk.7.attn_q.weight\" is multiplied with is not finite in "
                                      "column 1"),
                  "%s", err.message);
    qn_calibration_free(c);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calibrate");
    TCase *tc = qn_test_group(s, "sums");
    tcase_add_loop_test(tc, sums_are_llama_imatrixs_and_those_of_float64, 0, 2);
    tcase_add_test(tc, sums_have_the_same_bits_however_they_are_made);
    tcase_add_test(tc, going_on_from_an_unfinished_file_loses_no_bit);
    tcase_add_test(tc, experts_are_counted_apart);
    tcase_add_test(tc, both_forms_are_added);
    tcase_add_test(tc, one_exact_count_is_that_of_all_matrices);
    tcase_add_test(tc, a_file_with_other_matrices_than_the_models_is_refused);
    tcase_add_test(tc, an_input_that_is_not_finite_is_refused_by_name);
    return qn_test_run_suite(s);
}
