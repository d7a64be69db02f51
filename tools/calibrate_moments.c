/* The second moments of quern calibrate: what they begin with, what they take, and
 * OUT, whose space is taken before the run. */
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"
#include "tools/calibrate.h"
#include "tools/report.h"
#include "validate/weights.h"

typedef unsigned long long ull;

bool qn_calibrate_has_moments(const qn_calibrate_job *j)
{
    return j->contents.n_inputs > 0;
}

/* ---- what was there before ---------------------------------------------------------------- */

/* A file has second moments of every input, or those of none are wanted. */
static qn_status check_file(const qn_calibrate_job *j, const qn_moments *m, const char *path,
                            qn_error *err)
{
    const qn_imatrix_contents *c = &j->contents;
    if (!m != !c->n_inputs)
        return qn_fail(err, QN_ERR_ARGUMENT, "%s has %ssecond moments, %s has %s", path,
                       m ? "" : "no ", j->l.decoder ? "the run" : j->in[0]->map.path,
                       m ? "none" : "some");
    if (m && (m->block != c->block || m->n_entries != c->n_inputs))
        return qn_fail(
            err, QN_ERR_ARGUMENT,
            "%s has second moments of %zu inputs in blocks of %llu (0: full), not of %zu "
            "in blocks of %llu",
            path, m->n_entries, (ull)m->block, c->n_inputs, (ull)c->block);
    for (size_t i = 0; i < c->n_inputs; i++) {
        const qn_moments_input *in = &c->inputs[i];
        const qn_moments_entry *e = qn_moments_find(m, in->tensors[0]);
        if (!e || e->input.columns != in->columns || e->input.matrices != in->matrices)
            return qn_fail(err, QN_ERR_ARGUMENT,
                           "%s: second moments of %s: %llu x %llu columns, not %llu x %llu", path,
                           in->tensors[0], e ? (ull)e->input.matrices : 0,
                           e ? (ull)e->input.columns : 0, (ull)in->matrices, (ull)in->columns);
    }
    return QN_OK;
}

/* Those of the files, where nobody runs a model; as they share their inputs. */
static qn_status take_inputs_of(qn_calibrate_job *j, const qn_moments *m, qn_error *err)
{
    qn_moments_input *inputs = qn_alloc(m->n_entries, sizeof *inputs);
    if (!inputs) return qn_fail_memory(err, m->path);
    for (size_t i = 0; i < m->n_entries; i++) inputs[i] = m->entries[i].input;
    j->inputs.inputs = inputs;
    j->inputs.n = m->n_entries;
    j->contents.block = m->block;
    return QN_OK;
}

static qn_status open_before(qn_calibrate_job *j, qn_error *err)
{
    qn_status status = QN_OK;
    j->before = qn_alloc(j->n_in + 1, sizeof(qn_moments *));
    if (!j->before) return qn_fail_memory(err, "second moments");
    for (; j->n_before < j->n_in && !status; j->n_before++)
        status = qn_moments_open(&j->before[j->n_before], j->in[j->n_before], err);
    return status;
}

static void close_before(qn_calibrate_job *j)
{
    for (size_t i = 0; i < j->n_before; i++) qn_moments_close(j->before[i]);
    j->n_before = 0;
    qn_imatrix_close(j->round);
    j->round = NULL;
}

/* A run goes on with the rest of the first file, which one that is resumed alone is. */
static qn_status start(void *ctx, size_t input, uint64_t matrix, double *sums, float *rest,
                       size_t *n_rest, qn_error *err)
{
    const qn_calibrate_job *j = ctx;
    qn_status status = QN_OK;
    for (size_t i = 0; i < j->n_before && !status; i++) {
        const qn_moments *m = j->before[i];
        status = qn_moments_add(m, qn_moments_find(m, j->contents.inputs[input].tensors[0]), matrix,
                                sums, i ? NULL : rest, n_rest, err);
    }
    return status;
}

static qn_status done(void *ctx, size_t input, uint64_t matrix, const double *sums,
                      const float *rest, size_t n_rest, qn_error *err)
{
    const qn_calibrate_job *j = ctx;
    return qn_imatrix_put_moments(j->writer, input, matrix, sums, rest, n_rest, err);
}

/* ---- before the run ------------------------------------------------------------------------ */

static qn_moment_options options_of(const qn_calibrate_job *j)
{
    return (qn_moment_options){.k = j->l.decoder->k,
                               .threads = j->l.decoder->threads,
                               .block = j->contents.block,
                               .by_layers = j->o->layer_streamed,
                               .unfinished = j->where != NULL,
                               .ends = {(void *)j, j->n_before ? start : NULL, done}};
}

static qn_status start_run(qn_calibrate_job *j, qn_error *err)
{
    const qn_calibrate_options *o = j->o;
    if (!o->second_moments) return QN_OK;
    qn_status status = qn_linear_inputs_list(&j->inputs, j->l.decoder, o->process_output, err);
    if (!status) status = qn_calibration_expect(j->sums, &j->inputs, err);
    if (status) return status;
    j->contents.block = strcmp(o->second_moments, "full") != 0 ? o->block_size : 0;
    const qn_moment_options how = options_of(j);
    if (!(status = qn_moment_sums_new(&j->moments, &j->inputs, &how, err)))
        j->sums->moments = j->moments;
    return status;
}

