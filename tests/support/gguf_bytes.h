/* GGUF files put together byte by byte, right or wrong ones. */
#ifndef QN_TESTS_SUPPORT_GGUF_BYTES_H
#define QN_TESTS_SUPPORT_GGUF_BYTES_H

#include <stdint.h>

#include "formats/base/text.h"

/* The first 24 bytes. */
qn_text qn_gguf_head(uint32_t version, uint64_t n_tensors, uint64_t n_keys);

void qn_gguf_u32(qn_text *t, uint32_t v);
void qn_gguf_u64(qn_text *t, uint64_t v);
void qn_gguf_string(qn_text *t, const char *s);

/* A key with a u32, a string; the start of a key with another value. */
void qn_gguf_key_u32(qn_text *t, const char *key, uint32_t v);
void qn_gguf_key_string(qn_text *t, const char *key, const char *v);
void qn_gguf_key(qn_text *t, const char *key, uint32_t type);

/* A tensor's entry; dims as in the file: the row's length first. */
void qn_gguf_tensor(qn_text *t, const char *name, uint32_t rank, const uint64_t *dims,
                    uint32_t type, uint64_t offset);

/* Zeros up to a multiple of align, then n bytes of data that count up. */
void qn_gguf_data(qn_text *t, uint64_t align, uint64_t n);

/* A whole file with this one tensor, for tests to spoil in their ways. */
qn_text qn_gguf_of_tensor(const char *name, uint32_t rank, const uint64_t *dims, uint32_t type,
                          uint64_t offset, uint64_t data_bytes);

#endif
