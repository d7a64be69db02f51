/* A model's name taken apart: every expectation is what gguf-py (llama.cpp of
 * llama-cpp-python 0.3.36) printed for it. */
#include <string.h>

#include "formats/gguf_name.h"
#include "tests/support/run.h"

/* clang-format off */
static const struct {
    const char *id;
    uint64_t parameters;
    const char *title, *organization, *basename, *finetune, *version, *size_label;
} names[] = {
    {"SmolLM2-135M-Instruct", UINT64_C(134515008), "SmolLM2 135M Instruct", NULL, "SmolLM2", "Instruct", NULL, "135M"},
    {"HuggingFaceTB/SmolLM2-135M-Instruct", UINT64_C(134515008), "SmolLM2 135M Instruct", "HuggingFaceTB", "SmolLM2", "Instruct", NULL, "135M"},
    {"Llama-3.2-1B-Instruct", UINT64_C(1235814432), "Llama 3.2 1B Instruct", NULL, "Llama-3.2", "Instruct", NULL, "1B"},
    {"meta-llama/Llama-2-7b-hf", UINT64_C(6738415616), "Llama 2 7b Hf", "meta-llama", "Llama-2", "hf", NULL, "7B"},
    {"TinyLlama-1.1B-Chat-v1.0", UINT64_C(1100048384), "TinyLlama 1.1B Chat v1.0", NULL, "TinyLlama", "Chat", "v1.0", "1.1B"},
    {"Meta-Llama-3.1-8B-Instruct", UINT64_C(8030261312), "Meta Llama 3.1 8B Instruct", NULL, "Meta-Llama-3.1", "Instruct", NULL, "8B"},
    {"Llama-3.3-70B-Instruct", UINT64_C(70553706560), "Llama 3.3 70B Instruct", NULL, "Llama-3.3", "Instruct", NULL, "70B"},
    {"stories260K-hf", UINT64_C(259904), "stories260K Hf", NULL, NULL, NULL, NULL, NULL},
    {"stories260K", UINT64_C(259904), "stories260K", NULL, NULL, NULL, NULL, NULL},
    {"quern-demo-llama", UINT64_C(4983584), "Quern Demo Llama", NULL, NULL, NULL, NULL, NULL},
    {"gemma4-26b-a4b", UINT64_C(1531598), "Gemma4 26b A4B", NULL, "gemma4", "26b", NULL, "a4B"},
    {"gemma4-31b", UINT64_C(1084098), "Gemma4 31b", NULL, "gemma4", "31b", NULL, NULL},
    {"gemma4-e2b", UINT64_C(2660292), "Gemma4 E2B", NULL, NULL, NULL, NULL, NULL},
    {"gemma3n", UINT64_C(868656), "Gemma3N", NULL, NULL, NULL, NULL, NULL},
    {"phi3-longrope", UINT64_C(378544), "Phi3 Longrope", NULL, NULL, NULL, NULL, NULL},
    {"Mixtral-8x7B-Instruct-v0.1", UINT64_C(46702792704), "Mixtral 8x7B Instruct v0.1", NULL, "Mixtral", "Instruct", "v0.1", "8x7B"},
    {"Phi-3-mini-128k-instruct", UINT64_C(3821079552), "Phi 3 Mini 128k Instruct", NULL, "Phi-3", "128k-instruct", NULL, "mini"},
    {"Phi-3-medium-4k-instruct", UINT64_C(13960238080), "Phi 3 Medium 4k Instruct", NULL, "Phi-3", "4k-instruct", NULL, "medium"},
    {"bloom-7b1", UINT64_C(7069016064), "Bloom 7b1", NULL, "bloom", NULL, NULL, "7.1B"},
    {"bloom-7b1-mt", UINT64_C(0), "Bloom 7b1 Mt", NULL, "bloom", "mt", NULL, "7.1B"},
    {"Qwen1.5-0.5B-Chat", UINT64_C(463987712), "Qwen1.5 0.5B Chat", NULL, "Qwen1.5", "Chat", NULL, "0.5B"},
    {"Qwen2.5-Coder-1.5B-Instruct-Q4_K_M", UINT64_C(1543714304), "Qwen2.5 Coder 1.5B Instruct Q4_K_M", NULL, "Qwen2.5-Coder", "Instruct", NULL, "1.5B"},
    {"Mistral-7B-v0.1", UINT64_C(7241732096), "Mistral 7B v0.1", NULL, "Mistral", NULL, "v0.1", "7B"},
    {"Mistral-7B-Instruct-v0.3", UINT64_C(7248023552), "Mistral 7B Instruct v0.3", NULL, "Mistral", "Instruct", "v0.3", "7B"},
    {"a model with spaces", UINT64_C(100), "A Model With Spaces", NULL, NULL, NULL, NULL, NULL},
    {"./models", UINT64_C(0), "Models", NULL, NULL, NULL, NULL, NULL},
    {"../x-7B", UINT64_C(7000000000), "X 7B", NULL, "x", NULL, NULL, "7B"},
    {"--double--dashes--", UINT64_C(0), "Double Dashes", NULL, NULL, NULL, NULL, NULL},
    {"gpt2-xl", UINT64_C(1557611200), "Gpt2 Xl", NULL, "gpt2", NULL, NULL, "xl"},
    {"gpt2-medium", UINT64_C(354823168), "Gpt2 Medium", NULL, "gpt2", NULL, NULL, "medium"},
    {"v2", UINT64_C(0), "v2", NULL, NULL, NULL, "v2", NULL},
    {"2", UINT64_C(0), "2", NULL, NULL, NULL, "2", NULL},
    {"0.5B", UINT64_C(500000000), "0.5B", NULL, NULL, "0.5B", NULL, NULL},
    {"iter3-7B", UINT64_C(7000000000), "Iter3 7B", NULL, "iter3", NULL, NULL, "7B"},
    {"Yi-34B-200K", UINT64_C(34388917248), "Yi 34B 200K", NULL, "Yi", "200k", NULL, "34B"},
    {"Nous-Hermes-2-Mixtral-8x7B-DPO", UINT64_C(46702792704), "Nous Hermes 2 Mixtral 8x7B DPO", NULL, "Nous-Hermes-2-Mixtral", "DPO", NULL, "8x7B"},
    {"OLMo-1B-0724-hf", UINT64_C(1176764416), "OLMo 1B 0724 Hf", NULL, "OLMo", "hf", "0724", "1B"},
    {"model-f16", UINT64_C(1000), "Model F16", NULL, NULL, NULL, NULL, NULL},
    {"Falcon3-1B-Base-bf16", UINT64_C(1669408768), "Falcon3 1B Base Bf16", NULL, "Falcon3", "Base", NULL, "1B"},
    {"7B", UINT64_C(7000000000), "7B", NULL, NULL, "7B", NULL, NULL},
    {"DeepSeek-R1-Distill-Llama-8B", UINT64_C(8030261248), "DeepSeek R1 Distill Llama 8B", NULL, "DeepSeek-R1-Distill-Llama", NULL, NULL, "8B"},
    {"Hermes-3-Llama-3.2-3B", UINT64_C(3212749824), "Hermes 3 Llama 3.2 3B", NULL, "Hermes-3-Llama-3.2", NULL, NULL, "3B"},
    {"granite-3.0-2b-instruct", UINT64_C(2533531648), "Granite 3.0 2b Instruct", NULL, "granite-3.0", "instruct", NULL, "2B"},
    {"Llama-3_1-Nemotron-51B-Instruct", UINT64_C(51500000000), "Llama 3_1 Nemotron 51B Instruct", NULL, "Llama", "3_1-Nemotron-Instruct", NULL, "51B"},
    {"phi-2", UINT64_C(2779683840), "Phi 2", NULL, "phi", NULL, "2", NULL},
    {"tinyllama-1_1b-chat", UINT64_C(1100048384), "Tinyllama 1_1b Chat", NULL, "tinyllama", "chat", NULL, "1.1B"},
    {"llama-160m", UINT64_C(162417408), "Llama 160m", NULL, "llama", NULL, NULL, "160M"},
    {"Llama-68M-Chat-v1", UINT64_C(68030208), "Llama 68M Chat v1", NULL, "Llama", "Chat", "v1", "68M"},
    {"Qwen3-30B-A3B", UINT64_C(30532122624), "Qwen3 30B A3B", NULL, "Qwen3", NULL, NULL, "30B-A3B"},
    {"Qwen3-30B-A3B-Instruct-2507", UINT64_C(30532122624), "Qwen3 30B A3B Instruct 2507", NULL, "Qwen3", "Instruct", "2507", "30B-A3B"},
    {"open_llama_3b_v2", UINT64_C(3426473600), "Open_Llama_3B_V2", NULL, NULL, NULL, NULL, NULL},
    {"large-small-1b", UINT64_C(1000000000), "Large Small 1b", NULL, "large-small", NULL, NULL, "1B"},
    {"big-large", UINT64_C(1000), "Big Large", NULL, "big", NULL, NULL, "large"},
    {"x-7B-7B", UINT64_C(7000000000), "X 7B 7B", NULL, "x", NULL, NULL, "7B"},
    {"LLaMA-Vision-LoRA-7b", UINT64_C(7000000000), "LLaMA Vision LoRA 7b", NULL, "LLaMA", "Vision-LoRA", NULL, "7B"},
    {"a-i1-q4_0-iq3_xs-fp16-bfp32-q4_", UINT64_C(9), "A I1 Q4_0 Iq3_Xs Fp16 Bfp32 Q4_", NULL, "a-i1", "iq3_xs-q4_", NULL, NULL},
};

