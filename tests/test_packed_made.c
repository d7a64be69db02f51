/* Packed weights of every width and awkward size, made up here: each value against
 * its formula. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/packed/packed.h"
#include "formats/packed/packing.h"
#include "formats/packed/unpack.h"
#include "kernels/half.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

/* ---- a safetensors file in memory --------------------------------------------------- */

typedef struct {
    qn_text header, data;
} made_file;

static void add(made_file *f, const char *name, const char *dtype, const char *shape,
                const void *bytes, size_t n)
{
    qn_text_addf(&f->header,
                 "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                 f->header.n ? "," : "{", name, dtype, shape, f->data.n, f->data.n + n);
    qn_text_add(&f->data, bytes, n);
}

static qn_text finish(made_file *f)
{
    qn_text file = {0};
    qn_text_adds(&f->header, "}");
    const uint64_t n = f->header.n;
    qn_text_add(&file, (const char *)&n, sizeof n);
    qn_text_add(&file, f->header.s, f->header.n);
    qn_text_add(&file, f->data.s, f->data.n);
    ck_assert(!file.failed && !f->header.failed && !f->data.failed);
    qn_text_free(&f->header);
    qn_text_free(&f->data);
    return file;
}

static const char *shape_of(uint64_t a, uint64_t b)
{
    static char text[4][48];
    static unsigned turn;
    char *s = text[turn++ % 4];
    snprintf(s, sizeof *text, "%llu,%llu", (unsigned long long)a, (unsigned long long)b);
    return s;
}

/* What "w.weight" decodes to, against want[rows][columns]: all at once, each row
 * alone, and in the order in which llama's q and k are taken. */
static void check_values(made_file *f, const char *config, const float *want, uint64_t rows,
                         uint64_t columns, const char *words)
{
    static float got[64 * 1200];
    qn_error err = {0};
    qn_reader *r = NULL;
    json_t *root = NULL;
    const qn_text file = finish(f);
    const qn_kernels *k = qn_kernels_best();
    ck_assert_msg(!qn_json_parse(config, strlen(config), "config.json", false, &root, &err), "%s",
                  err.message);
    ck_assert_msg(!qn_reader_open_memory(&r, file.s, file.n, "w.safetensors", &err), "%s",
                  err.message);
    ck_assert_msg(!qn_unpack_reader(r, root, "config.json", &err), "%s", err.message);
    ck_assert_uint_eq(r->n_tensors, 1);
    const qn_tensor *t = qn_reader_find(r, "w.weight");
    ck_assert(t && t->packed);
    ck_assert_str_eq(t->packed->words, words);
    qn_arena *a = qn_arena_new();
    const qn_rows *s = qn_rows_view(a, r, t);
    ck_assert_uint_eq(s->rows, rows);
    ck_assert_uint_eq(s->columns, columns);
    ck_assert_uint_le(rows * columns, sizeof got / sizeof *got);
    ck_assert(!s->decode(s, k, 0, rows, got, NULL));
    for (uint64_t i = 0; i < rows * columns; i++)
        ck_assert_msg(qn_float_bits(got[i]) == qn_float_bits(want[i]),
                      "row %d, column %d: %a, not %a", (int)(i / columns), (int)(i % columns),
                      (double)got[i], (double)want[i]);
    for (uint64_t i = 0; i < rows; i++) {
        ck_assert(!s->decode(s, k, i, i + 1, got, NULL));
        ck_assert(!memcmp(got, want + i * columns, columns * sizeof *got));
    }
    if (rows % 4 == 0) {
        const qn_rows *permuted = qn_rows_permute(a, s, 2);
        ck_assert(!permuted->decode(permuted, k, 0, rows, got, NULL));
        for (uint64_t i = 0; i < rows; i++) {
            const uint64_t group = rows / 2, j = i % group;
            const uint64_t from = i - j + j / 2 + j % 2 * (group / 2);
            ck_assert(!memcmp(got + i * columns, want + from * columns, columns * sizeof *got));
        }
    }
    qn_arena_free(a);
    qn_reader_close(r);
    json_decref(root);
    qn_text free_me = file;
    qn_text_free(&free_me);
}

/* ---- random parts --------------------------------------------------------------------- */

enum { MOST = 64 * 1200 };
static uint8_t codes[MOST], zeros[MOST];
static qn_half scales[MOST];
static float want[MOST];
static uint32_t words[MOST], zero_words[MOST];
static qn_random random_state;

static void draw_codes(uint8_t *to, size_t n, unsigned bits)
{
    for (size_t i = 0; i < n; i++) to[i] = (uint8_t)(qn_random_bits(&random_state) >> (64 - bits));
}

static void draw_scales(size_t n)
{
    for (size_t i = 0; i < n; i++) scales[i] = qn_half_of(qn_random_normal(&random_state));
}

static void start(int seed)
{
    random_state = (qn_random){(uint64_t)seed};
    memset(words, 0, sizeof words);
    memset(zero_words, 0, sizeof zero_words);
}

/* ---- GPTQ ---------------------------------------------------------------------------------- */

static const struct {
    unsigned bits;
    uint64_t rows, columns, group; /* group 0: -1 */
    bool v1, reordered;
} gptq[] = {
    {2, 16, 96, 32, true, true},    {3, 32, 96, 32, true, false}, {3, 64, 1152, 128, false, true},
    {4, 24, 1088, 64, true, false}, {4, 8, 1032, 8, false, true}, {8, 12, 1100, 0, true, false},
    {8, 4, 1028, 4, false, true}, /* 257 groups: more than a tile looks up */
};

START_TEST(gptq_of_every_width)
{
    const unsigned bits = gptq[_i].bits;
    const uint64_t rows = gptq[_i].rows, columns = gptq[_i].columns;
    const uint64_t group = gptq[_i].group ? gptq[_i].group : columns;
    const uint64_t groups = (columns + group - 1) / group;
    int32_t order[1200];
    char config[256], name[64];
    made_file f = {0};
    start(_i);
    draw_codes(codes, rows * columns, bits);
    draw_codes(zeros, rows * groups, bits);
    draw_scales(rows * groups);
    for (uint64_t c = 0; c < columns; c++) order[c] = (int32_t)(c / group);
    for (uint64_t c = columns; gptq[_i].reordered && c > 1; c--) {
        const uint64_t other = qn_random_bits(&random_state) % c;
        const int32_t swap = order[c - 1];
        order[c - 1] = order[other];
        order[other] = swap;
    }
    for (uint64_t r = 0; r < rows; r++) {
        qn_pack(codes + r * columns, columns, bits, words + r, rows);
        for (uint64_t c = 0; c < columns; c++) {
            const uint64_t g = (uint64_t)order[c];
            const int zero = zeros[g * rows + r] + gptq[_i].v1;
            want[r * columns + c] =
                qn_half_value(scales[g * rows + r]) * (float)((int)codes[r * columns + c] - zero);
        }
    }
    const uint64_t zero_row = qn_packed_words(rows, bits);
    for (uint64_t g = 0; g < groups; g++)
        qn_pack(zeros + g * rows, rows, bits, zero_words + g * zero_row, 1);
    const uint64_t n_words = qn_packed_words(columns, bits);
    add(&f, "w.qweight", "I32", shape_of(n_words, rows), words, 4 * n_words * rows);
    add(&f, "w.qzeros", "I32", shape_of(groups, zero_row), zero_words, 4 * groups * zero_row);
    add(&f, "w.scales", "F16", shape_of(groups, rows), scales, 2 * groups * rows);
    snprintf(name, sizeof name, "%llu", (unsigned long long)columns);
    add(&f, "w.g_idx", "I32", name, order, 4 * columns);
    snprintf(config, sizeof config,
             "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":%u,\"group_size\":%lld,"
             "\"checkpoint_format\":\"%s\"}}",
             bits, gptq[_i].group ? (long long)group : -1, gptq[_i].v1 ? "gptq" : "gptq_v2");
    if (gptq[_i].group)
        snprintf(name, sizeof name, "int%u, groups of %llu%s", bits, (unsigned long long)group,
                 gptq[_i].reordered ? ", columns reordered" : "");
    else
        snprintf(name, sizeof name, "int%u, by row", bits);
    check_values(&f, config, want, rows, columns, name);
}
END_TEST

/* ---- AWQ ----------------------------------------------------------------------------------- */

START_TEST(awq)
{
    enum { ROWS = 32, COLUMNS = 1100, GROUP = 100, GROUPS = 11 };
    made_file f = {0};
    uint8_t column[ROWS];
    start(1);
    draw_codes(codes, ROWS * COLUMNS, 4);
    draw_codes(zeros, ROWS * GROUPS, 4);
    draw_scales(ROWS * GROUPS);
    for (size_t c = 0; c < COLUMNS; c++) {
        for (size_t r = 0; r < ROWS; r++) {
            const size_t g = c / GROUP;
            column[r] = codes[r * COLUMNS + c];
            want[r * COLUMNS + c] = qn_half_value(scales[g * ROWS + r]) *
                                    (float)((int)column[r] - (int)zeros[g * ROWS + r]);
        }
        qn_pack_awq(column, ROWS, words + c * (ROWS / 8));
    }
    qn_pack_awq(zeros, ROWS * GROUPS, zero_words);
    add(&f, "w.qweight", "I32", shape_of(COLUMNS, ROWS / 8), words, COLUMNS * ROWS / 2);
    add(&f, "w.qzeros", "I32", shape_of(GROUPS, ROWS / 8), zero_words, GROUPS * ROWS / 2);
    add(&f, "w.scales", "F16", shape_of(GROUPS, ROWS), scales, 2 * GROUPS * ROWS);
    check_values(
        &f, "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":100}}",
        want, ROWS, COLUMNS, "int4, groups of 100");
}
END_TEST

