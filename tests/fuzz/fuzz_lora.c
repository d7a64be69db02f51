/* A LoRA adapter on a small base: adapter_config.json, a line that says "--", the
 * safetensors file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/lora/lora.h"
#include "formats/rows.h"
#include "tests/fuzz/fuzz.h"

/* Read by nobody, but the compiler cannot know. */
volatile float qn_fuzz_sink;

static const char header[] =
    "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[6,4],\"data_offsets\":[0,96]},"
    "\"model.layers.0.self_attn.q_proj.weight\":{\"dtype\":\"F32\",\"shape\":[4,4],"
    "\"data_offsets\":[96,160]},"
    "\"model.layers.0.self_attn.q_proj.bias\":{\"dtype\":\"F32\",\"shape\":[4],"
    "\"data_offsets\":[160,176]},"
    "\"model.layers.0.mlp.experts.down_proj\":{\"dtype\":\"F32\",\"shape\":[2,4,3],"
    "\"data_offsets\":[176,272]}}";

enum { DATA = 272 };

static qn_reader *open_base(uint8_t *bytes, size_t n)
{
    const uint64_t length = sizeof header - 1;
    qn_reader *r = NULL;
    memset(bytes, 0, n);
    memcpy(bytes, &length, sizeof length);
    memcpy(bytes + sizeof length, header, sizeof header - 1);
    if (qn_reader_open_memory(&r, bytes, n, "base.safetensors", NULL)) __builtin_trap();
    return r;
}

static void decode_all(const qn_reader *r)
{
    qn_arena *a = qn_arena_new();
    for (size_t i = 0; a && i < r->n_tensors; i++) {
        const qn_rows *s = qn_rows_view(a, r, &r->tensors[i]);
        float *row = s ? qn_alloc((size_t)s->columns, sizeof *row) : NULL;
        for (uint64_t j = 0; row && j < s->rows; j++) {
            if (s->decode(s, qn_kernels_best(), j, j + 1, row, NULL)) __builtin_trap();
            qn_fuzz_sink = row[s->columns - 1];
        }
        qn_free(row);
    }
    qn_arena_free(a);
}

static void save(const char *directory, const char *name, const uint8_t *bytes, size_t n)
{
    char *path = qn_path_join(directory, name);
    FILE *f = path ? fopen(path, "wb") : NULL;
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f)) __builtin_trap();
    qn_free(path);
}

static char directory[] = "/tmp/quern-fuzz-lora-XXXXXX";

static void clean_up(void)
{
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        char *path = qn_path_join(directory, names[i]);
        if (path) unlink(path);
        qn_free(path);
    }
    rmdir(directory);
}

static void merge(bool tied, const qn_family *family)
{
    uint8_t bytes[sizeof(uint64_t) + sizeof header - 1 + DATA];
    qn_reader *r = open_base(bytes, sizeof bytes);
    const qn_lora_request twice[] = {{directory, 1}, {directory, 0.5}};
    qn_lora_vocabulary v = {.tied = tied};
    qn_lora *l = NULL;
    if (!qn_lora_merge(&l, r, twice, 1 + tied, family, &v, NULL)) decode_all(r);
    qn_lora_close(l);
    qn_reader_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char cut[] = "\n--\n";
    static bool made;
    const uint8_t *at = memmem(data, size, cut, sizeof cut - 1);
    if (!at) return 0;
    if (!made && (!mkdtemp(directory) || atexit(clean_up))) __builtin_trap();
    made = true;
    const uint8_t *file = at + sizeof cut - 1;
    save(directory, "adapter_config.json", data, (size_t)(at - data));
    save(directory, "adapter_model.safetensors", file, size - (size_t)(file - data));
    merge(false, NULL);
    merge(true, &qn_family_llama);
    return 0;
}
