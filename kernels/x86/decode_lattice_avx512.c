#define QN_USE qn_use_decode_lattice_avx512
#include "kernels/x86/decode_lattice.h"
