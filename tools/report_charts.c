#include "tools/report_charts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/report_markup.h"

enum { WIDTH = 680, LINE = 17, MOST_TICKS = 12 };

static void open_svg(qn_text *t, double height, const char *title, const char *what)
{
    qn_text_addf(t, "<div class=\"chart\"><svg viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"",
                 WIDTH, height);
    qn_html_text(t, what);
    qn_text_adds(t, "\"><title>");
    qn_html_text(t, title);
    qn_text_adds(t, "</title>\n");
}

static void close_svg(qn_text *t)
{
    qn_text_adds(t, "</svg></div>\n");
}

static size_t colour(size_t i)
{
    return i < QN_REPORT_COLOURS ? i : QN_REPORT_COLOURS - 1;
}

/* anchor: "start", "middle", "end". */
static void label(qn_text *t, const char *class, double x, double y, const char *anchor,
                  const char *words)
{
    qn_text_addf(t, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", class, x, y,
                 anchor);
    qn_html_text(t, words);
    qn_text_adds(t, "</text>\n");
}

static void line(qn_text *t, const char *class, double x1, double y1, double x2, double y2)
{
    qn_text_addf(t, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class,
                 x1, y1, x2, y2);
}

/* "0.05", "1e-06" is 0.000001. */
static const char *tick_words(double v, char buf[32])
{
    int decimals = 0;
    while (decimals < 9 && fabs(v * pow(10, decimals) - round(v * pow(10, decimals))) > 1e-6)
        decimals++;
    snprintf(buf, 32, "%.*f", decimals, v);
    return buf;
}

/* Horizontal lines with their values on the left. */
static void value_axis(qn_text *t, const qn_scale *y, double x1, double x2)
{
    double ticks[MOST_TICKS];
    char words[32];
    const size_t n = qn_scale_ticks(y, ticks, MOST_TICKS);
    for (size_t i = 0; i < n; i++) {
        const double at = qn_scale_at(y, ticks[i]);
        line(t, "grid", x1, at, x2, at);
        label(t, "tick", x1 - 8, at + 4, "end", tick_words(ticks[i], words));
    }
}

/* A logarithmic scale over positive values, from a little below the least. */
static qn_scale log_scale(double least, double most, double from, double to)
{
    if (!(least > 0)) least = most > 0 ? most / 10 : 1e-6;
    if (!(most > least)) most = least * 2;
    return (qn_scale){least / 1.3, most * 1.3, from, to, true};
}

/* Values that no measurement gives are not drawn to scale. */
static void widen(double v, double *least, double *most)
{
    if (!(v > 1e-30) || !(v < 1e30)) return;
    if (!(v > *least)) *least = v;
    if (!(v < *most)) *most = v;
}

/* ---- size against divergence --------------------------------------------------------------- */

/* Nothing of at most its size diverges less. */
static bool is_best(const qn_report_group *g, size_t i)
{
    const qn_report_test *t = &g->tests[i];
    for (size_t k = 0; k < g->n; k++) {
        const qn_report_test *o = &g->tests[k];
        if (k != i && o->size_bytes <= t->size_bytes && o->all.kld.value <= t->all.kld.value &&
            (o->size_bytes < t->size_bytes || o->all.kld.value < t->all.kld.value || k < i))
            return false;
    }
    return true;
}

/* Steps from each of the best to the next larger one. */
static void frontier_line(qn_text *t, const qn_report_group *g, const qn_scale *x,
                          const qn_scale *y)
{
    double size = -1;
    bool begun = false;
    qn_text_adds(t, "<path class=\"frontier\" d=\"");
    for (;;) {
        const qn_report_test *next = NULL;
        for (size_t i = 0; i < g->n; i++)
            if (g->tests[i].size_bytes > size && is_best(g, i) &&
                (!next || g->tests[i].size_bytes < next->size_bytes))
                next = &g->tests[i];
        if (!next) break;
        size = next->size_bytes;
        const double px = qn_scale_at(x, size), py = qn_scale_at(y, next->all.kld.value);
        qn_text_addf(t, begun ? "H%.1fV%.1f" : "M%.1f,%.1f", px, py);
        begun = true;
    }
    if (begun) qn_text_addf(t, "H%.1f", x->to);
    qn_text_adds(t, "\"/>\n");
}

