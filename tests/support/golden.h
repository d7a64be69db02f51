/* Golden models: a checkpoint with what the reference implementation made of
 * it (tests/data/models). */
#ifndef QN_TESTS_SUPPORT_GOLDEN_H
#define QN_TESTS_SUPPORT_GOLDEN_H

#include <jansson.h>

#include "validate/decoder.h"

typedef struct {
    qn_model *model;
    json_t *json;       /* golden.json */
    qn_reader *tensors; /* golden.safetensors; NULL where there is none */
} qn_test_golden;

/* folder: "models/golden/llama".  False where it is not there (and says so). */
bool qn_test_golden_open(qn_test_golden *g, const char *folder);
bool qn_test_golden_open_as(qn_test_golden *g, const char *folder, const qn_model_options *options);
void qn_test_golden_close(qn_test_golden *g);

/* A tensor's float32 or int32 elements, *n of them. */
const void *qn_test_golden_tensor(const qn_test_golden *g, const char *name, size_t *n);

/* The integers or numbers of a JSON array, at most capacity; how many. */
size_t qn_test_ids(const json_t *array, uint32_t *out, size_t capacity);
size_t qn_test_numbers(const json_t *array, double *out, size_t capacity);

/* These fail the test rather than return an error. */
qn_decoder *qn_test_decoder(const qn_model *m, const qn_kernels *k, int threads);
qn_session *qn_test_session(const qn_decoder *d, size_t sequences, size_t n_ctx);
void qn_test_run(qn_session *s, const uint32_t *ids, size_t n);

/* Logits [n][n_vocab] of all positions of ids, run at once; free. */
float *qn_test_logits(const qn_decoder *d, const qn_model *m, const uint32_t *ids, size_t n);

#endif
