/* LoRA adapters that are refused, each in a line that says why. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/adapter.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"
#include "tests/support/write_model.h"

/* Such an adapter, opened on the base at this scale: refused in a line with these
 * words. */
static void refused_at(double scale, const char *json, const char *header, const void *data,
                       size_t n, qn_status expected, const char *words)
{
    const char *base = qn_test_lora_base();
    qn_error err = {0};
    qn_model *m = NULL;
    if (!base) return;
    qn_test_adapter("adapter", json, header, data, n);
    const qn_lora_request one = {qn_test_path("adapter"), scale};
    ck_assert_int_eq(qn_test_open_adapted(&m, base, &one, 1, &err), expected);
    ck_assert_msg(strstr(err.message, words), "%s", err.message);
    ck_assert_ptr_null(strchr(err.message, '\n'));
}

static void refused(const char *json, const char *header, const void *data, size_t n,
                    qn_status expected, const char *words)
{
    refused_at(1, json, header, data, n, expected, words);
}

static const struct {
    const char *json, *words;
    qn_status status;
} configs[] = {
    {"{\"peft_type\": \"IA3\", \"r\": 4, \"lora_alpha\": 8}", "peft_type is \"IA3\"",
     QN_ERR_UNSUPPORTED},
    {"{\"r\": 4, \"lora_alpha\": 8}", "peft_type", QN_ERR_DATA},
    {"[]", "not a JSON object", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"lora_alpha\": 8}", "\"r\"", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 0, \"lora_alpha\": 8}", "a rank of 0", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 2.5, \"lora_alpha\": 8}", "a rank of 2.5", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 4}", "lora_alpha", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": NaN}", "adapter_config.json",
     QN_ERR_DATA},
    {"{\"peft_type\": \"LOHA\", \"r\": 4, \"lora_alpha\": 8}", "peft_type is \"LOHA\"",
     QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"VERA\", \"r\": 4}", "peft_type is \"VERA\"", QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"use_qalora\": true}", "use_qalora",
     QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"alora_invocation_tokens\": [1]}",
     "alora_invocation_tokens", QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"kasa_config\": {\"beta\": 1}}",
     "kasa_config", QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"init_lora_weights\": \"pissa\"}",
     "pissa", QN_ERR_UNSUPPORTED},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"rank_pattern\": {\"q_proj\": 0}}",
     "a rank of 0", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"alpha_pattern\": {\"(\": 1}}",
     "pattern \"(\"", QN_ERR_DATA},
    {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8}", "neither adapter_model.safetensors",
     QN_ERR_DATA},
};

START_TEST(what_is_not_plain_lora_is_refused_by_its_field)
{
    refused(configs[_i].json, NULL, NULL, 0, configs[_i].status, configs[_i].words);
}
END_TEST

#define NAME(of) "\"base_model.model." of "\": "
#define Q "model.layers.0.self_attn.q_proj."
#define LAST "model.layers.9.self_attn.q_proj." /* one more than there are */
#define A NAME(Q "lora_A.weight") "{\"dtype\":\"F32\",\"shape\":[4,256],\"data_offsets\":[0,4096]}"
#define B \
    NAME(Q "lora_B.weight") "{\"dtype\":\"F32\",\"shape\":[256,4],\"data_offsets\":[4096,8192]}"

/* clang-format off */
static const struct {
    const char *header, *words;
    qn_status status;
} tensors[] = {
    {"{" A "}", "has no lora_B beside it", QN_ERR_DATA},
    {"{" NAME(Q "lora_B.weight") "{\"dtype\":\"F32\",\"shape\":[256,4],"
                                 "\"data_offsets\":[0,4096]}}",
     "has no lora_A.weight beside it", QN_ERR_DATA},
    {"{" NAME(LAST "lora_A.weight") "{\"dtype\":\"F32\",\"shape\":[4,256],\"data_offsets\":[0,4096]},"
     NAME(LAST "lora_B.weight") "{\"dtype\":\"F32\",\"shape\":[256,4],\"data_offsets\":[4096,8192]}}",
     "belongs to no tensor", QN_ERR_DATA},
    {"{" NAME(Q "lora_A.weight") "{\"dtype\":\"F32\",\"shape\":[2,512],"
                                 "\"data_offsets\":[0,4096]}," B "}",
     "has rank 2, adapter_config.json says 4", QN_ERR_DATA},
    {"{" A "," NAME(Q "lora_B.weight") "{\"dtype\":\"F32\",\"shape\":[512,2],"
                                       "\"data_offsets\":[4096,8192]}}",
     "has rank 2, adapter_config.json says 4", QN_ERR_DATA},
    {"{" A "," NAME(Q "lora_B.weight") "{\"dtype\":\"F32\",\"shape\":[128,4],"
                                       "\"data_offsets\":[4096,6144]}}",
     "does not fit the base's", QN_ERR_DATA},
    {"{" NAME(Q "lora_magnitude_vector") "{\"dtype\":\"F32\",\"shape\":[256],"
                                         "\"data_offsets\":[0,1024]}}",
     "does not say use_dora", QN_ERR_UNSUPPORTED},
    {"{" NAME("model.norm.weight") "{\"dtype\":\"I32\",\"shape\":[256],\"data_offsets\":[0,1024]}}",
     "adapters are F32, F16 or BF16", QN_ERR_UNSUPPORTED},
    {"{" NAME("lm_head.weight") "{\"dtype\":\"F32\",\"shape\":[8,256],\"data_offsets\":[0,8192]}}",
     "the embedding has 640 rows and the head 8", QN_ERR_DATA},
    {"{}", "has no tensors", QN_ERR_DATA},
};
/* clang-format on */

