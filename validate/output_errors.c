#include "validate/output_errors.h"

#include <math.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "validate/weights.h"

/* Positions of a window that are looked at: at most so many, and in all layers
 * together at most so many floats. */
#define MOST_POSITIONS 128
#define MOST_FLOATS ((uint64_t)1 << 24)
/* Inputs that a matrix is applied to again, in both forms. */
#define MOST_INPUTS 16
/* Rows of a tensor that is compared by its weights. */
#define MOST_ROWS 256

/* Squared norms of differences and of what they are differences from. */
typedef struct {
    double difference, whole;
} squares;

typedef struct {
    const qn_decoder *reference, *test;
    qn_gemm *gemm;
    size_t n_ctx, n_layers;
    size_t positions; /* looked at in a window */
    size_t width;     /* room for a position of the residual stream, or streams */
    float *streams;   /* [n_layers + 2][positions][width], of the reference */
    squares *layers;  /* [n_layers + 2] */
    squares *tensors; /* [tensors of the test] */
    float *outputs;   /* [2][output_floats] */
    size_t output_floats;
} job;

const qn_model_tensor *qn_counterpart(const qn_model *reference, const qn_model_tensor *t)
{
    const qn_model_tensor *r = qn_model_find(reference, t->name);
    return r && r->rows->rows == t->rows->rows && r->rows->columns == t->rows->columns ? r : NULL;
}

static void add_squares(squares *s, const float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double d = (double)y[i] - (double)x[i];
        s->difference += d * d;
        s->whole += (double)x[i] * (double)x[i];
    }
}

/* A difference from nothing is infinitely large. */
static double ratio_of(squares s)
{
    if (s.difference == 0) return 0;
    return s.whole > 0 ? sqrt(s.difference / s.whole) : (double)INFINITY;
}

/* ---- layers ------------------------------------------------------------------------------ */

static size_t position(const job *j, size_t i)
{
    return (2 * i + 1) * j->n_ctx / (2 * j->positions);
}

static void keep_stream(void *ctx, int layer, const float *x, size_t n_tokens, size_t hidden)
{
    const job *j = ctx;
    (void)n_tokens;
    float *to = j->streams + (size_t)(layer + 1) * j->positions * j->width;
    for (size_t i = 0; i < j->positions; i++)
        memcpy(to + i * j->width, x + position(j, i) * hidden, hidden * sizeof *to);
}

static void compare_stream(void *ctx, int layer, const float *x, size_t n_tokens, size_t hidden)
{
    const job *j = ctx;
    (void)n_tokens;
    const float *kept = j->streams + (size_t)(layer + 1) * j->positions * j->width;
    for (size_t i = 0; i < j->positions; i++)
        add_squares(&j->layers[layer + 1], kept + i * j->width, x + position(j, i) * hidden,
                    hidden);
}

/* ---- tensors ----------------------------------------------------------------------------- */

static qn_status make_outputs(job *j, size_t floats, qn_error *err)
{
    if (floats <= j->output_floats) return QN_OK;
    float *more = qn_resize(j->outputs, floats, 2 * sizeof *more);
    if (!more) return qn_fail_memory(err, "outputs");
    j->outputs = more;
    j->output_floats = floats;
    return QN_OK;
}

/* Rows from .. to - 1 of a matrix of d's.  Their pages are given back, but for those
 * that the reference's run is about to read. */
static qn_status apply(const job *j, const qn_decoder *d, const qn_rows *rows, const float *x,
                       size_t ldx, size_t inputs, uint64_t from, uint64_t to, float *out,
                       size_t ldo, qn_error *err)
{
    const qn_status status = qn_gemm_run(j->gemm, x, ldx, inputs, rows, from, to, out, ldo, err);
    if (d->gives_back && (d == j->test || rows == d->head.rows)) rows->done(rows, from, to);
    return status;
}

