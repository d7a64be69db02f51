#include "tests/support/adapter.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/text.h"
#include "tests/support/data.h"
#include "tests/support/files.h"

const char *qn_test_lora_base(void)
{
    return qn_test_data("models/golden/llama");
}

qn_status qn_test_open_adapted(qn_model **m, const char *base, const qn_lora_request *adapters,
                               size_t n, qn_error *err)
{
    const qn_model_options how = {.no_vocab = true, .adapters = adapters, .n_adapters = n};
    return qn_model_open(m, base, &how, err);
}

qn_model *qn_test_merged(const char *base, const char *adapter, double scale)
{
    const qn_lora_request one = {adapter, scale};
    qn_error err = {0};
    qn_model *m = NULL;
    ck_assert_msg(!qn_test_open_adapted(&m, base, &one, 1, &err), "%s", err.message);
    return m;
}

void qn_test_adapter(const char *name, const char *json, const char *header, const void *data,
                     size_t n)
{
    char path[128];
    qn_test_subdirectory(name);
    snprintf(path, sizeof path, "%s/adapter_config.json", name);
    qn_test_file(path, json, strlen(json));
    if (!header) return;
    const uint64_t length = strlen(header);
    qn_text bytes = {0};
    qn_text_add(&bytes, (const char *)&length, sizeof length);
    qn_text_adds(&bytes, header);
    qn_text_add(&bytes, data, n);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", name);
    qn_test_file(path, bytes.s, bytes.n);
    qn_text_free(&bytes);
}
