#include "formats/gguf_split.h"

#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"

typedef unsigned long long ull;

static const char key_no[] = "split.no";
static const char key_count[] = "split.count";
static const char key_tensors[] = "split.tensors.count";

qn_status qn_gguf_split_read(const qn_metadata *m, qn_gguf_split *out, qn_error *err)
{
    bool found;
    qn_gguf_split s = {.count = 1, .tensors = UINT64_MAX};
    qn_status status = qn_metadata_u64(m, key_count, &s.count, &found, err);
    if (status) return status;
    if (s.count <= 1) { /* 0: joined by llama-gguf-split */
        *out = (qn_gguf_split){.count = 1, .tensors = UINT64_MAX};
        return QN_OK;
    }
    if ((status = qn_metadata_u64(m, key_no, &s.no, NULL, err)) ||
        (status = qn_metadata_u64(m, key_tensors, &s.tensors, &found, err)))
        return status;
    if (s.count > QN_GGUF_MAX_PARTS || s.no >= s.count)
        return qn_fail(err, QN_ERR_DATA, "%s: split.no is %llu, split.count %llu",
                       qn_metadata_where(m), (ull)s.no, (ull)s.count);
    *out = s;
    return QN_OK;
}

void qn_gguf_split_remove(qn_metadata *m)
{
    qn_metadata_remove(m, key_no);
    qn_metadata_remove(m, key_count);
    qn_metadata_remove(m, key_tensors);
}

static qn_status set(qn_metadata *m, const char *key, qn_meta_type type, const void *value,
                     size_t n, qn_error *err)
{
    return qn_metadata_set(m, key, type, type, 1, qn_str_of(value, n), err);
}

qn_status qn_gguf_split_write(qn_metadata *m, const qn_gguf_split *s, qn_error *err)
{
    const uint16_t no = (uint16_t)s->no, count = (uint16_t)s->count;
    const int32_t tensors = (int32_t)s->tensors;
    qn_status status;
    qn_gguf_split_remove(m);
    if ((status = set(m, key_no, QN_META_U16, &no, sizeof no, err)) ||
        (status = set(m, key_count, QN_META_U16, &count, sizeof count, err)))
        return status;
    return set(m, key_tensors, QN_META_I32, &tensors, sizeof tensors, err);
}

size_t qn_gguf_part_prefix(const char *path, uint64_t no, uint64_t count)
{
    char suffix[64];
    const size_t n = strlen(path);
    const size_t m =
        (size_t)snprintf(suffix, sizeof suffix, "-%05llu-of-%05llu.gguf", (ull)no + 1, (ull)count);
    return n > m && !strcmp(path + n - m, suffix) ? n - m : 0;
}

char *qn_gguf_part_path(const char *prefix, size_t n, uint64_t no, uint64_t count)
{
    qn_text t = {0};
    qn_text_add(&t, prefix, n);
    qn_text_addf(&t, "-%05llu-of-%05llu.gguf", (ull)no + 1, (ull)count);
    return qn_text_take(&t);
}