/* ---- MLX ------------------------------------------------------------------------------------ */

static const unsigned mlx_bits[] = {2, 3, 4, 5, 6, 8};

START_TEST(mlx_of_every_width)
{
    enum { ROWS = 12, COLUMNS = 1088, GROUP = 32, GROUPS = COLUMNS / GROUP };
    const unsigned bits = mlx_bits[_i];
    const uint64_t row_words = COLUMNS / 32 * bits;
    made_file f = {0};
    char config[256], name[64];
    static float biases[ROWS * GROUPS];
    start(_i);
    draw_codes(codes, ROWS * COLUMNS, bits);
    draw_scales(ROWS * GROUPS);
    for (size_t i = 0; i < ROWS * GROUPS; i++) biases[i] = qn_random_normal(&random_state);
    for (size_t r = 0; r < ROWS; r++) {
        qn_pack(codes + r * COLUMNS, COLUMNS, bits, words + r * row_words, 1);
        for (size_t c = 0; c < COLUMNS; c++) {
            const size_t g = r * GROUPS + c / GROUP;
            const float product = qn_half_value(scales[g]) * (float)codes[r * COLUMNS + c];
            want[r * COLUMNS + c] = product + biases[g];
        }
    }
    add(&f, "w.weight", "U32", shape_of(ROWS, row_words), words, 4 * ROWS * row_words);
    add(&f, "w.scales", "F16", shape_of(ROWS, GROUPS), scales, 2 * ROWS * GROUPS);
    add(&f, "w.biases", "F32", shape_of(ROWS, GROUPS), biases, sizeof biases);
    snprintf(config, sizeof config,
             "{\"quantization\":{\"bits\":4,\"group_size\":64,\"w\":{\"bits\":%u,"
             "\"group_size\":32}}}",
             bits);
    snprintf(name, sizeof name, "int%u, groups of 32, biases", bits);
    check_values(&f, config, want, ROWS, COLUMNS, name);
}
END_TEST

