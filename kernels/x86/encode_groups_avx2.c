#define QN_USE qn_use_encode_groups_avx2
#include "kernels/x86/encode_groups.h"
