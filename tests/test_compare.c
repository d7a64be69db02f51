/* Comparing models: against the statistics of float64 logits on both sides
 * (eval/quern-demo-llama/kld.json), and against plain sums. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/json.h"
#include "quant/plan.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"
#include "tests/support/write_plan.h"
#include "validate/kl_statistics.h"
#include "validate/perplexity.h"

static const char model_name[] = "models/trained/quern-demo-llama";
static const char *const types[] = {"Q8_0", "Q4_K_M"};
enum { TESTS = 2 };

typedef struct {
    qn_model *model;
    qn_decoder *decoder;
} runnable;

static runnable opened(const char *path, int threads)
{
    runnable r = {0};
    qn_error err = {0};
    ck_assert_msg(!qn_model_open(&r.model, path, NULL, &err), "%s", err.message);
    ck_assert_msg(!qn_decoder_new(&r.decoder, r.model, qn_kernels_best(), threads, &err), "%s",
                  err.message);
    return r;
}

static void closed(runnable *r)
{
    qn_decoder_free(r->decoder);
    qn_model_close(r->model);
}

static const char *quantized(const qn_model *m, const char *type)
{
    qn_plan *plan = NULL;
    qn_error err = {0};
    char name[32];
    snprintf(name, sizeof name, "%s.gguf", type);
    const char *path = qn_test_path(name);
    const qn_quantize_options options = {.mix = qn_mix_by_name(type)};
    const qn_pipeline_options how = {.threads = 2};
    ck_assert_msg(!qn_plan_quantize(&plan, m, &options, &err), "%s", err.message);
    ck_assert_msg(!write_plan(plan, path, &how, &err), "%s", err.message);
    qn_plan_free(plan);
    return path;
}

static json_t *expected(void)
{
    json_t *all = NULL;
    qn_error err = {0};
    const char *path = qn_test_data("eval/quern-demo-llama/kld.json");
    ck_assert_ptr_nonnull(path);
    ck_assert_msg(!qn_json_load(path, 1 << 20, &all, &err), "%s", err.message);
    return all;
}

static size_t ids_of(const json_t *all, uint32_t **out)
{
    const json_t *tokens = json_object_get(all, "tokens");
    const size_t n = json_array_size(tokens);
    *out = qn_alloc(n, sizeof **out);
    for (size_t i = 0; i < n; i++)
        (*out)[i] = (uint32_t)json_integer_value(json_array_get(tokens, i));
    return n;
}

/* All models over the golden's text, against the model or a file of its logits. */
static void compare_all(const json_t *all, const qn_kld_base *base, const qn_compact_base *compact,
                        int threads, size_t batch, qn_comparison *seen)
{
    uint32_t *ids;
    qn_chunks chunks;
    qn_error err = {0};
    const size_t n = ids_of(all, &ids);
    const char *where = qn_test_data(model_name);
    ck_assert_ptr_nonnull(where);
    runnable reference = opened(where, threads), tests[TESTS];
    const qn_decoder *decoders[TESTS];
    const char *names[TESTS + 1] = {"reference"};
    for (size_t t = 0; t < TESTS; t++) {
        tests[t] = opened(quantized(reference.model, types[t]), threads);
        decoders[t] = tests[t].decoder;
        names[t + 1] = types[t];
    }
    const qn_chunk_options how = {.n_ctx = 128, .batch = batch};
    ck_assert_msg(
        !qn_chunks_cut(&chunks, ids, n, qn_vocab_bos(reference.model->vocab), true, &how, &err),
        "%s", err.message);
    ck_assert_uint_eq(chunks.chunks, 5);
    const qn_compare_reference from = {
        .decoder = reference.decoder, .base = base, .compact = compact};
    ck_assert_msg(!qn_compare_run(seen, &from, decoders, TESTS, names, &chunks, NULL, NULL, &err),
                  "%s", err.message);
    for (size_t t = 0; t < TESTS; t++) closed(&tests[t]);
    closed(&reference);
    qn_free(ids);
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (json_is_object(v)) v = json_object_get(v, "value");
    ck_assert_msg(json_is_number(v), "no number %s", key);
    return json_number_value(v);
}