/* ---- compressed-tensors ---------------------------------------------------------------------- */

/* Rows that are no multiple of anything, so words and groups end in padding. */
static void check_compressed(unsigned bits, bool symmetric, bool packed_zeros)
{
    enum { ROWS = 13, COLUMNS = 1071, GROUP = 64, GROUPS = 17 };
    const uint64_t row_words = qn_packed_words(COLUMNS, bits);
    const int64_t shape[2] = {ROWS, COLUMNS};
    const int offset = 1 << (bits - 1);
    made_file f = {0};
    char config[512], name[64];
    static int8_t plain[ROWS * GROUPS];
    start((int)bits);
    draw_codes(codes, ROWS * COLUMNS, bits);
    draw_codes(zeros, ROWS * GROUPS, bits); /* [groups][rows] */
    draw_scales(ROWS * GROUPS);
    for (size_t r = 0; r < ROWS; r++) {
        qn_pack(codes + r * COLUMNS, COLUMNS, bits, words + r * row_words, 1);
        for (size_t g = 0; g < GROUPS; g++)
            plain[r * GROUPS + g] = (int8_t)(zeros[g * ROWS + r] - offset);
        for (size_t c = 0; c < COLUMNS; c++) {
            const size_t g = c / GROUP;
            const int zero = symmetric ? 0 : zeros[g * ROWS + r] - offset;
            want[r * COLUMNS + c] = qn_half_value(scales[r * GROUPS + g]) *
                                    (float)(codes[r * COLUMNS + c] - offset - zero);
        }
    }
    const uint64_t zero_rows = qn_packed_words(ROWS, bits);
    for (size_t g = 0; g < GROUPS; g++)
        qn_pack(zeros + g * ROWS, ROWS, bits, zero_words + g, GROUPS);
    add(&f, "w.weight_shape", "I64", "2", shape, sizeof shape);
    add(&f, "w.weight_packed", "I32", shape_of(ROWS, row_words), words, 4 * ROWS * row_words);
    add(&f, "w.weight_scale", "F16", shape_of(ROWS, GROUPS), scales, 2 * ROWS * GROUPS);
    if (!symmetric && packed_zeros)
        add(&f, "w.weight_zero_point", "I32", shape_of(zero_rows, GROUPS), zero_words,
            4 * zero_rows * GROUPS);
    else if (!symmetric)
        add(&f, "w.weight_zero_point", "I8", shape_of(ROWS, GROUPS), plain, sizeof plain);
    snprintf(
        config, sizeof config,
        "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":"
        "\"pack-quantized\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":8,\"type\":"
        "\"float\",\"strategy\":\"channel\"}},\"b\":{\"weights\":{\"num_bits\":%u,\"type\":\"int\","
        "\"strategy\":\"group\",\"group_size\":64,\"symmetric\":%s}}}}}",
        bits, symmetric ? "true" : "false");
    snprintf(name, sizeof name, "int%u, groups of 64%s", bits, symmetric ? "" : ", asymmetric");
    check_values(&f, config, want, ROWS, COLUMNS, name);
}

