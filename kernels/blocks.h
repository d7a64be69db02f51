/* The byte layouts of GGUF's block formats: the same on disk and in memory,
 * little endian, no padding.  Every struct is frozen by the assert below it
 * and by the vectors in tests/data/quant-vectors.
 *
 * d, m, dmin are float16 unless a comment says otherwise; w is the value of a
 * weight, q its code.  Layouts after ggml's ggml-common.h. */
#ifndef QN_KERNELS_BLOCKS_H
#define QN_KERNELS_BLOCKS_H

#include <assert.h>
#include <stdint.h>

/* Numbers at any byte of a file: structs of them need no alignment either. */
#define QN_ANYWHERE __attribute__((aligned(1)))
typedef uint16_t qn_half QN_ANYWHERE;     /* float16 by its bits */
typedef uint16_t qn_bfloat16 QN_ANYWHERE; /* the upper half of a float32 */
typedef uint16_t qn_u16_anywhere QN_ANYWHERE;
typedef int16_t qn_i16_anywhere QN_ANYWHERE;
typedef float qn_f32_anywhere QN_ANYWHERE;

/* Weights in a super-block of the k-quants and their kin. */
#define QN_SUPER 256

/* ---- 32 weights in a block --------------------------------------------------- */

/* q4_0, 4.5 bits: w = d * (q - 8)
 *   0    2                                              18
 *   | d  | 16 bytes: weight j low, weight j + 16 high    | */
typedef struct {
    qn_half d;
    uint8_t q[16];
} qn_block_q4_0;
static_assert(sizeof(qn_block_q4_0) == 18, "q4_0 is 18 bytes");

/* q4_1, 5 bits: w = d * q + m
 *   0    2    4                                         20
 *   | d  | m  | nibbles as in q4_0                       | */
typedef struct {
    qn_half d;
    qn_half m;
    uint8_t q[16];
} qn_block_q4_1;
static_assert(sizeof(qn_block_q4_1) == 20, "q4_1 is 20 bytes");

/* q5_0, 5.5 bits: w = d * (q - 16)
 *   0    2                       6                      22
 *   | d  | bit j: weight j's 5th | nibbles as in q4_0    | */
typedef struct {
    qn_half d;
    uint8_t high[4];
    uint8_t q[16];
} qn_block_q5_0;
static_assert(sizeof(qn_block_q5_0) == 22, "q5_0 is 22 bytes");

/* q5_1, 6 bits: w = d * q + m
 *   0    2    4                       8                 24
 *   | d  | m  | bit j: weight j's 5th | nibbles          | */
typedef struct {
    qn_half d;
    qn_half m;
    uint8_t high[4];
    uint8_t q[16];
} qn_block_q5_1;
static_assert(sizeof(qn_block_q5_1) == 24, "q5_1 is 24 bytes");

/* q8_0, 8.5 bits: w = d * q */
typedef struct {
    qn_half d;
    int8_t q[32];
} qn_block_q8_0;
static_assert(sizeof(qn_block_q8_0) == 34, "q8_0 is 34 bytes");

/* q8_1: activations at run time, never in files; sum = d * (sum of q) */
typedef struct {
    qn_half d;
    qn_half sum;
    int8_t q[32];
} qn_block_q8_1;
static_assert(sizeof(qn_block_q8_1) == 36, "q8_1 is 36 bytes");

/* iq4_nl, 4.5 bits: w = d * level[q], 16 fixed uneven levels; nibbles as in q4_0 */
typedef struct {
    qn_half d;
    uint8_t q[16];
} qn_block_iq4_nl;
static_assert(sizeof(qn_block_iq4_nl) == 18, "iq4_nl is 18 bytes");

/* mxfp4, 4.25 bits: w = 2^(e - 128) * doubled E2M1 value of q; nibbles as in q4_0
 * (OCP Microscaling Formats, v1.0) */
typedef struct {
    uint8_t e;
    uint8_t q[16];
} qn_block_mxfp4;
static_assert(sizeof(qn_block_mxfp4) == 17, "mxfp4 is 17 bytes");