static void size_axis(qn_text *t, const qn_scale *x, double y)
{
    double ticks[MOST_TICKS];
    char words[32];
    const size_t n = qn_scale_ticks(x, ticks, MOST_TICKS);
    for (size_t i = 0; i < n; i++) {
        const double at = qn_scale_at(x, ticks[i]);
        line(t, "axis", at, y, at, y + 4);
        label(t, "tick", at, y + 18, "middle", tick_words(ticks[i], words));
    }
}

typedef struct {
    double x1, y1, x2, y2;
} box;

static bool overlap(box a, box b)
{
    return a.x1 < b.x2 && b.x1 < a.x2 && a.y1 < b.y2 && b.y1 < a.y2;
}

/* About the room that a label takes. */
static box label_box(double x, double y, bool end, const char *words)
{
    const double width = 8.2 * (double)strlen(words);
    return (box){end ? x - width : x, y - 11, end ? x : x + width, y + 3};
}

/* Beside each point the first place that is free of others and their points. */
static void name_points(qn_text *t, const qn_report_group *g, const double *px, const double *py,
                        box *taken)
{
    static const struct {
        double x, y;
        bool end;
    } places[] = {{7, -9, false},   {-9, 17, true},  {-9, -9, true}, {9, 19, false},
                  {-11, 4.5, true}, {7, -24, false}, {-9, 32, true}, {-9, -24, true},
                  {9, 34, false},   {7, -39, false}, {-9, 47, true}};
    enum { PLACES = sizeof places / sizeof *places };
    for (size_t i = 0; i < g->n; i++) {
        size_t which = 0;
        for (bool is_free = false; !is_free && which < PLACES; which += !is_free) {
            const box here = label_box(px[i] + places[which].x, py[i] + places[which].y,
                                       places[which].end, g->tests[i].label);
            is_free = here.x1 >= 0 && here.x2 <= WIDTH;
            for (size_t k = 0; k < g->n + i && is_free; k++) is_free = !overlap(here, taken[k]);
            if (is_free) taken[g->n + i] = here;
        }
        if (which == PLACES) which = 0;
        label(t, "name", px[i] + places[which].x, py[i] + places[which].y,
              places[which].end ? "end" : "start", g->tests[i].label);
    }
}

static void draw_point(qn_text *t, const qn_report_group *g, size_t i, double px, double py)
{
    const qn_report_test *m = &g->tests[i];
    qn_text_addf(t, "<circle class=\"%s s%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"5.5\"><title>",
                 is_best(g, i) ? "dot" : "ring", colour(i), px, py);
    qn_html_text(t, m->name);
    qn_text_adds(t, ": ");
    qn_html_size(t, m->size_bytes);
    qn_text_adds(t, ", ");
    qn_html_number(t, m->all.kld.value, qn_decimals_for(m->all.kld.value));
    qn_text_adds(t, " nats</title></circle>\n");
}

static void draw_points(qn_text *t, const qn_report_group *g, const qn_scale *x, const qn_scale *y,
                        double unit)
{
    double *px = qn_alloc(2 * g->n, sizeof *px), *py = px + g->n;
    box *taken = qn_alloc(2 * g->n, sizeof *taken);
    for (size_t i = 0; i < g->n && px && taken; i++) {
        const qn_figure k = g->tests[i].all.kld;
        px[i] = qn_scale_at(x, g->tests[i].size_bytes / unit);
        py[i] = qn_scale_at(y, k.value);
        taken[i] = (box){px[i] - 7, py[i] - 7, px[i] + 7, py[i] + 7};
        if (k.error > 0)
            line(t, "whisker", px[i], qn_scale_at(y, k.value - 2 * k.error), px[i],
                 qn_scale_at(y, k.value + 2 * k.error));
        draw_point(t, g, i, px[i], py[i]);
    }
    if (px && taken) name_points(t, g, px, py, taken);
    qn_free(taken);
    qn_free(px);
}