START_TEST(compressed_tensors_of_every_width)
{
    check_compressed((unsigned)_i, true, false);
    check_compressed((unsigned)_i, false, true);
    check_compressed((unsigned)_i, false, false);
}
END_TEST

/* ---- 8-bit floats ------------------------------------------------------------------------------ */

/* Blocks that end in the middle, scales that are powers of two (E8M0). */
START_TEST(fp8_in_partial_blocks)
{
    enum { ROWS = 20, COLUMNS = 1050, HIGH = 16, WIDE = 100, ACROSS = 11 };
    made_file f = {0};
    uint8_t exponents[2 * ACROSS];
    start(1);
    draw_codes(codes, ROWS * COLUMNS, 7);
    draw_codes(exponents, sizeof exponents, 6);
    for (size_t i = 0; i < sizeof exponents; i++) exponents[i] += 90;
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        const size_t r = i / COLUMNS, c = i % COLUMNS;
        if (codes[i] >= 0x7c) codes[i] = 0; /* no infinity, no NaN */
        want[i] = qn_half_value((qn_half)(codes[i] << 8)) *
                  qn_float_of_bits((uint32_t)exponents[r / HIGH * ACROSS + c / WIDE] << 23);
    }
    add(&f, "w.weight", "F8_E5M2", shape_of(ROWS, COLUMNS), codes, ROWS * COLUMNS);
    add(&f, "w.weight_scale_inv", "F8_E8M0", shape_of(2, ACROSS), exponents, sizeof exponents);
    check_values(&f,
                 "{\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\","
                 "\"weight_block_size\":[16,100]}}",
                 want, ROWS, COLUMNS, "F8_E5M2, blocks of 16 x 100");
}
END_TEST

