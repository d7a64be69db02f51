#define QN_USE qn_use_encode_groups_avx512
#include "kernels/x86/encode_groups.h"
