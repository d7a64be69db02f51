#include "tools/report_tables.h"

#include <math.h>
#include <string.h>

#include "tools/report_charts.h"
#include "tools/report_markup.h"

/* Rows of tensors that are shown. */
enum { MOST_TENSORS = 12 };

static void open_table(qn_text *t, const char *head)
{
    qn_text_addf(t, "<div class=\"scroll\"><table><thead><tr>%s</tr></thead><tbody>\n", head);
}

static void close_table(qn_text *t)
{
    qn_text_adds(t, "</tbody></table></div>\n");
}

/* A section that is one table, begun with its first row and ended only then. */
static void begin_section(qn_text *t, bool *begun, const char *title, const char *head)
{
    if (*begun) return;
    *begun = true;
    qn_text_addf(t, "<section><h2>%s</h2>\n", title);
    open_table(t, head);
}

static void end_section(qn_text *t, bool begun)
{
    if (!begun) return;
    close_table(t);
    qn_text_adds(t, "</section>\n");
}

static void cell(qn_text *t, double v, int decimals, const char *unit)
{
    qn_text_adds(t, "<td>");
    qn_html_number(t, v, decimals);
    if (isfinite(v)) qn_text_adds(t, unit);
    qn_text_adds(t, "</td>");
}

/* The value and, smaller, its error. */
static void estimate(qn_text *t, qn_figure f, double times, int decimals)
{
    qn_text_adds(t, "<td>");
    qn_html_number(t, f.value * times, decimals);
    if (isfinite(f.error)) {
        qn_text_adds(t, " <span class=\"err\">&#177; ");
        qn_html_number(t, f.error * times, decimals);
        qn_text_adds(t, "</span>");
    }
    qn_text_adds(t, "</td>");
}

static void words(qn_text *t, const char *class, const char *s)
{
    qn_text_addf(t, "<td class=\"%s\">", class);
    qn_html_text(t, s);
    qn_text_adds(t, "</td>");
}

static void size_cell(qn_text *t, double bytes)
{
    qn_text_adds(t, "<td>");
    qn_html_size(t, bytes);
    qn_text_adds(t, "</td>");
}

static void model_cell(qn_text *t, const qn_report_group *g, size_t i)
{
    const size_t colour = i < QN_REPORT_COLOURS ? i : QN_REPORT_COLOURS - 1;
    qn_text_addf(t, "<th scope=\"row\"><span class=\"key k%zu\"></span>", colour);
    qn_html_text(t, g->tests[i].label);
    qn_text_adds(t, "</th>");
}

/* So many that the error has a digit that is not 0, where there is one. */
static int decimals_of(qn_figure f)
{
    const int value = f.value != 0 ? qn_decimals_for(f.value) : 4;
    const int error = f.error > 0 ? qn_decimals_for(10 * f.error) : 0;
    return error > value ? error : value;
}

/* Those that suit a column of mean divergences. */
static int kld_decimals(const qn_report_group *g)
{
    int most = 2;
    for (size_t i = 0; i < g->n; i++) {
        const int decimals = decimals_of(g->tests[i].all.kld);
        if (decimals > most) most = decimals;
    }
    return most;
}

static bool beaten(const qn_report_group *g, size_t i)
{
    const qn_report_test *t = &g->tests[i];
    for (size_t k = 0; k < g->n; k++) {
        const qn_report_test *o = &g->tests[k];
        if (o->size_bytes <= t->size_bytes && o->all.kld.value < t->all.kld.value) return true;
    }
    return false;
}

void qn_table_summary(qn_text *t, const qn_report_group *g)
{
    const int decimals = kld_decimals(g);
    open_table(t, "<th>model</th><th>size</th><th>of ref.</th><th>mean KL</th><th>99 % KL</th>"
                  "<th>same top</th><th>PPL ratio</th><th>RMS &#916;p</th>");
    for (size_t i = 0; i < g->n; i++) {
        const qn_report_test *m = &g->tests[i];
        qn_text_adds(t, beaten(g, i) ? "<tr class=\"beaten\">" : "<tr class=\"best\">");
        model_cell(t, g, i);
        size_cell(t, m->size_bytes);
        cell(t, 100 * m->size_bytes / g->size_bytes, 1, " %");
        estimate(t, m->all.kld, 1, decimals);
        cell(t, m->all.kld_at[10], decimals > 5 ? 5 : decimals, "");
        estimate(t, m->all.same_top, 100, 2);
        estimate(t, m->all.ppl_ratio, 1, 4);
        cell(t, 100 * m->all.rms_delta_p, 2, " %");
        qn_text_adds(t, "</tr>\n");
    }
    close_table(t);
}

