/* Values of metadata as C's own types. */
#include "formats/metadata.h"

#include <string.h>

static const char *const type_names[QN_META_TYPE_COUNT] = {
    [QN_META_U8] = "u8",       [QN_META_I8] = "i8",     [QN_META_U16] = "u16",
    [QN_META_I16] = "i16",     [QN_META_U32] = "u32",   [QN_META_I32] = "i32",
    [QN_META_F32] = "f32",     [QN_META_BOOL] = "bool", [QN_META_STRING] = "str",
    [QN_META_ARRAY] = "array", [QN_META_U64] = "u64",   [QN_META_I64] = "i64",
    [QN_META_F64] = "f64",
};

static const uint8_t type_bytes[QN_META_TYPE_COUNT] = {
    [QN_META_U8] = 1,  [QN_META_I8] = 1,  [QN_META_U16] = 2, [QN_META_I16] = 2,
    [QN_META_U32] = 4, [QN_META_I32] = 4, [QN_META_F32] = 4, [QN_META_BOOL] = 1,
    [QN_META_U64] = 8, [QN_META_I64] = 8, [QN_META_F64] = 8,
};

const char *qn_meta_type_name(qn_meta_type t)
{
    return (unsigned)t < QN_META_TYPE_COUNT ? type_names[t] : "unknown";
}

size_t qn_meta_type_bytes(qn_meta_type t)
{
    return (unsigned)t < QN_META_TYPE_COUNT ? type_bytes[t] : 0;
}

/* An integer with its sign apart, so that all of i64 and u64 fit. */
typedef struct {
    bool negative;
    uint64_t magnitude; /* as two's complement when negative */
} integer;

static integer signed_integer(int64_t v)
{
    return (integer){v < 0, (uint64_t)v};
}

static bool read_integer(qn_meta_type type, const char *p, integer *out)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } v;
    memcpy(&v, p, qn_meta_type_bytes(type));
    switch (type) {
    case QN_META_U8: *out = (integer){false, v.u8}; return true;
    case QN_META_U16: *out = (integer){false, v.u16}; return true;
    case QN_META_U32: *out = (integer){false, v.u32}; return true;
    case QN_META_U64: *out = (integer){false, v.u64}; return true;
    case QN_META_I8: *out = signed_integer(v.i8); return true;
    case QN_META_I16: *out = signed_integer(v.i16); return true;
    case QN_META_I32: *out = signed_integer(v.i32); return true;
    case QN_META_I64: *out = signed_integer(v.i64); return true;
    default: return false;
    }
}

static bool read_number(qn_meta_type type, const char *p, double *out)
{
    integer i;
    float f32;
    switch (type) {
    case QN_META_F32:
        memcpy(&f32, p, sizeof f32);
        *out = (double)f32;
        return true;
    case QN_META_F64: memcpy(out, p, sizeof *out); return true;
    case QN_META_STRING:
    case QN_META_ARRAY: return false;
    case QN_META_BOOL: *out = *p != 0; return true;
    default:
        if (!read_integer(type, p, &i)) return false;
        *out = i.negative ? (double)(int64_t)i.magnitude : (double)i.magnitude;
        return true;
    }
}

static qn_status wrong_type(const qn_metadata *m, const qn_meta_value *v, const char *wanted,
                            qn_error *err)
{
    const char *of = v->type == QN_META_ARRAY ? qn_meta_type_name(v->element) : "";
    return qn_fail(err, QN_ERR_DATA, "%s: key \"%.*s\" is of type %s%s%s, not %s",
                   qn_metadata_where(m), (int)v->key.n, v->key.s, of, *of ? " " : "",
                   qn_meta_type_name(v->type), wanted);
}

/* *value is NULL, with QN_OK, when the key may be absent and is. */
static qn_status look_up(const qn_metadata *m, const char *key, bool *found,
                         const qn_meta_value **value, qn_error *err)
{
    const qn_meta_value *v = qn_metadata_find(m, key);
    if (!v && !found)
        return qn_fail(err, QN_ERR_DATA, "%s: key \"%s\" is missing", qn_metadata_where(m), key);
    *value = v;
    return QN_OK;
}

qn_status qn_metadata_u64(const qn_metadata *m, const char *key, uint64_t *out, bool *found,
                          qn_error *err)
{
    const qn_meta_value *v = NULL;
    const qn_status status = look_up(m, key, found, &v, err);
    if (status) return status;
    if (v) {
        integer i;
        if (v->type == QN_META_STRING || v->type == QN_META_ARRAY ||
            !read_integer(v->type, v->bytes.s, &i))
            return wrong_type(m, v, "an integer", err);
        if (i.negative)
            return qn_fail(err, QN_ERR_DATA, "%s: key \"%s\" is %lld, negative",
                           qn_metadata_where(m), key, (long long)(int64_t)i.magnitude);
        *out = i.magnitude;
    }
    if (found) *found = v != NULL;
    return QN_OK;
}

qn_status qn_metadata_f64(const qn_metadata *m, const char *key, double *out, bool *found,
                          qn_error *err)
{
    const qn_meta_value *v = NULL;
    const qn_status status = look_up(m, key, found, &v, err);
    if (status) return status;
    if (v && (v->type == QN_META_BOOL || !read_number(v->type, v->bytes.s, out)))
        return wrong_type(m, v, "a number", err);
    if (found) *found = v != NULL;
    return QN_OK;
}

qn_status qn_metadata_bool(const qn_metadata *m, const char *key, bool *out, bool *found,
                           qn_error *err)
{
    const qn_meta_value *v = NULL;
    const qn_status status = look_up(m, key, found, &v, err);
    if (status) return status;
    if (v) {
        if (v->type != QN_META_BOOL) return wrong_type(m, v, "bool", err);
        *out = v->bytes.s[0] != 0;
    }
    if (found) *found = v != NULL;
    return QN_OK;
}

qn_status qn_metadata_str(const qn_metadata *m, const char *key, qn_str *out, bool *found,
                          qn_error *err)
{
    const qn_meta_value *v = NULL;
    const qn_status status = look_up(m, key, found, &v, err);
    if (status) return status;
    if (v) {
        if (v->type != QN_META_STRING) return wrong_type(m, v, "str", err);
        *out = qn_str_of(v->bytes.s + sizeof(uint64_t), v->bytes.n - sizeof(uint64_t));
    }
    if (found) *found = v != NULL;
    return QN_OK;
}

qn_status qn_meta_number(const qn_meta_value *v, uint64_t i, double *out, qn_error *err)
{
    if (i >= v->count)
        return qn_fail(err, QN_ERR_DATA, "key \"%.*s\" has %llu elements, not %llu", (int)v->key.n,
                       v->key.s, (unsigned long long)v->count, (unsigned long long)i + 1);
    if (!read_number(v->element, v->bytes.s + i * qn_meta_type_bytes(v->element), out))
        return qn_fail(err, QN_ERR_DATA, "key \"%.*s\" holds %s, not numbers", (int)v->key.n,
                       v->key.s, qn_meta_type_name(v->element));
    return QN_OK;
}

bool qn_meta_next_string(qn_str *cursor, qn_str *out)
{
    uint64_t n;
    if (cursor->n < sizeof n) return false;
    memcpy(&n, cursor->s, sizeof n);
    if (n > cursor->n - sizeof n) return false;
    *out = qn_str_of(cursor->s + sizeof n, (size_t)n);
    *cursor = qn_str_of(out->s + n, cursor->n - sizeof n - (size_t)n);
    return true;
}