static double uncertainty(const json_t *o, const char *key)
{
    return number(json_object_get(o, key), "uncertainty");
}

/* Within 0.1 % plus slack. */
static void close_to(const char *type, const char *what, double got, double want, double slack)
{
    ck_assert_msg(fabs(got - want) <= 1e-3 * fabs(want) + slack, "%s: %s is %.9g, in float64 %.9g",
                  type, what, got, want);
}

static void check_statistics(const char *type, const qn_kl_statistics *s, const json_t *want)
{
    close_to(type, "PPL", s->ppl.value, number(want, "Mean PPL(Q)"), 0);
    close_to(type, "PPL +/-", s->ppl.token_error, uncertainty(want, "Mean PPL(Q)"), 0);
    close_to(type, "PPL(base)", s->ppl_reference.value, number(want, "Mean PPL(base)"), 0);
    close_to(type, "correlation", s->correlation * 100,
             number(want, "Cor(ln(PPL(Q)), ln(PPL(base))) %"), 0);
    close_to(type, "log ratio", s->log_ratio.value, number(want, "Mean ln(PPL(Q)/PPL(base))"),
             1e-6);
    close_to(type, "log ratio +/-", s->log_ratio.token_error,
             uncertainty(want, "Mean ln(PPL(Q)/PPL(base))"), 1e-6);
    close_to(type, "ratio", s->ppl_ratio.value, number(want, "Mean PPL(Q)/PPL(base)"), 0);
    close_to(type, "mean KLD", s->kld.value, number(want, "Mean KLD"), 1e-6);
    close_to(type, "mean KLD +/-", s->kld.token_error, uncertainty(want, "Mean KLD"), 1e-6);
    close_to(type, "same top", s->same_top.value * 100, number(want, "Same top p %"), 0);
    close_to(type, "same top +/-", s->same_top.token_error * 100, uncertainty(want, "Same top p %"),
             0);
    close_to(type, "mean dp", s->delta_p.value * 100, number(want, "Mean \u0394p %"), 1e-4);
    close_to(type, "RMS dp", s->rms_delta_p * 100, number(want, "RMS \u0394p %"), 1e-4);
    close_to(type, "RMS dp +/-", s->rms_delta_p_error * 100, uncertainty(want, "RMS \u0394p %"),
             1e-4);
    static const struct {
        const char *kld, *delta_p;
    } names[QN_N_PERCENTILES] = {
        {"Minimum KLD", "Minimum \u0394p %"}, {"0.1% KLD", "0.1% \u0394p %"},
        {"1.0% KLD", "1.0% \u0394p %"},       {"5.0% KLD", "5.0% \u0394p %"},
        {"10.0% KLD", "10.0% \u0394p %"},     {NULL, "25.0% \u0394p %"},
        {"Median KLD", "Median \u0394p %"},   {NULL, "75.0% \u0394p %"},
        {"90.0% KLD", "90.0% \u0394p %"},     {"95.0% KLD", "95.0% \u0394p %"},
        {"99.0% KLD", "99.0% \u0394p %"},     {"99.9% KLD", "99.9% \u0394p %"},
        {"Maximum KLD", "Maximum \u0394p %"},
    };
    for (size_t i = 0; i < QN_N_PERCENTILES; i++) {
        if (names[i].kld)
            close_to(type, names[i].kld, s->kld_at[i], number(want, names[i].kld), 1e-6);
        close_to(type, names[i].delta_p, s->delta_p_at[i] * 100, number(want, names[i].delta_p),
                 1e-4);
    }
}

