/* Whole files of every mix, against the checksums of llama-quantize's own
 * (tests/policy/files.txt): without importance where that can be, with it where
 * the mix needs some. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/digest.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"
#include "tests/support/write_plan.h"

static const char demo[] = "models/trained/quern-demo-llama";
static const char files_path[] = "tests/policy/files.txt";

typedef struct {
    char mix[16], without[65], with[65];
} row;

static row rows[64];
static int n_rows;

static void read_rows(void)
{
    char *text;
    size_t n;
    if (qn_read_file(files_path, 1 << 20, &text, &n, NULL)) exit(EXIT_FAILURE);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        row *r = &rows[n_rows];
        if (*line != '#' && sscanf(line, "%15s %64s %64s", r->mix, r->without, r->with) == 3)
            n_rows++;
    }
    qn_free(text);
}

/* The path that llama-quantize was given is in the file. */
static qn_importance *demo_importance(void)
{
    char name[100];
    qn_importance *m = NULL;
    snprintf(name, sizeof name, "%s/imatrix.gguf", demo);
    const char *path = qn_test_data(name);
    ck_assert_int_eq(qn_importance_open(&m, &path, 1, NULL), QN_OK);
    m->path.n = 0;
    qn_text_adds(&m->path, "imatrix.gguf");
    return m;
}

START_TEST(every_mix_gives_the_file_that_llama_quantize_gives)
{
    const row *r = &rows[_i];
    const bool needed = !strcmp(r->without, "-");
    const char *expected = needed ? r->with : r->without, *out = qn_test_path("out.gguf");
    const qn_model_options named = {.model_name = "quern-demo-llama"};
    qn_quantize_options o = {.mix = qn_mix_by_name(r->mix)};
    qn_importance *importance = needed ? demo_importance() : NULL;
    qn_model *m = NULL;
    qn_plan *p = NULL;
    qn_error err;
    char hash[65];
    ck_assert_ptr_nonnull(o.mix);
    ck_assert_msg(!qn_model_open(&m, qn_test_data(demo), &named, &err), "%s", err.message);
    if (needed) ck_assert_int_eq(qn_plan_quantize(&p, m, &o, &err), QN_ERR_ARGUMENT);
    o.importance = importance;
    ck_assert_msg(!qn_plan_quantize(&p, m, &o, &err), "%s", err.message);
    ck_assert_msg(!write_plan(p, out, &(qn_pipeline_options){0}, &err), "%s", err.message);
    ck_assert_int_eq(qn_sha256_file(out, hash, NULL), QN_OK);
    ck_assert_msg(!strcmp(hash, expected), "%s: sha256 %s, expected %s", r->mix, hash, expected);
    qn_plan_free(p);
    qn_model_close(m);
    qn_importance_close(importance);
}
END_TEST

int main(void)
{
    read_rows();
    Suite *s = suite_create("files of every mix");
    TCase *t = qn_test_group(s, "llama-quantize");
    tcase_add_loop_test(t, every_mix_gives_the_file_that_llama_quantize_gives, 0, n_rows);
    return qn_test_run_suite(s);
}
