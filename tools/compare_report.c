/* What quern compare found, for people and for machines. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "quant/mix.h"
#include "tools/compare.h"
#include "tools/report.h"
#include "tools/report_markup.h"
#include "tools/report_page.h"
#include "validate/reals.h"

/* Tokens shown before and with one that changed. */
enum { CONTEXT = 12 };

typedef struct {
    const char *name; /* NULL: all texts together */
    size_t first, n;  /* positions */
} range;

static range range_of(const qn_compare_job *j, size_t text)
{
    const size_t scored = j->seen.scored;
    if (text == j->n_texts) return (range){NULL, 0, j->seen.n};
    const qn_compare_text *t = &j->texts[text];
    const size_t windows = j->seen.n / scored;
    size_t first = 0, end;
    while (first < windows && qn_compare_window(j, first) < t->first_chunk) first++;
    for (end = first; end < windows && qn_compare_window(j, end) < t->first_chunk + t->chunks;)
        end++;
    return (range){t->file, first * scored, (end - first) * scored};
}

/* With a single text, it and all texts are the same. */
static size_t first_range(const qn_compare_job *j)
{
    return j->n_texts == 1 ? j->n_texts : 0;
}

/* ---- words ---------------------------------------------------------------------------------- */

/* "0.0047 +/- 0.0001"; without the error where there is none. */
static void print_estimate(const char *what, qn_estimate e, double unit, const char *format)
{
    printf("  %-16s", what);
    printf(format, e.value * unit);
    if (isnan(e.error)) {
        putchar('\n');
        return;
    }
    fputs(" +/- ", stdout);
    printf(format, e.error * unit);
    putchar('\n');
}

static void print_percentiles(const char *what, const double at[], double unit, const char *format)
{
    printf("  %-16s", what);
    for (size_t i = 0; i < QN_N_PERCENTILES; i++) {
        printf(format, at[i] * unit);
        putchar(i + 1 < QN_N_PERCENTILES ? ' ' : '\n');
    }
}

static void print_one(const qn_kl_statistics *s)
{
    print_estimate("PPL", s->ppl, 1, "%.4f");
    print_estimate("PPL of REF", s->ppl_reference, 1, "%.4f");
    print_estimate("PPL ratio", s->ppl_ratio, 1, "%.6f");
    print_estimate("mean KLD", s->kld, 1, "%.6f");
    print_estimate("same top", s->same_top, 100, "%.3f %%");
    print_estimate("mean dp", s->delta_p, 100, "%.3f %%");
    printf("  %-16s%.3f %%\n", "RMS dp", s->rms_delta_p * 100);
    printf("  %-16s", "percentile");
    for (size_t i = 0; i < QN_N_PERCENTILES; i++)
        printf("%8g%c", qn_percentiles[i], i + 1 < QN_N_PERCENTILES ? ' ' : '\n');
    print_percentiles("KLD", s->kld_at, 1, "%8.5f");
    print_percentiles("dp in %", s->delta_p_at, 100, "%8.3f");
}

/* Of a compact base: what is sure of the mean, and what is estimated. */
typedef struct {
    double least, most, error;
} bounds;

static bounds bounds_of(const qn_compare_job *j, size_t test)
{
    const qn_compared *t = &j->seen.tests[test];
    const double n = (double)j->seen.n;
    return (bounds){t->kld_least / n, t->kld_most / n, sqrt(t->kld_variance) / n};
}

static void print_bounds(const qn_compare_job *j)
{
    for (size_t t = 0; qn_compare_is_compact(j) && t + 1 < j->n_models; t++) {
        const bounds b = bounds_of(j, t);
        printf(
            "\nmean KLD, %s: between %.6f and %.6f for certain, +/- %.2g by the base's samples\n",
            qn_path_name(j->models[t + 1].path), b.least, b.most, b.error);
    }
}

static void print_table_head(void)
{
    printf("%-28s %9s %10s %10s %10s %10s %10s %9s %8s\n", "", "size", "PPL", "PPL ratio",
           "mean KLD", "99 % KLD", "max KLD", "same top", "RMS dp");
}

static void print_row(const qn_compare_model *m, const qn_kl_statistics *s)
{
    char size[32];
    printf("%-28s %9s %10.4f %10.6f %10.6f %10.5f %10.4f %7.2f %% %6.2f %%\n",
           qn_path_name(m->path), qn_human_size((double)m->bytes, size), s->ppl.value,
           s->ppl_ratio.value, s->kld.value, s->kld_at[10], s->kld_at[QN_N_PERCENTILES - 1],
           s->same_top.value * 100, s->rms_delta_p * 100);
}