START_TEST(statistics_are_those_of_float64_logits)
{
    json_t *all = expected();
    qn_comparison seen;
    compare_all(all, NULL, NULL, 2, 0, &seen);
    for (size_t t = 0; t < TESTS; t++) {
        qn_kl_statistics s;
        const json_t *want = json_object_get(json_object_get(all, "float64"), types[t]);
        ck_assert(!qn_kl_statistics_of(&s, &seen, t, 0, seen.n, NULL));
        ck_assert_uint_eq(s.n, (uint64_t)number(want, "count"));
        check_statistics(types[t], &s, want);
        const json_t *windows = json_object_get(want, "window_mean_kld");
        for (size_t w = 0; w < s.windows; w++) {
            double sum = 0;
            for (size_t i = 0; i < seen.scored; i++) sum += seen.tests[t].kld[w * seen.scored + i];
            close_to(types[t], "a window's mean KLD", sum / (double)seen.scored,
                     json_number_value(json_array_get(windows, w)), 1e-6);
        }
    }
    qn_comparison_free(&seen);
    json_decref(all);
}
END_TEST

START_TEST(figures_have_the_same_bits_for_any_batch_and_threads)
{
    json_t *all = expected();
    qn_comparison one, many;
    compare_all(all, NULL, NULL, 1, 1, &one);
    compare_all(all, NULL, NULL, 3, 4, &many);
    ck_assert(!memcmp(one.nll, many.nll, one.n * sizeof *one.nll));
    for (size_t t = 0; t < TESTS; t++) {
        const qn_compared *a = &one.tests[t], *b = &many.tests[t];
        ck_assert(!memcmp(a->kld, b->kld, one.n * sizeof *a->kld));
        ck_assert(!memcmp(a->nll, b->nll, one.n * sizeof *a->nll));
        ck_assert(!memcmp(a->top, b->top, one.n * sizeof *a->top));
    }
    qn_comparison_free(&one);
    qn_comparison_free(&many);
    json_decref(all);
}
END_TEST

/* llama-perplexity's file, with the float64 statistics against that very file. */
START_TEST(a_file_of_logits_gives_the_statistics_against_that_file)
{
    qn_kld_base base;
    qn_error err = {0};
    qn_comparison seen;
    const char *path = qn_test_data("eval/quern-demo-llama/base.kld");
    if (!path) return;
    ck_assert(qn_kld_base_is(path));
    ck_assert_msg(!qn_kld_base_open(&base, path, &err), "%s", err.message);
    json_t *all = expected();
    compare_all(all, &base, NULL, 2, 0, &seen);
    for (size_t t = 0; t < TESTS; t++) {
        qn_kl_statistics s;
        const json_t *against = json_object_get(all, "float64_against_base_file");
        ck_assert(!qn_kl_statistics_of(&s, &seen, t, 0, seen.n, NULL));
        check_statistics(types[t], &s, json_object_get(against, types[t]));
    }
    qn_comparison_free(&seen);
    json_decref(all);
    qn_kld_base_close(&base);
}
END_TEST

static const char *written_base(const json_t *all)
{
    uint32_t *ids;
    qn_error err = {0};
    qn_perplexity_result p = {0};
    const size_t n = ids_of(all, &ids);
    runnable reference = opened(qn_test_data(model_name), 2);
    qn_compact_writer w = {.path = qn_test_path("base.qkl")};
    const qn_logits_sink sink = {&w, qn_compact_writer_begin, qn_compact_writer_rows};
    const qn_perplexity_options how = {.n_ctx = 128, .sink = &sink};
    const qn_status status =
        qn_perplexity_run(reference.decoder, ids, n, qn_vocab_bos(reference.model->vocab), true,
                          &how, NULL, NULL, &p, &err);
    ck_assert_msg(!qn_compact_writer_end(&w, status, &err), "%s", err.message);
    qn_free(p.chunk_nll);
    qn_free(ids);
    closed(&reference);
    return w.path;
}

