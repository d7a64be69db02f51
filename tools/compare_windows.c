#include "tools/compare_windows.h"

#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"

/* An odd multiplier as in Knuth's linear congruential generator; Fisher and Yates. */
qn_status qn_windows_shuffle(qn_shuffled *out, qn_chunks *chunks, qn_error *err)
{
    const size_t n = chunks->chunks, w = chunks->n_ctx;
    uint64_t state = n;
    out->ids = qn_alloc(n * w, sizeof *out->ids);
    out->order = qn_alloc(n, sizeof *out->order);
    if (!out->ids || !out->order) return qn_fail_memory(err, "the texts");
    for (size_t i = 0; i < n; i++) out->order[i] = i;
    for (size_t i = n; i > 1; i--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const size_t other = (size_t)((state >> 33) % i), kept = out->order[i - 1];
        out->order[i - 1] = out->order[other];
        out->order[other] = kept;
    }
    for (size_t i = 0; i < n; i++)
        memcpy(out->ids + i * w, qn_chunk_ids(chunks, out->order[i]), w * sizeof *out->ids);
    chunks->ids = out->ids;
    return QN_OK;
}

/* A window that was run: where, and which of the texts' it is. */
typedef struct {
    size_t at, number;
} seen_window;

static int by_number(const void *a, const void *b)
{
    const seen_window *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Blocks of `bytes` in the order of w; scratch has room for all. */
static void reorder(void *x, size_t bytes, const seen_window *w, size_t n, uint8_t *scratch)
{
    for (size_t i = 0; i < n; i++)
        memcpy(scratch + i * bytes, (const uint8_t *)x + w[i].at * bytes, bytes);
    memcpy(x, scratch, n * bytes);
}

static void reorder_all(qn_comparison *c, const seen_window *w, size_t n, uint8_t *scratch)
{
    const size_t reals = c->scored * sizeof *c->nll, ids = c->scored * sizeof *c->top;
    reorder(c->nll, reals, w, n, scratch);
    reorder(c->top, ids, w, n, scratch);
    for (size_t t = 0; t < c->n_tests; t++) {
        reorder(c->tests[t].nll, reals, w, n, scratch);
        reorder(c->tests[t].kld, reals, w, n, scratch);
        reorder(c->tests[t].top, ids, w, n, scratch);
    }
}

qn_status qn_windows_restore(qn_shuffled *s, qn_comparison *seen, qn_chunks *chunks,
                             const uint32_t *ids, qn_error *err)
{
    const size_t n = seen->n / seen->scored;
    seen_window *w = qn_alloc(n, sizeof *w);
    uint8_t *scratch = qn_alloc(seen->n, sizeof *seen->nll);
    qn_status status = w && scratch ? QN_OK : qn_fail_memory(err, "windows");
    for (size_t i = 0; i < n && !status; i++) w[i] = (seen_window){i, s->order[i]};
    if (!status) {
        qsort(w, n, sizeof *w, by_number);
        reorder_all(seen, w, n, scratch);
        for (size_t i = 0; i < n; i++) s->order[i] = w[i].number;
        chunks->ids = ids;
    }
    qn_free(scratch);
    qn_free(w);
    return status;
}

void qn_shuffled_free(qn_shuffled *s)
{
    qn_free(s->ids);
    qn_free(s->order);
    *s = (qn_shuffled){0};
}
