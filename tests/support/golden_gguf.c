#include "tests/support/golden_gguf.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/digest.h"

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    ck_assert_msg(s != NULL, "gguf-expected.json: no \"%s\"", key);
    return s;
}

static uint64_t number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    ck_assert_msg(json_is_integer(v), "gguf-expected.json: no \"%s\"", key);
    return (uint64_t)json_integer_value(v);
}

/* "uint32", "array[string]": Python's names of GGUF's types. */
static const char *type_name(const qn_meta_value *v, char *buf, size_t n)
{
    static const char *const names[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                        "int32",  "float32", "bool",   "string", "array",
                                        "uint64", "int64",   "float64"};
    if (v->type == QN_META_ARRAY)
        snprintf(buf, n, "array[%s]", names[v->element]);
    else
        snprintf(buf, n, "%s", names[v->type]);
    return buf;
}

/* A bool as 0 or 1; what JSON cannot write, like "-inf", is a string. */
static double number_of(const json_t *v)
{
    if (json_is_string(v)) return strtod(json_string_value(v), NULL);
    return json_is_boolean(v) ? json_boolean_value(v) : json_number_value(v);
}

static void check_array(const json_t *want, const qn_meta_value *v, const char *key)
{
    char hash[65];
    const json_t *all = json_object_get(want, "value");
    if (all) {
        ck_assert_msg(json_array_size(all) == v->count, "%s: %llu elements", key,
                      (unsigned long long)v->count);
        for (uint64_t i = 0; i < v->count && v->element != QN_META_STRING; i++) {
            double x;
            ck_assert_int_eq(qn_meta_number(v, i, &x, NULL), QN_OK);
            ck_assert_msg(x == number_of(json_array_get(all, i)), "%s[%llu]: %.17g", key,
                          (unsigned long long)i, x);
        }
        return;
    }
    ck_assert_msg(number(want, "length") == v->count, "%s: %llu elements", key,
                  (unsigned long long)v->count);
    qn_sha256_hex(v->bytes.s, v->bytes.n, hash);
    ck_assert_msg(!strcmp(hash, text(want, "sha256")), "%s: other bytes", key);
}

static void check_value(const json_t *want, const qn_meta_value *v)
{
    char type[32];
    const char *key = text(want, "key");
    const json_t *value = json_object_get(want, "value");
    ck_assert_msg(qn_str_is(v->key, key), "key %.*s where %s is expected", (int)v->key.n, v->key.s,
                  key);
    ck_assert_msg(!strcmp(type_name(v, type, sizeof type), text(want, "type")), "%s: %s, not %s",
                  key, type, text(want, "type"));
    if (v->type == QN_META_ARRAY) {
        check_array(want, v, key);
    } else if (v->type == QN_META_STRING) {
        const qn_str s = qn_str_of(v->bytes.s + 8, v->bytes.n - 8);
        ck_assert_msg(
            qn_str_equal(s, qn_str_of(json_string_value(value), json_string_length(value))),
            "%s: \"%.*s\", not \"%s\"", key, (int)s.n, s.s, json_string_value(value));
    } else {
        double x;
        const double y = number_of(value);
        ck_assert_int_eq(qn_meta_number(v, 0, &x, NULL), QN_OK);
        ck_assert_msg(x == y, "%s: %.17g, not %.17g", key, x, y);
    }
}

/* Outtypes after f32 list only what differs from it. */
static const json_t *expected_value(const json_t *outtypes, const json_t *mine, size_t i)
{
    const json_t *want =
        json_array_get(json_object_get(json_object_get(outtypes, "f32"), "metadata"), i);
    size_t j;
    json_t *other;
    json_array_foreach(json_object_get(mine, "metadata_as_f32_but"), j,
                       other) if (!strcmp(text(other, "key"), text(want, "key"))) return other;
    return want;
}

static void check_tensor(const json_t *want, const qn_tensor *t, uint64_t data_offset)
{
    char hash[65];
    const char *name = text(want, "name");
    const json_t *dims = json_object_get(want, "dims");
    ck_assert_msg(!strcmp(t->name, name), "%s where %s is expected", t->name, name);
    ck_assert_msg(!strcmp(qn_dtype_facts(t->dtype)->name, text(want, "type")), "%s: %s, not %s",
                  name, qn_dtype_facts(t->dtype)->name, text(want, "type"));
    ck_assert_uint_eq(t->rank, json_array_size(dims));
    for (unsigned i = 0; i < t->rank; i++)
        ck_assert_uint_eq(t->dims[t->rank - 1 - i],
                          (uint64_t)json_integer_value(json_array_get(dims, i)));
    ck_assert_msg(t->offset == data_offset + number(want, "offset"), "%s: offset %llu", name,
                  (unsigned long long)t->offset);
    ck_assert_uint_eq(t->bytes, number(want, "bytes"));
    qn_sha256_hex(t->data, (size_t)t->bytes, hash);
    ck_assert_msg(!strcmp(hash, text(want, "sha256")), "%s: other bytes (%s)", name,
                  qn_dtype_facts(t->dtype)->name);
}

static bool is_added(const qn_meta_value *v, const char *const *added)
{
    for (; added && *added; added++)
        if (qn_str_is(v->key, *added)) return true;
    return false;
}

void golden_gguf_check(const json_t *expected, const char *outtype, const qn_reader *r,
                       const char *const *added)
{
    const json_t *outtypes = json_object_get(expected, "outtypes");
    const json_t *mine = json_object_get(outtypes, outtype);
    const json_t *f32 = json_object_get(outtypes, "f32");
    const json_t *tensors = json_object_get(mine, "tensors");
    size_t compared = 0, more = 0;
    for (size_t i = 0; i < qn_metadata_count(r->metadata); i++) {
        const qn_meta_value *v = qn_metadata_at(r->metadata, i);
        if (is_added(v, added))
            more++;
        else
            check_value(expected_value(outtypes, mine, compared++), v);
    }
    ck_assert_uint_eq(compared, json_array_size(json_object_get(f32, "metadata")));
    ck_assert_uint_eq(r->n_tensors, json_array_size(tensors));
    const uint64_t data = more ? r->tensors[0].offset : number(mine, "data_offset");
    for (size_t i = 0; i < r->n_tensors; i++)
        check_tensor(json_array_get(tensors, i), &r->tensors[i], data);
    ck_assert_uint_eq(r->files[0].size - data,
                      number(mine, "file_bytes") - number(mine, "data_offset"));
}
