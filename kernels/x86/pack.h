/* Codes, a byte each, into fewer bits. */
#ifndef QN_KERNELS_X86_PACK_H
#define QN_KERNELS_X86_PACK_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* Weight j in the low nibble of byte j, weight j + 16 in the high one. */
static inline void pack_nibbles(const uint8_t q[32], uint8_t out[16])
{
    const __m128i low = _mm_loadu_si128((const __m128i *)q);
    const __m128i high = _mm_loadu_si128((const __m128i *)(q + 16));
    const __m128i nibble = _mm_set1_epi8(15);
    _mm_storeu_si128((__m128i *)out, _mm_or_si128(_mm_and_si128(low, nibble),
                                                  _mm_slli_epi16(_mm_and_si128(high, nibble), 4)));
}

/* The plane of kernels/two_bits.h for codes 0..3. */
static inline void pack_plane(const uint8_t q[256], uint8_t out[64])
{
    for (size_t half = 0; half < 2; half++) {
        __m256i all = _mm256_loadu_si256((const __m256i *)(q + half * 128 + 96));
        for (size_t k = 3; k-- > 0;)
            all = _mm256_or_si256(_mm256_slli_epi16(all, 2),
                                  _mm256_loadu_si256((const __m256i *)(q + half * 128 + k * 32)));
        _mm256_storeu_si256((__m256i *)(out + half * 32), all);
    }
}

/* Codes 0..3 of 64 weights, four neighbours a byte, the first lowest. */
static inline void pack_neighbours(const uint8_t q[64], uint8_t out[16])
{
    const __m128i pairs = _mm_set1_epi16(1 | 4 << 8), fours = _mm_set1_epi32(1 | 16 << 16);
    __m128i v[4];
    for (size_t i = 0; i < 4; i++)
        v[i] = _mm_madd_epi16(
            _mm_maddubs_epi16(_mm_loadu_si128((const __m128i *)(q + 16 * i)), pairs), fours);
    _mm_storeu_si128((__m128i *)out,
                     _mm_packus_epi16(_mm_packus_epi32(v[0], v[1]), _mm_packus_epi32(v[2], v[3])));
}

#endif
