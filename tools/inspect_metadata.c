#include "tools/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Bytes of a string that are shown. */
enum { LINE = 72 };

/* ---- one element -------------------------------------------------------------------- */

/* The bytes of a number stand little-endian in v->bytes, as this machine reads
 * them (the reader runs on nothing else). */
static int64_t signed_at(const qn_meta_value *v, uint64_t i)
{
    const size_t n = qn_meta_type_bytes(v->element);
    uint64_t bits = 0;
    memcpy(&bits, v->bytes.s + i * n, n);
    const unsigned unused = (unsigned)(64 - 8 * n);
    return (int64_t)(bits << unused) >> unused;
}

static uint64_t unsigned_at(const qn_meta_value *v, uint64_t i)
{
    const size_t n = qn_meta_type_bytes(v->element);
    uint64_t bits = 0;
    memcpy(&bits, v->bytes.s + i * n, n);
    return bits;
}

static double real_at(const qn_meta_value *v, uint64_t i)
{
    double value = 0;
    qn_meta_number(v, i, &value, NULL);
    return value;
}

static void print_string(qn_str s, bool all)
{
    const size_t shown = all || s.n <= LINE ? s.n : LINE;
    putchar('"');
    qn_print_escaped(s.s, shown);
    putchar('"');
    if (shown < s.n) printf(" ... (%zu bytes)", s.n);
}

/* Element i; cursor is where the next string of an array stands. */
static void print_element(const qn_meta_value *v, uint64_t i, qn_str *cursor, bool all)
{
    qn_str s = {0};
    switch (v->element) {
    case QN_META_STRING:
        if (qn_meta_next_string(cursor, &s)) print_string(s, all);
        break;
    case QN_META_BOOL: fputs(unsigned_at(v, i) ? "true" : "false", stdout); break;
    case QN_META_F32: printf("%.9g", real_at(v, i)); break;
    case QN_META_F64: printf("%.17g", real_at(v, i)); break;
    case QN_META_U8:
    case QN_META_U16:
    case QN_META_U32:
    case QN_META_U64: printf("%" PRIu64, unsigned_at(v, i)); break;
    default: printf("%" PRId64, signed_at(v, i)); break;
    }
}

static json_t *element_json(const qn_meta_value *v, uint64_t i, qn_str *cursor)
{
    qn_str s = {0};
    switch (v->element) {
    case QN_META_STRING: qn_meta_next_string(cursor, &s); return qn_json_text(s.s ? s.s : "", s.n);
    case QN_META_BOOL: return json_boolean(unsigned_at(v, i));
    case QN_META_F32:
    case QN_META_F64: return qn_json_number(real_at(v, i));
    case QN_META_U8:
    case QN_META_U16:
    case QN_META_U32:
    case QN_META_U64: return qn_json_count(unsigned_at(v, i));
    default: return json_integer(signed_at(v, i));
    }
}

/* ---- all ------------------------------------------------------------------------------ */

static uint64_t shown_elements(const qn_meta_value *v, bool all)
{
    return all || v->count <= QN_INSPECT_ELEMENTS ? v->count : QN_INSPECT_ELEMENTS;
}

static void print_value(const qn_meta_value *v, bool all)
{
    qn_str cursor = v->bytes;
    if (v->type != QN_META_ARRAY) {
        print_element(v, 0, &cursor, all);
        return;
    }
    const uint64_t shown = shown_elements(v, all);
    putchar('[');
    for (uint64_t i = 0; i < shown; i++) {
        if (i) fputs(", ", stdout);
        print_element(v, i, &cursor, all);
    }
    if (shown < v->count) printf(", ... (%" PRIu64 " in all)", v->count);
    putchar(']');
}

void qn_inspect_print_metadata(const qn_metadata *m, bool all)
{
    const size_t n = qn_metadata_count(m);
    printf("\nmetadata: %zu\n", n);
    for (size_t i = 0; i < n; i++) {
        const qn_meta_value *v = qn_metadata_at(m, i);
        fputs("  ", stdout);
        qn_print_escaped(v->key.s, v->key.n);
        printf(" (%s%s) ", qn_meta_type_name(v->element), v->type == QN_META_ARRAY ? "[]" : "");
        print_value(v, all);
        putchar('\n');
    }
}

static json_t *value_json(const qn_meta_value *v, bool all)
{
    qn_str cursor = v->bytes;
    if (v->type != QN_META_ARRAY) return element_json(v, 0, &cursor);
    const uint64_t shown = shown_elements(v, all);
    json_t *elements = json_array();
    for (uint64_t i = 0; i < shown; i++)
        json_array_append_new(elements, element_json(v, i, &cursor));
    if (shown == v->count) return elements;
    return json_pack("{s: s, s: o, s: o}", "array", qn_meta_type_name(v->element), "count",
                     qn_json_count(v->count), "first", elements);
}

json_t *qn_inspect_metadata_json(const qn_metadata *m, bool all)
{
    json_t *o = json_object();
    const size_t n = qn_metadata_count(m);
    for (size_t i = 0; i < n; i++) {
        const qn_meta_value *v = qn_metadata_at(m, i);
        json_t *key = qn_json_text(v->key.s, v->key.n);
        json_object_set_new(o, json_string_value(key), value_json(v, all));
        json_decref(key);
    }
    return o;
}
