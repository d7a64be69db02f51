/* What quantize says about a checkpoint of packed weights. */
#ifndef QN_TOOLS_PACKED_REPORT_H
#define QN_TOOLS_PACKED_REPORT_H

#include "quant/packed_run.h"
#include "tools/report.h"

typedef struct {
    const qn_packed_plan *plan;
    const char *path, *type;         /* "int4" */
    uint64_t size_bytes;             /* of the files of tensors */
    const qn_tensor_result *results; /* NULL: not measured */
} qn_packed_output;

json_t *qn_packed_describe(const qn_packed_output *o);

/* A line a tensor. */
void qn_packed_print_table(const qn_packed_output *o);

/* "out: int4, groups of 128, ..., 4.6 MiB, 4.13 bits per weight", without a line
 * feed. */
void qn_packed_print_summary(const qn_packed_output *o);

#endif