/* Both forms of a matrix applied to some of its inputs, so many rows at a time. */
static qn_status compare_outputs(void *ctx, const qn_linear_input *in, qn_error *err)
{
    job *j = ctx;
    const qn_model *m = j->test->model;
    const qn_model_tensor *t = qn_model_find(m, in->tensor);
    const qn_model_tensor *r = t ? qn_counterpart(j->reference->model, t) : NULL;
    if (!r || !in->rows) return QN_OK;
    const size_t n = (size_t)(t->rows->rows / in->matrices);
    const size_t inputs = (size_t)qn_min_u64(in->rows, MOST_INPUTS);
    const uint64_t r0 = in->matrix * n;
    const size_t step = in->rows / inputs;
    const float *x = in->x + step / 2 * in->columns;
    qn_status status = make_outputs(j, inputs * n, err);
    if (status) return status;
    float *right = j->outputs, *seen = j->outputs + inputs * n;
    for (size_t at = 0; at < n; at += QN_HEAD_ROWS) {
        const uint64_t from = r0 + at, to = qn_min_u64(from + QN_HEAD_ROWS, r0 + n);
        if ((status = apply(j, j->reference, r->rows, x, step * in->columns, inputs, from, to,
                            right + at, n, err)) ||
            (status = apply(j, j->test, t->rows, x, step * in->columns, inputs, from, to, seen + at,
                            n, err)))
            return status;
    }
    add_squares(&j->tensors[t - m->tensors], right, seen, inputs * n);
    return QN_OK;
}

static qn_status compare_weights(job *j, const qn_model_tensor *t, const qn_model_tensor *r,
                                 squares *s, qn_error *err)
{
    const qn_kernels *k = j->test->k;
    const size_t columns = (size_t)t->rows->columns;
    const uint64_t rows = qn_min_u64(t->rows->rows, MOST_ROWS);
    qn_status status = make_outputs(j, columns, err);
    for (uint64_t i = 0; i < rows && !status; i++) {
        const uint64_t row = i * (t->rows->rows / rows);
        float *right = j->outputs, *seen = j->outputs + columns;
        if ((status = r->rows->decode(r->rows, k, row, row + 1, right, err)) ||
            (status = t->rows->decode(t->rows, k, row, row + 1, seen, err)))
            break;
        if (j->reference->gives_back) r->rows->done(r->rows, row, row + 1);
        if (j->test->gives_back) t->rows->done(t->rows, row, row + 1);
        add_squares(s, right, seen, columns);
    }
    return status;
}

static qn_status finish_tensors(job *j, double *out, qn_error *err)
{
    const qn_model *m = j->test->model;
    qn_status status = QN_OK;
    for (size_t i = 0; i < m->n_tensors && !status; i++) {
        const qn_model_tensor *t = &m->tensors[i], *r = qn_counterpart(j->reference->model, t);
        squares s = j->tensors[i];
        if (r && s.whole == 0 && s.difference == 0) status = compare_weights(j, t, r, &s, err);
        out[i] = r ? ratio_of(s) : (double)NAN;
    }
    return status;
}

/* ---- both ----------------------------------------------------------------------------------- */

static qn_status run_window(job *j, qn_session *const sessions[2], const qn_chunks *c,
                            size_t window, uint32_t *ids, qn_error *err)
{
    memcpy(ids, qn_chunk_ids(c, window), c->n_ctx * sizeof *ids);
    if (c->replace_first) *ids = c->bos;
    qn_session_reset(sessions[0]);
    qn_session_reset(sessions[1]);
    const qn_status status = qn_session_run(sessions[0], ids, c->n_ctx, keep_stream, j, err);
    return status ? status : qn_session_run(sessions[1], ids, c->n_ctx, compare_stream, j, err);
}

static void choose_positions(job *j, size_t n_ctx)
{
    const qn_hparams *h = j->reference->hparams;
    j->n_ctx = n_ctx;
    j->width = (size_t)(h->hidden * (h->n_streams ? QN_N_STREAMS : 1));
    j->positions = (size_t)qn_min_u64(MOST_FLOATS / ((j->n_layers + 2) * j->width), MOST_POSITIONS);
    j->positions = (size_t)qn_min_u64(j->positions ? j->positions : 1, n_ctx);
}

