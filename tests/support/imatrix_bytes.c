#include "tests/support/imatrix_bytes.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/gguf_bytes.h"

enum { ALIGN = 32, STRING = 8, ARRAY = 9 };

static uint64_t padded(uint64_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static void add_floats(qn_text *t, const float *values, uint64_t n)
{
    qn_text_add(t, (const char *)values, n * sizeof *values);
}

static void declare(qn_text *t, const char *name, const char *suffix, uint64_t columns,
                    uint64_t rows, uint64_t *offset)
{
    char full[100];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    qn_gguf_tensor(t, full, 2, (uint64_t[]){columns, rows}, 0, *offset);
    *offset += padded(columns * rows * sizeof(float));
}

qn_text made_imatrix(const made_entry *entries, size_t n, uint32_t chunks, uint32_t chunk_size)
{
    qn_text t = qn_gguf_head(3, 2 * n, 4);
    uint64_t offset = 0;
    qn_gguf_key_string(&t, "general.type", "imatrix");
    qn_gguf_key(&t, "imatrix.datasets", ARRAY);
    qn_gguf_u32(&t, STRING);
    qn_gguf_u64(&t, 1);
    qn_gguf_string(&t, "made.txt");
    qn_gguf_key_u32(&t, "imatrix.chunk_count", chunks);
    qn_gguf_key_u32(&t, "imatrix.chunk_size", chunk_size);
    for (size_t i = 0; i < n; i++) {
        const made_entry *e = &entries[i];
        declare(&t, e->name, ".in_sum2", e->n_values / e->n_counts, e->n_counts, &offset);
        declare(&t, e->name, ".counts", 1, e->n_counts, &offset);
    }
    for (size_t i = 0; i < n; i++) {
        qn_gguf_data(&t, ALIGN, 0);
        add_floats(&t, entries[i].values, entries[i].n_values);
        qn_gguf_data(&t, ALIGN, 0);
        add_floats(&t, entries[i].counts, entries[i].n_counts);
    }
    qn_gguf_data(&t, ALIGN, 0);
    return t;
}

qn_text made_imatrix_dat(const made_entry *entries, size_t n)
{
    qn_text t = {0};
    qn_gguf_u32(&t, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        qn_gguf_u32(&t, (uint32_t)strlen(entries[i].name));
        qn_text_adds(&t, entries[i].name);
        qn_gguf_u32(&t, (uint32_t)(int32_t)entries[i].counts[0]);
        qn_gguf_u32(&t, (uint32_t)entries[i].n_values);
        add_floats(&t, entries[i].values, entries[i].n_values);
    }
    return t;
}
