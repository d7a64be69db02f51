/* Rows of plain numbers to lanes.
 */
#include "kernels/x86/panel.h"

#include "kernels/half.h"
#include "kernels/x86/x86.h"

/* ---- one number a weight -------------------------------------------------------------- */

/* Half of the rows at a time, since memory gives more through 16 streams than
 * through 32; and two whole lines of each, since rows a multiple of 4096 bytes apart
 * push each other out of the first-level cache. */
enum { HALF = LANE_GROUPS / 2, RUN = 2 * LINE, WORDS = RUN / 4 };
#define EACH_OF_HALF _Pragma("GCC unroll 2") for (size_t g = 0; g < HALF; g++)

typedef struct {
    __m256i words[WORDS][HALF];
} run;

INLINE void load_run(const uint8_t *const *rows, size_t at, run *out)
{
    for (size_t g = 0; g < HALF; g++)
        for (size_t i = 0; i < WORDS; i += 4)
            load_words(rows + g * LANES, at + i * 4, &out->words[i][g], HALF);
}

INLINE void take_half(sink *s, size_t column, size_t first, const __m256 w[HALF])
{
    if (s->keeps) {
        EACH_OF_HALF
        _mm256_storeu_ps(s->panel + column * QN_PANEL + (first + g) * LANES, w[g]);
    } else {
        const __m256 x = _mm256_broadcast_ss(s->x + column);
        EACH_OF_HALF s->sums[first + g] = _mm256_fmadd_ps(x, w[g], s->sums[first + g]);
    }
}

/* The columns behind the last run, one by one. */
#define TAKE_REST(type, value_of)                                         \
    for (; p < n; p++) {                                                  \
        float last[HALF * LANES];                                         \
        __m256 w[HALF];                                                   \
        for (size_t r = 0; r < HALF * LANES; r++)                         \
            last[r] = value_of(((const type *)(const void *)rows[r])[p]); \
        EACH_OF_HALF w[g] = _mm256_loadu_ps(last + g * LANES);            \
        take_half(s, p, first, w);                                        \
    }

/* Both halves by half_NAME. */
#define HALVES(name)                                                      \
    INLINE void run_##name(const uint8_t *const *rows, size_t n, sink *s) \
    {                                                                     \
        half_##name(rows, n, 0, s);                                       \
        half_##name(rows + HALF * LANES, n, HALF, s);                     \
    }                                                                     \
    ENTRIES(name)

INLINE void half_f32(const uint8_t *const *rows, size_t n, size_t first, sink *s)
{
    size_t p = 0;
    for (; p + WORDS <= n; p += WORDS) {
        run l;
        load_run(rows, p * sizeof(float), &l);
        for (size_t i = 0; i < WORDS; i++) {
            __m256 w[HALF];
            EACH_OF_HALF w[g] = _mm256_castsi256_ps(l.words[i][g]);
            take_half(s, p + i, first, w);
        }
    }
    TAKE_REST(qn_f32_anywhere, (float))
}
HALVES(f32)

INLINE void half_bf16(const uint8_t *const *rows, size_t n, size_t first, sink *s)
{
    const __m256i upper = _mm256_set1_epi32((int)0xffff0000);
    size_t p = 0;
    for (; p + 2 * WORDS <= n; p += 2 * WORDS) {
        run l;
        load_run(rows, p * sizeof(qn_bfloat16), &l);
        for (size_t i = 0; i < WORDS; i++) {
            __m256 w[HALF];
            EACH_OF_HALF w[g] = _mm256_castsi256_ps(_mm256_slli_epi32(l.words[i][g], 16));
            take_half(s, p + 2 * i, first, w);
            EACH_OF_HALF w[g] = _mm256_castsi256_ps(_mm256_and_si256(l.words[i][g], upper));
            take_half(s, p + 2 * i + 1, first, w);
        }
    }
    TAKE_REST(qn_bfloat16, qn_bfloat16_value)
}
HALVES(bf16)

/* Sixteen columns of float16 of eight rows: out[0], out[apart], ... have columns i
 * and i + 8.  Three perfect shuffles. */
INLINE void load_columns(const uint8_t *const *rows, size_t at, __m256i *out, size_t apart)
{
    __m256i a[8], b[8];
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) a[i] = _mm256_loadu_si256((const __m256i *)(rows[i] + at));
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        b[2 * i] = _mm256_unpacklo_epi16(a[i], a[i + 4]);
        b[2 * i + 1] = _mm256_unpackhi_epi16(a[i], a[i + 4]);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi16(b[i], b[i + 4]);
        a[2 * i + 1] = _mm256_unpackhi_epi16(b[i], b[i + 4]);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        out[2 * i * apart] = _mm256_unpacklo_epi16(a[i], a[i + 4]);
        out[(2 * i + 1) * apart] = _mm256_unpackhi_epi16(a[i], a[i + 4]);
    }
}

INLINE void half_f16(const uint8_t *const *rows, size_t n, size_t first, sink *s)
{
    size_t p = 0;
    for (; p + 2 * WORDS <= n; p += 2 * WORDS) {
        run l;
        for (size_t g = 0; g < HALF; g++)
            for (size_t i = 0; i < WORDS; i += 8)
                load_columns(rows + g * LANES, (p + 2 * i) * sizeof(qn_half), &l.words[i][g], HALF);
        for (size_t i = 0; i < 2 * WORDS; i++) {
            const __m256i *two = l.words[i / 16 * 8 + i % 8];
            __m256 w[HALF];
            EACH_OF_HALF
            w[g] = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(two + g) + i / 8 % 2));
            take_half(s, p + i, first, w);
        }
    }
    TAKE_REST(qn_half, qn_half_value)
}
HALVES(f16)

void qn_use_panel_plain_avx2(qn_kernels *k)
{
    USE(QN_F32, f32);
    USE(QN_BF16, bf16);
    USE(QN_F16, f16);
}
