/* The one table through which every hot loop is called.
 *
 * Kernels never allocate, fail, print, start threads or read the environment.
 * The caller has checked the sizes: n is a whole number of blocks of the
 * dtype; buffers do not overlap and need no alignment.
 *
 * Every entry gives the same bits on every ISA: the scalar version is the
 * definition.  Multiplications and additions are separate roundings (the
 * build forbids contraction) except where an entry says "fused". */
#ifndef QN_KERNELS_KERNELS_H
#define QN_KERNELS_KERNELS_H

#include "kernels/dtype.h"

/* Stored blocks of one row (n elements) to float32. */
typedef void (*qn_decode_fn)(const void *blocks, float *out, size_t n);

/* n float32 values of one row to blocks.  weights: the importance of each
 * column (n values >= 0), or NULL.  Types that ignore importance ignore it;
 * IQ2_XXS, IQ2_XS and IQ1_S, which ggml refuses without, take 1 everywhere.
 * Bits equal to ggml's reference quantizers compiled without contraction.
 * x holds no NaN or infinity where the type cannot hold them (quant/scan.h). */
typedef void (*qn_encode_fn)(const float *x, const float *weights, void *blocks, size_t n);

/* The GEMM's panel: QN_PANEL rows of weights interleaved, panel[k][row]. */
#define QN_PANEL 32
/* The tallest tile of activations that one call of gemm_tile handles. */
#define QN_TILE_MAX 14
/* add_low_rank takes columns by as many. */
#define QN_LOW_RANK_COLUMNS 16
/* Sums that fma_peak keeps going: enough to hide four cycles on two units. */
#define QN_PEAK_SUMS 12

/* rows (1..QN_PANEL) rows of k floats, the first at x, stride floats apart, to
 * panel[k][QN_PANEL]; columns of missing rows are zero. */
typedef void (*qn_pack_fn)(const float *x, size_t stride, size_t rows, size_t k, float *panel);

/* The micro-kernel: for i < m (1..QN_TILE_MAX), j < QN_PANEL
 *     c[i*ldc + j] = fma-chain over p = 0..k-1 ascending of
 *                    fused(a[i*lda + p] * panel[p*QN_PANEL + j] + c)
 * starting from c's own value when accumulate, else from 0.  One lane per
 * output element, fmaf in the scalar version: the same bits whatever the
 * blocking, tile height, thread count or ISA.  c has room for QN_PANEL floats
 * in each row. */
typedef void (*qn_tile_fn)(const float *a, size_t lda, size_t m, const float *panel, size_t k,
                           float *c, size_t ldc, bool accumulate);

/* The stored blocks of QN_PANEL rows, n elements each, as decode and pack bring
 * them to a panel; and the same times one token's x, n floats: the chains of
 * gemm_tile go on from what sums[QN_PANEL] holds.  ahead: where the bytes lie that
 * are read next, so that they can be fetched in the meantime; any address will do. */
typedef void (*qn_unpack_fn)(const void *const *rows, const void *ahead, size_t n, float *panel);
typedef void (*qn_token_fn)(const void *const *rows, const void *ahead, const float *x, size_t n,
                            float *sums);

typedef struct {
    const char *isa;                     /* "scalar", "avx2", "avx512": for reports */
    qn_decode_fn decode[QN_DTYPE_COUNT]; /* NULL: cannot be read as values */
    qn_encode_fn encode[QN_DTYPE_COUNT]; /* NULL: cannot be written */
    qn_pack_fn pack;
    qn_tile_fn gemm_tile;
    size_t tile_unit;                    /* gemm_tile wastes least on multiples of so many rows */
    qn_unpack_fn unpack[QN_DTYPE_COUNT]; /* NULL, but of QN_F32: decode first */
    qn_token_fn token[QN_DTYPE_COUNT];   /* the same */
    /* Sixteen lanes, each ascending and fused, folded 8-4-2-1; a tail shorter
     * than 16 goes to lanes 0.. as if padded with zeros. */
    float (*dot)(const float *x, const float *w, size_t n);
    /* out[i] = x[i] / sqrt(mean of x^2 + eps) * weight[i] (Zhang and Sennrich, 2019), weight
     * NULL: 1 everywhere; out may be x.  The squares are summed in double, in eight
     * lanes folded 4-2-1, a tail to lanes 0.., and the factor is rounded once. */
    void (*rms_norm)(const float *x, const float *weight, double eps, float *out, size_t n);
    /* y += a * x, fused, element by element. */
    void (*axpy)(float a, const float *x, float *y, size_t n);
    /* x[i] = e^(x[i] - shift), and their sum in sixteen float lanes folded
     * 8-4-2-1.  Own polynomial, error below 2 ulp, same bits everywhere;
     * arguments below -87.3 give 0, above 88 they count as 88. */
    float (*exp_sum)(float *x, float shift, size_t n);
    /* The largest element (n >= 1, no NaN; of two zeros either). */
    float (*max)(const float *x, size_t n);
    /* gate[i] = silu(gate[i]) * up[i], with the same exponential. */
    void (*silu_mul)(float *gate, const float *up, size_t n);
    /* gate[i] = gelu(gate[i]) * up[i], by its tanh form
     * x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(2 sqrt(2/pi) ...)
     * (Hendrycks and Gimpel, 2016), with the same exponential. */
    void (*gelu_mul)(float *gate, const float *up, size_t n);
    /* x[i] = cap tanh(x[i] / cap): a polynomial below 0.625, else by the same
     * exponential; error below 3 ulp. */
    void (*soft_cap)(float *x, float cap, size_t n);
    /* True when every value is finite. */
    bool (*finite)(const float *x, size_t n);
    /* sums[j] += x[i * stride + j]^2 in double, for i < rows ascending, j < n.  A
     * square of a float is exact there, so there is one rounding a step. */
    void (*add_squares)(const float *x, size_t stride, size_t rows, double *sums, size_t n);
    /* A product of low rank in double: for i < m, j < n
     *     d[i*ldd + j] += scale * sum over p = 0..k-1 ascending, from 0, of
     *                     a[i*lda + p] * b[p*ldb + j]
     * n is a multiple of QN_LOW_RANK_COLUMNS.  The values of a are floats', so that
     * a product is exact: one rounding a step, two with scale. */
    void (*add_low_rank)(double scale, const double *a, size_t lda, size_t m, const float *b,
                         size_t ldb, size_t k, double *d, size_t ldd, size_t n);
    /* x[i] = x[i] + d[i], summed in double and rounded once more. */
    void (*add_doubles)(const double *d, float *x, size_t n);
    /* For benchmarks, this level's multiply-add roof: QN_PEAK_SUMS independent
     * vectors of vector_floats each take `rounds` fused multiply-adds, so
     * 2 * rounds * QN_PEAK_SUMS * vector_floats operations.  The result only
     * keeps the compiler from leaving it out. */
    float (*fma_peak)(uint64_t rounds);
    size_t vector_floats;
} qn_kernels;

/* The best table this machine can run (or the cap); chosen once, then constant. */
const qn_kernels *qn_kernels_best(void);

/* Before the first qn_kernels_best(): go no higher than this ISA.  False if
 * it is unknown or does not run here, and then nothing changes. */
bool qn_kernels_cap(const char *isa);

/* For tests and benchmarks: levels run from 0 (scalar) up.  False past the
 * last level of this build; *runs says whether this machine can execute it.
 * Where it cannot, *out has the entries of the highest level that can, under
 * this level's name. */
bool qn_kernels_level(unsigned level, qn_kernels *out, bool *runs);

#endif
