/* Blocks of codes on their way to lanes, in two steps that each are one long loop.
 * A type's open_NAME brings a block of eight rows to a byte a code, four columns of
 * a row in its lane's word, and finds what codes are multiplied by; a super-block's
 * width of that is kept in the first-level cache.  Then all types' codes become
 * values alike. */
#ifndef QN_KERNELS_X86_PANEL_CODES_H
#define QN_KERNELS_X86_PANEL_CODES_H

#include "kernels/half.h"
#include "kernels/x86/panel.h"

/* Up to QN_SUPER columns: word i has columns 4i .. 4i+3. */
typedef struct {
    __m256 scale[QN_SUPER / SLAB][LANE_GROUPS], min[QN_SUPER / SLAB][LANE_GROUPS];
    __m256i codes[QN_SUPER / 4][LANE_GROUPS];
} piece;

/* One group of eight rows of it, from some block on: every LANE_GROUPS-th. */
typedef struct {
    __m256i *codes;
    __m256 *scale, *min;
} lanes;

/* ---- codes ------------------------------------------------------------------------------- */

/* Each of the four words from word `first` on by a formula of v, the same of `in`, which
 * is its number i. */
#define EACH_WORD(out, first, in, formula)                        \
    _Pragma("GCC unroll 4") for (size_t i = 0; i < SLAB / 4; i++) \
    {                                                             \
        const __m256i v = (in)[i];                                \
        (out)->codes[((first) + i) * LANE_GROUPS] = (formula);    \
    }

INLINE __m256i low_four(__m256i v)
{
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

INLINE __m256i high_four(__m256i v)
{
    return low_four(_mm256_srli_epi16(v, 4));
}

INLINE __m256i less(__m256i v, int by)
{
    return _mm256_sub_epi8(v, _mm256_set1_epi8((char)by));
}

/* What nibbles number: level. */
INLINE __m256i levels_of(__m256i nibbles, const int8_t level[16])
{
    const __m128i table = _mm_loadu_si128((const __m128i *)level);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), nibbles);
}

/* Of each nibble the bits in `mask` from bit `from` on, `step` times, less `by`. */
INLINE __m256i bits_of(__m256i nibbles, int from, int mask, int step, int by)
{
    int8_t level[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) level[i] = (int8_t)((i >> from & mask) * step - by);
    return levels_of(nibbles, level);
}

/* Of each byte the two bits from `from` on. */
INLINE __m256i two_of(__m256i v, int from)
{
    return _mm256_and_si256(_mm256_srli_epi16(v, from), _mm256_set1_epi8(3));
}

/* Where bits 4i .. 4i+3 of each lane are set, in four bytes. */
INLINE __m256i are_set(__m256i bits, size_t i)
{
    const __m256i byte = _mm256_add_epi8(_mm256_set1_epi8((char)(i / 2)),
                                         _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0,
                                                           0x04040404, 0x08080808, 0x0c0c0c0c));
    const __m256i place = _mm256_set1_epi32(i % 2 ? (int)0x80402010 : 0x08040201);
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, byte), place), place);
}

/* ---- numbers of a row ---------------------------------------------------------------------- */

/* The four bytes at `at`, in the lowest lane. */
INLINE __m128i four_bytes(const uint8_t *row, size_t at)
{
    int word;
    __builtin_memcpy(&word, row + at, sizeof word);
    return _mm_cvtsi32_si128(word);
}

/* Those of each of eight rows. */
INLINE __m256i load_word(const uint8_t *const *rows, size_t at)
{
    __m128i w[LANES / 2];
#pragma GCC unroll 4
    for (size_t r = 0; r < LANES / 2; r++)
        w[r] = _mm_unpacklo_epi32(four_bytes(rows[2 * r], at), four_bytes(rows[2 * r + 1], at));
    return _mm256_set_m128i(_mm_unpacklo_epi64(w[2], w[3]), _mm_unpacklo_epi64(w[0], w[1]));
}

/* The float16 number at `at` of each of eight rows, which go on for four bytes there. */
INLINE __m256 load_halves(const uint8_t *const *rows, size_t at)
{
    __m128i w[LANES / 2];
#pragma GCC unroll 4
    for (size_t r = 0; r < LANES / 2; r++)
        w[r] = _mm_unpacklo_epi16(four_bytes(rows[2 * r], at), four_bytes(rows[2 * r + 1], at));
    return _mm256_cvtph_ps(
        _mm_unpacklo_epi64(_mm_unpacklo_epi32(w[0], w[1]), _mm_unpacklo_epi32(w[2], w[3])));
}

