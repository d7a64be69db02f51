#define QN_USE qn_use_decode_blocks_avx512
#include "kernels/x86/decode_blocks.h"
