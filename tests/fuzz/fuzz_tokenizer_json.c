/* tokenizer.json: the vocabulary, its special ids, running it. */
#include "formats/base/json.h"
#include "formats/tokenizer/vocab.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_vocab *v = NULL;
    qn_tokenizer_json *file = NULL;
    if (qn_tokenizer_json_read(&file, (const char *)data, size, "fuzz", NULL)) return 0;
    const json_t *root = qn_tokenizer_json_rest(file);
    const qn_vocab_files files = {
        .dir = "fuzz", .tokenizer = root, .tokenizer_config = root, .config = root};
    if (!qn_vocab_from_json(&v, file, "fuzz", 0, NULL, NULL) &&
        !qn_vocab_read_specials(v, &files, NULL))
        fuzz_vocabulary(v, data, size);
    qn_vocab_free(v);
    qn_tokenizer_json_free(file);
    return 0;
}