void qn_table_percentiles(qn_text *t, const qn_report_group *g)
{
    double least = (double)NAN;
    for (size_t i = 0; i < g->n; i++) {
        const double median = g->tests[i].all.kld_at[6];
        if (median > 0 && !(median > least)) least = median;
    }
    const int decimals = isfinite(least) ? qn_decimals_for(least) : 4;
    open_table(t, "<th>model</th><th>50 %</th><th>75 %</th><th>90 %</th><th>95 %</th><th>99 %</th>"
                  "<th>99.9 %</th><th>max</th>");
    for (size_t i = 0; i < g->n; i++) {
        qn_text_adds(t, "<tr>");
        model_cell(t, g, i);
        for (size_t k = 6; k < QN_REPORT_PERCENTILES; k++)
            cell(t, g->tests[i].all.kld_at[k], decimals > 6 ? 6 : decimals, "");
        qn_text_adds(t, "</tr>\n");
    }
    close_table(t);
}

void qn_table_texts(qn_text *t, const qn_report_group *g)
{
    const int decimals = kld_decimals(g);
    open_table(t, "<th>text</th><th class=\"l\">model</th><th>tokens</th><th>mean KL</th>"
                  "<th>same top</th><th>PPL</th><th>PPL ratio</th>");
    for (size_t k = 0; k < g->tests->n_texts; k++) {
        for (size_t i = 0; i < g->n; i++) {
            if (k >= g->tests[i].n_texts) continue;
            const qn_report_figures *f = &g->tests[i].texts[k];
            qn_text_adds(t, "<tr>");
            words(t, "l", i ? "" : f->name);
            words(t, "l", g->tests[i].label);
            cell(t, f->tokens, 0, "");
            estimate(t, f->kld, 1, decimals);
            estimate(t, f->same_top, 100, 2);
            cell(t, f->ppl.value, 3, "");
            estimate(t, f->ppl_ratio, 1, 4);
            qn_text_adds(t, "</tr>\n");
        }
    }
    close_table(t);
}

void qn_table_gates(qn_text *t, const qn_report_group *g)
{
    open_table(t, "<th>model</th><th class=\"l\">gate</th><th>limit</th><th>seen</th>"
                  "<th>interval</th><th>windows</th><th>verdict</th>");
    for (size_t i = 0; i < g->n; i++) {
        for (size_t k = 0; k < g->tests[i].n_gates; k++) {
            const qn_report_gate *gate = &g->tests[i].gates[k];
            const int decimals = qn_decimals_for(gate->limit) + 1;
            qn_text_adds(t, "<tr>");
            model_cell(t, g, i);
            words(t, "l", gate->name);
            cell(t, gate->limit, decimals, "");
            cell(t, gate->mean, decimals, "");
            qn_text_adds(t, "<td>");
            qn_html_number(t, gate->low, decimals);
            qn_text_adds(t, " to ");
            qn_html_number(t, gate->high, decimals);
            qn_text_adds(t, "</td>");
            cell(t, gate->windows, 0, "");
            words(t,
                  !strncmp(gate->state, "pass", 4)   ? "pass"
                  : !strncmp(gate->state, "fail", 4) ? "fail"
                                                     : "undecided",
                  gate->state);
            qn_text_adds(t, "</tr>\n");
        }
    }
    close_table(t);
}

static void change_row(qn_text *t, const qn_report_change *c)
{
    const bool untested = !strcmp(c->verdict, "untested");
    const bool percent = !strcmp(c->name, "same top");
    const double unit = percent ? 100 : 1;
    const qn_figure change = {(c->now.value - c->then) * unit, c->now.error * unit};
    const int changed = decimals_of(change), as_such = qn_decimals_for(c->now.value * unit) + 2;
    const int decimals = percent ? 2 : changed > as_such ? changed : as_such;
    words(t, "l", c->name);
    cell(t, c->then * unit, decimals, percent ? " %" : "");
    cell(t, c->now.value * unit, decimals, percent ? " %" : "");
    estimate(t, change, 1, decimals);
    words(t,
          !strcmp(c->verdict, "better")  ? "pass"
          : !strcmp(c->verdict, "worse") ? "fail"
                                         : "undecided",
          untested ? "" : c->verdict);
    qn_text_adds(t, "</tr>\n");
}

void qn_table_changes(qn_text *t, const qn_report_group *g)
{
    open_table(t, "<th>model</th><th class=\"l\">figure</th><th>then</th><th>now</th>"
                  "<th>change</th><th>verdict</th>");
    for (size_t i = 0; i < g->n; i++) {
        for (size_t k = 0; k < g->tests[i].n_changes; k++) {
            qn_text_adds(t, "<tr>");
            if (k)
                qn_text_adds(t, "<td></td>");
            else
                model_cell(t, g, i);
            change_row(t, &g->tests[i].changes[k]);
        }
    }
    close_table(t);
}

