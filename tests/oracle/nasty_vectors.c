/* Makes tests/data/quant-vectors/nasty: rows that no model's smooth weights
 * have, and the blocks that ggml's own quantizers make of them without
 * importance.  A development tool, needed neither to build nor to test.
 *
 * Build llama.cpp for x86-64 (its default leaves ggml-base without -march, so
 * nothing there is contracted) with -DBUILD_SHARED_LIBS=OFF, then from here
 *     cc -std=c11 -O2 -I LLAMA/ggml/include tests/oracle/nasty_vectors.c \
 *        BUILD/ggml/src/libggml-base.a -lstdc++ -lm -lpthread -fopenmp -o nasty_vectors
 *     ./nasty_vectors tests/data/quant-vectors/nasty
 *
 * Column `undefined` of rows.tsv: for these types ggml converts a NaN or a
 * number out of range to an integer, which C leaves undefined, so that their
 * bytes are one compiler's and no reference.  Found by compiling ggml.c and
 * ggml-quants.c with -fsanitize=float-cast-overflow and running
 *     ./nasty_vectors ROW TYPE
 * for each pair.  Column `asserts`: ggml is defined there, but the argument of
 * its nearest_int lies past 2^22 and a build without NDEBUG would stop; found
 * by the same run without the sanitizer. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ggml.h"

enum { COLUMNS = 1024, BLOCK = 32 };

typedef struct {
    const char *name;
    void (*fill)(float *x);
    const char *undefined, *asserts, *about;
} row;

/* ---- numbers ---------------------------------------------------------------- */

static uint32_t state; /* set anew for each row */