/* The text of ids; false: they have none. */
static bool text_of(const qn_compare_job *j, const uint32_t *ids, size_t n, qn_text *out)
{
    qn_error err;
    return !qn_tokenizer_decode(qn_compare_speaker(j)->tokenizer, ids, n, false, out, &err);
}

/* Escaped, in quotes. */
static void print_ids(const qn_compare_job *j, const uint32_t *ids, size_t n)
{
    qn_text text = {0};
    putchar('"');
    if (text_of(j, ids, n, &text) && text.s) qn_print_escaped(text.s, text.n);
    putchar('"');
    qn_text_free(&text);
}

typedef struct {
    const uint32_t *context; /* n_context ids, then the one that came */
    size_t n_context, chunk, position;
} place;

static place place_of(const qn_compare_job *j, size_t at)
{
    const qn_chunks *c = &j->chunks;
    const size_t chunk = qn_compare_window(j, at / c->scored), position = c->first + at % c->scored;
    const size_t n = position + 1 < CONTEXT ? position + 1 : CONTEXT;
    return (place){qn_chunk_ids(c, chunk) + position + 1 - n, n, chunk, position};
}

static void print_worst(const qn_compare_job *j, size_t test, const size_t *at, size_t n)
{
    const qn_compared *t = &j->seen.tests[test];
    for (size_t i = 0; i < n; i++) {
        const place p = place_of(j, at[i]);
        printf("  KLD %.4f  ", t->kld[at[i]]);
        print_ids(j, p.context, p.n_context);
        printf(" came ");
        print_ids(j, p.context + p.n_context, 1);
        printf(" (%.2f %% -> %.2f %%), most probable ", 100 * qn_exp(-j->seen.nll[at[i]]),
               100 * qn_exp(-t->nll[at[i]]));
        print_ids(j, &j->seen.top[at[i]], 1);
        printf(" -> ");
        print_ids(j, &t->top[at[i]], 1);
        putchar('\n');
    }
}

static size_t worst_of(const qn_compare_job *j, size_t test, size_t **at)
{
    const size_t most = j->o->worst < j->seen.n ? (size_t)j->o->worst : j->seen.n;
    *at = qn_alloc(most, sizeof **at);
    return *at ? qn_worst_positions(&j->seen, test, *at, most) : 0;
}

/* One text (or all of them): every test in a line, or alone in full.  Of a text no window
 * may have been seen, with gates. */
static qn_status print_range(const qn_compare_job *j, size_t text, qn_error *err)
{
    qn_kl_statistics s;
    const range r = range_of(j, text);
    if (!r.n) return QN_OK;
    const bool alone = j->n_models == 2;
    if (j->n_texts > first_range(j) + 1 || first_range(j) < j->n_texts)
        printf("%s%s\n", text ? "\n" : "", r.name ? r.name : "all texts");
    if (!alone) print_table_head();
    for (size_t t = 0; t + 1 < j->n_models; t++) {
        const qn_status status = qn_kl_statistics_of(&s, &j->seen, t, r.first, r.n, err);
        if (status) return status;
        if (alone)
            print_one(&s);
        else
            print_row(&j->models[t + 1], &s);
    }
    return QN_OK;
}

static void print_gates(const qn_compare_job *j)
{
    for (size_t t = 0; t < j->gates.n_tests; t++) {
        qn_text text = {0};
        printf("\ngates, %s:\n", qn_path_name(j->models[t + 1].path));
        qn_gates_words(&j->gates, t, "  ", &text);
        if (text.s) fputs(text.s, stdout);
        qn_text_free(&text);
    }
}

static void print_against(const qn_compare_job *j)
{
    for (size_t t = 0; j->against && t + 1 < j->n_models; t++) {
        qn_text text = {0};
        printf("\nagainst %s, %s:\n", j->earlier.path, qn_path_name(j->models[t + 1].path));
        qn_compare_against_words(j, t, "  ", &text);
        if (text.s) fputs(text.s, stdout);
        qn_text_free(&text);
    }
}

