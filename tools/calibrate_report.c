/* What quern calibrate says: of the texts before the run, of the file behind it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/calibrate.h"
#include "tools/imatrix_table.h"
#include "tools/report.h"
#include "validate/weights.h"

/* ---- experts --------------------------------------------------------------------------- */

static uint64_t unseen_of(const qn_imatrix_sums *e)
{
    uint64_t unseen = 0;
    for (uint64_t i = 0; i < e->matrices; i++) unseen += e->counts[i] == 0;
    return unseen;
}

/* Experts of which a tensor saw nothing, counted once a layer: by their last
 * matrix, which all have. */
static bool is_of_experts(const qn_imatrix_sums *e)
{
    return e->matrices > 1 && strstr(e->name, "ffn_down_exps") != NULL;
}

uint64_t qn_calibrate_unseen_experts(const qn_calibrate_job *j, uint64_t *experts)
{
    uint64_t unseen = 0;
    *experts = 0;
    for (size_t i = 0; i < j->sums->n; i++) {
        if (!is_of_experts(&j->sums->entries[i])) continue;
        *experts += j->sums->entries[i].matrices;
        unseen += unseen_of(&j->sums->entries[i]);
    }
    return unseen;
}

void qn_calibrate_warn_of_unseen(const qn_calibrate_job *j)
{
    for (size_t i = 0; i < j->sums->n; i++) {
        const qn_imatrix_sums *e = &j->sums->entries[i];
        const uint64_t unseen = unseen_of(e);
        if (is_of_experts(e) && unseen)
            qn_remark(&j->o->common,
                      "%s: no token reached %" PRIu64 " of %" PRIu64
                      " experts, whose columns will count 1 each: more text would help",
                      e->name, unseen, e->matrices);
    }
}

/* ---- words ------------------------------------------------------------------------------ */

static double share_of(const qn_calibrate_job *j, const qn_calibrate_text *t)
{
    return (double)t->used / (double)j->texts.chunks;
}

void qn_calibrate_tell_coverage(const qn_calibrate_job *j)
{
    const qn_common *c = &j->o->common;
    const uint64_t n_vocab = j->l.decoder->hparams->n_vocab;
    const uint64_t seen = qn_calibrate_texts_seen(&j->texts, n_vocab);
    for (size_t i = 0; i < j->texts.n; i++) {
        const qn_calibrate_text *t = &j->texts.texts[i];
        qn_remark(c, "%s: %zu tokens, %zu of %zu chunks of %zu, %.1f %% of all", t->file, t->tokens,
                  t->used, t->chunks, j->texts.n_ctx, 100 * share_of(j, t));
    }
    qn_remark(c,
              "%" PRIu64 " of the vocabulary's %" PRIu64 " tokens are in the text, %" PRIu64
              " never seen",
              seen, n_vocab, n_vocab - seen);
}

static json_t *text_json(const qn_calibrate_job *j, const qn_calibrate_text *t)
{
    return json_pack("{s: o, s: o, s: o, s: o}", "file", qn_json_text(t->file, strlen(t->file)),
                     "tokens", qn_json_count(t->tokens), "chunks", qn_json_count(t->used), "share",
                     qn_json_number(share_of(j, t)));
}

static qn_exit report(const qn_calibrate_job *j)
{
    const qn_calibrate_options *o = j->o;
    uint64_t experts;
    const uint64_t unseen = qn_calibrate_unseen_experts(j, &experts);
    json_t *document = qn_report_new(&o->common), *files = json_array();
    for (size_t i = 0; i < j->texts.n; i++)
        json_array_append_new(files, text_json(j, &j->texts.texts[i]));
    json_object_set_new(document, "output", qn_json_text(o->output, strlen(o->output)));
    json_object_set_new(document, "entries", qn_json_count(j->sums->n));
    json_object_set_new(document, "chunks",
                        qn_json_count(qn_calibration_chunks(j->sums, o->n_ctx)));
    json_object_set_new(document, "n_ctx", qn_json_count(o->n_ctx));
    json_object_set_new(document, "files", files);
    json_object_set_new(document, "experts", qn_json_count(experts));
    json_object_set_new(document, "experts_unseen", qn_json_count(unseen));
    if (j->contents.n_inputs)
        json_object_set_new(
            document, "second_moments",
            qn_moments_json(j->contents.inputs, j->contents.n_inputs, j->contents.block));
    if (j->l.decoder) {
        const uint64_t n_vocab = j->l.decoder->hparams->n_vocab;
        json_object_set_new(document, "vocabulary", qn_json_count(n_vocab));
        json_object_set_new(document, "vocabulary_seen",
                            qn_json_count(qn_calibrate_texts_seen(&j->texts, n_vocab)));
        json_object_set_new(document, "elapsed_s", qn_json_number(j->seconds));
    }
    if (j->ppl.chunk_nll) {
        json_object_set_new(document, "ppl", qn_json_number(j->ppl.ppl));
        json_object_set_new(document, "ppl_stderr", qn_json_number(j->ppl.ppl_stderr));
    }
    return qn_report_print(&o->common, document);
}

qn_exit qn_calibrate_say(const qn_calibrate_job *j)
{
    if (j->o->common.json) return report(j);
    if (j->ppl.chunk_nll)
        printf("Final estimate: PPL = %.4f +/- %.5f\n", j->ppl.ppl, j->ppl.ppl_stderr);
    printf("%s: %zu matrices, %" PRIu64 " chunks of %" PRIu64 " tokens", j->o->output, j->sums->n,
           qn_calibration_chunks(j->sums, j->o->n_ctx), j->o->n_ctx);
    if (j->contents.n_inputs) printf(", second moments of %zu inputs", j->contents.n_inputs);
    putchar('\n');
    return QN_EXIT_FINE;
}
