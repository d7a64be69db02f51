#include "tools/report_page.h"

#include <math.h>
#include <string.h>

#include "tools/report_charts.h"
#include "tools/report_markup.h"
#include "tools/report_style.h"
#include "tools/report_tables.h"
#include "tools/version.h"

/* With more, long tables of each are folded. */
enum { FEW_MODELS = 2 };

static void heading(qn_text *t, const char *words, const char *note)
{
    qn_text_addf(t, "<section><h2>%s</h2>\n<p class=\"note\">%s</p>\n", words, note);
}

static void model_heading(qn_text *t, const qn_report_group *g, size_t i)
{
    if (g->n < 2) return;
    qn_text_adds(t, "<h3>");
    qn_html_text(t, g->tests[i].name);
    qn_text_adds(t, "</h3>\n");
}

static void open_details(qn_text *t, const char *name)
{
    qn_text_adds(t, "<details><summary>");
    qn_html_text(t, name);
    qn_text_adds(t, "</summary>\n");
}

/* ---- sections ------------------------------------------------------------------------------ */

static void add_summary(qn_text *t, const qn_report_group *g)
{
    heading(
        t, "Summary",
        "&#177; is one standard error, by windows. Grey: something of its size or less diverges "
        "less. KL divergence in nats a token; same top: how often the most probable token "
        "stays the same.");
    qn_table_summary(t, g);
    qn_text_adds(t, "</section>\n");
}

static void add_frontier(qn_text *t, const qn_report_group *g)
{
    if (g->n < 2) return;
    heading(t, "Size against divergence",
            "Below and left is better; the dotted line joins what nothing smaller beats. Rings: "
            "beaten. Strokes: two standard errors.");
    qn_chart_frontier(t, g);
    qn_text_adds(t, "</section>\n");
}

static void add_percentiles(qn_text *t, const qn_report_group *g)
{
    heading(t, "Percentiles",
            "A mean hides the few tokens at which a model answers otherwise; the right end of a "
            "curve shows them.");
    qn_chart_percentiles(t, g);
    qn_text_adds(t, "<details><summary>The figures</summary>\n");
    qn_table_percentiles(t, g);
    qn_text_adds(t, "</details></section>\n");
}

static void add_texts(qn_text *t, const qn_report_group *g)
{
    if (!g->n || g->tests->n_texts < 2) return;
    heading(t, "By text", "Mean KL divergence, nats; strokes: two standard errors.");
    qn_chart_texts(t, g);
    qn_text_adds(t, "<details><summary>The figures</summary>\n");
    qn_table_texts(t, g);
    qn_text_adds(t, "</details></section>\n");
}

static void add_layers(qn_text *t, const qn_report_group *g)
{
    size_t with = 0;
    for (size_t i = 0; i < g->n; i++) with += g->tests[i].n_layers != 0;
    if (!with) return;
    heading(t, "Where errors arise",
            "How far each matrix's output is from the reference's on the same input, and the "
            "residual stream behind each layer from the reference's run.");
    for (size_t i = 0; i < g->n; i++) {
        if (!g->tests[i].n_layers) continue;
        model_heading(t, g, i);
        qn_chart_layers(t, &g->tests[i]);
        qn_table_tensors(t, &g->tests[i]);
    }
    qn_text_adds(t, "</section>\n");
}

static void add_worst(qn_text *t, const qn_report_group *g)
{
    size_t with = 0;
    for (size_t i = 0; i < g->n; i++) with += g->tests[i].n_worst;
    if (!with) return;
    heading(t, "Tokens that changed most",
            "The marked token came next in the text; its probability by the reference and by the "
            "model, and what each held most probable.");
    for (size_t i = 0; i < g->n; i++) {
        if (!g->tests[i].n_worst) continue;
        if (g->n > FEW_MODELS)
            open_details(t, g->tests[i].name);
        else
            model_heading(t, g, i);
        qn_table_worst(t, &g->tests[i]);
        if (g->n > FEW_MODELS) qn_text_adds(t, "</details>\n");
    }
    qn_text_adds(t, "</section>\n");
}

static void add_gates(qn_text *t, const qn_report_group *g)
{
    size_t with = 0;
    for (size_t i = 0; i < g->n; i++) with += g->tests[i].n_gates;
    if (!with) return;
    heading(t, "Gates",
            "Limits that were asked for, and where the figure lies; the interval holds at every "
            "moment with the confidence that was asked for.");
    qn_table_gates(t, g);
    qn_text_adds(t, "</section>\n");
}