static void suggestion(qn_text *t, const qn_report_test *m)
{
    if (!m->n_suggestion) return;
    qn_text_adds(t, "<p>Worth more bits (");
    qn_html_size(t, m->suggestion_bytes);
    qn_text_adds(t, " more), for <code>quern quantize</code>:</p>\n<pre><code>");
    for (size_t i = 0; i < m->n_suggestion; i++) {
        qn_text_adds(t, i ? "\n--tensor-type &#39;" : "--tensor-type &#39;");
        qn_html_text(t, m->suggestion[i]);
        qn_text_adds(t, "&#39;");
    }
    qn_text_adds(t, "</code></pre>\n");
}

void qn_table_tensors(qn_text *t, const qn_report_test *m)
{
    size_t tried = 0;
    while (tried < m->n_tensors && isfinite(m->tensors[tried].gain.value)) tried++;
    if (!tried) return;
    open_table(t, "<th>one tensor put back</th><th class=\"l\">type</th><th>size</th>"
                  "<th>output error</th><th>KL gained</th>");
    for (size_t i = 0; i < tried && i < MOST_TENSORS; i++) {
        const qn_report_tensor *x = &m->tensors[i];
        qn_text_adds(t, "<tr>");
        words(t, "l", x->name);
        words(t, "l", x->type);
        size_cell(t, x->size_bytes);
        cell(t, 100 * x->output_error, 2, " %");
        estimate(t, x->gain, 1, decimals_of(x->gain));
        qn_text_adds(t, "</tr>\n");
    }
    close_table(t);
    suggestion(t, m);
}

static void token_cell(qn_text *t, const char *s)
{
    qn_text_adds(t, "<td class=\"l\"><code><bdi>");
    qn_html_token(t, s);
    qn_text_adds(t, "</bdi></code></td>");
}

void qn_table_worst(qn_text *t, const qn_report_test *m)
{
    open_table(t, "<th>in context</th><th>KL</th><th>reference</th><th>model</th>"
                  "<th class=\"l\">its top</th><th class=\"l\">model&#39;s</th>");
    for (size_t i = 0; i < m->n_worst; i++) {
        const qn_report_token *w = &m->worst[i];
        qn_text_adds(t, "<tr><td class=\"ctx\"><bdi>");
        qn_html_token(t, w->context);
        qn_text_adds(t, "</bdi><mark><bdi>");
        qn_html_token(t, w->token);
        qn_text_adds(t, "</bdi></mark></td>");
        cell(t, w->kld, qn_decimals_for(w->kld), "");
        cell(t, 100 * w->p_reference, 2, " %");
        cell(t, 100 * w->p, 2, " %");
        token_cell(t, w->top_reference);
        token_cell(t, w->top);
        qn_text_adds(t, "</tr>\n");
    }
    close_table(t);
}

/* ---- sections of their own ------------------------------------------------------------------- */

static bool has_schema(const qn_report_source *s, const char *command)
{
    const size_t n = strlen(command);
    return !strncmp(s->schema, "quern.", 6) && !strncmp(s->schema + 6, command, n) &&
           s->schema[6 + n] == '/';
}

void qn_table_perplexity(qn_text *t, const qn_report_data *d)
{
    bool begun = false;
    for (size_t i = 0; i < d->n_sources; i++) {
        const json_t *doc = d->sources[i].json, *files = json_object_get(doc, "files");
        if (!has_schema(&d->sources[i], "perplexity")) continue;
        for (size_t k = 0; k < json_array_size(files); k++) {
            const json_t *f = json_array_get(files, k);
            const qn_figure ppl = {qn_report_number(f, "ppl"), qn_report_number(f, "ppl_stderr")};
            begin_section(t, &begun, "Perplexity",
                          "<th>model</th><th class=\"l\">text</th><th>context</th>"
                          "<th>tokens scored</th><th>PPL</th>");
            qn_text_adds(t, "<tr>");
            words(t, "l", qn_report_string(doc, "model"));
            words(t, "l", qn_report_string(f, "file"));
            cell(t, qn_report_number(f, "n_ctx"), 0, "");
            cell(t, qn_report_number(f, "tokens_scored"), 0, "");
            estimate(t, ppl, 1, 4);
            qn_text_adds(t, "</tr>\n");
        }
    }
    end_section(t, begun);
}

