#define QN_USE qn_use_encode_blocks32_avx2
#include "kernels/x86/encode_blocks32.h"
