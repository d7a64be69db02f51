/* LoRA adapters on the golden llama: made, opened, merged. */
#ifndef QN_TESTS_SUPPORT_ADAPTER_H
#define QN_TESTS_SUPPORT_ADAPTER_H

#include "formats/model.h"

/* A configuration of rank 4 with more members: ", \"use_dora\": true". */
#define QN_TEST_LORA_CONFIG(more) "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8" more "}"

/* The checkpoint below the adapters of models/lora; NULL: not there (and says so). */
const char *qn_test_lora_base(void);

qn_status qn_test_open_adapted(qn_model **m, const char *base, const qn_lora_request *adapters,
                               size_t n, qn_error *err);

/* With one adapter, which must succeed. */
qn_model *qn_test_merged(const char *base, const char *adapter, double scale);

/* An adapter directory `name` of this configuration and, unless header is NULL, these
 * tensors: a safetensors header and n bytes of data. */
void qn_test_adapter(const char *name, const char *json, const char *header, const void *data,
                     size_t n);

#endif
