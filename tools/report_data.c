#include "tools/report_data.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/json.h"

/* More would be no page that anybody reads. */
enum { MOST_TESTS = 200 };

double qn_report_number(const json_t *o, const char *key)
{
    static const double most = 1e30; /* beyond it nothing was measured, and sums overflow */
    const json_t *v = json_object_get(o, key);
    const double number = json_is_number(v) ? json_number_value(v) : (double)NAN;
    return fabs(number) <= most ? number : (double)NAN;
}

const char *qn_report_string(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* {"value": 1, "error": 0.1}, or a plain number. */
static qn_figure figure(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (json_is_object(v))
        return (qn_figure){qn_report_number(v, "value"), qn_report_number(v, "error")};
    return (qn_figure){qn_report_number(o, key), (double)NAN};
}

/* A list of n things of some size, zeroed. */
static void *list_of(const qn_report_data *d, const json_t *array, size_t size, size_t *n)
{
    *n = json_array_size(array);
    return qn_arena_alloc(d->arena, *n ? *n : 1, size);
}

static void read_figures(const json_t *o, qn_report_figures *f)
{
    static const char *const keys[QN_REPORT_PERCENTILES] = {
        "0", "0.1", "1", "5", "10", "25", "50", "75", "90", "95", "99", "99.9", "100"};
    *f = (qn_report_figures){.name = qn_report_string(o, "text"),
                             .tokens = qn_report_number(o, "tokens_scored"),
                             .kld = figure(o, "mean_kld"),
                             .ppl = figure(o, "ppl"),
                             .ppl_reference = figure(o, "ppl_reference"),
                             .ppl_ratio = figure(o, "ppl_ratio"),
                             .same_top = figure(o, "same_top"),
                             .delta_p = figure(o, "mean_delta_p"),
                             .rms_delta_p = qn_report_number(o, "rms_delta_p")};
    for (size_t i = 0; i < QN_REPORT_PERCENTILES; i++)
        f->kld_at[i] = qn_report_number(json_object_get(o, "kld_percentiles"), keys[i]);
}

static bool read_worst(const qn_report_data *d, const json_t *list, qn_report_test *t)
{
    if (!(t->worst = list_of(d, list, sizeof *t->worst, &t->n_worst))) return false;
    for (size_t i = 0; i < t->n_worst; i++) {
        const json_t *o = json_array_get(list, i);
        t->worst[i] = (qn_report_token){.context = qn_report_string(o, "context"),
                                        .token = qn_report_string(o, "token"),
                                        .top_reference = qn_report_string(o, "top_reference"),
                                        .top = qn_report_string(o, "top"),
                                        .kld = qn_report_number(o, "kld"),
                                        .p_reference = qn_report_number(o, "p_reference"),
                                        .p = qn_report_number(o, "p")};
    }
    return true;
}

static bool read_inside(const qn_report_data *d, const json_t *test, qn_report_test *t)
{
    const json_t *layers = json_object_get(test, "layers");
    const json_t *tensors = json_object_get(test, "tensors");
    const json_t *suggestion = json_object_get(test, "suggestion");
    const json_t *types = json_object_get(suggestion, "tensor_type");
    t->layers = list_of(d, layers, sizeof *t->layers, &t->n_layers);
    t->tensors = list_of(d, tensors, sizeof *t->tensors, &t->n_tensors);
    t->suggestion = list_of(d, types, sizeof *t->suggestion, &t->n_suggestion);
    if (!t->layers || !t->tensors || !t->suggestion) return false;
    for (size_t i = 0; i < t->n_layers; i++) {
        const json_t *o = json_array_get(layers, i);
        t->layers[i] =
            (qn_report_layer){qn_report_string(o, "name"), qn_report_number(o, "relative_error")};
    }
    for (size_t i = 0; i < t->n_tensors; i++) {
        const json_t *o = json_array_get(tensors, i);
        t->tensors[i] = (qn_report_tensor){
            .name = qn_report_string(o, "name"),
            .type = qn_report_string(o, "type"),
            .size_bytes = qn_report_number(o, "size_bytes"),
            .output_error = qn_report_number(o, "output_error"),
            .gain = {qn_report_number(o, "kld_gain"), qn_report_number(o, "kld_gain_error")}};
    }
    for (size_t i = 0; i < t->n_suggestion; i++) {
        const char *s = json_string_value(json_array_get(types, i));
        t->suggestion[i] = s ? s : "";
    }
    t->suggestion_bytes = qn_report_number(suggestion, "more_bytes");
    return true;
}

static bool read_gates(const qn_report_data *d, const json_t *list, qn_report_test *t)
{
    if (!(t->gates = list_of(d, list, sizeof *t->gates, &t->n_gates))) return false;
    for (size_t i = 0; i < t->n_gates; i++) {
        const json_t *o = json_array_get(list, i);
        t->gates[i] = (qn_report_gate){.name = qn_report_string(o, "gate"),
                                       .state = qn_report_string(o, "state"),
                                       .limit = qn_report_number(o, "limit"),
                                       .mean = qn_report_number(o, "mean"),
                                       .low = qn_report_number(o, "low"),
                                       .high = qn_report_number(o, "high"),
                                       .windows = qn_report_number(o, "windows")};
    }
    return true;
}

/* The mean of logarithms is shown as the ratio that it stands for. */
static bool read_changes(const qn_report_data *d, const json_t *doc, const json_t *list,
                         qn_report_test *t)
{
    const json_t *earlier = json_object_get(doc, "earlier");
    t->earlier = qn_path_name(qn_report_string(earlier, "file"));
    t->earlier_version = qn_report_string(earlier, "quern_version");
    if (!(t->changes = list_of(d, list, sizeof *t->changes, &t->n_changes))) return false;
    for (size_t i = 0; i < t->n_changes; i++) {
        const json_t *o = json_array_get(list, i);
        qn_report_change *c = &t->changes[i];
        *c = (qn_report_change){.name = qn_report_string(o, "measure"),
                                .verdict = qn_report_string(o, "verdict"),
                                .then = qn_report_number(o, "then"),
                                .now = {qn_report_number(o, "now"), qn_report_number(o, "error")}};
        if (strcmp(c->name, "log PPL ratio") != 0) continue;
        c->name = "PPL ratio";
        c->then = exp(c->then);
        c->now.value = exp(c->now.value);
        c->now.error *= c->now.value;
    }
    return true;
}

/* "model-Q4_K_M.gguf" beside "model" or "model-F16.gguf" is "Q4_K_M". */
static const char *label_of(const qn_report_data *d, const char *name, const char *reference)
{
    size_t shared = 0, from = 0, n = strlen(name);
    while (name[shared] && name[shared] == reference[shared]) shared++;
    if (n > 5 && !strcmp(name + n - 5, ".gguf")) n -= 5;
    for (size_t i = 0; i <= shared && i < n; i++)
        if (name[i] == '-' || (name[i] == '.' && !reference[i])) from = i + 1;
    return qn_arena_strndup(d->arena, name + (from < n ? from : 0), n - (from < n ? from : 0));
}

static bool read_test(const qn_report_data *d, const json_t *doc, const json_t *test,
                      const char *reference, qn_report_test *t)
{
    const json_t *texts = json_object_get(test, "texts");
    t->path = qn_report_string(test, "model");
    t->name = qn_path_name(t->path);
    if (!(t->label = label_of(d, t->name, reference))) return false;
    t->size_bytes = qn_report_number(test, "size_bytes");
    read_figures(json_object_get(test, "all"), &t->all);
    if (!(t->texts = list_of(d, texts, sizeof *t->texts, &t->n_texts))) return false;
    for (size_t i = 0; i < t->n_texts; i++) {
        read_figures(json_array_get(texts, i), &t->texts[i]);
        t->texts[i].name = qn_path_name(t->texts[i].name);
    }
    return read_worst(d, json_object_get(test, "worst"), t) && read_inside(d, test, t) &&
           read_gates(d, json_object_get(test, "gates"), t) &&
           read_changes(d, doc, json_object_get(test, "against"), t);
}

/* ---- groups ------------------------------------------------------------------------------ */

static bool same_texts(const json_t *a, const json_t *b)
{
    if (json_array_size(a) != json_array_size(b)) return false;
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *x = json_array_get(a, i), *y = json_array_get(b, i);
        if (strcmp(qn_report_string(x, "sha256"), qn_report_string(y, "sha256")) != 0 ||
            qn_report_number(x, "windows") != qn_report_number(y, "windows"))
            return false;
    }
    return true;
}

