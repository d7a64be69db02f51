/* One thread's work on a band of rows of one packed weight: decode, look for
 * values that integers cannot hold, quantize, pack, write.
 *
 * A band is whole granules of eight rows (its last one may be short at a
 * tensor's end), so that zero points and AWQ's codes fill whole words.  Where a
 * format lays outputs side by side (GPTQ, AWQ: [in][out]), a band is a strip of
 * columns in the file, written piece by piece. */
#ifndef QN_QUANT_PACKED_BAND_H
#define QN_QUANT_PACKED_BAND_H

#include "formats/writer.h"
#include "quant/packed_plan.h"

enum { QN_GRANULE = 8 /* rows */ };

/* Of one thread; sizes suffice for every packed entry (qn_band_needs). */
typedef struct {
    float *values, *back;   /* a row */
    uint8_t *codes, *zeros; /* a granule */
    float *scales, *biases; /* a granule */
    uint8_t *parts;         /* n_parts bytes: a band's parts, one behind the other */
    uint64_t n_parts;
} qn_band_buffers;

/* Bytes, and for the rest elements, that the buffers need. */
typedef struct {
    uint64_t columns, groups; /* the most of any entry */
    uint64_t least_parts;     /* a granule of the largest */
    uint64_t best_parts;      /* more is of no use */
} qn_band_needs;

/* Raises n to what entry e needs. */
void qn_band_add_needs(qn_band_needs *n, const qn_packed_plan *p, const qn_packed_entry *e);
/* All buffers of one thread, with so many bytes of parts. */
uint64_t qn_band_bytes(const qn_band_needs *n, uint64_t parts);
/* false: no memory; free what there is all the same. */
bool qn_band_allocate(qn_band_buffers *b, const qn_band_needs *n, uint64_t parts);
void qn_band_free(qn_band_buffers *b);

/* Rows of e that make a band with so many bytes of parts: a multiple of
 * QN_GRANULE, or all. */
uint64_t qn_band_rows(const qn_packed_plan *p, const qn_packed_entry *e, uint64_t parts);

typedef struct {
    const qn_packed_plan *plan;
    const qn_packed_entry *entry;
    qn_writer *writer;
    size_t first_part; /* the writer's number of the first part */
    const qn_kernels *kernels;
    double *squares; /* a sum of (read back - source)^2 for each of the entry's granules; NULL:
                        not wanted */
} qn_band;

/* Rows r0..r1 (r1 exclusive), at most qn_band_rows of them, r0 a multiple of
 * that.  On failure *at is the row. */
qn_status qn_band_run(const qn_band *band, const qn_band_buffers *b, uint64_t r0, uint64_t r1,
                      uint64_t *at, qn_error *err);

#endif
