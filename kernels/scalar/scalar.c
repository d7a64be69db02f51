#include "kernels/scalar/scalar.h"

#include <string.h>

void qn_use_scalar(qn_kernels *k)
{
    memset(k, 0, sizeof *k);
    qn_use_scalar_plain(k);
    qn_use_scalar_blocks(k);
    qn_use_scalar_k_quants(k);
    qn_use_scalar_q6_k(k);
    qn_use_scalar_q2_k(k);
    qn_use_scalar_q3_k(k);
    qn_use_scalar_iq4(k);
    qn_use_scalar_iq3(k);
    qn_use_scalar_iq2(k);
    qn_use_scalar_iq1(k);
    qn_use_scalar_ternary(k);
    qn_use_scalar_fp4(k);
    qn_use_scalar_activations(k);
    qn_use_scalar_math(k);
}
