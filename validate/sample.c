#include "validate/sample.h"

#include <math.h>
#include <stdbool.h>

#include "formats/base/alloc.h"
#include "validate/reals.h"

typedef struct {
    float logit;
    uint32_t id;
} candidate;

struct qn_sampler {
    qn_sample_options options;
    uint64_t state;
    size_t n_vocab;
    candidate *heap; /* [n_vocab] */
};

qn_status qn_sampler_new(qn_sampler **out, const qn_sample_options *options, size_t n_vocab,
                         qn_error *err)
{
    if (!(options->temperature >= 0.0) || isinf(options->temperature))
        return qn_fail(err, QN_ERR_ARGUMENT, "temperature %g is not 0 or more",
                       options->temperature);
    if (!(options->top_p > 0.0))
        return qn_fail(err, QN_ERR_ARGUMENT, "top-p %g is not above 0", options->top_p);
    qn_sampler *s = qn_alloc(1, sizeof *s);
    candidate *heap = qn_alloc(n_vocab, sizeof *heap);
    if (!s || !heap) {
        qn_free(heap);
        qn_free(s);
        return qn_fail_memory(err, "the sampler");
    }
    *s =
        (qn_sampler){.options = *options, .state = options->seed, .n_vocab = n_vocab, .heap = heap};
    *out = s;
    return QN_OK;
}

void qn_sampler_free(qn_sampler *s)
{
    if (!s) return;
    qn_free(s->heap);
    qn_free(s);
}

static double next_fraction(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static bool before(candidate a, candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Restores the heap (the best first) below `at`. */
static void sift_down(candidate *heap, size_t n, size_t at)
{
    const candidate moved = heap[at];
    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* The k best of n candidates to the end of the array, the best at the very end.
 * A heap, since k is small as a rule and the vocabulary large. */
static void sort_best(candidate *c, size_t n, size_t k)
{
    for (size_t i = n / 2; i-- > 0;) sift_down(c, n, i);
    for (size_t i = 0; i < k; i++) {
        const candidate best = c[0];
        c[0] = c[n - 1 - i];
        sift_down(c, n - 1 - i, 0);
        c[n - 1 - i] = best;
    }
}

static double weight(candidate c, float best, double temperature)
{
    return qn_exp(((double)c.logit - (double)best) / temperature);
}

/* How many of the first n candidates, best last, have a share top_p of their
 * probability. */
static size_t reach(const candidate *end, size_t n, double top_p)
{
    double all = 0.0, sum = 0.0;
    for (size_t i = 1; i <= n; i++) all += weight(end[-(ptrdiff_t)i], end[-1].logit, 1.0);
    for (size_t i = 1; i <= n; i++) {
        sum += weight(end[-(ptrdiff_t)i], end[-1].logit, 1.0);
        if (sum >= top_p * all) return i;
    }
    return n;
}

static uint32_t draw(const candidate *end, size_t n, double temperature, double fraction)
{
    double all = 0.0, sum = 0.0;
    for (size_t i = 1; i <= n; i++) all += weight(end[-(ptrdiff_t)i], end[-1].logit, temperature);
    for (size_t i = 1; i <= n; i++) {
        sum += weight(end[-(ptrdiff_t)i], end[-1].logit, temperature);
        if (sum > fraction * all) return end[-(ptrdiff_t)i].id;
    }
    return end[-1].id;
}

qn_status qn_sampler_next(qn_sampler *s, const float *logits, uint32_t *id, qn_error *err)
{
    size_t n = 0, best = 0;
    for (size_t i = 0; i < s->n_vocab; i++) {
        if (isnan(logits[i])) continue;
        s->heap[n] = (candidate){logits[i], (uint32_t)i};
        if (before(s->heap[n], s->heap[best])) best = n;
        n++;
    }
    if (n == 0) return qn_fail(err, QN_ERR_DATA, "no logit is a number");
    if (s->options.temperature == 0.0) {
        *id = s->heap[best].id;
        return QN_OK;
    }
    size_t keep = s->options.top_k && s->options.top_k < n ? s->options.top_k : n;
    sort_best(s->heap, n, keep);
    const candidate *end = s->heap + n;
    if (s->options.top_p < 1.0) keep = reach(end, keep, s->options.top_p);
    *id = draw(end, keep, s->options.temperature, next_fraction(&s->state));
    return QN_OK;
}
