#include <pthread.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/scalar/scalar.h"
#if defined(__x86_64__)
#include "kernels/x86/x86.h"
#endif

static bool always(void)
{
    return true;
}

/* In rising order.  A machine that runs one level runs all below it. */
static const struct {
    const char *isa;
    bool (*runs)(void);
    void (*use)(qn_kernels *k); /* overwrites the entries that it has */
} levels[] = {
    {"scalar", always, qn_use_scalar},
#if defined(__x86_64__)
    {"avx2", qn_has_avx2, qn_use_avx2},
    {"avx512", qn_has_avx512, qn_use_avx512},
#endif
};

#define LEVELS (sizeof levels / sizeof levels[0])

static unsigned cap = LEVELS - 1;
static qn_kernels best;
static pthread_once_t chosen = PTHREAD_ONCE_INIT;

bool qn_kernels_level(unsigned level, qn_kernels *out, bool *runs)
{
    if (level >= LEVELS) return false;
    /* Ask first: a level's use() is itself built with that level's instructions. */
    for (unsigned i = 0; i <= level; i++)
        if ((*runs = levels[i].runs())) levels[i].use(out);
    out->isa = levels[level].isa;
    return true;
}

bool qn_kernels_cap(const char *isa)
{
    for (unsigned i = 0; i < LEVELS; i++) {
        if (strcmp(levels[i].isa, isa) != 0 || !levels[i].runs()) continue;
        cap = i;
        return true;
    }
    return false;
}

static void choose(void)
{
    bool runs = false;
    for (unsigned level = cap; !runs; level--) qn_kernels_level(level, &best, &runs);
}

const qn_kernels *qn_kernels_best(void)
{
    pthread_once(&chosen, choose);
    return &best;
}
