/* Importance matrices put together byte by byte, right or wrong ones. */
#ifndef QN_TESTS_SUPPORT_IMATRIX_BYTES_H
#define QN_TESTS_SUPPORT_IMATRIX_BYTES_H

#include "formats/imatrix.h"

typedef struct {
    const char *name;
    uint64_t n_values, n_counts;
    const float *values;
    const float *counts; /* of the legacy form one: calls */
} made_entry;

/* The GGUF form, as llama-imatrix writes it. */
qn_text made_imatrix(const made_entry *entries, size_t n, uint32_t chunks, uint32_t chunk_size);

/* The legacy form up to the last entry. */
qn_text made_imatrix_dat(const made_entry *entries, size_t n);

#endif
