#include "formats/base/alloc.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

/* Of the first chunk, which may be all that a small arena needs, and of those from
 * the seventh on. */
enum { FIRST_BYTES = 1024, CHUNK_BYTES = 64 * 1024 };

typedef struct chunk {
    struct chunk *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
} chunk;

struct qn_arena {
    chunk *chunks; /* the first one is being filled */
};

qn_arena *qn_arena_new(void)
{
    return qn_alloc(1, sizeof(qn_arena));
}

/* Something large gets a chunk of its own behind the first, so that it does
 * not waste the rest of the one being filled. */
static void *own_chunk(qn_arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(chunk)) return NULL;
    chunk *c = qn_alloc(1, sizeof *c + bytes);
    if (!c) return NULL;
    c->used = c->size = bytes;
    if (a->chunks) {
        c->next = a->chunks->next;
        a->chunks->next = c;
    } else {
        a->chunks = c;
    }
    return c->bytes;
}

static size_t next_size(const qn_arena *a, size_t bytes)
{
    size_t size = a->chunks ? 2 * a->chunks->size : FIRST_BYTES;
    if (size < bytes) size = bytes;
    return size < CHUNK_BYTES ? size : CHUNK_BYTES;
}

void *qn_arena_alloc(qn_arena *a, size_t count, size_t size)
{
    const size_t align = alignof(max_align_t);
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - align) return NULL;
    bytes = bytes ? (bytes + align - 1) / align * align : align;
    if (bytes > CHUNK_BYTES / 4) return own_chunk(a, bytes);
    if (!a->chunks || a->chunks->size - a->chunks->used < bytes) {
        const size_t fresh = next_size(a, bytes);
        chunk *c = qn_alloc(1, sizeof *c + fresh);
        if (!c) return NULL;
        c->size = fresh;
        c->next = a->chunks;
        a->chunks = c;
    }
    void *p = a->chunks->bytes + a->chunks->used;
    a->chunks->used += bytes;
    return p;
}

char *qn_arena_strndup(qn_arena *a, const char *s, size_t n)
{
    if (n == SIZE_MAX) return NULL;
    char *copy = qn_arena_alloc(a, n + 1, 1);
    if (copy && n) memcpy(copy, s, n);
    return copy;
}

void qn_arena_free(qn_arena *a)
{
    if (!a) return;
    for (chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        qn_free(c);
    }
    qn_free(a);
}
