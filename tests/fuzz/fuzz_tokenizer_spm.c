/* tokenizer.model: the vocabulary, running it. */
#include "formats/tokenizer/vocab.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_vocab *v = NULL;
    if (qn_vocab_from_spm(&v, qn_str_of((const char *)data, size), "fuzz", 0, 0, NULL)) return 0;
    if (!qn_vocab_finish(v, "fuzz", NULL)) fuzz_vocabulary(v, data, size);
    qn_vocab_free(v);
    return 0;
}
