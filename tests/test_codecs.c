/* Quantized blocks against ggml's reference quantizers, byte for byte. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"
#include "kernels/blocks.h"
#include "kernels/kernels.h"
#include "tests/support/codec_rows.h"
#include "tests/support/data.h"
#include "tests/support/run.h"

/* ---- checksums of generated rows ----------------------------------------------- */

/* CRC-32 of ggml's output (default x86-64 build, which contracts nothing) for
 * 8 rows of 1024 from the generator below: quantized bytes and their decoded
 * float32, without and with importance.  ggml d99724f2. */
static const struct {
    qn_dtype dtype;
    uint32_t plain, plain_decoded, weighted, weighted_decoded;
} golden[] = {
    {QN_F16, 0xccf23ef1, 0x516e96bb, 0xccf23ef1, 0x516e96bb},
    {QN_BF16, 0xa15e41b9, 0xe315bfbd, 0xa15e41b9, 0xe315bfbd},
    {QN_Q4_0, 0x12733414, 0x9df36315, 0x303183a0, 0x7a8f7870},
    {QN_Q4_1, 0xc27a5ea7, 0xa5caaaf1, 0xc38334c1, 0x0a9814fc},
    {QN_Q5_0, 0xb7ef146c, 0xdeeeaf0e, 0x854a5bb3, 0x3a81f9ad},
    {QN_Q5_1, 0x256cb982, 0xb0fcef95, 0x18b50636, 0x04d35ddf},
    {QN_Q8_0, 0x39bfe88e, 0x5598faae, 0x39bfe88e, 0x5598faae},
    {QN_Q2_K, 0x7c654216, 0x636e43dc, 0x5f4bb034, 0xab4cdb9a},
    {QN_Q3_K, 0x1a92c942, 0xa84600bb, 0x1d2cc3a2, 0x1633cae0},
    {QN_Q4_K, 0x0b614ad6, 0x5655176b, 0x6832acff, 0xb8f1f6bb},
    {QN_Q5_K, 0x6d44ccec, 0x02a270eb, 0x2243eed9, 0xcd66aa64},
    {QN_Q6_K, 0xb0d522c1, 0x61037255, 0x26860b54, 0x54bf3c09},
    {QN_IQ4_NL, 0x439c8770, 0xdc148bb0, 0x0bfa97ab, 0x269df626},
    {QN_IQ4_XS, 0xddb0f2c1, 0x2591ba19, 0x6d2ce634, 0x05473f9e},
    {QN_IQ3_XXS, 0xf13af7eb, 0x809c7889, 0x1b8e4f7d, 0xe11b83b4},
    {QN_IQ3_S, 0xaef9d6c9, 0x05e0d985, 0xc84d1d79, 0x6728d7e4},
    {QN_IQ2_XXS, 0, 0, 0x8aeb73e1, 0x3a1328e4}, /* ggml insists on importance */
    {QN_IQ2_XS, 0, 0, 0x9b1e03f6, 0x7db733af},
    {QN_IQ2_S, 0x847c7db8, 0xdb103ed6, 0x2ca4b7d6, 0x815be40d},
    {QN_IQ1_S, 0, 0, 0xcbbd0b40, 0x68f318d4},
    {QN_IQ1_M, 0xdf102d9e, 0x599f1bb0, 0x6b7667fe, 0xdcdb6663},
    {QN_TQ1_0, 0x7b8beb0d, 0xe29be3c7, 0x7b8beb0d, 0xe29be3c7},
    {QN_TQ2_0, 0xb8109de3, 0xe29be3c7, 0xb8109de3, 0xe29be3c7},
    {QN_MXFP4, 0x3402809a, 0xb011196a, 0x3402809a, 0xb011196a},
    {QN_NVFP4, 0x4d432017, 0xddfc451d, 0x4d432017, 0xddfc451d},
    {QN_Q1_0, 0xa5b6a39e, 0x7c8d93fa, 0xa5b6a39e, 0x7c8d93fa},
    {QN_Q2_0, 0x7208818a, 0xb77e718d, 0x7208818a, 0xb77e718d},
};

enum { ROWS = 8, COLUMNS = 1024, LEVELS = 3 };

static float next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) * 0x1p-24f - 0.5f;
}

static void generate(float *x, float *importance)
{
    uint32_t state = 1;
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        const float a = next(&state), b = next(&state), c = next(&state);
        x[i] = ((a + b) + c) * 0.1f;
    }
    state = 12345;
    for (int i = 0; i < COLUMNS; i++) {
        const float v = next(&state) + 0.5f;
        importance[i] = v * v;
    }
}

static uint32_t checksum(const void *bytes, size_t n)
{
    return (uint32_t)crc32(0, bytes, (uInt)n);
}