/* ---- MXFP4 ---------------------------------------------------------------------------------------- */

/* Each code under each exponent, and what becomes of it as a GGUF block. */
START_TEST(mxfp4_survives_as_gguf_blocks)
{
    enum { ROWS = 8, COLUMNS = 1024, GROUPS = COLUMNS / 32, BLOCK = 17 };
    static const float number[16] = {0,     0.5F,  1,     1.5F,  2,     3,     4,     6,
                                     -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};
    static uint8_t blocks[ROWS * GROUPS * BLOCK];
    static float back[ROWS * COLUMNS];
    uint8_t exponents[ROWS * GROUPS];
    made_file f = {0};
    const qn_kernels *k = qn_kernels_best();
    start(1);
    for (int i = 0; i < ROWS * GROUPS; i++) {
        exponents[i] = (uint8_t)(i < 248 ? i + 4 : 127); /* 0 to 3 is where GGUF's blocks end */
        draw_codes(codes + 32L * i, 32, 4);
        for (int j = 0; j < 32; j++) {
            if (i % 4 == 1) codes[32 * i + j] &= 9; /* only small numbers */
            want[32 * i + j] =
                number[codes[32 * i + j]] * qn_float_of_bits((uint32_t)exponents[i] << 23);
        }
    }
    qn_pack(codes, (size_t)ROWS * COLUMNS, 4, words, 1);
    add(&f, "w_blocks", "U8", "2,4,32,16", words, ROWS * COLUMNS / 2);
    add(&f, "w_scales", "U8", "2,4,32", exponents, sizeof exponents);
    k->encode[QN_MXFP4](want, NULL, blocks, (size_t)ROWS * COLUMNS);
    k->decode[QN_MXFP4](blocks, back, (size_t)ROWS * COLUMNS);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        ck_assert_msg(back[i] == want[i], "%d: %a, not %a", i, (double)back[i], (double)want[i]);
    check_values(&f, "{\"quantization_config\":{\"quant_method\":\"mxfp4\"}}", want, ROWS, COLUMNS,
                 "MXFP4, groups of 32");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("packed, made up");
    TCase *t = qn_test_group(s, "packed, made up");
    tcase_add_loop_test(t, gptq_of_every_width, 0, sizeof gptq / sizeof *gptq);
    tcase_add_test(t, awq);
    tcase_add_loop_test(t, mlx_of_every_width, 0, sizeof mlx_bits / sizeof *mlx_bits);
    tcase_add_loop_test(t, compressed_tensors_of_every_width, 1, 9);
    tcase_add_test(t, fp8_in_partial_blocks);
    tcase_add_test(t, mxfp4_survives_as_gguf_blocks);
    return qn_test_run_suite(s);
}
