#include "formats/base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Allocations left until one fails; 0: none does. */
static atomic_ulong fail_countdown;

void qn_alloc_fail_at(unsigned long n)
{
    atomic_store(&fail_countdown, n);
}

static bool must_fail(void)
{
    unsigned long left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    if (!left) return false;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

void *qn_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (must_fail() || __builtin_mul_overflow(count, size, &bytes)) return NULL;
    return calloc(1, bytes ? bytes : 1);
}

void *qn_resize(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (must_fail() || __builtin_mul_overflow(count, size, &bytes)) return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void *qn_alloc_aligned(size_t align, size_t count, size_t size)
{
    size_t bytes;
    if (must_fail() || __builtin_mul_overflow(count, size, &bytes)) return NULL;
    void *p = NULL;
    if (align < sizeof(void *)) align = sizeof(void *);
    return posix_memalign(&p, align, bytes ? bytes : 1) ? NULL : p;
}

void qn_free(void *p)
{
    free(p);
}

char *qn_strndup(const char *s, size_t n)
{
    if (n == SIZE_MAX) return NULL;
    char *copy = qn_alloc(n + 1, 1);
    if (copy && n) memcpy(copy, s, n);
    return copy;
}

char *qn_strdup(const char *s)
{
    return qn_strndup(s, strlen(s));
}

size_t qn_grow(size_t capacity, size_t need)
{
    const size_t half = capacity / 2;
    const size_t grown = capacity > SIZE_MAX - half ? SIZE_MAX : capacity + half;
    return grown > need ? grown : need;
}