static void check_golden(const qn_kernels *k, qn_dtype t, const float *x, const float *importance,
                         uint32_t want, uint32_t want_decoded)
{
    static uint8_t blocks[ROWS * COLUMNS * 4];
    static float decoded[ROWS * COLUMNS];
    uint64_t bytes;
    ck_assert(qn_dtype_row_bytes(t, COLUMNS, &bytes));
    for (int r = 0; r < ROWS; r++) {
        k->encode[t](x + r * COLUMNS, importance, blocks + r * bytes, COLUMNS);
        k->decode[t](blocks + r * bytes, decoded + r * COLUMNS, COLUMNS);
    }
    const uint32_t got = checksum(blocks, ROWS * bytes), back = checksum(decoded, sizeof decoded);
    ck_assert_msg(got == want, "%s, %s: blocks %08x, ggml's %08x", qn_dtype_facts(t)->name, k->isa,
                  got, want);
    ck_assert_msg(back == want_decoded, "%s, %s: decoded %08x, ggml's %08x",
                  qn_dtype_facts(t)->name, k->isa, back, want_decoded);
}

START_TEST(blocks_have_the_checksums_of_ggmls)
{
    static float x[ROWS * COLUMNS], importance[COLUMNS];
    const size_t types = sizeof golden / sizeof golden[0];
    qn_kernels k;
    bool runs;
    if (!qn_kernels_level((unsigned)((size_t)_i / types), &k, &runs) || !runs) return;
    generate(x, importance);
    ck_assert_uint_eq(checksum(x, sizeof x), 0xce2c2993);
    ck_assert_uint_eq(checksum(importance, sizeof importance), 0x9b0876a8);
    const size_t i = (unsigned)_i % types;
    if (golden[i].plain)
        check_golden(&k, golden[i].dtype, x, NULL, golden[i].plain, golden[i].plain_decoded);
    check_golden(&k, golden[i].dtype, x, importance, golden[i].weighted,
                 golden[i].weighted_decoded);
}
END_TEST

/* ---- checksums of awkward rows --------------------------------------------------- */

/* CRC-32 of the same ggml's blocks for rows of 1024, one of each kind of
 * tests/support/codec_rows.h, without and with importance: printed by
 * "ggml-codecs sums" (tests/oracle).  0: ggml insists on importance.  IQ1_M is
 * not here, since the ggml that was asked (0.25) adds up its sums in another
 * order than the one of the checksums above (d99724f2, 0.21). */
static const struct {
    qn_dtype dtype;
    uint32_t plain, weighted;
} awkward[] = {
    {QN_Q4_0, 0x778630b1, 0x628ef0a1},    {QN_Q4_1, 0x5406241a, 0x4944b930},
    {QN_Q5_0, 0xff6a1bc4, 0xc7fdbb04},    {QN_Q5_1, 0xe8f01a58, 0xcd17a2e7},
    {QN_Q8_0, 0xb8055906, 0xb8055906},    {QN_Q2_K, 0x2bf715f4, 0xa4a5c9e2},
    {QN_Q3_K, 0x08f14fe8, 0x0002bec2},    {QN_Q4_K, 0xa581c958, 0xf9d4d9ab},
    {QN_Q5_K, 0x7c5583c5, 0x18d4472c},    {QN_Q6_K, 0x15e99029, 0xef56ba49},
    {QN_IQ4_NL, 0x22bf6c2d, 0x4511086d},  {QN_IQ4_XS, 0x7d38295f, 0xfdf030bb},
    {QN_IQ3_XXS, 0x41377786, 0xa839d6ba}, {QN_IQ3_S, 0x00837703, 0xe4d87ac3},
    {QN_IQ2_XXS, 0, 0x731df57b},          {QN_IQ2_XS, 0, 0x2d839744},
    {QN_IQ2_S, 0x917bb899, 0x454abf3e},   {QN_IQ1_S, 0, 0xfd3e805a},
    {QN_TQ1_0, 0xd2ba2a7c, 0xd2ba2a7c},   {QN_TQ2_0, 0xe2655887, 0xe2655887},
    {QN_MXFP4, 0x136f3af3, 0x136f3af3},   {QN_NVFP4, 0xfe6c9b13, 0xfe6c9b13},
    {QN_Q1_0, 0xf97d1db6, 0xf97d1db6},    {QN_Q2_0, 0x5d7db87f, 0x5d7db87f},
};

static uint32_t awkward_sum(const qn_kernels *k, qn_dtype t, bool weighted)
{
    static float x[COLUMNS], w[COLUMNS];
    uint8_t blocks[COLUMNS * 4];
    qn_random r = {5};
    uint64_t bytes;
    uLong sum = 0;
    ck_assert(qn_dtype_row_bytes(t, COLUMNS, &bytes));
    for (int kind = 0; kind < QN_CODEC_KINDS; kind++) {
        qn_codec_row(&r, kind, x, COLUMNS);
        qn_codec_importance(&r, w, COLUMNS);
        k->encode[t](x, weighted ? w : NULL, blocks, COLUMNS);
        sum = crc32(sum, blocks, (uInt)bytes);
    }
    return (uint32_t)sum;
}

