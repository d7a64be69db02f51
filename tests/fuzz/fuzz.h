/* The one function of a fuzz target (https://llvm.org/docs/LibFuzzer.html):
 * whatever the bytes, no crash, no hang, no leak, no huge allocation. */
#ifndef QN_TESTS_FUZZ_FUZZ_H
#define QN_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