static size_t data_bytes(const char *header)
{
    size_t most = 0;
    for (const char *at = header; (at = strstr(at, "data_offsets\":["));) {
        at = strchr(at, ',') + 1;
        most = (size_t)strtoul(at, NULL, 10);
    }
    return most;
}

START_TEST(tensors_without_a_place_or_of_another_shape_are_refused)
{
    static const float zeros[2048];
    refused(QN_TEST_LORA_CONFIG(""), tensors[_i].header, zeros, data_bytes(tensors[_i].header),
            tensors[_i].status, tensors[_i].words);
}
END_TEST

START_TEST(a_nan_is_refused_before_any_work)
{
    float data[2048] = {0};
    data[1500] = NAN;
    refused(QN_TEST_LORA_CONFIG(""), "{" A "," B "}", data, sizeof data, QN_ERR_DATA,
            "a NaN or an infinity");
}
END_TEST

START_TEST(a_product_of_scales_that_overflows_is_refused)
{
    static const float zeros[2048];
    refused_at(1e300, "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 1e300}", "{" A "," B "}",
               zeros, sizeof zeros, QN_ERR_DATA, "is scaled by inf");
}
END_TEST

START_TEST(dora_without_magnitudes_is_refused)
{
    static const float zeros[2048];
    refused(QN_TEST_LORA_CONFIG(", \"use_dora\": true"), "{" A "," B "}", zeros, sizeof zeros,
            QN_ERR_DATA, "has no lora_magnitude_vector beside it");
}
END_TEST

START_TEST(patterns_decide_rank_and_alpha_by_the_end_of_a_name)
{
    static const float zeros[2048];
    refused(QN_TEST_LORA_CONFIG(", \"rank_pattern\": {\"self_attn.(q|k)_proj\": 8}"),
            "{" A "," B "}", zeros, sizeof zeros, QN_ERR_DATA,
            "has rank 4, adapter_config.json says 8");
}
END_TEST

START_TEST(a_gguf_base_is_refused)
{
    const char *adapter = qn_test_data("models/lora/r4-all"), *base = qn_test_lora_base();
    if (!adapter || !base) return;
    qn_error err = {0};
    qn_model *m = qn_test_merged(base, adapter, 1), *gguf = NULL;
    const char *path = qn_test_path("merged.gguf");
    write_model(m, QN_OUT_F32, &qn_format_gguf, path);
    qn_model_close(m);
    const qn_lora_request one = {adapter, 1};
    ck_assert_int_eq(qn_test_open_adapted(&gguf, path, &one, 1, &err), QN_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "a GGUF file"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lora refused");
    TCase *t = qn_test_group(s, "refused");
    tcase_add_test(t, a_product_of_scales_that_overflows_is_refused);
    tcase_add_test(t, dora_without_magnitudes_is_refused);
    tcase_add_loop_test(t, what_is_not_plain_lora_is_refused_by_its_field, 0,
                        sizeof configs / sizeof *configs);
    tcase_add_loop_test(t, tensors_without_a_place_or_of_another_shape_are_refused, 0,
                        sizeof tensors / sizeof *tensors);
    tcase_add_test(t, a_nan_is_refused_before_any_work);
    tcase_add_test(t, patterns_decide_rank_and_alpha_by_the_end_of_a_name);
    tcase_add_test(t, a_gguf_base_is_refused);
    return qn_test_run_suite(s);
}