START_TEST(blocks_of_awkward_rows_have_the_checksums_of_ggmls)
{
    const size_t types = sizeof awkward / sizeof awkward[0], i = (unsigned)_i % types;
    qn_kernels k;
    bool runs;
    if (!qn_kernels_level((unsigned)((size_t)_i / types), &k, &runs) || !runs) return;
    const qn_dtype t = awkward[i].dtype;
    const uint32_t plain = awkward[i].plain ? awkward_sum(&k, t, false) : 0;
    const uint32_t weighted = awkward_sum(&k, t, true);
    ck_assert_msg(plain == awkward[i].plain && weighted == awkward[i].weighted,
                  "%s, %s: %08x and with importance %08x, ggml's %08x and %08x",
                  qn_dtype_facts(t)->name, k.isa, plain, weighted, awkward[i].plain,
                  awkward[i].weighted);
}
END_TEST

/* ---- exponents ----------------------------------------------------------------------- */

/* Around every power of two, against the C library's logarithm rounded from
 * double: that is where a float logarithm and the exponent's bits part. */
START_TEST(the_exponent_of_mxfp4_is_that_of_a_rounded_logarithm)
{
    const qn_kernels *k = qn_kernels_best();
    for (uint32_t exponent = 1; exponent < 255; exponent++)
        for (uint32_t step = 0; step < 300; step++) {
            uint32_t bits = (exponent << 23) - 200 + step;
            float x[32] = {0};
            qn_block_mxfp4 b;
            memcpy(x, &bits, sizeof bits);
            k->encode[QN_MXFP4](x, NULL, &b, 32);
            const int want = (int)floorf((float)log2((double)x[0])) - 2 + 127;
            ck_assert_msg(b.e == (uint8_t)want, "%a: %d, not %d", (double)x[0], b.e, want);
        }
}
END_TEST

/* ---- files of rows ---------------------------------------------------------------- */

static void *load(const char *folder, const char *name, size_t *n)
{
    char path[256];
    char *bytes;
    qn_error err = {0};
    snprintf(path, sizeof path, "quant-vectors/%s/%s", folder, name);
    const char *found = qn_test_data(path);
    ck_assert_ptr_nonnull(found);
    ck_assert_msg(!qn_read_file(found, 1 << 24, &bytes, n, &err), "%s", err.message);
    return bytes;
}

static const struct {
    const char *file;
    qn_dtype dtype;
} real[] = {
    {"f16.noim", QN_F16},         {"bf16.noim", QN_BF16},     {"q8_0.noim", QN_Q8_0},
    {"q4_0.noim", QN_Q4_0},       {"q4_1.noim", QN_Q4_1},     {"q5_0.noim", QN_Q5_0},
    {"q5_1.noim", QN_Q5_1},       {"q4_K.noim", QN_Q4_K},     {"q5_K.noim", QN_Q5_K},
    {"q6_K.noim", QN_Q6_K},       {"q8_0.im", QN_Q8_0},       {"q4_0.im", QN_Q4_0},
    {"q4_1.im", QN_Q4_1},         {"q5_0.im", QN_Q5_0},       {"q5_1.im", QN_Q5_1},
    {"q4_K.im", QN_Q4_K},         {"q5_K.im", QN_Q5_K},       {"q6_K.im", QN_Q6_K},
    {"q2_K.noim", QN_Q2_K},       {"q3_K.noim", QN_Q3_K},     {"iq4_nl.noim", QN_IQ4_NL},
    {"iq4_xs.noim", QN_IQ4_XS},   {"tq1_0.noim", QN_TQ1_0},   {"tq2_0.noim", QN_TQ2_0},
    {"iq3_xxs.noim", QN_IQ3_XXS}, {"iq3_s.noim", QN_IQ3_S},   {"iq2_s.noim", QN_IQ2_S},
    {"q2_K.im", QN_Q2_K},         {"q3_K.im", QN_Q3_K},       {"iq4_nl.im", QN_IQ4_NL},
    {"iq4_xs.im", QN_IQ4_XS},     {"tq1_0.im", QN_TQ1_0},     {"tq2_0.im", QN_TQ2_0},
    {"iq3_xxs.im", QN_IQ3_XXS},   {"iq3_s.im", QN_IQ3_S},     {"iq2_s.im", QN_IQ2_S},
    {"iq2_xs.im", QN_IQ2_XS},     {"iq2_xxs.im", QN_IQ2_XXS}, {"iq1_s.im", QN_IQ1_S},
    {"iq1_m.im", QN_IQ1_M},
};

