/* Every golden checkpoint, as it is and through a GGUF file of ours, against
 * transformers' logits, hidden states, continuations and perplexity; and
 * docs/families.md, whose figures are this program's (make families). */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/data.h"
#include "tests/support/families.h"
#include "tests/support/files.h"
#include "tests/support/run.h"
#include "tests/support/vocab.h"
#include "tests/support/write_model.h"
#include "validate/perplexity.h"

enum { MOST_TOKENS = 64 };

static const char *const prompts[] = {"short", "long"};

static const json_t *prompt_of(const qn_test_golden *g, const char *name)
{
    return json_object_get(json_object_get(g->json, "prompts"), name);
}

static double number_in(const json_t *o, const char *key)
{
    ck_assert_msg(json_is_number(json_object_get(o, key)), "no number %s", key);
    return json_number_value(json_object_get(o, key));
}

static uint32_t highest(const float *logits, size_t n)
{
    uint32_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = (uint32_t)i;
    return best;
}

/* ---- opening, from either side ----------------------------------------------------------- */

/* Loop numbers count families twice: as checkpoints, then as GGUF files, which
 * are read by other code. */
static const qn_test_family *family_of(int number)
{
    return &qn_test_families[number / 2];
}

static bool open_either(int number, qn_test_golden *g)
{
    qn_error err = {0};
    if (!qn_test_family_open(family_of(number), g)) return false;
    if (number % 2 == 0) return true;
    const char *path = qn_test_path("family.gguf");
    write_model(g->model, QN_OUT_F32, &qn_format_gguf, path);
    qn_model_close(g->model);
    ck_assert_msg(!qn_model_open(&g->model, path, NULL, &err), "%s", err.message);
    ck_assert_msg(g->model->family, "%s", g->model->not_runnable);
    return true;
}

/* ---- what one of them is measured to be -------------------------------------------------- */

/* The largest difference of a prompt's logits; every argmax must be equal. */
static double logits_difference(const qn_test_golden *g, const qn_decoder *d, const char *prompt)
{
    uint32_t ids[MOST_TOKENS], argmax[MOST_TOKENS];
    char name[64];
    size_t n_golden;
    double worst = 0.0;
    const json_t *o = prompt_of(g, prompt);
    const size_t n = qn_test_ids(json_object_get(o, "ids"), ids, MOST_TOKENS);
    const size_t n_vocab = (size_t)g->model->hparams.n_vocab;
    ck_assert_uint_eq(qn_test_ids(json_object_get(o, "argmax"), argmax, MOST_TOKENS), n);
    float *logits = qn_test_logits(d, g->model, ids, n);
    snprintf(name, sizeof name, "logits.%s", prompt);
    const float *golden = qn_test_golden_tensor(g, name, &n_golden);
    const float *last = logits + n * n_vocab - n_golden;
    for (size_t i = 0; i < n_golden; i++)
        worst = fmax(worst, fabs((double)last[i] - (double)golden[i]));
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(highest(logits + i * n_vocab, n_vocab) == argmax[i],
                      "%s, position %zu: token %u is highest, golden %u", prompt, i,
                      highest(logits + i * n_vocab, n_vocab), argmax[i]);
    free(logits);
    return worst;
}

static double perplexity_of(const qn_test_golden *g, const qn_decoder *d)
{
    size_t n_ids;
    qn_perplexity_result r;
    qn_error err = {0};
    const uint32_t *ids = qn_test_golden_tensor(g, "ppl.tokens", &n_ids);
    const qn_perplexity_options options = {.n_ctx = 128};
    const json_t *golden = json_object_get(g->json, "perplexity");
    const json_t *bos = json_object_get(g->json, "bos_id");
    ck_assert_msg(!qn_perplexity_run(d, ids, n_ids, (uint32_t)json_integer_value(bos),
                                     json_is_true(json_object_get(golden, "add_bos")), &options,
                                     NULL, NULL, &r, &err),
                  "%s", err.message);
    qn_free(r.chunk_nll);
    return r.ppl;
}

/* ---- tests ---------------------------------------------------------------------------------- */

/* Within 1e-4 of the logits' standard deviation, or three times what float32
 * against float64 costs transformers itself, if that is more. */
START_TEST(logits_are_the_golden_ones)
{
    qn_test_golden g;
    if (!open_either(_i, &g)) return;
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *o = prompt_of(&g, prompts[i]);
        const double worst = logits_difference(&g, d, prompts[i]);
        const double within =
            fmax(3.0 * number_in(o, "f32_minus_f64_max_abs"), 1e-4 * number_in(o, "logits_std"));
        ck_assert_msg(worst <= within, "%s, %s: logits differ by %g, more than %g",
                      family_of(_i)->model, prompts[i], worst, within);
    }
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

