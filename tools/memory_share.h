/* How much of --max-memory a job's buffers may take, and with how many threads. */
#ifndef QN_TOOLS_MEMORY_SHARE_H
#define QN_TOOLS_MEMORY_SHARE_H

#include "tools/cli.h"

typedef struct {
    uint64_t limit;   /* --max-memory */
    const char *what; /* the model's path, for messages */
    /* The least bytes of buffers that do for so many threads. */
    uint64_t (*least)(const void *job, int threads);
    const void *job;
    uint64_t most; /* more is of no use, unless it is the least */
} qn_memory_wish;

/* As many threads as asked for and as the limit allows.  A limit that one
 * thread exceeds is QN_ERR_MEMORY and names the least that would do. */
qn_status qn_memory_share(const qn_memory_wish *w, const qn_common *c, int *threads,
                          uint64_t *bytes, qn_error *err);

#endif
