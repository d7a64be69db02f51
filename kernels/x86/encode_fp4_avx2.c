#define QN_USE qn_use_encode_fp4_avx2
#include "kernels/x86/encode_fp4.h"
