#include "tools/compare_damage.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/window_memory.h"

/* Tokens that the layers' errors are over, at least a window. */
#define LAYER_TOKENS 2048
/* Windows that a tensor's gain is over: a batch that fills the GEMM. */
#define BATCH_TOKENS 2048
/* Tensors that are printed and suggested. */
enum { PRINTED = 12, SUGGESTED = 8 };
/* A suggestion adds at most this share to the file. */
#define SUGGESTED_SHARE 0.1

bool qn_damage_by(const qn_common *c, const char *by, uint64_t budget, uint64_t n_ctx,
                  qn_damage_wanted *out)
{
    const uint64_t least = qn_put_back_passes(1) * n_ctx;
    out->tensors = by && !strcmp(by, "tensor");
    out->layers = out->tensors || (by && !strcmp(by, "layer"));
    out->budget = budget == QN_NO_BUDGET ? QN_DEFAULT_BUDGET : budget;
    if (by && !out->layers)
        qn_usage(c, "--by %s: layer or tensor", by);
    else if (budget != QN_NO_BUDGET && !out->tensors)
        qn_usage(c, "--budget is of --by tensor");
    else if (out->tensors && out->budget < least)
        qn_usage(c,
                 "--budget %" PRIu64 " tokens: a tensor takes %" PRIu64 " on one window of "
                 "%" PRIu64,
                 out->budget, least, n_ctx);
    else
        return true;
    return false;
}

/* ---- measuring ----------------------------------------------------------------------------- */

/* n windows of all, evenly spread; *ids is allocated. */
static qn_status spread(const qn_chunks *all, size_t n, uint32_t **ids, qn_chunks *out,
                        qn_error *err)
{
    *ids = qn_alloc(n * all->n_ctx, sizeof **ids);
    if (!*ids) return qn_fail_memory(err, "windows");
    for (size_t i = 0; i < n; i++)
        memcpy(*ids + i * all->n_ctx, qn_chunk_ids(all, (2 * i + 1) * all->chunks / (2 * n)),
               all->n_ctx * sizeof **ids);
    *out = *all;
    out->ids = *ids;
    out->chunks = n;
    out->batch = (size_t)qn_min_u64(all->batch, n);
    return QN_OK;
}

enum { N_MODELS = 2, N_GROUP = 1 + QN_PUT_BACK_GROUP };

/* Both models' layers are held while the outputs of one are compared. */
static qn_status fit_errors(const qn_common *c, uint64_t limit, const qn_loaded *reference,
                            const qn_loaded *test, const qn_chunks *chunks, qn_error *err)
{
    qn_decoder *const models[N_MODELS] = {reference->decoder, test->decoder};
    const qn_decoder *const held[N_MODELS] = {reference->decoder, test->decoder};
    const uint64_t scratch = qn_output_errors_bytes(held[0], held[1], chunks);
    uint64_t left, all = scratch;
    const qn_status status = qn_window_memory(c, limit, models, N_MODELS, &left, err);
    for (size_t m = 0; m < N_MODELS; m++)
        if (!qn_add_u64(all, qn_decoders_held_bytes(&held[m], 1), &all)) all = UINT64_MAX;
    if (!status && left && all > left)
        return qn_fail(err, QN_ERR_MEMORY,
                       "--by: a window of %zu tokens takes %.1f MiB of memory, %.1f MiB are left",
                       chunks->n_ctx, (double)all / 0x1p20, (double)left / 0x1p20);
    if (!status) qn_scratch_remark(c, "layers", held, N_MODELS, scratch);
    return status;
}

static qn_status measure_errors(qn_damage *out, const qn_common *c, uint64_t limit,
                                const qn_loaded *reference, const qn_loaded *test,
                                const qn_chunks *all, qn_error *err)
{
    const size_t most = (size_t)qn_max_u64(LAYER_TOKENS / all->n_ctx, 1);
    uint32_t *ids = NULL;
    qn_chunks chunks;
    out->windows = (size_t)qn_min_u64(most, all->chunks);
    qn_status status = spread(all, out->windows, &ids, &chunks, err);
    if (!status) status = fit_errors(c, limit, reference, test, &chunks, err);
    if (!status)
        status =
            qn_output_errors_measure(&out->errors, reference->decoder, test->decoder, &chunks, err);
    qn_free(ids);
    return status;
}

typedef struct {
    size_t tensor;
    double error;
} candidate;

