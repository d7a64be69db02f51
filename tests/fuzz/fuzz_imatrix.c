/* Importance matrices, both forms, and second moments. */
#include "formats/second_moments.h"

#include "tests/fuzz/fuzz.h"

/* Read by nobody, but the compiler cannot know. */
volatile float qn_fuzz_sink;

static void read_moments(const qn_imatrix *m)
{
    qn_moments *s;
    qn_error err;
    float one;
    if (qn_moments_open(&s, m, &err) || !s) return;
    for (size_t i = 0; i < s->n_entries; i++) {
        const qn_moments_entry *e = &s->entries[i];
        if (qn_moments_find(s, e->input.tensors[0]) != e) __builtin_trap();
        for (uint64_t x = 0; x < e->input.matrices; x++)
            for (uint64_t c = 0; c < e->input.columns; c++)
                if (!qn_moments_read(s, e, x, c, 1, &one, &err)) qn_fuzz_sink = one;
    }
    qn_moments_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_imatrix *m;
    qn_error err;
    if (qn_imatrix_open_memory(&m, data, size, "fuzz", &err)) return 0;
    for (size_t i = 0; i < m->n_entries; i++) {
        const qn_imatrix_entry *e = &m->entries[i];
        if (qn_imatrix_find(m, e->name) != e) __builtin_trap();
        for (uint64_t j = 0; j < e->n_values; j++) {
            const float v = qn_imatrix_value(e, j);
            if (!(v >= 0) || qn_imatrix_count(e, j) < 0) __builtin_trap();
            qn_fuzz_sink = v;
        }
    }
    read_moments(m);
    qn_imatrix_close(m);
    return 0;
}
