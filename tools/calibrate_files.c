/* The files of quern calibrate: those it begins with, and OUT while it grows. */
#include <inttypes.h>
#include <stdio.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"
#include "tools/calibrate.h"

/* Where an unfinished file goes on, and of which text. */
static const char next_key[] = "quern.calibrate.next_chunk";
static const char text_key[] = "quern.calibrate.text_sha256";
static const char model_key[] = "quern.calibrate.model_digest";

/* ---- writing -------------------------------------------------------------------------- */

static qn_status say_where(const qn_calibrate_job *j, uint64_t held, qn_metadata *m, qn_error *err)
{
    qn_status status = qn_metadata_set_u64(m, next_key, held, err);
    if (!status) status = qn_metadata_set_str(m, text_key, qn_str_z(j->texts.sha256), err);
    return status ? status : qn_metadata_set_str(m, model_key, qn_str_z(j->model_digest), err);
}

qn_status qn_calibrate_where(const qn_calibrate_job *j, uint64_t held, qn_metadata **out,
                             qn_error *err)
{
    qn_metadata *m = qn_metadata_new();
    const qn_status status = m ? say_where(j, held, m, err) : qn_fail_memory(err, j->o->output);
    if (status)
        qn_metadata_free(m);
    else
        *out = m;
    return status;
}

qn_imatrix_contents qn_calibrate_contents(const qn_calibrate_job *j, uint64_t chunks)
{
    return (qn_imatrix_contents){.entries = j->sums->entries,
                                 .n_entries = j->sums->n,
                                 .datasets = j->datasets,
                                 .n_datasets = j->n_datasets,
                                 .chunk_count = chunks,
                                 .chunk_size = j->o->n_ctx};
}

static qn_status write_to(const qn_calibrate_job *j, const char *path, bool unfinished, bool force,
                          qn_error *err)
{
    qn_imatrix_contents c = qn_calibrate_contents(j, qn_calibration_chunks(j->sums, j->o->n_ctx));
    qn_metadata *where = NULL;
    qn_status status = unfinished ? qn_calibrate_where(j, j->held, &where, err) : QN_OK;
    c.unfinished = where;
    if (!status) status = qn_imatrix_write(&c, path, j->legacy, force, err);
    qn_metadata_free(where);
    return status;
}

qn_status qn_calibrate_write(qn_calibrate_job *j, bool unfinished, qn_error *err)
{
    const qn_status status =
        qn_calibrate_has_moments(j)
            ? qn_calibrate_moments_write(j, unfinished, err)
            : write_to(j, j->o->output, unfinished, j->o->force || j->ours, err);
    if (status) return status;
    j->ours = true;
    j->kept = j->held;
    return QN_OK;
}

static qn_status copy_path(const qn_calibrate_job *j, uint64_t chunks, qn_text *out, qn_error *err)
{
    qn_text_addf(out, "%s.at_%" PRIu64, j->o->output, chunks);
    return out->failed ? qn_fail_memory(err, j->o->output) : QN_OK;
}

static qn_status write_copy(const qn_calibrate_job *j, qn_error *err)
{
    qn_text path = {0};
    qn_status status = copy_path(j, qn_calibration_chunks(j->sums, j->o->n_ctx), &path, err);
    if (!status) status = write_to(j, path.s, false, j->o->force, err);
    qn_text_free(&path);
    return status;
}

/* Whether a multiple of every lies in (before, now]. */
static bool is_due(uint64_t every, uint64_t before, uint64_t now)
{
    return every && now / every > before / every;
}

static qn_status check_copy(const qn_calibrate_job *j, uint64_t chunks, qn_error *err)
{
    qn_text path = {0};
    qn_status status = copy_path(j, chunks, &path, err);
    if (!status && qn_path_exists(path.s))
        status = qn_fail(err, QN_ERR_ARGUMENT, "%s exists (--force replaces it)", path.s);
    qn_text_free(&path);
    return status;
}

qn_status qn_calibrate_check_copies(const qn_calibrate_job *j, qn_error *err)
{
    const uint64_t before = qn_calibration_chunks(j->sums, j->o->n_ctx), all = j->texts.chunks;
    qn_status status = QN_OK;
    for (uint64_t held = j->done; held < all && !j->o->force && !status;) {
        const uint64_t next = qn_min_u64(held + j->chunks.batch, all);
        if (next < all && is_due(j->o->save_frequency, held, next))
            status = check_copy(j, before + next - j->done, err);
        held = next;
    }
    return status;
}

/* Second moments are large: unless --output-frequency says when, writing them takes at
 * most a tenth of the time. */