typedef struct {
    const qn_test_golden *g;
    const char *prompt;
    double within[QN_MAX_LAYERS];
    int calls;
} hidden_check;

static void check_hidden(void *ctx, int layer, const float *x, size_t n_tokens, size_t hidden)
{
    hidden_check *c = ctx;
    char name[64];
    size_t n;
    const int n_layers = (int)c->g->model->hparams.n_layers;
    ck_assert_int_eq(layer, c->calls - 1);
    if (layer < 0)
        snprintf(name, sizeof name, "hidden.%s.embed", c->prompt);
    else if (layer < n_layers)
        snprintf(name, sizeof name, "hidden.%s.layer.%d", c->prompt, layer);
    else
        snprintf(name, sizeof name, "hidden.%s.final_norm", c->prompt);
    const float *golden = qn_test_golden_tensor(c->g, name, &n);
    ck_assert_uint_eq(n, hidden); /* several streams stand one behind the other in both */
    const float *last = x + (n_tokens - 1) * hidden;
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)last[i] - (double)golden[i]) <= c->within[c->calls],
                      "%s[%zu] is %.9g, golden %.9g", name, i, (double)last[i], (double)golden[i]);
    c->calls++;
}

/* The first layer that differs is named: within 10 times its own noise. */
START_TEST(hidden_states_are_the_golden_ones_layer_by_layer)
{
    qn_test_golden g;
    uint32_t ids[MOST_TOKENS];
    if (!open_either(_i, &g)) return;
    const size_t states = (size_t)g.model->hparams.n_layers + 2;
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    for (size_t p = 0; p < 2; p++) {
        const json_t *o = prompt_of(&g, prompts[p]);
        const json_t *noise = json_object_get(o, "hidden_f32_minus_f64_max_abs");
        const size_t n = qn_test_ids(json_object_get(o, "ids"), ids, MOST_TOKENS);
        hidden_check c = {.g = &g, .prompt = prompts[p]};
        ck_assert_uint_eq(qn_test_numbers(noise, c.within, QN_MAX_LAYERS), states);
        for (size_t i = 0; i < states; i++) c.within[i] = fmax(10.0 * c.within[i], 1e-6);
        qn_session *s = qn_test_session(d, 1, n);
        ck_assert(!qn_session_run(s, ids, n, check_hidden, &c, NULL));
        ck_assert_int_eq(c.calls, (int)states);
        qn_session_free(s);
    }
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

/* Greedy, one token at a time through the cache. */
START_TEST(continuations_are_the_golden_ones)
{
    enum { N = 16 };
    qn_test_golden g;
    uint32_t ids[MOST_TOKENS], expected[N], got[N];
    if (!open_either(_i, &g)) return;
    const size_t n = qn_test_ids(json_object_get(prompt_of(&g, "short"), "ids"), ids, MOST_TOKENS);
    const size_t n_vocab = (size_t)g.model->hparams.n_vocab;
    const json_t *greedy = json_object_get(json_object_get(g.json, "greedy"), "ids");
    ck_assert_uint_eq(qn_test_ids(greedy, expected, N), N);
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    qn_session *s = qn_test_session(d, 1, n + N);
    float *logits = malloc(n_vocab * sizeof *logits);
    qn_test_run(s, ids, n);
    for (size_t i = 0; i < N; i++) {
        ck_assert(!qn_session_logits(s, 0, i ? 0 : n - 1, 1, logits, NULL));
        got[i] = highest(logits, n_vocab);
        qn_test_run(s, &got[i], 1);
    }
    ck_assert_mem_eq(got, expected, sizeof got);
    free(logits);
    qn_session_free(s);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

START_TEST(perplexity_is_the_golden_one_to_five_digits)
{
    qn_test_golden g;
    if (!open_either(_i, &g)) return;
    const double golden = number_in(json_object_get(g.json, "perplexity"), "f64");
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    const double ppl = perplexity_of(&g, d);
    ck_assert_msg(fabs(ppl / golden - 1.0) < 5e-6, "%s: %.8g, golden %.8g", family_of(_i)->model,
                  ppl, golden);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

/* ---- docs/families.md ------------------------------------------------------------------------- */

static size_t tokenizer_cases(const char *tokenizer, size_t *all)
{
    char name[128];
    qn_test_tokenizer r;
    size_t i, equal = 0;
    json_t *c;
    *all = 0;
    snprintf(name, sizeof name, "models/golden/tokenizers/%s/vectors.json", tokenizer);
    const char *path = qn_test_data(name);
    snprintf(name, sizeof name, "models/golden/tokenizers/%s", tokenizer);
    if (!path || !qn_test_tokenizer_open(&r, name, 0)) return 0;
    json_t *root = qn_test_json(path);
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        uint32_t want[4096];
        const size_t n = qn_test_ids(json_object_get(c, "ids"), want, 4096);
        qn_test_encode(&r, qn_test_string(json_object_get(c, "text")), true, true);
        equal += n == r.n && (n == 0 || !memcmp(want, r.ids, n * sizeof *want));
    }
    *all = i;
    json_decref(root);
    qn_test_tokenizer_close(&r);
    return equal;
}

/* Of the outtypes, in words; a difference ends the test. */
static void equal_outtypes(const qn_test_family *f, char *words, size_t size)
{
    size_t i = 0;
    while (i < QN_TEST_OUTTYPES && qn_test_family_check_gguf(f, i)) i++;
    if (i)
        snprintf(words, size, "%zu of %zu", i, (size_t)QN_TEST_OUTTYPES);
    else
        snprintf(words, size, "none made");
}

/* A row of the table; false where the checkpoint is not there. */
static bool measure(const qn_test_family *f, char *row, size_t size)
{
    qn_test_golden g;
    double worst = 0.0, noise = 0.0;
    size_t cases;
    char outtypes[24];
    if (!qn_test_family_open(f, &g)) return false;
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *o = prompt_of(&g, prompts[i]);
        const double spread = number_in(o, "logits_std");
        worst = fmax(worst, logits_difference(&g, d, prompts[i]) / spread);
        noise = fmax(noise, number_in(o, "f32_minus_f64_max_abs") / spread);
    }
    const size_t equal = tokenizer_cases(f->tokenizer, &cases);
    equal_outtypes(f, outtypes, sizeof outtypes);
    snprintf(row, size, "| %s | %s | %.1e | %.1e | %.4f / %.4f | %s | %zu of %zu |\n", f->title,
             f->model, worst, noise, perplexity_of(&g, d),
             number_in(json_object_get(g.json, "perplexity"), "f64"), outtypes, equal, cases);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
    return true;
}

static const char table_head[] =
    "# Families\n"
    "\n"
    "Each golden checkpoint is a small random model made with transformers. Against its float32 "
    "logits: the largest\n"
    "difference in units of the logits' standard deviation, and beside it transformers' own "
    "largest difference between\n"
    "float32 and float64. Perplexity is of a text in chunks of 128 ids, golden from a float64 run. "
    "GGUF: outtypes (F32, F16,\n"
    "BF16, Q8_0) whose file is the reference converter's in keys, types, values, order, shapes and "
    "bytes, where it makes\n"
    "one. Tokenizer: cases whose ids are the reference's.\n"
    "\n"
    "This file is written by `make families` (tests/test_families.c), and the test fails when a "
    "figure is no longer so.\n"
    "\n"
    "| family | checkpoint | logits | float64 noise | perplexity, ours / golden | GGUF equal | "
    "tokenizer |\n"
    "|---|---|---|---|---|---|---|\n";

/* Our figures have the same bits everywhere, so text can be compared. */
START_TEST(the_table_of_families_says_what_is_measured)
{
    const char *out = getenv("QUERN_FAMILIES_TABLE");
    FILE *table = out ? fopen(out, "w") : NULL;
    char *text = NULL, row[256];
    size_t n;
    ck_assert(!out || table);
    if (table) fputs(table_head, table);
    ck_assert(!qn_read_file("docs/families.md", 1 << 20, &text, &n, NULL));
    for (int i = 0; i < qn_test_n_families; i++) {
        const bool there = measure(&qn_test_families[i], row, sizeof row);
        ck_assert_msg(!table || there, "the table needs QUERN_EXTRA_DATA");
        if (!there) continue;
        if (table)
            fputs(row, table);
        else if (!strstr(row, "| 0 of 0 |")) /* no cases here */
            ck_assert_msg(strstr(text, row), "docs/families.md lacks the row\n%s", row);
    }
    if (table) fclose(table);
    qn_free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("families");
    TCase *tc = qn_test_group(suite, "families");
    const int twice = 2 * qn_test_n_families;
    tcase_add_loop_test(tc, logits_are_the_golden_ones, 0, twice);
    tcase_add_loop_test(tc, hidden_states_are_the_golden_ones_layer_by_layer, 0, twice);
    tcase_add_loop_test(tc, continuations_are_the_golden_ones, 0, twice);
    tcase_add_loop_test(tc, perplexity_is_the_golden_one_to_five_digits, 0, twice);
    tcase_add_test(tc, the_table_of_families_says_what_is_measured);
    return qn_test_run_suite(suite);
}
