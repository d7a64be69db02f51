/* A source of rows: the one shape in which tensors reach the quantizer, the
 * writers and the decoder.
 *
 * A view of a mapped tensor is one.  What the model's family or the
 * checkpoint's packing makes of tensors (permuted rows, stacked experts,
 * split or transposed matrices, codes with scales) are small sources standing
 * on others, one file each or a few lines in rows.c. */
#ifndef QN_FORMATS_ROWS_H
#define QN_FORMATS_ROWS_H

#include "formats/base/alloc.h"
#include "formats/base/error.h"
#include "formats/reader.h"
#include "kernels/kernels.h"

typedef struct qn_rows qn_rows;

/* All members are constant once made; every call may come from any thread. */
struct qn_rows {
    qn_dtype dtype; /* of the raw rows; QN_F32 for a computed source */
    uint64_t rows, columns;
    uint64_t source_bytes; /* what reading all of it touches: for progress */

    /* Rows r0..r1 (r1 exclusive) as float32, columns floats each.  Fails only
     * when a value cannot be had (QN_ERR_UNSUPPORTED: an encoding without a
     * decoder). */
    qn_status (*decode)(const qn_rows *s, const qn_kernels *k, uint64_t r0, uint64_t r1, float *out,
                        qn_error *err);

    /* The same of n rows in any order, where taking several together is cheaper
     * than one by one; NULL: it is not. */
    qn_status (*gather)(const qn_rows *s, const qn_kernels *k, const uint64_t *rows, size_t n,
                        float *out, qn_error *err);

    /* The stored bytes of row r, qn_dtype_row_bytes(dtype, columns) of them,
     * or NULL when they are not simply there.  NULL for every row or for
     * none.  Rows need not follow each other in memory. */
    const void *(*raw)(const qn_rows *s, uint64_t r);

    /* Row r in blocks of `blocks` that hold exactly the values decode gives: for
     * rows stored in another arrangement of the same codes; NULL: there are none. */
    void (*repack)(const qn_rows *s, uint64_t r, void *out);
    qn_dtype blocks;

    /* Rows r0..r1 will not be needed again soon: their pages may go. */
    void (*done)(const qn_rows *s, uint64_t r0, uint64_t r1);

    const qn_rows *below; /* what it stands on; NULL for a view */
    const void *state;    /* the source's own */
    uint64_t number;      /* the source's own: heads, first row ... */
};

/* Rows of a mapped tensor, of a packed one (formats/packed/), or of one that
 * adapters change (formats/lora/).  All sources below are allocated in the arena and
 * live as long as it and the reader; NULL means out of memory. */
const qn_rows *qn_rows_view(qn_arena *a, const qn_reader *reader, const qn_tensor *t);

/* Rows of `heads` equal groups, each seen as [2][group/2] and given as
 * [group/2][2]: output row 2j of a head is stored row j, 2j+1 is j + group/2.
 * What GGUF's llama architecture wants of q_proj and k_proj
 * (conversion/llama.py, permute).  qn_rows_unpermute is its inverse.  The
 * caller has checked that heads is not 0 and rows a multiple of 2 * heads. */
const qn_rows *qn_rows_permute(qn_arena *a, const qn_rows *below, uint64_t heads);
const qn_rows *qn_rows_unpermute(qn_arena *a, const qn_rows *below, uint64_t heads);

/* The rows of n >= 1 sources of equal shape, one behind the other: experts that
 * a checkpoint has one by one.  parts lives as long as the arena.  The raw rows
 * are there when all have them in one dtype. */
const qn_rows *qn_rows_stack(qn_arena *a, const qn_rows *const *parts, uint64_t n);

/* Of each of `groups` equal groups of rows `count` (>= 1), from `first` on,
 * `step` apart: the halves of a fused matrix, in every expert.  The caller has
 * checked that the groups have these rows. */
const qn_rows *qn_rows_select(qn_arena *a, const qn_rows *below, uint64_t groups, uint64_t first,
                              uint64_t step, uint64_t count);

/* What undoes two selections: of each of `groups` equal groups the rows of first, then
 * those of second, or (alternating) one of each in turn. */
const qn_rows *qn_rows_join(qn_arena *a, const qn_rows *first, const qn_rows *second,
                            uint64_t groups, bool alternating);

/* Columns of two sources in turn. */
const qn_rows *qn_rows_alternate(qn_arena *a, const qn_rows *even, const qn_rows *odd);

/* Whether raw rows of plain numbers are there, which the next two need. */
bool qn_rows_are_plain(const qn_rows *s);

/* Of each of `groups` equal groups of rows `count` (>= 1) columns, from `first` on,
 * `step` apart, as rows: matrices that a checkpoint has transposed. */
const qn_rows *qn_rows_transpose(qn_arena *a, const qn_rows *below, uint64_t groups, uint64_t first,
                                 uint64_t step, uint64_t count);

/* These columns as they are. */
const qn_rows *qn_rows_columns(qn_arena *a, const qn_rows *below, uint64_t first, uint64_t step,
                               uint64_t count);

/* Of stored MXFP4 rows the codes, 16 bytes a block [rows * blocks, 16], and the scales
 * [rows, blocks], both U8 by repack: they have no values. */
const qn_rows *qn_rows_mxfp4_codes(qn_arena *a, const qn_rows *below);
const qn_rows *qn_rows_mxfp4_scales(qn_arena *a, const qn_rows *below);

/* rows x columns float32 values held in memory (rope_freqs). The values are copied. */
const qn_rows *qn_rows_values(qn_arena *a, const float *values, uint64_t rows, uint64_t columns);

/* The rows below, then rows of zeros up to `rows`. */
const qn_rows *qn_rows_pad(qn_arena *a, const qn_rows *below, uint64_t rows);

#endif
