/* Second moments: what the columns of a weight matrix are multiplied with, taken
 * in pairs, measured on a text.  They stand in the GGUF file of an importance
 * matrix (imatrix.h), whose sums of squares are their diagonal:
 *
 *     S[i][j] = sum over rows x of the text of x[i] * x[j]
 *
 * Matrices that are multiplied with the same x (queries, keys and values) share
 * one S, stored under the name of the first; a tensor of several matrices
 * (experts) has one S for each.  Columns are cut into blocks, of which the upper
 * triangles are stored row by row, one block behind the other; what lies in no
 * block was not measured.  "Full" is one block.  docs/formats/second-moments.md.
 *
 * What for: rounding with error feedback (Frantar et al., "GPTQ", 2022). */
#ifndef QN_FORMATS_SECOND_MOMENTS_H
#define QN_FORMATS_SECOND_MOMENTS_H

#include "formats/imatrix.h"

/* Keys of the file; names of tensors end in it. */
#define QN_MOMENTS_BLOCK_KEY "quern.second_moments.block_size"
#define QN_MOMENTS_TENSORS_KEY "quern.second_moments.tensors"
#define QN_MOMENTS_INPUTS_KEY "quern.second_moments.inputs"
#define QN_MOMENTS_SUFFIX ".moments"
#define QN_MOMENTS_REST_SUFFIX ".rest"

/* Rows of a chain (validate/moment_sums.h): an unfinished file has fewer than these
 * that are not in its sums yet. */
enum { QN_MOMENTS_CHAIN = 256 };

/* An x, and the tensors that are multiplied with it: the first names it. */
typedef struct {
    const char **tensors;
    size_t n_tensors;
    uint64_t columns, matrices;
} qn_moments_input;

/* Columns of a block (the last may have fewer): block, or all where that is 0 (full). */
uint64_t qn_moments_block(uint64_t columns, uint64_t block);

/* Values stored of one matrix; 0 where columns are none or 2^31 and more. */
uint64_t qn_moments_length(uint64_t columns, uint64_t block);

/* Values stored of one matrix's rest: how many rows, and room for those of a chain less
 * one. */
uint64_t qn_moments_rest_length(uint64_t columns);

/* Where S[i][j] stands among them: i <= j, both in one block. */
uint64_t qn_moments_at(uint64_t columns, uint64_t block, uint64_t i, uint64_t j);

typedef struct {
    qn_moments_input input;
    qn_dtype dtype;     /* F32; F64 in an unfinished file */
    const void *values; /* [matrices][length] at any address, not checked */
    uint64_t length;    /* qn_moments_length */
    const void *rest;   /* F32 [matrices][qn_moments_rest_length], any address; NULL: none */
    const qn_imatrix_entry *importance; /* of the first tensor: squares, counts */
} qn_moments_entry;

typedef struct {
    const char *path; /* the importance matrix's */
    uint64_t block;   /* 0: full */
    qn_moments_entry *entries;
    size_t n_entries;
    qn_names *by_tensor; /* all tensors to their entry */
    qn_arena *arena;
} qn_moments;

/* Those of m, which outlives them: names, shapes and lengths are checked.  *out is
 * NULL where it has none. */
qn_status qn_moments_open(qn_moments **out, const qn_imatrix *m, qn_error *err);
void qn_moments_close(qn_moments *m); /* NULL is fine */

/* Those of a tensor, its own or shared; NULL: it has none. */
const qn_moments_entry *qn_moments_find(const qn_moments *m, const char *tensor);

/* out[n][n]: S of columns first .. first + n - 1, both triangles, of one matrix.
 * QN_ERR_ARGUMENT where they lie in several blocks, QN_ERR_DATA for a value that
 * is not finite or a diagonal below 0. */
qn_status qn_moments_read(const qn_moments *m, const qn_moments_entry *e, uint64_t matrix,
                          uint64_t first, uint64_t n, float *out, qn_error *err);

/* Adds a matrix's values to sums[length], checked as above.  rest: [QN_MOMENTS_CHAIN]
 * [columns], gets what rows are not in them, *n_rest of them; NULL: these are added, too. */
qn_status qn_moments_add(const qn_moments *m, const qn_moments_entry *e, uint64_t matrix,
                         double *sums, float *rest, size_t *n_rest, qn_error *err);

#endif
