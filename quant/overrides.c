#include "quant/overrides.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* llama.cpp's buffers have 128 bytes with the terminator. */
enum { MOST_BYTES = 127 };

static qn_status set_int(qn_metadata *m, const char *key, const char *value, qn_error *err)
{
    char *end;
    errno = 0;
    const long long v = strtoll(value, &end, 10);
    if (errno || end == value || *end || v > UINT32_MAX || v < -(long long)UINT32_MAX)
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: '%s' is no whole number below 2^32", key, value);
    return qn_metadata_set_u32(m, key, (uint32_t)llabs(v), err);
}

static qn_status set_float(qn_metadata *m, const char *key, const char *value, qn_error *err)
{
    char *end;
    const double v = strtod(value, &end);
    if (end == value || *end)
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: '%s' is no number", key, value);
    return qn_metadata_set_f32(m, key, (float)v, err);
}

static qn_status set_bool(qn_metadata *m, const char *key, const char *value, qn_error *err)
{
    const bool yes = !strcmp(value, "true");
    if (!yes && strcmp(value, "false") != 0)
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: '%s' is neither true nor false", key, value);
    return qn_metadata_set_bool(m, key, yes, err);
}

static qn_status set_str(qn_metadata *m, const char *key, const char *value, qn_error *err)
{
    const size_t n = strlen(value);
    if (n > MOST_BYTES)
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: a text of %zu bytes; llama.cpp takes %d", key, n,
                       MOST_BYTES);
    return qn_metadata_set_str(m, key, qn_str_of(value, n), err);
}

static bool is_utf8(const char *s)
{
    unsigned cp;
    for (size_t n = strlen(s), used; n; s += used, n -= used)
        if (!(used = qn_utf8_decode(s, n, &cp))) return false;
    return true;
}

qn_status qn_override_add(qn_metadata *m, const char *text, qn_error *err)
{
    static const struct {
        const char *prefix;
        qn_status (*set)(qn_metadata *m, const char *key, const char *value, qn_error *err);
    } kinds[] = {{"int:", set_int}, {"float:", set_float}, {"bool:", set_bool}, {"str:", set_str}};
    const char *equals = strchr(text, '=');
    char key[MOST_BYTES + 1];
    if (!equals || equals == text || equals - text > MOST_BYTES)
        return qn_fail(err, QN_ERR_ARGUMENT, "'%s' is not KEY=TYPE:VALUE", text);
    memcpy(key, text, (size_t)(equals - text));
    key[equals - text] = 0;
    if (!is_utf8(key)) return qn_fail(err, QN_ERR_ARGUMENT, "'%s': the key is not UTF-8", text);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const size_t n = strlen(kinds[i].prefix);
        if (strncmp(equals + 1, kinds[i].prefix, n) != 0) continue;
        qn_metadata_remove(m, key);
        return kinds[i].set(m, key, equals + 1 + n, err);
    }
    return qn_fail(err, QN_ERR_ARGUMENT, "'%s': TYPE is int, float, bool or str", text);
}
