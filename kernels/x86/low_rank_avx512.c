#define QN_USE qn_use_low_rank_avx512
#include "kernels/x86/low_rank.h"
