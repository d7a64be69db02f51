/* How long work tells its caller where it is; false cancels it. */
#ifndef QN_FORMATS_BASE_WATCH_H
#define QN_FORMATS_BASE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* done of total units (bytes of source, chunks of text).  Called from one
 * thread at a time. */
typedef bool (*qn_watch_fn)(void *ctx, uint64_t done, uint64_t total);

typedef struct {
    qn_watch_fn call; /* NULL: nobody watches */
    void *ctx;
} qn_watch;

static inline bool qn_watch_tell(const qn_watch *w, uint64_t done, uint64_t total)
{
    return !w || !w->call || w->call(w->ctx, done, total);
}

#endif
