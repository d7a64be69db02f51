#include "tools/compare_gates.h"

#include <math.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tools/report.h"
#include "tools/report_markup.h"
#include "validate/kl_statistics.h"
#include "validate/reals.h"

/* A window counts for at most so many times the limit (gate.h). */
static const double most_times = 4.0;

/* The share of tokens that may lie above a percentile's limit. */
static const double share_99 = 0.01, share_999 = 0.001;

typedef struct {
    const qn_comparison *c;
    const qn_compared *test;
    size_t number, first; /* of the test; of its positions */
} window;

/* ---- a window's figure, in the gate's terms: smaller is better --------------------- */

static double mean_kld(const window *w, double limit)
{
    (void)limit;
    return qn_window_mean_kld(w->c, w->number, w->first);
}

static double share_above(const window *w, double limit)
{
    size_t n = 0;
    for (size_t i = 0; i < w->c->scored; i++) n += w->test->kld[w->first + i] > limit;
    return (double)n / (double)w->c->scored;
}

static double other_top(const window *w, double limit)
{
    (void)limit;
    return 1.0 - qn_window_same_top(w->c, w->number, w->first);
}

static double log_ratio(const window *w, double limit)
{
    (void)limit;
    return qn_window_log_ratio(w->c, w->number, w->first);
}

/* ---- the kinds ------------------------------------------------------------------------ */

static double same(double x)
{
    return x;
}
static double one_minus(double x)
{
    return 1.0 - x;
}
static double in_99(double x)
{
    (void)x;
    return share_99;
}
static double in_999(double x)
{
    (void)x;
    return share_999;
}
static double percent_below(double share)
{
    return 1.0 - share;
}

static const struct {
    const char *option, *what;
    size_t field;
    double above, below;         /* a limit lies between these */
    double (*to_gate)(double);   /* the limit in the gate's terms */
    double (*from_gate)(double); /* its means in the reader's terms */
    double (*figure)(const window *w, double limit);
    bool both_signs; /* figures may be negative */
} kinds[QN_N_GATES] = {
    {"max-kld", "mean KLD", offsetof(qn_gate_limits, max_kld), 0, 1e3, same, same, mean_kld, false},
    {"max-p99-kld", "share of tokens within it", offsetof(qn_gate_limits, max_p99_kld), 0, 1e3,
     in_99, percent_below, share_above, false},
    {"max-p999-kld", "share of tokens within it", offsetof(qn_gate_limits, max_p999_kld), 0, 1e3,
     in_999, percent_below, share_above, false},
    {"min-same-top", "same top", offsetof(qn_gate_limits, min_same_top), 0, 1, one_minus, one_minus,
     other_top, false},
    {"max-ppl-ratio", "PPL ratio", offsetof(qn_gate_limits, max_ppl_ratio), 1, 1e3, qn_log, qn_exp,
     log_ratio, true},
};

static double limit_of(const qn_gate_limits *l, size_t kind)
{
    return *(const double *)((const char *)l + kinds[kind].field);
}

bool qn_gates_given(const qn_gate_limits *l)
{
    for (size_t k = 0; k < QN_N_GATES; k++)
        if (!isnan(limit_of(l, k))) return true;
    return false;
}

static qn_exit check(const qn_common *c, const qn_gate_limits *l)
{
    for (size_t k = 0; k < QN_N_GATES; k++) {
        const double limit = limit_of(l, k);
        if (isnan(limit) || (limit > kinds[k].above && limit < kinds[k].below)) continue;
        return qn_usage(c, "--%s %g is not between %g and %g", kinds[k].option, limit,
                        kinds[k].above, kinds[k].below);
    }
    return QN_EXIT_FINE;
}

static void start(qn_gate *g, size_t kind, double given, double confidence)
{
    if (isnan(given)) return;
    const double limit = kinds[kind].to_gate(given), most = most_times * limit;
    const bool is_share = kinds[kind].figure == other_top;
    qn_gate_start(g, kinds[kind].both_signs ? -most : 0, is_share && most > 1 ? 1 : most, limit,
                  1 - confidence);
}

qn_exit qn_gates_start(qn_compare_gates *g, const qn_common *c, const qn_gate_limits *l,
                       size_t n_tests)
{
    const qn_exit exit = check(c, l);
    if (exit) return exit;
    *g = (qn_compare_gates){.n_tests = n_tests, .gates = qn_alloc(n_tests, sizeof *g->gates)};
    if (!g->gates) return qn_no_memory(c, "gates");
    for (size_t k = 0; k < QN_N_GATES; k++) {
        g->given[k] = limit_of(l, k);
        for (size_t t = 0; t < n_tests; t++) start(&g->gates[t][k], k, g->given[k], l->confidence);
    }
    return QN_EXIT_FINE;
}

void qn_gates_free(qn_compare_gates *g)
{
    qn_free(g->gates);
    *g = (qn_compare_gates){0};
}

/* ---- decisions ------------------------------------------------------------------------- */

static bool is_given(const qn_gate *g)
{
    return g->most > g->least;
}

static qn_exit test_exit(const qn_compare_gates *g, size_t test)
{
    qn_exit exit = QN_EXIT_FINE;
    for (size_t k = 0; k < QN_N_GATES; k++) {
        const qn_gate *gate = &g->gates[test][k];
        if (!is_given(gate)) continue;
        if (gate->state == QN_GATE_FAIL) return QN_EXIT_NO;
        if (gate->state == QN_GATE_OPEN) exit = QN_EXIT_UNDECIDED;
    }
    return exit;
}

