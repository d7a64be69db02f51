#include <pthread.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/scalar/scalar.h"
#if defined(__x86_64__)
#include <cpuid.h>

#include "kernels/x86/x86.h"
#endif

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
/* clang 14's builtin does not know this feature's name. */
static bool has_f16c(void)
{
    unsigned eax, ebx, ecx = 0, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

/* Each asks for every feature that the level's compiler flags name; the
 * builtin also knows whether the operating system saves the registers. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

/* In rising order.  A machine that runs one level runs all below it. */
static const struct {
    const char *isa;
    bool (*runs)(void);
    void (*use)(qn_kernels *k); /* overwrites the entries that it has */
} levels[] = {
    {"scalar", always, qn_use_scalar},
#if defined(__x86_64__)
    {"avx2", has_avx2, qn_use_avx2},
    {"avx512", has_avx512, qn_use_avx512},
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
