/* Stored rows on their way to lanes: a lane is a row, so that each keeps its own
 * chain.  What changes sides is what is stored, not what it means: of sixteen
 * bytes of each of QN_PANEL rows, four neighbours become one lane's word.  Words
 * are taken apart there, and the values go to a panel, or straight into one
 * token's sums. */
#ifndef QN_KERNELS_X86_PANEL_H
#define QN_KERNELS_X86_PANEL_H

#include <immintrin.h>

#include "kernels/blocks.h"
#include "kernels/kernels.h"

enum { LANES = 8, LANE_GROUPS = QN_PANEL / LANES, SLAB = 16, LINE = 64 };

#define INLINE static inline __attribute__((always_inline))
#define EACH_GROUP _Pragma("GCC unroll 4") for (size_t g = 0; g < LANE_GROUPS; g++)

/* ---- where values go ---------------------------------------------------------------- */

typedef struct {
    bool keeps; /* in the panel; else they are multiplied by x and added up */
    float *panel;
    const float *x;
    __m256 sums[LANE_GROUPS];
    const char *ahead;
} sink;

/* A column's values of all rows. */
INLINE void take(sink *s, size_t column, const __m256 w[LANE_GROUPS])
{
    if (s->keeps) {
        EACH_GROUP _mm256_storeu_ps(s->panel + column * QN_PANEL + g * LANES, w[g]);
    } else {
        const __m256 x = _mm256_broadcast_ss(s->x + column);
        EACH_GROUP s->sums[g] = _mm256_fmadd_ps(x, w[g], s->sums[g]);
    }
}

/* `bytes` more of what is read next. */
INLINE void ask_ahead(sink *s, size_t bytes)
{
#pragma GCC unroll 32
    for (size_t at = 0; at < bytes; at += LINE) _mm_prefetch(s->ahead + at, _MM_HINT_T1);
    s->ahead += bytes;
}

/* A type's two entries: run_NAME is told at compile time which it is. */
#define ENTRIES(name)                                                                              \
    static void unpack_##name(const void *const *rows, const void *ahead, size_t n, float *panel)  \
    {                                                                                              \
        sink s = {.keeps = true, .panel = panel, .ahead = ahead};                                  \
        run_##name((const uint8_t *const *)rows, n, &s);                                           \
    }                                                                                              \
    static void token_##name(const void *const *rows, const void *ahead, const float *x, size_t n, \
                             float *sums)                                                          \
    {                                                                                              \
        sink s = {.keeps = false, .x = x, .ahead = ahead};                                         \
        EACH_GROUP s.sums[g] = _mm256_loadu_ps(sums + g * LANES);                                  \
        run_##name((const uint8_t *const *)rows, n, &s);                                           \
        EACH_GROUP _mm256_storeu_ps(sums + g * LANES, s.sums[g]);                                  \
    }

/* ---- to the lanes ----------------------------------------------------------------------- */

/* Sixteen bytes of each of eight rows: out[i * apart] has bytes 4i .. 4i+3. */
INLINE void load_words(const uint8_t *const *rows, size_t at, __m256i *out, size_t apart)
{
    __m256i r[4], s[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++)
        r[i] = _mm256_loadu2_m128i((const __m128i *)(rows[i + 4] + at),
                                   (const __m128i *)(rows[i] + at));
    s[0] = _mm256_unpacklo_epi32(r[0], r[1]);
    s[1] = _mm256_unpackhi_epi32(r[0], r[1]);
    s[2] = _mm256_unpacklo_epi32(r[2], r[3]);
    s[3] = _mm256_unpackhi_epi32(r[2], r[3]);
    out[0] = _mm256_unpacklo_epi64(s[0], s[2]);
    out[apart] = _mm256_unpackhi_epi64(s[0], s[2]);
    out[2 * apart] = _mm256_unpacklo_epi64(s[1], s[3]);
    out[3 * apart] = _mm256_unpackhi_epi64(s[1], s[3]);
}

#define USE(type, name)              \
    k->unpack[type] = unpack_##name; \
    k->token[type] = token_##name

#endif
