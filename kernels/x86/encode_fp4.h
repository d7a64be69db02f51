/* MXFP4 and NVFP4.  Between two neighbouring levels the distances to both are
 * exact (Sterbenz: no more than a factor of two apart, or 0 and 1), so the
 * nearest level is the number of midpoints below |x|.  Built twice:
 * encode_fp4_avx2.c and encode_fp4_avx512.c include this. */
#include <math.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/scalar/fp4.h"
#include "kernels/x86/pack.h"
#include "kernels/x86/vec.h"
#include "kernels/x86/x86.h"

enum { MX = 32, NV = 64, NV_GROUP = 16 };

static inline float largest(const float *x, size_t n)
{
    vec most = vec_all_of(0.0f);
    for (size_t j = 0; j < n; j += LANES) most = vec_max(most, vec_abs(vec_load(x + j)));
    return vec_largest(most);
}

/* Codes of x / d: how many midpoints are below, and bit 3 for negative ones. */
static inline void code_lanes(const float *x, float d, size_t n, uint8_t *q)
{
    static const float middle[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5.0f, 7.0f, 10.0f};
    const vec zero = vec_all_of(0.0f), one = vec_all_of(1.0f), sign = vec_all_of(8.0f);
    vec bound[7];
    for (size_t i = 0; i < 7; i++) bound[i] = vec_all_of(middle[i] * d);
    for (size_t j = 0; j < n; j += LANES) {
        const vec v = vec_load(x + j), size = vec_abs(v);
        vec code = vec_select(vec_less(bound[0], size), one, zero);
        for (size_t i = 1; i < 7; i++)
            code = vec_select(vec_less(bound[i], size), vec_add(code, one), code);
        const vec_mask minus = vec_and(vec_less(v, zero), vec_less(zero, code));
        vec_store_bytes(q + j, vec_select(minus, vec_add(code, sign), code));
    }
}

/* Far above the levels distances round to the same float, and the first of them
 * is taken: that is for the scalar code to say. */
static inline void code(const float *x, float most, float d, size_t n, uint8_t *q)
{
    if (d == 0.0f)
        memset(q, 0, n);
    else if (most < d * 0x1p20f)
        code_lanes(x, d, n, q);
    else
        for (size_t j = 0; j < n; j++) q[j] = qn_fp4_code(x[j], d);
}

static void encode_mxfp4(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_mxfp4 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += MX, b++) {
        uint8_t q[MX];
        const float most = largest(x + i, MX);
        b->e = qn_mxfp4_exponent(most);
        code(x + i, most, qn_mxfp4_scale(b->e), MX, q);
        pack_nibbles(q, b->q);
    }
}

static void encode_nvfp4(const float *x, const float *weights, void *blocks, size_t n)
{
    qn_block_nvfp4 *b = blocks;
    (void)weights;
    for (size_t i = 0; i < n; i += NV, b++)
        for (int g = 0; g < NV / NV_GROUP; g++) {
            uint8_t q[NV_GROUP];
            const float *group = x + i + g * NV_GROUP, most = largest(group, NV_GROUP);
            b->scale[g] = qn_nvfp4_scale_of(most / 6.0f);
            code(group, most, qn_nvfp4_scale(b->scale[g]), NV_GROUP, q);
            const __m128i all = _mm_loadu_si128((const __m128i *)q);
            const __m128i both = _mm_or_si128(all, _mm_slli_epi16(_mm_srli_si128(all, 8), 4));
            _mm_storel_epi64((__m128i *)(b->q + g * NV_GROUP / 2), both);
        }
}

void QN_USE(qn_kernels *k)
{
    k->encode[QN_MXFP4] = encode_mxfp4;
    k->encode[QN_NVFP4] = encode_nvfp4;
}
