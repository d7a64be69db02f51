#define QN_USE qn_use_encode_iq4_avx512
#include "kernels/x86/encode_iq4.h"
