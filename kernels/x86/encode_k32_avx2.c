#define QN_USE qn_use_encode_k32_avx2
#include "kernels/x86/encode_k32.h"
