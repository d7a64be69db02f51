#include "tools/window_memory.h"

#include "tools/memory.h"

/* What threads, stdio and the allocator take besides. */
static const uint64_t THREAD_OVERHEAD = 256 << 10;
static const uint64_t PROCESS_OVERHEAD = 2 << 20;

qn_status qn_window_memory(const qn_common *c, uint64_t limit, qn_decoder *const *models,
                           size_t n_models, uint64_t *left, qn_error *err)
{
    *left = 0;
    if (!limit) return QN_OK;
    for (size_t i = 0; i < n_models; i++) qn_decoder_give_back(models[i]);
    qn_memory_trim();
    const uint64_t taken =
        qn_memory_resident() + PROCESS_OVERHEAD + THREAD_OVERHEAD * (uint64_t)c->threads;
    if (taken >= limit)
        return qn_fail(err, QN_ERR_MEMORY,
                       "--max-memory of %.1f MiB: %.1f MiB are taken before the model runs",
                       (double)limit / 0x1p20, (double)taken / 0x1p20);
    *left = limit - taken;
    return QN_OK;
}
