#include "tests/support/gguf_bytes.h"

#include <string.h>

void qn_gguf_u32(qn_text *t, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) qn_text_add(t, &(char){(char)(v >> (8 * i))}, 1);
}

void qn_gguf_u64(qn_text *t, uint64_t v)
{
    qn_gguf_u32(t, (uint32_t)v);
    qn_gguf_u32(t, (uint32_t)(v >> 32));
}

void qn_gguf_string(qn_text *t, const char *s)
{
    qn_gguf_u64(t, strlen(s));
    qn_text_adds(t, s);
}

qn_text qn_gguf_head(uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    qn_text t = {0};
    qn_text_adds(&t, "GGUF");
    qn_gguf_u32(&t, version);
    qn_gguf_u64(&t, n_tensors);
    qn_gguf_u64(&t, n_keys);
    return t;
}

void qn_gguf_key(qn_text *t, const char *key, uint32_t type)
{
    qn_gguf_string(t, key);
    qn_gguf_u32(t, type);
}

void qn_gguf_key_u32(qn_text *t, const char *key, uint32_t v)
{
    qn_gguf_key(t, key, 4);
    qn_gguf_u32(t, v);
}

void qn_gguf_key_string(qn_text *t, const char *key, const char *v)
{
    qn_gguf_key(t, key, 8);
    qn_gguf_string(t, v);
}

void qn_gguf_tensor(qn_text *t, const char *name, uint32_t rank, const uint64_t *dims,
                    uint32_t type, uint64_t offset)
{
    qn_gguf_string(t, name);
    qn_gguf_u32(t, rank);
    for (uint32_t i = 0; i < rank; i++) qn_gguf_u64(t, dims[i]);
    qn_gguf_u32(t, type);
    qn_gguf_u64(t, offset);
}

void qn_gguf_data(qn_text *t, uint64_t align, uint64_t n)
{
    while (t->n % align) qn_text_add(t, "", 1);
    for (uint64_t i = 0; i < n; i++) qn_text_add(t, &(char){(char)i}, 1);
}

qn_text qn_gguf_of_tensor(const char *name, uint32_t rank, const uint64_t *dims, uint32_t type,
                          uint64_t offset, uint64_t data_bytes)
{
    qn_text t = qn_gguf_head(3, 1, 0);
    qn_gguf_tensor(&t, name, rank, dims, type, offset);
    qn_gguf_data(&t, 32, data_bytes);
    return t;
}
