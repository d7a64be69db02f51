/* Q8_1 and Q8_K, ggml's formats for activations at run time: never meant for
 * files, so they can be read and not written. */
#include "kernels/half.h"
#include "kernels/scalar/scalar.h"

enum { BLOCK = 32 };

static void decode_q8_1(const void *blocks, float *out, size_t n)
{
    const qn_block_q8_1 *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b++) {
        const float d = qn_half_value(b->d);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)b->q[j] * d;
    }
}

static void decode_q8_k(const void *blocks, float *out, size_t n)
{
    const qn_block_q8_k *b = blocks;
    for (size_t i = 0; i < n; i += QN_SUPER, b++)
        for (int j = 0; j < QN_SUPER; j++) out[i + j] = b->d * (float)b->q[j];
}

void qn_use_scalar_activations(qn_kernels *k)
{
    k->decode[QN_Q8_1] = decode_q8_1;
    k->decode[QN_Q8_K] = decode_q8_k;
}
