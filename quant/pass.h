/* What the threads of a pass over a plan's rows share: how far they are, and
 * the failure that comes first in plan order. */
#ifndef QN_QUANT_PASS_H
#define QN_QUANT_PASS_H

#include <omp.h>

#include "formats/base/watch.h"
#include "formats/rows.h"

/* How many threads work when so many are asked for, 0: OpenMP's default; never more
 * than 256. */
int qn_pass_threads(int asked);

/* A row of the plan. */
typedef struct {
    size_t entry;
    uint64_t row;
} qn_plan_row;

typedef struct {
    const qn_watch *watch;
    omp_lock_t lock;      /* for all below, and for what else the threads take in turn */
    uint64_t done, total; /* source bytes */
    bool failed;
    qn_plan_row failed_at;
    qn_error error;
} qn_pass;

/* A piece of work is over: bytes of source are done, or it failed at a place.
 * Pieces are taken in plan order, so whatever comes before a failure is under way
 * already and will be heard, too: the first one in that order stays.  Tells the
 * watch, whose no is QN_ERR_CANCELLED behind all places. */
void qn_pass_end(qn_pass *p, qn_status status, uint64_t bytes, qn_plan_row at,
                 const qn_error *error);

/* Of the whole, when all threads are through. */
qn_status qn_pass_result(const qn_pass *p, qn_error *err);

/* Source bytes of rows r0..r1 as a share of all, which pieces add up to. */
uint64_t qn_pass_bytes(const qn_rows *rows, uint64_t r0, uint64_t r1);

#endif
