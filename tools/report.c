#include "tools/report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/text.h"
#include "kernels/kernels.h"
#include "tools/version.h"

json_t *qn_report_new(const qn_common *c)
{
    return json_pack("{s: s++, s: s, s: I, s: s}", "schema", "quern.", c->command, "/1",
                     "quern_version", QN_VERSION, "threads", (json_int_t)c->threads, "isa",
                     qn_kernels_best()->isa);
}

void qn_report_digests(json_t *o, const char *model, const char *tokenizer)
{
    if (*model) json_object_set_new(o, "model_digest", json_string(model));
    if (*tokenizer) json_object_set_new(o, "tokenizer_digest", json_string(tokenizer));
}

qn_exit qn_report_print(const qn_common *c, json_t *report)
{
    qn_error err = {0};
    if (!report) {
        qn_fail_memory(&err, "the report");
        return qn_complain(c, &err);
    }
    const int failed = json_dumpf(report, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    json_decref(report);
    if (failed) {
        qn_fail_errno(&err, "standard output");
        return qn_complain(c, &err);
    }
    putchar('\n');
    return QN_EXIT_FINE;
}

json_t *qn_json_number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

json_t *qn_json_count(uint64_t v)
{
    return v <= INT64_MAX ? json_integer((json_int_t)v) : json_real((double)v);
}

json_t *qn_json_text(const char *s, size_t n)
{
    json_t *plain = json_stringn(s, n);
    if (plain) return plain;
    qn_text clean = {0};
    for (size_t i = 0; i < n;) {
        unsigned code_point;
        const size_t length = qn_utf8_decode(s + i, n - i, &code_point);
        qn_text_add(&clean, length ? s + i : "\xef\xbf\xbd", length ? length : 3);
        i += length ? length : 1;
    }
    json_t *text = clean.failed ? NULL : json_stringn(clean.s ? clean.s : "", clean.n);
    qn_text_free(&clean);
    return text;
}

json_t *qn_json_shape(const uint64_t *dims, unsigned rank)
{
    json_t *shape = json_array();
    for (unsigned i = 0; i < rank; i++) json_array_append_new(shape, qn_json_count(dims[i]));
    return shape;
}

const char *qn_human_size(double bytes, char buf[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes >= 1023.95 && unit + 1 < QN_COUNT_OF(units)) bytes /= 1024, unit++;
    snprintf(buf, 32, "%.*f %s", !unit ? 0 : bytes < 9.995 ? 2 : 1, bytes, units[unit]);
    return buf;
}

const char *qn_human_time(double seconds, char buf[32])
{
    const unsigned long whole = (unsigned long)(seconds + 0.5);
    if (seconds < 9.995)
        snprintf(buf, 32, "%.2f s", seconds);
    else if (whole < 3600)
        snprintf(buf, 32, "%lu:%02lu", whole / 60, whole % 60);
    else
        snprintf(buf, 32, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
    return buf;
}

void qn_print_escaped(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char byte = (unsigned char)s[i];
        if (byte == '\n')
            fputs("\\n", stdout);
        else if (byte == '\t')
            fputs("\\t", stdout);
        else if (byte < 0x20 || byte == 0x7f)
            printf("\\x%02x", byte);
        else if (byte == 0xc2 && i + 1 < n && (unsigned char)s[i + 1] < 0xa0) /* C1 */
            printf("\\u%04x", (unsigned char)s[++i]);
        else
            putchar(byte);
    }
}

void qn_print_name(const char *s, size_t n, int width)
{
    qn_print_escaped(s, n);
    if (n < (size_t)width) printf("%*s", width - (int)n, "");
}
