/* Asks ggml what its quantizers make of the rows of tests/support/codec_rows.c.
 *
 *   ggml-codecs sums            the table `awkward` of tests/test_codecs.c
 *   ggml-codecs compare SEED N  N rows of each kind through ggml and through
 *                               every level of our kernels, and random blocks
 *                               through the decoders: prints what differs
 *
 * Not part of the build, since it needs ggml's headers and libggml-base.a from a
 * default build (which contracts no multiplications and additions):
 *
 *   cc -O2 -I. -I$GGML/include tests/oracle/ggml-codecs.c tests/support/random.c \
 *      tests/support/codec_rows.c build/release/libkernels.a $BUILD/libggml-base.a \
 *      -lstdc++ -lm -lpthread -fopenmp -lz
 */
#include <ggml.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "kernels/kernels.h"
#include "tests/support/codec_rows.h"

enum { COLUMNS = 1024, MAX_LEVELS = 3, SUM_SEED = 5 };

static qn_kernels levels[MAX_LEVELS];
static unsigned n_levels;

static bool is_codec(qn_dtype t)
{
    const qn_dtype_info *f = qn_dtype_facts(t);
    return f->ggml_id >= 0 && f->block_len > 1 && levels[0].encode[t];
}

static enum ggml_type ggml_type_of(qn_dtype t)
{
    return (enum ggml_type)qn_dtype_facts(t)->ggml_id;
}

static size_t row_bytes(qn_dtype t, size_t n)
{
    uint64_t bytes = 0;
    qn_dtype_row_bytes(t, n, &bytes);
    return (size_t)bytes;
}

/* ---- sums ------------------------------------------------------------------------- */

static unsigned long sum_of(qn_dtype t, bool weighted)
{
    static float x[COLUMNS], w[COLUMNS];
    static uint8_t blocks[COLUMNS * 4];
    qn_random r = {SUM_SEED};
    unsigned long sum = 0;
    for (int kind = 0; kind < QN_CODEC_KINDS; kind++) {
        qn_codec_row(&r, kind, x, COLUMNS);
        qn_codec_importance(&r, w, COLUMNS);
        ggml_quantize_chunk(ggml_type_of(t), x, blocks, 0, 1, COLUMNS, weighted ? w : NULL);
        sum = crc32(sum, blocks, (uInt)row_bytes(t, COLUMNS));
    }
    return sum;
}

static void print_sums(void)
{
    for (qn_dtype t = 0; t < QN_DTYPE_COUNT; t++) {
        if (!is_codec(t)) continue;
        const bool needs = ggml_quantize_requires_imatrix(ggml_type_of(t));
        printf("    {QN_%s, 0x%08lx, 0x%08lx},\n", qn_dtype_facts(t)->name,
               needs ? 0 : sum_of(t, false), sum_of(t, true));
    }
}

/* ---- compare ------------------------------------------------------------------------ */

static size_t compare_row(const qn_kernels *k, qn_dtype t, const float *x, const float *w)
{
    static uint8_t theirs[COLUMNS * 4], ours[COLUMNS * 4];
    const size_t block = qn_dtype_facts(t)->block_bytes, bytes = row_bytes(t, COLUMNS);
    size_t differ = 0;
    ggml_quantize_chunk(ggml_type_of(t), x, theirs, 0, 1, COLUMNS, w);
    memset(ours, 0xaa, bytes);
    k->encode[t](x, w, ours, COLUMNS);
    for (size_t i = 0; i < bytes; i += block) differ += memcmp(theirs + i, ours + i, block) != 0;
    return differ;
}

static size_t compare_noise(const qn_kernels *k, qn_dtype t, qn_random *r)
{
    static uint8_t blocks[COLUMNS * 4];
    static float theirs[COLUMNS], ours[COLUMNS];
    const size_t bytes = row_bytes(t, COLUMNS);
    size_t differ = 0;
    for (size_t i = 0; i < bytes; i++) blocks[i] = (uint8_t)qn_random_bits(r);
    ggml_get_type_traits(ggml_type_of(t))->to_float(blocks, theirs, COLUMNS);
    k->decode[t](blocks, ours, COLUMNS);
    for (size_t i = 0; i < COLUMNS; i++)
        differ += !(isnan(theirs[i]) && isnan(ours[i])) && theirs[i] != ours[i];
    return differ;
}

static void compare(qn_dtype t, unsigned level, uint64_t seed, int rows)
{
    static float x[COLUMNS], w[COLUMNS];
    const qn_kernels *k = &levels[level];
    const bool needs = ggml_quantize_requires_imatrix(ggml_type_of(t));
    qn_random r = {seed};
    size_t differ[2] = {0, 0}, decoded = 0;
    for (int i = 0; i < rows; i++)
        for (int kind = 0; kind < QN_CODEC_KINDS; kind++) {
            qn_codec_row(&r, kind, x, COLUMNS);
            qn_codec_importance(&r, w, COLUMNS);
            if (!needs) differ[0] += compare_row(k, t, x, NULL);
            differ[1] += compare_row(k, t, x, w);
            decoded += compare_noise(k, t, &r);
        }
    const size_t each = (size_t)rows * QN_CODEC_KINDS * (COLUMNS / qn_dtype_facts(t)->block_len);
    printf("%-8s %-7s %zu blocks: %zu differ without importance, %zu with; %zu values decoded "
           "otherwise\n",
           qn_dtype_facts(t)->name, k->isa, each, differ[0], differ[1], decoded);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    bool runs = true;
    while (n_levels < MAX_LEVELS && qn_kernels_level(n_levels, &levels[n_levels], &runs) && runs)
        n_levels++;
    if (!strcmp(what, "sums")) print_sums();
    for (qn_dtype t = 0; t < QN_DTYPE_COUNT; t++) {
        if (!is_codec(t)) continue;
        for (unsigned i = 0; !strcmp(what, "compare") && argc > 3 && i < n_levels; i++)
            compare(t, i, strtoull(argv[2], NULL, 10), atoi(argv[3]));
    }
    return EXIT_SUCCESS;
}
