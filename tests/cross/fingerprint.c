/* Prints a hash of what every kernel of the best table makes of the same
 * numbers: two machines agree when they print the same lines.  `make cross`
 * runs it here, on older processors and on aarch64 under qemu.  Needs nothing
 * but kernels/, so it links statically anywhere. */
#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "tests/support/random.h"

enum { N = 1024, ROWS = 16, MOST_BYTES = 8 * N };

static float x[ROWS * N], y[ROWS * N], panel[N * QN_PANEL];
static unsigned char blocks[MOST_BYTES];

/* FNV-1a, 64 bits. */
static uint64_t hash(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3;
    return h;
}

static const uint64_t START = 0xcbf29ce484222325;

static void print(const char *what, const char *type, uint64_t h)
{
    printf("%-9s %-5s %016llx\n", what, type, (unsigned long long)h);
}

/* Rows of every kind that breaks kernels, encoded and decoded again. */
static void print_type(const qn_kernels *k, qn_dtype t)
{
    uint64_t encoded = START, decoded = START, row_bytes;
    if (!k->encode[t] || !k->decode[t] || !qn_dtype_row_bytes(t, N, &row_bytes)) return;
    qn_random random = {1};
    for (int row = 0; row < 4 * QN_ROW_KINDS; row++) {
        qn_random_row(&random, row % QN_ROW_KINDS, x, N);
        k->encode[t](x, NULL, blocks, N);
        k->decode[t](blocks, y, N);
        encoded = hash(encoded, blocks, (size_t)row_bytes);
        decoded = hash(decoded, y, N * sizeof *y);
    }
    print("encode", qn_dtype_facts(t)->name, encoded);
    print("decode", qn_dtype_facts(t)->name, decoded);
}

static void print_gemm(const qn_kernels *k)
{
    uint64_t h = START;
    qn_random random = {2};
    for (int row = 0; row < ROWS; row++) qn_random_row(&random, 0, x + row * N, N);
    for (size_t i = 0; i < N * QN_PANEL; i++) panel[i] = qn_random_normal(&random);
    for (size_t m = 1; m <= QN_TILE_MAX; m++) {
        memset(y, 0, sizeof y);
        k->gemm_tile(x, N, m, panel, N / 2, y, QN_PANEL, false);
        k->gemm_tile(x + N / 2, N, m, panel, N / 2, y, QN_PANEL, true);
        h = hash(h, y, m * QN_PANEL * sizeof *y);
    }
    print("gemm_tile", "F32", h);
}

static void print_math(const qn_kernels *k)
{
    qn_random random = {3};
    qn_random_row(&random, 0, x, N);
    qn_random_row(&random, 0, y, N);
    float one = k->dot(x, y, N - 3);
    print("dot", "F32", hash(START, &one, sizeof one));
    k->axpy(0.75F, x, y, N - 3);
    print("axpy", "F32", hash(START, y, N * sizeof *y));
    k->silu_mul(x, y, N - 3);
    print("silu_mul", "F32", hash(START, x, N * sizeof *x));
    k->gelu_mul(x, y, N - 3);
    print("gelu_mul", "F32", hash(START, x, N * sizeof *x));
    k->soft_cap(x, 2.0F, N - 3);
    print("soft_cap", "F32", hash(START, x, N * sizeof *x));
    one = k->max(x, N - 3);
    print("max", "F32", hash(START, &one, sizeof one));
    one = k->exp_sum(x, one, N - 3);
    print("exp_sum", "F32", hash(hash(START, &one, sizeof one), x, N * sizeof *x));
}

static void print_low_rank(const qn_kernels *k)
{
    static double a[ROWS * ROWS], d[ROWS * N];
    qn_random random = {4};
    for (int row = 0; row < ROWS; row++) qn_random_row(&random, 0, x + row * N, N);
    for (size_t i = 0; i < ROWS * ROWS; i++) a[i] = (double)qn_random_normal(&random);
    for (size_t m = 1; m <= ROWS; m++) k->add_low_rank(0.3, a, ROWS, m, x, N, m, d, N, N);
    print("low_rank", "F64", hash(START, d, sizeof d));
    k->add_doubles(d, x, N - 3);
    print("doubles", "F32", hash(START, x, N * sizeof *x));
}

int main(void)
{
    const qn_kernels *k = qn_kernels_best();
    for (int t = 0; t < QN_DTYPE_COUNT; t++) print_type(k, (qn_dtype)t);
    print_gemm(k);
    print_math(k);
    print_low_rank(k);
    fprintf(stderr, "%s\n", k->isa);
    return 0;
}