/* nvfp4, 4.5 bits, 64 weights: a scale in unsigned E4M3 for each 16; nibbles in
 * pairs (i, i + 8) within a group of 16 */
typedef struct {
    uint8_t scale[4];
    uint8_t q[32];
} qn_block_nvfp4;
static_assert(sizeof(qn_block_nvfp4) == 36, "nvfp4 is 36 bytes");

/* q1_0, 1.125 bits, 128 weights: bit set +d, clear -d */
typedef struct {
    qn_half d;
    uint8_t q[16];
} qn_block_q1_0;
static_assert(sizeof(qn_block_q1_0) == 18, "q1_0 is 18 bytes");

/* q2_0, 2.25 bits, 64 weights: w = d * (q - 1), four codes a byte, lowest first */
typedef struct {
    qn_half d;
    uint8_t q[16];
} qn_block_q2_0;
static_assert(sizeof(qn_block_q2_0) == 18, "q2_0 is 18 bytes");

/* ---- 256 weights in a super-block --------------------------------------------- */

/* q2_K, 2.625 bits, 16 groups g of 16: w = d * scale_g * q - dmin * min_g
 *   0                                16           80  82     84
 *   | low nibble scale, high nibble  | 2-bit codes| d | dmin  |
 *   | min of group g                 |            |   |       |
 * Weight j: byte 32 * (j / 128) + j % 32, bits 2 * (j % 128 / 32) and up. */
typedef struct {
    uint8_t scales[16];
    uint8_t q[64];
    qn_half d;
    qn_half dmin;
} qn_block_q2_k;
static_assert(sizeof(qn_block_q2_k) == 84, "q2_k is 84 bytes");

/* q3_K, 3.4375 bits, 16 groups of 16: w = d * (scale_g - 32) * (q - 4)
 *   0                32             96                  108 110
 *   | third bits     | 2-bit codes  | 16 x 6-bit scales | d  |
 * Codes as in q2_K; weight j's third bit is bit j / 32 of byte j % 32. */
typedef struct {
    uint8_t high[32];
    uint8_t q[64];
    uint8_t scales[12];
    qn_half d;
} qn_block_q3_k;
static_assert(sizeof(qn_block_q3_k) == 110, "q3_k is 110 bytes");

/* q4_K, 4.5 bits, 8 groups of 32: w = d * scale_g * q - dmin * min_g
 *   0   2      4                   16                          144
 *   | d | dmin | 8 x (6 + 6 bits)  | 4 x 32 bytes: group 2i in  |
 *   |   |      | scale and min     | the low nibbles, 2i+1 high | */
typedef struct {
    qn_half d;
    qn_half dmin;
    uint8_t scales[12];
    uint8_t q[128];
} qn_block_q4_k;
static_assert(sizeof(qn_block_q4_k) == 144, "q4_k is 144 bytes");

/* q5_K, 5.5 bits: as q4_K with a fifth bit; group g's is bit g of high[j % 32]
 *   0   2      4          16            48                     176
 *   | d | dmin | scales   | fifth bits  | nibbles as in q4_K    | */
typedef struct {
    qn_half d;
    qn_half dmin;
    uint8_t scales[12];
    uint8_t high[32];
    uint8_t q[128];
} qn_block_q5_k;
static_assert(sizeof(qn_block_q5_k) == 176, "q5_k is 176 bytes");

/* q6_K, 6.5625 bits, 16 groups of 16: w = d * scale_g * (q - 32)
 *   0              128             192                208  210
 *   | low 4 bits   | upper 2 bits  | 16 int8 scales   | d   |
 * In each half of 128 weights, weight r: low bits in byte r % 64 (r < 64: low
 * nibble), upper bits in byte r % 32 at bit 2 * (r / 32). */
typedef struct {
    uint8_t low[128];
    uint8_t high[64];
    int8_t scales[16];
    qn_half d;
} qn_block_q6_k;
static_assert(sizeof(qn_block_q6_k) == 210, "q6_k is 210 bytes");