void qn_chart_frontier(qn_text *t, const qn_report_group *g)
{
    enum { HEIGHT = 360, LEFT = 64, RIGHT = 16, TOP = 34, BOTTOM = 46 };
    double least = (double)NAN, most = (double)NAN, small = (double)NAN, large = (double)NAN;
    for (size_t i = 0; i < g->n; i++) {
        widen(g->tests[i].all.kld.value, &least, &most);
        widen(g->tests[i].size_bytes, &small, &large);
    }
    if (!(large > 0)) return;
    const bool giga = large >= 0x1p30;
    const double unit = giga ? 0x1p30 : 0x1p20, span = large > small ? large - small : large;
    const qn_scale y = log_scale(least, most, HEIGHT - BOTTOM, TOP);
    const qn_scale x = {(small - 0.08 * span) / unit, (large + 0.08 * span) / unit, LEFT,
                        WIDTH - RIGHT, false};
    const qn_scale bytes = {x.low * unit, x.high * unit, x.from, x.to, false};
    open_svg(t, HEIGHT, "Size against divergence",
             "Scatter plot: size of each model against its mean KL divergence; the table has the "
             "figures");
    label(t, "tick", 0, 14, "start", "mean KL divergence, nats (logarithmic)");
    value_axis(t, &y, LEFT, WIDTH - RIGHT);
    line(t, "axis", LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM);
    size_axis(t, &x, HEIGHT - BOTTOM);
    label(t, "tick", WIDTH - RIGHT, HEIGHT - 8, "end", giga ? "size, GiB" : "size, MiB");
    if (g->n > 1) frontier_line(t, g, &bytes, &y);
    draw_points(t, g, &x, &y, unit);
    close_svg(t);
}

/* ---- percentiles ---------------------------------------------------------------------------- */

/* Those of QN_REPORT_PERCENTILES that are drawn: from the median on, evenly. */
static const struct {
    size_t at;
    const char *words;
} drawn[] = {{6, "50 %"},  {7, "75 %"},    {8, "90 %"}, {9, "95 %"},
             {10, "99 %"}, {11, "99.9 %"}, {12, "max"}};
enum { DRAWN = sizeof drawn / sizeof *drawn };

static void draw_curve(qn_text *t, const qn_report_test *m, size_t series, const qn_scale *y,
                       double left, double step)
{
    bool begun = false;
    qn_text_addf(t, "<path class=\"curve s%zu\" d=\"", colour(series));
    for (size_t i = 0; i < DRAWN; i++) {
        const double v = m->all.kld_at[drawn[i].at];
        if (!isfinite(v)) continue;
        qn_text_addf(t, "%s%.1f,%.1f", begun ? "L" : "M", left + (double)i * step,
                     qn_scale_at(y, v));
        begun = true;
    }
    qn_text_adds(t, begun ? "\"/>\n" : "M0,0\"/>\n");
}

void qn_chart_percentiles(qn_text *t, const qn_report_group *g)
{
    enum { HEIGHT = 340, LEFT = 64, RIGHT = 130, TOP = 34, BOTTOM = 30 };
    double least = (double)NAN, most = (double)NAN, *ends = qn_alloc(g->n, sizeof *ends);
    for (size_t i = 0; i < g->n; i++)
        for (size_t k = 0; k < DRAWN; k++)
            widen(g->tests[i].all.kld_at[drawn[k].at], &least, &most);
    if (!ends) return;
    const qn_scale y = log_scale(least, most, HEIGHT - BOTTOM, TOP);
    const double step = (double)(WIDTH - LEFT - RIGHT) / (DRAWN - 1);
    open_svg(t, HEIGHT, "Percentiles",
             "Curves: KL divergence that a share of the tokens does not exceed, for each model; "
             "the table has the figures");
    label(t, "tick", 0, 14, "start",
          "KL divergence that a share of the tokens does not exceed, nats (logarithmic)");
    value_axis(t, &y, LEFT, WIDTH - RIGHT);
    for (size_t i = 0; i < DRAWN; i++)
        label(t, "tick", LEFT + (double)i * step, HEIGHT - 8, "middle", drawn[i].words);
    for (size_t i = 0; i < g->n; i++) {
        draw_curve(t, &g->tests[i], i, &y, LEFT, step);
        const double last = g->tests[i].all.kld_at[drawn[DRAWN - 1].at];
        ends[i] = qn_scale_at(&y, isfinite(last) ? last : y.low);
    }
    qn_spread_labels(ends, g->n, LINE, TOP, HEIGHT - BOTTOM);
    for (size_t i = 0; i < g->n; i++) {
        char class[16];
        snprintf(class, sizeof class, "name t%zu", colour(i));
        label(t, class, WIDTH - RIGHT + 10, ends[i] + 4.5, "start", g->tests[i].label);
    }
    close_svg(t);
    qn_free(ends);
}

/* ---- texts ------------------------------------------------------------------------------------ */

static double end_of(qn_figure k)
{
    return k.value + (k.error > 0 ? 2 * k.error : 0);
}