static int by_error(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->error != y->error) return x->error > y->error ? -1 : 1;
    return x->tensor < y->tensor ? -1 : 1;
}

/* Tensors that differ, those with the largest errors of their outputs first. */
static qn_status list_candidates(qn_damage *d, qn_error *err)
{
    const size_t n = d->test->n_tensors;
    candidate *all = qn_alloc(n, sizeof *all);
    d->list = qn_alloc(n, sizeof *d->list);
    if (!all || !d->list) {
        qn_free(all);
        return qn_fail_memory(err, "tensors");
    }
    for (size_t i = 0; i < n; i++)
        if (d->errors.tensors[i] > 0) all[d->candidates++] = (candidate){i, d->errors.tensors[i]};
    qsort(all, d->candidates, sizeof *all, by_error);
    for (size_t i = 0; i < d->candidates; i++) d->list[i].tensor = all[i].tensor;
    qn_free(all);
    return QN_OK;
}

/* As many tensors as the budget allows on a batch of windows, and where it
 * allows all of them more windows. */
static void share_out(qn_damage *d, uint64_t budget, const qn_chunks *all)
{
    const uint64_t pass = all->n_ctx;
    uint64_t windows = qn_min_u64(qn_max_u64(BATCH_TOKENS / pass, 1), all->chunks);
    while (windows > 1 && qn_put_back_passes(1) * pass * windows > budget) windows--;
    uint64_t n = d->candidates;
    while (n > 1 && qn_put_back_passes(n) * pass * windows > budget) n--;
    if (n == d->candidates)
        windows =
            qn_max_u64(windows, qn_min_u64(budget / (pass * qn_put_back_passes(n)), all->chunks));
    d->n = (size_t)n;
    d->kld_windows = (size_t)windows;
}

static int by_gain(const void *a, const void *b)
{
    const qn_put_back *x = a, *y = b;
    if (x->gain != y->gain) return x->gain > y->gain ? -1 : 1;
    return x->tensor < y->tensor ? -1 : 1;
}

/* What a model with one tensor of another takes of its own: its vectors, decoded. */
static uint64_t mixed_bytes(const qn_model *m)
{
    uint64_t bytes = m->n_tensors * sizeof *m->tensors;
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].rows->rows == 1) bytes += m->tensors[i].rows->columns * sizeof(float);
    return bytes;
}

/* The reference, and a group of tests that each have one of its tensors. */
static qn_status fit_tensors(const qn_common *c, uint64_t limit, const qn_loaded *reference,
                             const qn_loaded *test, qn_chunks *chunks, qn_error *err)
{
    qn_decoder *const models[N_MODELS] = {reference->decoder, test->decoder};
    const qn_decoder *group[N_GROUP] = {reference->decoder};
    const uint64_t own = QN_PUT_BACK_GROUP * mixed_bytes(test->model);
    uint64_t left;
    for (size_t i = 1; i < N_GROUP; i++) group[i] = test->decoder;
    const qn_status status = qn_window_memory(c, limit, models, N_MODELS, &left, err);
    if (status || !left) return status;
    return qn_chunks_fit(chunks, left > own ? left - own : 0, group, N_GROUP, QN_COMPARE_LOGITS,
                         err);
}

static qn_status measure_tensors(qn_damage *d, const qn_common *c, const qn_damage_wanted *wanted,
                                 const qn_loaded *reference, const qn_loaded *test,
                                 const qn_chunks *all, qn_error *err)
{
    uint32_t *ids = NULL;
    qn_chunks chunks;
    qn_progress progress;
    qn_status status = list_candidates(d, err);
    if (status) return status;
    share_out(d, wanted->budget, all);
    if (!d->n) return QN_OK;
    if ((status = spread(all, d->kld_windows, &ids, &chunks, err))) return status;
    if ((status = fit_tensors(c, wanted->max_memory, reference, test, &chunks, err))) {
        qn_free(ids);
        return status;
    }
    qn_progress_start(&progress, c, "putting tensors back", "windows");
    const qn_watch watch = {qn_progress_tell, &progress};
    status = qn_put_back_measure(d->list, d->n, reference->decoder, test->decoder, &chunks, &d->kld,
                                 &watch, err);
    qn_progress_end(&progress);
    qsort(d->list, d->n, sizeof *d->list, by_gain);
    qn_free(ids);
    return status;
}

