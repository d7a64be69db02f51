/* Importance matrices, both forms. */
#include "formats/imatrix.h"

#include "tests/fuzz/fuzz.h"

/* Read by nobody, but the compiler cannot know. */
volatile float qn_fuzz_sink;

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
    qn_imatrix_close(m);
    return 0;
}
