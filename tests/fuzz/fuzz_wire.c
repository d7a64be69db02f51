/* Protocol buffers, messages in messages. */
#include "formats/base/wire.h"
#include "tests/fuzz/fuzz.h"

static unsigned walk(qn_str bytes, unsigned depth)
{
    unsigned sum = 0;
    qn_wire_field f;
    for (qn_wire w = qn_wire_of(bytes); qn_wire_next(&w, &f);) {
        for (size_t i = 0; i < f.bytes.n; i++) sum += (unsigned char)f.bytes.s[i];
        if (f.kind == QN_WIRE_BYTES && depth) sum += walk(f.bytes, depth - 1);
    }
    return sum;
}

/* Read by nobody, but the compiler cannot know. */
volatile unsigned qn_fuzz_sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_fuzz_sink = walk(qn_str_of((const char *)data, size), 4);
    return 0;
}