qn_status qn_damage_measure(qn_damage *out, const qn_common *c, const qn_damage_wanted *wanted,
                            const qn_loaded *reference, const qn_loaded *test,
                            const qn_chunks *chunks, qn_error *err)
{
    out->reference = reference->model;
    out->test = test->model;
    out->n_ctx = chunks->n_ctx;
    out->by_tensor = wanted->tensors;
    const qn_status status =
        measure_errors(out, c, wanted->max_memory, reference, test, chunks, err);
    if (status || !wanted->tensors) return status;
    return measure_tensors(out, c, wanted, reference, test, chunks, err);
}

void qn_damage_free(qn_damage *d)
{
    qn_output_errors_free(&d->errors);
    qn_free(d->list);
    *d = (qn_damage){0};
}

/* ---- what to do about it ---------------------------------------------------------------- */

static uint64_t bytes_as(const qn_rows *rows, qn_dtype type)
{
    uint64_t row, all;
    return qn_dtype_row_bytes(type, rows->columns, &row) && qn_mul_u64(row, rows->rows, &all) ? all
                                                                                              : 0;
}

/* Tensors worth Q8_0, at which next to nothing of their damage is left. */
typedef struct {
    size_t at[SUGGESTED]; /* in d->list */
    size_t n;
    uint64_t bytes; /* more than now */
    double gain;    /* their own gains added: together it may be less */
} suggestion;

static uint64_t test_bytes(const qn_model *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        sum += bytes_as(m->tensors[i].rows, m->tensors[i].rows->dtype);
    return sum;
}

/* The most gain for each byte first, while all fit. */
static suggestion suggest(const qn_damage *d)
{
    suggestion s = {0};
    bool taken[SUGGESTED * 8] = {false};
    const size_t n = d->n < QN_COUNT_OF(taken) ? d->n : QN_COUNT_OF(taken);
    const double room = SUGGESTED_SHARE * (double)test_bytes(d->test);
    while (s.n < SUGGESTED) {
        double best = 0;
        size_t which = n;
        uint64_t more = 0;
        for (size_t i = 0; i < n; i++) {
            const qn_put_back *p = &d->list[i];
            const qn_rows *rows = d->test->tensors[p->tensor].rows;
            const uint64_t q8 = bytes_as(rows, QN_Q8_0), now = bytes_as(rows, rows->dtype);
            const bool sure = p->gain > 0 && !(p->gain < 2 * p->error);
            if (taken[i] || !sure || q8 <= now || (double)(s.bytes + q8 - now) > room) continue;
            const double each = p->gain / (double)(q8 - now);
            if (each > best) best = each, which = i, more = q8 - now;
        }
        if (which == n) break;
        taken[which] = true;
        s.at[s.n++] = which;
        s.bytes += more;
        s.gain += d->list[which].gain;
    }
    return s;
}

/* "blk\.3\.attn_v\.weight=q8_0": a regular expression for this tensor alone. */
static void add_override(qn_text *t, const char *name)
{
    qn_text_adds(t, "^");
    for (const char *p = name; *p; p++) {
        if (*p == '.') qn_text_adds(t, "\\");
        qn_text_add(t, p, 1);
    }
    qn_text_adds(t, "$=q8_0");
}

/* ---- words -------------------------------------------------------------------------------- */

static void print_layers(const qn_damage *d)
{
    printf("\nrelative error of the residual stream, %s (%zu windows):\n", d->test->path,
           d->windows);
    for (size_t i = 0; i < d->errors.n_layers + 2; i++) {
        if (i == 0)
            printf("  %-12s", "embedding");
        else if (i == d->errors.n_layers + 1)
            printf("  %-12s", "final norm");
        else
            printf("  layer %-6zu", i - 1);
        printf("%.5f\n", d->errors.layers[i]);
    }
}

static void print_suggestion(const qn_damage *d)
{
    const suggestion s = suggest(d);
    qn_text t = {0};
    char size[32];
    if (!s.n) return;
    for (size_t i = 0; i < s.n; i++) {
        qn_text_adds(&t, i ? " --tensor-type '" : "--tensor-type '");
        add_override(&t, d->test->tensors[d->list[s.at[i]].tensor].name);
        qn_text_adds(&t, "'");
    }
    printf("\nworth more bits (%s more; the gains of each add up to %.6f of %.6f):\n  %s\n",
           qn_human_size((double)s.bytes, size), s.gain, d->kld, t.s ? t.s : "");
    qn_text_free(&t);
}