static uint32_t random_bits(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

/* -0.5 <= x < 0.5 */
static float noise(void)
{
    return (float)random_bits() * 0x1p-24f - 0.5f;
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float sign(int i)
{
    return i % 2 ? -1.0f : 1.0f;
}

/* ---- rows -------------------------------------------------------------------- */

static void zeros(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = 0.0f;
}

static void negative_zeros(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = -0.0f;
}

static void zeros_of_both_signs(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = 0.0f * sign((int)random_bits());
}

static void denormals(float *x)
{
    for (int i = 0; i < COLUMNS; i++) {
        const uint32_t mantissa = (random_bits() & 0x7fffff) >> (i / BLOCK % 23);
        x[i] = from_bits((random_bits() & 1) << 31 | mantissa);
    }
}

static void smallest_denormals(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = 0x1p-149f * (float)((int)(random_bits() % 5) - 2);
}

static void smallest_normals(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = FLT_MIN * noise() * (float)(4 << (i / BLOCK % 16));
}

static void around_group_epsilon(float *x)
{
    const float largest[] = {1e-15f, nextafterf(1e-15f, 0), nextafterf(1e-15f, 1), 1e-14f, 1e-16f};
    for (int i = 0; i < COLUMNS; i++)
        x[i] = largest[i / 16 % 5] * (i % 16 == 3 ? sign(i / 16) : noise());
}

static void half_denormal_scales(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = ldexpf(noise(), -6 - i / BLOCK);
}

static void half_overflow_scales(float *x)
{
    const float edge[] = {65504, 65519.996f, 65520, 65536, 32768, 131008};
    const float steps[] = {1, 8, 15, 16, 31, 63, 127, 128 * 32};
    for (int i = 0; i < COLUMNS; i++) {
        const int b = i / BLOCK;
        const float largest = edge[b % 6] * steps[b % 8];
        x[i] = i % BLOCK == b ? largest * sign(b / 2) : largest * noise();
    }
}

static void largest_alternating(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = FLT_MAX * sign(i);
}

static void largest_constant(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = i < COLUMNS / 2 ? FLT_MAX : -FLT_MAX;
}

static void largest_in_noise(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = i % 256 == 100 ? FLT_MAX * sign(i / 256) : noise();
}

static void huge_in_small(float *x)
{
    for (int i = 0; i < COLUMNS; i++)
        x[i] = i % 256 == 200 ? 60000.0f * sign(i / 256) : noise() * 1e-3f;
}

static void constant(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = 0.1f;
}

static void constant_negative(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = -0.1f;
}

static void constant_blocks(float *x)
{
    for (int i = 0; i < COLUMNS; i++)
        x[i] = i % BLOCK ? x[i - 1] : noise() * (float)(1 << (i / BLOCK % 12));
}

static void nearly_constant(float *x)
{
    for (int i = 0; i < COLUMNS; i++)
        x[i] = sign(i / 128) * from_bits(0x3f99999au + random_bits() % 3);
}

static void far_from_zero(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = 100.0f * sign(i / 64) + noise() * 0.01f;
}

static void all_of_one_sign(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = sign(i / 256) * (noise() + 0.5f + 0x1p-20f);
}

/* Scales of both signs fit the block equally well: the first maximum decides. */
static void equal_maxima(float *x)
{
    for (int i = 0; i < COLUMNS; i++) {
        const int b = i / 16, first = 3 + b % 5, second = 9 + b % 7;
        const float largest = 0.75f + (float)b * 0x1p-7f;
        x[i] = noise();
        if (i % 16 == first) x[i] = largest * sign(b / 2);
        if (i % 16 == second) x[i] = -largest * sign(b / 2);
    }
}

static void two_values(float *x)
{
    for (int i = 0; i < COLUMNS; i++)
        x[i] = random_bits() % 2 ? 0.7f : -0.3f * (float)(i / BLOCK % 8);
}

/* One block for each type's grid, a power of two wide, and all between in
 * steps of a half: what lies half way must round as ggml rounds. */
static void half_steps(float *x)
{
    const float largest[] = {-8, 8, -16, 16, 15, 31, 127, -32, 32, 63};
    for (int i = 0; i < COLUMNS; i++) {
        const int b = i / BLOCK, at = i % BLOCK;
        const float end = largest[b % 10];
        const float step = (float)((int)(random_bits() % (unsigned)(2 * fabsf(end)))) * 0.5f;
        x[i] = at == b % 3 ? end : at == b % 3 + 1 && end > 0 ? 0.0f : step * sign(at * (end < 0));
        x[i] = ldexpf(x[i], b % 7 - 3);
    }
}

/* Half way between two float16 numbers and one float32 step to either side;
 * the last 256 columns where float16 is denormal or turns to zero. */
static void half_way_between_halves(float *x)
{
    for (int i = 0; i < COLUMNS; i++) {
        const uint32_t kept = random_bits() & 0x3ff, near = 0x1000u - 1 + random_bits() % 3;
        if (i < 768) {
            x[i] = sign(i) * from_bits((113u + (uint32_t)i % 28) << 23 | kept << 13 | near);
        } else {
            const float middle = ((float)(kept % (i % 2 ? 4 : 1024)) + 0.5f) * 0x1p-24f;
            x[i] = sign(i / 2) * (i % 3 == 0 ? middle : nextafterf(middle, i % 3 == 1 ? 0 : 1));
        }
    }
}

/* The same for bfloat16. */
static void half_way_between_bfloats(float *x)
{
    for (int i = 0; i < COLUMNS; i++) {
        const uint32_t kept = random_bits() & 0x7f, near = 0x8000u - 1 + random_bits() % 3;
        x[i] = sign(i / 3) * from_bits((110u + (uint32_t)i % 24) << 23 | kept << 16 | near);
    }
}

/* What rounds up to float16's and bfloat16's infinity, and what just doesn't. */
static void at_infinity(float *x)
{
    const uint32_t edge[] = {0x477fe000, 0x477fefff, 0x477ff000, 0x47800000,
                             0x7f7f0000, 0x7f7f7fff, 0x7f7f8000, 0x7f7fffff};
    for (int i = 0; i < COLUMNS; i++) {
        const unsigned upper = i < COLUMNS / 2 ? 0 : 4;
        x[i] = sign(i) * from_bits(edge[upper + random_bits() % 4]);
    }
}

static void one_a_block(float *x)
{
    for (int i = 0; i < COLUMNS; i++)
        x[i] = i % BLOCK == i / BLOCK ? sign(i / BLOCK) * (0.5f + (float)(i / BLOCK)) : 0.0f;
}

static void one_a_row(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = i == 777 ? -0.37f : 0.0f;
}

static void zero_groups(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = i / 16 % 3 && i / BLOCK % 4 ? noise() : 0.0f;
}

/* Groups of a super-block so unlike that most scales round to 0, 1 or 2. */
static void spread_groups(float *x)
{
    for (int i = 0; i < COLUMNS; i++) x[i] = ldexpf(noise(), -(i / 16 % 16) + i / 256);
}

static void wide_range(float *x)
{
    for (int i = 0; i < COLUMNS; i++) {
        const int power = (int)(random_bits() % 80) - 60;
        x[i] = ldexpf(noise(), power);
    }
}

#define ROW(name, undefined, asserts, about)   \
    {                                          \
#name, name, undefined, asserts, about \
    }
static const row rows[] = {
    ROW(zeros, "-", "-", "all +0"),
    ROW(negative_zeros, "-", "-", "all -0"),
    ROW(zeros_of_both_signs, "-", "-", "+0 and -0"),
    ROW(denormals, "q8_0 q4_0 q4_1 q5_0 q5_1", "q4_K q5_K", "blocks of ever smaller denormals"),
    ROW(smallest_denormals, "-", "q4_K q5_K", "0, 1 and 2 times 2^-149, both signs"),
    ROW(smallest_normals, "q8_0 q4_0 q4_1 q5_0 q5_1", "q4_K q5_K", "from denormal to 2^-110"),
    ROW(around_group_epsilon, "-", "-",
        "groups of 16 whose largest is 1e-15, next to it, 1e-14, 1e-16"),
    ROW(half_denormal_scales, "-", "-", "scales that are denormal or zero in float16"),
    ROW(half_overflow_scales, "-", "q4_K q5_K q6_K", "scales about float16's largest number"),
    ROW(largest_alternating, "q4_1 q5_1", "q4_K q5_K", "+FLT_MAX, -FLT_MAX, ..."),
    ROW(largest_constant, "-", "-", "512 FLT_MAX, 512 -FLT_MAX"),
    ROW(largest_in_noise, "-", "q4_K q5_K q6_K", "one FLT_MAX in each 256 of noise"),
    ROW(huge_in_small, "-", "-", "one 60000 in each 256 below 0.0005"),
    ROW(constant, "-", "-", "all 0.1"),
    ROW(constant_negative, "-", "-", "all -0.1"),
    ROW(constant_blocks, "-", "-", "blocks of 32 equal values"),
    ROW(nearly_constant, "-", "-", "three neighbours of 1.2, or of -1.2"),
    ROW(far_from_zero, "-", "-", "100 or -100, and 0.005 about it"),
    ROW(all_of_one_sign, "-", "-", "256 positive, 256 negative, ..."),
    ROW(equal_maxima, "-", "-", "in each 16 the largest with both signs"),
    ROW(two_values, "-", "-", "two values in a block, one of them at times 0"),
    ROW(half_steps, "-", "-", "half way between the steps of one of the types"),
    ROW(half_way_between_halves, "-", "-", "float16 ties, one float32 step below, above"),
    ROW(half_way_between_bfloats, "-", "-", "bfloat16 ties, one float32 step below, above"),
    ROW(at_infinity, "q4_1 q5_1", "q4_K q5_K",
        "about the largest float16 (512), the largest bfloat16 (512)"),
    ROW(one_a_block, "-", "-", "one value in each 32, else 0"),
    ROW(one_a_row, "-", "-", "one value, else 0"),
    ROW(zero_groups, "-", "-", "groups of 16 and 32 zeros between noise"),
    ROW(spread_groups, "-", "-", "groups of 16, each half as large as the one before"),
    ROW(wide_range, "-", "-", "magnitudes from 2^-61 to 2^18"),
};
enum { ROWS = sizeof rows / sizeof rows[0] };

/* ---- files --------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum ggml_type type;
} types[] = {
    {"f16", GGML_TYPE_F16},   {"bf16", GGML_TYPE_BF16}, {"q8_0", GGML_TYPE_Q8_0},
    {"q4_0", GGML_TYPE_Q4_0}, {"q4_1", GGML_TYPE_Q4_1}, {"q5_0", GGML_TYPE_Q5_0},
    {"q5_1", GGML_TYPE_Q5_1}, {"q4_K", GGML_TYPE_Q4_K}, {"q5_K", GGML_TYPE_Q5_K},
    {"q6_K", GGML_TYPE_Q6_K},
};
enum { TYPES = sizeof types / sizeof types[0] };

static float input[ROWS][COLUMNS];
static uint8_t blocks[ROWS * COLUMNS * 2];

static FILE *create(const char *folder, const char *name, const char *suffix)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    FILE *f = fopen(path, "wb");
    if (!f) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    return f;
}

static void finish(FILE *f)
{
    if (ferror(f) | fclose(f)) {
        fputs("nasty_vectors: a write failed\n", stderr);
        exit(EXIT_FAILURE);
    }
}

static void write_all(const char *folder)
{
    FILE *f = create(folder, "input", ".f32");
    fwrite(input, sizeof input, 1, f);
    finish(f);
    for (int t = 0; t < TYPES; t++) {
        const size_t n =
            ggml_quantize_chunk(types[t].type, input[0], blocks, 0, ROWS, COLUMNS, NULL);
        f = create(folder, types[t].name, ".noim.bin");
        fwrite(blocks, n, 1, f);
        finish(f);
    }
    f = create(folder, "rows", ".tsv");
    fputs("row\tname\tundefined\tasserts\tabout\n", f);
    for (int r = 0; r < ROWS; r++)
        fprintf(f, "%d\t%s\t%s\t%s\t%s\n", r, rows[r].name, rows[r].undefined, rows[r].asserts,
                rows[r].about);
    finish(f);
}

int main(int argc, char **argv)
{
    for (int r = 0; r < ROWS; r++) {
        state = (uint32_t)r + 1;
        rows[r].fill(input[r]);
    }
    if (argc == 2) {
        write_all(argv[1]);
        return EXIT_SUCCESS;
    }
    const unsigned r = argc == 3 ? (unsigned)atoi(argv[1]) : ROWS;
    const unsigned t = argc == 3 ? (unsigned)atoi(argv[2]) : TYPES;
    if (r >= ROWS || t >= TYPES) {
        fprintf(stderr, "usage: nasty_vectors FOLDER | ROW(0..%d) TYPE(0..%d)\n", ROWS - 1,
                TYPES - 1);
        return EXIT_FAILURE;
    }
    ggml_quantize_chunk(types[t].type, input[r], blocks, 0, 1, COLUMNS, NULL);
    return EXIT_SUCCESS;
}
