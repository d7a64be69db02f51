/* quern compare --against: the same texts and reference, tests then and now. */
#include <math.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tools/compare.h"
#include "tools/report.h"
#include "tools/report_data.h"

static const struct {
    const char *what, *key;
    double (*of)(const qn_comparison *c, size_t test, size_t first);
    int sign; /* 1: more is worse */
} measures[QN_N_AGAINST_PAIRED] = {
    {"mean KLD", "window_mean_kld", qn_window_mean_kld, 1},
    {"same top", "window_same_top", qn_window_same_top, -1},
    {"log PPL ratio", "window_log_ppl_ratio", qn_window_log_ratio, 1},
};

/* Of all windows together. */
static const struct {
    const char *what, *key;
    size_t at; /* in qn_percentiles */
} percentiles[QN_N_AGAINST - QN_N_AGAINST_PAIRED] = {
    {"median KLD", "50", 6}, {"99 % KLD", "99", 10}, {"99.9 % KLD", "99.9", 11}};

static json_t *windows_json(const qn_compare_job *j, size_t test, size_t measure)
{
    const qn_comparison *c = &j->seen;
    json_t *list = json_array();
    for (size_t i = 0; i < c->n; i += c->scored)
        json_array_append_new(list, qn_json_number(measures[measure].of(c, test, i)));
    return list;
}

void qn_compare_add_windows(const qn_compare_job *j, size_t test, json_t *o)
{
    for (size_t k = 0; k < QN_N_AGAINST_PAIRED; k++)
        json_object_set_new(o, measures[k].key, windows_json(j, test, k));
}

/* ---- what must be the same ----------------------------------------------------------------- */

static qn_status check_texts(const qn_compare_job *j, qn_error *err)
{
    const qn_earlier *e = &j->earlier;
    const json_t *texts = json_object_get(e->json, "texts");
    if (json_array_size(texts) != j->n_texts)
        return qn_fail(err, QN_ERR_DATA, "%s: is of %zu texts, now it is %zu", e->path,
                       json_array_size(texts), j->n_texts);
    for (size_t i = 0; i < j->n_texts; i++) {
        const json_t *t = json_array_get(texts, i);
        qn_status status = qn_earlier_same(e, "text", t, "sha256", j->texts[i].sha256, err);
        if (!status)
            status = qn_earlier_same_number(e, "number of windows", t, "windows",
                                            (double)j->texts[i].chunks, err);
        if (status) return status;
    }
    return QN_OK;
}

/* The test of then: the only one beside an only one, else the one of the same name. */
static const json_t *test_then(const qn_compare_job *j, size_t test)
{
    const json_t *tests = json_object_get(j->earlier.json, "tests");
    const char *name = qn_path_name(j->models[test + 1].path);
    if (j->n_models == 2 && json_array_size(tests) == 1) return json_array_get(tests, 0);
    for (size_t i = 0; i < json_array_size(tests); i++) {
        const json_t *t = json_array_get(tests, i);
        if (!strcmp(qn_path_name(qn_report_string(t, "model")), name)) return t;
    }
    return NULL;
}