/* q8_K: activations at run time, never in files; d is a float32, sums are of 16 codes */
typedef struct {
    qn_f32_anywhere d;
    int8_t q[256];
    qn_i16_anywhere sums[16];
} qn_block_q8_k;
static_assert(sizeof(qn_block_q8_k) == 292, "q8_k is 292 bytes");

/* iq4_xs, 4.25 bits, 8 groups of 32 with 6-bit scales: w = d * (scale_g - 32) * level[q] */
typedef struct {
    qn_half d;
    qn_u16_anywhere scales_high;
    uint8_t scales_low[4];
    uint8_t q[128];
} qn_block_iq4_xs;
static_assert(sizeof(qn_block_iq4_xs) == 136, "iq4_xs is 136 bytes");

/* iq2_xxs, 2.0625 bits: per 32 weights 4 grid indices, 4 x 7 sign bits, a 4-bit scale */
typedef struct {
    qn_half d;
    qn_u16_anywhere q[32];
} qn_block_iq2_xxs;
static_assert(sizeof(qn_block_iq2_xxs) == 66, "iq2_xxs is 66 bytes");

/* iq2_xs, 2.3125 bits: per 8 weights a 9-bit grid index and 7 sign bits */
typedef struct {
    qn_half d;
    qn_u16_anywhere q[32];
    uint8_t scales[8];
} qn_block_iq2_xs;
static_assert(sizeof(qn_block_iq2_xs) == 74, "iq2_xs is 74 bytes");

/* iq2_s, 2.5625 bits: 10-bit grid indices, 8 sign bits */
typedef struct {
    qn_half d;
    uint8_t q[32];
    uint8_t signs[32];
    uint8_t high[8];
    uint8_t scales[8];
} qn_block_iq2_s;
static_assert(sizeof(qn_block_iq2_s) == 82, "iq2_s is 82 bytes");

/* iq3_xxs, 3.0625 bits: 8-bit grid indices of 4 weights; signs and scale as in iq2_xxs */
typedef struct {
    qn_half d;
    uint8_t q[64];
    uint8_t scales_signs[32];
} qn_block_iq3_xxs;
static_assert(sizeof(qn_block_iq3_xxs) == 98, "iq3_xxs is 98 bytes");

/* iq3_s, 3.4375 bits: 9-bit grid indices of 4 weights, 8 sign bits */
typedef struct {
    qn_half d;
    uint8_t q[64];
    uint8_t high[8];
    uint8_t signs[32];
    uint8_t scales[4];
} qn_block_iq3_s;
static_assert(sizeof(qn_block_iq3_s) == 110, "iq3_s is 110 bytes");

/* iq1_s, 1.5625 bits: 11-bit grid indices of 8 weights, a shift and a 3-bit scale per 32 */
typedef struct {
    qn_half d;
    uint8_t q[32];
    qn_u16_anywhere high[8];
} qn_block_iq1_s;
static_assert(sizeof(qn_block_iq1_s) == 50, "iq1_s is 50 bytes");

/* iq1_m, 1.75 bits: as iq1_s, a scale per 16; d is spread over the upper nibbles of scales */
typedef struct {
    uint8_t q[32];
    uint8_t high[16];
    uint8_t scales[8];
} qn_block_iq1_m;
static_assert(sizeof(qn_block_iq1_m) == 56, "iq1_m is 56 bytes");

/* tq1_0, 1.6875 bits: w = d * (digit - 1), five base-3 digits a byte (four in high) */
typedef struct {
    uint8_t q[48];
    uint8_t high[4];
    qn_half d;
} qn_block_tq1_0;
static_assert(sizeof(qn_block_tq1_0) == 54, "tq1_0 is 54 bytes");

/* tq2_0, 2.0625 bits: w = d * (q - 1), codes as in q2_K */
typedef struct {
    uint8_t q[64];
    qn_half d;
} qn_block_tq2_0;
static_assert(sizeof(qn_block_tq2_0) == 66, "tq2_0 is 66 bytes");

#endif
