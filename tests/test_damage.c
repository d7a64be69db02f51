/* Where a model is damaged: against files that were quantized without one
 * tensor, and against plain sums over hidden states. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "quant/plan.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"
#include "tests/support/run.h"
#include "tests/support/write_plan.h"
#include "validate/output_errors.h"
#include "validate/put_back.h"

static const char model_name[] = "models/trained/quern-demo-llama";
enum { CONTEXT = 48, WINDOWS = 3, WIDTH = 4096, STATES = 16 };

typedef struct {
    qn_model *model;
    qn_decoder *decoder;
} runnable;

static runnable opened(const char *path)
{
    runnable r = {0};
    qn_error err = {0};
    ck_assert_ptr_nonnull(path);
    ck_assert_msg(!qn_model_open(&r.model, path, NULL, &err), "%s", err.message);
    r.decoder = qn_test_decoder(r.model, qn_kernels_best(), 1);
    return r;
}

static void closed(const runnable *r)
{
    qn_decoder_free(r->decoder);
    qn_model_close(r->model);
}

/* The model in Q4_K_M, but one tensor as it was (NULL: all as the mix says). */
static runnable quantized(const qn_model *m, const char *spared)
{
    qn_plan *plan;
    qn_error err = {0};
    const char *path = qn_test_path(spared ? spared : "all.gguf");
    const qn_quantize_options options = {.mix = qn_mix_by_name("Q4_K_M")};
    const qn_pipeline_options how = {.threads = 1};
    ck_assert_msg(!qn_plan_quantize(&plan, m, &options, &err), "%s", err.message);
    for (size_t i = 0; i < plan->n; i++)
        if (spared && !strcmp(plan->entries[i].tensor->name, spared))
            plan->entries[i].dtype = plan->entries[i].tensor->rows->dtype;
    ck_assert_msg(!write_plan(plan, path, &how, &err), "%s", err.message);
    qn_plan_free(plan);
    return opened(path);
}

static qn_chunks some_chunks(const qn_model *m, uint32_t *ids)
{
    qn_chunks c;
    qn_error err;
    const qn_chunk_options how = {.n_ctx = CONTEXT, .batch = 2};
    for (size_t i = 0; i < (size_t)WINDOWS * CONTEXT; i++)
        ids[i] = (uint32_t)(7 + i * i % 501 + i % 13);
    ck_assert(!qn_chunks_cut(&c, ids, (size_t)WINDOWS * CONTEXT, qn_vocab_bos(m->vocab), true, &how,
                             &err));
    return c;
}

static double mean_kld(const qn_decoder *reference, const qn_decoder *test, const qn_chunks *c)
{
    static const char *const names[] = {"reference", "test"};
    qn_comparison seen;
    qn_error err = {0};
    double sum = 0;
    ck_assert_msg(!qn_compare_run(&seen, &(qn_compare_reference){.decoder = reference}, &test, 1,
                                  names, c, NULL, NULL, &err),
                  "%s", err.message);
    for (size_t i = 0; i < seen.n; i++) sum += seen.tests->kld[i] / (double)seen.n;
    qn_comparison_free(&seen);
    return sum;
}

/* q is permuted on its way into the file, the embedding is the head as well.
 * _i: qn_activations, of all that is not the reference. */
