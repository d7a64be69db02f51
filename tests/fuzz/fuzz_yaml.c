/* The front matter of model cards. */
#include "formats/base/yaml.h"
#include "formats/model_card.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *root = NULL, *keys = json_object();
    qn_error err;
    if (keys && !qn_yaml_parse(qn_str_of((const char *)data, size), "fuzz", &root, &err))
        qn_model_card_keys(root, 1000, keys, &err);
    json_decref(root);
    json_decref(keys);
    return 0;
}
