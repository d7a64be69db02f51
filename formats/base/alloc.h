/* The only place that allocates.  Tests can make the n-th call fail. */
#ifndef QN_FORMATS_BASE_ALLOC_H
#define QN_FORMATS_BASE_ALLOC_H

#include <stddef.h>

/* count * size zeroed bytes; NULL when there is no memory or the product
 * overflows.  A count or size of 0 gives a pointer that can be freed. */
void *qn_alloc(size_t count, size_t size);

/* p grown or shrunk to count * size bytes, new bytes not zeroed; NULL (and p
 * still valid) on failure. */
void *qn_resize(void *p, size_t count, size_t size);

/* As qn_alloc but the address is a multiple of align (a power of two) and the
 * bytes are not zeroed; freed by qn_free. */
void *qn_alloc_aligned(size_t align, size_t count, size_t size);

void qn_free(void *p); /* NULL is fine */

char *qn_strdup(const char *s);
char *qn_strndup(const char *s, size_t n); /* n bytes and a terminator */

/* A growing array's new capacity: at least need, at least 1.5 x capacity. */
size_t qn_grow(size_t capacity, size_t need);

/* Many small things with one lifetime (names, row sources): freed together. */
typedef struct qn_arena qn_arena;
qn_arena *qn_arena_new(void);                                 /* NULL: no memory */
void *qn_arena_alloc(qn_arena *a, size_t count, size_t size); /* zeroed, max-aligned */
char *qn_arena_strndup(qn_arena *a, const char *s, size_t n);
void qn_arena_free(qn_arena *a); /* NULL is fine */

/* Tests only: the n-th allocation from now fails (1: the next); 0 switches off. */
void qn_alloc_fail_at(unsigned long n);

#endif