qn_status qn_compare_against_check(const qn_compare_job *j, qn_error *err)
{
    const qn_earlier *e = &j->earlier;
    const json_t *reference = json_object_get(e->json, "reference");
    const json_t *tests = json_object_get(e->json, "tests");
    const qn_compare_model *speaker = &j->models[j->has_base ? 1 : 0];
    const qn_digests *r = &j->models->digests;
    const char *how = j->o->activations ? j->o->activations : "exact";
    qn_status status =
        qn_earlier_same_number(e, "context", e->json, "n_ctx", (double)j->chunks.n_ctx, err);
    if (!status) status = check_texts(j, err);
    if (!status)
        status = qn_earlier_same(e, "tokenizer", json_array_get(tests, 0), "tokenizer_digest",
                                 speaker->digests.tokenizer, err);
    if (!status) status = qn_earlier_same(e, "reference", reference, "model_digest", r->model, err);
    if (!status)
        status = qn_earlier_same(e, "kind of activations", e->json, "activations", how, err);
    for (size_t t = 0; t + 1 < j->n_models && !status; t++)
        if (!test_then(j, t))
            status = qn_fail(err, QN_ERR_DATA, "%s: has no test of the name %s", e->path,
                             qn_path_name(j->models[t + 1].path));
    return status;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

/* The number in the texts of the i-th window of then. */
static size_t window_then(const qn_compare_job *j, size_t i)
{
    const json_t *seen = json_object_get(j->earlier.json, "windows_seen");
    return seen ? (size_t)json_integer_value(json_array_get(seen, i)) : i;
}

/* Windows of both, into then and now; both lists of numbers ascend. */
static size_t pair(const qn_compare_job *j, size_t test, size_t measure, double *then, double *now)
{
    const json_t *list = json_object_get(test_then(j, test), measures[measure].key);
    const size_t n_then = json_array_size(list), n_now = j->seen.n / j->seen.scored;
    size_t n = 0;
    for (size_t a = 0, b = 0; a < n_then && b < n_now;) {
        const size_t x = window_then(j, a), y = qn_compare_window(j, b);
        const json_t *figure = json_array_get(list, a);
        if (x == y && json_is_number(figure)) {
            then[n] = json_number_value(figure);
            now[n++] = measures[measure].of(&j->seen, test, b * j->seen.scored);
        }
        a += x <= y;
        b += y <= x;
    }
    return n;
}

/* Percentiles of both, where they are of the same windows; else left out. */
static qn_status find_percentiles(qn_compare_job *j, size_t test, qn_error *err)
{
    const json_t *t = test_then(j, test);
    const json_t *then = json_object_get(json_object_get(t, "all"), "kld_percentiles");
    const size_t windows = j->seen.n / j->seen.scored, paired = j->against[test][0].windows;
    qn_kl_statistics s;
    if (paired != windows || json_array_size(json_object_get(t, measures->key)) != windows)
        return QN_OK;
    const qn_status status = qn_kl_statistics_of(&s, &j->seen, test, 0, j->seen.n, err);
    for (size_t k = 0; k < QN_COUNT_OF(percentiles) && !status; k++) {
        const double before = qn_report_number(then, percentiles[k].key);
        if (isfinite(before))
            qn_against_untested(&j->against[test][QN_N_AGAINST_PAIRED + k], percentiles[k].what,
                                before, s.kld_at[percentiles[k].at], windows);
    }
    return status;
}

qn_status qn_compare_against_measure(qn_compare_job *j, qn_error *err)
{
    const size_t room = j->seen.n / j->seen.scored;
    double *then = qn_alloc(room, sizeof *then), *now = qn_alloc(room, sizeof *now);
    j->against = qn_alloc(j->n_models - 1, sizeof *j->against);
    qn_status status = then && now && j->against ? QN_OK : qn_fail_memory(err, "windows");
    for (size_t t = 0; t + 1 < j->n_models && !status; t++) {
        for (size_t k = 0; k < QN_N_AGAINST_PAIRED && !status; k++) {
            const size_t n = pair(j, t, k, then, now);
            if (n >= 2)
                qn_against_of(&j->against[t][k], measures[k].what, then, now, n, measures[k].sign,
                              j->o->limits.confidence);
            else
                status = qn_fail(err, QN_ERR_DATA,
                                 "%s: has %zu windows of %s in common with now, an error needs 2",
                                 j->earlier.path, n, measures[k].key);
        }
        if (!status) status = find_percentiles(j, t, err);
    }
    qn_free(then);
    qn_free(now);
    return status;
}

/* ---- words ------------------------------------------------------------------------------------- */

qn_exit qn_compare_against_exit(const qn_compare_job *j)
{
    for (size_t t = 0; j->against && t + 1 < j->n_models; t++)
        for (size_t k = 0; k < QN_N_AGAINST; k++)
            if (j->against[t][k].verdict == QN_AGAINST_WORSE) return QN_EXIT_NO;
    return QN_EXIT_FINE;
}

void qn_compare_against_words(const qn_compare_job *j, size_t test, const char *prefix,
                              qn_text *out)
{
    for (size_t k = 0; j->against && k < QN_N_AGAINST; k++) {
        if (!j->against[test][k].windows) continue;
        qn_text_adds(out, prefix);
        qn_against_words(&j->against[test][k], out);
        qn_text_adds(out, "\n");
    }
}

json_t *qn_compare_against_json(const qn_compare_job *j, size_t test)
{
    json_t *list = json_array();
    for (size_t k = 0; k < QN_N_AGAINST; k++)
        if (j->against[test][k].windows)
            json_array_append_new(list, qn_against_json(&j->against[test][k]));
    return list;
}
