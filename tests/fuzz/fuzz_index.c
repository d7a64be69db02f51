/* model.safetensors.index.json. */
#include "formats/shards.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_shards *s;
    qn_error err;
    if (qn_shards_parse(&s, (const char *)data, size, "fuzz.json", &err)) return 0;
    for (size_t i = 0; i < s->n_entries; i++) {
        if (s->entries[i].file >= s->n_files) __builtin_trap();
        if (qn_names_find(s->by_tensor, qn_str_z(s->entries[i].tensor)) != i) __builtin_trap();
    }
    qn_shards_free(s);
    return 0;
}
