#include "tools/memory_share.h"

#include "tools/memory.h"

/* What threads, stdio and the allocator take besides the buffers. */
static const uint64_t THREAD_OVERHEAD = 256 << 10;
static const uint64_t PROCESS_OVERHEAD = 1 << 20;

static uint64_t needed_with(const qn_memory_wish *w, uint64_t now, int threads)
{
    const uint64_t buffers = w->least(w->job, threads);
    const uint64_t rest = now + PROCESS_OVERHEAD + THREAD_OVERHEAD * (uint64_t)threads;
    return buffers > UINT64_MAX - rest ? UINT64_MAX : buffers + rest;
}

qn_status qn_memory_share(const qn_memory_wish *w, const qn_common *c, int *threads,
                          uint64_t *bytes, qn_error *err)
{
    qn_memory_trim();
    const uint64_t now = qn_memory_now(), peak = qn_memory_peak();
    const uint64_t alone = needed_with(w, now, 1), least = alone > peak ? alone : peak;
    if (w->limit < least)
        return qn_fail(err, QN_ERR_MEMORY,
                       "--max-memory of %llu bytes is not enough for %s: it takes at least %llu "
                       "(--max-memory %lluK)",
                       (unsigned long long)w->limit, w->what, (unsigned long long)least,
                       (unsigned long long)least / 1024 + 1);
    const int asked = (int)c->threads;
    for (*threads = asked; needed_with(w, now, *threads) > w->limit;) --*threads;
    if (*threads < asked)
        qn_remark(c, "--max-memory leaves room for %d of %d threads", *threads, asked);
    const uint64_t least_buffers = w->least(w->job, *threads);
    const uint64_t buffers = w->limit - (needed_with(w, now, *threads) - least_buffers);
    *bytes = buffers < w->most ? buffers : w->most;
    if (*bytes < least_buffers) *bytes = least_buffers;
    return QN_OK;
}
