/* How much each column of a tensor matters: the mean square of what the model
 * multiplied it with on some texts, from one importance matrix or several
 * merged (formats/imatrix.h).
 *
 *     weight[j] = sum over files of value[j] / sum over files of count
 *
 * in float32, files in their order, as llama-imatrix --in-file adds and
 * llama-quantize divides.  A matrix of a tensor (an expert) that no text has
 * reached gets 1 everywhere.  A legacy file counts calls instead of rows: next
 * to a GGUF file each of its calls stands for that file's chunk_size.
 *
 * Values stay in the mapped files; weights are made when they are asked for, so
 * that a matrix for a thousand experts costs no memory. */
#ifndef QN_QUANT_IMPORTANCE_H
#define QN_QUANT_IMPORTANCE_H

#include "formats/imatrix.h"

typedef struct {
    const char *name;  /* the tensor's */
    uint64_t n_values; /* columns x matrices */
    uint64_t n_counts;
    bool left_out;                  /* by a filter */
    const qn_imatrix_entry **parts; /* in the files that have it, in their order */
    size_t n_parts;
    uint64_t call_rows; /* what a call of a legacy file counts as */
} qn_importance_entry;

typedef struct {
    qn_imatrix **files;
    size_t n_files;
    qn_importance_entry *entries;
    size_t n_entries; /* also of those left out */
    qn_names *by_name;
    qn_arena *arena;
    qn_text path;    /* as given; of several files joined by ',' */
    qn_str dataset;  /* the first file's that names one; n 0: none */
    uint64_t chunks; /* of all files; 0: not known */
} qn_importance;

/* For any tensor: one matrix whose columns count 1 each. */
extern const qn_importance_entry qn_importance_even;

enum { QN_IMPORTANCE_MAX_FILES = 256 };

/* n_paths is at least 1. */
qn_status qn_importance_open(qn_importance **out, const char *const *paths, size_t n_paths,
                             qn_error *err);
void qn_importance_close(qn_importance *m); /* NULL is fine */

/* Leaves out the entries whose name contains one of the words (include false)
 * or none of them (include true).  QN_ERR_ARGUMENT when nothing would be left. */
qn_status qn_importance_filter(qn_importance *m, const char *const *words, size_t n, bool include,
                               qn_error *err);

size_t qn_importance_count(const qn_importance *m); /* less those left out */

/* NULL: there is none, or it was left out. */
const qn_importance_entry *qn_importance_find(const qn_importance *m, const char *name);

/* Of so many columns that the entry holds weights for. */
uint64_t qn_importance_matrices(const qn_importance_entry *e, uint64_t columns);

/* weights first .. first + n, all finite and not negative. */
void qn_importance_weights(const qn_importance_entry *e, uint64_t first, uint64_t n, float *out);

/* Whether an encoder of this type looks at weights at all. */
bool qn_importance_matters(qn_dtype t);

#endif