static void print_tensors(const qn_damage *d)
{
    const size_t n = d->n < PRINTED ? d->n : PRINTED;
    char size[32];
    printf("\none tensor put back, %s: %zu of %zu that differ tried on %zu windows, KLD %.6f "
           "there\n"
           "  %-34s %-8s %10s %9s %11s\n",
           d->test->path, d->n, d->candidates, d->kld_windows, d->kld, "", "type", "size",
           "output err", "KLD gained");
    for (size_t i = 0; i < n; i++) {
        const qn_put_back *p = &d->list[i];
        const qn_model_tensor *t = &d->test->tensors[p->tensor];
        printf("  %-34s %-8s %10s  %9.5f %11.6f", t->name, qn_dtype_facts(t->rows->dtype)->name,
               qn_human_size((double)bytes_as(t->rows, t->rows->dtype), size),
               d->errors.tensors[p->tensor], p->gain);
        if (!isnan(p->error)) printf(" +/- %.6f", p->error);
        putchar('\n');
    }
    print_suggestion(d);
}

void qn_damage_print(const qn_damage *d)
{
    if (!d->test) return;
    print_layers(d);
    if (d->by_tensor) print_tensors(d);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* Names as in the files of quern forward --hidden. */
static json_t *layers_json(const qn_damage *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->errors.n_layers + 2; i++) {
        char name[32] = "embed";
        if (i == d->errors.n_layers + 1)
            snprintf(name, sizeof name, "final_norm");
        else if (i)
            snprintf(name, sizeof name, "layer.%zu", i - 1);
        json_array_append_new(list, json_pack("{s: s, s: o}", "name", name, "relative_error",
                                              qn_json_number(d->errors.layers[i])));
    }
    return list;
}

static json_t *tensor_json(const qn_damage *d, size_t tensor, const qn_put_back *p)
{
    const qn_model_tensor *t = &d->test->tensors[tensor];
    const qn_model_tensor *r = qn_counterpart(d->reference, t);
    json_t *o = json_object();
    json_object_set_new(o, "name", qn_json_text(t->name, strlen(t->name)));
    json_object_set_new(o, "type", json_string(qn_dtype_facts(t->rows->dtype)->name));
    if (r)
        json_object_set_new(o, "reference_type", json_string(qn_dtype_facts(r->rows->dtype)->name));
    json_object_set_new(o, "size_bytes", qn_json_count(bytes_as(t->rows, t->rows->dtype)));
    json_object_set_new(o, "output_error", qn_json_number(d->errors.tensors[tensor]));
    if (!p) return o;
    json_object_set_new(o, "kld_gain", qn_json_number(p->gain));
    json_object_set_new(o, "kld_gain_error", qn_json_number(p->error));
    return o;
}

static json_t *suggestion_json(const qn_damage *d)
{
    const suggestion s = suggest(d);
    json_t *types = json_array();
    for (size_t i = 0; i < s.n; i++) {
        qn_text t = {0};
        add_override(&t, d->test->tensors[d->list[s.at[i]].tensor].name);
        json_array_append_new(types, qn_json_text(t.s ? t.s : "", t.n));
        qn_text_free(&t);
    }
    return json_pack("{s: o, s: o, s: o}", "tensor_type", types, "more_bytes",
                     qn_json_count(s.bytes), "sum_of_gains", qn_json_number(s.gain));
}

/* Those put back, the largest gain first, then the others in the file's order. */
static json_t *tensors_json(const qn_damage *d)
{
    json_t *list = json_array();
    bool *told = qn_alloc(d->test->n_tensors, sizeof *told);
    for (size_t i = 0; i < d->n; i++) {
        json_array_append_new(list, tensor_json(d, d->list[i].tensor, &d->list[i]));
        if (told) told[d->list[i].tensor] = true;
    }
    for (size_t i = 0; told && i < d->test->n_tensors; i++)
        if (!told[i]) json_array_append_new(list, tensor_json(d, i, NULL));
    qn_free(told);
    return list;
}

void qn_damage_json(const qn_damage *d, json_t *test)
{
    if (!d->test) return;
    json_object_set_new(test, "layers", layers_json(d));
    json_object_set_new(test, "layer_windows", qn_json_count(d->windows));
    json_object_set_new(test, "tensors", tensors_json(d));
    if (!d->by_tensor) return;
    json_object_set_new(test, "put_back_windows", qn_json_count(d->kld_windows));
    json_object_set_new(test, "put_back_kld", qn_json_number(d->kld));
    json_object_set_new(test, "suggestion", suggestion_json(d));
}