bool qn_gates_see(qn_compare_gates *g, const qn_comparison *c, size_t first)
{
    bool settled = true;
    for (size_t t = 0; t < g->n_tests; t++) {
        const window w = {c, &c->tests[t], t, first};
        for (size_t k = 0; k < QN_N_GATES; k++)
            if (is_given(&g->gates[t][k]))
                qn_gate_see(&g->gates[t][k], kinds[k].figure(&w, g->given[k]));
        settled = settled && test_exit(g, t) != QN_EXIT_UNDECIDED;
    }
    return settled;
}

qn_exit qn_gates_exit(const qn_compare_gates *g)
{
    qn_exit exit = QN_EXIT_FINE;
    for (size_t t = 0; t < g->n_tests; t++) {
        const qn_exit of_test = test_exit(g, t);
        if (of_test == QN_EXIT_NO) return of_test;
        if (of_test) exit = of_test;
    }
    return exit;
}

/* ---- words ------------------------------------------------------------------------------ */

static const char *const state_words[] = {"undecided", "pass", "fail"};

typedef struct {
    double mean, low, high; /* in the reader's terms, low <= high */
} estimate;

static estimate estimate_of(const qn_gate *g, size_t kind)
{
    estimate e;
    double low, high;
    qn_gate_interval(g, &low, &high);
    e.mean = kinds[kind].from_gate(g->n ? g->plain_sum / (double)g->n : 0);
    e.low = kinds[kind].from_gate(low);
    e.high = kinds[kind].from_gate(high);
    if (e.low > e.high) {
        const double swap = e.low;
        e.low = e.high;
        e.high = swap;
    }
    return e;
}

/* "pass after 12 of 161 windows; mean KLD 0.004, within 0.003 .. 0.006" */
static void say(const qn_gate *g, size_t kind, qn_text *out)
{
    const estimate e = estimate_of(g, kind);
    qn_text_addf(out, "%s after %zu windows; %s %.6g, within %.6g .. %.6g", state_words[g->state],
                 g->state == QN_GATE_OPEN ? g->n : g->decided_at, kinds[kind].what, e.mean, e.low,
                 e.high);
}

void qn_gates_words(const qn_compare_gates *g, size_t test, const char *prefix, qn_text *out)
{
    for (size_t k = 0; k < QN_N_GATES; k++) {
        if (!is_given(&g->gates[test][k])) continue;
        qn_text_addf(out, "%s--%s %g: ", prefix, kinds[k].option, g->given[k]);
        say(&g->gates[test][k], k, out);
        qn_text_adds(out, "\n");
    }
}

json_t *qn_gates_json(const qn_compare_gates *g, size_t test)
{
    json_t *list = json_array();
    for (size_t k = 0; k < QN_N_GATES; k++) {
        const qn_gate *gate = &g->gates[test][k];
        if (!is_given(gate)) continue;
        const estimate e = estimate_of(gate, k);
        json_array_append_new(
            list,
            json_pack("{s: s, s: o, s: s, s: o, s: o, s: o, s: o, s: o}", "gate", kinds[k].option,
                      "limit", qn_json_number(g->given[k]), "state", state_words[gate->state],
                      "windows", qn_json_count(gate->n), "decided_at",
                      qn_json_count(gate->decided_at), "mean", qn_json_number(e.mean), "low",
                      qn_json_number(e.low), "high", qn_json_number(e.high)));
    }
    return list;
}

static void add_case(const qn_gate *g, size_t kind, double given, qn_text *out)
{
    qn_text_addf(out, "    <testcase classname=\"quern.compare\" name=\"--%s %g\">\n",
                 kinds[kind].option, given);
    if (g->state == QN_GATE_PASS) {
        qn_text_adds(out, "      <system-out>");
        say(g, kind, out);
        qn_text_adds(out, "</system-out>\n");
    } else {
        qn_text_addf(out, "      <%s message=\"", g->state == QN_GATE_FAIL ? "failure" : "skipped");
        say(g, kind, out);
        qn_text_adds(out, "\"/>\n");
    }
    qn_text_adds(out, "    </testcase>\n");
}

static void add_difference(const qn_against *a, qn_text *out)
{
    const bool worse = a->verdict == QN_AGAINST_WORSE;
    qn_text_addf(out, "    <testcase classname=\"quern.compare\" name=\"--against: %s\">\n      %s",
                 a->what, worse ? "<failure message=\"" : "<system-out>");
    qn_against_words(a, out);
    qn_text_addf(out, "%s\n    </testcase>\n", worse ? "\"/>" : "</system-out>");
}

void qn_gates_junit(const qn_compare_gates *g, const char *const *models, size_t n_models,
                    const qn_against (*against)[QN_N_AGAINST], qn_text *out)
{
    qn_text_adds(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (size_t t = 0; t < n_models; t++) {
        size_t n = 0, failed = 0, skipped = 0;
        for (size_t k = 0; against && k < QN_N_AGAINST_PAIRED; k++) {
            n++;
            failed += against[t][k].verdict == QN_AGAINST_WORSE;
        }
        for (size_t k = 0; g->n_tests && k < QN_N_GATES; k++) {
            const qn_gate *gate = &g->gates[t][k];
            n += is_given(gate);
            failed += is_given(gate) && gate->state == QN_GATE_FAIL;
            skipped += is_given(gate) && gate->state == QN_GATE_OPEN;
        }
        qn_text_adds(out, "  <testsuite name=\"");
        qn_html_text(out, models[t]);
        qn_text_addf(out, "\" tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\">\n", n, failed,
                     skipped);
        for (size_t k = 0; g->n_tests && k < QN_N_GATES; k++)
            if (is_given(&g->gates[t][k])) add_case(&g->gates[t][k], k, g->given[k], out);
        for (size_t k = 0; against && k < QN_N_AGAINST_PAIRED; k++)
            add_difference(&against[t][k], out);
        qn_text_adds(out, "  </testsuite>\n");
    }
    qn_text_adds(out, "</testsuites>\n");
}
