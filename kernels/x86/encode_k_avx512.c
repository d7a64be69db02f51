#define QN_USE qn_use_encode_k_avx512
#include "kernels/x86/encode_k.h"
