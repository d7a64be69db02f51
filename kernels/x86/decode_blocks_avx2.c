#define QN_USE qn_use_decode_blocks_avx2
#include "kernels/x86/decode_blocks.h"
