/* Importance matrices as llama-imatrix writes them: what the columns of every
 * weight matrix were multiplied with, measured on a text.
 *
 *     value[j] = sum over rows x of the text of x[j]^2,   count = number of x
 *
 * A tensor of several matrices (experts) has `columns` values for each, one
 * behind the other, and one count for each or one for all.  Two forms:
 *
 *   GGUF     tensors NAME.in_sum2 (values) and NAME.counts, all F32; keys
 *            imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size; in an
 *            unfinished one (imatrix_write.h) NAME.sums and NAME.rows, F64: the
 *            same before they were rounded
 *   legacy   (".dat") no magic: what is not GGUF is taken for it.  i32 number
 *            of entries; each i32 length, name, i32 calls, i32 number of
 *            values, F32 values = value / count * calls; then, in newer files,
 *            i32 number of chunks, i32 length, name of the text
 *
 * Source of the facts: llama.cpp tools/imatrix/imatrix.cpp and
 * common/imatrix-loader.cpp.  The values stay in the mapped file. */
#ifndef QN_FORMATS_IMATRIX_H
#define QN_FORMATS_IMATRIX_H

#include "formats/reader.h"

typedef struct {
    const char *name;        /* the tensor's */
    const void *values;      /* n_values float32 at any address: finite and not negative */
    uint64_t n_values;       /* columns x matrices */
    const void *counts;      /* n_counts float32 at any address; NULL in the legacy form */
    uint64_t n_counts;       /* divides n_values */
    int32_t calls;           /* of the legacy form: at least 1 (a stored 0 or less means 1) */
    const void *sums, *rows; /* values and counts as double; both NULL but in an unfinished file */
} qn_imatrix_entry;

/* Opened and checked. */
typedef struct {
    qn_map map;
    qn_reader *reader; /* NULL in the legacy form */
    qn_imatrix_entry *entries;
    size_t n_entries;
    qn_names *by_name;
    qn_arena *arena;      /* names */
    qn_str dataset;       /* the first text's name; n 0: none is given */
    qn_str datasets;      /* of all texts, as qn_meta_next_string reads them; n 0: see dataset */
    uint64_t chunk_count; /* 0: not known */
    uint64_t chunk_size;  /* tokens; 0 in the legacy form */
} qn_imatrix;

qn_status qn_imatrix_open(qn_imatrix **out, const char *path, qn_error *err);

/* The same of bytes, which stay the caller's and outlive the result; name
 * stands for the path in messages. */
qn_status qn_imatrix_open_memory(qn_imatrix **out, const void *bytes, size_t n, const char *name,
                                 qn_error *err);
void qn_imatrix_close(qn_imatrix *m); /* NULL is fine */

const qn_imatrix_entry *qn_imatrix_find(const qn_imatrix *m, const char *name); /* or NULL */

/* Value number i; the count of value number i, in calls for the legacy form. */
float qn_imatrix_value(const qn_imatrix_entry *e, uint64_t i);
int64_t qn_imatrix_count(const qn_imatrix_entry *e, uint64_t i);

/* Number i of e->sums or e->rows. */
double qn_imatrix_exact(const void *doubles, uint64_t i);

/* Fills m from m->map; for imatrix.c. */
qn_status qn_imatrix_parse_dat(qn_imatrix *m, qn_error *err);

/* Appends an entry whose name lives as long as m, for the two forms: checks
 * that it is new and that its values are what the contract says. */
qn_status qn_imatrix_add(qn_imatrix *m, const qn_imatrix_entry *e, qn_error *err);

#endif
