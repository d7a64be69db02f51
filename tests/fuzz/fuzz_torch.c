#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_reader.h"

/* Read by nobody, but the compiler cannot know. */
volatile unsigned char qn_fuzz_sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_fuzz_sink = fuzz_reader(data, size, "fuzz.pt");
    return 0;
}