/* Rounding to a step of h adds h^2 / 24 on average, 4e-8; the rest is the samples'. */
START_TEST(a_compact_base_gives_the_figures_of_float64_logits_within_its_error)
{
    json_t *all = expected();
    qn_compact_base base;
    qn_error err = {0};
    qn_comparison seen;
    ck_assert_msg(!qn_compact_base_open(&base, written_base(all), &err), "%s", err.message);
    compare_all(all, NULL, &base, 2, 0, &seen);
    for (size_t t = 0; t < TESTS; t++) {
        qn_kl_statistics s;
        const qn_compared *c = &seen.tests[t];
        const double n = (double)seen.n, error = sqrt(c->kld_variance) / n;
        const json_t *want = json_object_get(json_object_get(all, "float64"), types[t]);
        const double exact = number(want, "Mean KLD");
        ck_assert(!qn_kl_statistics_of(&s, &seen, t, 0, seen.n, NULL));
        close_to(types[t], "PPL", s.ppl.value, number(want, "Mean PPL(Q)"), 0);
        close_to(types[t], "PPL(base)", s.ppl_reference.value, number(want, "Mean PPL(base)"), 0);
        close_to(types[t], "same top", s.same_top.value * 100, number(want, "Same top p %"), 0);
        close_to(types[t], "mean dp", s.delta_p.value * 100, number(want, "Mean \u0394p %"), 1e-4);
        close_to(types[t], "99 % KLD", s.kld_at[10], number(want, "99.0% KLD"),
                 1e-2 * s.kld_at[10]);
        ck_assert_msg(fabs(s.kld.value - exact) < 1e-3 * exact + 2e-7 + 4 * error,
                      "%s: mean KLD %.9g, in float64 %.9g", types[t], s.kld.value, exact);
        ck_assert(c->kld_least / n < exact && exact < c->kld_most / n);
    }
    qn_comparison_free(&seen);
    qn_compact_base_close(&base);
    json_decref(all);
}
END_TEST

/* ---- statistics of made-up figures ------------------------------------------------------ */

START_TEST(errors_by_windows_are_those_of_the_windows_means)
{
    /* three windows of two: KLD means 1, 2, 6; their standard error sqrt(7 / 3) */
    double nll[6] = {1, 1, 1, 1, 1, 1}, kld[6] = {0, 2, 1, 3, 6, 6};
    uint32_t top[6] = {0}, other[6] = {0, 0, 0, 1, 1, 1};
    qn_compared test = {.nll = nll, .kld = kld, .top = other};
    const qn_comparison c = {
        .n = 6, .scored = 2, .n_tests = 1, .nll = nll, .top = top, .tests = &test};
    qn_kl_statistics s;
    ck_assert(!qn_kl_statistics_of(&s, &c, 0, 0, 6, NULL));
    ck_assert(fabs(s.kld.value - 3.0) < 1e-12);
    ck_assert(fabs(s.kld.error - sqrt(7.0 / 3.0)) < 1e-12);
    ck_assert(fabs(s.kld.token_error - sqrt((86.0 / 6 - 9) / 5)) < 1e-12);
    ck_assert(fabs(s.same_top.value - 0.5) < 1e-12);
    ck_assert(s.ppl_ratio.value == 1.0 && s.rms_delta_p == 0.0);
    ck_assert(s.kld_at[0] == 0.0 && s.kld_at[QN_N_PERCENTILES - 1] == 6.0);
    ck_assert(s.kld_at[6] == 2.5); /* between 2 and 3 */
    size_t at[4];
    ck_assert_uint_eq(qn_worst_positions(&c, 0, at, 4), 4);
    ck_assert(at[0] == 4 && at[1] == 5 && at[2] == 3 && at[3] == 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("compare");
    TCase *t = qn_test_group(s, "compare");
    tcase_add_test(t, statistics_are_those_of_float64_logits);
    tcase_add_test(t, a_file_of_logits_gives_the_statistics_against_that_file);
    tcase_add_test(t, a_compact_base_gives_the_figures_of_float64_logits_within_its_error);
    tcase_add_test(t, figures_have_the_same_bits_for_any_batch_and_threads);
    tcase_add_test(t, errors_by_windows_are_those_of_the_windows_means);
    return qn_test_run_suite(s);
}
