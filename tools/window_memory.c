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

qn_status qn_scratch_memory(const qn_common *c, uint64_t limit, qn_decoder *const *models,
                            size_t n_models, uint64_t *left, qn_error *err)
{
    const qn_status status = qn_window_memory(c, limit, models, n_models, left, err);
    if (status || !limit) return status;
    const uint64_t pages = qn_decoders_held_bytes((const qn_decoder *const *)models, n_models);
    if (pages >= *left)
        return qn_fail(err, QN_ERR_MEMORY, "a layer takes %.1f MiB of memory, %.1f MiB are left",
                       (double)pages / 0x1p20, (double)*left / 0x1p20);
    *left -= pages;
    return QN_OK;
}

void qn_scratch_remark(const qn_common *c, const char *what, const qn_decoder *const *models,
                       size_t n_models, uint64_t scratch)
{
    if (!c->verbose) return;
    qn_remark(c, "%s: at most %.1f MiB of scratch, %.1f MiB of weights", what,
              (double)scratch / 0x1p20, (double)qn_decoders_held_bytes(models, n_models) / 0x1p20);
}
