/* GGUF's tokenizer keys: the vocabulary, running it. */
#include "formats/reader.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_reader *r = NULL;
    qn_vocab *v = NULL;
    if (qn_reader_open_memory(&r, data, size, "fuzz", NULL)) return 0;
    if (!qn_vocab_from_metadata(&v, r->metadata, "fuzz", NULL)) fuzz_vocabulary(v, data, size);
    qn_vocab_free(v);
    qn_reader_close(r);
    return 0;
}