START_TEST(a_tensor_put_back_is_a_file_that_left_it_alone)
{
    static const char *const names[] = {"blk.0.ffn_down.weight", "blk.1.attn_q.weight",
                                        "token_embd.weight", "blk.2.attn_v.weight",
                                        "blk.4.ffn_up.weight"};
    enum { N = sizeof names / sizeof *names };
    uint32_t ids[WINDOWS * CONTEXT];
    qn_put_back list[N];
    double kld;
    qn_error err = {0};
    const runnable reference = opened(qn_test_data(model_name));
    const runnable test = quantized(reference.model, NULL);
    const qn_chunks c = some_chunks(reference.model, ids);
    qn_decoder_set_activations(test.decoder, (qn_activations)_i);
    for (size_t i = 0; i < N; i++)
        list[i].tensor = (size_t)(qn_model_find(test.model, names[i]) - test.model->tensors);
    ck_assert_msg(
        !qn_put_back_measure(list, N, reference.decoder, test.decoder, &c, &kld, NULL, &err), "%s",
        err.message);
    const double whole = mean_kld(reference.decoder, test.decoder, &c);
    ck_assert_double_eq_tol(kld, whole, 1e-15);
    for (size_t i = 0; i < N; i++) {
        const runnable spared = quantized(reference.model, names[i]);
        qn_decoder_set_activations(spared.decoder, (qn_activations)_i);
        const double want = mean_kld(reference.decoder, spared.decoder, &c);
        ck_assert_msg(fabs(list[i].kld - want) < 1e-15, "%s: %.12g, its file gives %.12g", names[i],
                      list[i].kld, want);
        ck_assert_double_eq_tol(list[i].gain, whole - want, 1e-15);
        ck_assert(list[i].error > 0);
        closed(&spared);
    }
    closed(&test);
    closed(&reference);
}
END_TEST

typedef struct {
    float *x; /* [STATES][WINDOWS][CONTEXT * hidden] */
    size_t window, floats;
} kept;

static void keep(void *ctx, int layer, const float *x, size_t n_tokens, size_t hidden)
{
    const kept *k = ctx;
    ck_assert_uint_eq(n_tokens * hidden, k->floats);
    memcpy(k->x + ((size_t)(layer + 1) * WINDOWS + k->window) * k->floats, x,
           k->floats * sizeof *x);
}

static float *all_states(const runnable *r, const qn_chunks *c)
{
    kept k = {.floats = CONTEXT * (size_t)r->model->hparams.hidden};
    k.x = qn_alloc(STATES * WINDOWS * k.floats, sizeof *k.x);
    ck_assert_ptr_nonnull(k.x);
    for (; k.window < WINDOWS; k.window++) {
        uint32_t ids[CONTEXT];
        qn_session *s = qn_test_session(r->decoder, 1, CONTEXT);
        memcpy(ids, qn_chunk_ids(c, k.window), sizeof ids);
        ids[0] = c->bos;
        ck_assert(!qn_session_run(s, ids, CONTEXT, keep, &k, NULL));
        qn_session_free(s);
    }
    return k.x;
}

/* So few positions are all looked at. */
START_TEST(layers_errors_are_norms_of_differences)
{
    uint32_t ids[WINDOWS * CONTEXT];
    qn_output_errors e;
    const runnable reference = opened(qn_test_data(model_name));
    const runnable test = quantized(reference.model, NULL);
    const qn_chunks c = some_chunks(reference.model, ids);
    ck_assert(!qn_output_errors_measure(&e, reference.decoder, test.decoder, &c, NULL));
    float *x = all_states(&reference, &c), *y = all_states(&test, &c);
    const size_t n = WINDOWS * CONTEXT * (size_t)reference.model->hparams.hidden;
    for (size_t l = 0; l < e.n_layers + 2; l++) {
        double difference = 0, whole = 0;
        for (size_t i = l * n; i < (l + 1) * n; i++) {
            difference += pow((double)y[i] - (double)x[i], 2);
            whole += pow((double)x[i], 2);
        }
        ck_assert_msg(fabs(e.layers[l] / sqrt(difference / whole) - 1) < 1e-9, "state %zu: %.12g",
                      l, e.layers[l]);
        ck_assert(e.layers[l] > 0.005 && e.layers[l] < 0.2);
    }
    qn_free(x);
    qn_free(y);
    qn_output_errors_free(&e);
    closed(&test);
    closed(&reference);
}
END_TEST