qn_status qn_compare_print(const qn_compare_job *j, qn_error *err)
{
    char size[32];
    printf("%s against %s (%s), %zu windows of %zu tokens\n",
           j->n_models == 2 ? j->models[1].path : "models", j->models->path,
           qn_human_size((double)j->models->bytes, size), j->seen.n / j->seen.scored,
           j->chunks.n_ctx);
    qn_status status = QN_OK;
    for (size_t text = first_range(j); text <= j->n_texts && !status; text++)
        status = print_range(j, text, err);
    if (!status) print_bounds(j);
    for (size_t t = 0; t + 1 < j->n_models && !status && j->o->worst; t++) {
        size_t *at;
        const size_t n = worst_of(j, t, &at);
        printf("\nmost changed, %s:\n", qn_path_name(j->models[t + 1].path));
        print_worst(j, t, at, n);
        qn_free(at);
    }
    if (!status) print_gates(j);
    if (!status) print_against(j);
    for (size_t t = 0; j->damage && t + 1 < j->n_models && !status; t++)
        qn_damage_print(&j->damage[t]);
    return status;
}

qn_status qn_compare_markdown(const qn_compare_job *j, qn_text *out, qn_error *err)
{
    qn_text_adds(out, "### ");
    qn_markdown_text(out, qn_path_name(j->models->path));
    qn_text_addf(
        out,
        "\n\n%zu windows of %zu tokens\n\n"
        "| model | MiB | PPL | PPL ratio | mean KLD | 99 %% KLD | max KLD | same top | RMS dp |\n"
        "|---|---|---|---|---|---|---|---|---|\n",
        j->seen.n / j->seen.scored, j->chunks.n_ctx);
    for (size_t t = 0; t + 1 < j->n_models; t++) {
        qn_kl_statistics s;
        const qn_compare_model *m = &j->models[t + 1];
        const qn_status status = qn_kl_statistics_of(&s, &j->seen, t, 0, j->seen.n, err);
        if (status) return status;
        qn_text_adds(out, "| ");
        qn_markdown_text(out, qn_path_name(m->path));
        qn_text_addf(out, " | %.1f | %.4f | %.6f | %.6f | %.5f | %.4f | %.2f %% | %.2f %% |\n",
                     (double)m->bytes / 0x1p20, s.ppl.value, s.ppl_ratio.value, s.kld.value,
                     s.kld_at[10], s.kld_at[QN_N_PERCENTILES - 1], s.same_top.value * 100,
                     s.rms_delta_p * 100);
    }
    for (size_t t = 0; t < j->gates.n_tests; t++) {
        qn_text_adds(out, "\n");
        qn_markdown_text(out, qn_path_name(j->models[t + 1].path));
        qn_text_adds(out, ":\n\n");
        qn_gates_words(&j->gates, t, "* ", out);
    }
    for (size_t t = 0; j->against && t + 1 < j->n_models; t++) {
        qn_text_adds(out, "\n");
        qn_markdown_text(out, qn_path_name(j->models[t + 1].path));
        qn_text_adds(out, " against ");
        qn_markdown_text(out, qn_path_name(j->earlier.path));
        qn_text_adds(out, ":\n\n");
        qn_compare_against_words(j, t, "* ", out);
    }
    return out->failed ? qn_fail_memory(err, "a table") : QN_OK;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *estimate_json(qn_estimate e)
{
    return json_pack("{s: o, s: o, s: o}", "value", qn_json_number(e.value), "error",
                     qn_json_number(e.error), "token_error", qn_json_number(e.token_error));
}

static json_t *percentiles_json(const double at[])
{
    json_t *o = json_object();
    for (size_t i = 0; i < QN_N_PERCENTILES; i++) {
        char key[16];
        snprintf(key, sizeof key, "%g", qn_percentiles[i]);
        json_object_set_new(o, key, qn_json_number(at[i]));
    }
    return o;
}

static json_t *curve_json(const double at[QN_CURVE_POINTS])
{
    json_t *list = json_array();
    for (size_t i = 0; i < QN_CURVE_POINTS; i++) json_array_append_new(list, qn_json_number(at[i]));
    return list;
}

static json_t *statistics_json(const char *text, const qn_kl_statistics *s)
{
    json_t *o = json_object();
    if (text) json_object_set_new(o, "text", qn_json_text(text, strlen(text)));
    json_object_set_new(o, "tokens_scored", qn_json_count(s->n));
    json_object_set_new(o, "windows", qn_json_count(s->windows));
    json_object_set_new(o, "ppl", estimate_json(s->ppl));
    json_object_set_new(o, "ppl_reference", estimate_json(s->ppl_reference));
    json_object_set_new(o, "log_ppl_ratio", estimate_json(s->log_ratio));
    json_object_set_new(o, "ppl_ratio", estimate_json(s->ppl_ratio));
    json_object_set_new(o, "correlation", qn_json_number(s->correlation));
    json_object_set_new(o, "mean_kld", estimate_json(s->kld));
    json_object_set_new(o, "kld_percentiles", percentiles_json(s->kld_at));
    json_object_set_new(o, "kld_curve", curve_json(s->kld_curve));
    json_object_set_new(o, "same_top", estimate_json(s->same_top));
    json_object_set_new(o, "mean_delta_p", estimate_json(s->delta_p));
    json_object_set_new(o, "rms_delta_p", qn_json_number(s->rms_delta_p));
    json_object_set_new(o, "rms_delta_p_token_error", qn_json_number(s->rms_delta_p_error));
    json_object_set_new(o, "delta_p_percentiles", percentiles_json(s->delta_p_at));
    return o;
}

static json_t *ids_json(const qn_compare_job *j, const uint32_t *ids, size_t n)
{
    qn_text text = {0};
    json_t *s = text_of(j, ids, n, &text) ? qn_json_text(text.s ? text.s : "", text.n) : NULL;
    qn_text_free(&text);
    return s ? s : json_null();
}

/* The text that a window is of. */
static const char *text_at(const qn_compare_job *j, size_t chunk)
{
    for (size_t i = 0; i < j->n_texts; i++)
        if (chunk - j->texts[i].first_chunk < j->texts[i].chunks) return j->texts[i].file;
    return NULL;
}

static json_t *worst_json(const qn_compare_job *j, size_t test)
{
    const qn_compared *t = &j->seen.tests[test];
    json_t *list = json_array();
    size_t *at;
    const size_t n = worst_of(j, test, &at);
    for (size_t i = 0; i < n; i++) {
        const place p = place_of(j, at[i]);
        const char *text = text_at(j, p.chunk);
        json_t *o = json_object();
        if (text) json_object_set_new(o, "text", qn_json_text(text, strlen(text)));
        json_object_set_new(o, "window", qn_json_count(p.chunk));
        json_object_set_new(o, "position", qn_json_count(p.position + 1));
        json_object_set_new(o, "kld", qn_json_number(t->kld[at[i]]));
        json_object_set_new(o, "context", ids_json(j, p.context, p.n_context));
        json_object_set_new(o, "token", ids_json(j, p.context + p.n_context, 1));
        json_object_set_new(o, "p_reference", qn_json_number(qn_exp(-j->seen.nll[at[i]])));
        json_object_set_new(o, "p", qn_json_number(qn_exp(-t->nll[at[i]])));
        json_object_set_new(o, "top_reference", ids_json(j, &j->seen.top[at[i]], 1));
        json_object_set_new(o, "top", ids_json(j, &t->top[at[i]], 1));
        json_array_append_new(list, o);
    }
    qn_free(at);
    return list;
}

/* What the file says its type is, by llama-quantize's name; NULL: nothing. */
static const char *type_of(const qn_model *m)
{
    uint64_t number;
    bool found = false;
    const qn_mix *mix;
    if (qn_metadata_u64(m->metadata, "general.file_type", &number, &found, NULL) || !found)
        return NULL;
    for (size_t i = 0; (mix = qn_mix_at(i)); i++)
        if (mix->file_type == number) return mix->name;
    return NULL;
}

static json_t *bytes_by_type(const qn_model *m)
{
    uint64_t bytes[QN_DTYPE_COUNT] = {0};
    json_t *o = json_object();
    for (size_t i = 0; i < m->reader->n_tensors; i++)
        bytes[m->reader->tensors[i].dtype] += m->reader->tensors[i].bytes;
    for (size_t t = 0; t < QN_DTYPE_COUNT; t++)
        if (bytes[t])
            json_object_set_new(o, qn_dtype_facts((qn_dtype)t)->name, qn_json_count(bytes[t]));
    return o;
}

/* A file of logits has no tensors. */
static void describe_model(json_t *o, const qn_compare_model *m)
{
    const qn_model *model = m->loaded.model;
    const char *type = model ? type_of(model) : NULL;
    json_object_set_new(o, "model", qn_json_text(m->path, strlen(m->path)));
    json_object_set_new(o, "size_bytes", qn_json_count(m->bytes));
    if (type) json_object_set_new(o, "type", json_string(type));
    if (model) json_object_set_new(o, "tensor_bytes", bytes_by_type(model));
    qn_report_digests(o, m->digests.model, m->digests.tokenizer);
}

static json_t *bounds_json(const qn_compare_job *j, size_t test)
{
    const bounds b = bounds_of(j, test);
    return json_pack("{s: o, s: o, s: o}", "least", qn_json_number(b.least), "most",
                     qn_json_number(b.most), "sampling_error", qn_json_number(b.error));
}

static json_t *test_json(const qn_compare_job *j, size_t test)
{
    const qn_compare_model *m = &j->models[test + 1];
    json_t *o = json_object(), *texts = json_array();
    describe_model(o, m);
    for (size_t text = 0; text <= j->n_texts; text++) {
        qn_kl_statistics s;
        qn_error err;
        const range r = range_of(j, text);
        if (!r.n) continue;
        if (qn_kl_statistics_of(&s, &j->seen, test, r.first, r.n, &err)) break;
        if (r.name)
            json_array_append_new(texts, statistics_json(r.name, &s));
        else
            json_object_set_new(o, "all", statistics_json(NULL, &s));
    }
    json_object_set_new(o, "texts", texts);
    if (qn_compare_is_compact(j)) json_object_set_new(o, "base_bounds", bounds_json(j, test));
    if (j->gates.n_tests) json_object_set_new(o, "gates", qn_gates_json(&j->gates, test));
    if (j->against) json_object_set_new(o, "against", qn_compare_against_json(j, test));
    qn_compare_add_windows(j, test, o);
    json_object_set_new(o, "worst", worst_json(j, test));
    if (j->damage) qn_damage_json(&j->damage[test], o);
    return o;
}

static json_t *seen_json(const qn_compare_job *j)
{
    json_t *list = json_array();
    for (size_t i = 0; i < j->seen.n / j->seen.scored; i++)
        json_array_append_new(list, qn_json_count(qn_compare_window(j, i)));
    return list;
}

static json_t *whole_json(const qn_compare_job *j)
{
    json_t *document = qn_report_new(&j->o->common), *tests = json_array(), *texts = json_array();
    json_t *reference = json_object();
    const double tokens = (double)(j->chunks.chunks * j->chunks.n_ctx);
    for (size_t t = 0; t + 1 < j->n_models; t++) json_array_append_new(tests, test_json(j, t));
    for (size_t i = 0; i < j->n_texts; i++)
        json_array_append_new(
            texts, json_pack("{s: o, s: s, s: o}", "file",
                             qn_json_text(j->texts[i].file, strlen(j->texts[i].file)), "sha256",
                             j->texts[i].sha256, "windows", qn_json_count(j->texts[i].chunks)));
    describe_model(reference, j->models);
    json_object_set_new(document, "reference", reference);
    json_object_set_new(document, "activations",
                        json_string(j->o->activations ? j->o->activations : "exact"));
    json_object_set_new(document, "n_ctx", qn_json_count(j->chunks.n_ctx));
    json_object_set_new(document, "texts", texts);
    if (j->mixed.order) json_object_set_new(document, "windows_seen", seen_json(j));
    if (j->earlier.path) json_object_set_new(document, "earlier", qn_earlier_json(&j->earlier));
    json_object_set_new(document, "elapsed_s", qn_json_number(j->seconds));
    json_object_set_new(document, "tokens_per_s",
                        qn_json_number(j->seconds > 0 ? tokens / j->seconds : 0));
    json_object_set_new(document, "tests", tests);
    return document;
}

qn_exit qn_compare_report(const qn_compare_job *j)
{
    return qn_report_print(&j->o->common, whole_json(j));
}

qn_status qn_compare_html(const qn_compare_job *j, qn_text *out, qn_error *err)
{
    qn_report_data data = {0};
    json_t *document = whole_json(j);
    if (!document) return qn_fail_memory(err, "a page");
    qn_status status = qn_report_data_add(&data, document, "quern compare", NULL, err);
    if (!status) status = qn_report_data_finish(&data, err);
    if (!status) qn_report_page(&data, out);
    qn_report_data_free(&data);
    return status;
}
