/* A packed weight as one tensor of real numbers: its codes, and how the tensors
 * around them (scales, zero points, the order of columns) make values of them.
 *
 * Every ecosystem's matrices are
 *
 *     w[r][c] = scale(r, c) * (number(code(r, c)) - zero(r, c)) + bias(r, c)
 *
 * in float32, where number() is the integer or the 8- or 4-bit float that a code
 * stands for, and zero and bias are mostly not there.  The difference is exact,
 * the product is rounded, and where there is a bias (MLX) the sum is.
 * scale, zero and bias are those of row r / row_block and of the column's group,
 * which is c / column_block, or g_idx[c] where columns were reordered. */
#ifndef QN_FORMATS_PACKED_PACKED_H
#define QN_FORMATS_PACKED_PACKED_H

#include "formats/rows.h"

/* Where the code of row r and column c is. */
typedef enum {
    QN_CODES_IN_ROWS,    /* a stream of words along each row */
    QN_CODES_IN_COLUMNS, /* GPTQ: a stream down each column of [columns * bits / 32][rows] */
    QN_CODES_AWQ,        /* AWQ's order in [columns][rows / 8] */
    QN_CODES_IN_BYTES    /* [rows][columns] */
} qn_code_layout;

/* Where the zero point of row r and group g is. */
typedef enum {
    QN_ZERO_CONSTANT,   /* the same everywhere */
    QN_ZERO_IN_ROWS,    /* GPTQ: a stream along [groups][rows] */
    QN_ZERO_AWQ,        /* AWQ's order in [groups][rows / 8] */
    QN_ZERO_IN_COLUMNS, /* compressed-tensors: a stream down [rows * bits / 32][groups] */
    QN_ZERO_SIGNED      /* int8 [rows][groups] */
} qn_zero_layout;

typedef struct qn_packed qn_packed;
struct qn_packed {
    char words[64];                /* "int4, groups of 64, asymmetric": for people */
    uint64_t bytes;                /* of the codes and of all that belongs to them */
    const qn_reader *reader;       /* whose files they lie in */
    qn_tensor codes, scales;       /* as stored */
    qn_tensor zeros, biases;       /* data NULL: none */
    qn_tensor g_idx;               /* data NULL: none; every element is below n_groups */
    uint64_t rows, columns;        /* of the weight, leading dimensions flattened into rows */
    uint64_t row_bytes;            /* of a row of codes, or of words that hold a row of columns' */
    uint64_t row_block;            /* rows that share scales */
    uint64_t column_block;         /* columns that share scales, where g_idx is not there */
    uint64_t n_groups;             /* scales, zeros and biases of a row */
    uint64_t row_step, group_step; /* from scale to scale, in elements; biases lie alike */
    qn_code_layout code_layout;
    qn_dtype number; /* of a code: QN_U8 (bits of it), QN_I8, QN_F8_E4M3, QN_F8_E5M2, QN_F4 */
    qn_zero_layout zero_layout;
    unsigned bits;
    unsigned zero; /* alone, or added to what is stored */
};

/* The weight's rows.  In the arena; NULL: no memory. */
const qn_rows *qn_packed_rows(qn_arena *a, const qn_packed *p);

#endif