/* |W'x - Wx| of rounding noise is about |W' - W| in parts of |W|. */
START_TEST(tensors_errors_are_about_those_of_their_weights)
{
    uint32_t ids[WINDOWS * CONTEXT];
    qn_output_errors e, none;
    const runnable reference = opened(qn_test_data(model_name));
    const runnable test = quantized(reference.model, NULL);
    const qn_chunks c = some_chunks(reference.model, ids);
    ck_assert(!qn_output_errors_measure(&e, reference.decoder, test.decoder, &c, NULL));
    ck_assert(!qn_output_errors_measure(&none, reference.decoder, reference.decoder, &c, NULL));
    for (size_t i = 0; i < test.model->n_tensors; i++) {
        static float w[WIDTH], v[WIDTH];
        const qn_model_tensor *t = &test.model->tensors[i];
        const qn_model_tensor *r = qn_counterpart(reference.model, t);
        double difference = 0, whole = 0;
        ck_assert(none.tensors[i] == 0);
        ck_assert(t->rows->columns <= WIDTH);
        for (uint64_t row = 0; row < t->rows->rows; row++) {
            ck_assert(!r->rows->decode(r->rows, qn_kernels_best(), row, row + 1, w, NULL));
            ck_assert(!t->rows->decode(t->rows, qn_kernels_best(), row, row + 1, v, NULL));
            for (size_t k = 0; k < t->rows->columns; k++) {
                difference += pow((double)v[k] - (double)w[k], 2);
                whole += pow((double)w[k], 2);
            }
        }
        const double of_weights = sqrt(difference / whole);
        ck_assert_msg(e.tensors[i] >= of_weights / 3 && e.tensors[i] <= 3 * of_weights,
                      "%s: outputs %.4g, weights %.4g", t->name, e.tensors[i], of_weights);
    }
    qn_output_errors_free(&none);
    qn_output_errors_free(&e);
    closed(&test);
    closed(&reference);
}
END_TEST

/* Whatever pages are given back on the way. */
START_TEST(less_memory_does_not_change_a_bit)
{
    uint32_t ids[WINDOWS * CONTEXT];
    qn_output_errors whole, limited;
    qn_put_back list[2] = {{.tensor = 3}, {.tensor = 9}}, again[2] = {{.tensor = 3}, {.tensor = 9}};
    double kld, other;
    const runnable reference = opened(qn_test_data(model_name));
    const runnable test = quantized(reference.model, NULL);
    const qn_chunks c = some_chunks(reference.model, ids);
    ck_assert(!qn_output_errors_measure(&whole, reference.decoder, test.decoder, &c, NULL));
    ck_assert(!qn_put_back_measure(list, 2, reference.decoder, test.decoder, &c, &kld, NULL, NULL));
    qn_decoder_give_back(reference.decoder);
    qn_decoder_give_back(test.decoder);
    ck_assert(!qn_output_errors_measure(&limited, reference.decoder, test.decoder, &c, NULL));
    ck_assert(
        !qn_put_back_measure(again, 2, reference.decoder, test.decoder, &c, &other, NULL, NULL));
    ck_assert_mem_eq(whole.layers, limited.layers, (whole.n_layers + 2) * sizeof(double));
    ck_assert_mem_eq(whole.tensors, limited.tensors, test.model->n_tensors * sizeof(double));
    ck_assert_mem_eq(&kld, &other, sizeof kld);
    ck_assert_mem_eq(list, again, sizeof list);
    qn_output_errors_free(&whole);
    qn_output_errors_free(&limited);
    closed(&test);
    closed(&reference);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("damage");
    TCase *tc = qn_test_group(suite, "damage");
    tcase_add_loop_test(tc, a_tensor_put_back_is_a_file_that_left_it_alone, QN_ACTIVATIONS_EXACT,
                        QN_ACTIVATIONS_Q8 + 1);
    tcase_add_test(tc, layers_errors_are_norms_of_differences);
    tcase_add_test(tc, less_memory_does_not_change_a_bit);
    tcase_add_test(tc, tensors_errors_are_about_those_of_their_weights);
    return qn_test_run_suite(suite);
}
