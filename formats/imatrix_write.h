/* Writing importance matrices (imatrix.h) as llama-imatrix does: entries in the
 * order of their names' bytes, sums rounded to float32 once. */
#ifndef QN_FORMATS_IMATRIX_WRITE_H
#define QN_FORMATS_IMATRIX_WRITE_H

#include "formats/second_moments.h"

/* What is known of one tensor. */
typedef struct {
    const char *name;
    uint64_t columns, matrices;
    double *sums;     /* [matrices][columns]: of squares */
    uint64_t *counts; /* [matrices]: rows that were added */
} qn_imatrix_sums;

typedef struct {
    const qn_imatrix_sums *entries;
    size_t n_entries;
    const qn_str *datasets; /* the texts' names */
    size_t n_datasets;
    uint64_t chunk_count, chunk_size; /* chunk_size: tokens */
    /* Of an unfinished one: further keys, and the sums go in unrounded as well, so
     * that who goes on gets what he would have got without a break.  NULL: it is
     * finished. */
    const qn_metadata *unfinished;
    /* Second moments: of which inputs, in blocks of what size (0: full).  Unfinished
     * ones are F64, too. */
    const qn_moments_input *inputs;
    size_t n_inputs;
    uint64_t block;
} qn_imatrix_contents;

/* legacy: the ".dat" form, which has no unfinished files, drops entries without
 * any row and names one text, the last.  A sum beyond float32 is QN_ERR_DATA. */
qn_status qn_imatrix_write(const qn_imatrix_contents *c, const char *path, bool legacy, bool force,
                           qn_error *err);

/* The GGUF form piece by piece, for second moments: c outlives the writer, and what
 * counts of its sums and counts is how they stand at the commit. */
typedef struct qn_imatrix_writer qn_imatrix_writer;
qn_status qn_imatrix_begin(qn_imatrix_writer **out, const qn_imatrix_contents *c, const char *path,
                           bool force, qn_error *err);
/* All values of a matrix of c->inputs[input], rounded; NULL: zeros.  Each once.  A
 * value beyond float32 is QN_ERR_DATA.  rest, [n_rest][columns]: rows that are not in
 * the sums, n_rest < QN_MOMENTS_CHAIN, of an unfinished file. */
qn_status qn_imatrix_put_moments(qn_imatrix_writer *w, size_t input, uint64_t matrix,
                                 const double *sums, const float *rest, size_t n_rest,
                                 qn_error *err);
/* Frees w, whatever happens. */
qn_status qn_imatrix_commit(qn_imatrix_writer *w, qn_error *err);
void qn_imatrix_abandon(qn_imatrix_writer *w); /* NULL is fine */

#endif