void qn_table_tasks(qn_text *t, const qn_report_data *d)
{
    bool begun = false;
    for (size_t i = 0; i < d->n_sources; i++) {
        const json_t *doc = d->sources[i].json, *at = json_object_get(doc, "accuracy_95");
        const qn_figure share = {qn_report_number(doc, "accuracy"),
                                 qn_report_number(doc, "accuracy_stderr")};
        if (!json_object_get(doc, "task")) continue;
        begin_section(t, &begun, "Tasks",
                      "<th>model</th><th class=\"l\">tasks</th><th>number</th><th>right, %</th>"
                      "<th>95 % interval</th><th>by chance</th>");
        qn_text_adds(t, "<tr>");
        words(t, "l", qn_report_string(doc, "model"));
        words(t, "l", qn_report_string(doc, "task"));
        cell(t, qn_report_number(doc, "tasks"), 0, "");
        estimate(t, share, 100, 2);
        qn_text_adds(t, "<td>");
        qn_html_number(t, 100 * json_number_value(json_array_get(at, 0)), 2);
        qn_text_adds(t, " to ");
        qn_html_number(t, 100 * json_number_value(json_array_get(at, 1)), 2);
        qn_text_adds(t, "</td>");
        cell(t, 100 * qn_report_number(doc, "chance"), 1, " %");
        qn_text_adds(t, "</tr>\n");
    }
    end_section(t, begun);
}

void qn_table_recipes(qn_text *t, const qn_report_data *d)
{
    bool begun = false;
    for (size_t i = 0; i < d->n_sources; i++) {
        const json_t *doc = d->sources[i].json, *outputs = json_object_get(doc, "outputs");
        for (size_t k = 0; k < json_array_size(outputs); k++) {
            const json_t *o = json_array_get(outputs, k);
            begin_section(t, &begun, "Recipe",
                          "<th>file</th><th class=\"l\">from</th><th class=\"l\">type</th>"
                          "<th>size</th><th>bits a weight</th><th>quern</th>");
            qn_text_adds(t, "<tr>");
            words(t, "l", qn_report_string(o, "output"));
            words(t, "l", qn_report_string(doc, "source"));
            words(t, "l", qn_report_string(o, "type"));
            size_cell(t, qn_report_number(o, "size_bytes"));
            cell(t, qn_report_number(o, "bits_per_weight"), 2, "");
            words(t, "", qn_report_string(doc, "quern_version"));
            qn_text_adds(t, "</tr>\n");
        }
    }
    end_section(t, begun);
}

static void source_row(qn_text *t, const char *file, const char *what, const char *sha256)
{
    qn_text_adds(t, "<tr>");
    words(t, "l", file);
    words(t, "l", what);
    qn_text_adds(t, "<td class=\"l hash\"><code>");
    qn_html_text(t, sha256);
    qn_text_adds(t, "</code></td></tr>\n");
}

/* What an object says of its model and tokenizer. */
static void digest_rows(qn_text *t, const json_t *o)
{
    const char *model = qn_report_string(o, "model_digest");
    const char *tokenizer = qn_report_string(o, "tokenizer_digest");
    if (*model) source_row(t, qn_report_string(o, "model"), "model: some of its rows", model);
    if (*tokenizer) source_row(t, qn_report_string(o, "model"), "its tokenizer", tokenizer);
}

void qn_table_sources(qn_text *t, const qn_report_data *d)
{
    qn_text_adds(t, "<section><h2>Inputs</h2>\n");
    open_table(t, "<th>file</th><th class=\"l\">what</th><th class=\"l\">SHA-256</th>");
    for (size_t i = 0; i < d->n_groups; i++)
        for (size_t k = 0; k < json_array_size(d->groups[i].texts); k++) {
            const json_t *text = json_array_get(d->groups[i].texts, k);
            source_row(t, qn_report_string(text, "file"), "text", qn_report_string(text, "sha256"));
        }
    for (size_t i = 0; i < d->n_sources; i++) {
        const qn_report_source *s = &d->sources[i];
        qn_text what = {0};
        qn_text_addf(&what, "%s, quern %s, %s", s->schema,
                     qn_report_string(s->json, "quern_version"), qn_report_string(s->json, "isa"));
        source_row(t, s->file, what.s ? what.s : s->schema, s->sha256);
        qn_text_free(&what);
    }
    for (size_t i = 0; i < d->n_sources; i++) {
        const json_t *doc = d->sources[i].json, *tests = json_object_get(doc, "tests");
        digest_rows(t, doc);
        digest_rows(t, json_object_get(doc, "reference"));
        for (size_t k = 0; k < json_array_size(tests); k++)
            digest_rows(t, json_array_get(tests, k));
    }
    close_table(t);
    qn_text_adds(t, "</section>\n");
}
