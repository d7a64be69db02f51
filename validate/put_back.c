#include "validate/put_back.h"

#include <math.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "validate/kl_statistics.h"
#include "validate/output_errors.h"
#include "validate/weights.h"

/* A model with one tensor of another. */
typedef struct {
    qn_model model; /* all but tensors[] is the test's */
    qn_decoder *decoder;
} mixed;

typedef struct {
    const qn_decoder *reference, *test;
    const qn_chunks *chunks;
    const qn_watch *progress;
    size_t n_groups, group;
    double *whole; /* [window]: mean divergence of the test as it is */
} job;

static void forget(mixed *m)
{
    qn_decoder_free(m->decoder);
    qn_free(m->model.tensors);
    *m = (mixed){0};
}

static qn_status make_mixed(const job *j, size_t tensor, mixed *out, qn_error *err)
{
    const qn_model *m = j->test->model;
    out->model = *m;
    out->model.tensors = qn_alloc(m->n_tensors, sizeof *m->tensors);
    if (!out->model.tensors) return qn_fail_memory(err, "a model");
    memcpy(out->model.tensors, m->tensors, m->n_tensors * sizeof *m->tensors);
    out->model.tensors[tensor].rows =
        qn_counterpart(j->reference->model, &m->tensors[tensor])->rows;
    const qn_status status =
        qn_decoder_new(&out->decoder, &out->model, j->test->k, j->test->threads, err);
    if (!status) qn_decoder_set_activations(out->decoder, j->test->activations);
    if (!status && j->test->gives_back) qn_decoder_give_back(out->decoder);
    return status;
}

static qn_compare_verdict tell(void *ctx, const qn_comparison *c, size_t chunk, size_t chunks)
{
    const job *j = ctx;
    (void)c;
    const uint64_t done = (uint64_t)j->group * chunks + chunk;
    const bool on = qn_watch_tell(j->progress, done, (uint64_t)j->n_groups * chunks);
    return on ? QN_COMPARE_ON : QN_COMPARE_CANCEL;
}

/* The gain over j->whole, and its error. */
static void measure(const job *j, const qn_comparison *c, size_t test, qn_put_back *out)
{
    const size_t n = c->n / c->scored;
    double kld = 0.0, gain = 0.0, squares = 0.0;
    for (size_t w = 0; w < n; w++) {
        const double mean = qn_window_mean_kld(c, test, w * c->scored);
        kld += mean / (double)n;
        gain += (j->whole[w] - mean) / (double)n;
    }
    for (size_t w = 0; w < n; w++) {
        const double off = j->whole[w] - qn_window_mean_kld(c, test, w * c->scored) - gain;
        squares += off * off;
    }
    out->kld = kld;
    out->gain = gain;
    out->error = n > 1 ? sqrt(squares / ((double)n * (double)(n - 1))) : (double)NAN;
}

/* n tensors; first: and the test as it is, before them. */
static qn_status run_group(job *j, qn_put_back *list, size_t n, bool first, qn_error *err)
{
    mixed models[QN_PUT_BACK_GROUP] = {{.decoder = NULL}};
    const qn_decoder *tests[QN_PUT_BACK_GROUP] = {first ? j->test : NULL};
    const char *names[QN_PUT_BACK_GROUP + 1] = {j->reference->model->path};
    qn_comparison seen = {0};
    qn_status status = QN_OK;
    for (size_t i = 0; i < n + first; i++) names[i + 1] = j->test->model->path;
    for (size_t i = 0; i < n && !status; i++) {
        status = make_mixed(j, list[i].tensor, &models[i], err);
        tests[i + first] = models[i].decoder;
    }
    if (!status)
        status = qn_compare_run(&seen, &(qn_compare_reference){.decoder = j->reference}, tests,
                                n + first, names, j->chunks, tell, j, err);
    for (size_t w = 0; first && w < j->chunks->chunks && !status; w++)
        j->whole[w] = qn_window_mean_kld(&seen, 0, w * seen.scored);
    for (size_t i = 0; i < n && !status; i++) measure(j, &seen, i + first, &list[i]);
    qn_comparison_free(&seen);
    for (size_t i = 0; i < n; i++) forget(&models[i]);
    return status;
}

qn_status qn_put_back_measure(qn_put_back *list, size_t n, const qn_decoder *reference,
                              const qn_decoder *test, const qn_chunks *chunks, double *kld,
                              const qn_watch *progress, qn_error *err)
{
    job j = {.reference = reference,
             .test = test,
             .chunks = chunks,
             .progress = progress,
             .n_groups = (n + QN_PUT_BACK_GROUP) / QN_PUT_BACK_GROUP,
             .whole = qn_alloc(chunks->chunks, sizeof(double))};
    qn_status status = j.whole ? QN_OK : qn_fail_memory(err, "windows");
    for (size_t at = 0; j.group < j.n_groups && !status; j.group++) {
        const bool first = j.group == 0;
        const size_t size = (size_t)qn_min_u64(QN_PUT_BACK_GROUP - first, n - at);
        status = run_group(&j, list + at, size, first, err);
        at += size;
    }
    *kld = 0.0;
    for (size_t w = 0; w < chunks->chunks && !status; w++)
        *kld += j.whole[w] / (double)chunks->chunks;
    qn_free(j.whole);
    return status;
}
