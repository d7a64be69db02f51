/* The mask of an AVX-512 register at the end of a row. */
#ifndef QN_KERNELS_X86_MASK16_H
#define QN_KERNELS_X86_MASK16_H

#include <immintrin.h>
#include <stddef.h>

/* The first `left` lanes, all sixteen from 16 on. */
static inline __mmask16 mask16(size_t left)
{
    const unsigned bits = left < 16 ? (1u << left) - 1 : 0xffff;
    return (__mmask16)bits;
}

#endif