static qn_report_group *group_for(qn_report_data *d, const json_t *doc, size_t room)
{
    const json_t *reference = json_object_get(doc, "reference");
    const char *path = qn_report_string(reference, "model");
    const double n_ctx = qn_report_number(doc, "n_ctx");
    for (size_t i = 0; i < d->n_groups; i++) {
        qn_report_group *g = &d->groups[i];
        if (!strcmp(g->path, path) && g->n_ctx == n_ctx &&
            same_texts(g->texts, json_object_get(doc, "texts")))
            return g;
    }
    qn_report_group *g = &d->groups[d->n_groups];
    *g = (qn_report_group){.path = path,
                           .reference = qn_path_name(path),
                           .size_bytes = qn_report_number(reference, "size_bytes"),
                           .n_ctx = n_ctx,
                           .texts = json_object_get(doc, "texts"),
                           .tests = qn_arena_alloc(d->arena, room, sizeof *g->tests)};
    if (!g->tests) return NULL;
    d->n_groups++;
    return g;
}

qn_status qn_report_data_finish(qn_report_data *d, qn_error *err)
{
    size_t tests = 0;
    for (size_t i = 0; i < d->n_sources; i++)
        tests += json_array_size(json_object_get(d->sources[i].json, "tests"));
    if (tests > MOST_TESTS)
        return qn_fail(err, QN_ERR_DATA, "%zu models in the results, a page has room for %d", tests,
                       MOST_TESTS);
    d->groups = qn_arena_alloc(d->arena, d->n_sources + 1, sizeof *d->groups);
    if (!d->groups) return qn_fail_memory(err, "a report");
    for (size_t i = 0; i < d->n_sources; i++) {
        const json_t *doc = d->sources[i].json, *list = json_object_get(doc, "tests");
        qn_report_group *g = json_array_size(list) ? group_for(d, doc, tests) : NULL;
        for (size_t t = 0; t < json_array_size(list); t++)
            if (!g || !read_test(d, doc, json_array_get(list, t), g->reference, &g->tests[g->n++]))
                return qn_fail_memory(err, "a report");
    }
    return QN_OK;
}

/* ---- documents ---------------------------------------------------------------------------- */

qn_status qn_report_data_add(qn_report_data *d, json_t *json, const char *file,
                             const char sha256[65], qn_error *err)
{
    const char *schema = qn_report_string(json, "schema");
    qn_report_source *more = qn_resize(d->sources, d->n_sources + 1, sizeof *more);
    if (more) d->sources = more;
    if (!d->arena) d->arena = qn_arena_new();
    if (!more || !d->arena) {
        json_decref(json);
        return qn_fail_memory(err, file);
    }
    d->sources[d->n_sources] = (qn_report_source){.file = file, .schema = schema, .json = json};
    if (sha256) memcpy(d->sources[d->n_sources].sha256, sha256, 65);
    d->n_sources++;
    if (!strncmp(schema, "quern.", 6)) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: not a result of quern: its schema is \"%.40s\"", file,
                   schema);
}

void qn_report_data_free(qn_report_data *d)
{
    for (size_t i = 0; i < d->n_sources; i++) json_decref(d->sources[i].json);
    qn_free(d->sources);
    qn_arena_free(d->arena);
    *d = (qn_report_data){0};
}
