/* Files of tasks, all three forms: the first byte says which. */
#include "formats/task_file.h"
#include "tests/fuzz/fuzz.h"

/* Read by nobody, but the compiler cannot know. */
volatile char qn_fuzz_sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MOST = 64 };
    qn_task_file f;
    if (!size) return 0;
    const qn_str bytes = qn_str_of((const char *)data + 1, size - 1);
    if (qn_task_file_open(&f, (qn_task_kind)(data[0] % 3), bytes, "fuzz", NULL)) return 0;
    qn_arena *arena = qn_arena_new();
    for (size_t i = 0; arena && i < f.n && i < MOST; i++) {
        qn_task t;
        if (qn_task_read(&f, i, arena, &t, NULL)) continue;
        if (!t.n) __builtin_trap();
        for (size_t k = 0; k < t.n; k++) {
            if (t.choices[k].head.n > t.choices[k].text.n) __builtin_trap();
            for (size_t c = 0; c < t.choices[k].text.n; c++) qn_fuzz_sink = t.choices[k].text.s[c];
        }
    }
    qn_arena_free(arena);
    qn_task_file_close(&f);
    return 0;
}