/* Rows of 256 of many kinds, quantized on x86. */
START_TEST(blocks_of_real_rows_are_ggmls)
{
    enum { WIDTH = 256 };
    char name[64];
    size_t n_x, n_w, n_want;
    uint64_t bytes;
    const size_t files = sizeof real / sizeof real[0], i = (unsigned)_i % files;
    qn_kernels k;
    bool runs;
    if (!qn_kernels_level((unsigned)((size_t)_i / files), &k, &runs) || !runs) return;
    const qn_dtype t = real[i].dtype;
    float *x = load("x86-real", "input.f32", &n_x);
    float *w = load("x86-real", "imatrix256.f32", &n_w);
    snprintf(name, sizeof name, "%s.bin", real[i].file);
    uint8_t *want = load("x86-real", name, &n_want);
    const float *importance = strstr(name, ".im.") ? w : NULL;
    const size_t rows = n_x / sizeof *x / WIDTH;
    ck_assert(qn_dtype_row_bytes(t, WIDTH, &bytes));
    ck_assert_uint_eq(n_want, rows * bytes);
    ck_assert_uint_eq(n_w, WIDTH * sizeof *w);
    float *decoded = qn_alloc(rows * WIDTH, sizeof *decoded);
    for (size_t r = 0; r < rows; r++) {
        uint8_t got[WIDTH * 4];
        k.encode[t](x + r * WIDTH, importance, got, WIDTH);
        ck_assert_msg(memcmp(got, want + r * bytes, bytes) == 0, "%s, %s: row %zu differs", name,
                      k.isa, r);
        k.decode[t](got, decoded + r * WIDTH, WIDTH);
    }
    if (!importance) {
        snprintf(name, sizeof name, "%s.deq.f32", real[i].file);
        float *back = load("x86-real", name, &n_want);
        ck_assert_uint_eq(n_want, rows * WIDTH * sizeof *back);
        ck_assert(memcmp(back, decoded, n_want) == 0);
        qn_free(back);
    }
    qn_free(decoded);
    qn_free(want);
    qn_free(w);
    qn_free(x);
}
END_TEST

/* ---- rows of zeros ------------------------------------------------------------------ */

START_TEST(a_row_of_zeros_has_ggmls_bytes)
{
    static const struct {
        qn_dtype dtype;
        const char *hex;
    } zeros[] = {
        {QN_Q4_0, "008088888888888888888888888888888888"},
        {QN_Q5_0, "0080ffffffff00000000000000000000000000000000"},
        {QN_Q4_1, "0000000000000000000000000000000000000000"},
        {QN_Q5_1, "000000000000000000000000000000000000000000000000"},
        {QN_Q8_0, "00000000000000000000000000000000000000000000000000000000000000000000"},
        {QN_IQ4_NL, "000088888888888888888888888888888888"},
        {QN_IQ4_XS, "0080aaaa000000008888888888888888"}, /* and so on */
        {QN_Q1_0, "0000ffffffffffffffffffffffffffffffff"},
        {QN_Q2_0, "000055555555555555555555555555555555"},
        {QN_TQ2_0, "55555555555555555555555555555555"},
    };
    const qn_kernels *k = qn_kernels_best();
    const float x[256] = {0};
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++) {
        uint8_t block[256];
        char hex[129] = "";
        k->encode[zeros[i].dtype](x, NULL, block, qn_dtype_facts(zeros[i].dtype)->block_len);
        for (size_t j = 0; j < strlen(zeros[i].hex) / 2; j++)
            snprintf(hex + 2 * j, 3, "%02x", block[j]);
        ck_assert_str_eq(hex, zeros[i].hex);
    }
    for (int t = QN_Q2_K; t <= QN_Q6_K; t++) {
        uint8_t block[256], none[256] = {0};
        k->encode[t](x, NULL, block, 256);
        ck_assert(memcmp(block, none, qn_dtype_facts((qn_dtype)t)->block_bytes) == 0);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("codecs");
    TCase *c = tcase_create("ggml");
    tcase_add_loop_test(c, blocks_have_the_checksums_of_ggmls, 0,
                        LEVELS * (int)(sizeof golden / sizeof golden[0]));
    tcase_add_loop_test(c, blocks_of_awkward_rows_have_the_checksums_of_ggmls, 0,
                        LEVELS * (int)(sizeof awkward / sizeof awkward[0]));
    tcase_add_test(c, the_exponent_of_mxfp4_is_that_of_a_rounded_logarithm);
    tcase_add_loop_test(c, blocks_of_real_rows_are_ggmls, 0,
                        LEVELS * (int)(sizeof real / sizeof real[0]));
    tcase_add_test(c, a_row_of_zeros_has_ggmls_bytes);
    suite_add_tcase(s, c);
    return qn_test_run_suite(s);
}
