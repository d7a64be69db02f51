/* Those who watch see what each matrix is multiplied with, of every family. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/families.h"
#include "tests/support/run.h"
#include "validate/linear_inputs.h"

enum { N = 20, MOST = 512 };

/* What was seen of one tensor: rows over all its matrices. */
typedef struct {
    const char *tensor;
    uint64_t rows;
    uint64_t last; /* the latest matrix seen: they come in their order */
} seen_tensor;

typedef struct {
    const qn_model *model;
    seen_tensor seen[MOST];
    size_t n;
    const char *before; /* the call before */
    float *x;           /* a copy of what it showed */
    size_t rows, columns;
    qn_linear_inputs listed;
    int left; /* calls until a failure */
} watcher;

static seen_tensor *seen_of(watcher *w, const char *tensor)
{
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->seen[i].tensor, tensor)) return &w->seen[i];
    return NULL;
}

/* Asked before a layer and behind it (altup.h). */
static bool comes_twice(const char *name)
{
    return strstr(name, "altup_router.") != NULL;
}

/* The list knew before the run: the shape, and who shares an input. */
static void check_listed(const watcher *w, const qn_linear_input *in)
{
    const uint32_t at = qn_names_find(w->listed.by_tensor, qn_str_z(in->tensor));
    const bool wanted = !strncmp(in->tensor, "blk.", 4) || !strcmp(in->tensor, "output.weight");
    ck_assert_msg((at != UINT32_MAX) == wanted, "%s", in->tensor);
    if (!wanted) return;
    const qn_moments_input *input = &w->listed.inputs[at];
    ck_assert_uint_eq(input->columns, in->columns);
    ck_assert_uint_eq(input->matrices, in->matrices);
    const bool first = qn_linear_inputs_named(&w->listed, in->tensor) == at;
    ck_assert_msg(first == !in->same, "%s is multiplied with an input of %s", in->tensor,
                  input->tensors[0]);
    for (size_t i = 1; in->same && i < input->n_tensors; i++)
        if (!strcmp(input->tensors[i], in->tensor))
            ck_assert_str_eq(input->tensors[i - 1], w->before);
}

static qn_status see(void *ctx, const qn_linear_input *in, qn_error *err)
{
    watcher *w = ctx;
    const qn_model_tensor *t = qn_model_find(w->model, in->tensor);
    ck_assert_msg(t != NULL, "%s", in->tensor);
    ck_assert_uint_eq(in->columns, t->rows->columns);
    ck_assert_uint_eq(t->rows->rows % in->matrices, 0);
    ck_assert_uint_lt(in->matrix, in->matrices);
    if (in->same) {
        ck_assert_uint_eq(in->rows, w->rows);
        ck_assert_uint_eq(in->columns, w->columns);
        ck_assert_msg(!memcmp(in->x, w->x, in->rows * in->columns * sizeof *w->x),
                      "%s is not multiplied with what %s was", in->tensor, w->before);
    }
    check_listed(w, in);
    w->x = realloc(w->x, in->rows * in->columns * sizeof *w->x);
    memcpy(w->x, in->x, in->rows * in->columns * sizeof *w->x);
    w->rows = in->rows;
    w->columns = in->columns;
    w->before = in->tensor;
    seen_tensor *s = seen_of(w, in->tensor);
    if (!s) {
        ck_assert_uint_lt(w->n, MOST);
        s = &w->seen[w->n++];
        s->tensor = in->tensor;
    } else {
        ck_assert(in->matrix > s->last || comes_twice(in->tensor));
    }
    s->last = in->matrix;
    s->rows += in->rows;
    return --w->left ? QN_OK : qn_fail(err, QN_ERR_CANCELLED, "enough of %s", in->tensor);
}

/* Matrices that are looked up in, added (experts' biases), not multiplied with. */
static bool is_no_linear(const char *name)
{
    return strstr(name, "token_embd") || strstr(name, ".bias");
}

static void check_rows(watcher *w, const qn_model_tensor *t)
{
    const qn_hparams *h = &w->model->hparams;
    const seen_tensor *s = seen_of(w, t->name);
    const bool experts = strstr(t->name, "_exps.") != NULL;
    uint64_t rows = N;
    if (experts) rows *= h->n_experts_used;
    if (comes_twice(t->name)) rows *= 2;
    if (!strcmp(t->name, "altup_proj.weight") || !strcmp(t->name, "altup_unembd_proj.weight"))
        rows *= t->dims[0];
    ck_assert_msg(s != NULL, "%s was not seen", t->name);
    ck_assert_uint_eq(s->rows, rows);
}

START_TEST(every_matrix_is_seen_with_the_rows_of_its_tokens)
{
    const qn_test_family *f = &qn_test_families[_i];
    qn_test_golden g;
    uint32_t ids[N];
    if (!qn_test_family_open(f, &g)) return;
    for (uint32_t i = 0; i < N; i++) ids[i] = 3 + i * 5 % 60;
    watcher w = {.model = g.model, .left = -1};
    qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
    ck_assert(!qn_linear_inputs_list(&w.listed, d, true, NULL));
    qn_session *s = qn_test_session(d, 2, N / 2);
    qn_session_watch_inputs(s, see, &w);
    qn_test_run(s, ids, N / 2);
    for (size_t i = 0; i < g.model->n_tensors; i++) {
        const qn_model_tensor *t = &g.model->tensors[i];
        if (t->rank >= 2 && !is_no_linear(t->name)) check_rows(&w, t);
    }
    const char *const head =
        qn_model_find(g.model, "output.weight") ? "output.weight" : "token_embd.weight";
    check_rows(&w, qn_model_find(g.model, head));
    for (size_t i = 0; i < w.listed.n; i++)
        for (size_t t = 0; t < w.listed.inputs[i].n_tensors; t++)
            ck_assert_msg(seen_of(&w, w.listed.inputs[i].tensors[t]) != NULL, "%s was not seen",
                          w.listed.inputs[i].tensors[t]);
    ck_assert_str_eq(w.before, head);

    qn_error err = {0};
    qn_session_reset(s);
    w.n = 0;
    w.left = 3;
    ck_assert_int_eq(qn_session_run(s, ids, N / 2, NULL, NULL, &err), QN_ERR_CANCELLED);
    ck_assert_str_eq(err.message + strlen("enough of "), w.before);
    qn_session_watch_inputs(s, NULL, NULL);
    qn_test_run(s, ids, N / 2);
    ck_assert_int_eq(w.left, 0);
    free(w.x);
    qn_linear_inputs_free(&w.listed);
    qn_session_free(s);
    qn_decoder_free(d);
    qn_test_golden_close(&g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("watch inputs");
    tcase_add_loop_test(qn_test_group(s, "families"),
                        every_matrix_is_seen_with_the_rows_of_its_tokens, 0, qn_test_n_families);
    return qn_test_run_suite(s);
}
