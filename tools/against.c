#include "tools/against.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/json.h"
#include "tools/report.h"
#include "tools/report_data.h"

/* Results are a few megabytes at most. */
#define LARGEST_RESULT ((size_t)1 << 28)

/* ---- the earlier result ------------------------------------------------------------------ */

qn_status qn_earlier_open(qn_earlier *out, const char *path, const char *command, qn_error *err)
{
    char schema[48];
    snprintf(schema, sizeof schema, "quern.%s/1", command);
    const qn_status status = qn_json_load(path, LARGEST_RESULT, &out->json, err);
    if (status) return status;
    out->path = path;
    const char *is = qn_report_string(out->json, "schema");
    if (!strcmp(is, schema)) return QN_OK;
    return qn_fail(err, QN_ERR_DATA,
                   "%s: is no result of quern %s: its schema is \"%.40s\", not %s", path, command,
                   is, schema);
}

void qn_earlier_close(qn_earlier *e)
{
    json_decref(e->json);
    *e = (qn_earlier){0};
}

json_t *qn_earlier_json(const qn_earlier *e)
{
    const char *version = qn_report_string(e->json, "quern_version");
    return json_pack("{s: o, s: s}", "file", qn_json_text(e->path, strlen(e->path)),
                     "quern_version", version);
}

qn_status qn_earlier_same(const qn_earlier *e, const char *what, const json_t *o, const char *key,
                          const char *now, qn_error *err)
{
    const char *then = qn_report_string(o, key);
    if (!strcmp(then, now)) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: its %s is %.16s, now it is %.16s", e->path, what,
                   *then ? then : "not named", *now ? now : "not named");
}

qn_status qn_earlier_same_number(const qn_earlier *e, const char *what, const json_t *o,
                                 const char *key, double now, qn_error *err)
{
    const double then = qn_report_number(o, key);
    if (then == now) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: its %s is %.10g, now it is %.10g", e->path, what, then,
                   now);
}

/* ---- pairs -------------------------------------------------------------------------------- */

/* Of a standard normal distribution, by halving; confidence within 0.5 .. 1. */
static double normal_quantile(double confidence)
{
    double low = 0, high = 40;
    for (int i = 0; i < 100; i++) {
        const double middle = (low + high) / 2;
        if (erfc(middle / sqrt(2.0)) / 2 > 1 - confidence)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Abramowitz and Stegun, 26.7.5. */
double qn_student_quantile(double confidence, size_t degrees)
{
    const double n = (double)degrees, x = normal_quantile(confidence), x2 = x * x;
    const double a = 2 * confidence - 1;
    if (degrees == 1) return tan(acos(-1.0) / 2 * a);
    if (degrees == 2) return a * sqrt(2 / (1 - a * a));
    const double g1 = x * (x2 + 1) / 4, g2 = x * ((5 * x2 + 16) * x2 + 3) / 96;
    const double g3 = x * (((3 * x2 + 19) * x2 + 17) * x2 - 15) / 384;
    const double g4 = x * ((((79 * x2 + 776) * x2 + 1482) * x2 - 1920) * x2 - 945) / 92160;
    return x + (g1 + (g2 + (g3 + g4 / n) / n) / n) / n;
}

void qn_against_of(qn_against *out, const char *what, const double *then, const double *now,
                   size_t n, int sign, double confidence)
{
    const double count = (double)n;
    double squares = 0.0;
    *out = (qn_against){.what = what, .windows = n};
    for (size_t i = 0; i < n; i++) {
        out->then += then[i] / count;
        out->now += now[i] / count;
        out->difference += (now[i] - then[i]) / count;
    }
    for (size_t i = 0; i < n; i++) {
        const double off = now[i] - then[i] - out->difference;
        squares += off * off;
    }
    out->error = sqrt(squares / (count * (count - 1)));
    out->bound = qn_student_quantile(confidence, n - 1) * out->error;
    if (fabs(out->difference) > out->bound)
        out->verdict = out->difference * sign > 0 ? QN_AGAINST_WORSE : QN_AGAINST_BETTER;
}

void qn_against_untested(qn_against *out, const char *what, double then, double now, size_t windows)
{
    *out = (qn_against){.what = what,
                        .windows = windows,
                        .then = then,
                        .now = now,
                        .difference = now - then,
                        .error = (double)NAN,
                        .bound = (double)NAN,
                        .verdict = QN_AGAINST_UNTESTED};
}

/* ---- words ---------------------------------------------------------------------------------- */

static const char *const verdicts[] = {"no more than chance", "better", "worse", "not tested"};
static const char *const words[] = {"same", "better", "worse", "untested"};

void qn_against_words(const qn_against *a, qn_text *out)
{
    qn_text_addf(out, "%s %.6g, now %.6g: %+.3g", a->what, a->then, a->now, a->difference);
    if (a->verdict != QN_AGAINST_UNTESTED) qn_text_addf(out, " +/- %.2g", a->error);
    qn_text_addf(out, " on %zu windows, %s", a->windows, verdicts[a->verdict]);
}

json_t *qn_against_json(const qn_against *a)
{
    return json_pack("{s: s, s: o, s: o, s: o, s: o, s: o, s: o, s: s}", "measure", a->what,
                     "windows", qn_json_count(a->windows), "then", qn_json_number(a->then), "now",
                     qn_json_number(a->now), "difference", qn_json_number(a->difference), "error",
                     qn_json_number(a->error), "bound", qn_json_number(a->bound), "verdict",
                     words[a->verdict]);
}
