#define QN_USE qn_use_encode_lattice_avx512
#include "kernels/x86/encode_lattice.h"
