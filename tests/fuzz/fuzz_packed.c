/* A packed checkpoint: config.json, a line that says "--", the safetensors file. */
#include <string.h>

#include "formats/packed/unpack.h"
#include "formats/rows.h"
#include "tests/fuzz/fuzz.h"

/* Read by nobody, but the compiler cannot know. */
volatile float qn_fuzz_sink;

/* Every row of every weight that is vouched for. */
static void decode_all(const qn_reader *r)
{
    enum { MOST_COLUMNS = 1 << 20 };
    qn_arena *a = qn_arena_new();
    float *row = qn_alloc(MOST_COLUMNS, sizeof *row);
    for (size_t i = 0; a && row && i < r->n_tensors; i++) {
        if (!r->tensors[i].packed) continue;
        const qn_rows *s = qn_rows_view(a, r, &r->tensors[i]);
        if (!s || s->columns > MOST_COLUMNS) continue;
        for (uint64_t j = 0; j < s->rows; j++) {
            if (s->decode(s, qn_kernels_best(), j, j + 1, row, NULL)) __builtin_trap();
            qn_fuzz_sink = row[s->columns - 1];
        }
    }
    qn_free(row);
    qn_arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char cut[] = "\n--\n";
    const uint8_t *at = memmem(data, size, cut, sizeof cut - 1);
    json_t *config = NULL;
    qn_reader *r = NULL;
    if (!at) return 0;
    const uint8_t *file = at + sizeof cut - 1;
    if (qn_json_parse((const char *)data, (size_t)(at - data), "config.json", false, &config, NULL))
        return 0;
    if (!qn_reader_open_memory(&r, file, size - (size_t)(file - data), "fuzz.safetensors", NULL) &&
        !qn_unpack_reader(r, config, "config.json", NULL))
        decode_all(r);
    qn_reader_close(r);
    json_decref(config);
    return 0;
}
