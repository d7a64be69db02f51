#define QN_USE qn_use_encode_k16_avx2
#include "kernels/x86/encode_k16.h"
