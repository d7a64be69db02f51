#define QN_USE qn_use_encode_ternary_avx512
#include "kernels/x86/encode_ternary.h"