static const struct {
    uint64_t parameters;
    const char *label;
} labels[] = {
    {UINT64_C(0), "0.00K"},
    {UINT64_C(1), "0.00K"},
    {UINT64_C(999), "1.0K"},
    {UINT64_C(1000), "1.0K"},
    {UINT64_C(9999), "10K"},
    {UINT64_C(10000), "10K"},
    {UINT64_C(99499), "99K"},
    {UINT64_C(99500), "100K"},
    {UINT64_C(259904), "260K"},
    {UINT64_C(475776), "476K"},
    {UINT64_C(999999), "1000K"},
    {UINT64_C(1000000), "1000K"},
    {UINT64_C(1000001), "1.0M"},
    {UINT64_C(1115424), "1.1M"},
    {UINT64_C(4983584), "5.0M"},
    {UINT64_C(9949999), "10M"},
    {UINT64_C(9950000), "10M"},
    {UINT64_C(9960000), "10M"},
    {UINT64_C(134515008), "135M"},
    {UINT64_C(999500000), "1000M"},
    {UINT64_C(1000000000), "1000M"},
    {UINT64_C(1000000001), "1.0B"},
    {UINT64_C(1235814432), "1.2B"},
    {UINT64_C(6738415616), "6.7B"},
    {UINT64_C(9500000000), "10B"},
    {UINT64_C(70553706560), "71B"},
    {UINT64_C(1000000000000), "1000B"},
    {UINT64_C(1100000000000), "1.1T"},
    {UINT64_C(12345678901234), "12T"},
};
/* clang-format on */