uint64_t qn_output_errors_bytes(const qn_decoder *reference, const qn_decoder *test,
                                const qn_chunks *chunks)
{
    job j = {.reference = reference, .n_layers = (size_t)reference->hparams->n_layers};
    const qn_model *m = test->model;
    uint64_t rows = 0, columns = 0;
    choose_positions(&j, chunks->n_ctx);
    for (size_t t = 0; t < m->n_tensors; t++) {
        rows = qn_max_u64(rows, m->tensors[t].rows->rows);
        columns = qn_max_u64(columns, m->tensors[t].rows->columns);
    }
    const double floats = 2.0 * (double)qn_max_u64(MOST_INPUTS * rows, columns) +
                          (double)(j.n_layers + 2) * (double)j.positions * (double)j.width;
    const double all = floats * sizeof(float) + (double)qn_gemm_bytes(test->threads, columns) +
                       (double)qn_session_whole_bytes(reference, 1, chunks->n_ctx) +
                       (double)qn_session_whole_bytes(test, 1, chunks->n_ctx);
    return all < 0x1p60 ? (uint64_t)all : UINT64_MAX;
}

static qn_status make_room(job *j, const qn_chunks *c, qn_output_errors *out, qn_error *err)
{
    const size_t states = j->n_layers + 2;
    choose_positions(j, c->n_ctx);
    j->streams = qn_alloc(states * j->positions * j->width, sizeof *j->streams);
    j->layers = qn_alloc(states, sizeof *j->layers);
    j->tensors = qn_alloc(j->test->model->n_tensors, sizeof *j->tensors);
    out->n_layers = j->n_layers;
    out->layers = qn_alloc(states, sizeof *out->layers);
    out->tensors = qn_alloc(j->test->model->n_tensors, sizeof *out->tensors);
    if (!j->streams || !j->layers || !j->tensors || !out->layers || !out->tensors)
        return qn_fail_memory(err, "hidden states");
    return qn_gemm_new(&j->gemm, j->test->k, j->test->threads, err);
}

qn_status qn_output_errors_agree(const qn_decoder *reference, const qn_decoder *test, qn_error *err)
{
    const qn_hparams *r = reference->hparams, *t = test->hparams;
    if (r->n_layers == t->n_layers && r->hidden == t->hidden && r->n_streams == t->n_streams)
        return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: %llu layers of %llu, %s has %llu of %llu",
                   test->model->path, (unsigned long long)t->n_layers,
                   (unsigned long long)t->hidden, reference->model->path,
                   (unsigned long long)r->n_layers, (unsigned long long)r->hidden);
}

qn_status qn_output_errors_measure(qn_output_errors *out, const qn_decoder *reference,
                                   const qn_decoder *test, const qn_chunks *chunks, qn_error *err)
{
    job j = {
        .reference = reference, .test = test, .n_layers = (size_t)reference->hparams->n_layers};
    qn_session *sessions[2] = {NULL, NULL};
    uint32_t *ids = qn_alloc(chunks->n_ctx, sizeof *ids);
    *out = (qn_output_errors){0};
    qn_status status =
        ids ? qn_output_errors_agree(reference, test, err) : qn_fail_memory(err, "ids");
    if (!status) status = make_room(&j, chunks, out, err);
    if (!status) status = qn_session_new_whole(&sessions[0], reference, 1, chunks->n_ctx, err);
    if (!status) status = qn_session_new_whole(&sessions[1], test, 1, chunks->n_ctx, err);
    if (!status) qn_session_watch_inputs(sessions[0], compare_outputs, &j);
    for (size_t w = 0; w < chunks->chunks && !status; w++)
        status = run_window(&j, sessions, chunks, w, ids, err);
    for (size_t i = 0; i < j.n_layers + 2 && !status; i++) out->layers[i] = ratio_of(j.layers[i]);
    if (!status) status = finish_tensors(&j, out->tensors, err);
    qn_session_free(sessions[0]);
    qn_session_free(sessions[1]);
    qn_gemm_free(j.gemm);
    qn_free(j.outputs);
    qn_free(j.streams);
    qn_free(j.layers);
    qn_free(j.tensors);
    qn_free(ids);
    return status;
}

void qn_output_errors_free(qn_output_errors *e)
{
    qn_free(e->layers);
    qn_free(e->tensors);
    *e = (qn_output_errors){0};
}