/* The earlier results, each once. */
static void add_earlier(qn_text *t, const qn_report_group *g)
{
    bool any = false;
    for (size_t i = 0; i < g->n; i++) {
        const qn_report_test *m = &g->tests[i];
        bool told = !m->n_changes;
        for (size_t k = 0; k < i && !told; k++)
            told = g->tests[k].n_changes && !strcmp(g->tests[k].earlier, m->earlier);
        if (told) continue;
        qn_text_adds(t, any ? ", " : "");
        qn_html_text(t, m->earlier);
        qn_text_adds(t, " (quern ");
        qn_html_text(t, m->earlier_version);
        qn_text_adds(t, ")");
        any = true;
    }
}

static void add_changes(qn_text *t, const qn_report_group *g)
{
    size_t with = 0;
    for (size_t i = 0; i < g->n; i++) with += g->tests[i].n_changes;
    if (!with) return;
    qn_text_adds(t, "<section><h2>Against ");
    add_earlier(t, g);
    qn_text_adds(t, "</h2>\n<p class=\"note\">The same windows then and now, in pairs; percentiles "
                    "are of all tokens together, whose error is not known.</p>\n");
    qn_table_changes(t, g);
    qn_text_adds(t, "</section>\n");
}

static double windows_of(const qn_report_group *g)
{
    double n = 0;
    for (size_t i = 0; i < json_array_size(g->texts); i++)
        n += qn_report_number(json_array_get(g->texts, i), "windows");
    return n;
}

static void add_group(qn_text *t, const qn_report_group *g, bool alone)
{
    qn_text_adds(t, alone ? "<header><h1>" : "<header><h1 class=\"part\">");
    if (g->n == 1) {
        qn_html_text(t, g->tests->name);
        qn_text_adds(t, " against ");
        qn_html_text(t, g->reference);
    } else {
        qn_text_addf(t, "%zu models against ", g->n);
        qn_html_text(t, g->reference);
    }
    qn_text_adds(t, "</h1>\n<p class=\"lead\">");
    qn_html_size(t, g->size_bytes);
    qn_text_adds(t, " reference, ");
    qn_html_number(t, windows_of(g), 0);
    qn_text_adds(t, " windows of ");
    qn_html_number(t, g->n_ctx, 0);
    qn_text_addf(t, " tokens, %zu text%s</p></header>\n", json_array_size(g->texts),
                 json_array_size(g->texts) == 1 ? "" : "s");
    add_summary(t, g);
    add_gates(t, g);
    add_changes(t, g);
    add_frontier(t, g);
    add_percentiles(t, g);
    add_texts(t, g);
    add_layers(t, g);
    add_worst(t, g);
}

/* ---- the page ------------------------------------------------------------------------------- */

static void add_head(qn_text *t, const qn_report_data *d)
{
    qn_text_adds(
        t, "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n"
           "<head><meta charset=\"utf-8\"/>\n"
           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src &#39;none&#39;;"
           " style-src &#39;unsafe-inline&#39;\"/>\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
           "<meta name=\"generator\" content=\"quern " QN_VERSION "\"/>\n<title>");
    if (d->n_groups) {
        qn_text_adds(t, "Against ");
        qn_html_text(t, d->groups->reference);
    } else {
        qn_text_adds(t, "Results of quern");
    }
    qn_text_adds(t, "</title>\n<style>\n");
    for (const char *const *piece = qn_report_style; *piece; piece++) qn_text_adds(t, *piece);
    qn_text_adds(t, "</style></head>\n<body>\n<main>\n");
}

void qn_report_page(const qn_report_data *d, qn_text *out)
{
    add_head(out, d);
    if (!d->n_groups) qn_text_adds(out, "<header><h1>Results of quern</h1></header>\n");
    for (size_t i = 0; i < d->n_groups; i++) add_group(out, &d->groups[i], d->n_groups == 1);
    qn_table_perplexity(out, d);
    qn_table_tasks(out, d);
    qn_table_recipes(out, d);
    qn_table_sources(out, d);
    qn_text_adds(out, "</main>\n<footer>Made by quern " QN_VERSION
                      " from the results above; no script, nothing from elsewhere.</footer>\n"
                      "</body></html>\n");
}