static void same(const char *what, const char *id, const char *got, const char *want)
{
    ck_assert_msg(!got == !want && (!got || !strcmp(got, want)), "%s of %s: %s, expected %s", what,
                  id, got ? got : "none", want ? want : "none");
}

START_TEST(a_name_comes_apart_as_in_gguf_py)
{
    qn_arena *a = qn_arena_new();
    qn_gguf_name n;
    ck_assert_int_eq(qn_gguf_name_parse(a, names[_i].id, names[_i].parameters, &n, NULL), QN_OK);
    same("title", names[_i].id, qn_gguf_title(a, n.name), names[_i].title);
    same("organization", names[_i].id, n.organization, names[_i].organization);
    same("basename", names[_i].id, n.basename, names[_i].basename);
    same("finetune", names[_i].id, n.finetune, names[_i].finetune);
    same("version", names[_i].id, n.version, names[_i].version);
    same("size label", names[_i].id, n.size_label, names[_i].size_label);
    qn_arena_free(a);
}
END_TEST

START_TEST(a_count_of_parameters_is_labelled_as_in_gguf_py)
{
    char label[32];
    qn_gguf_size_label(labels[_i].parameters, label);
    ck_assert_str_eq(label, labels[_i].label);
}
END_TEST

/* "7b1" grows to "7.1B": the longest name must not run over its copy. */
START_TEST(a_name_that_is_nothing_but_size_stays_in_its_bytes)
{
    qn_arena *a = qn_arena_new();
    qn_gguf_name n;
    ck_assert_int_eq(qn_gguf_name_parse(a, "x-1b1-2b2-3b3", 0, &n, NULL), QN_OK);
    ck_assert_str_eq(n.size_label, "1.1B-2.2B-3.3B");
    ck_assert_int_eq(qn_gguf_name_parse(a, "", 0, &n, NULL), QN_OK);
    ck_assert_str_eq(n.name, "");
    ck_assert_ptr_null(n.basename);
    qn_arena_free(a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("names");
    TCase *t = qn_test_group(s, "gguf-py");
    tcase_add_loop_test(t, a_name_comes_apart_as_in_gguf_py, 0, sizeof names / sizeof *names);
    tcase_add_loop_test(t, a_count_of_parameters_is_labelled_as_in_gguf_py, 0,
                        sizeof labels / sizeof *labels);
    tcase_add_test(t, a_name_that_is_nothing_but_size_stays_in_its_bytes);
    return qn_test_run_suite(s);
}
