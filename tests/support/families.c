#include "tests/support/families.h"

#include <check.h>
#include <stdio.h>

#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/golden_gguf.h"
#include "tests/support/vocab.h"
#include "tests/support/write_model.h"

static const char *const window[] = {"llama.attention.sliding_window", NULL};
static const char *const chunks[] = {"llama4.attention.sliding_window",
                                     "llama4.attention.temperature_scale",
                                     "llama4.attention.temperature_length", NULL};
static const char *const odd_chunks[] = {"llama4.attention.sliding_window",
                                         "llama4.attention.temperature_scale",
                                         "llama4.attention.temperature_length",
                                         "llama4.attention.sliding_window_pattern",
                                         "llama4.rope.layers",
                                         "llama4.attention.norm_behind_rope",
                                         NULL};

const qn_test_family qn_test_families[] = {
    {.title = "Llama 3", .model = "llama", .tokenizer = "llama3"},
    {.title = "Llama 4", .model = "llama4", .tokenizer = "o200k", .added = chunks},
    {.title = "Llama 4 multimodal",
     .model = "llama4-multimodal",
     .tokenizer = "o200k",
     .added = odd_chunks},
    {.title = "SmolLM 2", .model = "smollm2", .tokenizer = "smollm"},
    {.title = "Mistral", .model = "mistral", .tokenizer = "spm", .added = window},
    {.title = "Ministral 3", .model = "ministral3", .tokenizer = "tekken"},
    {.title = "Mistral Small 3", .model = "mistral3", .tokenizer = "tekken"},
    {.title = "Mixtral", .model = "mixtral", .tokenizer = "tekken"},
    {.title = "SmolLM 3", .model = "smollm3", .tokenizer = "llama3"},
    {.title = "Phi 3", .model = "phi3", .tokenizer = "phi3"},
    {.title = "Phi 3, longrope", .model = "phi3-longrope", .tokenizer = "phi3"},
    {.title = "Qwen 2", .model = "qwen2", .tokenizer = "qwen2"},
    {.title = "Qwen 2 MoE", .model = "qwen2-moe", .tokenizer = "o200k"},
    {.title = "Qwen 3", .model = "qwen3", .tokenizer = "qwen2"},
    {.title = "Qwen 3 MoE", .model = "qwen3-moe", .tokenizer = "qwen2"},
    {.title = "Qwen 3 MoE, dense layers", .model = "qwen3-moe-dense", .tokenizer = "o200k"},
    {.title = "OLMo 2", .model = "olmo2", .tokenizer = "o200k"},
    {.title = "OLMo 3", .model = "olmo3", .tokenizer = "o200k"},
    {.title = "Granite", .model = "granite", .tokenizer = "o200k"},
    {.title = "Granite MoE", .model = "granite-moe", .tokenizer = "o200k"},
    {.title = "gpt-oss", .model = "gpt-oss", .tokenizer = "o200k"},
    {.title = "Gemma", .model = "gemma", .tokenizer = "gemma"},
    {.title = "Gemma 2", .model = "gemma2", .tokenizer = "gemma"},
    {.title = "Gemma 3", .model = "gemma3", .tokenizer = "gemma"},
    {.title = "Gemma 4 E2B", .model = "gemma4-e2b", .tokenizer = "gemma4"},
    {.title = "Gemma 3n", .model = "gemma3n", .tokenizer = "gemma"},
    {.title = "Gemma 4 26B-A4B", .model = "gemma4-26b-a4b", .tokenizer = "gemma4"},
    {.title = "Gemma 4 31B", .model = "gemma4-31b", .tokenizer = "gemma4"},
    {.title = "Gemma 4 multimodal", .model = "gemma4-multimodal", .tokenizer = "gemma4"},
    {.title = "Gemma 4 unified", .model = "gemma4-unified", .tokenizer = "gemma4"},
};
const int qn_test_n_families = sizeof qn_test_families / sizeof *qn_test_families;

bool qn_test_family_open(const qn_test_family *f, qn_test_golden *g)
{
    char folder[96];
    const qn_model_options options = {.family = f->family};
    snprintf(folder, sizeof folder, "models/golden/%s", f->model);
    return qn_test_golden_open_as(g, folder, &options);
}

bool qn_test_family_check_gguf(const qn_test_family *f, size_t outtype)
{
    static const struct {
        const char *name;
        qn_outtype type;
    } outtypes[QN_TEST_OUTTYPES] = {
        {"f32", QN_OUT_F32}, {"f16", QN_OUT_F16}, {"bf16", QN_OUT_BF16}, {"q8_0", QN_OUT_Q8_0}};
    char name[128];
    qn_error err = {0};
    qn_reader *r = NULL;
    qn_model *m = NULL;
    snprintf(name, sizeof name, "models/golden/%s/gguf-expected.json", f->model);
    const char *expectation = qn_test_data(name);
    snprintf(name, sizeof name, "models/golden/%s", f->model);
    const char *directory = qn_test_data(name);
    if (!expectation || !directory) return false;
    json_t *expected = qn_test_json(expectation);
    const qn_model_options options = {
        .family = f->family,
        .pre = json_string_value(json_object_get(expected, "tokenizer.ggml.pre"))};
    ck_assert_msg(!qn_model_open(&m, directory, &options, &err), "%s", err.message);
    const char *out = qn_test_path("golden.gguf");
    write_model(m, outtypes[outtype].type, &qn_format_gguf, out);
    ck_assert_msg(!qn_reader_open(&r, out, &err), "%s", err.message);
    golden_gguf_check(expected, outtypes[outtype].name, r, f->added);
    qn_reader_close(r);
    qn_model_close(m);
    json_decref(expected);
    return true;
}