/* The float16 numbers in the lower halves of words, and in the upper ones. */
INLINE void two_halves(__m256i words, __m256 *low, __m256 *high)
{
    const __m256i apart = _mm256_packus_epi32(_mm256_and_si256(words, _mm256_set1_epi32(0xffff)),
                                              _mm256_srli_epi32(words, 16));
    const __m256i both = _mm256_permute4x64_epi64(apart, 0xd8);
    *low = _mm256_cvtph_ps(_mm256_castsi256_si128(both));
    *high = _mm256_cvtph_ps(_mm256_extracti128_si256(both, 1));
}

INLINE __m256 upper_half(__m256i words)
{
    __m256 low, high;
    two_halves(words, &low, &high);
    return high;
}

/* The n scales from out[0] on: d times bytes 0 .. n-1 of each lane's words. */
/* A signed code at the top of its word counts this many times. */
#define TOP 0x1p-24f

INLINE __m256 times_top(__m256 d)
{
    return _mm256_mul_ps(d, _mm256_set1_ps(TOP));
}

/* ---- from codes to values -------------------------------------------------------------------- */

/* How codes q become values. */
typedef enum {
    SCALED, /* q * d, given d times TOP */
    SMALL,  /* q * d, where d may be too small for TOP */
    AFFINE  /* q * d + m, given d times TOP.  q * d is exact, so one rounding is two. */
} meaning;

/* Column j of word i, times 2^24: a load from 3 - j bytes before brings it to the top. */
INLINE __m256 code_of(const piece *c, size_t i, size_t g, size_t j)
{
    const uint8_t *at = (const uint8_t *)c + offsetof(piece, codes) +
                        (i * LANE_GROUPS + g) * sizeof(__m256i) + j - 3;
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_loadu_si256((const __m256i *)at),
                                               _mm256_set1_epi32((int)0xff000000)));
}

INLINE __m256 value_of(meaning is, __m256 q, __m256 d, __m256 m)
{
    switch (is) {
    case SCALED: return _mm256_mul_ps(q, d);
    case SMALL: return _mm256_mul_ps(_mm256_mul_ps(q, _mm256_set1_ps(TOP)), d);
    default: return _mm256_fmadd_ps(q, d, m);
    }
}

/* n columns from `column` on; a scale counts for `per`, in which `bytes` are asked for
 * ahead. */
INLINE void take_piece(sink *s, size_t column, size_t n, const piece *c, meaning is, size_t per,
                       size_t bytes)
{
    for (size_t b = 0; b < n / per; b++) {
        __m256 d[LANE_GROUPS], m[LANE_GROUPS];
        EACH_GROUP d[g] = c->scale[b][g];
        EACH_GROUP m[g] = is == AFFINE ? c->min[b][g] : d[g];
        ask_ahead(s, bytes);
        for (size_t i = b * per / 4; i < (b + 1) * per / 4; i++) {
#pragma GCC unroll 4
            for (size_t j = 0; j < 4; j++) {
                __m256 w[LANE_GROUPS];
                EACH_GROUP w[g] = value_of(is, code_of(c, i, g, j), d[g], m[g]);
                take(s, column + 4 * i + j, w);
            }
        }
    }
}

/* The entries of a type whose blocks of `length` have a scale for each `per` columns. */
#define CODES(name, length, is, per)                                                      \
    static void piece_##name(const uint8_t *const *rows, size_t at, size_t n, piece *out) \
    {                                                                                     \
        for (size_t g = 0; g < LANE_GROUPS; g++) {                                        \
            const uint8_t *const r[LANES] = {rows[0], rows[1], rows[2], rows[3],          \
                                             rows[4], rows[5], rows[6], rows[7]};         \
            rows += LANES;                                                                \
            for (size_t b = 0; b < n / (length); b++) {                                   \
                const size_t scale = b * ((length) / (per));                              \
                lanes l = {&out->codes[b * ((length) / 4)][g], &out->scale[scale][g],     \
                           &out->min[scale][g]};                                          \
                open_##name(r, at + b * sizeof(qn_block_##name), &l);                     \
            }                                                                             \
        }                                                                                 \
    }                                                                                     \
    INLINE void run_##name(const uint8_t *const *rows, size_t n, sink *s)                 \
    {                                                                                     \
        const size_t bytes = sizeof(qn_block_##name) * QN_PANEL * (per) / (length);       \
        for (size_t p = 0, m; p < n; p += m) {                                            \
            piece c;                                                                      \
            m = n - p < QN_SUPER ? n - p : QN_SUPER;                                      \
            piece_##name(rows, p / (length) * sizeof(qn_block_##name), m, &c);            \
            take_piece(s, p, m, &c, is, per, bytes);                                      \
        }                                                                                 \
    }                                                                                     \
    ENTRIES(name)

#endif
