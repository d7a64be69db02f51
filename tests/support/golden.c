#include "tests/support/golden.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/data.h"
#include "tests/support/vocab.h"

bool qn_test_golden_open(qn_test_golden *g, const char *folder)
{
    return qn_test_golden_open_as(g, folder, NULL);
}

bool qn_test_golden_open_as(qn_test_golden *g, const char *folder, const qn_model_options *options)
{
    qn_error err = {0};
    char name[200];
    const char *path = qn_test_data(folder);
    *g = (qn_test_golden){0};
    if (!path) return false;
    ck_assert_msg(!qn_model_open(&g->model, path, options, &err), "%s", err.message);
    snprintf(name, sizeof name, "%s/golden.json", path);
    g->json = qn_test_json(name);
    snprintf(name, sizeof name, "%s/golden.safetensors", path);
    if (qn_path_exists(name))
        ck_assert_msg(!qn_reader_open(&g->tensors, name, &err), "%s", err.message);
    return true;
}

void qn_test_golden_close(qn_test_golden *g)
{
    qn_reader_close(g->tensors);
    json_decref(g->json);
    qn_model_close(g->model);
}

const void *qn_test_golden_tensor(const qn_test_golden *g, const char *name, size_t *n)
{
    const qn_tensor *t = qn_reader_find(g->tensors, name);
    ck_assert_msg(t != NULL, "no %s", name);
    ck_assert(t->dtype == QN_F32 || t->dtype == QN_I32);
    *n = (size_t)qn_tensor_elements(t);
    return t->data;
}

size_t qn_test_ids(const json_t *array, uint32_t *out, size_t capacity)
{
    const size_t n = json_array_size(array);
    ck_assert_uint_le(n, capacity);
    for (size_t i = 0; i < n; i++) out[i] = (uint32_t)json_integer_value(json_array_get(array, i));
    return n;
}

size_t qn_test_numbers(const json_t *array, double *out, size_t capacity)
{
    const size_t n = json_array_size(array);
    ck_assert_uint_le(n, capacity);
    for (size_t i = 0; i < n; i++) out[i] = json_number_value(json_array_get(array, i));
    return n;
}

qn_decoder *qn_test_decoder(const qn_model *m, const qn_kernels *k, int threads)
{
    qn_error err = {0};
    qn_decoder *d = NULL;
    ck_assert_msg(!qn_decoder_new(&d, m, k, threads, &err), "%s", err.message);
    return d;
}

qn_session *qn_test_session(const qn_decoder *d, size_t sequences, size_t n_ctx)
{
    qn_error err = {0};
    qn_session *s = NULL;
    ck_assert_msg(!qn_session_new(&s, d, sequences, n_ctx, &err), "%s", err.message);
    return s;
}

void qn_test_run(qn_session *s, const uint32_t *ids, size_t n)
{
    qn_error err = {0};
    ck_assert_msg(!qn_session_run(s, ids, n, NULL, NULL, &err), "%s", err.message);
}

float *qn_test_logits(const qn_decoder *d, const qn_model *m, const uint32_t *ids, size_t n)
{
    qn_error err = {0};
    float *logits = malloc(n * m->hparams.n_vocab * sizeof *logits);
    qn_session *s = qn_test_session(d, 1, n);
    qn_test_run(s, ids, n);
    ck_assert_msg(!qn_session_logits(s, 0, 0, n, logits, &err), "%s", err.message);
    qn_session_free(s);
    return logits;
}
