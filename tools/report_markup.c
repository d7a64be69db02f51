#include "tools/report_markup.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/report.h"

/* ---- text ------------------------------------------------------------------------------- */

/* Marks that change the direction of the text behind them, and no characters. */
static bool is_harmful(unsigned c)
{
    return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
           c == 0x200f || c == 0xfffe || c == 0xffff || (c >= 0x80 && c < 0xa0);
}

static void add_code_point(qn_text *t, unsigned c)
{
    char bytes[4];
    qn_text_add(t, bytes, qn_utf8_encode(c, bytes));
}

static void add_escaped(qn_text *t, const char *s, const char *feed)
{
    const size_t n = strlen(s);
    for (size_t i = 0; i < n;) {
        unsigned c;
        const size_t length = qn_utf8_decode(s + i, n - i, &c);
        if (!length || is_harmful(c))
            add_code_point(t, 0xfffd);
        else if (c == '&')
            qn_text_adds(t, "&amp;");
        else if (c == '<')
            qn_text_adds(t, "&lt;");
        else if (c == '>')
            qn_text_adds(t, "&gt;");
        else if (c == '"')
            qn_text_adds(t, "&quot;");
        else if (c == '\'')
            qn_text_adds(t, "&#39;");
        else if (c == '\n')
            qn_text_adds(t, feed);
        else if (c < 0x20)
            add_code_point(t, 0x2400 + c);
        else if (c == 0x7f)
            add_code_point(t, 0x2421);
        else
            qn_text_add(t, s + i, length);
        i += length ? length : 1;
    }
}

void qn_html_text(qn_text *t, const char *s)
{
    add_escaped(t, s, " ");
}

void qn_html_token(qn_text *t, const char *s)
{
    add_escaped(t, s, "\xe2\x86\xb5"); /* U+21B5 */
}

void qn_markdown_text(qn_text *t, const char *s)
{
    qn_text escaped = {0};
    add_escaped(&escaped, s, " ");
    for (size_t i = 0; i < escaped.n; i++) {
        if (strchr("\\|`*[]", escaped.s[i])) qn_text_adds(t, "\\");
        qn_text_add(t, escaped.s + i, 1);
    }
    if (escaped.failed) t->failed = true;
    qn_text_free(&escaped);
}

/* ---- numbers ------------------------------------------------------------------------------ */

void qn_html_size(qn_text *t, double bytes)
{
    char size[32];
    qn_text_adds(t, bytes >= 0 ? qn_human_size(bytes, size) : "\xe2\x80\x93");
}

/* U+2212 before a negative number, which is as wide as a digit. */
void qn_html_number(qn_text *t, double v, int decimals)
{
    if (!isfinite(v))
        qn_text_adds(t, "\xe2\x80\x93");
    else
        qn_text_addf(t, "%s%.*f", v < 0 ? "\xe2\x88\x92" : "", decimals, fabs(v));
}

int qn_decimals_for(double v)
{
    int decimals = 2;
    for (v = fabs(v); decimals < 8 && v > 0 && v * pow(10, decimals) < 9.5;) decimals++;
    return decimals;
}

/* ---- axes ----------------------------------------------------------------------------------- */

double qn_scale_at(const qn_scale *s, double v)
{
    double low = s->low, high = s->high;
    v = v > high ? high : v > low ? v : low; /* NaN: low */
    if (s->logarithmic) low = log(low), high = log(high), v = log(v);
    return high > low ? s->from + (v - low) / (high - low) * (s->to - s->from) : s->from;
}

static size_t log_ticks(const qn_scale *s, double *out, size_t most)
{
    static const double steps[] = {1, 2, 5};
    const int first = (int)floor(log10(s->low)), last = (int)ceil(log10(s->high));
    const bool dense = log10(s->high / s->low) < 2.2;
    size_t n = 0;
    for (int e = first; e <= last; e++) {
        for (size_t i = 0; i < (dense ? 3 : 1); i++) {
            const double v = steps[i] * pow(10, e);
            if (n < most && v >= s->low * 0.999 && v <= s->high * 1.001) out[n++] = v;
        }
    }
    return n;
}

size_t qn_scale_ticks(const qn_scale *s, double *out, size_t most)
{
    enum { WANTED = 5 };
    if (!(s->high > s->low)) return 0;
    if (s->logarithmic) return log_ticks(s, out, most);
    const double raw = (s->high - s->low) / WANTED, unit = pow(10, floor(log10(raw)));
    const double step = unit * (raw / unit < 1.5   ? 1
                                : raw / unit < 3.5 ? 2
                                : raw / unit < 7.5 ? 5
                                                   : 10);
    size_t n = 0;
    for (double i = ceil(s->low / step); n < most && i * step <= s->high + step / 1e6;) {
        out[n++] = i == 0 ? 0 : i * step;
        i += 1;
    }
    return n;
}

void qn_spread_labels(double *places, size_t n, double apart, double low, double high)
{
    enum { ROUNDS = 200 };
    for (int round = 0; round < ROUNDS; round++) {
        bool moved = false;
        for (size_t i = 0; i < n; i++) {
            for (size_t k = i + 1; k < n; k++) {
                const double gap = places[k] - places[i];
                if (fabs(gap) >= apart - 0.01) continue;
                const double push = (apart - fabs(gap)) / 2, sign = gap < 0 ? -1 : 1;
                places[i] -= sign * push;
                places[k] += sign * push;
                moved = true;
            }
        }
        for (size_t i = 0; i < n; i++) {
            if (places[i] < low) places[i] = low, moved = true;
            if (places[i] > high) places[i] = high, moved = true;
        }
        if (!moved) return;
    }
}