static void draw_bar(qn_text *t, const qn_report_test *m, size_t series, qn_figure k,
                     const qn_scale *x, double y)
{
    enum { THICK = 12 };
    char words[32];
    const double end = qn_scale_at(x, k.value > 0 ? k.value : 0), middle = y + THICK / 2.0;
    const double far = qn_scale_at(x, end_of(k));
    label(t, "bar-name", x->from - 8, middle + 4.5, "end", m->label);
    qn_text_addf(t,
                 "<rect class=\"bar s%zu\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/>\n",
                 colour(series), x->from, y, end - x->from, THICK);
    if (k.error > 0) {
        const double near = qn_scale_at(x, k.value - 2 * k.error);
        line(t, "whisker", near, middle, far, middle);
        line(t, "whisker", near, middle - 3, near, middle + 3);
        line(t, "whisker", far, middle - 3, far, middle + 3);
    }
    if (isfinite(k.value))
        snprintf(words, sizeof words, "%.*f", qn_decimals_for(k.value), k.value);
    else
        snprintf(words, sizeof words, "\xe2\x80\x93");
    label(t, "bar-value", far + 7, middle + 4.5, "start", words);
}

void qn_chart_texts(qn_text *t, const qn_report_group *g)
{
    enum { LEFT = 150, RIGHT = 80, TOP = 8, HEAD = 24, GAP = 12 };
    double most = 0, y = TOP;
    const size_t n = g->n ? g->tests->n_texts : 0;
    for (size_t i = 0; i < g->n; i++)
        for (size_t k = 0; k < g->tests[i].n_texts; k++)
            if (end_of(g->tests[i].texts[k].kld) > most) most = end_of(g->tests[i].texts[k].kld);
    if (!n || !(most > 0)) return;
    const qn_scale x = {0, most, LEFT, WIDTH - RIGHT, false};
    open_svg(t, TOP + (double)n * (HEAD + GAP + (double)g->n * LINE), "By text",
             "Bars: mean KL divergence of each model on each text, with two standard errors; the "
             "table has the figures");
    for (size_t k = 0; k < n; k++) {
        label(t, "head", LEFT, y + 14, "start", g->tests->texts[k].name);
        y += HEAD;
        for (size_t i = 0; i < g->n; i++) {
            if (k < g->tests[i].n_texts)
                draw_bar(t, &g->tests[i], i, g->tests[i].texts[k].kld, &x, y);
            y += LINE;
        }
        y += GAP;
    }
    close_svg(t);
}

/* ---- layers ------------------------------------------------------------------------------------ */

enum { MOST_KINDS = 24 };

typedef struct {
    const char *names[MOST_KINDS]; /* "attn_q.weight", as they first come */
    size_t n_kinds, n_layers;
} grid;

/* "blk.3.attn_q.weight" is layer 3 and "attn_q.weight"; false: of no layer. */
static bool parse_name(const char *name, size_t *layer, const char **kind)
{
    enum { MOST_DIGITS = 6 };
    if (strncmp(name, "blk.", 4) != 0) return false;
    size_t digits = 0;
    *layer = 0;
    for (name += 4; *name >= '0' && *name <= '9' && digits < MOST_DIGITS; name++, digits++)
        *layer = 10 * *layer + (size_t)(*name - '0');
    *kind = name + 1;
    return digits && *name == '.';
}

static size_t kind_index(const grid *g, const char *kind)
{
    size_t i = 0;
    while (i < g->n_kinds && strcmp(g->names[i], kind) != 0) i++;
    return i;
}

/* Kinds of tensors that differ anywhere, in the order of a layer's work. */
static grid grid_of(const qn_report_test *m)
{
    static const char *const order[] = {"attn_q.",   "attn_k.",   "attn_v.",
                                        "attn_qkv.", "attn_out",  "ffn_gate.",
                                        "ffn_up.",   "ffn_down.", "ffn_"};
    enum { LAST = sizeof order / sizeof *order };
    grid g = {.n_kinds = 0};
    for (size_t pass = 0; pass <= LAST; pass++) {
        for (size_t i = 0; i < m->n_tensors; i++) {
            size_t layer;
            const char *kind;
            if (!parse_name(m->tensors[i].name, &layer, &kind)) continue;
            if (layer >= g.n_layers) g.n_layers = layer + 1;
            if (!(m->tensors[i].output_error > 0) || kind_index(&g, kind) < g.n_kinds ||
                g.n_kinds == MOST_KINDS)
                continue;
            if (pass == LAST || !strncmp(kind, order[pass], strlen(order[pass])))
                g.names[g.n_kinds++] = kind;
        }
    }
    return g;
}

