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

/* Sixteen bytes of each row: words[i][g] has bytes 4i .. 4i+3 of group g's rows. */
typedef struct {
    __m256i words[SLAB / 4][LANE_GROUPS];
} slab;

/* Of eight rows, to out[0], out[apart], ... */
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

INLINE void load_slab(const uint8_t *const *rows, size_t at, slab *out)
{
    for (size_t g = 0; g < LANE_GROUPS; g++)
        load_words(rows + g * LANES, at, &out->words[0][g], LANE_GROUPS);
}

/* ---- codes --------------------------------------------------------------------------------- */

/* A signed code at the top of its word counts this many times. */
#define TOP 0x1p-24f

/* What moves byte j of each word to byte `to` and clears the others. */
INLINE __m256i only_byte(int j, int to)
{
    const int clear = (int)(0x80808080U & ~(0xffU << 8 * to));
    const int first = clear | j << 8 * to, step = 4 << 8 * to;
    return _mm256_setr_epi32(first, first + step, first + 2 * step, first + 3 * step, first,
                             first + step, first + 2 * step, first + 3 * step);
}

INLINE __m256 signed_byte(__m256i words, int j)
{
    return _mm256_cvtepi32_ps(_mm256_shuffle_epi8(words, only_byte(j, 3)));
}

INLINE __m256 unsigned_byte(__m256i words, int j)
{
    return _mm256_cvtepi32_ps(_mm256_shuffle_epi8(words, only_byte(j, 0)));
}

/* Sixteen columns from `column` on: q * d, given d times TOP. */
INLINE void take_scaled(sink *s, size_t column, const slab *q, const __m256 d[LANE_GROUPS])
{
    for (size_t i = 0; i < SLAB / 4; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            __m256 w[LANE_GROUPS];
            EACH_GROUP w[g] = _mm256_mul_ps(signed_byte(q->words[i][g], j), d[g]);
            take(s, column + 4 * i + (size_t)j, w);
        }
    }
}

/* q * d + m of unsigned codes.  q * d is exact, so one rounding is two. */
INLINE void take_affine(sink *s, size_t column, const slab *q, const __m256 d[LANE_GROUPS],
                        const __m256 m[LANE_GROUPS])
{
    for (size_t i = 0; i < SLAB / 4; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            __m256 w[LANE_GROUPS];
            EACH_GROUP w[g] = _mm256_fmadd_ps(unsigned_byte(q->words[i][g], j), d[g], m[g]);
            take(s, column + 4 * i + (size_t)j, w);
        }
    }
}

/* q * d of signed codes, where d may be too small for TOP. */
INLINE void take_small(sink *s, size_t column, const slab *q, const __m256 d[LANE_GROUPS])
{
    for (size_t i = 0; i < SLAB / 4; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            __m256 w[LANE_GROUPS];
            EACH_GROUP w[g] = _mm256_mul_ps(
                _mm256_mul_ps(signed_byte(q->words[i][g], j), _mm256_set1_ps(TOP)), d[g]);
            take(s, column + 4 * i + (size_t)j, w);
        }
    }
}

/* Each register of a slab by a formula: v is `in`'s, at [i][g]. */
#define EACH_WORD(out, in, formula)                  \
    for (size_t i = 0; i < SLAB / 4; i++) EACH_GROUP \
        {                                            \
            const __m256i v = (in)->words[i][g];     \
            (out)->words[i][g] = (formula);          \
        }

INLINE __m256i low_four(__m256i v)
{
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

INLINE __m256i high_four(__m256i v)
{
    return low_four(_mm256_srli_epi16(v, 4));
}

/* What nibbles number, in both halves. */
INLINE __m256i sixteen_levels(const int8_t level[16])
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)level));
}

INLINE __m256 negated(__m256 v)
{
    return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f));
}

INLINE __m256i less(__m256i v, int by)
{
    return _mm256_sub_epi8(v, _mm256_set1_epi8((char)by));
}

#define USE(type, name)              \
    k->unpack[type] = unpack_##name; \
    k->token[type] = token_##name

#endif