static bool is_put_off(const qn_calibrate_job *j, double now)
{
    return qn_calibrate_has_moments(j) && !j->o->layer_streamed &&
           j->o->output_frequency == QN_CALIBRATE_DEFAULT && now - j->saved < 10 * j->save_seconds;
}

qn_status qn_calibrate_save(qn_calibrate_job *j, uint64_t before, qn_error *err)
{
    qn_status status = QN_OK;
    const double now = qn_seconds();
    const bool round = qn_calibrate_has_moments(j) && j->o->layer_streamed; /* ends with a batch */
    if (round ? j->held > before
              : is_due(qn_calibrate_every(j), before, j->held) && !is_put_off(j, now)) {
        status = qn_calibrate_write(j, true, err);
        j->saved = qn_seconds();
        j->save_seconds = j->saved - now;
    }
    if (!status && is_due(j->o->save_frequency, before, j->held)) status = write_copy(j, err);
    return status;
}

uint64_t qn_calibrate_every(const qn_calibrate_job *j)
{
    enum { PLAINLY = 10, STREAMED = 64 };
    if (j->o->output_frequency != QN_CALIBRATE_DEFAULT) return j->o->output_frequency;
    return j->o->layer_streamed ? STREAMED : PLAINLY;
}

/* ---- what is there before ------------------------------------------------------------------ */

static qn_status add_dataset(qn_calibrate_job *j, qn_str name, qn_error *err)
{
    qn_str *more = qn_resize(j->datasets, j->n_datasets + 1, sizeof *more);
    if (!more) return qn_fail_memory(err, "names of texts");
    j->datasets = more;
    j->datasets[j->n_datasets++] = name;
    return QN_OK;
}

static qn_status add_file(qn_calibrate_job *j, const char *path, qn_error *err)
{
    qn_imatrix *m = NULL;
    qn_status status = qn_imatrix_open(&m, path, err);
    if (status) return status;
    j->in[j->n_in++] = m;
    if ((status = qn_calibration_add(j->sums, m, j->o->n_ctx, err))) return status;
    qn_str cursor = m->datasets, name;
    if (!cursor.n && m->dataset.n) return add_dataset(j, m->dataset, err);
    while (!status && qn_meta_next_string(&cursor, &name)) status = add_dataset(j, name, err);
    return status;
}

/* Takes up what OUT holds. */
static qn_status resume(qn_calibrate_job *j, qn_error *err)
{
    const char *out = j->o->output;
    qn_status status = add_file(j, out, err);
    if (status) return status;
    const qn_imatrix *m = j->in[j->n_in - 1];
    qn_str text = {0}, model = {0};
    bool has_next = false, has_text = false, has_model = false;
    if (m->reader) {
        const qn_metadata *keys = m->reader->metadata;
        status = qn_metadata_u64(keys, next_key, &j->done, &has_next, err);
        if (!status) status = qn_metadata_str(keys, text_key, &text, &has_text, err);
        if (!status) status = qn_metadata_str(keys, model_key, &model, &has_model, err);
    }
    if (status) return status;
    if (!has_next || !has_text || !has_model)
        return qn_fail(err, QN_ERR_ARGUMENT, "%s is not unfinished: there is nothing to resume",
                       out);
    if (!qn_str_is(model, j->model_digest))
        return qn_fail(err, QN_ERR_ARGUMENT, "%s was begun with another model than %s", out,
                       j->l.model->path);
    if (!qn_str_is(text, j->texts.sha256) || j->done > j->texts.chunks)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s was begun with other texts, chunks or another tokenizer", out);
    j->ours = true;
    qn_remark(&j->o->common, "%s: %" PRIu64 " of %zu chunks are there", out, j->done,
              j->texts.chunks);
    return QN_OK;
}

qn_status qn_calibrate_start(qn_calibrate_job *j, qn_error *err)
{
    const qn_calibrate_options *o = j->o;
    qn_status status = qn_calibration_new(&j->sums, j->l.decoder, o->process_output, err);
    j->in = qn_alloc(o->in_files.n + 1, sizeof(qn_imatrix *));
    if (!status && !j->in) status = qn_fail_memory(err, "importance matrices");
    if (status) return status;
    if (o->resume && qn_path_exists(o->output)) return resume(j, err);
    for (size_t i = 0; i < o->in_files.n && !status; i++)
        status = add_file(j, o->in_files.at[i], err);
    for (size_t i = 0; i < j->texts.n && !status; i++)
        status = add_dataset(j, qn_str_z(j->texts.texts[i].file), err);
    return status;
}
