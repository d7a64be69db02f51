/* Arithmetic on sizes that come from files: it says when it overflows. */
#ifndef QN_FORMATS_BASE_SIZES_H
#define QN_FORMATS_BASE_SIZES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False on overflow; *out untouched then. */
static inline bool qn_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a > UINT64_MAX - b) return false;
    *out = a + b;
    return true;
}

static inline bool qn_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b && a > UINT64_MAX / b) return false;
    *out = a * b;
    return true;
}

/* a rounded up to a multiple of align, a power of two. */
static inline bool qn_align_u64(uint64_t a, uint64_t align, uint64_t *out)
{
    if (a > UINT64_MAX - (align - 1)) return false;
    *out = (a + (align - 1)) & ~(align - 1);
    return true;
}

static inline uint64_t qn_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t qn_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
