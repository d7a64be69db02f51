#define QN_USE qn_use_encode_iq1_avx512
#include "kernels/x86/encode_iq1.h"
