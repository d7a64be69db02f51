/* Instead of kernels/x86/detect_x86.c, where the AVX-512 files are built for AVX2. */
#include "kernels/x86/x86.h"

bool qn_has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool qn_has_avx512(void)
{
    return qn_has_avx2();
}