static void draw_cell(qn_text *t, double x, double y, double w, double h, double error,
                      const qn_scale *shade, const char *name, const char *type)
{
    const double gap = w > 6 ? 1 : 0;
    qn_text_addf(t,
                 "<rect class=\"cell\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" "
                 "fill-opacity=\"%.3f\"><title>",
                 x, y, w - gap, h - 1, qn_scale_at(shade, error));
    qn_html_text(t, name);
    qn_text_adds(t, " ");
    qn_html_text(t, type);
    qn_text_adds(t, ": ");
    qn_html_number(t, 100 * error, 2);
    qn_text_adds(t, " %</title></rect>\n");
}

static qn_scale shade_of(const qn_report_test *m)
{
    double least = (double)NAN, most = (double)NAN;
    for (size_t i = 0; i < m->n_tensors; i++) widen(m->tensors[i].output_error, &least, &most);
    for (size_t i = 0; i < m->n_layers; i++) widen(m->layers[i].error, &least, &most);
    if (!(most > least)) least = most / 2;
    return (qn_scale){least, most, 0.06, 1, true};
}

/* The numbers of the layers below, as many as have room. */
static void layer_numbers(qn_text *t, size_t n, double left, double cell, double y)
{
    enum { ROOM = 26 };
    size_t step = 1;
    while ((double)step * cell < ROOM) step += step == 1 ? 1 : step == 2 ? 3 : 5;
    for (size_t i = 0; i < n; i += step) {
        char words[32];
        snprintf(words, sizeof words, "%zu", i);
        label(t, "tick", left + ((double)i + 0.5) * cell, y, "middle", words);
    }
}

static void draw_grid(qn_text *t, const qn_report_test *m, const grid *g, const qn_scale *shade,
                      double left, double top, double cell, double row)
{
    for (size_t k = 0; k < g->n_kinds; k++) {
        char words[40];
        const size_t n = strcspn(g->names[k], ".");
        snprintf(words, sizeof words, "%.*s", (int)(n < 36 ? n : 36), g->names[k]);
        label(t, "bar-name", left - 8, top + ((double)k + 0.5) * row + 4, "end", words);
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        const qn_report_tensor *x = &m->tensors[i];
        size_t layer;
        const char *kind;
        if (!(x->output_error > 0) || !parse_name(x->name, &layer, &kind)) continue;
        const size_t k = kind_index(g, kind);
        if (k < g->n_kinds)
            draw_cell(t, left + (double)layer * cell, top + (double)k * row, cell, row,
                      x->output_error, shade, x->name, x->type);
    }
    for (size_t i = 0; i < m->n_layers; i++) {
        if (strncmp(m->layers[i].name, "layer.", 6) != 0) continue;
        const size_t layer = strtoul(m->layers[i].name + 6, NULL, 10);
        if (layer >= g->n_layers) continue;
        draw_cell(t, left + (double)layer * cell, top + (double)g->n_kinds * row + 6, cell, row,
                  m->layers[i].error, shade, "residual stream behind layer", m->layers[i].name);
    }
    label(t, "bar-name", left - 8, top + ((double)g->n_kinds + 0.5) * row + 10, "end", "stream");
}

void qn_chart_layers(qn_text *t, const qn_report_test *m)
{
    enum { LEFT = 110, TOP = 28, ROW = 22, BOTTOM = 34, RIGHT = 4, WIDEST = 96 };
    const grid g = grid_of(m);
    char words[64];
    if (!g.n_layers) return;
    const qn_scale shade = shade_of(m);
    double cell = (double)(WIDTH - LEFT - RIGHT) / (double)g.n_layers;
    if (cell > WIDEST) cell = WIDEST;
    const double height = TOP + (double)(g.n_kinds + 1) * ROW + 6 + BOTTOM;
    open_svg(t, height, "Where errors arise",
             "Heat map: relative error of each matrix's output, by layer and kind, and of the "
             "residual stream behind each layer; the table has the largest");
    snprintf(words, sizeof words, "relative error, %.2g %% to %.2g %% (logarithmic)",
             100 * shade.low, 100 * shade.high);
    label(t, "tick", LEFT, 14, "start", words);
    draw_grid(t, m, &g, &shade, LEFT, TOP, cell, ROW);
    layer_numbers(t, g.n_layers, LEFT, cell, height - BOTTOM + 16);
    label(t, "tick", LEFT - 8, height - BOTTOM + 16, "end", "layer");
    close_svg(t);
}