qn_status qn_calibrate_moments_start(qn_calibrate_job *j, qn_error *err)
{
    qn_status status = QN_OK;
    if (j->legacy) return QN_OK;
    if ((status = open_before(j, err))) return status;
    if (j->l.decoder)
        status = start_run(j, err);
    else if (j->before[0])
        status = take_inputs_of(j, j->before[0], err);
    j->contents.inputs = j->inputs.inputs;
    j->contents.n_inputs = j->inputs.n;
    for (size_t i = 0; i < j->n_in && !status; i++)
        status = check_file(j, j->before[i], j->in[i]->map.path, err);
    return status;
}

uint64_t qn_calibrate_moments_bytes(const qn_calibrate_job *j)
{
    if (!j->moments) return 0;
    const qn_moment_options how = options_of(j);
    return qn_moment_sums_bytes(&j->inputs, &how);
}

/* contents, with so many chunks of this run, and a writer for it. */
static qn_status begin(qn_calibrate_job *j, uint64_t held, bool unfinished, qn_error *err)
{
    const qn_imatrix_contents mine = j->contents;
    const uint64_t chunks = qn_calibration_chunks(j->sums, j->o->n_ctx) + held - j->held;
    qn_metadata_free(j->where);
    j->where = NULL;
    const qn_status status = unfinished ? qn_calibrate_where(j, held, &j->where, err) : QN_OK;
    if (status) return status;
    j->contents = qn_calibrate_contents(j, chunks);
    j->contents.unfinished = j->where;
    j->contents.inputs = mine.inputs;
    j->contents.n_inputs = mine.n_inputs;
    j->contents.block = mine.block;
    return qn_imatrix_begin(&j->writer, &j->contents, j->o->output, j->o->force || j->ours, err);
}

/* Layer by layer: sums for the chunks that run together next, which begin with what OUT
 * holds and go to it. */
static qn_status begin_round(qn_calibrate_job *j, qn_error *err)
{
    const uint64_t held = qn_min_u64(j->held + j->chunks.batch, j->texts.chunks);
    qn_status status = begin(j, held, held < j->texts.chunks, err);
    const qn_moment_options how = options_of(j);
    qn_moment_sums_free(j->moments);
    j->moments = j->sums->moments = NULL;
    if (!status) status = qn_moment_sums_new(&j->moments, &j->inputs, &how, err);
    j->sums->moments = j->moments;
    return status;
}

qn_status qn_calibrate_moments_begin(qn_calibrate_job *j, qn_error *err)
{
    uint64_t values = 0, tensors = 0;
    char file[32], memory[32];
    for (size_t i = 0; i < j->inputs.n; i++) {
        const qn_moments_input *in = &j->inputs.inputs[i];
        values += in->matrices * qn_moments_length(in->columns, j->contents.block);
        tensors += in->n_tensors;
    }
    qn_remark(&j->o->common,
              "second moments of %zu inputs of %llu tensors: %s in %s, %s of memory%s", j->inputs.n,
              (ull)tensors, qn_human_size((double)values * sizeof(float), file), j->o->output,
              qn_human_size((double)qn_calibrate_moments_bytes(j), memory),
              j->o->layer_streamed ? ", a layer at a time" : "");
    return j->o->layer_streamed ? begin_round(j, err) : begin(j, j->texts.chunks, false, err);
}

/* ---- behind it ----------------------------------------------------------------------------- */

/* Of files alone. */
static qn_status merge(qn_calibrate_job *j, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < j->inputs.n && !status; i++) {
        const qn_moments_input *in = &j->inputs.inputs[i];
        const size_t n = (size_t)qn_moments_length(in->columns, j->contents.block);
        double *sums = qn_alloc(n, sizeof *sums);
        if (!sums) status = qn_fail_memory(err, in->tensors[0]);
        for (uint64_t matrix = 0; matrix < in->matrices && !status; matrix++) {
            memset(sums, 0, n * sizeof *sums);
            status = start(j, i, matrix, sums, NULL, NULL, err);
            if (!status) status = done(j, i, matrix, sums, NULL, 0, err);
        }
        qn_free(sums);
    }
    return status;
}

static qn_status commit(qn_calibrate_job *j, qn_error *err)
{
    qn_imatrix_writer *w = j->writer;
    j->writer = NULL;
    return qn_imatrix_commit(w, err);
}

/* The chunks that ran together are through the last layer, others follow. */
static qn_status end_round(qn_calibrate_job *j, qn_error *err)
{
    qn_status status = qn_moment_sums_finish(j->moments, err);
    if (!status) status = commit(j, err);
    if (status) return status;
    j->ours = true;
    close_before(j);
    if ((status = qn_imatrix_open(&j->round, j->o->output, err))) return status;
    if ((status = qn_moments_open(j->before, j->round, err))) return status;
    j->n_before = 1;
    return begin_round(j, err);
}

qn_status qn_calibrate_moments_write(qn_calibrate_job *j, bool unfinished, qn_error *err)
{
    qn_status status = QN_OK;
    if (unfinished && j->o->layer_streamed) return end_round(j, err);
    if (unfinished) { /* another file than was begun */
        qn_imatrix_abandon(j->writer);
        j->writer = NULL;
    }
    if (!j->writer) status = begin(j, j->held, unfinished, err);
    if (!status)
        status = !j->moments  ? merge(j, err)
                 : unfinished ? qn_moment_sums_store(j->moments, err)
                              : qn_moment_sums_finish(j->moments, err);
    return status ? status : commit(j, err);
}

void qn_calibrate_moments_free(qn_calibrate_job *j)
{
    qn_imatrix_abandon(j->writer);
    qn_metadata_free(j->where);
    qn_moment_sums_free(j->moments);
    close_before(j);
    qn_free(j->before);
    qn_linear_inputs_free(&j->inputs);
}
